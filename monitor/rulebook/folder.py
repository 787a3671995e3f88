"""Finds the rule files of a folder. What they mean is decided in decide/parse."""

from __future__ import annotations

from pathlib import Path

from monitor.errors import RuleErrors

LARGEST = 256 * 1024


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
