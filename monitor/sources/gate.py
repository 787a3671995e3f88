"""A rate limit, kept by the threads of one process, or by several processes together: then who passed when stands in a
small file beside the database.

The limit is the system's, for one client, whoever asks: the daemon, a poll by hand, the fast lane, two sources of one
school. Times are of the monotonic clock, which all processes of one machine share until it is started again.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.domain.reading import Clock
from monitor.errors import SourceError

NAP = 1.0  # nobody sleeps longer without looking whether the reading was stopped
LONGEST_RETRY_AFTER = 600.0
HEAD = struct.Struct("<Qd")  # which place is the oldest; until when nobody passes
PLACE = struct.Struct("<d")
NEVER = float("-inf")


class RateGate:
    """Lets at most `requests` pass in any `seconds`: a sliding window, by the monotonic clock."""

    def __init__(self, clock: Clock, requests: int, seconds: float, *, slack: float = 0.02) -> None:
        """`slack` widens the window: the source counts arrivals, and not every request is equally long on its way."""
        self._clock, self._window = clock, seconds * (1 + slack)
        self._passed: deque[float] = deque(maxlen=requests)
        self._held_until = float("-inf")
        self._lock = threading.Lock()

    def wait(self, stopped: Callable[[], bool] = lambda: False) -> float:
        """Returns when one more request may be sent, with the seconds that it took.

        Holding the lock while asleep keeps the others in line.
        """
        with self._lock:
            began = self._clock.monotonic()
            while (delay := self._delay()) > 0 and not stopped():
                self._clock.sleep(min(delay, NAP))
            now = self._clock.monotonic()
            self._passed.append(now)
            return now - began

    def hold(self, seconds: float) -> None:
        """Nobody passes for so long: the limit is the application's, so one refusal concerns every thread."""
        self._held_until = max(self._held_until, self._clock.monotonic() + seconds)

    def _delay(self) -> float:
        free = self._passed[0] + self._window if len(self._passed) == self._passed.maxlen else self._held_until
        return max(free, self._held_until) - self._clock.monotonic()


class SharedGate(RateGate):
    """Lets at most `requests` pass in any `seconds`, of all that hold the same file."""

    def __init__(self, clock: Clock, requests: int, seconds: float, path: Path, *, slack: float = 0.02) -> None:
        super().__init__(clock, requests, seconds, slack=slack)
        self._requests, self._path = requests, path
        self._file: int | None = None
        self._in_line = threading.Lock()

    def wait(self, stopped: Callable[[], bool] = lambda: False) -> float:
        with self._in_line:
            began = self._clock.monotonic()
            while (delay := self._pass()) > 0 and not stopped():
                self._clock.sleep(min(delay, NAP))
            return self._clock.monotonic() - began

    def hold(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        with self._locked() as file:
            oldest, held = HEAD.unpack(os.pread(file, HEAD.size, 0))
            os.pwrite(file, HEAD.pack(oldest, max(until, self._sane(held, LONGEST_RETRY_AFTER))), 0)

    def _pass(self) -> float:
        """Takes the place of the oldest if that is long enough ago; else how long to wait."""
        with self._locked() as file:
            now = self._clock.monotonic()
            oldest, held = HEAD.unpack(os.pread(file, HEAD.size, 0))
            place = HEAD.size + oldest % self._requests * PLACE.size
            (passed,) = PLACE.unpack(os.pread(file, PLACE.size, place))
            free = max(self._sane(passed, 0.0) + self._window, self._sane(held, LONGEST_RETRY_AFTER))
            if free <= now:
                os.pwrite(file, PLACE.pack(now), place)
                os.pwrite(file, HEAD.pack((oldest + 1) % self._requests, held), 0)
            return free - now

    def _sane(self, moment: float, ahead: float) -> float:
        """What lies further ahead than it can was written before the machine was started anew."""
        return moment if moment <= self._clock.monotonic() + ahead else NEVER

    @contextmanager
    def _locked(self) -> Iterator[int]:
        file = self._opened()
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if os.fstat(file).st_size != HEAD.size + self._requests * PLACE.size:
                os.ftruncate(file, 0)
                os.pwrite(file, HEAD.pack(0, NEVER) + PLACE.pack(NEVER) * self._requests, 0)
            yield file
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)

    def _opened(self) -> int:
        if self._file is None:
            try:
                self._file = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise SourceError(f"cannot write {self._path}: {error.strerror}. Make the folder writable") from error
        return self._file

    def __del__(self) -> None:
        if getattr(self, "_file", None) is not None:
            os.close(self._file)  # type: ignore[arg-type]
