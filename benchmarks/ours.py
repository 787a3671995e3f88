"""One poll through the line: the real source reads the generated pages, the real store records them.

Run in a process of its own, which prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import resource
import sqlite3
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import structlog

from benchmarks.pages import Canned
from benchmarks.records import NOW
from monitor.cycle import CycleResult, run_cycle
from monitor.decide.parse import parse_set, set_digest
from monitor.domain.message import Route
from monitor.domain.reading import Clock
from monitor.line.parts import Parts, RuleSet, Watched
from monitor.rulebook.folder import read_folder
from monitor.sources.learnworlds import LearnWorlds
from monitor.store.engine import migrate, open_engine
from monitor.wiring import shipped

NO_LIMIT = (1_000_000, 1e-6)
LATER = {"first": 0, "moved": 1, "changed": 2}
EVERY = timedelta(minutes=15)


class BenchmarkClock:
    """The dates of the generated school; the waiting is real."""

    def __init__(self, state: str) -> None:
        self.started = datetime.fromtimestamp(NOW, UTC) + LATER[state] * EVERY

    def now(self) -> datetime:
        return self.started

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def monotonic(self) -> float:
        return time.monotonic()


def school(folder: Path, state: str, clock: Clock, **how: Any) -> LearnWorlds:
    settings: dict[str, Any] = {"transport": Canned(folder, state), "rate": NO_LIMIT} | how
    return LearnWorlds("school", "https://school.example.com", "client", token="token", clock=clock, **settings)


def parts(database: Path, source: LearnWorlds, clock: Clock, rules: RuleSet) -> Parts:
    engine = open_engine(f"sqlite:///{database}")
    migrate(engine)
    return Parts(
        engine=engine,
        clock=clock,
        rules=rules,
        routes=(Route(("nobody",)),),
        channels={},
        watched={"school": Watched(source, "learnworlds", EVERY.total_seconds(), "reader", admin_limit=20)},
        staging_folder=database.parent,
    )


def shipped_rules() -> RuleSet:
    files = read_folder(shipped("rules"))
    return RuleSet(parse_set(files, today=datetime.fromtimestamp(NOW, UTC).date()), set_digest(files))


NO_RULES = RuleSet((), "none")


def poll(folder: Path, state: str, database: Path, rules: RuleSet = NO_RULES) -> tuple[float, CycleResult]:
    """Seconds, and what came of it. Opening the database and listing the pages is not timed."""
    clock = BenchmarkClock(state)
    ready = parts(database, school(folder, state, clock), clock, rules)
    result, seconds = timed(lambda: run_cycle(ready, "school"))
    assert result.snapshot.error is None, result.snapshot.error
    ready.engine.dispose()
    return seconds, result


def timed(work: Callable[[], CycleResult]) -> tuple[CycleResult, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def counts(database: Path) -> dict[str, int]:
    """Rows in force, and rows of any time."""
    with sqlite3.connect(database) as db:
        found = {
            table: db.execute(f"SELECT count(*) FROM {table} WHERE valid_to IS NULL").fetchone()[0]
            for table in ("accounts", "grants")
        }
        for name, table in (("versions", "accounts"), ("grant_versions", "grants"), ("activity", "activity")):
            found[name] = db.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    db.close()
    return found


def peak_mib() -> int:
    """What the operating system saw at the highest, in a process that did nothing else."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    parser = argparse.ArgumentParser(description="One poll of the generated school through the line.")
    parser.add_argument("state", choices=("tables", *LATER), help="`tables` makes an empty database")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--rules", action="store_true", help="judge by the shipped rules, too")
    asked = parser.parse_args()
    quiet()
    if asked.state == "tables":
        migrate(open_engine(f"sqlite:///{asked.database}"))
        return
    seconds, result = poll(asked.folder, asked.state, asked.database, shipped_rules() if asked.rules else NO_RULES)
    peak = peak_mib()
    told = {"seconds": seconds, "mib": peak, "requests": result.snapshot.proof.requests, "changes": result.changes,
            "events": len(result.events)}  # fmt: skip
    print(json.dumps(told | counts(asked.database)))


def quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))


if __name__ == "__main__":
    main()
