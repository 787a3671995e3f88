"""Databases as a source: what is sent and what is refused, what rows mean, and what an answer is not believed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.domain.reading import Outcome
from monitor.errors import SourceError
from monitor.sources.sql import Sql, refused
from tests.peers.postgres import PASSWORD, Postgres, postgres
from tests.peers.tables import Remembered, columns, polled
from tests.peers.watch import VirtualClock

PEOPLE = columns(
    {"id": "number", "email": "mail", "status": "state", "starts": "first_day", "ended_recorded": "told",
     "created": "made", "groups": "teams"},
    status_values={"1": "active", "0": "deactivated", "true": "active", "false": "deactivated"},
)  # fmt: skip
ALL = "SELECT * FROM people ORDER BY number"


# what is sent


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1", "select a from b;", "  \n SELECT a\nFROM b WHERE c = 'x;y -- z' ",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        'SELECT "update", replace(a, \'INSERT\', \'it\'\'s\') FROM b', "SELECT updated, deleted_at FROM b",
    ],
)  # fmt: skip
def test_one_select_is_sent(query: str) -> None:
    """Also with words in quotes that would write outside of them."""
    assert refused(query) is None


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "must be one SELECT"),
        ("   ;", "must be one SELECT"),
        ("DELETE FROM people", "must be one SELECT"),
        ("EXPLAIN ANALYZE DELETE FROM people", "must be one SELECT"),
        ("SELECT 1; DROP TABLE people", "must be one SELECT, and not several statements"),
        ("SELECT 1;;", "must be one SELECT, and not several statements"),
        ("SELECT * INTO copy FROM people", "must only read, and has the word INTO"),
        ("SELECT * FROM people FOR UPDATE", "must only read, and has the word UPDATE"),
        ("WITH x AS (DELETE FROM people RETURNING *) SELECT * FROM x", "must only read, and has the word DELETE"),
        ("WITH x AS (SELECT 1) insert into people select * from x", "must only read, and has the word INSERT"),
        ("SELECT 1 -- ' \n; DROP TABLE people; -- '", "must be one SELECT without comments"),
        ("SELECT /*! 1; DROP TABLE people */ 1", "must be one SELECT without comments"),
        ("SELECT 1 # ' \n; DROP TABLE people # '", "must be one SELECT without #"),
        (r"SELECT '\'; DROP TABLE people; SELECT '", r"must be one SELECT without backslashes"),
        ("SELECT $$'$$; DROP TABLE people; SELECT $$'$$", "must be one SELECT without $"),
        ("SELECT 'a", "has a quote that is not closed"),
    ],
)
def test_everything_else_is_refused(query: str, said: str) -> None:
    """Before it is sent."""
    assert str(refused(query)).startswith(said)


PARTS = ["'", '"', ";", " ", "DROP TABLE people", "1", ",", "--", "\n", "\\", "`"]


def harms(query: str) -> bool:
    """Whether SQLite, asked to run all of it, has lost its table afterwards."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE people (x)")
        try:
            database.executescript(query)
        except sqlite3.Error:
            pass
        return not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]


@settings(deadline=None, max_examples=200)
@given(st.lists(st.sampled_from(PARTS), max_size=9))
@example(["1", ";", "DROP TABLE people"])
@example(["1", "--", "'", "\n", ";", "DROP TABLE people", "--", "'"])
def test_what_is_sent_drops_no_table(parts: list[str]) -> None:
    """Whatever a query is put together from: what harms is refused."""
    query = "SELECT " + "".join(parts)
    assert not harms(query) or refused(query) is not None


def test_the_harm_is_real() -> None:
    """A control: unread, these would be sent, and the table would be gone."""
    assert harms("SELECT 1;DROP TABLE people")
    assert harms("SELECT 1--'\n;DROP TABLE people--'")


# SQLite


@pytest.fixture
def database(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "hr.sqlite")) as made:
        made.executescript("""
            CREATE TABLE people (number INTEGER, mail, state INTEGER, first_day, told, made, teams);
            INSERT INTO people VALUES (1, 'ann@x.test', 1, '2020-01-01', NULL, '2020-01-01T08:00:00Z', 'a;b');
            INSERT INTO people VALUES (2, 'bob@x.test', 0, '2021-01-01', '2026-02-01 10:00', NULL, '');
        """)
    return tmp_path


def sqlite(folder: Path, query: str = ALL, **how: Any) -> Sql:
    return Sql("hr", "sqlite:///hr.sqlite", query, PEOPLE, folder=folder, **({"clock": VirtualClock()} | how))


def test_rows_of_sqlite(database: Path) -> None:
    """Numbers are keys and states, texts are dates, groups are lists; the check runs the query."""
    source = sqlite(database)
    got = polled(source.read(Remembered()))
    assert {e.outcome for e in got.ends.values()} == {Outcome.COMPLETE}
    assert [(a.id, a.email, a.status) for a in got.accounts.values()] == [
        ("1", "ann@x.test", "active"), ("2", "bob@x.test", "deactivated"),
    ]  # fmt: skip
    assert got.accounts["2"].fields == (("ended_recorded", "2026-02-01T10:00:00Z"), ("starts", "2021-01-01"))
    assert got.members == {"a": ["1"], "b": ["1"]}
    assert (source.check(), source.proof.filters["query"], source.proof.records["users"]) == (None, ALL, 2)


def test_a_row_with_a_fault_is_named_by_its_number(database: Path) -> None:
    """As in files."""
    got = polled(
        sqlite(database, ALL.replace("*", "mail, first_day, told, made, teams, number, 5 AS state")).read(Remembered())
    )
    assert got.outcome is Outcome.PARTIAL
    said = 'column "state": "5" is no status; say in `status_values` what it means'
    assert got.reason == f"sqlite:///{database}/hr.sqlite: row 1: {said}; row 2: {said}"


@pytest.mark.parametrize(
    ("query", "outcome", "said"),
    [
        ("SELECT * FROM people WHERE number > 5", Outcome.QUARANTINED, "there are no rows in it"),
        ("SELECT number, mail FROM people", Outcome.QUARANTINED, 'there is no column "first_day"'),
        ("SELECT *, 1 AS mail FROM people", Outcome.QUARANTINED, 'the query gives the column "mail" twice'),
        ("SELECT * FROM nobody", Outcome.FAILED, "no such table: nobody"),
        ("SELECT * FROM people; DELETE FROM people", Outcome.FAILED, "the query must be one SELECT, and not several"),
    ],
)
def test_an_answer_that_is_not_believed(database: Path, query: str, outcome: Outcome, said: str) -> None:
    """Nothing of it is taken over."""
    source = sqlite(database, query)
    got = polled(source.read(Remembered()))
    assert (got.outcome, got.accounts) == (outcome, {})
    assert said in got.reason
    assert said in str(source.check())


def test_too_many_rows(database: Path) -> None:
    """A forgotten WHERE is not read to its end."""
    got = polled(sqlite(database, max_rows=1).read(Remembered()))
    assert (got.outcome, "there are more than 1 rows (max_rows)" in got.reason) == (Outcome.QUARANTINED, True)


def test_a_query_that_takes_too_long(database: Path) -> None:
    """SQLite is stopped in the middle of it."""

    class Hasty(VirtualClock):
        def monotonic(self) -> float:
            self.elapsed += 10
            return self.elapsed

    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    got = polled(sqlite(database, endless, clock=Hasty(), timeout=60.0).read(Remembered()))
    assert (got.outcome, "the query was not done in 60 s (timeout)" in got.reason) == (Outcome.FAILED, True)


def test_sqlite_is_opened_for_reading(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when a query would get past us; and a file that is not there is not made."""
    monkeypatch.setattr("monitor.sources.sql.refused", lambda query: None)
    got = polled(sqlite(database, "DELETE FROM people RETURNING *").read(Remembered()))
    assert (got.outcome, "readonly database" in got.reason) == (Outcome.FAILED, True)
    got = polled(sqlite(database / "nowhere").read(Remembered()))
    assert (got.outcome, "unable to open database file" in got.reason) == (Outcome.FAILED, True)
    assert not (database / "nowhere").exists()


@pytest.mark.parametrize(
    ("url", "said"),
    [("people", "is no address of a database"), ("oracle://x/y", "needs a driver for oracle that is not installed"),
     ("nothing://x", "needs a driver for nothing that is not installed")],
)  # fmt: skip
def test_an_address_that_leads_nowhere(url: str, said: str) -> None:
    """Said when it is built, so that the config can be named."""
    with pytest.raises(SourceError, match=said):
        Sql("hr", url, ALL, PEOPLE, clock=VirtualClock())


# PostgreSQL


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres() as started:
        started.run(
            "CREATE TABLE people (number int, mail text, state bool, first_day date, told timestamptz, made timestamp, teams text[])",  # noqa: E501
            "INSERT INTO people VALUES (1, 'ann@x.test', true, '2020-01-01', NULL, '2020-01-01 08:00', '{b,a}')",
            "INSERT INTO people VALUES (2, 'b%b@x.test', false, '2021-01-01', '2026-02-01 10:00+00', NULL, '{}')",
        )
        yield started


def pg(server: Postgres, query: str = ALL, password: str = PASSWORD, **how: Any) -> Sql:
    return Sql("hr", server.url, query, PEOPLE, password=password, clock=VirtualClock(), **how)


def test_rows_of_postgresql(server: Postgres) -> None:
    """Dates, times, booleans and arrays as the database has them; a % and a : in the query are no place-holders."""
    query = "SELECT * FROM people WHERE mail LIKE '%@x.test' AND number::text <> ':no' ORDER BY number"
    got = polled(pg(server, query).read(Remembered()))
    assert (got.outcome, got.reason) == (Outcome.COMPLETE, "")
    assert [(a.id, a.email, a.status) for a in got.accounts.values()] == [
        ("1", "ann@x.test", "active"), ("2", "b%b@x.test", "deactivated"),
    ]  # fmt: skip
    assert got.accounts["2"].fields == (("ended_recorded", "2026-02-01T10:00:00Z"), ("starts", "2021-01-01"))
    assert got.members == {"a": ["1"], "b": ["1"]}


def test_postgresql_writes_nothing(server: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function that writes gets past every reader of queries; the transaction stops it."""
    server.run(
        """CREATE OR REPLACE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM people RETURNING number'""",
    )
    got = polled(pg(server, "SELECT wipe() AS number").read(Remembered()))
    assert (got.outcome, "read-only transaction" in got.reason) == (Outcome.FAILED, True)
    assert len(polled(pg(server).read(Remembered())).accounts) == 2


def test_postgresql_stops_in_time(server: Postgres) -> None:
    """By its own statement_timeout."""
    got = polled(pg(server, "SELECT pg_sleep(30) AS number", timeout=0.2).read(Remembered()))
    assert (got.outcome, "the query was not done in 0.2 s (timeout)" in got.reason) == (Outcome.FAILED, True)


def test_a_wrong_password_is_not_shown(server: Postgres) -> None:
    """Neither in the reason nor in the proof."""
    source = pg(server, password="hunter2")
    got = polled(source.read(Remembered()))
    assert (got.outcome, "password authentication failed" in got.reason) == (Outcome.FAILED, True)
    assert "hunter2" not in got.reason + str(source.proof) + str(source.check())


def test_nobody_answers() -> None:
    """The poll failed, and says which database."""
    source = Sql("hr", "postgresql://hr@127.0.0.1:1/hr", ALL, PEOPLE, clock=VirtualClock(), password="hunter2")
    got = polled(source.read(Remembered()))
    assert got.outcome is Outcome.FAILED
    assert got.reason.startswith("postgresql+psycopg://hr@127.0.0.1:1/hr: ")
