"""Judging what is recorded, without reading the source: as of the latest snapshot, or of any earlier one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from monitor import wiring
from monitor.cli.clock import SystemClock
from monitor.config import Config
from monitor.decide import drift
from monitor.decide.alike import Plan
from monitor.decide.compiled import Compiled, compile_rule
from monitor.decide.exemptions import of_source
from monitor.decide.judge import blind_facts, judge
from monitor.decide.match import People
from monitor.domain.finding import Judgement
from monitor.domain.reading import Cause, Outcome, Proof, ScopeEnded
from monitor.domain.rule import Exemption, Rule
from monitor.domain.snapshot import Snapshot
from monitor.errors import ConfigError
from monitor.line.judging import Judged, completeness, judge_all, judged_here, subjects
from monitor.line.parts import Parts, RuleSet, Watched
from monitor.line.people import people_of
from monitor.line.seal import carried
from monitor.sources.unread import Unread
from monitor.store import exemptions, queries
from monitor.store.asof import AsOf
from monitor.store.engine import reading
from monitor.store.settled import Settled
from monitor.store.staging import Staging
from monitor.wiring.persons import matching


@dataclass(frozen=True)
class Recorded:
    """A source with the state that judging reads, as of one snapshot."""

    config: Config
    engine: Engine
    watched: Watched
    staging: Staging
    snapshot: Snapshot
    id: int
    known: dict[str, People | None] = field(default_factory=dict)  # by rule
    given: tuple[Exemption, ...] = ()  # by a button, by then

    def judge(self, rule: Rule, watch: Mapping[str, set[str]] | None = None) -> Iterator[Judgement]:
        """What this rule says: findings, exempt ones, unknowns and errors; of subjects in `watch` also nothings."""
        plan = self.plan(rule)
        return judge(plan, self.subjects(plan), self.snapshot.started_at, watch, want_unknown=True)

    def plan(self, rule: Rule) -> Plan:
        """Of no rule, where this one is not judged."""
        (rule,) = of_source((rule,), self.given, self.watched.source.name)
        compiled = compile_rule(rule)
        blind = blind_facts(completeness(self.snapshot, self.people(compiled)))
        return Plan(rule.for_each, (compiled,) if judged_here(compiled, self.watched) else (), blind, self.config.zone)

    def people(self, rule: Compiled) -> People | None:
        """Whoever an authority knew at that time."""
        known = self.known.get(rule.rule.id)
        if rule.rule.id not in self.known:
            at = self.snapshot.started_at
            known = people_of(self.engine, self.config.zone, self.watched, self.staging, [rule], at)
            self.known[rule.rule.id] = known
        return known

    def lacks(self, kind: str, subject_id: str) -> bool:
        return not self.staging.shows(kind, subject_id)

    def subjects(self, plan: Plan) -> Iterator[dict[str, Any]]:
        return subjects(
            plan.kind,
            plan.fields,
            self.watched,
            self.staging,
            Settled(),
            self.snapshot,
            self.people(plan.rules[0]) if plan.rules else None,
        )


def judged_now(config: Config, only: str | None) -> Iterator[tuple[Snapshot, Judged]]:
    """Every source of the config that has a snapshot, judged by the rules of now as of its latest snapshot."""
    rules = wiring.rule_set(config, SystemClock().now().date())
    for name in names(config, only):
        with latest(config, name) as recorded:
            if recorded is not None:
                yield recorded.snapshot, _judged(recorded, rules)


def _judged(recorded: Recorded, rules: RuleSet) -> Judged:
    folder = wiring.staging_folder(recorded.config)
    parts = Parts(recorded.engine, SystemClock(), rules, (), {}, {}, folder, recorded.config.zone)
    return judge_all(
        parts, recorded.watched, recorded.staging, Settled(), recorded.snapshot, want_unknown=True,
    )  # fmt: skip


def names(config: Config, only: str | None) -> list[str]:
    return [s.name for s in config.sources if only in (None, s.name)]


def judging(config: Config, only: str | None, rule: Rule) -> list[str]:
    """Names of the sources in which a rule is judged. Raises ConfigError when it is in none."""
    asked, compiled = names(config, only), compile_rule(rule)
    found = [name for name in asked if judged_here(compiled, _watched(config, name))]
    if asked and not found:
        where = f"source {only}" if only else "any source of the config"
        why = "it asks about persons, and no authority says whose the accounts are; or it is an authority itself"
        raise ConfigError([f"{rule.id} is not judged in {where}: {why}. See docs/sources.md"])
    return found


@contextmanager
def latest(config: Config, name: str) -> Iterator[Recorded | None]:
    """The recorded state of now, judged by the present time; None while there is no snapshot."""
    engine = wiring.database(config, must_exist=True)
    rows = queries.snapshots(engine, name, 1)
    if not rows:
        yield None
        return
    now, source_id = SystemClock().now(), rows[0]["source_id"]
    staging = Staging(
        None, engine.url.database or "", source_id, now, drift.born(now), quiet=False, forget=True,
        privileged=lambda _a: None, digest=lambda _a: b"",
    )  # fmt: skip
    staging.known_digests.clear()  # nothing is read here, so nobody counts as missed: all stand as they were last seen
    try:
        yield _recorded(config, engine, name, staging, rows[0], now)
    finally:
        staging.close()


@contextmanager
def as_of(config: Config, name: str, at: datetime) -> Iterator[Recorded | None]:
    """The state as of a time: of the last snapshot by then that was recorded; None before the first."""
    engine = wiring.database(config, must_exist=True)
    rows = queries.applied(engine, name)
    by_then = [r for r in rows if r["finished_at"] <= at]
    with _moved(config, engine, name, by_then[-1:], rows) as states:
        yield next(states, None)


@contextmanager
def earlier(config: Config, name: str, since: datetime | None, until: datetime | None) -> Iterator[Iterator[Recorded]]:
    """The state as of every snapshot of a period that was recorded, oldest first."""
    engine = wiring.database(config, must_exist=True)
    rows = queries.applied(engine, name)
    chosen = [r for r in rows if (since or r["started_at"]) <= r["started_at"] <= (until or r["started_at"])]
    with _moved(config, engine, name, chosen, rows) as states:
        yield states


@contextmanager
def _moved(
    config: Config, engine: Engine, name: str, chosen: Sequence[dict[str, Any]], every: Sequence[dict[str, Any]]
) -> Iterator[Iterator[Recorded]]:
    if not chosen:
        yield iter(())
        return
    staging = AsOf(engine.url.database or "", chosen[0]["source_id"], drift.born(chosen[0]["started_at"]))

    def states() -> Iterator[Recorded]:
        for row in chosen:
            staging.move(row["id"], row["started_at"], latest=row is every[-1])
            yield _recorded(config, engine, name, staging, row, row["started_at"])

    try:
        yield states()
    finally:
        staging.close()


def _watched(config: Config, name: str) -> Watched:
    """What the config says of a source, without a way to read it."""
    settings = next(s for s in config.sources if s.name == name)
    return Watched(
        Unread(name), settings.kind, settings.every.total_seconds(), "", settings.admin_limit,
        authority=settings.use == "authority",
        blind_after=settings.blind_after.total_seconds() if settings.blind_after else None,
        matching=matching(config, settings),
    )  # fmt: skip


def _recorded(
    config: Config, engine: Engine, name: str, staging: Staging, row: dict[str, Any], at: datetime
) -> Recorded:
    watched = _watched(config, name)
    scopes = tuple(
        ScopeEnded(s["name"], Outcome(s["outcome"]), s["reason"], Cause(s["cause"]) if s["cause"] else None)
        for s in queries.scopes_of(engine, row["id"])
    )
    kept = tuple(carried(staging, scopes))
    since = queries.last_sight(engine, row["source_id"], at) or at
    age = int((at - since).total_seconds() // 60)
    snapshot = Snapshot(name, Outcome(row["outcome"]), at, at, scopes, Proof(), complete_age=age, carried=kept)
    return Recorded(config, engine, watched, staging, snapshot, row["id"], given=_given(engine, name, at))


def _given(engine: Engine, name: str, at: datetime) -> tuple[Exemption, ...]:
    with reading(engine) as connection:
        stored = exemptions.approved(connection, name)
    return tuple(s.exemption for s in stored if s.approved_at is not None and s.approved_at <= at)
