"""HTTP 200 with half of the users missing: over the wire, by the real commands, and killed at every step."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from monitor.cli.clock import SystemClock
from monitor.domain.reading import Outcome
from monitor.simulator import School, SchoolServer
from monitor.store import ledger
from tests.peers.watch import CONFIG, VirtualClock, Watch, watched

USERS = 300


def halved(server: SchoolServer) -> None:
    server.faults.add("half", "/v2/users", times=None)


def missing(school: School) -> set[str]:
    return {u["id"] for n, u in enumerate(map(school.record, range(USERS))) if n % 2}


def removed(rows: list[dict[str, object]]) -> set[str]:
    return {str(r["subject"]["id"]) for r in rows if r["kind"] == "removed"}  # type: ignore[index]


def test_half_of_the_users_missing_is_quarantined_shown_and_rejected(tmp_path: Path) -> None:
    """Nothing is applied or closed; the operator is told once; what would have changed is exactly the missing half."""
    with watched(tmp_path, users=USERS) as (school, server, watch):
        watch.poll()
        before, open_before = watch.counts(), watch.open()
        halved(server)
        for _ in range(2):
            watch.clock.ahead(minutes=15)
            result = watch.poll()
            assert result.snapshot.outcome is Outcome.QUARANTINED
        assert result.snapshot.error is not None
        assert result.snapshot.error.startswith("150 of 300 accounts gone (removed: at most 20 %, 1000)")
        after = watch.counts()
        assert [after[t] - before[t] for t in ("accounts", "activity", "grants", "changes", "findings")] == [0] * 5
        assert watch.open() == open_before
        [told] = [m for m in watch.messages() if m["reason"] == "operations"]
        assert "150 of 300 accounts gone (removed: at most 20 %, 1000)" in told["text"]
        assert "quarantine accept" in told["text"]

        listed = json.loads(watch.command("quarantine", "list", "--format", "json").stdout)
        assert [(r["snapshot"], r["status"]) for r in listed] == [(2, "waiting"), (3, "waiting")]
        shown = json.loads(watch.command("quarantine", "show", "3", "--format", "json").stdout)
        assert removed(shown) == missing(school)
        assert {r["subject"]["kind"] for r in shown} <= {"account", "group"}

        unsaid = watch.command("quarantine", "reject", "--by", "ann")
        assert (unsaid.returncode, "2 wait: 2, 3; say which" in unsaid.stderr) == (2, True)
        assert watch.command("quarantine", "reject", "2").returncode == 2, "nobody answers for it"
        assert watch.command("quarantine", "reject", "3", "--by", "ann").returncode == 0
        assert watch.command("quarantine", "show").returncode == 0, "one is left"
        assert watch.command("quarantine", "accept", "3", "--by", "bob").returncode == 1, "it was rejected"
        server.faults.clear()
        watch.clock.ahead(minutes=15)
        assert watch.poll().snapshot.outcome is Outcome.COMPLETE
        assert watch.open() == open_before
        assert watch.messages()[-1]["title"] == "school can be read whole again"
        overtaken = watch.command("quarantine", "accept", "2", "--by", "bob")
        assert (overtaken.returncode, "poll --beyond-limits --by NAME" in overtaken.stderr) == (1, True)
        assert not list(tmp_path.glob(".quarantine-*"))


def test_poll_says_so_by_its_exit_code(tmp_path: Path) -> None:
    """4 while it is beyond the limits, 0 when somebody answers for it beforehand; and never one without the other."""
    with watched(tmp_path, users=USERS) as (_, server, watch):
        assert watch.command("poll").returncode == 0
        halved(server)
        doubted = watch.command("poll")
        assert doubted.returncode == 4
        assert "150 of 300 accounts gone" in doubted.stderr
        assert watch.command("poll", "--beyond-limits").returncode == 2
        assert watch.command("poll", "--by", "ann").returncode == 2
        assert watch.command("poll", "--beyond-limits", "--by", "ann").returncode == 0
        left = json.loads(watch.command("accounts", "--format", "json").stdout)
        assert len(left) == 150
        rows = json.loads(watch.command("ledger", "--format", "json").stdout)
        [said] = [r["body"] for r in rows if r["kind"] == "quarantine.accepted"]
        assert (said["by"], said["snapshot"]) == ("ann", None)


# kill -9 while somebody accepts

STEPS = (
    "drift", "judge", "findings", "route", "record: snapshot written", "record: versions written",
    "record: findings written", "record: before commit", "record: after commit",
)  # fmt: skip


@pytest.fixture(scope="module")
def doubted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watch, set[str]]]:
    """A school that was polled once, and then showed half of its users."""
    now = SystemClock().now().timestamp
    made, folder = School(users=USERS, now=now()), tmp_path_factory.mktemp("before")
    with SchoolServer(made, clock=now, rate=None) as server:
        (folder / "token").write_text(server.token)
        secret = f'token = {{ file = "{folder / "token"}" }}'
        text = CONFIG.format(url=server.url, client_id=server.client_id, secret=secret, admin_limit=made.admins)
        watch = Watch(folder, server, VirtualClock(), text)
        assert watch.command("poll").returncode == 0
        halved(server)
        assert watch.command("poll").returncode == 4
        yield watch, missing(made)


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_it_is_accepted(doubted: tuple[Watch, set[str]], step: str, tmp_path: Path) -> None:
    """It waits on until all of it is applied, and is applied once; the record stays whole."""
    before, gone = doubted
    folder = tmp_path / "after"
    shutil.copytree(before.folder, folder)
    watch = Watch(folder, before.server, VirtualClock(), before.config.read_text())
    killed = watch.command("quarantine", "accept", "2", "--by", "ann", env={"ACCESS_MONITOR_KILL_AT": step})
    assert killed.returncode == -9, f"{step} was never reached: {killed.stderr}"
    again = watch.command("quarantine", "accept", "2", "--by", "bob")
    if step == "record: after commit":
        assert (again.returncode, "was accepted already, by ann" in again.stderr) == (1, True)
    else:
        assert again.returncode == 0, again.stderr
    with closing(sqlite3.connect(watch.database)) as db:
        ended = db.execute("SELECT account_id FROM accounts WHERE valid_to IS NOT NULL").fetchall()
        assert sorted(r[0] for r in ended) == sorted(gone)
        assert db.execute("SELECT count(*) FROM changes WHERE kind = 'removed'").fetchone() == (len(gone),)
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    engine = create_engine(f"sqlite:///{watch.database}")
    with engine.connect() as connection:
        assert list(ledger.verify(connection)) == []
    engine.dispose()
    assert watch.command("poll").returncode == 0
    assert not list(folder.glob(".quarantine-*"))
    reasons = [m["reason"] for m in watch.messages()]
    assert reasons.count("operations") == 2, "that it is quarantined, and that it is over"
