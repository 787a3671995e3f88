"""Whether everything that a poll needs is in place, as rows with what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from monitor import wiring
from monitor.cli.clock import SystemClock
from monitor.config import Config
from monitor.decide import breaker
from monitor.decide.plan import too_slow
from monitor.decide.timeline import run_tests
from monitor.errors import MonitorError
from monitor.line.parts import Parts, RuleSet
from monitor.line.poll import costs
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
        slow = too_slow(list(costs(parts, name)))
        warning = f"answers; warning: {slow}. See `access-monitor plan`"
        yield _row(f"source {name}", probe() if probe else None, warning if slow else "answers")
    for name, channel in parts.channels.items():
        yield _row(f"receiver {name}", channel.check(), "can be reached")
    yield from _deliveries(parts)


def _deliveries(parts: Parts) -> Iterator[dict[str, Any]]:
    """What the outbox knows of receivers, whether or not they can be reached just now."""
    now, known = parts.clock.now(), outbox.health(parts.engine)
    for name in parts.channels.keys() & known.keys():
        state = breaker.state(known[name], now)
        if state not in ("ok", "failing"):
            yield _row(f"delivery {name}", f"{state}: {known[name].error}; mended? `access-monitor send-test {name}`")
    dead = outbox.refused(parts.engine)
    refused = f"{dead} message{'' if dead == 1 else 's'} refused; see `access-monitor outbox`" if dead else None
    yield _row("outbox", refused, "nothing refused")


def _row(what: str, problem: str | None, detail: str = "") -> dict[str, Any]:
    return {"what": what, "ok": problem is None, "detail": problem or detail}
