"""Findings that come and go: told once as flapping, then recorded, and told again when they have been calm.

Calm is a window without an opening and without an end. What is critical is told each time: somebody who may hide what
they do by doing it often must not get the chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from monitor.decide.route import why
from monitor.domain.finding import Event, EventKind
from monitor.domain.rule import Severity


class Limit(NamedTuple):
    openings: int  # more than these
    within: timedelta


class Episode(NamedTuple):
    opened: datetime
    ended: datetime | None


class State(NamedTuple):
    """What the last of some openings is."""

    openings: int  # within the window
    damped: bool
    begins: bool  # with it the damping begins, so it is told


def state(episodes: Sequence[Episode], limit: Limit) -> State:
    """`episodes`: all of one fingerprint, the first one first."""
    recent, now, last = list[datetime](), State(0, damped=False, begins=False), None
    for each in episodes:
        calm = last is not None and each.opened - last >= limit.within
        recent = [t for t in recent if not calm and each.opened - t < limit.within] + [each.opened]
        was = now.damped and not calm
        begins = not was and len(recent) > limit.openings
        now, last = State(len(recent), was or begins, begins), each.ended or each.opened
    return now


def damped(event: Event, before: Sequence[Episode], limit: Limit, now: datetime) -> Event:
    """An opening or an end, with what follows from `before`: the episodes that are recorded, its own among them if it
    ends one.
    """
    if event.kind not in (EventKind.OPENED, EventKind.RESOLVED):
        return event
    event = event._replace(finding=replace(event.finding, calm_at=None))
    if why(event, frozenset()) is None or event.finding.severity is Severity.CRITICAL:
        return event
    if event.kind is EventKind.OPENED:
        return _opening(event, state([*before, Episode(now, None)], limit), limit, now)
    soon = now - event.finding.opened_at < limit.within
    return _untold(event, limit, now) if soon and state(before, limit).damped else event


def _opening(event: Event, found: State, limit: Limit, now: datetime) -> Event:
    said = f"opened {found.openings} times in {_span(limit.within)}"
    if found.begins:
        calm = f"told again when it has been as it is for {_span(limit.within)}"
        return event._replace(flapping=f"flapping: {said}; from now on it is recorded, and {calm}")
    return _untold(event, limit, now)._replace(detail=f"not told: {said}") if found.damped else event


def _untold(event: Event, limit: Limit, now: datetime) -> Event:
    return event._replace(finding=replace(event.finding, calm_at=now + limit.within))


def _span(window: timedelta) -> str:
    days, rest = divmod(window, timedelta(days=1))
    return f"{window / timedelta(hours=1):g} hours" if rest or days < 2 else f"{days} days"
