"""Clauses of a file, compiled and tried before any of them meets an account."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.decide import facts
from monitor.decide.expressions import Clause, ClauseError
from monitor.decide.places import line_of
from monitor.domain.company import BusinessHours, Setting
from monitor.domain.person import Match, Person

_A_DAY = datetime(2025, 12, 31, tzinfo=UTC)
SAMPLE_MATCH = Match(
    Person("10423", "hr", "dana@example.test", "Dana Example", "active", "Sales", "Account manager", "carla", _A_DAY,
           _A_DAY, _A_DAY, ("sample",), ("sample",), _A_DAY), "email",
)  # fmt: skip


def clause_problems(
    clauses: Sequence[str], text: str, start: int, kind: str, settings: Mapping[str, Setting], hours: BusinessHours
) -> Iterator[tuple[int, str]]:
    """Line and fault of each clause that cannot be used. `start`: the line from which on they stand."""
    for number, clause in enumerate(clauses, 1):
        line = line_of(text, clause, start)
        try:
            _try_on_sample(Clause(clause, kind, settings, hours), kind)
        except ClauseError as error:
            yield line + error.line - 1, f"clause {number}, column {error.column}: {error}"


# What fails only when it is tried says no place: it is that of the one call in the clause that can fail so.
_CAN_FAIL = {
    "no such duration": "duration(", "no such time": "timestamp(", "not a regular expression": ".matches(",
    "the list can be shorter": "[", "divides by zero": "/", "cannot become one": "int(",
}  # fmt: skip


def _try_on_sample(clause: Clause, kind: str) -> None:
    """Some mistakes compile and then always fail: duration("90d"), a broken regex. So every clause is tried once."""
    try:
        held = clause.holds(sample(kind, facts.readable(kind)))
    except ClauseError as error:
        call = next((c for said, c in _CAN_FAIL.items() if said in str(error)), "")
        column = clause.text.index(call) + 1 if call and clause.text.count(call) == 1 else error.column
        raise ClauseError(str(error), error.line, column) from error
    if held is not None and not clause.reads and not clause.constants:
        raise ClauseError(f"the clause reads no fact: it is always {str(held).lower()}; remove it, or ask for a fact")


def sample(kind: str, names: Mapping[str, facts.Fact]) -> dict[str, Any]:
    """A complete record of a kind as the values of facts."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    record = {k: now - v if isinstance(v, timedelta) else v for k, v in facts.SAMPLES[kind].items()}
    dated = ("first_seen", "status_since", "level_since", "role_changed", "privileged_since", "reactivated", "changed",
             "grant_since", "description_changed")  # fmt: skip
    record |= dict.fromkeys(dated, now - timedelta(days=100)) | {"watched_since": now - timedelta(days=100)}
    record["person"] = SAMPLE_MATCH
    lists = ("past_levels", "past_roles", "past_emails", "earlier_ids", "past_access_levels", "past_groups")
    record |= {name: ["sample"] for name in lists}
    if kind in ("account", "grant"):
        record |= {"privileged": False, "role_access_level": "user", "last_active": now - timedelta(days=1)}
    return {name: facts.value(fact, record, now) for name, fact in names.items()}
