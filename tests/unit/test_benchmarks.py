"""The benchmark measures what it says: floor and line see the same school, and sign-ins make no versions."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
from pathlib import Path

import pytest

if importlib.util.find_spec("orjson") is None:
    pytest.skip(
        "orjson is not installed; it comes with the dependency groups dev and benchmark", allow_module_level=True
    )

from benchmarks import floor, ours, records
from benchmarks.limit import ANSWERS_IN, RATE, TimeLines, VirtualClock, full_poll
from benchmarks.pages import bodies
from monitor.store.engine import migrate, open_engine

ACCOUNTS = 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages of a school of 400, in every state."""
    made = tmp_path_factory.mktemp("pages")
    records.write(made, ACCOUNTS)
    return made


def by_floor(folder: Path, database: Path) -> dict[str, int]:
    engine = open_engine(f"sqlite:///{database}")
    migrate(engine)
    engine.dispose()
    db = sqlite3.connect(database, isolation_level=None)
    floor.first(folder, db)
    db.close()
    return ours.counts(database)


def test_floor_and_line_write_the_same_rows(folder: Path, tmp_path: Path) -> None:
    """Otherwise a ratio of their times would say nothing."""
    ours.poll(folder, "first", tmp_path / "ours.sqlite")
    mine, theirs = ours.counts(tmp_path / "ours.sqlite"), by_floor(folder, tmp_path / "floor.sqlite")
    assert mine == theirs
    assert mine["accounts"] == ACCOUNTS
    assert 2.5 * ACCOUNTS < mine["grants"] < 3.1 * ACCOUNTS


def test_values_of_floor_and_line_agree(folder: Path, tmp_path: Path) -> None:
    """The rows are the same in what they hold, but for digests."""
    ours.poll(folder, "first", tmp_path / "ours.sqlite")
    by_floor(folder, tmp_path / "floor.sqlite")
    read = {}
    for name in ("ours", "floor"):
        db = sqlite3.connect(tmp_path / f"{name}.sqlite")
        columns = floor.ACCOUNT.removesuffix(", access_digest, valid_from")
        read[name] = db.execute(f"SELECT {columns} FROM accounts ORDER BY account_id").fetchall()
        read[name] += db.execute("SELECT account_id, kind, entitlement_id FROM grants ORDER BY 1, 2, 3").fetchall()
        db.close()
    assert read["ours"] == read["floor"]


def test_moved_sign_ins_make_no_version(folder: Path, tmp_path: Path) -> None:
    """The same poll with 5 % of last_login moved updates activity, and nothing else."""
    database = tmp_path / "ours.sqlite"
    ours.poll(folder, "first", database)
    before = ours.counts(database)
    _, result = ours.poll(folder, "moved", database)
    assert ours.counts(database) == before
    assert result.changes == 0
    db = sqlite3.connect(database)
    moved = db.execute("SELECT count(*) FROM activity WHERE snapshot_id = 2").fetchone()[0]
    db.close()
    assert moved == ACCOUNTS // 20


def test_changed_access_makes_as_many_versions_as_accounts_changed(folder: Path, tmp_path: Path) -> None:
    """One account in a hundred changed, and the floor finds the same ones by its digest."""
    ours.poll(folder, "first", tmp_path / "ours.sqlite")
    ours.poll(folder, "changed", tmp_path / "ours.sqlite")
    by_floor(folder, tmp_path / "floor.sqlite")
    db = sqlite3.connect(tmp_path / "floor.sqlite")
    assert floor.later(folder, db, "moved") == 0
    assert floor.later(folder, db, "changed") == ACCOUNTS // 100
    db.close()
    assert ours.counts(tmp_path / "ours.sqlite")["versions"] == ACCOUNTS + ACCOUNTS // 100


def test_pages_are_what_the_api_sends(folder: Path) -> None:
    """Each body is JSON by itself; users come in pages of 200, each account once."""
    ids = [u["id"] for p, body in bodies(folder, "first") if p.path.endswith("/v2/users")
           for u in json.loads(body)["data"]]  # fmt: skip
    assert len(ids) == len(set(ids)) == ACCOUNTS
    assert sorted(ids, reverse=True) == ids, "newest first, as the API lists them"


def test_the_same_size_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """Numbers of two days can be compared only when the schools are the same."""
    records.write(tmp_path, ACCOUNTS)
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_virtual_time_keeps_the_rate(folder: Path, tmp_path: Path) -> None:
    """A poll takes at least what the limit demands after the first full window, and little more."""
    told = full_poll(folder, tmp_path / "limit.sqlite", real=False)
    full_windows = (told["requests"] - 1) // RATE[0]
    assert full_windows * RATE[1] <= told["waited"] <= told["requests"] * ANSWERS_IN + full_windows * RATE[1]


def test_time_lines_overlap() -> None:
    """Two threads wait for a second each, side by side; the third piece of work waits for the first free one."""
    clock = VirtualClock()
    pool = TimeLines(clock, 2)
    futures = [pool.submit(clock.sleep, 1.0) for _ in range(3)]
    ends = []
    for future in futures:
        future.result()
        ends.append(clock.passed)
    assert ends == [1.0, 1.0, 2.0]
