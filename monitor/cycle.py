"""THE LINE: poll -> drift -> quarantine -> snapshot -> judge -> findings -> route -> record -> deliver.

Start reading at `run_cycle`. Everything before *record* may fail and leaves nothing but a snapshot that says so;
*record* is one transaction; *deliver* runs from the outbox, whether or not the next poll works: see dispatch.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine

from monitor import __version__
from monitor.decide import drift, silences
from monitor.decide.address import addressed
from monitor.domain.finding import Event, Judgement
from monitor.domain.reading import Clock, Lane, Outcome, Scope, ScopeEnded, WithOneAccount
from monitor.domain.snapshot import Snapshot
from monitor.errors import SourceError
from monitor.line import keeping, quiet
from monitor.line.damping import told_damped
from monitor.line.doubt import Acceptance, Doubt, decided, quarantine
from monitor.line.finding import find
from monitor.line.judging import Judged, judge_all, remembered
from monitor.line.parts import Parts, Watched
from monitor.line.poll import announce, open_staging, open_trail, poll, to_go_on
from monitor.line.seal import seal
from monitor.line.telling import tell
from monitor.line.turns import in_turn, polling, source_mark
from monitor.sources.unread import Unread
from monitor.store import aside, exemptions
from monitor.store.engine import writing
from monitor.store.record import record
from monitor.store.settle import settle
from monitor.store.staging import Staging
from monitor.store.trail import Trail

log = structlog.get_logger()


@dataclass(frozen=True)
class CycleResult:
    snapshot_id: int
    snapshot: Snapshot
    changes: int
    events: tuple[Event, ...]
    notifications: int
    unknown: Mapping[str, int]
    rule_errors: tuple[Judgement, ...]


def run_cycle(parts: Parts, name: str, acceptance: Acceptance | None = None, lane: Lane = Lane.FULL) -> CycleResult:
    """One poll of one source, from reading to recording. Raises StoreError while another process polls it."""
    with polling(parts.staging_folder, parts.clock, name, lane):
        return _cycle(parts, name, acceptance, lane)


def accept(parts: Parts, name: str, snapshot_id: int, by: str) -> CycleResult:
    """Applies a quarantined snapshot as it was seen: through the same line, but for the reading and the doubt.

    Raises StoreError when it does not wait any more, or while the source is being polled.
    """
    with polling(parts.staging_folder, parts.clock, name) as mark:
        watched = parts.watched[name]
        aside.refuse_decided(parts.engine, snapshot_id)
        staging = open_staging(parts, watched)
        try:
            kept = aside.take_up(staging, aside.kept_file(parts.staging_folder, mark, snapshot_id), snapshot_id)
            watched.source.proof = kept.proof
            staging.now = parts.clock.now()
            result = record_what_was_read(parts, watched, staging, Acceptance(by, snapshot_id))
        finally:
            staging.close()
        aside.sweep(parts.engine, parts.staging_folder, mark)
    return result


def reject(engine: Engine, clock: Clock, folder: Path, name: str, snapshot_id: int, by: str) -> None:
    """Throws a quarantined snapshot away. Raises StoreError when it does not wait, or while the source is polled."""
    with polling(folder, clock, name) as mark:
        aside.refuse_decided(engine, snapshot_id)
        with writing(engine) as connection:
            aside.reject(connection, snapshot_id, by, clock.now())
        aside.sweep(engine, folder, mark)


def look_at(parts: Parts, name: str, account_id: str) -> CycleResult:
    """A poll of one account, through the same line. Raises SourceError where the source cannot be asked for one."""
    source = parts.watched[name].source
    if not isinstance(source, WithOneAccount):
        raise SourceError(f"{name} cannot be asked for one account")
    watched = replace(parts.watched[name], fast=source.one_account(account_id))
    with polling(parts.staging_folder, parts.clock, name, Lane.ONE):
        staging = open_staging(parts, watched, Lane.ONE, only=account_id)
        try:
            keeping.open_archive(parts, watched, staging)
            poll(watched.of(Lane.ONE), staging, Trail(None), parts)
            return record_what_was_read(parts, watched, staging, None)
        finally:
            staging.close()


def record_failure(parts: Parts, name: str, why: str) -> CycleResult:
    """Records a poll that ended without a trace, or does not end, as failed: then its source counts as blind in time.

    It goes beside a poll that may still be at it, with a staging of its own.
    """
    watched = replace(parts.watched[name], source=Unread(name))
    staging = open_staging(parts, watched, mark=f"{source_mark(name)}-failed")
    try:
        staging.add(ScopeEnded(Scope.USERS, Outcome.FAILED, why))
        return record_what_was_read(parts, watched, staging, None)
    finally:
        staging.close()


def _cycle(parts: Parts, name: str, acceptance: Acceptance | None, lane: Lane) -> CycleResult:
    watched = parts.watched[name]
    staging = open_staging(parts, watched, lane)
    announce(parts, name, lane)
    trail = Trail(None)
    try:
        trail = open_trail(parts, watched, staging)
        keeping.open_archive(parts, watched, staging)
        poll(watched.of(lane), staging, trail, parts)
        result = record_what_was_read(parts, watched, staging, acceptance)
        trail.end(keep=to_go_on(staging, watched.of(lane)))
        return result
    finally:
        staging.close()


def record_what_was_read(
    parts: Parts, watched: Watched, staging: Staging, acceptance: Acceptance | None
) -> CycleResult:
    """The rest of the line: everything after the reading."""
    with in_turn(parts, watched.source.name):
        result = _concluded(parts, watched, staging, acceptance)
    _log(result)
    return result


def _concluded(parts: Parts, watched: Watched, staging: Staging, acceptance: Acceptance | None) -> CycleResult:
    settled = settle(staging, drift)
    parts.at("drift")
    settled, doubt = quarantine(parts, watched, staging, settled, acceptance)
    snapshot = seal(parts, staging, watched, doubt)
    judged = judge_all(parts, watched, staging, settled, snapshot)
    parts.at("judge")
    found, muted_by = find(parts, watched, staging, settled, snapshot, judged), quiet.now_in_force(parts, staging.now)
    silenced = silences.told_silenced(found, muted_by, parts.rules.by_id)
    events = tuple(told_damped(parts, silenced, staging.now))
    parts.at("findings")
    told = tell(parts, watched, staging, snapshot, events, judged, doubt)
    notes = list(addressed(told, parts.manners, parts.zone))
    parts.at("route")
    snapshot_id = record(
        parts.engine, staging, settled, snapshot, events, notes, rules=parts.rules,
        version=__version__, reader=watched.reader, at=parts.at,
        beside=_beside(parts, watched, staging, snapshot, doubt, judged),
    )  # fmt: skip
    if staging.lane is Lane.FULL:
        aside.sweep(parts.engine, parts.staging_folder, source_mark(watched.source.name))
    keeping.sweep(parts, watched, staging)
    changes = staging.db.execute("SELECT count(*) FROM changes").fetchone()[0]
    return CycleResult(snapshot_id, snapshot, changes, events, len(notes), judged.unknown, tuple(judged.errors))


def _beside(
    parts: Parts, watched: Watched, staging: Staging, snapshot: Snapshot, doubt: Doubt, judged: Judged
) -> tuple[Callable[[Connection, int], object], ...]:
    """What is written in the same transaction as the snapshot."""
    return (
        decided(parts, staging, snapshot, doubt),
        lambda connection, _: quiet.settle(connection, parts, staging.now, staging.source_id),
        lambda connection, _: exemptions.lapse(connection, staging.now),
        remembered(judged, snapshot),
        keeping.kept(parts, watched, staging, snapshot),
    )


def _log(result: CycleResult) -> None:
    told = Counter(e.kind.value for e in result.events)
    snapshot = result.snapshot
    log.info(
        "polled", source=snapshot.source, lane=snapshot.lane.value, snapshot=result.snapshot_id,
        outcome=snapshot.outcome.value,
        requests=snapshot.proof.requests, changes=result.changes, opened=told["opened"], resolved=told["resolved"],
        notifications=result.notifications, error=snapshot.error,
        seconds=round((snapshot.finished_at - snapshot.started_at).total_seconds(), 1),
    )  # fmt: skip
    for error in result.rule_errors[:10]:
        log.error("rule error", rule=error.rule, subject=error.subject.id, why=error.why)
