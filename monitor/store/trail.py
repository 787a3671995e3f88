"""What one poll has read so far, written down as it comes: a poll that was cut off goes on where this ends.

A file of frames: what a kill or a power cut left half-written is not taken, nor what follows it. Only what was read is
here; what it changes is found anew.
"""

from __future__ import annotations

import contextlib
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple, get_args

import msgspec

from monitor.domain.reading import Batch, Outcome, PageRead, Resumed, ScopeEnded
from monitor.errors import StoreError
from monitor.store.frames import framed, whole_frames
from monitor.store.staging import Staging

KINDS: dict[str, type] = {kind.__name__: kind for kind in get_args(Batch)}
_encode, _decode = msgspec.msgpack.encode, msgspec.msgpack.decode


class Beginning(NamedTuple):
    mark: str  # what must be the same for a poll to go on: program, settings, source
    began: datetime
    snapshot: int  # the newest one of the source when it began


class Frame(NamedTuple):
    kind: str
    body: msgspec.Raw
    seen: bytes  # digests of records that were known, 16 bytes each
    at: datetime


class Trail:
    """Of the poll that is going on. `path` None leaves none."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def begin(self, beginning: Beginning) -> None:
        if self._path is None:
            return
        try:
            descriptor = os.open(self._path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
            self._file = os.fdopen(descriptor, "wb", buffering=0)
        except OSError as error:
            raise StoreError(f"{self._path}: cannot be written: {error.strerror}") from error
        self._write(_encode(beginning))

    def go_on(self, end: int) -> None:
        """After a part that was taken up: what follows it is cut off."""
        assert self._path is not None
        self._file = open(self._path, "r+b", buffering=0)  # noqa: SIM115  # open while the poll lasts
        self._file.truncate(end)
        self._file.seek(end)

    def add(self, batch: Batch, seen: bytes, at: datetime) -> None:
        if self._file is not None:
            self._write(_encode(Frame(type(batch).__name__, msgspec.Raw(_encode(batch)), seen, at)))

    def _write(self, body: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(framed(body))
        except OSError:  # the disk is full: a poll that cannot be resumed is still a poll
            with contextlib.suppress(OSError):
                self.end()

    def end(self, *, keep: bool = False) -> None:
        """`keep`: the source could not be reached any more, and the next poll goes on here."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._path is not None and not keep:
            self._path.unlink(missing_ok=True)


def take_up(path: Path, mark: str, staging: Staging, now: datetime, within: timedelta) -> int | None:
    """Fills a staging with what a poll has read that was cut off. Returns where the part ends that was taken, or None
    when there is none that is young enough and was read in the same way. Read twice: it may be larger than memory.
    """
    found = _usable(path)
    if found is None or found.beginning.mark != mark or now - found.newest > within:
        return None
    pages: dict[str, PageRead] = {}
    for end, body in whole_frames(path):
        if end == found.begins:
            continue
        frame = _decode(body, type=Frame)
        batch: Batch = _decode(frame.body, type=KINDS[frame.kind])
        staging.recall_seen(frame.seen)
        staging.add(batch)
        if isinstance(batch, PageRead):
            pages[batch.scope] = batch
        if end == found.ends:
            break
    staging.began = min(staging.began, found.beginning.snapshot)
    staging.resumed = _resumed(staging, found.beginning, pages)
    return found.ends


class _Usable(NamedTuple):
    beginning: Beginning
    begins: int
    ends: int
    newest: datetime


def _usable(path: Path) -> _Usable | None:
    """Up to the end of a page or of a scope: what came after it is asked for again."""
    safe, beginning, found = (PageRead.__name__, ScopeEnded.__name__), None, None
    with contextlib.suppress(OSError, msgspec.DecodeError):
        for end, body in whole_frames(path):
            if beginning is None:
                beginning, begins = _decode(body, type=Beginning), end
                continue
            frame = _decode(body, type=Frame)
            if frame.kind in safe:
                found = _Usable(beginning, begins, end, frame.at)
    return found


def _resumed(staging: Staging, beginning: Beginning, pages: dict[str, PageRead]) -> Resumed:
    done = frozenset(n for n, s in staging.scopes.items() if s.outcome is Outcome.COMPLETE)
    proof = next(reversed(pages.values())).proof if pages else {}
    left = {scope: page for scope, page in pages.items() if scope not in done}
    return Resumed(beginning.began, done, left, proof, list(staging.roles.values()), list(staging.groups.values()))
