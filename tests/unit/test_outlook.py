"""What `rules explain` says of deadlines, reminders and escalation is what the line does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.prospects import lines
from monitor.decide.deadlines import NEVER, Tempo, look
from monitor.decide.outlook import Prospect, State, Told, never, outlook
from monitor.domain.finding import EventKind, Finding, FindingStatus
from monitor.domain.message import Route
from monitor.domain.rule import Verdict
from tests.unit.test_deadlines import ALWAYS, DAY, FOUND, HOUR, HOURS, NOW, ROUTES, RULE

ACKNOWLEDGED = replace(FOUND, status=FindingStatus.ACKNOWLEDGED, acknowledged_by="ann", acknowledged_at=NOW + HOUR)
ON_RECORD = (EventKind.DUE_SOON, EventKind.OVERDUE, EventKind.REMINDED, EventKind.ESCALATED)


def lived(found: Finding, ticks: Sequence[timedelta], tempo: Tempo = ALWAYS) -> tuple[Finding, list[Told]]:
    """What the line tells when it looks at these times."""
    told: list[Told] = []
    for tick in ticks:
        events = look(found, RULE, ROUTES, tempo, NOW + tick).events
        told += [Told(e.kind, e.detail or "", NOW + tick) for e in events]
        found = replace(found, told_at=NOW + tick) if events else found
    return found, told


def at(found: Finding, now: datetime, told: Sequence[Told] = (), **how: Any) -> list[Prospect]:
    return outlook(found, RULE, ROUTES, how.pop("tempo", ALWAYS), told, now, **how)


def short(prospects: Sequence[Prospect]) -> list[tuple[str, str, str]]:
    return [(p.step.kind.value, p.state.value, f"{(p.step.at - NOW) / DAY:.3g}d") for p in prospects]


def test_what_was_told_and_what_comes() -> None:
    """After nine days each step with its time; later, of the endless reminders, the last one and the next."""
    found, told = lived(FOUND, [DAY * n / 4 for n in range(1, 36)])
    assert short(at(found, NOW + 9 * DAY, told)) == [
        ("escalated", "told", "0.25d"), ("escalated", "told", "1d"), ("due_soon", "told", "5d"),
        ("due_soon", "told", "8d"), ("overdue", "comes", "10d"),
    ]  # fmt: skip
    found, told = lived(FOUND, [DAY * n / 4 for n in range(1, 60)])
    assert short(at(found, NOW + 15 * DAY, told))[-2:] == [("reminded", "told", "13d"), ("reminded", "comes", "17d")]


def test_what_was_missed_is_not_made_up_for() -> None:
    """The daemon was away until the ninth day: the newest step was told, and the one before it never will be."""
    found, told = lived(FOUND, [9 * DAY])
    of_deadline = [p for p in at(found, NOW + 9 * DAY, told) if p.step.kind is EventKind.DUE_SOON]
    assert [(p.state.value, p.why) for p in of_deadline] == [
        ("passed over", "something newer was told on 2026-03-11 10:00 UTC"), ("told", ""),
    ]  # fmt: skip


WHY_NOT: list[tuple[Finding, str]] = [
    (replace(FOUND, verdict=Verdict.EXEMPT), "exempt"),
    (replace(FOUND, draft=True), "its rule is a draft"),
    (
        replace(FOUND, silenced_until=NOW + DAY),
        "silenced until 2026-03-03 10:00 UTC; see `access-monitor silence list`",
    ),
]


@pytest.mark.parametrize(("found", "why"), WHY_NOT)
def test_nobody_is_to_hear_of_it(found: Finding, why: str) -> None:
    """Every step says why."""
    assert {(p.state, p.why) for p in at(found, NOW + HOUR)} == {(State.HELD, why)}


def test_acknowledged() -> None:
    """Nobody else is called in; the deadline goes on."""
    said = {p.step.kind.value: (p.state.value, p.why) for p in at(ACKNOWLEDGED, NOW + 2 * HOUR)}
    assert said["escalated"] == ("held back", "acknowledged by ann on 2026-03-02 11:00 UTC")
    assert said["overdue"] == ("comes", "")


def test_outside_business_hours_and_not_seen() -> None:
    """Friday evening waits for Monday; what is due waits for its source."""
    friday = replace(FOUND, due_at=NOW + 4 * DAY + 9 * HOUR)
    (overdue,) = (p for p in at(friday, NOW, tempo=Tempo(hours=HOURS)) if p.step.kind is EventKind.OVERDUE)
    assert (f"{overdue.step.at:%a %H:%M}", overdue.why) == (
        "Mon 09:00",
        "2026-03-06 19:00 UTC is outside business hours",
    )
    hidden = [p.why for p in at(FOUND, NOW + 5 * HOUR, unseen="it waits") if p.step.at <= NOW + 5 * HOUR]
    assert hidden == ["it waits"]


def test_which_steps_there_are_none_of() -> None:
    """No deadline, no reminders, no next receiver."""
    said = list(never(replace(FOUND, due_at=None), RULE, [Route(("desk",))], Tempo(remind=timedelta())))
    assert [line.partition(":")[0] for line in said] == ["due soon, overdue", "reminder", "escalation"]
    assert list(never(FOUND, RULE, ROUTES, ALWAYS)) == []


def test_it_is_over() -> None:
    over = replace(FOUND, status=FindingStatus.RESOLVED)
    assert (at(over, NOW + DAY), list(never(over, RULE, ROUTES, ALWAYS))) == ([], [])


def test_in_words() -> None:
    step = {
        "step": "due_soon",
        "state": "told",
        "at": "2026-03-07T10:00:00Z",
        "to": ["desk"],
        "why": None,
        "detail": "x",
    }
    held = step | {"step": "overdue", "state": "held back", "why": "exempt"}
    assert list(lines({"steps": [step, held], "never": ["reminder: never"]})) == [
        "due soon: told 2026-03-07 10:00 to desk (x)", "overdue: held back 2026-03-07 10:00; exempt (x)",
        "reminder: never",
    ]  # fmt: skip


@given(
    st.sampled_from([FOUND, ACKNOWLEDGED, replace(FOUND, due_at=None), replace(FOUND, calm_at=NOW + DAY)]),
    st.sampled_from([ALWAYS, Tempo(hours=HOURS), Tempo(remind=timedelta())]),
    st.lists(st.integers(1, 60 * 24), min_size=1, max_size=12),
)
def test_it_says_what_happens(found: Finding, tempo: Tempo, hours: list[int]) -> None:
    """What comes next comes when the line looks again; what is on record is said to be told."""
    ticks = [HOUR * h for h in sorted(hours)]
    found, told = lived(found, ticks, tempo)
    now = NOW + ticks[-1]
    said = at(found, now, told, tempo=tempo)
    comes = min((p.step.at for p in said if p.state is State.COMES), default=now + NEVER)
    assert comes == look(found, RULE, ROUTES, tempo, now).wakes_at
    on_record = {(t.kind, t.at) for t in told if t.kind is not EventKind.REMINDED}
    assert on_record == {(p.step.kind, p.step.at) for p in said if p.state is State.TOLD} - {
        (t.kind, t.at) for t in told if t.kind is EventKind.REMINDED
    }
