"""Persons as the tests of rules set them: a table of what an authority says, "none", or "ambiguous"."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from monitor.decide.facts import SAMPLE_PERSON
from monitor.decide.form import duration
from monitor.decide.persons import moved
from monitor.domain.person import Match, Needed, Person

FIELDS: dict[str, Any] = SAMPLE_PERSON | {
    "ends": timedelta(), "ended_recorded": timedelta(), "earlier_groups": [], "ambiguous": False,
}  # fmt: skip
NOT_THERE = {"none": Match(), "ambiguous": Match(several=("10423", "10424"))}
_DAY = re.compile(r"(in )?(\d+[smhd])( ago)?")


def checked(said: Mapping[str, Any], where: str) -> dict[str, Any]:
    """What a test says of a person: names and types are checked, dates become distances before now. ValueError."""
    absent = said.get("absent", [])
    if not isinstance(absent, list):
        raise ValueError(f'{where}: absent is a list of fields, like ["{absent}"]')
    values = {k: v for k, v in said.items() if k != "absent"}
    for key in (*values, *absent):
        if key not in FIELDS:
            close = difflib.get_close_matches(str(key), FIELDS, n=1)
            meant = f"did you mean {close[0]}?" if close else f"there are {', '.join(sorted(FIELDS))}"
            raise ValueError(f"{where}: {key} is no field of a person; {meant}")
    return {k: _typed(v, FIELDS[k], f"{where}: {k}") for k, v in values.items()} | dict.fromkeys(absent)


def _typed(value: Any, like: Any, where: str) -> Any:
    if not isinstance(like, timedelta):
        if not alike(value, like):
            raise ValueError(f"{where} is {value!r}; write {written(like)}")
        return value
    found = _DAY.fullmatch(str(value))
    if not found or (found[1] and found[3]):
        raise ValueError(f'{where}: "{value}" is no day; write it like "10d ago" or "in 10d"')
    return duration(found[2]) * (-1 if found[1] else 1)


def alike(value: Any, like: Any) -> bool:
    """Of one type, and so is what it holds: lists and tables are of texts here."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return type(value) is type(like) and all(isinstance(p, str) for p in parts)


def written(like: Any) -> str:
    """How a value of this type is written."""
    return "true or false" if isinstance(like, bool) else f"something like {json.dumps(like or ['g1'])}"


def carried(before: Any, said: Any, where: str) -> Any:
    """The person of an account after one more poll: what is not said stays."""
    if isinstance(said, str) and said in NOT_THERE:
        return said
    if not isinstance(said, Mapping):
        raise ValueError(f'{where}: write "none", "ambiguous", or a table like {{ status = "active" }}')
    return (before if isinstance(before, dict) else SAMPLE_PERSON) | checked(said, where)


def played(states: Iterable[tuple[datetime, Any]], now: datetime) -> Match | None:
    """The match as of the last state, with the departments of those before it."""
    previous: tuple[str, ...] = ()
    changed: datetime | None = None
    before: str | None = None
    match: Match | None = None
    for at, state in states:
        match = NOT_THERE.get(state) if isinstance(state, str) else None
        if isinstance(state, dict):
            previous, changed = moved(previous, changed or at, before, state["department"], at)
            before = state["department"] or before
            match = _match(state, previous, changed, now)
    return match


def _match(state: Mapping[str, Any], previous: tuple[str, ...], changed: datetime | None, now: datetime) -> Match:
    def when(field: str) -> datetime | None:
        said = state.get(field)
        return now - said if isinstance(said, timedelta) else said

    person = Person(
        state["id"], "hr", state["email"], state["name"], state["status"], state["department"], state["title"],
        state["manager"], when("starts"), when("ends"), when("ended_recorded"), _tuple(state["tags"]), previous,
        changed, _tuple(state["allowed_levels"]), _needed(state["required_groups"]),
        _needed(state.get("earlier_groups", [])),
        silent=state["status"] is None,
    )  # fmt: skip
    several = (person.key,) if state.get("ambiguous") else ()
    return Match(person, state["matched_by"], several, _tuple(state["accounts"]))


def _tuple(values: list[str] | None) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _needed(names: list[str] | None) -> tuple[Needed, ...] | None:
    return None if names is None else tuple(Needed(n, frozenset({n})) for n in names)
