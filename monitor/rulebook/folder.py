"""Finds the rule files of a folder. What they mean is decided in decide/parse."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from monitor.errors import RuleErrors

LARGEST = 256 * 1024
ALMOST = {".toml", ".tml", ".yaml", ".yml", ".cel"}  # in a folder of rules probably meant as one


def stamp(folder: Path) -> str:
    """A mark that moves when any file of the folder does. Cheap: nothing is read."""
    found = []
    try:
        paths = _files(folder)
    except OSError as error:  # reading it will say so
        return str(error)
    for path in paths:
        try:
            state = path.stat()
        except OSError:  # gone between listing and looking: the next look tells
            continue
        found.append(f"{path}\0{state.st_mtime_ns}\0{state.st_size}\0{state.st_ino}")
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def read_folder(folder: Path) -> dict[str, str]:
    """Texts by path, relative to the folder's parent. Raises RuleErrors."""
    files: dict[str, str] = {}
    problems = []
    try:
        paths = _files(folder)
    except OSError as error:
        raise RuleErrors([f"{error.filename}: cannot be read: {error.strerror}"]) from error
    for path in paths:
        name = str(path.relative_to(folder.parent))
        try:
            files[name] = text_of(path)
        except OSError as error:
            problems.append(f"{name}:1: cannot be read: {error.strerror}")
        except ValueError as error:
            problems.append(f"{name}:{error}")
    if not files and not problems:
        problems.append(f"{folder}: holds no rule files: write one with `access-monitor rules new`")
    if problems:
        raise RuleErrors(problems)
    return files


def unread(folder: Path) -> list[str]:
    """Files that look like rules and are none by their name."""
    return [str(p.relative_to(folder.parent)) for p in _every(folder) if p.suffix.lower() in ALMOST and not _named(p)]


def _files(folder: Path) -> list[Path]:
    return [p for p in _every(folder) if _named(p)]


def _named(path: Path) -> bool:
    return path.suffix == ".toml"


def _every(folder: Path) -> list[Path]:
    """In the order of their paths. What is hidden is not looked at: editors and Git keep their own files so, and
    Kubernetes the folder behind a ConfigMap.
    """
    return sorted(_below(folder, set()))


def _below(folder: Path, seen: set[Path]) -> Iterator[Path]:
    if (real := folder.resolve()) in seen:  # a link to a folder above
        return
    seen.add(real)
    for name in os.listdir(folder):
        path = folder / name
        if name.startswith("."):
            continue
        if os.path.isdir(path) and not _named(path):  # which knows of links that lead nowhere
            yield from _below(path, seen)
        else:
            yield path


def text_of(path: Path) -> str:
    """Raises OSError, or ValueError with the line of the fault. A mark of byte order, as Windows writes it, is no part
    of the text.
    """
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):  # a pipe would be waited for
        raise ValueError("1: is no file; only rule files end in .toml")
    if state.st_size > LARGEST:
        raise ValueError(f"1: is too large for a rule: {state.st_size // 1024} kB of {LARGEST // 1024}")
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{line}: is not UTF-8; save it as UTF-8") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
