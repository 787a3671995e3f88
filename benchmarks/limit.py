"""How long a full poll takes when the school answers in 300 ms and allows 30 requests in 10 s.

Waiting is done in virtual time: each of the threads that fetch ahead has a time line of its own, and an answer is
there when its time line says so. What the program itself works for is real, and added in full, as though nothing of
it were done while waiting. For a small school the same is done with real threads and real waiting.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ParamSpec, TypeVar

import httpx

from benchmarks.ours import NO_RULES, parts, peak_mib, quiet, school, timed
from benchmarks.pages import Canned
from benchmarks.records import NOW
from monitor.cycle import run_cycle
from monitor.domain.reading import Clock

RATE = (30, 10.0)
ANSWERS_IN = 0.3
P = ParamSpec("P")
T = TypeVar("T")


class VirtualClock:
    """Sleeping moves it on."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=self.passed)

    def sleep(self, seconds: float) -> None:
        self.passed += seconds

    def monotonic(self) -> float:
        return self.passed


class RealClock(VirtualClock):
    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    def monotonic(self) -> float:
        return time.monotonic()


class Arriving(Future[T]):
    """Whoever asks for the result waits until it is there."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._clock, self.at = clock, 0.0

    def result(self, timeout: float | None = None) -> T:
        self._clock.passed = max(self._clock.passed, self.at)
        return super().result(timeout)


class TimeLines(Executor):
    """As many threads in virtual time: work is done at once, and each thread remembers until when it is busy."""

    def __init__(self, clock: VirtualClock, threads: int) -> None:
        self._clock, self._busy_until = clock, [0.0] * threads

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        asked_at, future = self._clock.passed, Arriving[T](self._clock)
        thread = self._busy_until.index(min(self._busy_until))
        self._clock.passed = max(asked_at, self._busy_until[thread])
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # handed on, as any executor does
            future.set_exception(error)
        self._busy_until[thread] = future.at = self._clock.passed
        self._clock.passed = asked_at
        return future


class Slow(httpx.BaseTransport):
    """A school that takes its time."""

    def __init__(self, inner: httpx.BaseTransport, clock: Clock) -> None:
        self._inner, self._clock = inner, clock

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._clock.sleep(ANSWERS_IN)
        return self._inner.handle_request(request)


def full_poll(folder: Path, database: Path, *, real: bool) -> dict[str, float]:
    clock = RealClock() if real else VirtualClock()
    source = school(
        folder, "first", clock, transport=Slow(Canned(folder, "first"), clock), rate=RATE,
        pool=ThreadPoolExecutor if real else lambda threads: TimeLines(clock, threads),
    )  # fmt: skip
    ready = parts(database, source, clock, NO_RULES)
    result, worked = timed(lambda: run_cycle(ready, "school"))
    assert result.snapshot.error is None, result.snapshot.error
    requests = result.snapshot.proof.requests
    return {
        "requests": requests,
        "allowed": requests * RATE[1] / RATE[0],
        "waited": clock.passed,
        "worked": worked,
        "seconds": clock.passed + worked,
        "mib": peak_mib(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="A full poll against the documented rate limit.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True)
    parser.add_argument("--real", action="store_true", help="wait in real time, with real threads")
    asked = parser.parse_args()
    quiet()
    print(json.dumps(full_poll(asked.folder, asked.database, real=asked.real)))


if __name__ == "__main__":
    main()
