"""HR beside the school: what the demo shows, over HTTP and from a file, comes true."""

from __future__ import annotations

import io
from pathlib import Path

from monitor import wiring
from monitor.config import load
from monitor.cycle import CycleResult, run_cycle
from monitor.domain.reading import Outcome
from monitor.simulator import STAFF_STORY, Staff
from monitor.simulator.staff import GROUP, TEAM
from tests.peers.watch import CONFIG, Watch, watched

WITH_HR = (
    CONFIG.replace(
        "admin_limit = {admin_limit}", 'admin_limit = {admin_limit}\nconfirm_limit = 10000\nblind_after = "7d"'
    )
    + f"""
[[expectations]]
department = ["{TEAM}"]
groups = ["{GROUP}"]

[[sources]]
name = "hr"
kind = "file"
use = "authority"
path = "hr.csv"

[sources.columns]
id = "Number"
email = "Mail"
name = "Name"
status = "State"
department = "Department"
title = "Title"
ends = "Last day"
"""
)


def polled(watch: Watch, staff: Staff) -> CycleResult:
    """HR's export is written, then both are polled; wiring puts the authority first."""
    staff.export(watch.folder / "hr.csv")
    parts = wiring.parts(load(watch.config), watch.clock, stream=io.StringIO())
    assert list(parts.watched) == ["hr", "school"]
    try:
        results = [run_cycle(parts, name) for name in parts.watched]
    finally:
        parts.engine.dispose()
    assert results[0].snapshot.outcome is Outcome.COMPLETE
    return results[1]


def test_what_hr_knows_comes_true(tmp_path: Path) -> None:
    """A leaver, a mover and a stranger are found and proved fixed; half an answer is set aside, and closes nothing."""
    with watched(tmp_path, users=600, config=WITH_HR) as (school, _, watch):
        staff = Staff(school)
        planted = {(rule, who) for rule, ids in school.planted.items() for who in ids}
        polled(watch, staff)
        is_open = set(planted)
        assert watch.open() == is_open
        for step in STAFF_STORY:
            watch.clock.ahead(days=1.8)
            expected = step.apply(school, staff, watch.clock.now().timestamp())
            result = polled(watch, staff)
            assert (result.snapshot.outcome is Outcome.QUARANTINED) == step.quarantined
            is_open = (is_open | expected.opened) - expected.resolved
            assert watch.open() == is_open, step.title
        late = next(f for f in watch.findings("resolved") if f["rule"] == "leaver-still-active")
        assert late["due_at"] < late["opened_at"]  # the last working day was two days before anybody looked
        shown = watch.command("rules", "explain", "leaver-still-active", str(late["subject"]["id"])).stdout
        assert shown.startswith("leaver-still-active on ")  # in the school; HR is judged by no rule about accounts
