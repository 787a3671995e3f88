"""Settings: values that rules read as settings.NAME. A rule file declares each with a default; the config overrides."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any

from monitor.decide.form import DURATION, duration
from monitor.domain.company import Setting
from monitor.domain.rule import Rule

NAME = re.compile(r"[a-z][a-z0-9_]{0,59}")
PREFIX = "settings."
WRITTEN = {
    "bool": "true or false", "int": "a whole number", "string": "a text", "duration": 'a duration like "14d"',
    "list(string)": "a list of texts", "list(int)": "a list of whole numbers",
    "map(string, string)": "a table of texts", "map(string, int)": "a table of whole numbers",
    "map(string, list(string))": "a table of lists of texts",
}  # fmt: skip
_EMPTY = {"list(string)": "list(", "map(string, string)": "map("}


def setting(raw: Any) -> Setting:
    """A value as TOML gives it, with its type. A text that is a duration is one. Raises ValueError."""
    if isinstance(raw, str) and DURATION.fullmatch(raw):
        return Setting("duration", duration(raw))
    kind = _type(raw)
    if kind not in WRITTEN:
        raise ValueError(f"must be one of: {', '.join(WRITTEN.values())}")
    return Setting(kind, raw)


def _type(raw: Any) -> str:
    if isinstance(raw, list):
        return f"list({_common(raw)})"
    if isinstance(raw, dict):
        return f"map(string, {_common(raw.values())})"
    names = {bool: "bool", int: "int", str: "string", timedelta: "duration"}
    return names.get(type(raw), "")


def _common(values: Collection[Any]) -> str:
    """The one type of all; that of texts for none, or "" when they differ."""
    kinds = {_type(v) for v in values} or {"string"}
    return kinds.pop() if len(kinds) == 1 else ""


def declared(raw: Mapping[str, Any]) -> Iterator[tuple[str, Setting | str]]:
    """Each setting, or what is wrong with it."""
    for name, value in raw.items():
        if not NAME.fullmatch(name):
            yield name, "must be lower-case letters, digits and underscores, like dormant_days"
            continue
        try:
            yield name, setting(value)
        except ValueError as error:
            yield name, str(error)


def overridden(default: Setting, given: Setting) -> Setting | None:
    """The config's value in place of the rule's, or None when its type is another. An empty list fits any list."""
    if given.type == default.type:
        return given
    fits = not given.value and given.type in _EMPTY and default.type.startswith(_EMPTY[given.type])
    return Setting(default.type, given.value) if fits else None


def unread(given: Collection[str], rules: Iterable[Rule]) -> Iterator[str]:
    """Settings of the config that no rule reads, each with the one that was perhaps meant."""
    read = {name for rule in rules for name in rule.settings}
    for name in given:
        if name not in read:
            close = difflib.get_close_matches(name, read, n=1)
            yield f"settings.{name} is read by no rule" + (f"; did you mean {close[0]}?" if close else "")
