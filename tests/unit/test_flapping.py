"""Findings that come and go: when that is told, and that nothing stays untold for good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.flapping import Episode, Limit, damped
from monitor.decide.route import told, why
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus
from monitor.domain.message import Reason
from monitor.domain.observed import Subject
from monitor.domain.rule import Severity, Verdict

NOW, HOUR, DAY = datetime(2026, 3, 2, 10, tzinfo=UTC), timedelta(hours=1), timedelta(days=1)
LIMIT = Limit(3, 7 * DAY)
FOUND = Finding(
    "f", "r", "t", Severity.HIGH, FindingStatus.OPEN, Verdict.FINDING, "school", Subject("account", "a"), "o", NOW,
    None, (), "", 1, id=1,
)  # fmt: skip


class Move(NamedTuple):
    """One opening or end, and what follows."""

    at: datetime
    event: Event
    reason: Reason | None


def lived(pauses: Sequence[float], limit: Limit = LIMIT, found: Finding = FOUND) -> Iterator[Move]:
    """It opens, ends, opens, ... after so many hours each."""
    episodes, now = list[Episode](), NOW
    for number, pause in enumerate(pauses):
        now += pause * HOUR
        if number % 2 == 0:
            event = damped(Event(EventKind.OPENED, replace(found, opened_at=now)), episodes, limit, now)
            episodes.append(Episode(now, None))
        else:
            ended = replace(found, opened_at=episodes[-1].opened, resolved_at=now, status=FindingStatus.RESOLVED)
            event = damped(Event(EventKind.RESOLVED, ended), episodes, limit, now)
            episodes[-1] = Episode(episodes[-1].opened, now)
        yield Move(now, event, why(event, frozenset({"f"})))


def said(pauses: Sequence[float], limit: Limit = LIMIT, found: Finding = FOUND) -> list[str]:
    return [m.reason.value if m.reason else "" for m in lived(pauses, limit, found)]


TWICE = ["reopened", "resolved"] * 2
TABLE = [
    ("often", [1] * 10, [*TWICE, "reopened", "resolved", "flapping", "", "", ""]),
    ("calm between", [1] * 8 + [7 * 24, 1], [*TWICE, "reopened", "resolved", "flapping", "", "reopened", "resolved"]),
    ("not quite", [1] * 8 + [7 * 24 - 1, 1], [*TWICE, "reopened", "resolved", "flapping", "", "", ""]),
    ("stays open, then ends", [1] * 7 + [7 * 24], [*TWICE, "reopened", "resolved", "flapping", "resolved"]),
    ("seldom", [60] * 10, ["reopened", "resolved"] * 5),
]


@pytest.mark.parametrize(("pauses", "expected"), [t[1:] for t in TABLE], ids=[t[0] for t in TABLE])
def test_what_is_told_of_it(pauses: list[float], expected: list[str]) -> None:
    """The fourth opening in a week says that it flaps; then nothing until it was calm for a week."""
    assert said(pauses) == expected


def test_it_says_why() -> None:
    """How often, and what follows; and the record of what is not told says so, too."""
    moves = list(lived([1] * 9))
    assert moves[6].event.flapping == (
        "flapping: opened 4 times in 7 days; from now on it is recorded, and told again when it has been as it is for "
        "7 days"
    )
    assert moves[8].event.detail == "not told: opened 5 times in 7 days"
    assert "36 hours" in list(lived([1] * 9, Limit(3, 36 * HOUR)))[6].event.flapping


@pytest.mark.parametrize(
    "found",
    [replace(FOUND, severity=Severity.CRITICAL), replace(FOUND, calm_at=NOW, severity=Severity.CRITICAL)],
    ids=["critical", "critical by now"],
)
def test_what_is_critical_is_always_told(found: Finding) -> None:
    """Whoever does wrong many times must not make it silent by that."""
    assert said([1] * 10, found=found) == ["reopened", "resolved"] * 5


@pytest.mark.parametrize(
    "hidden", [{"draft": True}, {"silenced_until": NOW + 99 * DAY}, {"verdict": Verdict.EXEMPT}], ids=str
)
def test_what_nobody_hears_of_does_not_wait_to_be_told(hidden: dict[str, object]) -> None:
    """A draft, silenced or exempt: not told as it opens, nor later for having flapped."""
    moves = lived([1] * 9, found=replace(FOUND, **hidden))  # type: ignore[arg-type]  # one field each
    assert all(m.event.finding.calm_at is None for m in moves if m.event.kind is EventKind.OPENED)


def test_whoever_asks_is_told_why_nothing_was_said() -> None:
    """By `rules explain`, of an opening that was recorded alone."""
    assert told(FOUND) == "told when it opened"
    assert told(FOUND, in_silence=True) == "not told when it opened: it was flapping"


@given(pauses=st.lists(st.integers(1, 250), max_size=30), openings=st.integers(1, 4), days=st.integers(1, 9))
def test_whatever_happens_nobody_is_left_without_a_word(pauses: list[int], openings: int, days: int) -> None:
    """What is not told waits to be told; before it, and since the last calm, somebody heard that it flaps."""
    limit = Limit(openings, days * DAY)
    last, warned, opened = NOW - 99 * DAY, False, 0
    for move in lived(pauses, limit):
        if move.event.kind is EventKind.OPENED and move.at - last >= limit.within:
            warned, opened = False, 0
            assert move.reason is Reason.REOPENED
        opened += move.event.kind is EventKind.OPENED
        if move.reason is Reason.FLAPPING:
            assert (warned, opened > openings) == (False, True)
            warned = True
        waits = move.event.finding.calm_at
        assert (waits is None) == (move.reason is not None)
        assert waits in (None, move.at + limit.within)
        assert warned or waits is None
        last = move.at
