"""Silences in force: what begins to be muted, what is told again, and who is warned; in one transaction each time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import Connection

from monitor.decide import route, silences
from monitor.decide.address import addressed
from monitor.domain.finding import Event, Finding
from monitor.domain.message import Notification
from monitor.domain.silence import Silence
from monitor.line.parts import Parts
from monitor.store import findings, outbox
from monitor.store import silences as store
from monitor.store.engine import reading, writing


def now_in_force(parts: Parts, now: datetime) -> list[Silence]:
    with reading(parts.engine) as connection:
        return silences.in_force(store.standing(connection), now)


def silence(connection: Connection, parts: Parts, wanted: Silence, now: datetime) -> tuple[Silence, int]:
    """Adds one inside the caller's transaction, and mutes what it mutes. Returns it, and how many findings moved."""
    added = store.add(connection, wanted, silences.warn_at(wanted, parts.silence_warning), now)
    return added, settle(connection, parts, now)


def expire(connection: Connection, parts: Parts, silence_id: int, by: str, now: datetime) -> bool:
    """Ends one now; what is still open is told. False when there is none that stands."""
    done = store.expire(connection, silence_id, by, now)
    if done:
        settle(connection, parts, now)
    return done


def tick(parts: Parts) -> None:
    """What time alone brings about. Cheap while it brings nothing; the same for every process that asks."""
    now = parts.clock.now()
    with reading(parts.engine) as connection:
        if not store.moving(connection, now):
            return
    with writing(parts.engine) as connection:
        settle(connection, parts, now)


def settle(connection: Connection, parts: Parts, now: datetime, source_id: int | None = None) -> int:
    """Brings findings and silences in line with the time, and writes down what is to be said of it.

    `source_id`: only its findings can have moved. Returns how many did.
    """
    standing = store.standing(connection)
    if not standing:
        return 0
    before, rules = findings.unresolved(connection, source_id), parts.rules.by_id
    events = list(silences.moves(before, silences.in_force(standing, now), rules))
    findings.move_all(connection, events, now)
    if source_id is None:
        changed = [(s, state) for s in standing if (state := silences.state(s, now)) is not s.state]
        store.moved(connection, changed, now)
    notes = list(_told(connection, parts, events, now))
    notes += _warnings(connection, parts, before, now) if source_id is None else ()
    marks = {e.finding.fingerprint: e.finding.id for e in events}
    said = addressed(notes, parts.manners, parts.zone)
    outbox.put(connection, [(note, marks.get(mark or "")) for note, mark in said], None)
    return len(events)


def _told(
    connection: Connection, parts: Parts, events: list[Event], now: datetime
) -> Iterator[tuple[Notification, str | None]]:
    rules, nothing = parts.rules.by_id, frozenset[str]()
    living = outbox.living(connection, [e.finding.id for e in events if e.finding.id is not None], parts.living)
    yield from route.of_events(events, rules, parts.routes, nothing, now, parts.storm_limit)
    yield from route.of_updates(events, rules, nothing, living, now, parts.storm_limit)


def _warnings(
    connection: Connection, parts: Parts, found: list[Finding], now: datetime
) -> Iterator[tuple[Notification, str | None]]:
    """Once each, to the author where one can be reached, and where it was made."""
    rules = parts.rules.by_id
    for each in store.to_warn(connection, now):
        mutes = sum(silences.muting(f, [each], rules) is not None for f in found)
        owners = [name for name, manner in parts.manners.items() if manner.owners]
        where = [each.receiver] if each.receiver in parts.manners else owners[:1] or route.everyone_last(parts.routes)
        for note in route.of_silence(each, mutes, where, now):
            yield note, None
        store.warned(connection, each, now)
