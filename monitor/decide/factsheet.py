"""The declared facts as a table for people: what docs/rules.md and `access-monitor rules facts` show."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from monitor.decide.facts import COUNTING, FACTS, KINDS, SAMPLES, Fact
from monitor.domain.reading import Scope

_NOT_READ = {
    Scope.ROLES: "the list of roles was not read whole",
    Scope.GROUPS: "the list of groups was not read whole",
    Scope.SEATS: "the seat offerings were not read whole",
    Scope.MEMBERS: "a list of members was not read whole",
    Scope.PERSONS: "an authority was not read whole lately",
}
_NOT_COUNTED = "the accounts were not read whole"


def when_absent(fact: Fact) -> str:
    """Every cause for the fact to be absent, or "never"."""
    causes = [] if fact.absent == "never" else [fact.absent]
    for scope in fact.scopes:
        counted = fact.kind in COUNTING and scope == Scope.USERS
        cause = _NOT_COUNTED if counted else _NOT_READ.get(scope)
        if cause and not any("not read" in known for known in causes if scope != Scope.PERSONS):
            causes.append(cause)
    return ", or ".join(causes) or "never"


def rows(kind: str) -> Iterator[tuple[str, str, str, str]]:
    """Name, type, meaning and causes of absence of the facts of one kind."""
    return ((f.name, f.type, f.about, when_absent(f)) for f in FACTS.values() if f.kind == kind)


def markdown() -> str:
    """A table for each kind of subject, as docs/rules.md holds it between its markers."""
    return "\n".join(line for kind in (*KINDS, "now") for line in _table(kind)).rstrip() + "\n"


def sample(kind: str) -> str:
    """What a rule test starts from, as one writes it in a poll."""
    return "".join(f"{name} = {_toml(value)}\n" for name, value in SAMPLES[kind].items())


def _toml(value: Any) -> str:
    if isinstance(value, timedelta):
        return f'"{value.days}d ago"'
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value) if isinstance(value, int) else f'"{value}"'


def _table(kind: str) -> Iterator[str]:
    yield f'### Facts of `for_each = "{kind}"`\n' if kind in KINDS else "### In every rule\n"
    if kind == "person":
        yield "Rules about an account may ask them as well, of the person whose account it is.\n"
    yield "| fact | type | meaning | absent when |"
    yield "| --- | --- | --- | --- |"
    for name, type_, about, absent in rows(kind):
        yield f"| `{name}` | {type_} | {about} | {absent} |"
    yield ""
