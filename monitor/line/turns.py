"""Who may poll a source, and who may record what was seen of it: one at a time, over all processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monitor.domain.reading import (
    Clock,
    Lane,
)
from monitor.errors import Busy
from monitor.line.parts import Parts
from monitor.store.locks import held

RECORDING_TAKES = 600.0  # seconds, at the very most


@contextmanager
def polling(folder: Path, clock: Clock, name: str, lane: Lane = Lane.FULL) -> Iterator[str]:
    """While nobody else polls this source, or decides what a poll of it was worth. Gives its mark in file names."""
    mark = source_mark(name)
    with held(folder / f".polling-{mark}{suffix(lane)}", clock) as mine:
        if not mine:
            raise Busy(f"{name} is being polled by another process; its snapshot will be there when that is done")
        yield mark


@contextmanager
def in_turn(parts: Parts, name: str) -> Iterator[None]:
    """A fast lane is polled while a full poll goes on; from comparing to recording they go one after the other."""
    with held(parts.staging_folder / f".recording-{source_mark(name)}", parts.clock, RECORDING_TAKES) as mine:
        if not mine:
            raise Busy(f"{name}: another poll is being recorded for {RECORDING_TAKES:.0f} s; this one is dropped")
        yield


def suffix(lane: Lane) -> str:
    """Of files that each lane has of its own."""
    return "" if lane is Lane.FULL else f"-{lane.value}"


def source_mark(name: str) -> str:
    """A source's name as part of a file's name."""
    return hashlib.sha256(name.encode()).hexdigest()[:12]
