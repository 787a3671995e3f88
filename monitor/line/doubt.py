"""Whether a poll is simply believed: one that would change more than the limits allow is set aside whole."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from monitor.decide import drift
from monitor.decide import quarantine as beyond
from monitor.domain.limits import Moved
from monitor.domain.reading import (
    Lane,
    Outcome,
    ScopeEnded,
)
from monitor.domain.snapshot import Snapshot
from monitor.line.parts import Parts, Watched
from monitor.line.people import read_people
from monitor.line.turns import source_mark
from monitor.store import aside, records
from monitor.store.measure import measured
from monitor.store.settle import settle
from monitor.store.settled import Settled
from monitor.store.staging import Staging


@dataclass(frozen=True)
class Acceptance:
    """What a person says of a poll that is beyond its limits: it is true."""

    by: str
    snapshot_id: int | None = None  # the quarantined one; None: whatever this poll shows


@dataclass(frozen=True)
class Doubt:
    """Why a poll is not simply believed: then it is held, or somebody has said that it is true."""

    moved: Mapping[str, Moved]
    why: tuple[str, ...] = ()
    held: Path | None = None  # where it lies
    acceptance: Acceptance | None = None


def quarantine(
    parts: Parts, watched: Watched, staging: Staging, settled: Settled, acceptance: Acceptance | None = None
) -> tuple[Settled, Doubt]:
    """A poll that would change more than the limits allow is set aside whole; then nothing of it is left to record.

    The first whole poll is believed: there is none to compare it with. What a source itself doubts (a stale file)
    is not for a person to accept: it has to be mended there. A fast lane that shows too much leaves it to a full poll.
    """
    moved = measured(staging, settled, parts.corroborated(watched.source.name))
    if not staging.quiet and beyond.exceeded(moved, watched.limits):
        moved = measured(staging, settled, ended_elsewhere(parts, watched, staging))
    scopes = {name: doubted(s) for name, s in staging.scopes.items()}
    if any(s.outcome is Outcome.QUARANTINED for s in staging.scopes.values()):
        staging.empty()
        staging.scopes = scopes
        return settle(staging, drift), Doubt(moved)
    why = () if staging.quiet else tuple(map(beyond.said, beyond.exceeded(moved, watched.limits)))
    if why and staging.lane.narrow:
        staging.empty()
        reason = f"beyond the limits, and so left to the full poll: {'; '.join(why)}"
        staging.scopes = {name: ScopeEnded(name, Outcome.FAILED, reason) for name in scopes}
        return settle(staging, drift), Doubt(moved)
    if not why or acceptance is not None:
        return settled, Doubt(moved, why, acceptance=acceptance)
    held_in = aside.held_file(parts.staging_folder, source_mark(watched.source.name))
    aside.set_aside(staging, watched.source.proof, held_in)
    staging.scopes = scopes
    return settle(staging, drift), Doubt(moved, why, held_in)


def ended_elsewhere(parts: Parts, watched: Watched, staging: Staging) -> Collection[str]:
    """Accounts that an authority says have ended, so that their end is no reason for doubt."""
    given = parts.corroborated(watched.source.name)
    matching = watched.matching
    people = read_people(parts.engine, parts.zone, matching, staging) if matching else None
    return {*given, *people.ended(records.recorded_accounts(staging), staging.now)} if people else given


def doubted(scope: ScopeEnded) -> ScopeEnded:
    """Nothing of a doubted poll counts; what was not read stays not read."""
    if scope.outcome not in (Outcome.COMPLETE, Outcome.PARTIAL):
        return scope
    return ScopeEnded(scope.name, Outcome.QUARANTINED, "held back with the whole poll")


def decided(parts: Parts, staging: Staging, snapshot: Snapshot, doubt: Doubt) -> Callable[[Connection, int], None]:
    """What the record says of quarantined snapshots: this one waits, or was accepted, or overtakes those that wait."""

    def write(connection: Connection, snapshot_id: int) -> None:
        source_id, folder, mark = staging.source_id, parts.staging_folder, source_mark(snapshot.source)
        now = snapshot.finished_at
        if doubt.held is not None:
            aside.put(connection, source_id, snapshot_id, "; ".join(doubt.why), doubt.held, folder, mark, now)
        if doubt.acceptance is not None and doubt.why:
            aside.accept(connection, doubt.acceptance.snapshot_id, snapshot_id, doubt.acceptance.by, doubt.why, now)
        if snapshot.outcome.applies and snapshot.lane is Lane.FULL:
            aside.supersede(connection, source_id, snapshot_id, now)

    return write
