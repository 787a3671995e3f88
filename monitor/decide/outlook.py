"""What time has brought to a finding and will bring, step by step: for whoever asks why nothing was said, or when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple

from monitor.decide.deadlines import Step, Tempo, in_hours, steps
from monitor.decide.route import held_back, passage, receivers
from monitor.domain.finding import EventKind, Finding, FindingStatus
from monitor.domain.message import Route
from monitor.domain.rule import Rule


class Told(NamedTuple):
    """A step that is on record."""

    kind: EventKind
    detail: str
    at: datetime


class State(StrEnum):
    TOLD = "told"
    PASSED = "passed over"  # something newer was told before anybody looked
    HELD = "held back"
    COMES = "comes"


class Prospect(NamedTuple):
    """A step, with the time at which it is told; `why` not, or why not yet."""

    step: Step
    state: State
    to: tuple[str, ...]
    why: str = ""


def outlook(
    found: Finding, rule: Rule | None, routes: Sequence[Route], tempo: Tempo, told: Sequence[Told], now: datetime,
    unseen: str | None = None,
) -> list[Prospect]:  # fmt: skip
    """In the order of time; of the reminders the last one told and the next one. `unseen`: why its source is not."""
    if found.status is FindingStatus.RESOLVED:
        return []
    everyone = receivers(found, routes, rule)
    go_on = frozenset(steps(found, rule, routes, tempo, now))
    prospects = []
    for plain in steps(replace(found, status=FindingStatus.OPEN), rule, routes, tempo, now):
        step, told_at = in_hours(found, plain, tempo), _told_at(plain, told)
        state, why = _state(found, plain, step, now, unseen, goes_on=plain in go_on)
        if told_at is not None and plain.kind is not EventKind.REMINDED:
            step, state, why = step._replace(at=told_at), State.TOLD, ""
        prospects.append(Prospect(step, state, step.to or everyone, why))
    return sorted(_few(prospects, told, everyone), key=lambda p: p.step.at)


def _told_at(step: Step, told: Sequence[Told]) -> datetime | None:
    """What was told may say more: who was not told in time."""
    return next((t.at for t in reversed(told) if t.kind is step.kind and t.detail.startswith(step.detail)), None)


def _state(
    found: Finding, plain: Step, step: Step, now: datetime, unseen: str | None, *, goes_on: bool
) -> tuple[State, str]:
    told_at, held = found.told_at or found.opened_at, held_back(found)
    if step.at <= told_at:
        return State.PASSED, f"something newer was told on {_short(told_at)}"
    if held:
        return State.HELD, held
    if not goes_on:
        by = f" by {found.acknowledged_by}" if found.acknowledged_by else ""
        on = f" on {_short(found.acknowledged_at)}" if found.acknowledged_at else ""
        return State.HELD, f"acknowledged{by}{on}"
    if step.at <= now:
        return State.COMES, unseen or "due: told at the next look"
    return State.COMES, f"{_short(plain.at)} is outside business hours" if step.at != plain.at else ""


def _few(prospects: Sequence[Prospect], told: Sequence[Told], everyone: tuple[str, ...]) -> Iterator[Prospect]:
    """All reminders say the same: the last of those that were told, and the next."""
    yield from (p for p in prospects if p.step.kind is not EventKind.REMINDED)
    for last in [t for t in told if t.kind is EventKind.REMINDED][-1:]:
        yield Prospect(Step(last.at, last.kind, last.detail), State.TOLD, everyone)
    yield from [p for p in prospects if p.step.kind is EventKind.REMINDED and p.state is not State.PASSED][:1]


def never(found: Finding, rule: Rule | None, routes: Sequence[Route], tempo: Tempo) -> Iterator[str]:
    """Which steps there are none of, and why."""
    if found.status is FindingStatus.RESOLVED:
        return
    if found.due_at is None:
        yield "due soon, overdue: never, since its rule has no fix_within"
    if not tempo.remind:
        yield "reminder: never, since `remind` is 0"
    if not any(step.route.escalate for step in passage(found, routes, rule) if not step.why_not):
        yield "escalation: never, since no route that takes it has `escalate`"


def _short(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
