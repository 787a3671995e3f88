"""One at a time, however many processes run: locks that go with the process that holds them, so none is left behind."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.domain.reading import Clock
from monitor.errors import StoreError


@contextmanager
def held(path: Path, clock: Clock, patience: float = 0.0) -> Iterator[bool]:
    """Whether the lock is ours, after waiting for at most `patience` seconds for another process to let it go.

    Raises StoreError when the file cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {error.strerror}. The folder must be writable for this user") from error
    until = clock.monotonic() + patience
    try:
        while not (mine := _locked(descriptor)) and clock.monotonic() < until:
            clock.sleep(0.1)
        yield mine
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
