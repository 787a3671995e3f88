"""A school and somebody who watches it, for tests that speak our words:
`school.suspend("ann@..."); watch.poll(); assert watch.drift() == [...]`.
"""

from __future__ import annotations

import io
import json
import os
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from monitor import wiring
from monitor.config import load
from monitor.cycle import CycleResult, run_cycle
from monitor.decide import present
from monitor.dispatch import deliver_waiting
from monitor.domain.reading import Lane
from monitor.simulator import School, SchoolServer
from monitor.store import findings, queries
from monitor.store.engine import open_engine, reading
from tests.peers import fresh, warm

START = datetime(2026, 3, 1, 9, 0, tzinfo=UTC)
TOKEN = "LW_TOKEN"

CONFIG = """
[[sources]]
name = "school"
kind = "learnworlds"
url = "{url}"
client_id = "{client_id}"
{secret}
rate = "5000/1s"
admin_limit = {admin_limit}

[[receivers]]
name = "out"
kind = "files"
path = "./messages"

[[routes]]
to = ["out"]
"""


@dataclass
class VirtualClock:
    """Time that passes when somebody waits for it, or when the test says so."""

    elapsed: float = 0.0
    slept: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.elapsed)

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.slept.append(seconds)
            self.elapsed += seconds

    def monotonic(self) -> float:
        return self.elapsed

    def ahead(self, **how: float) -> None:
        with self.lock:
            self.elapsed += timedelta(**how).total_seconds()


class Watch:
    """One config, one database, one folder of messages."""

    def __init__(self, folder: Path, server: SchoolServer, clock: VirtualClock, config: str) -> None:
        self.folder, self.server, self.clock = folder, server, clock
        self.config = folder / "config.toml"
        self.config.write_text(config, encoding="utf-8")
        self.database = folder / "access-monitor.sqlite"
        if not self.database.exists():
            fresh.database(self.database)

    def poll(self, lane: Lane = Lane.FULL) -> CycleResult:
        """One poll, and what is to be said is said."""
        parts = wiring.parts(load(self.config), self.clock, stream=io.StringIO())
        try:
            result = run_cycle(parts, "school", lane=lane)
            deliver_waiting(parts)
        finally:
            parts.engine.dispose()
        return result

    def findings(self, status: str | None = "open") -> list[dict[str, Any]]:
        engine = open_engine(f"sqlite:///{self.database}")
        with reading(engine) as connection:
            found = [present.finding(f) for f in findings.load(connection)]
        engine.dispose()
        return [f for f in found if status in (None, f["status"])]

    def open(self) -> set[tuple[str, str]]:
        """Rule and subject of what is open."""
        return {(f["rule"], f["subject"]["id"]) for f in self.findings()}

    def drift(self, snapshot: int) -> set[tuple[str, str | None, str, str]]:
        """(subject id, field, before, after), the values as JSON."""
        engine = open_engine(f"sqlite:///{self.database}")
        rows = list(queries.drift(engine, snapshot=snapshot))
        engine.dispose()
        return {(r["subject_id"], r["field"], json.dumps(r["before"]), json.dumps(r["after"])) for r in rows}

    def messages(self) -> list[dict[str, Any]]:
        paths = sorted((self.folder / "messages").glob("*.json"), key=lambda p: (p.stat().st_mtime_ns, p.name))
        return [json.loads(p.read_text(encoding="utf-8")) for p in paths]

    def counts(self) -> dict[str, int]:
        """Rows by table."""
        with sqlite3.connect(self.database) as db:
            tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            found = {t: db.execute(f'SELECT count(*) FROM "{t}"').fetchone()[0] for t in tables}
        db.close()
        return found

    def command(self, *arguments: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        """The real program in a real process."""
        return warm.run(["--config", str(self.config), *arguments], {**os.environ, **(env or {})})


@contextmanager
def watched(
    folder: Path, users: int = 400, *, secret: str = 'token = { env = "LW_TOKEN" }', config: str = CONFIG, **how: Any
) -> Iterator[tuple[School, SchoolServer, Watch]]:
    """A school of that size that is served on loopback and watched from `folder`; time is virtual."""
    clock = VirtualClock()
    school = School(users=users, seed=1, now=START.timestamp())
    how.setdefault("rate", None)
    with SchoolServer(school, clock=lambda: clock.now().timestamp(), **how) as server:
        before = {name: os.environ.get(name) for name in (TOKEN, "LW_SECRET")}
        os.environ |= {TOKEN: server.token, "LW_SECRET": server.client_secret}
        text = config.format(
            url=server.url, client_id=server.client_id, secret=secret, admin_limit=school.admins, port=0
        )
        try:
            yield school, server, Watch(folder, server, clock, text)
        finally:
            for name, value in before.items():
                os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)
