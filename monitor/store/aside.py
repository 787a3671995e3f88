"""Quarantined polls: each one's staging file is kept beside the database until a person decides, or time does.

The file is moved before the transaction that records its snapshot ends, so that there never is a snapshot that waits
without its file; a file without a snapshot is what a crash left, and is swept away.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
from sqlalchemy import Connection, Engine, insert, select, update

from monitor.domain.observed import Grant, Group, Role, Seats
from monitor.domain.reading import Proof, Scope, ScopeEnded
from monitor.errors import StoreError
from monitor.store import ledger
from monitor.store.engine import reading
from monitor.store.settled import whole
from monitor.store.staging import Staging
from monitor.store.tables import QuarantineRow, SnapshotRow, SourceRow

QUARANTINE = QuarantineRow.__table__  # type: ignore[attr-defined]
SNAPSHOTS = SnapshotRow.__table__  # type: ignore[attr-defined]
SOURCES = SourceRow.__table__  # type: ignore[attr-defined]
MOST_KEPT = 5  # of one source
PROGRAM = "access-monitor"  # who decides when nobody does


class Kept(NamedTuple):
    """What of a staging is not in its tables."""

    at: datetime
    proof: Proof
    scopes: list[ScopeEnded]
    roles: list[Role]
    groups: list[Group]
    managers: list[Grant]
    assigned: list[Grant]
    seats: list[Seats]
    seat_grants: list[Grant]
    members: dict[str, str]
    pending: dict[str, list[str]]
    left_out: list[str]  # scopes that were not due
    not_shown: list[bytes]  # digests of the records that a broken read did not show


# files


def kept_file(folder: Path, mark: str, snapshot_id: int) -> Path:
    return folder / f".quarantine-{mark}-{snapshot_id}.sqlite"


def held_file(folder: Path, mark: str) -> Path:
    """Where a poll lies between being doubted and being recorded."""
    return folder / f".quarantine-{mark}.sqlite"


def set_aside(staging: Staging, proof: Proof, to: Path) -> None:
    """Moves what was read, and what it would change, to a file of its own. The staging is empty then."""
    assert staging.path is not None
    kept = Kept(
        staging.at, proof, list(staging.scopes.values()), list(staging.roles.values()), list(staging.groups.values()),
        staging.managers, staging.assigned, list(staging.seats.values()), staging.seat_grants,
        dict(staging.members), staging._pending_members,
        sorted(staging.left_out), [] if whole(staging, Scope.USERS) else list(staging.known_digests),
    )  # fmt: skip
    staging.db.execute("CREATE TABLE kept (body BLOB)")
    staging.db.execute("INSERT INTO kept VALUES (?)", (msgspec.msgpack.encode(kept),))
    _flush(staging.path)
    staging.path.replace(to)
    staging.empty()


def _flush(path: Path) -> None:
    """Staging files are written without care for power cuts; this one must survive them."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def take_up(staging: Staging, kept: Path, snapshot_id: int) -> Kept:
    """Fills a staging with what was set aside, as it was when it had been read. The kept file is not touched.

    Accounts of which something was recorded since are left out: what is recorded of them is newer.
    Raises StoreError when it cannot be read.
    """
    assert staging.path is not None
    try:
        staging.db.close()
        shutil.copyfile(kept, staging.path)
        staging.connect()
        [(body,)] = staging.db.execute("SELECT body FROM kept").fetchall()
        found = msgspec.msgpack.decode(body, type=Kept)
        for sql in _UNSETTLED:
            staging.db.execute(sql)
        for table in ("accounts", "gone"):
            staging.db.execute(
                f"""DELETE FROM {table} WHERE account_id IN (SELECT account_id FROM main_db.accounts
                    WHERE source_id = ? AND valid_to IS NULL AND valid_from > ?)""",  # noqa: S608  # one of two names
                (staging.source_id, snapshot_id),
            )
    except (OSError, sqlite3.Error, msgspec.DecodeError, ValueError) as error:
        raise StoreError(f"{kept}: what was set aside cannot be read: {error}. Reject it, and poll again") from error
    staging.at, staging.known_digests = found.at, set(found.not_shown)
    staging.roles, staging.groups = {r.id: r for r in found.roles}, {g.id: g for g in found.groups}
    staging.managers, staging.assigned = found.managers, found.assigned
    staging.seats, staging.seat_grants = {s.id: s for s in found.seats}, found.seat_grants
    staging.members, staging._pending_members = dict(found.members), dict(found.pending)
    staging.scopes, staging.left_out = {s.name: s for s in found.scopes}, set(found.left_out)
    return found


_UNSETTLED = (
    "DROP TABLE kept",
    "UPDATE accounts SET state = NULL, ends = NULL",
    "UPDATE gone SET ends = NULL",
    *(f"DELETE FROM {table}" for table in ("new_grants", "ended_grants", "changes")),  # noqa: S608
)


def would_change(kept: Path, snapshot_id: int, source: str) -> Iterator[dict[str, Any]]:
    """Changes in the shape of queries.drift, as they would have been recorded. Raises StoreError."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(kept))}?mode=ro", uri=True)) as db:
            db.row_factory = sqlite3.Row
            for row in db.execute("SELECT * FROM changes ORDER BY rowid"):
                values = {k: None if row[k] is None else msgspec.json.decode(row[k]) for k in ("before", "after")}
                yield {"snapshot_id": snapshot_id, "source": source, **dict(row), **values}
    except sqlite3.Error as error:
        raise StoreError(f"{kept}: what was set aside cannot be read: {error}") from error


def sweep(engine: Engine, folder: Path, mark: str) -> None:
    """Removes the files of snapshots that no longer wait, and what a crash left. The caller holds the source's lock."""
    with reading(engine) as connection:
        waits = connection.execute(select(QUARANTINE.c.snapshot_id).where(QUARANTINE.c.status == "waiting"))
        keep = {kept_file(folder, mark, i).name for (i,) in waits}
    for path in folder.glob(f".quarantine-{mark}*.sqlite"):
        if path.name not in keep:
            path.unlink(missing_ok=True)


# rows


def listing(engine: Engine, source: str | None = None) -> list[dict[str, Any]]:
    """Every quarantined snapshot with what became of it, newest last."""
    query = (
        select(QUARANTINE, SOURCES.c.name.label("source"), SNAPSHOTS.c.started_at)
        .join(SNAPSHOTS, SNAPSHOTS.c.id == QUARANTINE.c.snapshot_id)
        .join(SOURCES, SOURCES.c.id == QUARANTINE.c.source_id)
        .order_by(QUARANTINE.c.snapshot_id)
    )
    query = query.where(SOURCES.c.name == source) if source else query
    with reading(engine) as connection:
        return [dict(r) for r in connection.execute(query).mappings()]


def in_episode(engine: Engine, source_id: int) -> bool:
    """Whether a snapshot was quarantined since the last one that was whole, or that somebody accepted."""
    with reading(engine) as connection:
        return _first_of_episode(connection, source_id) is not None


def _first_of_episode(connection: Connection, source_id: int) -> int | None:
    found = connection.exec_driver_sql(
        """SELECT min(snapshot_id) FROM quarantine WHERE source_id = :source AND snapshot_id > (
             SELECT coalesce(max(id), 0) FROM snapshots WHERE source_id = :source AND lane = 'full'
               AND (outcome = 'complete'
                 OR id IN (SELECT applied_as FROM quarantine WHERE source_id = :source AND applied_as IS NOT NULL)))""",
        {"source": source_id},
    ).scalar()
    return None if found is None else int(found)


def put(
    connection: Connection, source_id: int, snapshot_id: int, why: str, held: Path, folder: Path, mark: str,
    now: datetime,
) -> None:  # fmt: skip
    """A snapshot that waits, inside the transaction that records it."""
    connection.execute(
        insert(QUARANTINE).values(snapshot_id=snapshot_id, source_id=source_id, status="waiting", why=why)
    )
    held.replace(kept_file(folder, mark, snapshot_id))
    for oldest in _too_many(connection, source_id):
        body = {"snapshot": oldest, "by": PROGRAM, "why": f"more than {MOST_KEPT} waited"}
        _decide(connection, oldest, "rejected", PROGRAM, now)
        ledger.append(connection, now, [("quarantine.rejected", body)])


def _too_many(connection: Connection, source_id: int) -> list[int]:
    """The oldest that wait, beyond the most that are kept; but not the first, which people were told of."""
    waiting = _waiting(connection, source_id)
    first = _first_of_episode(connection, source_id)
    return [i for i in waiting if i != first][: max(0, len(waiting) - MOST_KEPT)]


def _waiting(connection: Connection, source_id: int) -> list[int]:
    query = select(QUARANTINE.c.snapshot_id).where(
        QUARANTINE.c.source_id == source_id, QUARANTINE.c.status == "waiting"
    )
    return [r[0] for r in connection.execute(query.order_by(QUARANTINE.c.snapshot_id))]


def supersede(connection: Connection, source_id: int, snapshot_id: int, now: datetime) -> None:
    """What waits is of no use any more: a later snapshot was applied, and what waits knows nothing of it."""
    for waiting in _waiting(connection, source_id):
        _decide(connection, waiting, "superseded", PROGRAM, now)
        ledger.append(connection, now, [("quarantine.superseded", {"snapshot": waiting, "by": snapshot_id})])


def accept(
    connection: Connection, snapshot_id: int | None, applied_as: int, by: str, why: Sequence[str], now: datetime
) -> None:
    """Inside the transaction that applies it. Without `snapshot_id` it is a poll that never was set aside.

    Raises StoreError when somebody was quicker.
    """
    if snapshot_id is not None:
        _decide(connection, snapshot_id, "accepted", by, now, applied_as)
    body = {"snapshot": snapshot_id, "by": by, "applied_as": applied_as, "why": list(why)}
    ledger.append(connection, now, [("quarantine.accepted", body)])


def refuse_decided(engine: Engine, snapshot_id: int) -> str:
    """Name of the source of a snapshot that waits. Raises StoreError for any other."""
    found = [r for r in listing(engine) if r["snapshot_id"] == snapshot_id]
    if not found:
        raise StoreError(f"snapshot {snapshot_id} is not quarantined; see `access-monitor quarantine list`")
    row = found[0]
    if row["status"] == "superseded":
        raise StoreError(
            f"snapshot {snapshot_id} was overtaken: a later poll of {row['source']} was recorded. Poll again; if that "
            "is beyond the limits, accept it, or run `access-monitor poll --beyond-limits --by NAME`"
        )
    if row["status"] != "waiting":
        raise StoreError(f"snapshot {snapshot_id} was {row['status']} already, by {row['decided_by']}")
    return str(row["source"])


def reject(connection: Connection, snapshot_id: int, by: str, now: datetime) -> None:
    """Raises StoreError when somebody was quicker."""
    _decide(connection, snapshot_id, "rejected", by, now)
    ledger.append(connection, now, [("quarantine.rejected", {"snapshot": snapshot_id, "by": by})])


def _decide(
    connection: Connection, snapshot_id: int, status: str, by: str, now: datetime, applied_as: int | None = None
) -> None:
    values: Mapping[str, Any] = {
        "status": status, "decided_at": now, "decided_by": by, "applied_as": applied_as,
    }  # fmt: skip
    waits = (QUARANTINE.c.snapshot_id == snapshot_id) & (QUARANTINE.c.status == "waiting")
    if connection.execute(update(QUARANTINE).where(waits).values(**values)).rowcount != 1:
        raise StoreError(f"snapshot {snapshot_id} is not waiting any more; see `access-monitor quarantine list`")
