"""Judging what is recorded, without reading the source: for looking at verdicts that are not stored."""

from __future__ import annotations

from collections.abc import Iterator

from monitor import wiring
from monitor.cli.clock import SystemClock
from monitor.config import Config
from monitor.cycle import Judged, Parts, RuleSet, Watched, judge_all
from monitor.decide import drift
from monitor.domain.reading import Outcome, Proof, ScopeEnded, Source
from monitor.domain.snapshot import Snapshot
from monitor.store import queries
from monitor.store.settle import Settled
from monitor.store.staging import Staging


class _Recorded:
    """Stands where a source would: it is named, and not read."""

    def __init__(self, name: str) -> None:
        self.name, self.proof = name, Proof()

    def read(self, _recall: object) -> Iterator[object]:
        raise NotImplementedError


def judged_now(config: Config, only: str | None) -> Iterator[tuple[str, Judged]]:
    """Every source of the config that has a snapshot, judged by the rules of now as of its latest snapshot."""
    engine, clock = wiring.database(config, must_exist=True), SystemClock()
    rules = wiring.rule_set(config, clock.now().date())
    for source in config.sources:
        latest = queries.snapshots(engine, source.name, 1)
        if (only and source.name != only) or not latest:
            continue
        yield source.name, _judge(config, source.name, source.kind, latest[0], rules, clock)


def _judge(
    config: Config, name: str, kind: str, latest: dict[str, object], rules: RuleSet, clock: SystemClock
) -> Judged:
    engine = wiring.database(config, must_exist=True)
    source: Source = _Recorded(name)  # type: ignore[assignment]
    limit = next(s.admin_limit for s in config.sources if s.name == name)
    watched = Watched(source, kind, 0.0, "", limit)
    now, source_id = clock.now(), queries.source_id(engine, name, kind)
    staging = Staging(
        None, engine.url.database or "", source_id, now, drift.born(now), quiet=False, forget=True,
        privileged=lambda _a: None, digest=lambda _a: b"",
    )  # fmt: skip
    scopes = tuple(
        ScopeEnded(s["name"], Outcome(s["outcome"]), s["reason"])
        for s in queries.scopes_of(engine, int(str(latest["id"])))
    )
    parts = Parts(engine, clock, rules, (), {}, {}, wiring.staging_folder(config), config.zone)
    snapshot = Snapshot(name, Outcome(str(latest["outcome"])), now, now, scopes, Proof())
    try:
        return judge_all(parts, watched, staging, Settled(), snapshot, want_unknown=True)
    finally:
        staging.close()
