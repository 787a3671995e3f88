"""What time alone brings to a finding: due soon, overdue, reminders that slow down, the next receiver.

Every such step is a moment that follows from the finding, its rule and the config. A step is told when its moment lies
after the last time that something was said, and not after now. So whoever looks, and however often or seldom, nothing
is said twice; and what was missed meanwhile is said as its latest step, not as all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from monitor.decide.hours import opening
from monitor.decide.route import passage
from monitor.domain.company import BusinessHours
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus
from monitor.domain.message import Route
from monitor.domain.rule import Rule, Severity, Verdict

SLOWEST = timedelta(days=30)  # between reminders, however old a finding is
NEVER = timedelta(days=366)
SEEN_AGAIN = timedelta(minutes=15)  # how soon what waits for a source to be seen is looked at anew


class Tempo(NamedTuple):
    shares: tuple[int, ...] = (50, 80)  # percent of fix_within at which it is due soon
    remind: timedelta = timedelta(days=1)  # after the deadline, then twice as long each time; zero: never
    hours: BusinessHours | None = None  # what may wait, waits for them


USUAL_TEMPO = Tempo()


class Step(NamedTuple):
    at: datetime
    kind: EventKind
    detail: str
    to: tuple[str, ...] = ()  # other receivers than those of the routes
    route: int = 0  # whose escalation it is


class Look(NamedTuple):
    """What is told of a finding now, and when time alone brings the next thing."""

    events: tuple[Event, ...]
    wakes_at: datetime


def look(
    found: Finding, rule: Rule | None, routes: Sequence[Route], tempo: Tempo, now: datetime, *, unseen: bool = False
) -> Look:
    """`unseen`: its source is not; what is due waits for that."""
    told_at = found.told_at or found.opened_at
    if quiet(found):
        return Look((), now + NEVER)
    all_of_them = (in_hours(found, step, tempo) for step in steps(found, rule, routes, tempo, now))
    ordered = sorted(all_of_them, key=lambda s: s.at)
    passed = [s for s in ordered if told_at < s.at <= now]
    last = [s for s in passed if s.kind is not EventKind.ESCALATED][-1:]
    events = tuple(Event(s.kind, found, s.detail, to=s.to) for s in (*last, *_escalated(passed)))
    if unseen and events:
        return Look((), now + SEEN_AGAIN)
    return Look(events, next((s.at for s in ordered if s.at > now), now + NEVER))


def _escalated(passed: Sequence[Step]) -> Iterator[Step]:
    """Of each route's escalation only what is due now. Whoever was to hear of it before is not told, but named."""
    for number in dict.fromkeys(s.route for s in passed if s.kind is EventKind.ESCALATED):
        steps_of = [s for s in passed if s.kind is EventKind.ESCALATED and s.route == number]
        now = [s for s in steps_of if s.at == steps_of[-1].at]
        missed = dict.fromkeys(name for s in steps_of[: -len(now)] for name in s.to if name not in now[-1].to)
        said = f"; nothing could be told while it was due for {', '.join(missed)}" if missed else ""
        yield from (s._replace(detail=s.detail + said) for s in now)


def quiet(found: Finding) -> bool:
    """Nobody waits for anything, or nobody is to hear of it; the end of that says more than a reminder could."""
    over = found.status is FindingStatus.RESOLVED or found.verdict is Verdict.EXEMPT
    return over or found.draft or found.silenced_until is not None


def in_hours(found: Finding, step: Step, tempo: Tempo) -> Step:
    """What is critical does not wait for business hours."""
    waits = tempo.hours is not None and found.severity is not Severity.CRITICAL
    return step._replace(at=opening(tempo.hours, step.at)) if waits and tempo.hours else step


def steps(found: Finding, rule: Rule | None, routes: Sequence[Route], tempo: Tempo, now: datetime) -> Iterator[Step]:
    """All that time alone brings to it, reminders up to the first that lies well after now."""
    open_yet = found.status is FindingStatus.OPEN
    if open_yet and found.calm_at is not None:
        said = f"reminder: open since {found.opened_at:%Y-%m-%d %H:%M} UTC, and no longer flapping"
        yield Step(found.calm_at, EventKind.REMINDED, said)
    if found.due_at is not None:
        yield from _due(found.due_at, rule.fix_within if rule else None, tempo)
    if found.due_at is not None or open_yet:
        yield from _reminders(found, tempo, now)
    if open_yet:
        yield from _escalations(found, rule, routes)


def _due(due_at: datetime, within: timedelta | None, tempo: Tempo) -> Iterator[Step]:
    by = f"{due_at:%Y-%m-%d %H:%M} UTC"
    for share in tempo.shares if within else ():
        left = (within or timedelta()) * (100 - share) / 100
        yield Step(due_at - left, EventKind.DUE_SOON, f"{share} % of the time to fix it is over: due by {by}")
    yield Step(due_at, EventKind.OVERDUE, f"overdue since {by}")


def _reminders(found: Finding, tempo: Tempo, now: datetime) -> Iterator[Step]:
    """Up to the first that lies well after now."""
    if not tempo.remind:
        return
    since, pause = found.due_at or found.asked_at or found.opened_at, tempo.remind
    said = f"overdue since {since:%Y-%m-%d %H:%M} UTC" if found.due_at else f"open since {found.opened_at:%Y-%m-%d}"
    while since <= now:
        since, pause = since + pause, min(2 * pause, max(SLOWEST, tempo.remind))
        yield Step(since, EventKind.REMINDED, f"reminder: {said}")


def _escalations(found: Finding, rule: Rule | None, routes: Sequence[Route]) -> Iterator[Step]:
    asked = found.asked_at or found.opened_at
    for taken in passage(found, routes, rule):
        for after, to in taken.route.escalate if not taken.why_not else ():
            said = f"nobody has acknowledged it since {asked:%Y-%m-%d %H:%M} UTC: it goes to {', '.join(to)} as well"
            yield Step(asked + after, EventKind.ESCALATED, said, to, taken.number)
