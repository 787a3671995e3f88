"""Whether everything that a poll needs is in place, as rows with what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from monitor import wiring
from monitor.cli.clock import SystemClock
from monitor.config import Config
from monitor.cycle import RuleSet
from monitor.decide.timeline import run_tests
from monitor.errors import MonitorError
from monitor.store import outbox


def checks(config: Config, offline: bool) -> Iterator[dict[str, Any]]:
    clock = SystemClock()
    yield _row("config", None, str(config.path))
    rules = None
    try:
        rules = wiring.rule_set(config, clock.now().date())
        failing = [f"{t.rule}: {t.test}" for r in rules.rules for t in run_tests(r) if not t.passed]
        yield _row("rules", "; ".join(failing) or None, f"{len(rules.rules)} rules, set {rules.digest[:16]}")
    except MonitorError as error:
        yield _row("rules", str(error))
    try:
        faults = wiring.renderer(config).check()
        yield _row("templates", "; ".join(faults) or None, "all render")
        engine = wiring.database(config)
        yield _row("database", None, config.database_url)
        # faulty rules are told above, and say nothing about sources and receivers
        parts = wiring.parts(config, clock, stream=sys.stdout, engine=engine, rules=rules or RuleSet((), ""))
    except MonitorError as error:
        yield _row("settings", str(error))
        return
    if offline:
        return
    for name, watched in parts.watched.items():
        probe = getattr(watched.source, "check", None)
        yield _row(f"source {name}", probe() if probe else None, "answers")
    for name, channel in parts.channels.items():
        yield _row(f"receiver {name}", channel.check(), "can be reached")
    dead = outbox.listing(parts.engine, ("dead",))
    yield _row(
        "outbox", f"{len(dead)} messages were refused; see `access-monitor outbox`" if dead else None, "nothing refused"
    )


def _row(what: str, problem: str | None, detail: str = "") -> dict[str, Any]:
    return {"what": what, "ok": problem is None, "detail": problem or detail}
