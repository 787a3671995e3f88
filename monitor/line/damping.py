"""Which openings and ends of this poll are not told, since their findings come and go."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from monitor.decide.flapping import Episode, damped
from monitor.domain.finding import Event, EventKind
from monitor.line.parts import Parts
from monitor.store import findings
from monitor.store.engine import reading


def told_damped(parts: Parts, events: Iterable[Event], now: datetime) -> Iterator[Event]:
    """The same events, with that decided."""
    events = list(events)
    marks = [e.finding.fingerprint for e in events if e.kind in (EventKind.OPENED, EventKind.RESOLVED)]
    if parts.flapping is None or not marks:
        yield from events
        return
    with reading(parts.engine) as connection:
        before = findings.episodes(connection, marks)
    for event in events:
        episodes = [Episode(*each) for each in before.get(event.finding.fingerprint, ())]
        yield damped(event, episodes, parts.flapping, now)
