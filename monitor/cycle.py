"""THE LINE: poll -> drift -> quarantine -> snapshot -> judge -> findings -> route -> record -> deliver.

Start reading at `run_cycle`. Everything before *record* may fail and leaves nothing but a snapshot that says so;
*record* is one transaction; *deliver* runs from the outbox, whether or not the next poll works: see dispatch.py.
"""

from __future__ import annotations

import hashlib
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import msgspec
import structlog
from sqlalchemy import Connection, Engine

from monitor import __version__
from monitor.decide import drift, exemptions, route
from monitor.decide import quarantine as beyond
from monitor.decide.access import access_digest, privileged
from monitor.decide.address import addressed
from monitor.decide.facts import ABOUT_ACCESS, FACTS, KINDS, OF_PERSONS
from monitor.decide.judge import Compiled, Plan, about_sight, active, blind_facts, compile_rule, judge, may_close
from monitor.decide.match import Matching, People, account_fields, indexed
from monitor.decide.plan import Cost, expected, minutes
from monitor.decide.reconcile import reconcile
from monitor.domain.act import Inbox
from monitor.domain.change import Change, ChangeKind
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus, Judgement
from monitor.domain.limits import Limit, Moved
from monitor.domain.message import Channel, Manner, Notification, Route
from monitor.domain.observed import GrantKind, Kind, Subject
from monitor.domain.reading import (
    Batch,
    Cause,
    Clock,
    Lane,
    Outcome,
    Proof,
    Recall,
    Resumable,
    Scope,
    ScopeEnded,
    Source,
    WithCost,
)
from monitor.domain.rule import Rule, Verdict
from monitor.domain.schedule import Schedule
from monitor.domain.snapshot import Snapshot, troubles
from monitor.errors import Busy, SourceError, StoreError
from monitor.store import aside, findings, outbox, persons, queries, records
from monitor.store.engine import reading, writing
from monitor.store.locks import held
from monitor.store.measure import measured
from monitor.store.record import record
from monitor.store.settle import Settled, settle
from monitor.store.staging import Staging
from monitor.store.trail import Beginning, Trail, take_up

log = structlog.get_logger()
RECORDING_TAKES = 600.0  # seconds, at the very most
POLLS_UNTIL_BLIND = 4


@dataclass(frozen=True)
class Watched:
    """A source with what the config says of it beside how to read it."""

    source: Source
    kind: str
    every: float  # seconds
    reader: str  # digest of the settings that decide how records are read
    admin_limit: int | None = None
    privileged_roles: frozenset[str] = frozenset()
    authority: bool = False  # its records are persons, who say what accounts elsewhere should be
    has_flags: bool = True  # the system has flags of privilege (is_admin, ...) beside levels
    limits: Mapping[str, Limit] = field(default_factory=dict)  # by name, as in decide/quarantine.py
    matching: Matching | None = None  # whose accounts these are; None: no authority says so
    fast: Source | None = None  # reads only who is privileged or suspended
    fast_every: float | None = None
    slow: Mapping[str, float] = field(default_factory=dict)  # families of scopes with an interval of their own
    blind_after: float | None = None  # seconds without a whole poll; None: four intervals
    resume_within: float = 3600.0  # seconds after which a poll that was cut off is begun anew
    asks: str = ""  # digest of the settings that decide what is asked for

    @property
    def blind_seconds(self) -> float:
        return POLLS_UNTIL_BLIND * self.every if self.blind_after is None else self.blind_after

    @property
    def authorities(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.matching.authorities) if self.matching else ()

    @property
    def kind_of_records(self) -> Kind:
        return Kind.PERSON if self.authority else Kind.ACCOUNT

    def of(self, lane: Lane) -> Source:
        if lane is Lane.FULL:
            return self.source
        if self.fast is None:
            raise SourceError(f"{self.source.name} has no fast lane; set fast_every")
        return self.fast


@dataclass(frozen=True)
class RuleSet:
    rules: tuple[Rule, ...]
    digest: str
    files: Mapping[str, str] = field(default_factory=dict)  # texts, by path

    @property
    def by_id(self) -> dict[str, Rule]:
        return {r.id: r for r in self.rules}


@dataclass(frozen=True)
class Parts:
    """All that the line needs, built by wiring."""

    engine: Engine
    clock: Clock
    rules: RuleSet
    routes: tuple[Route, ...]
    channels: Mapping[str, Channel]
    watched: Mapping[str, Watched]
    staging_folder: Path
    zone: tzinfo = UTC
    # by source: ids of accounts that an authority says have ended, so that their end is no reason for doubt
    corroborated: Callable[[str], Collection[str]] = lambda _source: ()
    storm_limit: int | None = None  # findings of one rule that are told one by one in one cycle
    exemption_warning: timedelta = timedelta(days=14)
    manners: Mapping[str, Manner] = field(default_factory=dict)  # by receiver
    drill: Schedule | None = None
    beat: Callable[[str | None], str | None] = lambda _failed: None  # the dead-man's switch; returns what went wrong
    template_faults: Callable[[], Sequence[tuple[str, str]]] = tuple  # (digest of the template, what is wrong)
    at: Callable[[str], None] = lambda _step: None  # a fault hook: tests stop the process at any step
    owner: str = field(default_factory=lambda: secrets.token_hex(4))  # who holds a lease

    inboxes: tuple[Inbox, ...] = ()  # where people act on findings

    @property
    def living(self) -> frozenset[str]:
        """Receivers that keep one message a finding up to date."""
        return frozenset(name for name, manner in self.manners.items() if manner.living)


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


@contextmanager
def polling(folder: Path, clock: Clock, name: str, lane: Lane = Lane.FULL) -> Iterator[str]:
    """While nobody else polls this source, or decides what a poll of it was worth. Gives its mark in file names."""
    mark = source_mark(name)
    with held(folder / f".polling-{mark}{_suffix(lane)}", clock) as mine:
        if not mine:
            raise Busy(f"{name} is being polled by another process; its snapshot will be there when that is done")
        yield mark


@contextmanager
def in_turn(parts: Parts, name: str) -> Iterator[None]:
    """A fast lane is polled while a full poll goes on; from comparing to recording they go one after the other."""
    with held(parts.staging_folder / f".recording-{source_mark(name)}", parts.clock, RECORDING_TAKES) as mine:
        if not mine:
            raise Busy(f"{name}: another poll is being recorded for {RECORDING_TAKES:.0f} s; this one is dropped")
        yield


@dataclass(frozen=True)
class Acceptance:
    """What a person says of a poll that is beyond its limits: it is true."""

    by: str
    snapshot_id: int | None = None  # the quarantined one; None: whatever this poll shows


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


def record_failure(parts: Parts, name: str, why: str) -> CycleResult:
    """Records a poll that ended without a trace, or does not end, as failed: then its source counts as blind in time.

    It goes beside a poll that may still be at it, with a staging of its own.
    """
    watched = replace(parts.watched[name], source=Unseen(name))
    staging = open_staging(parts, watched, mark=f"{source_mark(name)}-failed")
    try:
        staging.add(ScopeEnded(Scope.USERS, Outcome.FAILED, why))
        return record_what_was_read(parts, watched, staging, None)
    finally:
        staging.close()


class Unseen:
    """A source of which nothing was seen."""

    def __init__(self, name: str) -> None:
        self.name, self.proof = name, Proof()

    def read(self, _recall: Recall) -> Iterator[Batch]:
        return iter(())


def _cycle(parts: Parts, name: str, acceptance: Acceptance | None, lane: Lane) -> CycleResult:
    watched = parts.watched[name]
    staging = open_staging(parts, watched, lane)
    _announce(parts, name, lane)
    trail = Trail(None)
    try:
        trail = open_trail(parts, watched, staging)
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
    events = tuple(find(parts, staging, settled, snapshot, judged))
    parts.at("findings")
    told = tell(parts, watched, staging, snapshot, events, judged, doubt)
    notes = list(addressed(told, parts.manners, parts.zone))
    parts.at("route")
    snapshot_id = record(
        parts.engine, staging, settled, snapshot, events, notes, rules=parts.rules,
        version=__version__, reader=watched.reader, at=parts.at, beside=decided(parts, staging, snapshot, doubt),
    )  # fmt: skip
    if staging.lane is Lane.FULL:
        aside.sweep(parts.engine, parts.staging_folder, source_mark(watched.source.name))
    changes = staging.db.execute("SELECT count(*) FROM changes").fetchone()[0]
    return CycleResult(snapshot_id, snapshot, changes, events, len(notes), judged.unknown, tuple(judged.errors))


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


# poll


def open_staging(parts: Parts, watched: Watched, lane: Lane = Lane.FULL, mark: str | None = None) -> Staging:
    now, name = parts.clock.now(), watched.source.name
    source_id = queries.source_id(parts.engine, name, watched.kind)
    facts = queries.source_facts(parts.engine, source_id)
    if lane is Lane.FAST and facts.watched_since is None:
        raise StoreError(f"the fast lane of {name} waits for the first whole poll, to compare with")
    return Staging(
        parts.staging_folder / f".staging-{mark or source_mark(name)}{_suffix(lane)}.sqlite",
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
    )


def later(slow: Mapping[str, float], read: Mapping[str, datetime], now: datetime) -> frozenset[str]:
    """Families of scopes whose own interval has not passed since a poll that read them began."""
    return frozenset(f for f, every in slow.items() if f in read and now < read[f] + timedelta(seconds=every))


def _suffix(lane: Lane) -> str:
    """Of files that each lane has of its own."""
    return "" if lane is Lane.FULL else f"-{lane.value}"


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


def _announce(parts: Parts, name: str, lane: Lane) -> None:
    for cost in costs(parts, name):
        if cost.lane is lane:
            takes = minutes(cost.seconds())
            log.info("polling", source=name, lane=lane.value, requests=cost.total, takes=f"about {takes}")


def source_mark(name: str) -> str:
    """A source's name as part of a file's name."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]


def open_trail(parts: Parts, watched: Watched, staging: Staging) -> Trail:
    """Where this poll leaves what it has read. With what one has left that was cut off, the staging is filled first."""
    source, name = watched.of(staging.lane), watched.source.name
    path = parts.staging_folder / f".trail-{source_mark(name)}"
    if staging.lane is Lane.FAST:
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


# quarantine


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
    if why and staging.lane is Lane.FAST:
        staging.empty()
        reason = f"beyond the limits, and so left to the full poll: {'; '.join(why)}"
        staging.scopes = {Scope.FAST: ScopeEnded(Scope.FAST, Outcome.FAILED, reason)}
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


# snapshot


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
    )  # fmt: skip


def minutes_blind(parts: Parts, staging: Staging) -> int:
    since = queries.last_sight(parts.engine, staging.source_id, staging.now)
    return 0 if since is None else int((staging.now - since).total_seconds() // 60)


def carried(staging: Staging, scopes: Sequence[ScopeEnded]) -> Iterator[ScopeEnded]:
    """What this poll was not to read, with the outcome that it had when it was read; "failed" if it never was."""
    recorded = staging.recorded_scopes()
    names = recorded.keys() - {Scope.USERS, Scope.FAST} if staging.lane is Lane.FAST else staging.left_out
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


# judge


@dataclass
class Judged:
    found: list[Judgement] = field(default_factory=list)
    errors: list[Judgement] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    existing: list[Finding] = field(default_factory=list)
    verdicts: int = 0
    rules: set[str] = field(default_factory=set)  # those that say something about this source
    people: People | None = None
    whole: Mapping[str, bool] = field(default_factory=dict)  # by scope

    def counted(self, rows: Iterator[dict[str, Any]], rules: int) -> Iterator[dict[str, Any]]:
        for row in rows:
            self.verdicts += rules
            yield row

    @property
    def unknown_percent(self) -> int | None:
        return beyond.percent(Moved(self.unknown.total(), self.verdicts)) if self.verdicts else None


def judge_all(
    parts: Parts,
    watched: Watched,
    staging: Staging,
    settled: Settled,
    snapshot: Snapshot,
    *,
    want_unknown: bool = False,
) -> Judged:
    """Every rule on every subject of the source, as of this poll."""
    judged = Judged()
    with reading(parts.engine) as connection:
        judged.existing = findings.to_reconcile(connection, staging.source_id)
    rules = rules_for(parts.rules.rules, watched, snapshot)
    judged.rules = {r.rule.id for kind in KINDS for r in applicable(parts.rules.rules, kind, watched)}
    if not snapshot.outcome.applies:  # what is not judged stays as it is
        about = {r.rule.id for found in rules.values() for r in found}
        judged.existing = [f for f in judged.existing if f.rule in about]
    watch: dict[str, dict[str, set[str]]] = {}
    for finding in judged.existing:
        watch.setdefault(finding.subject.kind, {}).setdefault(finding.subject.id, set()).add(finding.rule)
    judged.people = people_of(parts.engine, parts.zone, watched, staging, [r for some in rules.values() for r in some])
    judged.whole = completeness(snapshot, judged.people)
    blind = blind_facts(judged.whole)
    for kind in rules:
        plan = Plan(kind, rules[kind], blind, parts.zone)
        if not plan.rules:
            continue
        if kind == Kind.SOURCE:  # last, for it is asked how well the others could be judged
            snapshot = replace(snapshot, unknown_percent=judged.unknown_percent)
        found = subjects(kind, plan.fields, watched, staging, settled, snapshot, judged.people)
        rows = judged.counted(found, len(plan.rules))
        for judgement in judge(plan, rows, staging.now, watch.get(kind), want_unknown=want_unknown):
            (judged.errors if judgement.verdict is Verdict.ERROR else judged.found).append(judgement)
        judged.unknown += plan.unknown
    return judged


def rules_for(rules: Sequence[Rule], watched: Watched, snapshot: Snapshot) -> dict[str, tuple[Compiled, ...]]:
    """By kind, what this poll is judged by: of one that was not applied, only how well the source was seen."""
    if snapshot.lane is Lane.FAST:
        found = judged_in(snapshot.lane, applicable(rules, Kind.ACCOUNT, watched))
        return {Kind.ACCOUNT: found} if snapshot.outcome.applies else {}
    if not snapshot.outcome.applies:
        return {Kind.SOURCE: tuple(filter(about_sight, applicable(rules, Kind.SOURCE, watched)))}
    return {kind: applicable(rules, kind, watched) for kind in KINDS}


def applicable(rules: Sequence[Rule], kind: str, watched: Watched) -> tuple[Compiled, ...]:
    return tuple(r for r in active(rules, kind) if judged_here(r, watched))


def judged_here(compiled: Compiled, watched: Watched) -> bool:
    """Whether a rule says something about this source. An authority's own access is nobody's concern here, and where
    no authority says whose accounts these are, nothing is asked of persons: all of it would be unknown for ever.
    """
    kind = compiled.rule.for_each
    if watched.authority:
        return kind == Kind.SOURCE and not compiled.reads & ABOUT_ACCESS
    return watched.matching is not None or (kind != Kind.PERSON and not compiled.reads & OF_PERSONS)


def judged_in(lane: Lane, rules: tuple[Compiled, ...]) -> tuple[Compiled, ...]:
    """A fast lane judges by the rules that ask for nothing but what it reads."""
    if lane is Lane.FULL:
        return rules
    return tuple(r for r in rules if all({Scope.USERS}.issuperset(FACTS[name].scopes) for name in r.reads))


def people_of(
    engine: Engine, zone: tzinfo, watched: Watched, staging: Staging, rules: Sequence[Compiled],
    at: datetime | None = None,
) -> People | None:  # fmt: skip
    """The persons of a target's authorities, if a rule asks for one. None as well while an authority was not read
    whole lately: then nobody can say that an account has no person. `at`: as they were then.
    """
    asked = frozenset().union(*(r.reads | r.shown for r in rules)) if rules else frozenset()
    if watched.matching is None or not asked & OF_PERSONS:
        return None
    people = read_people(engine, zone, watched.matching, staging, at)
    if people is not None and "person.accounts" in asked:
        people.hold(records.account_records(staging, sorted(account_fields(watched.matching.keys)), None))
    return people


def read_people(
    engine: Engine, zone: tzinfo, matching: Matching, staging: Staging, at: datetime | None = None
) -> People | None:
    """As they are recorded; None when an authority has no whole snapshot that is young enough."""
    groups: dict[str, frozenset[str]] = {}
    for group_id, version in records.groups_now(staging).items():
        title = version.group.title or group_id
        groups[title] = groups.get(title, frozenset()) | {group_id}
    indexes = []
    with reading(engine) as connection:
        for name, stale_after in matching.authorities:
            found = persons.standing(connection, name, at)
            if found is None or not found.whole or staging.now - found.started_at > stale_after:
                return None
            rows, earlier = persons.rows(connection, found), persons.earlier(connection, found)
            indexes.append(indexed(name, rows, earlier, matching, groups, zone))
    return People(indexes, [name for name, _ in matching.authorities])


def completeness(snapshot: Snapshot, people: People | None = None) -> dict[str, bool]:
    """By scope, whether it is known whole."""
    scopes = {s for f in FACTS.values() for s in f.scopes} - {Scope.PERSONS}
    return {scope: snapshot.known(scope) for scope in scopes} | {Scope.PERSONS: people is not None}


def proved(snapshot: Snapshot, scope: str) -> bool:
    """Whether this very poll read the scope whole (a fast lane, of the accounts that it is about)."""
    if scope == Scope.USERS and snapshot.lane is Lane.FAST:
        return snapshot.complete(Scope.FAST)
    return not scope or snapshot.complete(scope)


def subjects(
    kind: str,
    fields: Sequence[str],
    watched: Watched,
    staging: Staging,
    settled: Settled,
    snapshot: Snapshot,
    people: People | None = None,
) -> Iterator[dict[str, Any]]:
    """The records of a kind. Accounts that a broken read did not show are left out: nothing about them is proved."""
    since = records.watched_since(staging) or (staging.at if snapshot.outcome is Outcome.COMPLETE else None)
    if kind in (Kind.ACCOUNT, Kind.GRANT):
        whole = snapshot.complete(Scope.USERS) or staging.lane is Lane.FAST
        unseen = None if whole else staging.unseen()
        asked = people is not None and watched.matching is not None and "person" in fields
        wanted = sorted({*fields, *account_fields(watched.matching.keys)}) if asked and watched.matching else fields
        accounts = records.account_records(staging, wanted, since, unseen, records.groups_as_of(staging))
        accounts = people.beside(accounts) if people is not None and asked else accounts
        return accounts if kind == Kind.ACCOUNT else records.grant_records(staging, accounts, _proved(snapshot))
    if kind == Kind.PERSON:
        return people.records() if people else iter(())
    if kind == Kind.ROLE:
        return records.role_records(staging, settled.roles)
    if kind == Kind.GROUP:
        return records.group_records(staging, fields, whole_users=snapshot.complete(Scope.USERS))
    record = records.source_record(staging, watched.source.name, since) | {"admin_limit": watched.admin_limit}
    return iter([record | sight(watched, snapshot)])


def sight(watched: Watched, snapshot: Snapshot) -> dict[str, Any]:
    """How the source was read: what rules about being blind ask for."""
    broken = [s for s in snapshot.scopes if s.outcome not in (Outcome.COMPLETE, Outcome.UNREAD)]
    forbidden = [s for s in broken if s.cause is Cause.FORBIDDEN]
    return {
        "outcome": snapshot.outcome.value, "complete_age": snapshot.complete_age,
        "blind_after": int(watched.blind_seconds // 60), "failed_scopes": families(broken),
        "forbidden_scopes": families(forbidden), "needs_reauth": any(s.cause is Cause.CREDENTIALS for s in broken),
        "unknown_percent": snapshot.unknown_percent, "removed_percent": snapshot.removed_percent,
    }  # fmt: skip


def families(scopes: Sequence[ScopeEnded]) -> list[str]:
    """Names of scopes, the many of one family as one."""
    return list(dict.fromkeys(Scope.MEMBERS if s.name.startswith(Scope.MEMBERS) else s.name for s in scopes))


def _proved(snapshot: Snapshot) -> Callable[[str, str], bool]:
    """Whether the list that a grant stands in is known whole; a role stands in its account."""
    managers, details = snapshot.known(Scope.GROUPS), snapshot.known(Scope.DETAILS)
    broken = {s.name for s in (*snapshot.scopes, *snapshot.carried) if s.outcome is not Outcome.COMPLETE}
    members = managers and Scope.MEMBERS not in broken

    def proved(kind: str, entitlement: str) -> bool:
        if kind == GrantKind.MEMBER:
            return members and Scope.members(entitlement) not in broken
        return {GrantKind.MANAGER: managers, GrantKind.ASSIGNED: details}.get(GrantKind(kind), True)

    return proved


# findings


def find(parts: Parts, staging: Staging, settled: Settled, snapshot: Snapshot, judged: Judged) -> Iterator[Event]:
    """What opens and what is over. A poll of which nothing was applied says nothing but how blind we are.

    A finding closes when all that its rule reads is known whole, and this poll read what no longer holds.
    """
    known, people = judged.whole, judged.people
    read = {scope: known[scope] if scope == Scope.PERSONS else proved(snapshot, scope) for scope in known}
    whole = {scope: known[scope] or read[scope] for scope in known}
    removed = set(settled.removed) | not_listed(judged.existing, people) if snapshot.outcome.applies else set()
    if snapshot.outcome.applies and any(f.subject.kind == Kind.GRANT for f in judged.existing):
        removed |= set(records.ended_grants(staging))
    rules = {i: r for i, r in parts.rules.by_id.items() if i in judged.rules}
    events = reconcile(
        judged.existing, judged.found, rules, removed,
        lambda rule, judgement: may_close(rule, whole, judgement.why, read),
        source=snapshot.source, now=staging.now, baseline=staging.quiet,
    )  # fmt: skip
    return (_no_baseline(parts, e) if e.finding.baseline else e for e in events)


def not_listed(existing: Sequence[Finding], people: People | None) -> set[tuple[str, str]]:
    """Persons with findings whom no authority lists any more."""
    about = {f.subject.id for f in existing if f.subject.kind == Kind.PERSON} if people is not None else set()
    return {(Kind.PERSON.value, key) for key in about if people is not None and key not in people}


def _no_baseline(parts: Parts, event: Event) -> Event:
    """That we are blind was not there before we looked, and is told also before the first whole poll."""
    rule = parts.rules.by_id.get(event.finding.rule)
    if event.kind is not EventKind.OPENED or rule is None or not about_sight(compile_rule(rule)):
        return event
    return event._replace(finding=replace(event.finding, baseline=False))


# route


def tell(
    parts: Parts, watched: Watched, staging: Staging, snapshot: Snapshot, events: Sequence[Event], judged: Judged,
    doubt: Doubt,
) -> Iterator[tuple[Notification, str | None]]:  # fmt: skip
    """Everything that is to be said because of this poll, each with the fingerprint of its finding."""
    rules, routes, now, source = parts.rules.by_id, parts.routes, staging.now, snapshot.source
    with reading(parts.engine) as connection:
        opened = (e.finding.fingerprint for e in events if e.kind is EventKind.OPENED)
        reopened = findings.seen_before(connection, opened)
        ids = [e.finding.id for e in events if e.finding.id is not None]
        living = outbox.living(connection, ids, parts.living)
    yield from route.of_events(events, rules, routes, reopened, now, parts.storm_limit)
    yield from route.of_updates(events, rules, reopened, living, now, parts.storm_limit)
    if snapshot.baseline and not watched.authority:
        for note in route.baseline(_baseline(judged.existing, events), routes, source, _totals(staging), now):
            yield note, None
    if any(r.changes for r in routes):
        for note in route.of_changes(staged_changes(staging), routes, source, now):
            yield note, None
    yield from ((note, None) for note in _of_outcome(parts, staging, snapshot, doubt))
    yield from ((note, None) for note in _of_rule_errors(parts, judged, source, now))
    yield from ((note, None) for note in _of_exemptions(parts, source, now))


def _of_outcome(parts: Parts, staging: Staging, snapshot: Snapshot, doubt: Doubt) -> Iterator[Notification]:
    """How well the source could be read, when that changed. A quarantine is told once, however many polls it lasts."""
    before = queries.last_outcome(parts.engine, staging.source_id, snapshot.lane)
    if doubt.acceptance is not None and doubt.why:
        return route.of_acceptance(snapshot, doubt.acceptance.by, doubt.why, parts.routes, staging.now)
    if doubt.held is None:
        return route.of_outcome(before, snapshot, parts.routes, staging.now)
    if aside.in_episode(parts.engine, staging.source_id):
        return iter(())
    return route.of_quarantine(snapshot, doubt.why, parts.routes, staging.now)


def _baseline(existing: Sequence[Finding], events: Sequence[Event]) -> list[Finding]:
    """All that is open at the end of the first whole poll, broken-off ones before it included."""
    now_open = {f.fingerprint: f for f in existing if f.baseline} | {e.finding.fingerprint: e.finding for e in events}
    return [f for f in now_open.values() if f.status is not FindingStatus.RESOLVED]


def _totals(staging: Staging) -> dict[str, int]:
    record = records.source_record(staging, "", None)
    return {"accounts": record["accounts"], "privileged": record["privileged"]}


def staged_changes(staging: Staging) -> Iterator[Change]:
    for row in staging.db.execute("SELECT * FROM changes ORDER BY rowid"):
        kind, s_kind, s_id, email, name, fieldname, before, after = row
        values = (None if v is None else msgspec.json.decode(v) for v in (before, after))
        yield Change(ChangeKind(kind), Subject(s_kind, s_id, email, name), fieldname, *values)


def _of_rule_errors(parts: Parts, judged: Judged, source: str, now: datetime) -> Iterator[Notification]:
    """A rule that fails is told once for each text of the rule set."""
    by_rule: dict[str, list[Judgement]] = {}
    for error in judged.errors:
        by_rule.setdefault(error.rule, []).append(error)
    for rule, errors in by_rule.items():
        yield from route.of_operations(
            f"rule-error:{source}:{rule}:{parts.rules.digest}",
            f"The rule {rule} fails on {len(errors)} of what it judges in {source}",
            f"Run `access-monitor rules check` and mend {parts.rules.by_id[rule].file}. Its findings stay as they are.",
            [f"{e.subject.email or e.subject.id}: {e.why}" for e in errors[:10]], parts.routes, source, now,
        )  # fmt: skip


def _of_exemptions(parts: Parts, source: str, now: datetime) -> Iterator[Notification]:
    """An exemption whose end is near is told once, whichever source is polled first."""
    for each in exemptions.ending(parts.rules.rules, now, parts.zone, parts.exemption_warning):
        given = each.exemption
        yield from route.of_operations(
            f"exemption:{given.id}", f"The exemption of {given.whom} ends on {given.expires}",
            f"Renew it in {given.origin}:{given.line}, or mend what it lets be: from the next day on it is told again.",
            [f"rule: {', '.join(each.rules)}", f"reason: {given.reason}", f"approved by: {given.approved_by}"]
            + ([f"ticket: {given.ticket}"] if given.ticket else []),
            parts.routes, source, now,
        )  # fmt: skip


def tell_operator(parts: Parts, key: str, message: str, what_to_do: str, detail: Sequence[str]) -> None:
    """Something that no poll found: written to the outbox at once, and said once for a key."""
    now = parts.clock.now()
    notes = route.of_operations(key, message, what_to_do, detail, parts.routes, "access-monitor", now)
    said = addressed([(note, None) for note in notes], parts.manners, parts.zone)
    outbox.say(parts.engine, [note for note, _ in said])
