"""Finds the rule files of a folder. What they mean is decided in decide/parse."""

from __future__ import annotations

import hashlib
from pathlib import Path

from monitor.errors import RuleErrors

LARGEST = 256 * 1024


def stamp(folder: Path) -> str:
    """A mark that moves when any file of the folder does. Cheap: nothing is read."""
    found = []
    for path in sorted(folder.rglob("*.toml")):
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
    for path in sorted(folder.rglob("*.toml")):
        name = str(path.relative_to(folder.parent))
        try:
            if path.stat().st_size > LARGEST:
                raise ValueError("is too large for a rule")
            files[name] = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            problems.append(f"{name}:1: cannot be read: {error}")
    if not files and not problems:
        problems.append(f"{folder}: holds no rule files")
    if problems:
        raise RuleErrors(problems)
    return files
