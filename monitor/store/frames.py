"""A file of frames, one after the other: length, checksum, body. What a kill or a power cut left half-written shows."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

HEAD = 8  # length and checksum, four bytes each
LONGEST = 256 * 1024 * 1024


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + zlib.crc32(body).to_bytes(4, "little") + body


def whole_frames(path: Path) -> Iterator[tuple[int, bytes]]:
    """Up to the first that is not whole, each with the place where it ends."""
    for end, body in all_frames(path):
        if body is None:
            return
        yield end, body


def all_frames(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """Every frame with the place where it ends; None for one whose bytes are not those that were written."""
    end = 0
    with path.open("rb") as file:
        while head := file.read(HEAD):
            length, checksum = int.from_bytes(head[:4], "little"), int.from_bytes(head[4:], "little")
            body = file.read(length) if 0 < length <= LONGEST else b""
            end += HEAD + length
            if len(head) != HEAD or len(body) != length or not body:
                yield end, None
                return
            yield end, body if zlib.crc32(body) == checksum else None
