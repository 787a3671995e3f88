"""The append-only, hash-chained record of what was seen, decided and sent.

hash = SHA-256 over the lines previous, sequence, time (microseconds), kind and body. Whoever edits a row, by whatever
program, breaks every hash from there on; whoever cuts the end off shows in the head that was noted elsewhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from monitor.store.tables import json_text, micros


class Broken(NamedTuple):
    sequence: int
    what: str


def row_hash(previous: str, sequence: int, time: int, kind: str, body: str) -> str:
    return hashlib.sha256(f"{previous}\n{sequence}\n{time}\n{kind}\n{body}".encode()).hexdigest()


def append(connection: Connection, now: datetime, entries: Iterable[tuple[str, dict[str, Any]]]) -> None:
    """Adds entries (kind, body) inside the caller's write transaction."""
    head = connection.exec_driver_sql("SELECT sequence, hash FROM ledger ORDER BY sequence DESC LIMIT 1").fetchone()
    sequence, previous = (head[0], head[1]) if head else (0, "")
    time = micros(now) or 0
    for kind, content in entries:
        sequence, body = sequence + 1, json_text(content)
        digest = row_hash(previous, sequence, time, kind, body)
        connection.exec_driver_sql(
            "INSERT INTO ledger (sequence, time, kind, body, previous, hash) VALUES (?, ?, ?, ?, ?, ?)",
            (sequence, time, kind, body, previous, digest),
        )
        previous = digest


def verify(connection: Connection) -> Iterable[Broken]:
    """Every place where the chain does not hold; none when the record is as it was written."""
    expected, previous = 1, ""
    rows = connection.exec_driver_sql("SELECT sequence, time, kind, body, previous, hash FROM ledger ORDER BY sequence")
    for sequence, time, kind, body, said, digest in rows:
        if sequence != expected:
            yield Broken(sequence, f"rows {expected} to {sequence - 1} are missing")
        if said != previous:
            yield Broken(sequence, "does not follow the row before it")
        if digest != row_hash(said, sequence, time, kind, body):
            yield Broken(sequence, "was changed after it was written")
        expected, previous = sequence + 1, digest
