"""Promise 1: a broken read is never a mass departure. Every request of a poll is broken in every way, one at a time."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from monitor.domain.reading import Outcome
from monitor.simulator import School
from monitor.simulator.faults import Kind
from tests.peers.watch import Watch, watched

WAYS: tuple[Kind, ...] = (
    "500",
    "cut",
    "malformed",
    "html",
    "revoke",
    "drop",
    "success-false",
    "forbidden",
    "wrong-type",
)
REQUESTS = 27  # of a whole poll of the school below; the first test says so when it is no longer true

# Of members and role details only ids are read: a wrong type elsewhere does no harm there.
PLACES = [(w, n) for w in WAYS for n in range(REQUESTS) if w != "wrong-type" or n < 7]


def _to_be_found(school: School) -> str:
    """Something to open and something to leave, so that a broken poll has something to get wrong."""
    who = school.holders("Admin")[0]
    school.change_role(who, "User", keep_admin_flag=True)
    school.remove_user(school.holders("Course creator")[0])
    return who


def _broken(folder: Path, way: Kind, request: int) -> None:
    with watched(folder, users=450) as (school, server, watch):
        watch.poll()
        assert len(server.log) == REQUESTS
        start, token = watch.findings(), server.token
        mover = _to_be_found(school)
        watch.clock.ahead(minutes=15)
        server.faults.add(way, after=request, times=None)
        broken = watch.poll()
        _nothing_lost(watch, start, broken.snapshot_id, f"{way} from request {request} on")
        assert broken.snapshot.outcome in (Outcome.PARTIAL, Outcome.FAILED)
        assert broken.snapshot.error
        server.faults.clear()
        server.refused = False
        server._tokens[token] = float("inf")
        watch.clock.ahead(minutes=15)
        whole = watch.poll()
        assert whole.snapshot.outcome is Outcome.COMPLETE
        assert ("admin-kept-after-role-change", mover) in watch.open()
        assert not any(f["resolution"] == "gone" for f in watch.findings("resolved") if f["snapshot"] == 2)
        told = [m["reason"] for m in watch.messages()]
        assert told.count("operations") == 2, "once that it broke, once that it is whole again"


def _nothing_lost(watch: Watch, start: list[dict[str, object]], snapshot: int, what: str) -> None:
    still = {f["fingerprint"] for f in watch.findings()}
    assert {f["fingerprint"] for f in start} <= still, f"{what}: a finding was closed"
    gone = {d for d in watch.drift(snapshot) if d[1] is None and d[3] == "null"}
    proved = {d for d in gone if d[2] != "null"}
    assert len(proved) <= 1, f"{what}: more than the one who left was taken for gone"


@pytest.mark.parametrize(("way", "request_number"), random.Random(7).sample(PLACES, 8))
def test_a_poll_broken_off_anywhere_removes_nothing(tmp_path: Path, way: Kind, request_number: int) -> None:
    """A seeded sample of ways and places; all of them are tried when long checks are asked for."""
    _broken(tmp_path, way, request_number)


@pytest.mark.long
@pytest.mark.parametrize(("way", "request_number"), PLACES)
def test_a_poll_broken_off_at_every_request_in_every_way(tmp_path: Path, way: Kind, request_number: int) -> None:
    """Each request of a poll, each way to fail."""
    _broken(tmp_path, way, request_number)


def test_one_refused_page_is_asked_for_again(tmp_path: Path) -> None:
    """A single 429, 500, cut body or proxy's page does not make a poll partial."""
    with watched(tmp_path, users=450) as (_, server, watch):
        ways: tuple[Kind, ...] = ("429", "500", "cut", "html", "drop")
        for way in ways:
            server.faults.add(way, "/v2/users$", page=2)
            result = watch.poll()
            assert result.snapshot.outcome is Outcome.COMPLETE, (way, result.snapshot.error)
            assert result.snapshot.proof.retries >= 1
            server.faults.clear()
            watch.clock.ahead(minutes=15)


def test_a_refusal_says_when_to_come_back(tmp_path: Path) -> None:
    """429 with Retry-After: 7 is waited for, no less."""
    with watched(tmp_path, users=450) as (_, server, watch):
        server.faults.add("429", "/v2/users$", page=2, retry_after="7")
        assert watch.poll().snapshot.outcome is Outcome.COMPLETE
        assert sum(watch.clock.slept) > 7 - 1e-6  # of which each nap is rounded


def test_a_token_that_expires_in_the_middle_is_renewed(tmp_path: Path) -> None:
    """With the client's secret, the poll goes on where it was."""
    with watched(tmp_path, users=450, secret='client_secret = { env = "LW_SECRET" }') as (_, server, watch):
        server.faults.add("expire-token", "/v2/users$", page=2)
        assert watch.poll().snapshot.outcome is Outcome.COMPLETE


@pytest.mark.parametrize("way", ["insert", "delete"])
def test_rows_that_move_between_pages_remove_nobody(tmp_path: Path, way: Kind) -> None:
    """Somebody signs up or is deleted while pages are read: whoever slipped through is asked for by id."""
    with watched(tmp_path, users=450) as (school, server, watch):
        watch.poll()
        before = {u["id"] for u in school.users()}
        watch.clock.ahead(minutes=15)
        server.faults.add(way, "/v2/users$", page=2)
        result = watch.poll()
        assert result.snapshot.outcome is Outcome.COMPLETE
        removed = {d[0] for d in watch.drift(result.snapshot_id) if d[1] is None and d[3] == "null"}
        after = {u["id"] for u in school.users()}
        assert removed <= before - after
        watch.clock.ahead(minutes=15)
        watch.poll()
        [row] = [watch.command("accounts", "--format", "json")]
        assert all(f'"{who}"' in row.stdout for who in after)
        assert not any(f'"{who}"' in row.stdout for who in before - after)
