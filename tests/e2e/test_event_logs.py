"""Event logs: who was active without signing in anew is not idle; nothing else is made of them."""

from __future__ import annotations

import sqlite3
from datetime import timedelta
from pathlib import Path

from monitor.domain.reading import Outcome, Scope
from tests.peers.watch import CONFIG, START, Watch, watched

LOGS = CONFIG.replace('rate = "5000/1s"', 'rate = "5000/1s"\nevent_logs_every = "1d"')
DAY = 86400.0


def last_active(watch: Watch, who: str) -> float | None:
    with sqlite3.connect(watch.database) as db:
        [(found,)] = db.execute("SELECT last_active FROM activity WHERE account_id = ?", (who,)).fetchall()
    db.close()
    return None if found is None else found / 1e6


def test_whoever_is_active_is_not_dormant(tmp_path: Path) -> None:
    """A sleeper visits a course: the finding closes, with no version and no drift; and another sleeper's stays."""
    with watched(tmp_path, users=450, config=LOGS) as (school, server, watch):
        watch.poll()
        sleepers = sorted(who for rule, who in watch.open() if rule == "dormant-account")
        who, other = sleepers[:2]
        for n in range(60):  # more than a page holds
            school.do(who, "visit_course", START.timestamp() + 600 + n)
        school.do(other, "subscription_renewal", START.timestamp() + 600)
        watch.clock.ahead(days=1, hours=1)
        versions = watch.counts()["accounts"]
        since = len(server.log)
        result = watch.poll()
        assert (result.snapshot.outcome, result.changes) == (Outcome.COMPLETE, 0)
        assert watch.counts()["accounts"] == versions
        assert ("dormant-account", who) not in watch.open()
        assert ("dormant-account", other) in watch.open()
        assert last_active(watch, who) == START.timestamp() + 659
        asked = [a.query for a in server.log[since:] if a.path.endswith("/event-logs")]
        assert [(q["activity"], q["page"]) for q in asked] == [
            ("login", "1"), ("visit_course", "1"), ("visit_course", "2"),
        ]  # fmt: skip


def test_it_is_kept_when_the_record_moves_and_never_goes_back(tmp_path: Path) -> None:
    """The row of the activity is written anew with each sign-in."""
    with watched(tmp_path, users=450, config=LOGS) as (school, _, watch):
        who = school.holders("Admin")[0]
        school.do(who, "visit_course", START.timestamp() - 60)
        watch.poll()
        assert last_active(watch, who) == START.timestamp() - 60
        school.sign_in(who, START.timestamp() - 30)
        watch.clock.ahead(minutes=15)
        watch.poll()
        assert last_active(watch, who) == START.timestamp() - 60
        school.do(who, "login", START.timestamp() - 300)  # written late, and older than what is known
        watch.clock.ahead(days=2)
        watch.poll()
        assert last_active(watch, who) == START.timestamp() - 60


def test_each_reading_goes_on_from_the_last_whole_one(tmp_path: Path) -> None:
    """A reading that broke off is made up for by the next; between its intervals nobody asks."""
    with watched(tmp_path, users=450, config=LOGS) as (school, server, watch):
        watch.poll()
        school.do(school.holders("Admin")[0], "login", START.timestamp() + 3600)
        watch.clock.ahead(days=1, minutes=1)
        server.faults.add("500", "/v2/event-logs", times=None)
        assert watch.poll().snapshot.outcome is Outcome.PARTIAL
        server.faults.clear()
        watch.clock.ahead(days=3)
        since = len(server.log)
        assert watch.poll().snapshot.outcome is Outcome.COMPLETE
        asked = [a.query for a in server.log[since:] if a.path.endswith("/event-logs")]
        assert {float(q["created_after"]) for q in asked} == {(START - timedelta(minutes=10)).timestamp()}
        assert last_active(watch, school.holders("Admin")[0]) == START.timestamp() + 3600
        watch.clock.ahead(minutes=15)
        since = len(server.log)
        result = watch.poll()
        assert not [a for a in server.log[since:] if a.path.endswith("/event-logs")]
        assert Scope.EVENTS in {s.name for s in result.snapshot.carried}


def test_where_they_are_forbidden_the_school_is_whole(tmp_path: Path) -> None:
    """And a finding says so."""
    with watched(tmp_path, users=450, config=LOGS) as (_, server, watch):
        server.faults.add("forbidden", "/v2/event-logs", times=None)
        result = watch.poll()
        assert result.snapshot.outcome is Outcome.COMPLETE
        assert {s.name: s.outcome for s in result.snapshot.scopes}[Scope.EVENTS] is Outcome.UNREAD
        assert "source-forbidden" in {rule for rule, _ in watch.open()}


def test_without_the_setting_nobody_asks(tmp_path: Path) -> None:
    """No request and no scope."""
    with watched(tmp_path, users=450) as (_, server, watch):
        result = watch.poll()
        assert Scope.EVENTS not in {s.name for s in result.snapshot.scopes}
        assert not [a for a in server.log if "event-logs" in a.path]
