"""Persons as they are recorded: rows of an authority, their earlier departments, and how well it was read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select

from monitor.domain.reading import Outcome, Scope
from monitor.store.tables import AccountRow, ScopeRow, SnapshotRow, SourceRow

SOURCES = SourceRow.__table__  # type: ignore[attr-defined]
SNAPSHOTS = SnapshotRow.__table__  # type: ignore[attr-defined]
SCOPES = ScopeRow.__table__  # type: ignore[attr-defined]
ACCOUNTS = AccountRow.__table__  # type: ignore[attr-defined]
_FROM, _TO = ACCOUNTS.c.valid_from, ACCOUNTS.c.valid_to


_POLLS = 1000  # a whole one before these is too old whatever the config says


class Standing(NamedTuple):
    """The latest poll of an authority."""

    source_id: int
    snapshot_id: int
    started_at: datetime
    whole: bool  # whether it showed every person
    whole_at: datetime | None  # when the latest poll that did was begun


def standing(connection: Connection, name: str, at: datetime | None = None) -> Standing | None:
    """Its latest poll, or the latest that had ended then. None: there is none."""
    query = select(SNAPSHOTS).join(SOURCES, SOURCES.c.id == SNAPSHOTS.c.source_id).where(SOURCES.c.name == name)
    query = query if at is None else query.where(SNAPSHOTS.c.finished_at <= at)
    row = connection.execute(query.order_by(SNAPSHOTS.c.id.desc()).limit(1)).first()
    if row is None:
        return None
    whole_at = next((r.started_at for r in _seeing(connection, row) if _showed_all(connection, r)), None)
    return Standing(row.source_id, row.id, row.started_at, whole_at == row.started_at, whole_at)


def _seeing(connection: Connection, latest: Any) -> Iterator[Any]:
    """Polls that may have shown every person, the latest one first."""
    query = select(SNAPSHOTS).where(
        SNAPSHOTS.c.source_id == latest.source_id, SNAPSHOTS.c.id <= latest.id,
        SNAPSHOTS.c.outcome.in_([Outcome.COMPLETE.value, Outcome.PARTIAL.value]),
    )  # fmt: skip
    yield from connection.execute(query.order_by(SNAPSHOTS.c.id.desc()).limit(_POLLS))


def _showed_all(connection: Connection, row: Any) -> bool:
    return row.outcome == Outcome.COMPLETE or _users(connection, row)


def _users(connection: Connection, snapshot: Any) -> bool:
    """Whether the persons themselves were read whole, though something else was not."""
    query = select(SCOPES.c.outcome).where(
        SCOPES.c.source_id == snapshot.source_id, SCOPES.c.name == Scope.USERS, _valid(SCOPES, snapshot.id)
    )
    return connection.execute(query).scalar() == Outcome.COMPLETE


def rows(connection: Connection, found: Standing) -> Iterator[dict[str, Any]]:
    """Every person as of that poll."""
    columns = ("email", "username", "name", "status", "tags", "fields", "first_seen")
    query = select(ACCOUNTS.c.account_id.label("id"), *(ACCOUNTS.c[c] for c in columns)).where(
        ACCOUNTS.c.source_id == found.source_id, _valid(ACCOUNTS, found.snapshot_id)
    )
    for row in connection.execute(query.order_by(ACCOUNTS.c.account_id)).mappings():
        yield dict(row)


def mark(connection: Connection, found: Standing) -> tuple[int, int, int]:
    """Differs when a person's record does: the latest snapshots that began or ended one."""
    newest = [func.coalesce(func.max(c).filter(c <= found.snapshot_id), 0) for c in (_FROM, _TO)]
    query = select(*newest).where(ACCOUNTS.c.source_id == found.source_id)
    row = connection.execute(query).one()
    return found.source_id, row[0], row[1]


def earlier(connection: Connection, found: Standing) -> Iterator[tuple[str, dict[str, str], datetime]]:
    """The further fields of each version of those persons that had several, oldest first, and since when."""
    mine = ACCOUNTS.c.source_id == found.source_id
    moved = select(ACCOUNTS.c.account_id).where(mine, ACCOUNTS.c.valid_to.is_not(None))
    query = (
        select(ACCOUNTS.c.account_id, ACCOUNTS.c.fields, SNAPSHOTS.c.started_at)
        .join(SNAPSHOTS, SNAPSHOTS.c.id == ACCOUNTS.c.valid_from)
        .where(mine, ACCOUNTS.c.account_id.in_(moved), ACCOUNTS.c.valid_from <= found.snapshot_id)
        .order_by(ACCOUNTS.c.account_id, ACCOUNTS.c.valid_from)
    )
    for key, fields, at in connection.execute(query):
        yield key, fields or {}, at


def _valid(table: Any, snapshot_id: int) -> ColumnElement[bool]:
    ended: ColumnElement[bool] = or_(table.c.valid_to.is_(None), table.c.valid_to > snapshot_id)
    return and_(table.c.valid_from <= snapshot_id, ended)
