"""Promise 1, through Truto: a broken read is never a mass departure, whichever way the school is read."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest

from monitor.domain.reading import Outcome
from monitor.simulator.truto import TrutoKind
from tests.peers.truto import watched_through_truto
from tests.peers.watch import Watch

WAYS = ("unified", "proxy", "mcp")
BROKEN: tuple[TrutoKind, ...] = (
    "429", "500", "503", "530", "html", "cut", "malformed", "drop", "own-401", "forbidden", "not-found", "no-result",
    "partial", "empty", "round", "repeat", "short",
)  # fmt: skip
REQUESTS = {"unified": 10, "proxy": 10, "mcp": 13}  # of a whole poll; the first lines of each test say so
PLACES = [(api, kind, n) for api in WAYS for kind in BROKEN for n in range(REQUESTS[api])]


def _broken(folder: Path, api: str, kind: TrutoKind, request: int) -> None:
    with watched_through_truto(folder, api) as (c, watch):
        watch.poll()
        assert len(c.truto.log) == REQUESTS[api]
        start, people = watch.findings(), {str(u["id"]) for u in c.school.users()}
        leaver, mover = c.school.holders("Course creator")[0], c.school.holders("Admin")[0]
        c.school.change_role(mover, "User", keep_admin_flag=True)
        c.school.remove_user(leaver)
        watch.clock.ahead(minutes=15)
        c.truto.faults.add(kind, after=request, times=None)
        broken = watch.poll()
        _nothing_lost(watch, start, leaver, broken.snapshot_id, f"{api}: {kind} from request {request} on")
        c.truto.faults.clear()
        watch.clock.ahead(minutes=15)
        assert watch.poll().snapshot.outcome is Outcome.COMPLETE
        assert ("admin-kept-after-role-change", mover) in watch.open()
        assert _there(watch) == people - {leaver}


def _nothing_lost(watch: Watch, start: list[dict[str, object]], leaver: str, snapshot: int, what: str) -> None:
    still = {f["fingerprint"] for f in watch.findings()}
    closed = [f for f in start if f["fingerprint"] not in still and f["subject"] != leaver]
    assert not closed, f"{what}: a finding was closed"
    gone = {d[0] for d in watch.drift(snapshot) if d[1] is None and d[3] == "null" and d[2] != "null"}
    assert gone <= {leaver}, f"{what}: somebody was taken for gone"


def _there(watch: Watch) -> set[str]:
    with sqlite3.connect(watch.database) as db:
        return {r[0] for r in db.execute("SELECT account_id FROM accounts WHERE valid_to IS NULL")}


@pytest.mark.parametrize(("api", "kind", "request_number"), random.Random(3).sample(PLACES, 6))
def test_a_poll_broken_off_anywhere_removes_nothing(
    tmp_path: Path, api: str, kind: TrutoKind, request_number: int
) -> None:
    """A seeded sample of ways, faults and places; all of them are tried when long checks are asked for."""
    _broken(tmp_path, api, kind, request_number)


@pytest.mark.long
@pytest.mark.parametrize(("api", "kind", "request_number"), PLACES)
def test_a_poll_broken_off_at_every_request_in_every_way(
    tmp_path: Path, api: str, kind: TrutoKind, request_number: int
) -> None:
    """Each way, each fault, each request."""
    _broken(tmp_path, api, kind, request_number)


def test_an_account_that_lost_its_connection_is_told_and_changes_nothing(tmp_path: Path) -> None:
    """needs_reauth: a finding that says what to do, no other one opened or closed, and a message at either end."""
    with watched_through_truto(tmp_path, "unified") as (c, watch):
        watch.poll()
        start = watch.findings()
        c.truto.status = "needs_reauth"
        for _ in range(2):
            watch.clock.ahead(minutes=15)
            assert watch.poll().snapshot.outcome is Outcome.FAILED
        new = [f for f in watch.findings() if f not in start]
        assert [f["rule"] for f in new] == ["source-needs-reauth"]
        assert [f for f in watch.findings() if f in start] == start
        c.truto.status = "active"
        watch.clock.ahead(minutes=15)
        assert watch.poll().snapshot.outcome is Outcome.COMPLETE
        assert watch.findings() == start
        told = [m for m in watch.messages() if m["reason"] == "operations"]
        assert len(told) == 2
        assert "connect it again in Truto" in str(told[0])


def test_rules_about_members_are_unknown_where_members_cannot_be_read(tmp_path: Path) -> None:
    """The poll is whole and tells its baseline, and nobody counts as a member of nothing."""
    with watched_through_truto(tmp_path, "unified", users=450) as (c, watch):
        c.truto.custom_refused = 403
        result = watch.poll()
        assert result.snapshot.outcome is Outcome.COMPLETE
        assert result.snapshot.baseline
        assert result.unknown["suspended-still-in-groups"] > 0
        assert not any(rule == "suspended-still-in-groups" for rule, _ in watch.open())
        c.truto.custom_refused = None
        watch.clock.ahead(minutes=15)
        watch.poll()
        assert ("suspended-still-in-groups", c.school.case("suspended-still-in-groups")) in watch.open()
        c.truto.custom_refused = 403
        watch.clock.ahead(minutes=15)
        lost = watch.poll()
        assert lost.snapshot.outcome is Outcome.PARTIAL, "what was watched is watched no more"
        assert ("suspended-still-in-groups", c.school.case("suspended-still-in-groups")) in watch.open()


def test_the_command_checks_a_connection_through_truto(tmp_path: Path) -> None:
    """What is wrong and what to do, without a secret."""
    with watched_through_truto(tmp_path, "mcp") as (c, watch):
        good = watch.command("check")
        assert good.returncode == 0, good.stdout + good.stderr
        c.truto.tools_missing = {"list_all_learnworlds_roles"}
        bad = watch.command("check", "--format", "json")
        assert bad.returncode == 1
        assert "list_all_learnworlds_roles" in bad.stdout
        assert c.truto.mcp_token not in bad.stdout + bad.stderr
