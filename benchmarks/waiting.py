"""What 100,000 waiting messages cost the next one: claiming and settling it, and handing over what a poll just found.

The waiting ones are behind a receiver that is out of reach and in 1,000 lanes of another one, none of them due.
"""

from __future__ import annotations

import argparse
import json
import secrets
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine

from benchmarks.ours import quiet
from monitor.decide import route
from monitor.dispatch import deliver_waiting
from monitor.domain.message import Health, Notification, Reason, Receipt, Route, Sending
from monitor.line.parts import Parts, RuleSet
from monitor.store import outbox
from monitor.store.engine import migrate, open_engine, writing
from monitor.store.tables import micros

SAMPLES = 200
LANES = 1000


class Clock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def monotonic(self) -> float:
        return time.monotonic()


class Takes:
    """A receiver that takes what it gets, and notes when."""

    def __init__(self) -> None:
        self.at: list[float] = []

    def send(self, notification: Notification) -> Receipt:
        self.at.append(time.perf_counter())
        return Receipt(Sending.SENT, reference="ok")

    def find(self, notification: Notification) -> str | None:
        return None

    def check(self) -> str | None:
        return None


def measure(folder: Path, waiting: int) -> dict[str, float]:
    """Medians and the worst, in milliseconds."""
    engine = open_engine(f"sqlite:///{folder / f'waiting-{waiting}.sqlite'}")
    migrate(engine)
    clock, takes = Clock(), Takes()
    _fill(engine, waiting, clock.now())
    parts = Parts(engine, clock, RuleSet((), ""), (Route(("fast",)),), {"fast": takes, "shut": Takes()}, {}, folder)
    outbox.say(engine, [_note("fast", f"c{i}", clock.now()) for i in range(SAMPLES)])
    claims = [_timed(lambda: _claim(engine, clock)) for _ in range(SAMPLES)]
    looks = [_timed(lambda: outbox.due_lanes(engine, clock.now())) for _ in range(SAMPLES)]
    handed = []
    for i in range(20):
        began = time.perf_counter()
        outbox.say(engine, [_note("fast", f"h{i}", clock.now())])  # what the end of a poll does
        deliver_waiting(parts)
        handed.append((takes.at[-1] - began) * 1000)
    engine.dispose()
    return {
        "claim": statistics.median(claims), "look": statistics.median(looks), "handed": max(handed),
        "waiting": float(waiting),
    }  # fmt: skip


def _claim(engine: Engine, clock: Clock) -> None:
    claimed = outbox.claim(engine, "fast", "me", secrets.token_hex(8), clock.now(), alone=True)
    assert claimed is not None
    outbox.settle(engine, claimed, Receipt(Sending.SENT), clock.now(), clock.now(), Health())


def _timed(what: Callable[[], object]) -> float:
    began = time.perf_counter()
    what()
    return (time.perf_counter() - began) * 1000


def _note(receiver: str, key: str, now: datetime) -> Notification:
    content = {"finding": {"severity": "high", "owner": "ann@example.com"}}
    return route.notification(receiver, Reason.OPENED, key, f"Something is wrong with {key}", "school", now, content)


def _fill(engine: Engine, waiting: int, now: datetime) -> None:
    text = json.dumps(dict(_note("shut", "x", now).content))
    later = micros(now + timedelta(days=1))
    half = waiting // 2
    rows = (
        (str(i), i, "shut", "shut" if i < half else f"shut a{i % LANES}@example.com", f"k{i}", text, later, later)
        for i in range(waiting)
    )
    with writing(engine) as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.executemany(
            """INSERT INTO outbox (id, position, receiver, lane, reason, key, content, status, attempts, created_at,
                 due_at) VALUES (?, ?, ?, ?, 'opened', ?, ?, 'pending', 3, ?, ?)""", rows,
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="The next message among many that wait.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--waiting", type=int, required=True)
    asked = parser.parse_args()
    quiet()
    print(json.dumps(measure(asked.folder, asked.waiting)))


if __name__ == "__main__":
    main()
