"""What is told together: rows of the outbox that wait for a digest, or for the message of their group.

A group is what has the same key in one lane. It begins with the first finding that is written for it and lasts until
all of its findings are over and told; the next one begins another.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, TextClause, case, func, select, text

from monitor.domain.message import Group, Notification
from monitor.store.tables import FindingRow, OutboxRow

OUTBOX = OutboxRow.__table__  # type: ignore[attr-defined]
FINDINGS = FindingRow.__table__  # type: ignore[attr-defined]
COLLECTED = "status = 'collected'"  # as the partial index says it, word for word


def place(connection: Connection, note: Notification, finding_id: int | None) -> tuple[Group | None, datetime]:
    """The group that a message belongs to, and until when it waits. Where a finding was told first, there it stays."""
    due_at = note.due_at or note.created_at
    if note.collected or (finding_id is None and not (note.group and note.group.id)):
        return None, due_at
    if finding_id is None:  # it tells of the group
        return note.group, due_at
    group = _where(connection, note, finding_id)
    if group is None or note.content.get("finding", {}).get("severity") == "critical":
        return group, due_at
    waits_until = connection.execute(select(func.min(OUTBOX.c.due_at)).where(*waiting_in(group.id))).scalar()
    return group, waits_until or due_at + (note.group.wait if note.group else timedelta())


def _where(connection: Connection, note: Notification, finding_id: int) -> Group | None:
    about = _newest(connection, OUTBOX.c.finding_id == finding_id, OUTBOX.c.lane == note.lane)
    if about is not None or note.group is None:
        return group_of(about) if about is not None else None
    key = json.dumps(note.group.by)
    same = _newest(connection, OUTBOX.c.lane == note.lane, OUTBOX.c.group_key == key, OUTBOX.c.group_id.is_not(None))
    going_on = same is not None and _goes_on(connection, same.group_id)
    return group_of(same) if going_on else note.group._replace(id=note.id)


def _newest(connection: Connection, *which: ColumnElement[bool]) -> Any:
    query = select(OUTBOX.c.group_id, OUTBOX.c.group_key).where(*which).order_by(OUTBOX.c.position.desc()).limit(1)
    return connection.execute(query).first()


def _goes_on(connection: Connection, group: str) -> bool:
    """Whether any of its findings is not over, or not told yet."""
    of = FINDINGS.c.id == OUTBOX.c.finding_id
    still = select(FINDINGS.c.id).join(OUTBOX, of).where(OUTBOX.c.group_id == group, FINDINGS.c.status != "resolved")
    untold = select(OUTBOX.c.id).where(*waiting_in(group))
    return any(connection.execute(query.limit(1)).first() is not None for query in (still, untold))


def waiting_in(group: str | None) -> tuple[ColumnElement[bool] | TextClause, ...]:
    """What was collected and has no message yet; without a group, for digests."""
    return OUTBOX.c.group_id == group, OUTBOX.c.digest_id.is_(None), text(COLLECTED)


def members(connection: Connection, group: str) -> dict[int, bool]:
    """The findings of a group, and whether each was told before."""
    told = func.max(case((OUTBOX.c.digest_id.is_not(None), 1), else_=0))
    of_group = (OUTBOX.c.group_id == group, OUTBOX.c.finding_id.is_not(None))
    rows = connection.execute(select(OUTBOX.c.finding_id, told).where(*of_group).group_by(OUTBOX.c.finding_id))
    return {finding_id: bool(once) for finding_id, once in rows}


def group_of(row: Any) -> Group | None:
    return Group(tuple((n, v) for n, v in json.loads(row.group_key)), id=row.group_id) if row.group_id else None
