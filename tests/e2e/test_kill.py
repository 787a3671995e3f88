"""kill -9 at every step, in a real process: no message is lost, none comes twice, the record stays whole."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from monitor.cli.clock import SystemClock
from monitor.simulator import STORY, School, SchoolServer
from monitor.store import ledger
from tests.peers.watch import CONFIG, VirtualClock, Watch

STEPS = (
    "poll#1", "poll#4", "drift", "judge", "findings", "route", "record: snapshot written", "record: versions written",
    "record: findings written", "record: before commit", "record: after commit", "deliver: claimed", "deliver: sent",
    "deliver: settled", "deliver: claimed#2", "deliver: sent#3", "deliver: settled#2",
)  # fmt: skip


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Watch, set[tuple[str, str]]]]:
    """A school that was polled once, and has changed since; with it, what the next poll must tell."""
    now = SystemClock().now().timestamp
    made, folder = School(users=450, now=now()), tmp_path_factory.mktemp("before")
    with SchoolServer(made, clock=now, rate=None) as server:
        secret = f'token = {{ file = "{folder / "token"}" }}'
        (folder / "token").write_text(server.token)
        text = CONFIG.format(url=server.url, client_id=server.client_id, secret=secret, admin_limit=made.admins)
        watch = Watch(folder, server, VirtualClock(), text)
        done = watch.command("poll")
        assert done.returncode == 0, done.stderr
        expected = STORY[0].apply(made, now()).opened | STORY[1].apply(made, now()).opened
        yield watch, set(expected)


@pytest.mark.parametrize("step", STEPS)
def test_killed_and_started_again(school: tuple[Watch, set[tuple[str, str]]], step: str, tmp_path: Path) -> None:
    """Every step of the line and both sides of every transaction."""
    before, expected = school
    folder = tmp_path / "after"
    shutil.copytree(before.folder, folder)
    watch = Watch(folder, before.server, VirtualClock(), before.config.read_text())
    killed = watch.command("poll", env={"ACCESS_MONITOR_KILL_AT": step})
    assert killed.returncode == -9, f"{step} was never reached: {killed.stderr}"
    for _ in range(2):
        again = watch.command("poll")
        assert again.returncode == 0, again.stderr
    messages = watch.messages()
    told = Counter((m["reason"], m["title"]) for m in messages)
    assert not [t for t, times in told.items() if times > 1], "a message came twice"
    assert len([m for m in messages if m["reason"] == "opened"]) == len(expected)
    assert not list((folder / "messages").glob(".*")), "something half-written is left"
    assert expected <= watch.open()
    db = sqlite3.connect(watch.database)
    drift = db.execute("SELECT subject_id, field, before, after FROM changes").fetchall()
    assert len(drift) == len(set(drift)) > 8, "every change once"
    with closing(create_engine(f"sqlite:///{watch.database}").connect()) as connection:
        assert list(ledger.verify(connection)) == []
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.execute("SELECT count(*) FROM outbox WHERE status != 'sent'").fetchone() == (0,)
    db.close()
