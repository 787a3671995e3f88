"""Why something is unknown: which part was not read, and whether it is forbidden or nobody can sign in."""

from __future__ import annotations

import json
from pathlib import Path

from monitor.domain.reading import Outcome
from tests.hostile.worlds import world
from tests.peers.watch import watched


def test_a_forbidden_part_is_named(tmp_path: Path) -> None:
    """By `findings --unknown`, by `rules explain`, and in the scopes; gone when it can be read again."""
    with watched(tmp_path, users=450) as (school, server, watch):
        watch.poll()
        server.faults.add("forbidden", "/v2/user_groups", times=None)
        watch.clock.ahead(minutes=15)
        assert watch.poll().snapshot.outcome is Outcome.PARTIAL
        rows = json.loads(watch.command("findings", "--unknown", "--format", "json").stdout)
        mine = [r for r in rows if r["rule"] == "group-without-manager" or "group-manager" in r["rule"]]
        assert mine
        assert all(any(b.startswith("groups: forbidden: ") and "403" in b for b in r["because"]) for r in mine)
        who = school.case("suspended-still-group-manager")
        asked = ("rules", "explain", "suspended-still-group-manager", who)
        row = json.loads(watch.command(*asked, "--format", "json").stdout)
        row = row[0] if isinstance(row, list) else row
        assert row["verdict"] == "unknown"
        assert row["because"][0].startswith("groups: forbidden: GET /v2/user_groups")
        assert "not read whole: groups: forbidden" in watch.command(*asked).stdout
        [scope] = [s for s in _scopes(watch.command("snapshots", "--proof", "2", "--format", "json").stdout)]
        assert (scope["outcome"], scope["cause"]) == ("failed", "forbidden")
        server.faults.clear()
        watch.clock.ahead(minutes=15)
        watch.poll()
        row = json.loads(watch.command(*asked, "--format", "json").stdout)
        assert (row[0] if isinstance(row, list) else row)["because"] == []


def _scopes(shown: str) -> list[dict[str, str]]:
    return [s for s in json.loads(shown)[0]["scopes"] if s["name"] == "groups"]


def test_refused_credentials_are_named(tmp_path: Path) -> None:
    """After a poll that failed nothing could be judged, and that is said."""
    from tests.peers.watch import Watch

    with world("unified", tmp_path) as it:
        it.poll()
        it.truto.status, it.truto.last_error = "needs_reauth", "401 Unauthorized"
        it.poll()
        watch = Watch.__new__(Watch)
        watch.config = it.config
        rows = json.loads(watch.command("findings", "--unknown", "--format", "json").stdout)
        [row] = [r for r in rows if r["rule"] == "every rule"]
        assert row["why"] == "the latest poll is failed"
        assert "the credentials are refused: " in row["because"][0]
        assert "needs_reauth" in row["because"][0]
        who = it.school.holders("Admin")[0]
        shown = watch.command("rules", "explain", "dormant-privileged-account", who)
        assert "the credentials are refused" in shown.stdout
