"""Reads what is there into the staging file, and goes on where a poll that was cut off has left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import structlog

from monitor import __version__
from monitor.decide import drift
from monitor.decide.access import access_digest, privileged
from monitor.decide.plan import Cost, expected, minutes
from monitor.domain.reading import (
    Lane,
    Outcome,
    Resumable,
    Scope,
    Source,
    WithCost,
)
from monitor.errors import StoreError
from monitor.line.parts import Parts, Watched
from monitor.line.turns import source_mark, suffix
from monitor.store import queries
from monitor.store.staging import Staging
from monitor.store.trail import Beginning, Trail, take_up

log = structlog.get_logger()


def open_staging(
    parts: Parts, watched: Watched, lane: Lane = Lane.FULL, mark: str | None = None, only: str | None = None
) -> Staging:
    """`only`: the account that a poll of one is about."""
    now, name = parts.clock.now(), watched.source.name
    source_id = queries.source_id(parts.engine, name, watched.kind)
    facts = queries.source_facts(parts.engine, source_id)
    if lane.narrow and facts.watched_since is None:
        what = f"the fast lane of {name}" if lane is Lane.FAST else f"a look at one account of {name}"
        raise StoreError(f"{what} waits for the first whole poll, to compare with")
    return Staging(
        parts.staging_folder / f".staging-{mark or source_mark(name)}{suffix(lane)}.sqlite",
        parts.engine.url.database or "",
        source_id,
        now,
        drift.born(now),
        quiet=facts.watched_since is None,
        forget=facts.reader != watched.reader,
        privileged=lambda account: (
            None if watched.authority else privileged(account, watched.privileged_roles, has_flags=watched.has_flags)
        ),
        digest=access_digest,
        kind=watched.kind_of_records,
        lane=lane,
        later=later(watched.slow, facts.scopes_read, now),
        only=only,
    )


def later(slow: Mapping[str, float], read: Mapping[str, datetime], now: datetime) -> frozenset[str]:
    """Families of scopes whose own interval has not passed since a poll that read them began."""
    return frozenset(f for f, every in slow.items() if f in read and now < read[f] + timedelta(seconds=every))


def costs(parts: Parts, name: str) -> Iterator[Cost]:
    """What the polls of a source will cost if they begin now, by what is recorded of it."""
    watched, sizes = parts.watched[name], queries.sizes(parts.engine, name)
    read = queries.scopes_read(parts.engine, name)
    for lane, every in ((Lane.FULL, watched.every), (Lane.FAST, watched.fast_every)):
        source = watched.source if lane is Lane.FULL else watched.fast
        if every is None or not isinstance(source, WithCost):
            continue
        number, seconds = source.rate
        asked = queries.most_asked(parts.engine, name) if lane is Lane.FULL else {}
        requests = expected(source.cost(sizes), asked)
        not_due = later(watched.slow, read, parts.clock.now()) if lane is Lane.FULL else frozenset()
        yield Cost(name, lane, requests, not_due, number / seconds, every)


def announce(parts: Parts, name: str, lane: Lane) -> None:
    for cost in costs(parts, name):
        if cost.lane is lane:
            takes = minutes(cost.seconds())
            log.info("polling", source=name, lane=lane.value, requests=cost.total, takes=f"about {takes}")


def open_trail(parts: Parts, watched: Watched, staging: Staging) -> Trail:
    """Where this poll leaves what it has read. With what one has left that was cut off, the staging is filled first."""
    source, name = watched.of(staging.lane), watched.source.name
    path = parts.staging_folder / f".trail-{source_mark(name)}"
    if staging.lane.narrow:
        return Trail(None)
    if not (isinstance(source, Resumable) and source.resumes and watched.resume_within):
        path.unlink(missing_ok=True)
        return Trail(None)
    trail, mark, now = Trail(path), f"{__version__} {watched.reader} {watched.asks}", parts.clock.now()
    end = take_up(path, mark, staging, now, timedelta(seconds=watched.resume_within))
    if end is None:
        trail.begin(Beginning(mark, now, staging.began))
    else:
        trail.go_on(end)
        log.info("going on with a poll that was cut off", source=name, kept=len(staging.scopes))
    return trail


def to_go_on(staging: Staging, source: Source) -> bool:
    """Whether the next poll is to go on where this one was: users broke off because nobody answered any more.

    Once: what is still out of reach then is begun anew, so that no page grows old.
    """
    users = staging.scopes.get(Scope.USERS)
    broken = users is not None and users.outcome is Outcome.PARTIAL
    return broken and staging.resumed is None and isinstance(source, Resumable) and source.cut_off


def poll(source: Source, staging: Staging, trail: Trail, parts: Parts) -> None:
    """Reads what is there into the staging file."""
    for batch in source.read(staging):
        staging.add(batch)
        trail.add(batch, staging.take_seen(), parts.clock.now())
        parts.at("poll")
