"""A table through the whole line: what a quarantined poll changes, which is nothing, and what the operator hears."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from monitor import wiring
from monitor.cli.app import Exit, main
from monitor.config import load
from monitor.cycle import CycleResult, run_cycle
from monitor.dispatch import deliver_waiting
from monitor.domain.reading import Outcome
from monitor.store import queries
from monitor.store.engine import open_engine
from tests.peers.watch import VirtualClock

CONFIG = """
[[sources]]
name = "app"
kind = "file"
path = "accounts.csv"
columns = { id = "id", email = "mail", status = "state", level = "level", groups = "teams" }

[[receivers]]
name = "out"
kind = "files"
path = "./messages"

[[routes]]
to = ["out"]
"""
HEADER = "id,mail,state,level,teams\n"
ROWS = [f"{n},p{n}@x.test,active,{'admin' if n < 3 else 'user'},t{n % 2}\n" for n in range(8)]


class Desk:
    """A folder with a config, an export and a database; half an hour passes with every poll."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, VirtualClock()
        (folder / "config.toml").write_text(CONFIG)

    def write(self, rows: list[str], header: str = HEADER) -> None:
        (self.folder / "accounts.csv").write_text(header + "".join(rows))

    def poll(self) -> CycleResult:
        parts = wiring.parts(load(self.folder / "config.toml"), self.clock, stream=io.StringIO())
        try:
            result = run_cycle(parts, "app")
            deliver_waiting(parts)
        finally:
            parts.engine.dispose()
        self.clock.ahead(minutes=30)
        return result

    def accounts(self) -> dict[str, list[str]]:
        """Ids and the groups that they are in."""
        engine = open_engine(f"sqlite:///{self.folder}/access-monitor.sqlite")
        rows = {r["id"]: sorted(r["groups"]) for r in queries.accounts(engine)}
        engine.dispose()
        return rows

    def said(self) -> list[str]:
        paths = (self.folder / "messages").glob("*.json")
        return [json.loads(p.read_text())["title"] for p in sorted(paths, key=lambda p: p.stat().st_mtime_ns)]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


WRONG = [
    ("empty", lambda d: d.write([], "")),
    ("without rows", lambda d: d.write([])),
    ("cut off", lambda d: d.write([*ROWS[:-1], '7,"p7'])),
    ("shrunk", lambda d: d.write(ROWS[:3])),
    ("without a column", lambda d: d.write(ROWS, HEADER.replace("level", "lvl"))),
]


@pytest.mark.parametrize(("name", "spoil"), WRONG, ids=[w[0] for w in WRONG])
def test_a_quarantined_poll_changes_nothing(desk: Desk, name: str, spoil: object) -> None:
    """No account ends, no finding closes, one message says it; the next right file is compared with the last one."""
    desk.write(ROWS)
    assert desk.poll().snapshot.outcome is Outcome.COMPLETE
    before = desk.accounts()
    assert len(before) == 8
    assert before["1"] == ["t1"]
    assert callable(spoil)
    spoil(desk)
    for _ in range(2):
        result = desk.poll()
        assert result.snapshot.outcome is Outcome.QUARANTINED
        assert result.changes == 0
        assert {e.finding.subject.kind for e in result.events} <= {"source"}, (
            "but for what is said of the monitor's sight"
        )
        assert desk.accounts() == before
    assert [t for t in desk.said() if "quarantined" in t] == [
        "app could not be believed: the poll is quarantined"
    ]  # fmt: skip
    desk.write(ROWS[1:])
    result = desk.poll()
    assert result.snapshot.outcome is Outcome.COMPLETE
    assert desk.accounts().keys() == before.keys() - {"0"}
    assert "app can be read whole again" in desk.said()


def test_the_command_says_that_a_poll_was_quarantined(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    """It exits with that code, and the reason names the file."""
    desk.write([])
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(desk.folder / "config.toml"), "poll"])
    assert ended.value.code == Exit.PARTIAL
    said = capsys.readouterr()
    assert "is quarantined" in said.out
    assert "accounts.csv: there are no rows in it" in " ".join(said.err.split())


def test_rows_with_faults_end_nobody(desk: Desk) -> None:
    """A partial poll: what is right is taken over, whoever is missing stays, and so do memberships."""
    desk.write(ROWS)
    desk.poll()
    before = desk.accounts()
    desk.write([*ROWS[:6], "6,p6@x.test,away,user,\n", "9,p9@x.test,active,user,t0\n"])
    result = desk.poll()
    assert result.snapshot.outcome is Outcome.PARTIAL
    assert 'accounts.csv: row 8: column "state": "away" is no status' in str(result.snapshot.error)
    assert desk.accounts() == before | {"9": []}
