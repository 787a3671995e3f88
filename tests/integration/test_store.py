"""What is remembered of polls: real files, and the line itself, over a school in memory."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event
from sqlmodel import SQLModel, create_engine

from monitor.domain.observed import Account, Activity, Group, Role
from monitor.domain.reading import Outcome, Scope
from monitor.errors import StoreError
from monitor.store import findings, queries, records
from monitor.store.engine import REVISIONS, migrate, open_engine, reading, writing
from monitor.store.tables import micros, moment
from tests.peers.little import NAME, Bench
from tests.peers.watch import START


def account(name: str, **how: Any) -> Account:
    """An ordinary one."""
    plain = Account(name, f"{name}@example.com", name, name.title(), "active", "user", "User", "user",
                    False, False, False, False, (), (), START)  # fmt: skip
    return plain._replace(**how)


@given(st.datetimes(timezones=st.just(UTC)).filter(lambda at: 1900 < at.year < 2200))
def test_moments_are_read_exactly(at: datetime) -> None:
    """To the microsecond, by the quick way as well, which goes through seconds with a fraction."""
    assert records.moments([micros(at), None]) == [moment(micros(at)), None] == [at, None]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A school of four accounts, two roles and two groups, not polled yet."""
    made = Bench(tmp_path)
    made.school.accounts |= {n: account(n) for n in ("ann", "bob", "cid", "dan")}
    made.school.activity |= {n: Activity(START, False) for n in made.school.accounts}
    made.school.accounts["ann"] = account("ann", level="admin", role="Admin", role_id="admin", is_admin=True)
    made.school.roles |= {
        r.id: r for r in (Role("user", "User", None, "user"), Role("admin", "Admin", None, "admin", False))
    }
    made.school.groups |= {g.id: g for g in (Group("g1", "First", tags=("x",)), Group("g2", "Second"))}
    made.school.managers |= {("ann", "g1")}
    made.school.members |= {"g1": {"bob", "cid"}, "g2": {"cid"}}
    made.school.assigned |= {("ann", "course:c1")}
    yield made
    made.close()


def current(bench: Bench, table: str, key: str) -> set[str]:
    return {r[0] for r in bench.rows(f"SELECT {key} FROM {table} WHERE valid_to IS NULL")}


def held(bench: Bench) -> set[tuple[str, str, str]]:
    return set(bench.rows("SELECT account_id, kind, entitlement_id FROM grants WHERE valid_to IS NULL"))


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {t: after[t] - before[t] for t in after if after[t] != before[t]}


class TestFile:
    def test_the_migrations_make_what_the_tables_declare(self, bench: Bench, tmp_path: Path) -> None:
        """Alembic finds nothing that it would have to change; only the triggers are the migrations' own."""
        with reading(bench.engine) as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, SQLModel.metadata) == []
            assert context.get_current_revision() == REVISIONS[-1]
        declared = create_engine(f"sqlite:///{tmp_path / 'declared.sqlite'}")
        SQLModel.metadata.create_all(declared)
        declared.dispose()
        migrated = shape(bench.path)
        assert migrated.pop("alembic_version")
        assert shape(tmp_path / "declared.sqlite") == migrated

    def test_migrating_twice_changes_nothing(self, bench: Bench) -> None:
        """A database that is up to date is left alone, and nobody is kept from reading it meanwhile."""
        before = bench.path.read_bytes()
        migrate(bench.engine)
        assert bench.path.read_bytes() == before

    def test_a_database_of_a_newer_program_is_refused(self, bench: Bench) -> None:
        """An unknown revision is named; nothing is written over what we do not know."""
        with writing(bench.engine) as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
        with pytest.raises(StoreError, match=r"newer access-monitor \(revision 9999\)"):
            migrate(bench.engine)

    def test_only_its_owner_reads_it(self, bench: Bench) -> None:
        """The file, its journal and its shared memory: all 0600, before and after a poll."""
        bench.poll()
        modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in bench.path.parent.glob("access-monitor.sqlite*")}
        assert len(modes) == 3
        assert set(modes.values()) == {0o600}

    def test_a_file_that_others_read_is_refused(self, tmp_path: Path) -> None:
        """Said with the command that mends it."""
        (tmp_path / "open.sqlite").touch(0o600)
        (tmp_path / "open.sqlite").chmod(0o644)
        with pytest.raises(StoreError, match="chmod 600"):
            open_engine(f"sqlite:///{tmp_path / 'open.sqlite'}")

    def test_what_is_committed_survives_the_power_cut(self, bench: Bench) -> None:
        """Write-ahead log, flushed at each commit, foreign keys on, and patience with other writers."""
        with reading(bench.engine) as connection:
            asked = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
            assert [connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in asked] == ["wal", 2, 1, 30_000]

    def test_an_exception_undoes_all_of_a_write(self, bench: Bench) -> None:
        """Also what was written in it before."""
        with pytest.raises(RuntimeError), writing(bench.engine) as connection:  # that is the point
            connection.exec_driver_sql("INSERT INTO sources (name, kind, reader) VALUES ('x', 'y', '')")
            raise RuntimeError
        assert bench.counts()["sources"] == 0

    def test_what_each_poll_asks_for_is_answered_by_an_index(self, bench: Bench) -> None:
        """At a million accounts and a year of snapshots, a scan of either takes seconds."""
        bench.poll()
        asked: list[tuple[str, Any]] = []
        event.listen(bench.engine, "before_cursor_execute", lambda *c: asked.append(c[2:4]))
        assert queries.sizes(bench.engine, NAME).accounts == 4
        assert queries.last_sight(bench.engine, 1, bench.clock.now()) == START
        assert queries.since(bench.engine, 1, "account", "bob", 1)["status"].snapshot == 1
        plans = [row[3] for sql, given in asked if "SELECT" in sql for row in
                 bench.rows(f"EXPLAIN QUERY PLAN {sql}", *given)]  # fmt: skip
        assert [p for p in plans if p.startswith(("SCAN accounts", "SCAN snapshots"))] == []
        assert any("accounts USING INDEX ix_accounts_lane" in p for p in plans)

    def test_a_file_that_is_no_database_is_named(self, tmp_path: Path) -> None:
        """In our words, with what to do."""
        file = tmp_path / "text.sqlite"
        file.write_text("no database at all" * 100)
        file.chmod(0o600)
        engine = open_engine(f"sqlite:///{file}")
        with pytest.raises(StoreError, match=r"SQLITE_NOTADB: .* restore a backup"):
            migrate(engine)
        engine.dispose()

    def test_a_full_disk_leaves_what_was_there(self, bench: Bench) -> None:
        """The poll fails as a whole; the next one that has room records everything."""
        bench.poll()
        before = bench.counts()
        bench.school.accounts |= {f"n{i}": account(f"n{i}" * 200) for i in range(200)}
        with bench.engine.connect().execution_options(read_only=True) as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count={pages + 1}")
        with pytest.raises(StoreError, match="SQLITE_FULL: the disk is full"):
            bench.poll()
        assert bench.counts() == before
        bench.engine.dispose()
        assert bench.poll().changes == 200


def shape(path: Path) -> dict[str, object]:
    """Columns, indexes and foreign keys by table, as the file says them."""
    with closing(sqlite3.connect(path)) as db:
        tables = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())
        return {name: _table(db, name) | {"rowid": "WITHOUT ROWID" not in sql} for name, sql in tables.items()}


def _table(db: sqlite3.Connection, name: str) -> dict[str, object]:
    return {
        "columns": sorted((r[1:4], r[5]) for r in db.execute(f'PRAGMA table_info("{name}")')),
        "indexes": sorted(
            (r[2:], tuple(c[2] for c in db.execute(f'PRAGMA index_info("{r[1]}")')), _condition(db, r[1]))
            for r in db.execute(f'PRAGMA index_list("{name}")')
        ),
        "keys": sorted(r[2:5] for r in db.execute(f'PRAGMA foreign_key_list("{name}")')),
    }


def _condition(db: sqlite3.Connection, index: str) -> str:
    row = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (index,)).fetchone()
    return str(row[0] if row else "").partition(" WHERE ")[2]


class TestPolls:
    def test_a_first_poll_is_no_drift(self, bench: Bench) -> None:
        """It makes versions of everything, no change, and one baseline snapshot with one ledger row."""
        result = bench.poll()
        assert (result.snapshot.outcome, result.snapshot.baseline, result.changes) == (Outcome.COMPLETE, True, 0)
        counts = bench.counts()
        assert {t: counts[t] for t in ("accounts", "roles", "groups", "grants", "changes", "snapshots", "ledger")} == {
            "accounts": 4, "roles": 2, "groups": 2, "grants": 9, "changes": 0, "snapshots": 1, "ledger": 1,
        }  # fmt: skip
        assert held(bench) == bench.school.grants()

    def test_an_unchanged_poll_writes_one_snapshot_and_one_ledger_row(self, bench: Bench) -> None:
        """No other table grows, and under two kilobytes."""
        bench.poll()
        before = bench.counts()
        bench.poll()
        assert grown(before, bench.counts()) == {"snapshots": 1, "ledger": 1}
        sizes = bench.rows(
            "SELECT (SELECT length(body) + 140 FROM ledger WHERE sequence = 2)"
            " + (SELECT length(proof) + length(coalesce(digest, '')) + 120 FROM snapshots WHERE id = 2)"
        )
        assert sizes[0][0] < 2000

    def test_sign_ins_are_no_drift(self, bench: Bench) -> None:
        """They move the activity in place, and make no version and no change."""
        bench.poll()
        before = bench.counts()
        later = datetime(2026, 3, 1, 9, 10, tzinfo=UTC)
        bench.school.activity["bob"] = Activity(later, False)
        assert bench.poll().changes == 0
        assert grown(before, bench.counts()) == {"snapshots": 1, "ledger": 1}
        assert [a["last_login"] for a in queries.accounts(bench.engine) if a["id"] == "bob"] == [later]

    def test_one_changed_field_ends_one_version_and_begins_one(self, bench: Bench) -> None:
        """The change has before and after; dates of what did not move are carried on."""
        bench.poll()
        before = bench.counts()
        bench.school.accounts["bob"] = account("bob", status="suspended")
        result = bench.poll()
        assert grown(before, bench.counts()) == {"accounts": 1, "changes": 1, "snapshots": 1, "ledger": 1}
        assert bench.changes(result.snapshot_id) == [("changed", "account", "bob", "status", '"active"', '"suspended"')]
        versions = bench.rows(
            "SELECT status, valid_from, valid_to, status_since - first_seen FROM accounts WHERE account_id = 'bob'"
            " ORDER BY pk"
        )
        quarter = 900_000_000
        assert versions == [("active", 1, 2, 0), ("suspended", 2, None, quarter)]

    def test_a_value_that_is_no_longer_reported_moves_no_date(self, bench: Bench) -> None:
        """Not being told is a version, since it can be judged otherwise, but nobody changed a status."""
        bench.poll()
        bench.school.accounts["bob"] = account("bob", status=None)
        bench.poll()
        bench.school.accounts["bob"] = account("bob")
        bench.poll()
        assert {r[0] for r in bench.rows("SELECT status_since - first_seen FROM accounts")} == {0}

    def test_an_account_that_is_gone_ends_with_its_grants(self, bench: Bench) -> None:
        """Removed with a change row, and nothing that it held is left."""
        bench.poll()
        del bench.school.accounts["cid"]
        bench.school.members = {"g1": {"bob"}, "g2": set()}
        result = bench.poll()
        assert current(bench, "accounts", "account_id") == {"ann", "bob", "dan"}
        assert held(bench) == bench.school.grants()
        assert ("removed", "account", "cid", None) in {c[:4] for c in bench.changes(result.snapshot_id)}
        assert bench.rows("SELECT * FROM activity WHERE account_id = 'cid'") == []

    def test_an_account_that_a_page_missed_is_asked_for_and_stays(self, bench: Bench) -> None:
        """A row that moved between pages is no departure: the source says that it is still there."""
        bench.poll()
        before = bench.counts()
        bench.poll(hidden={"cid"})
        bench.source.breaks.hidden = set()
        assert grown(before, bench.counts()) == {"snapshots": 1, "ledger": 1}

    def test_one_that_comes_back_is_no_earlier_holder_of_its_own_address(self, bench: Bench) -> None:
        """The same id again is the same account; another id with that e-mail names the one before."""
        bench.poll()
        gone = bench.school.accounts.pop("cid")
        bench.poll()
        bench.school.accounts["cid"] = gone
        bench.poll()
        del bench.school.accounts["cid"]
        bench.school.accounts["new"] = account("new", email="CID@example.com")
        bench.poll()
        found = dict(bench.rows("SELECT account_id, earlier_ids FROM accounts WHERE valid_to IS NULL"))
        assert found["new"] == '["cid"]'
        assert bench.rows("SELECT DISTINCT earlier_ids FROM accounts WHERE account_id = 'cid'") == [("[]",)]

    def test_the_first_member_of_all_is_a_change(self, bench: Bench) -> None:
        """Also where no group of the source had any member before."""
        bench.school.members = {"g1": set(), "g2": set()}
        bench.poll()
        bench.school.members["g2"] = {"dan"}
        result = bench.poll()
        assert bench.changes(result.snapshot_id) == [("changed", "account", "dan", "groups", None, '"Second"')]

    def test_roles_and_groups_change_come_and_go(self, bench: Bench) -> None:
        """Field by field, and with what they were when they go."""
        bench.poll()
        bench.school.roles = {
            "admin": Role("admin", "Admin", None, "instructor", False), "new": Role("new", "New", None, "user")
        }  # fmt: skip
        bench.school.groups = {"g1": Group("g1", "First", tags=("x", "y"))}
        del bench.school.members["g2"]
        result = bench.poll()
        assert {c[:4] for c in bench.changes(result.snapshot_id)} == {
            ("changed", "role", "admin", "access_level"), ("created", "role", "new", None),
            ("removed", "role", "user", None), ("changed", "group", "g1", "tags"), ("removed", "group", "g2", None),
        }  # fmt: skip
        assert held(bench) == bench.school.grants()
        assert current(bench, "scopes", "name") == {"users", "roles", "groups", "role_details", "members/g1"}

    def test_a_group_that_returns_has_its_members_again(self, bench: Bench) -> None:
        """Although the list of members is the one that was known before it went."""
        bench.poll()
        group, ids = bench.school.groups.pop("g1"), bench.school.members.pop("g1")
        bench.school.managers.clear()
        bench.poll()
        bench.school.groups["g1"], bench.school.members["g1"] = group, ids
        bench.poll()
        assert held(bench) == bench.school.grants()

    def test_when_the_reader_changes_all_records_are_read_anew(self, bench: Bench) -> None:
        """Recognition by raw digest is given up for one poll, and what was not different stays unchanged."""
        bench.poll()
        before = bench.counts()
        watched = bench.parts.watched["little"]
        object.__setattr__(watched, "reader", "another")
        bench.poll()
        assert grown(before, bench.counts()) == {"snapshots": 1, "ledger": 1}
        assert bench.rows("SELECT reader FROM sources") == [("another",)]


class TestBrokenPolls:
    @pytest.mark.parametrize("outcome", [Outcome.PARTIAL, Outcome.FAILED])
    def test_broken_users_remove_nobody(self, bench: Bench, outcome: Outcome) -> None:
        """Half of the accounts are not shown, and one really left: all stay until a poll sees everything."""
        bench.poll()
        del bench.school.accounts["dan"]
        result = bench.poll(Scope.USERS, hidden={"ann", "bob"}, outcome=outcome)
        assert result.snapshot.outcome is Outcome.PARTIAL
        assert current(bench, "accounts", "account_id") == {"ann", "bob", "cid", "dan"}
        assert result.changes == 0
        result = bench.poll()
        assert [c[:3] for c in bench.changes(result.snapshot_id)] == [("removed", "account", "dan")]

    def test_what_a_broken_poll_did_see_is_kept(self, bench: Bench) -> None:
        """A change on a page that arrived is a change."""
        bench.poll()
        bench.school.accounts["bob"] = account("bob", status="suspended")
        result = bench.poll(Scope.USERS, hidden={"ann", "cid"})
        assert [c[2:4] for c in bench.changes(result.snapshot_id)] == [("bob", "status")]

    def test_a_poll_that_saw_nothing_is_failed_and_changes_nothing(self, bench: Bench) -> None:
        """It leaves its snapshot, which says so, and its scopes."""
        bench.poll()
        every = [r[0] for r in bench.rows("SELECT name FROM scopes")]
        before, was = bench.counts(), held(bench)
        result = bench.poll(
            *every, hidden={*bench.school.accounts, "user", "admin", "g1", "g2"}, outcome=Outcome.FAILED
        )
        assert result.snapshot.outcome is Outcome.FAILED
        told = grown(before, bench.counts())
        assert told.pop("scopes") <= len(every)
        assert told.pop("outbox", 0) == 0
        assert told == {"snapshots": 1, "ledger": 1}
        assert held(bench) == was
        assert "cut off" in bench.rows("SELECT error FROM snapshots WHERE id = 2")[0][0]

    def test_a_broken_group_touches_only_its_own_members(self, bench: Bench) -> None:
        """The other group's leaver is seen; this one's is not believed."""
        bench.poll()
        bench.school.members = {"g1": {"cid"}, "g2": set()}
        result = bench.poll(Scope.members("g1"))
        assert ("bob", "member", "g1") in held(bench)
        assert ("cid", "member", "g2") not in held(bench)
        assert [c[2:] for c in bench.changes(result.snapshot_id)] == [("cid", "groups", '"Second"', None)]
        result = bench.poll()
        assert [c[2:] for c in bench.changes(result.snapshot_id)] == [("bob", "groups", '"First"', None)]
        assert held(bench) == bench.school.grants()

    @pytest.mark.parametrize(
        ("scope", "table", "key"), [("roles", "roles", "role_id"), ("groups", "groups", "group_id")]
    )
    def test_roles_and_groups_go_only_when_all_were_listed(
        self, bench: Bench, scope: str, table: str, key: str
    ) -> None:
        """A list that was cut off takes nothing away, whatever it did show."""
        bench.poll()
        was, grants = current(bench, table, key), held(bench)
        result = bench.poll(scope, hidden={"user", "admin", "g1", "g2"})
        assert (current(bench, table, key), held(bench), result.changes) == (was, grants, 0)

    def test_broken_details_end_no_assignment(self, bench: Bench) -> None:
        """What a role was narrowed to stays as it was known."""
        bench.poll()
        bench.school.assigned.clear()
        bench.poll(Scope.DETAILS)
        assert ("ann", "assigned", "course:c1") in held(bench)
        bench.poll()
        assert held(bench) == bench.school.grants()

    def test_before_the_first_whole_poll_nothing_is_a_change(self, bench: Bench) -> None:
        """Three broken first polls and a whole one: no drift, and then one baseline."""
        for hidden in ({"ann"}, {"bob"}, {"cid", "dan"}):
            assert bench.poll(Scope.USERS, Scope.members("g1"), hidden=hidden).changes == 0
        result = bench.poll()
        assert (result.snapshot.baseline, result.changes) == (True, 0)
        assert current(bench, "accounts", "account_id") == set(bench.school.accounts)
        assert held(bench) == bench.school.grants()

    def test_an_unchanged_broken_poll_grows_no_scopes(self, bench: Bench) -> None:
        """The same failure again is one row in force, not one a poll."""
        bench.poll()
        bench.poll(Scope.members("g1"))
        before = bench.counts()
        bench.poll(Scope.members("g1"))
        assert grown(before, bench.counts()) == {"snapshots": 1, "ledger": 1}


class TestAsOf:
    def test_every_date_shows_what_the_source_showed_then(self, bench: Bench) -> None:
        """Status and groups as of the end of each poll; before the first, nothing was known."""
        asked = []
        for status, groups in (("active", {"g1"}), ("suspended", {"g1", "g2"}), ("active", set[str]())):
            bench.school.accounts["bob"] = account("bob", status=status)
            bench.school.members = {g: {"bob"} if g in groups else set() for g in ("g1", "g2")}
            titles = sorted({"g1": "First", "g2": "Second"}[g] for g in groups)
            asked.append((bench.clock.now(), status, titles))
            bench.poll()
        for when, status, titles in asked:
            (bob,) = queries.accounts(bench.engine, at=when, account="bob@EXAMPLE.com")
            assert (bob["status"], sorted(bob["groups"])) == (status, titles)
        assert list(queries.accounts(bench.engine, at=datetime(2026, 2, 1, tzinfo=UTC))) == []

    def test_who_was_privileged_then(self, bench: Bench) -> None:
        """Also of somebody who is gone since."""
        then = bench.clock.now()
        bench.poll()
        del bench.school.accounts["ann"]
        bench.poll()
        assert [a["id"] for a in queries.accounts(bench.engine, privileged=True, at=then)] == ["ann"]
        assert list(queries.accounts(bench.engine, privileged=True)) == []


def test_an_act_is_remembered_for_as_long_as_it_may_come_again(bench: Bench) -> None:
    """Twice within days is once; what came a week ago is forgotten, so that the list of them does not grow."""
    now = bench.clock.now()
    with writing(bench.engine) as connection:
        assert findings.first_time(connection, ["a", "b"], now)
        assert not findings.first_time(connection, ["b", "c"], now + timedelta(days=3))
        assert findings.first_time(connection, ["d"], now + timedelta(days=8))
        assert {r[0] for r in connection.exec_driver_sql("SELECT key FROM clicks")} == {"c", "d"}
