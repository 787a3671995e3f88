"""The rule sets that were in force, with their texts: what a snapshot was judged by can be read years later."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, insert, select

from monitor.store import ledger
from monitor.store.engine import reading
from monitor.store.tables import RuleSetRow, SnapshotRow, json_text

RULE_SETS = RuleSetRow.__table__  # type: ignore[attr-defined]
SNAPSHOTS = SnapshotRow.__table__  # type: ignore[attr-defined]


class InForce(NamedTuple):
    """A rule set and the snapshots that were judged by it, one after the other."""

    digest: str
    files: Mapping[str, str] | None  # None: its texts were not kept
    since: datetime
    until: datetime  # start of the last snapshot that was judged by it
    first: int
    snapshots: int


def keep(connection: Connection, digest: str, files: Mapping[str, str], now: datetime) -> None:
    """Inside the caller's transaction; a set that is known is not written again."""
    if not files or connection.execute(select(RULE_SETS.c.digest).where(RULE_SETS.c.digest == digest)).first():
        return
    packed = zlib.compress(json_text(dict(files)).encode(), 9)
    connection.execute(insert(RULE_SETS).values(digest=digest, files=packed, kept_at=now))
    ledger.append(connection, now, [("rules.kept", {"digest": digest, "files": len(files)})])


def latest(engine: Engine) -> tuple[str, Mapping[str, str]] | None:
    """The set of the newest snapshot whose texts were kept."""
    query = (
        select(RULE_SETS.c.digest, RULE_SETS.c.files)
        .join(SNAPSHOTS, SNAPSHOTS.c.rules_digest == RULE_SETS.c.digest)
        .order_by(SNAPSHOTS.c.id.desc()).limit(1)
    )  # fmt: skip
    with reading(engine) as connection:
        row = connection.execute(query).first()
    return None if row is None else (row.digest, _unpacked(row.files))


def history(engine: Engine) -> list[InForce]:
    """Oldest first. A set that came back stands there again."""
    with reading(engine) as connection:
        texts = {r.digest: _unpacked(r.files) for r in connection.execute(select(RULE_SETS))}
        query = select(SNAPSHOTS.c.id, SNAPSHOTS.c.rules_digest, SNAPSHOTS.c.started_at).order_by(SNAPSHOTS.c.id)
        rows: Sequence[Any] = connection.execute(query).all()
    found: list[InForce] = []
    for row in rows:
        if found and found[-1].digest == row.rules_digest:
            found[-1] = found[-1]._replace(until=row.started_at, snapshots=found[-1].snapshots + 1)
        else:
            files = texts.get(row.rules_digest)
            found.append(InForce(row.rules_digest, files, row.started_at, row.started_at, row.id, 1))
    return found


def _unpacked(packed: bytes) -> dict[str, str]:
    files: dict[str, str] = msgspec.json.decode(zlib.decompress(packed))
    return files
