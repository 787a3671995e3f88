"""Where in a TOML file something stands: the parser gives values, and a message needs the line."""

from __future__ import annotations

import re


def stem(file: str) -> str:
    """The name of a file without its folder and ending."""
    return file.replace("\\", "/").rpartition("/")[2].removesuffix(".toml")


def line_of_path(text: str, path: list[str]) -> int:
    """The line of ["tests", "2", "expect"]: the key below the third [[tests]], or else that header."""
    if not path:
        return 1
    if len(path) < 2 or not path[1].isdigit():
        start = line_of_key(text, path[0])
        if len(path) == 1 or path[1].isdigit():
            return start
        below = "\n".join(text.splitlines()[start - 1 :])
        return start - 1 + line_of_key(below, path[-1])
    header = re.compile(rf"^\s*\[\[\s*{re.escape(path[0])}\s*\]\]")
    lines = text.splitlines()
    heads = [n for n, line in enumerate(lines, 1) if header.match(line)]
    if int(path[1]) >= len(heads):
        return line_of_key(text, path[0])
    start = heads[int(path[1])]
    end = next((n for n, line in enumerate(lines[start:], start) if line.lstrip().startswith("[")), len(lines))
    within = line_of_key("\n".join(lines[start:end]), path[2], default=0) if len(path) > 2 else 0
    return start + within


def line_of_key(text: str, key: str, default: int = 1) -> int:
    pattern = re.compile(rf"^\s*(?:\[+\s*)?{re.escape(key)}\b")
    return next((n for n, line in enumerate(text.splitlines(), 1) if pattern.match(line)), default)


def line_of(text: str, needle: str, start: int) -> int:
    """The first line from `start` on that holds the text: quoted if possible, since one may be part of another."""
    first = needle.strip().splitlines()[0] if needle.strip() else needle
    escaped = first.replace('"', '\\"')
    for wanted in (f"'{first}'", f'"{escaped}"', first, escaped):
        for number, line in enumerate(text.splitlines()[start - 1 :], start):
            if wanted in line:
                return number
    return start
