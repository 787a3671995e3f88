"""The snapshot with its outcome: what was seen, and whether that was all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from monitor.decide import quarantine as beyond
from monitor.domain.reading import (
    Outcome,
    Scope,
    ScopeEnded,
)
from monitor.domain.snapshot import Snapshot, troubles
from monitor.line.doubt import Doubt
from monitor.line.parts import Parts, Watched
from monitor.store import outbox, queries, records
from monitor.store.staging import Staging


def seal(parts: Parts, staging: Staging, watched: Watched, doubt: Doubt) -> Snapshot:
    """The snapshot with its outcome: what was seen, and whether that was all."""
    scopes = tuple(staging.scopes.values())
    outcome = outcome_of(scopes)
    broken = doubt.why if doubt.held else troubles(scopes)
    error = "; ".join(broken[:5]) + (f"; and {len(broken) - 5} more" if len(broken) > 5 else "") or None
    return Snapshot(
        watched.source.name, outcome, staging.at, parts.clock.now(), scopes, watched.of(staging.lane).proof,
        baseline=staging.quiet and outcome is Outcome.COMPLETE, error=error, lane=staging.lane,
        carried=tuple(carried(staging, scopes)),
        complete_age=0 if outcome is Outcome.COMPLETE else minutes_blind(parts, staging),
        removed_percent=beyond.percent(doubt.moved.get("removed")),
        failing_receivers=tuple(outbox.failing(parts.engine, parts.channels, staging.now)),
        refused_rules=parts.refused_rules,
    )  # fmt: skip


def minutes_blind(parts: Parts, staging: Staging) -> int:
    since = queries.last_sight(parts.engine, staging.source_id, staging.now)
    return 0 if since is None else int((staging.now - since).total_seconds() // 60)


def carried(staging: Staging, scopes: Sequence[ScopeEnded]) -> Iterator[ScopeEnded]:
    """What this poll was not to read, with the outcome that it had when it was read; "failed" if it never was."""
    recorded = staging.recorded_scopes()
    kept = recorded.keys() - {Scope.USERS, Scope.FAST, Scope.ONE}
    names = kept if staging.lane.narrow else staging.left_out
    yield from (recorded[n] for n in names)
    have = {s.name for s in scopes} | set(names)
    for name in map(Scope.members, records.groups_now(staging)):
        if name not in have:
            yield ScopeEnded(name, Outcome.FAILED, "not read")


def outcome_of(scopes: Sequence[ScopeEnded]) -> Outcome:
    """A part is a failure: complete needs every scope whole, failed means that none was.

    A scope that is quarantined quarantines all: what is not believed in one place proves nothing in another.
    """
    outcomes = {s.outcome for s in scopes} - {Outcome.UNREAD}
    if Outcome.QUARANTINED in outcomes:
        return Outcome.QUARANTINED
    if outcomes == {Outcome.COMPLETE}:
        return Outcome.COMPLETE
    return Outcome.PARTIAL if outcomes & {Outcome.COMPLETE, Outcome.PARTIAL} else Outcome.FAILED
