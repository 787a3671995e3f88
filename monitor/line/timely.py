"""What time alone brings: silences that begin and end, deadlines, reminders, the next receiver.

The daemon asks at every tick, `poll` once; whatever is due is written with its record in one transaction, so that it is
said once, however many processes ask and whenever one of them was stopped.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from monitor.decide import route
from monitor.decide.address import addressed
from monitor.decide.deadlines import SEEN_AGAIN, Look, look
from monitor.decide.unseen import unseen, waits
from monitor.domain.finding import Event, EventKind, Finding
from monitor.line import quiet
from monitor.line.parts import Parts
from monitor.store import findings, outbox, queries
from monitor.store.engine import reading, writing


def tick(parts: Parts, *, anew: bool = False) -> None:
    """Cheap while nothing is due. `anew`: looks at every finding, since the config may have moved their times."""
    quiet.tick(parts)
    now = parts.clock.now()
    with reading(parts.engine) as connection:
        if not (anew or findings.anything_wakes(connection, now) or findings.anything_calm(connection, now)):
            return
    with writing(parts.engine) as connection:
        waking = findings.waking(connection, None if anew else now)
        hidden = not_seen(connection, parts.sources or tuple(parts.watched))
        looks = _looks(parts, waking, hidden, now)
        events = [event for each in looks for event in each.events]
        findings.move_all(connection, events, now)
        findings.sleep(connection, ((f.id or 0, each.wakes_at) for f, each in zip(waking, looks, strict=True)))
        events += _calm(connection, parts, hidden, now)
        notes = route.of_events(events, parts.rules.by_id, parts.routes, frozenset(), now, parts.storm_limit)
        marks = {e.finding.fingerprint: e.finding.id for e in events}
        said = addressed(notes, parts.manners, parts.zone)
        outbox.put(connection, [(note, marks.get(mark or "")) for note, mark in said], None)


def _calm(connection: Connection, parts: Parts, hidden: Collection[str], now: datetime) -> list[Event]:
    """Ends that were recorded and not told, since their findings came and went, and which are true by now."""
    if hidden:
        findings.calm_later(connection, hidden, now, now + SEEN_AGAIN)
    over = findings.take_calm(connection, now)
    heard = outbox.living(connection, (f.id for f in over if f.id is not None), parts.manners)
    events = (Event(EventKind.RESOLVED, f) for f in over)
    return [route.to_all_who_heard(e, heard, parts.routes, parts.rules.by_id) for e in events]


def not_seen(connection: Connection, sources: Collection[str]) -> dict[str, str]:
    """Which of these sources are not seen now, and why, as it is recorded. One that was taken out of the config is none
    of them: nobody waits for it to be seen again.
    """
    hidden = unseen(findings.about_sources(connection), queries.outcomes(connection))
    return {name: why for name, why in hidden.items() if name in sources}


def _looks(parts: Parts, found: Sequence[Finding], hidden: Mapping[str, str], now: datetime) -> list[Look]:
    rules = parts.rules.by_id
    return [
        look(f, rules.get(f.rule), parts.routes, parts.tempo, now, unseen=waits(f, hidden) is not None) for f in found
    ]
