"""The state as of any snapshot is what judging saw at that snapshot."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from monitor.decide import drift, facts
from monitor.domain.observed import Activity
from monitor.store import records
from monitor.store.asof import AsOf
from monitor.store.staging import Staging
from tests.integration.test_store_property import HISTORIES
from tests.peers.little import Bench, Breaks, School
from tests.peers.watch import START

SIGN_INS = {"last_login", "never_signed_in", "nps_score", "utms"}
FIELDS = sorted(
    {facts.optional(f)[0] for fact in facts.ACCOUNT for f in fact.fields if f != "now"} & {
        "id", "email", "status", "level", "role", "is_admin", "privileged", "tags", "fields", "groups",
        "managed_groups", "role_access_level", "first_seen", "status_since", "past_levels", "past_emails",
    }
)  # fmt: skip
_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


def seen(staging: Staging, *more: str) -> dict[str, list[dict[str, Any]]]:
    """All that rules may read."""
    return {
        "accounts": list(records.account_records(staging, [*FIELDS, *more], None)),
        "roles": list(records.role_records(staging)),
        "groups": list(records.group_records(staging)),
        "source": [records.source_record(staging, "little", None)],
    }


def now(bench: Bench) -> Staging:
    at = bench.clock.now()
    return Staging(
        None, str(bench.path), 1, at, drift.born(at), quiet=False, forget=True, privileged=lambda _a: None,
        digest=lambda _a: b"",
    )  # fmt: skip


@settings(max_examples=10, deadline=None, derandomize=True, database=None, suppress_health_check=_SLOW)
@given(HISTORIES)
def test_any_history_is_seen_again_as_it_was(history: list[tuple[School, Breaks]]) -> None:
    """Snapshot by snapshot, and also when some are skipped."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            then = []
            for school, breaks in history:
                bench.source.school = school
                result = bench.poll(*breaks.scopes, hidden=breaks.hidden, outcome=breaks.outcome)
                staging = now(bench)
                then.append((result.snapshot_id, seen(staging)))
                staging.close()
            for steps in (then, then[1::2]):
                again = AsOf(str(bench.path), 1, drift.born(START))
                for snapshot, was in steps:
                    again.move(snapshot, START)
                    assert seen(again) == was
                again.close()
        finally:
            bench.close()


def test_sign_ins_are_known_for_the_latest_only(tmp_path: Path) -> None:
    """Only the newest are kept; for earlier snapshots they are absent, never guessed."""
    bench = Bench(tmp_path)
    school = bench.school
    from tests.integration.test_store import account

    school.accounts["ann"], school.activity["ann"] = account("ann"), Activity(START, False)
    bench.poll()
    school.accounts["ann"] = account("ann", level="admin")
    bench.poll()
    again = AsOf(str(bench.path), 1, drift.born(START))
    again.move(1, START)
    (before,) = records.account_records(again, ["last_login", "level"], None)
    again.move(2, START, latest=True)
    (after,) = records.account_records(again, ["last_login", "level"], None)
    assert (before["level"], before["last_login"]) == ("user", None)
    assert (after["level"], after["last_login"]) == ("admin", START)
    with pytest.raises(AssertionError, match="forwards"):
        again.move(1, START)
    again.close()
    bench.close()
