"""Persons as they are recorded: rows of an authority, their earlier departments, and how well it was read."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, or_, select

from monitor.domain.reading import Outcome, Scope
from monitor.store.tables import AccountRow, ScopeRow, SnapshotRow, SourceRow

SOURCES = SourceRow.__table__  # type: ignore[attr-defined]
SNAPSHOTS = SnapshotRow.__table__  # type: ignore[attr-defined]
SCOPES = ScopeRow.__table__  # type: ignore[attr-defined]
ACCOUNTS = AccountRow.__table__  # type: ignore[attr-defined]


class Standing(NamedTuple):
    """The latest poll of an authority."""

    source_id: int
    snapshot_id: int
    started_at: datetime
    whole: bool  # whether it showed every person


def standing(connection: Connection, name: str, at: datetime | None = None) -> Standing | None:
    """Its latest poll, or the latest that had ended then. None: there is none."""
    query = select(SNAPSHOTS).join(SOURCES, SOURCES.c.id == SNAPSHOTS.c.source_id).where(SOURCES.c.name == name)
    query = query if at is None else query.where(SNAPSHOTS.c.finished_at <= at)
    row = connection.execute(query.order_by(SNAPSHOTS.c.id.desc()).limit(1)).first()
    if row is None:
        return None
    whole = row.outcome == Outcome.COMPLETE or (row.outcome == Outcome.PARTIAL and _users(connection, row))
    return Standing(row.source_id, row.id, row.started_at, whole)


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
