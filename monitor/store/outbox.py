"""The outbox: what is to be said stands here before anybody says it.

A row that was being sent when its lease ran out is *uncertain*: perhaps it was said. The channel is asked before it is
said again. A late worker cannot overwrite what a later one wrote: every write names the lease's token.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, func, insert, select, text, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from monitor.domain.message import Notification, Reason, Receipt, Sending
from monitor.store import ledger
from monitor.store.engine import reading, writing
from monitor.store.tables import DeliveryRow, OutboxRow, moment

OUTBOX = OutboxRow.__table__  # type: ignore[attr-defined]
DELIVERIES = DeliveryRow.__table__  # type: ignore[attr-defined]
LEASE = timedelta(minutes=5)  # longer than any one send may take

_CLAIM = text(
    """
    UPDATE outbox SET status = 'sending', lease_owner = :owner, lease_until = :until, lease_token = :token,
        attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, :now)
    WHERE id = (
        SELECT o.id FROM outbox o
        WHERE o.receiver = :receiver AND o.status NOT IN ('sent', 'dead') ORDER BY o.position LIMIT 1)
      AND due_at <= :now
      AND (status IN ('pending', 'uncertain') OR (status = 'sending' AND (:alone OR lease_until < :now)))
    RETURNING id, reason, key, finding_id, content, created_at, first_attempt_at, attempts, status
    """
)


class Claim(NamedTuple):
    """A notification leased to us. `uncertain`: an earlier attempt may have arrived."""

    notification: Notification
    token: str
    uncertain: bool


def put(
    connection: Connection, notes: Iterable[tuple[Notification, int | None]], snapshot_id: int | None
) -> list[dict[str, Any]]:
    """Adds notifications inside the caller's transaction; one whose key is there already is not added again."""
    position = connection.execute(select(func.coalesce(func.max(OUTBOX.c.position), 0))).scalar_one()
    added = []
    for note, finding_id in notes:
        position += 1
        row = {
            "id": note.id, "position": position, "receiver": note.receiver, "reason": note.reason.value,
            "key": note.key,
            "finding_id": finding_id, "snapshot_id": snapshot_id, "content": dict(note.content), "status": "pending",
            "attempts": 0, "created_at": note.created_at, "due_at": note.created_at,
        }  # fmt: skip
        result = connection.execute(insert_or(OUTBOX).values(row).on_conflict_do_nothing())
        if result.rowcount:
            added.append(row)
    ledger_rows = [("notification.written", {"id": r["id"], "receiver": r["receiver"], "reason": r["reason"],
                                             "finding": r["finding_id"]}) for r in added]  # fmt: skip
    if added:
        ledger.append(connection, added[0]["created_at"], ledger_rows)
    return added


def waiting_receivers(engine: Engine, now: datetime) -> list[str]:
    """Receivers with something that is due or was left in the middle."""
    with reading(engine) as connection:
        rows = connection.execute(
            select(OUTBOX.c.receiver).where(OUTBOX.c.status.not_in(["sent", "dead"]), OUTBOX.c.due_at <= now).distinct()
        )
        return sorted(r[0] for r in rows)


def claim(engine: Engine, receiver: str, owner: str, token: str, now: datetime, *, alone: bool = False) -> Claim | None:
    """Leases the oldest unsent notification of a receiver, if it is due: one lane a receiver keeps the order of saying.

    The attempt is written down before it is made. `alone`: nobody else can be sending, so no lease is waited for.
    """
    from monitor.store.tables import micros

    with writing(engine) as connection:
        before = connection.execute(
            select(OUTBOX.c.id, OUTBOX.c.status)
            .where(OUTBOX.c.receiver == receiver, OUTBOX.c.status.not_in(["sent", "dead"]))
            .order_by(OUTBOX.c.position)
            .limit(1)
        ).first()
        until = micros(now + LEASE)
        row = connection.execute(
            _CLAIM,
            {"owner": owner, "until": until, "token": token, "now": micros(now), "receiver": receiver, "alone": alone},
        ).first()
        if row is None or before is None:
            return None
        connection.execute(insert(DELIVERIES).values(outbox_id=row.id, attempt=row.attempts, started_at=now))
        return Claim(_notification(row, receiver), token, before.status in ("sending", "uncertain"))


def _notification(row: Any, receiver: str) -> Notification:
    import json

    content: Mapping[str, Any] = json.loads(row.content) if isinstance(row.content, str) else row.content
    created, first = moment(row.created_at), moment(row.first_attempt_at)
    assert created is not None
    return Notification(
        row.id, receiver, Reason(row.reason), row.key, content, created, row.finding_id, first, row.attempts
    )


_NEXT = {
    Sending.SENT: "sent",
    Sending.REJECTED: "dead",
    Sending.LATER: "pending",
    Sending.PAUSED: "pending",
    Sending.UNCERTAIN: "uncertain",
}


def settle(engine: Engine, claimed: Claim, receipt: Receipt, due_at: datetime, now: datetime) -> bool:
    """Writes how an attempt ended. False when the lease was lost: then another worker's word counts."""
    note, status = claimed.notification, _NEXT[receipt.sending]
    with writing(engine) as connection:
        result = connection.execute(
            update(OUTBOX)
            .where(OUTBOX.c.id == note.id, OUTBOX.c.lease_token == claimed.token)
            .values(
                status=status, due_at=due_at, sent_at=now if status == "sent" else None, lease_token=None,
                lease_until=None, error=None if status == "sent" else receipt.detail or receipt.sending.value,
                reference=receipt.reference or None,
            )
        )  # fmt: skip
        if result.rowcount != 1:
            return False
        connection.execute(
            update(DELIVERIES)
            .where(DELIVERIES.c.outbox_id == note.id, DELIVERIES.c.attempt == note.attempts)
            .values(finished_at=now, outcome=receipt.sending.value, detail=receipt.detail or receipt.reference or None)
        )
        body = {
            "id": note.id, "receiver": note.receiver, "attempt": note.attempts, "outcome": receipt.sending.value,
            "detail": receipt.detail, "reference": receipt.reference,
        }  # fmt: skip
        ledger.append(connection, now, [("notification.delivery", {k: v for k, v in body.items() if v})])
    return True


def of_finding(engine: Engine, finding_id: int) -> list[dict[str, Any]]:
    """What was to be said of one finding, in the order of saying."""
    query = select(OUTBOX).where(OUTBOX.c.finding_id == finding_id).order_by(OUTBOX.c.position)
    with reading(engine) as connection:
        return [dict(r) for r in connection.execute(query).mappings()]


def listing(engine: Engine, statuses: Iterable[str] = ()) -> list[dict[str, Any]]:
    query = select(OUTBOX).order_by(OUTBOX.c.position)
    if statuses:
        query = query.where(OUTBOX.c.status.in_(list(statuses)))
    with reading(engine) as connection:
        return [dict(r) for r in connection.execute(query).mappings()]
