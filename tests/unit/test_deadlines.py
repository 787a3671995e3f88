"""What time alone brings to a finding: in which order, how often, and never twice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide import deadlines
from monitor.decide.deadlines import SEEN_AGAIN, SLOWEST, Tempo, look
from monitor.decide.hours import later, opening
from monitor.decide.unseen import unseen, waits
from monitor.domain.company import BusinessHours
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus
from monitor.domain.message import Escalation, Route
from monitor.domain.observed import Subject
from monitor.domain.rule import Rule, RuleStatus, Severity, Verdict

NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)  # a Monday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOURS = BusinessHours(UTC, opens=time(9), closes=time(17))
BERLIN = BusinessHours(ZoneInfo("Europe/Berlin"), opens=time(9), closes=time(17), country="DE", region="BE")
RULE = Rule("r", "t", Severity.HIGH, RuleStatus.ACTIVE, "o", "account", (), "", "", fix_within=10 * DAY)
ROUTES = (
    Route(("desk",), escalate=(Escalation(4 * HOUR, ("on-call",)), Escalation(DAY, ("head",)))),
)  # fmt: skip
FOUND = Finding(
    "f", "r", "t", Severity.HIGH, FindingStatus.OPEN, Verdict.FINDING, "school", Subject("account", "a"), "o", NOW,
    NOW + 10 * DAY, (), "", 1, id=1, asked_at=NOW, told_at=NOW,
)  # fmt: skip
ALWAYS = Tempo()


def through(found: Finding, ticks: Iterable[timedelta], tempo: Tempo = ALWAYS, routes: Any = ()) -> Iterator[Event]:
    """What is told at these times after the beginning, each look beginning where the last one ended."""
    for tick in ticks:
        now = NOW + tick
        seen = look(found, RULE, routes, tempo, now)
        assert seen.wakes_at > now
        if seen.events:
            found = replace(found, told_at=now)
        yield from (e._replace(detail=f"{tick / DAY:g}d {e.detail}") for e in seen.events)


def kinds(events: Iterable[Event]) -> list[tuple[str, str]]:
    """(day, kind)"""
    return [((e.detail or "").split()[0], e.kind.value) for e in events]


def every(step: timedelta, until: timedelta) -> list[timedelta]:
    return [step * n for n in range(1, until // step + 1)]


def test_a_deadline_is_told_three_times_and_reminders_slow_down() -> None:
    """At 50, 80 and 100 % of fix_within; then after 1, 3, 7, 15, 31 and 61 days, and every 30 days."""
    told = kinds(through(FOUND, every(DAY / 2, 140 * DAY)))
    assert told == [
        ("5d", "due_soon"), ("8d", "due_soon"), ("10d", "overdue"), ("11d", "reminded"), ("13d", "reminded"),
        ("17d", "reminded"), ("25d", "reminded"), ("41d", "reminded"), ("71d", "reminded"), ("101d", "reminded"),
        ("131d", "reminded"),
    ]  # fmt: skip


def test_what_was_missed_is_said_as_its_latest_step() -> None:
    """After a week off, nobody wants to hear that half of the time had been over."""
    told = list(through(FOUND, [9 * DAY, 30 * DAY]))
    assert kinds(told) == [("9d", "due_soon"), ("30d", "reminded")]
    assert told[0].detail == "9d 80 % of the time to fix it is over: due by 2026-03-12 10:00 UTC"


def test_without_a_deadline_there_are_reminders_until_somebody_takes_care() -> None:
    """From when people were asked; with a deadline, an acknowledged one is told of that."""
    free = replace(FOUND, due_at=None)
    assert kinds(through(free, every(DAY, 8 * DAY))) == [("1d", "reminded"), ("3d", "reminded"), ("7d", "reminded")]
    taken: dict[str, Any] = {"status": FindingStatus.ACKNOWLEDGED}
    assert kinds(through(replace(free, **taken), every(DAY, 8 * DAY))) == []
    assert kinds(through(replace(FOUND, **taken), every(DAY, 8 * DAY))) == [("5d", "due_soon"), ("8d", "due_soon")]


def test_nobody_acknowledges_it() -> None:
    """The next receiver after four hours, the one after that after a day; each in time, none twice."""
    told = [e for e in through(FOUND, every(HOUR, 2 * DAY), routes=ROUTES) if e.kind is EventKind.ESCALATED]
    assert [(e.to, (e.detail or "").split()[0]) for e in told] == [(("on-call",), "0.166667d"), (("head",), "1d")]
    taken = replace(FOUND, status=FindingStatus.ACKNOWLEDGED)
    assert list(through(taken, every(HOUR, 2 * DAY), routes=ROUTES)) == []


@pytest.mark.parametrize(
    "moved",
    [
        {"verdict": Verdict.EXEMPT}, {"draft": True}, {"silenced_until": NOW + 99 * DAY},
        {"status": FindingStatus.RESOLVED},
    ],
)  # fmt: skip
def test_what_nobody_is_to_hear_of_is_not_reminded_of(moved: dict[str, Any]) -> None:
    """Exempt, draft, silenced or over: its next event says so, and not the clock."""
    assert list(through(replace(FOUND, **moved), every(DAY, 40 * DAY), routes=ROUTES)) == []


def test_while_the_source_is_not_seen_all_of_it_waits() -> None:
    """However long that is; then the newest step is told, not what was held back, and the next one in its time."""
    for tick in every(DAY / 4, 13 * DAY):
        seen = look(FOUND, RULE, (), ALWAYS, NOW + tick, unseen=True)
        assert seen.events == ()
        assert seen.wakes_at <= NOW + max(tick, 5 * DAY) + SEEN_AGAIN
    (told,) = look(FOUND, RULE, (), ALWAYS, NOW + 13 * DAY).events
    assert told.kind is EventKind.REMINDED


ABOUT_IT = replace(FOUND, rule="source-blind", subject=Subject("source", "school"))
SEEN = [
    ("whole", [], {"school": "complete"}, None),
    ("partly", [], {"school": "partial"}, None),
    ("failed", [], {"school": "failed"}, "its last poll failed"),
    ("doubted", [], {"school": "quarantined"}, "its last poll is quarantined"),
    ("another one", [replace(ABOUT_IT, source="other")], {"school": "complete", "other": "failed"}, None),
    ("blind", [ABOUT_IT], {"school": "partial"}, "source-blind is open since 2026-03-02 10:00 UTC"),
    ("refused", [replace(ABOUT_IT, rule="source-needs-reauth")], {}, "source-needs-reauth is open since"),
    ("over", [replace(ABOUT_IT, status=FindingStatus.RESOLVED)], {}, None),
    ("other trouble", [replace(ABOUT_IT, rule="clock-skew")], {}, None),
]


@pytest.mark.parametrize(("found", "outcomes", "why"), [s[1:] for s in SEEN], ids=[s[0] for s in SEEN])
def test_whether_a_source_is_seen(found: list[Finding], outcomes: dict[str, str], why: str | None) -> None:
    """By its last poll and by what is open about it; what is said of the source itself never waits."""
    hidden = unseen(found, outcomes)
    said = waits(FOUND, hidden)
    assert (said is None) if why is None else (said is not None and why in said)
    assert waits(ABOUT_IT, hidden) is None


def test_of_an_escalation_that_was_missed_only_what_is_due_is_told() -> None:
    """It says who should have heard before; steps that waited for the same morning are all due."""
    (told,) = [e for e in look(FOUND, RULE, ROUTES, ALWAYS, NOW + 2 * DAY).events if e.kind is EventKind.ESCALATED]
    assert told.to == ("head",)
    assert (told.detail or "").endswith("; nothing could be told while it was due for on-call")
    go_on = (Route(("x",), escalate=(Escalation(HOUR, ("other",)),), go_on=True), *ROUTES)
    both = [e.to for e in look(FOUND, RULE, go_on, ALWAYS, NOW + 2 * DAY).events if e.kind is EventKind.ESCALATED]
    assert both == [("other",), ("head",)], "each route has an escalation of its own"
    night = replace(FOUND, opened_at=NOW + 10 * HOUR, asked_at=NOW + 10 * HOUR, told_at=NOW + 10 * HOUR)
    early = (Route(("x",), escalate=(Escalation(HOUR, ("a",)), Escalation(2 * HOUR, ("b",)))),)
    waiting = Tempo(shares=(), remind=timedelta(), hours=HOURS)
    assert [e.to for e in look(night, RULE, early, waiting, NOW + DAY).events] == [("a",), ("b",)]


def test_after_a_silence_people_have_their_time_anew() -> None:
    """The silence's end told it; escalation counts from there."""
    asked = replace(FOUND, asked_at=NOW + 2 * DAY, told_at=NOW + 2 * DAY)
    told = through(asked, every(HOUR, 3 * DAY), routes=ROUTES)
    assert [(e.to, (e.detail or "").split()[0]) for e in told] == [(("on-call",), "2.16667d"), (("head",), "3d")]


def test_what_may_wait_waits_for_business_hours() -> None:
    """A step on Saturday comes on Monday at nine; a critical one comes at once."""
    weekend = replace(FOUND, due_at=NOW + 5 * DAY)  # a Saturday
    calm = Tempo(shares=(), remind=timedelta(), hours=HOURS)
    assert kinds(through(weekend, every(HOUR, 9 * DAY), calm)) == [("6.95833d", "overdue")]
    grave = replace(weekend, severity=Severity.CRITICAL)
    assert kinds(through(grave, every(HOUR, 9 * DAY), calm)) == [("5d", "overdue")]


@given(
    due=st.none() | st.integers(1, 60 * 24), waits=st.booleans(), remind=st.integers(0, 100),
    looks=st.lists(st.integers(1, 100 * 24), min_size=1, max_size=30),
)  # fmt: skip
def test_whenever_it_is_looked_at_nothing_is_lost_and_nothing_said_twice(
    due: int | None, waits: bool, remind: int, looks: list[int]
) -> None:
    """For any times of looking, restarts among them: each step is told, or a later one was told at the same look."""
    found = replace(FOUND, due_at=None if due is None else NOW + due * HOUR)
    tempo = Tempo(remind=remind * HOUR, hours=HOURS if waits else None)
    ticks = sorted({n * HOUR for n in looks})
    expected: list[tuple[timedelta, EventKind, str]] = []
    before = timedelta()
    for tick in ticks:
        among = [s for s in steps_of(found, tempo, ticks[-1]) if before < s.at - NOW <= tick]
        if among:
            last = [s for s in among if s.kind is not EventKind.ESCALATED][-1:]
            called = [s for s in among if s.kind is EventKind.ESCALATED]
            told = [*last, *(s for s in called if s.at == called[-1].at)]
            expected += [(tick, s.kind, s.detail) for s in told]
        before = tick
    seen = []
    for tick in ticks:
        for event in look(found, RULE, ROUTES, tempo, NOW + tick).events:
            seen.append((tick, event.kind, (event.detail or "").partition(";")[0]))
            found = replace(found, told_at=NOW + tick)
    assert seen == expected


def steps_of(found: Finding, tempo: Tempo, until: timedelta) -> list[deadlines.Step]:
    steps = (deadlines.in_hours(found, s, tempo) for s in deadlines.steps(found, RULE, ROUTES, tempo, NOW + until))
    return sorted(steps, key=lambda s: s.at)


@given(st.integers(0, 5 * 366 * 24), st.sampled_from([HOURS, BERLIN]))
def test_waiting_is_never_shorter_than_needed_nor_longer_than_a_holiday(hour: int, hours: BusinessHours) -> None:
    """It ends within business hours, does not move what lies in them, and keeps the order."""
    at = NOW + hour * HOUR
    opened = opening(hours, at)
    assert at <= opened <= at + 7 * DAY
    assert opening(hours, opened) == opened
    assert opening(hours, at + HOUR) >= opened


@pytest.mark.parametrize(
    ("start", "days", "end"),
    [
        ("2026-03-02T10:00", 2.0, "2026-03-04T10:00"), ("2026-03-05T10:00", 2.0, "2026-03-09T10:00"),
        ("2026-03-07T10:00", 1.0, "2026-03-09T10:00"), ("2026-03-06T22:00", 0.25, "2026-03-09T04:00"),
        ("2026-04-02T10:00", 1.0, "2026-04-07T10:00"),  # over Easter
        ("2026-03-27T10:00", 1.0, "2026-03-30T10:00"),  # over the change of clocks
    ],
)  # fmt: skip
def test_a_deadline_in_business_days(start: str, days: float, end: str) -> None:
    """Weekends and holidays do not count, and the hour of the day stays."""
    zone = BERLIN.zone
    begun = datetime.fromisoformat(start).replace(tzinfo=zone).astimezone(UTC)
    due = later(BERLIN, begun, timedelta(days=days))
    assert due.astimezone(zone).strftime("%Y-%m-%dT%H:%M") == end
    assert due.tzinfo is UTC


def test_the_slowest_reminder_is_a_setting_that_nobody_needs() -> None:
    """A month; a longer first pause is kept as it is."""
    assert timedelta(days=30) == SLOWEST
    rare = Tempo(shares=(), remind=40 * DAY)
    assert kinds(through(replace(FOUND, due_at=None), every(DAY, 130 * DAY), rare)) == [
        ("40d", "reminded"), ("80d", "reminded"), ("120d", "reminded"),
    ]  # fmt: skip
