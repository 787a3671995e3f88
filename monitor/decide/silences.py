"""Silences: what they mute now, what that moves, and when their authors are warned."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from monitor.decide.fits import fits
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus
from monitor.domain.rule import Rule
from monitor.domain.silence import Silence, SilenceState

Rules = Mapping[str, Rule]


def state(silence: Silence, now: datetime) -> SilenceState:
    if now >= silence.ends:
        return SilenceState.OVER
    return SilenceState.ACTIVE if now >= silence.starts else SilenceState.PLANNED


def in_force(silences: Iterable[Silence], now: datetime) -> list[Silence]:
    return [s for s in silences if state(s, now) is SilenceState.ACTIVE]


def muting(found: Finding, silences: Iterable[Silence], rules: Rules) -> Silence | None:
    """The one that mutes it longest; `silences`: those in force."""
    mine = (s for s in silences if fits(s.matcher, found, rules.get(found.rule)))
    return max(mine, key=lambda s: (s.ends, -(s.id or 0)), default=None)


def told_silenced(events: Iterable[Event], silences: Sequence[Silence], rules: Rules) -> Iterator[Event]:
    """What a poll found, with what is muted marked: a finding may open in silence."""
    for event in events:
        silence = muting(event.finding, silences, rules)
        after = event._replace(finding=replace(event.finding, silenced_until=silence.ends if silence else None))
        opened = event.kind is EventKind.OPENED and silence is not None
        yield after._replace(detail=_said(silence)) if opened and silence else after


def moves(found: Iterable[Finding], silences: Sequence[Silence], rules: Rules) -> Iterator[Event]:
    """What becomes of findings by these silences, and by those that are no longer among them."""
    for each in found:
        if each.status is FindingStatus.RESOLVED:
            continue
        silence = muting(each, silences, rules)
        until = silence.ends if silence else None
        if until == each.silenced_until:
            continue
        after = replace(each, silenced_until=until)
        if silence is not None:
            yield Event(EventKind.SILENCED, after, _said(silence), by=silence.by)
        else:
            yield Event(EventKind.SILENCE_ENDED, after, "no longer silenced, and still open")


def _said(silence: Silence) -> str:
    return f"silenced until {silence.ends:%Y-%m-%d %H:%M} UTC by {silence.by}: {silence.reason}"


def warn_at(silence: Silence, warning: timedelta) -> datetime:
    """Before its end, but never so early that a short one is warned of as it begins."""
    return silence.ends - min(warning, (silence.ends - silence.starts) / 4)
