"""That somebody has seen a finding and takes care of it."""

from __future__ import annotations

from monitor import wiring
from monitor.acting import act
from monitor.cli.clock import SystemClock
from monitor.config import Config
from monitor.decide.reconcile import acknowledged
from monitor.domain.finding import Event, Finding, FindingStatus
from monitor.errors import ConfigError
from monitor.store import findings as store
from monitor.store.engine import reading


def acknowledge_finding(config: Config, fingerprint: str, by: str) -> Finding:
    """The finding as it is afterwards."""
    now = SystemClock().now()
    engine = wiring.database(config, must_exist=True)
    rules = wiring.rule_set(config, now.date()).by_id
    with reading(engine) as connection:
        found = _one(
            store.load(connection, store.FINDINGS.c.fingerprint.startswith(fingerprint, autoescape=True)), fingerprint
        )

    def decide(newest: Finding | None) -> Event:
        waiting = _one([newest] if newest else [], fingerprint)
        return acknowledged(waiting, rules.get(waiting.rule), by, now)

    living = wiring.living(config)
    event = act(engine, found.fingerprint, decide, rules, living, now)
    assert event is not None
    return event.finding


def _one(found: list[Finding], fingerprint: str) -> Finding:
    if len(fingerprint) < 8:
        raise ConfigError(["fingerprint: give at least its first 8 characters"])
    waiting = [f for f in found if f.status is not FindingStatus.RESOLVED]
    if not waiting:
        done = " (it is resolved)" if found else ""
        raise ConfigError([f"fingerprint: there is no open finding {fingerprint}{done}; see `access-monitor findings`"])
    if len({f.fingerprint for f in waiting}) > 1:
        raise ConfigError([f"fingerprint: {fingerprint} is the beginning of {len(waiting)} findings; give more of it"])
    return waiting[0]
