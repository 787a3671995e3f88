"""How one rule set differs from another, file by file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NamedTuple


class SetDiff(NamedTuple):
    added: tuple[str, ...]
    removed: tuple[str, ...]
    edited: tuple[str, ...]
    text: str  # unified diff


def set_diff(before: Mapping[str, str], after: Mapping[str, str]) -> SetDiff:
    added, removed = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    edited = sorted(n for n in before.keys() & after.keys() if before[n] != after[n])
    lines = [line for name in sorted({*added, *removed, *edited}) for line in _lines(name, before, after)]
    return SetDiff(tuple(added), tuple(removed), tuple(edited), "\n".join(lines))


def _lines(name: str, before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    was, now = before.get(name, "").splitlines(), after.get(name, "").splitlines()
    heads = (name if name in before else "/dev/null", name if name in after else "/dev/null")
    return list(difflib.unified_diff(was, now, *heads, lineterm="", n=2))
