"""Deadlines, reminders and the next receiver on a watched school, whoever asks and however often."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor import wiring
from monitor.acting import act
from monitor.cli import whatif
from monitor.config import load
from monitor.decide.reconcile import acknowledged
from monitor.dispatch import deliver_waiting
from monitor.domain.finding import Event, Finding
from monitor.line import timely
from monitor.simulator import School
from tests.peers.watch import CONFIG, Watch, watched

ESCALATING = CONFIG.replace(
    '[[routes]]\nto = ["out"]',
    '[[receivers]]\nname = "on-call"\nkind = "files"\npath = "./on-call"\n\n'
    '[[routes]]\nrule = ["suspended-*"]\nto = ["out"]\nescalate = [{{ after = "4h", to = ["on-call"] }}]\n\n'
    '[[routes]]\nto = ["out"]',
)
RULE = "suspended-still-privileged"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[School, Watch]]:
    """A school with one finding that opened under our eyes."""
    assert "on-call" in ESCALATING
    with watched(tmp_path, users=60, config=f"storm_limit = 9\n[business_hours]\nreminders = false\n{ESCALATING}") as (
        school,
        _server,
        watch,
    ):
        watch.poll()
        who = next(str(u["id"]) for u in school.users() if u["role"]["level"] != "user" and not u["is_suspended"])
        school.suspend(who)
        watch.poll()
        yield school, watch


def tick(watch: Watch, *, anew: bool = False) -> None:
    """Two processes ask."""
    for _ in range(2):
        parts = wiring.parts(load(watch.config), watch.clock, stream=io.StringIO())
        timely.tick(parts, anew=anew)
        deliver_waiting(parts)
        parts.engine.dispose()


def mine(watch: Watch) -> dict[str, Any]:
    (found,) = [f for f in watch.findings(None) if f["rule"] == RULE and not f["baseline"]]
    return dict(found)


def said(watch: Watch, folder: str = "messages") -> list[str]:
    """Reasons of what was said of it, in order."""
    paths = sorted((watch.folder / folder).glob("*.json"), key=lambda p: p.stat().st_mtime_ns)
    notes = [json.loads(p.read_text()) for p in paths]
    mark = mine(watch)["fingerprint"]
    return [n["reason"] for n in notes if (n["content"].get("finding") or {}).get("fingerprint") == mark]


def explain(watch: Watch) -> list[dict[str, Any]]:
    """What `rules explain` says of what time brings."""
    config = load(watch.config)
    row = whatif.explain(config, "school", whatif.rule_named(config, RULE), mine(watch)["subject"]["id"], None)
    assert row is not None
    return list(row["history"][0]["steps"])


def test_a_deadline_passes(world: tuple[School, Watch]) -> None:
    """Due soon, overdue, reminded: each once, though two processes ask at each tick."""
    _school, watch = world
    found = mine(watch)
    assert found["due_at"] is not None
    for _ in range(12):
        watch.clock.ahead(hours=24)
        tick(watch)
    told = said(watch)
    assert told[0] == "opened"
    assert told.count("overdue") == 1
    assert 1 <= told.count("due_soon") <= 2
    assert told.count("reminder") >= 1
    assert told.index("due_soon") < told.index("overdue") < told.index("reminder")
    overdue = next(s for s in explain(watch) if s["step"] == "overdue")
    assert (overdue["state"], overdue["to"], overdue["why"]) == ("told", ["out"], None)


def test_nobody_acknowledges_and_somebody_else_hears(world: tuple[School, Watch]) -> None:
    """After four hours; and of its end as well."""
    school, watch = world
    watch.clock.ahead(hours=3.9)
    tick(watch)
    assert said(watch, "on-call") == []
    watch.clock.ahead(hours=24)
    tick(watch)
    assert said(watch, "on-call") == ["escalated"]
    explained = explain(watch)
    assert [(s["step"], s["state"], s["to"]) for s in explained if s["state"] == "told"] == [
        ("escalated", "told", ["on-call"])
    ]
    school.unsuspend(mine(watch)["subject"]["id"])
    watch.poll()
    assert said(watch, "on-call") == ["escalated", "resolved"]
    assert said(watch)[-1] == "resolved"


def test_whoever_acknowledged_it_in_time_has_it(world: tuple[School, Watch]) -> None:
    """Then nobody else is called in."""
    _school, watch = world
    parts = wiring.parts(load(watch.config), watch.clock, stream=io.StringIO())

    def decide(found: Finding | None) -> Event | None:
        assert found is not None
        return acknowledged(found, None, "ann", watch.clock.now())

    act(parts.engine, mine(watch)["fingerprint"], decide, {}, (), watch.clock.now())
    parts.engine.dispose()
    watch.clock.ahead(hours=28)
    tick(watch)
    assert said(watch, "on-call") == []


def test_an_edited_config_counts_from_the_next_start_on(world: tuple[School, Watch]) -> None:
    """What was put to sleep by the old times is looked at anew."""
    _school, watch = world
    tick(watch)
    text = watch.config.read_text()
    watch.config.write_text(text.replace('after = "4h"', 'after = "1h"'))
    watch.clock.ahead(hours=2)
    tick(watch)
    assert said(watch, "on-call") == []
    tick(watch, anew=True)
    assert said(watch, "on-call") == ["escalated"]
