"""The outbox: what is to be said stands here before anybody says it.

A row that was being sent when its lease ran out is *uncertain*: perhaps it was said. The channel is asked before it is
said again. A late worker cannot overwrite what a later one wrote: every write names the lease's token.

Order is kept by lane: a receiver, or one address of a receiver. Only the head of a lane is ever tried.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Engine, func, insert, or_, select, text, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from monitor.domain.message import Health, Notification, Reason, Receipt, Sending
from monitor.store import ledger
from monitor.store.engine import reading, writing
from monitor.store.tables import DeliveryRow, OutboxRow, ReceiverRow, micros, moment
from monitor.store.together import COLLECTED, group_of, place, waiting_in

OUTBOX = OutboxRow.__table__  # type: ignore[attr-defined]
DELIVERIES = DeliveryRow.__table__  # type: ignore[attr-defined]
RECEIVERS = ReceiverRow.__table__  # type: ignore[attr-defined]
LEASE = timedelta(minutes=5)  # longer than any one send may take
GIVEN_UP_LATELY = timedelta(days=7)
CROWD = 10  # so many behind a message: whoever sends it may say it in fewer words, or calls
UNSENT = ("pending", "sending", "uncertain", "collected", "dead")

# The conditions of the partial indexes, word for word: the planner takes the index only then.
_WAITING = "status IN ('pending', 'sending', 'uncertain')"

# One step of the index for each lane, however many rows wait in it.
_LANES = """
    WITH RECURSIVE lanes(lane) AS (
        SELECT min(lane) FROM outbox WHERE {which}
        UNION ALL
        SELECT (SELECT min(o.lane) FROM outbox o WHERE o.{which} AND o.lane > lanes.lane)
        FROM lanes WHERE lanes.lane IS NOT NULL)
"""
_HEADS = """
    SELECT o.receiver, o.lane FROM lanes JOIN outbox o ON o.id = (
        SELECT h.id FROM outbox h WHERE h.lane = lanes.lane AND h.{which} ORDER BY h.position LIMIT 1)
    WHERE o.due_at <= :now ORDER BY o.position
"""
_READY = """
    SELECT DISTINCT o.lane, o.group_id FROM lanes JOIN outbox o ON o.lane = lanes.lane
    WHERE o.{which} AND o.due_at <= :now AND o.digest_id IS NULL
"""
_LEASE = """
    UPDATE outbox SET status = 'sending', lease_owner = :owner, lease_until = :until, lease_token = :token,
        attempts = attempts + 1, first_attempt_at = coalesce(first_attempt_at, :now)
    WHERE id = (SELECT o.id FROM outbox o WHERE o.lane = :lane AND o.{which} ORDER BY o.position LIMIT 1)
      AND due_at <= :now
      AND (status IN ('pending', 'uncertain') OR (status = 'sending' AND (:alone OR lease_until < :now)))
    RETURNING id, receiver, lane, reason, key, finding_id, content, created_at, first_attempt_at, attempts, group_id,
        group_key
"""
_DUE = text((_LANES + _HEADS).format(which=_WAITING))
_TOGETHER = text((_LANES + _READY).format(which=COLLECTED))
_CLAIM = text(_LEASE.format(which=_WAITING))


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
        group, due_at = place(connection, note, finding_id)
        row = {
            "id": note.id, "position": position, "receiver": note.receiver, "lane": note.lane,
            "reason": note.reason.value, "key": note.key,
            "finding_id": finding_id, "snapshot_id": snapshot_id, "content": dict(note.content),
            "status": "collected" if note.collected or (group and finding_id) else "pending",
            "attempts": 0, "created_at": note.created_at, "due_at": due_at,
            "group_id": group.id if group else None, "group_key": json.dumps(group.by) if group else None,
        }  # fmt: skip
        result = connection.execute(insert_or(OUTBOX).values(row).on_conflict_do_nothing())
        if result.rowcount:
            added.append(row)
    if added:
        ledger.append(connection, added[0]["created_at"], [("notification.written", _written(r)) for r in added])
    return added


def _written(row: dict[str, Any]) -> dict[str, Any]:
    body = {"id": row["id"], "receiver": row["lane"], "reason": row["reason"], "finding": row["finding_id"]}
    return body | ({"group": row["group_id"]} if row["group_id"] else {})


def say(engine: Engine, notes: Iterable[Notification]) -> int:
    """Adds notifications that belong to no poll. Returns how many were not there yet."""
    with writing(engine) as connection:
        return len(put(connection, [(n, n.finding_id) for n in notes], None))


def due_lanes(engine: Engine, now: datetime) -> dict[str, list[str]]:
    """By receiver, the lanes whose head is due, the one that waits longest first."""
    found: dict[str, list[str]] = {}
    with reading(engine) as connection:
        for receiver, lane in connection.execute(_DUE, {"now": micros(now)}):
            found.setdefault(receiver, []).append(lane)
    return found


def claim(engine: Engine, lane: str, owner: str, token: str, now: datetime, *, alone: bool = False) -> Claim | None:
    """Leases the oldest unsent notification of a lane, if it is due.

    The attempt is written down before it is made. `alone`: nobody else can be sending, so no lease is waited for.
    """
    with writing(engine) as connection:
        before = connection.execute(
            select(OUTBOX.c.status)
            .where(OUTBOX.c.lane == lane, text(_WAITING)).order_by(OUTBOX.c.position).limit(1)
        ).first()  # fmt: skip
        asked = {"owner": owner, "until": micros(now + LEASE), "token": token, "now": micros(now), "lane": lane}
        row = connection.execute(_CLAIM, asked | {"alone": alone}).first()
        if row is None or before is None:
            return None
        connection.execute(insert(DELIVERIES).values(outbox_id=row.id, attempt=row.attempts, started_at=now))
        earlier, latest = _names(connection, row, lane)
        crowded = _crowded(connection, lane)
        note = replace(notification_of(row), earlier=earlier, latest=latest, crowded=crowded)
        return Claim(note, token, before.status in ("sending", "uncertain"))


def _crowded(connection: Connection, lane: str) -> bool:
    waiting = select(OUTBOX.c.id).where(OUTBOX.c.lane == lane, text(_WAITING)).order_by(OUTBOX.c.position)
    return connection.execute(waiting.limit(1).offset(CROWD)).first() is not None


def _names(connection: Connection, row: Any, lane: str) -> tuple[str, str]:
    """What the other side calls the first message about a finding, or a group, and the newest one."""
    if row.finding_id is None and row.group_id is None:
        return "", ""
    about = OUTBOX.c.group_id == row.group_id if row.group_id else OUTBOX.c.finding_id == row.finding_id
    said = (
        select(OUTBOX.c.reference).where(about, OUTBOX.c.lane == lane, OUTBOX.c.status == "sent")
        .where(OUTBOX.c.reference.is_not(None), OUTBOX.c.digest_id.is_(None)).limit(1)
    )  # fmt: skip
    first = connection.execute(said.order_by(OUTBOX.c.position)).scalar()
    newest = connection.execute(said.order_by(OUTBOX.c.position.desc())).scalar()
    return str(first or ""), str(newest or "")


def living(connection: Connection, finding_ids: Iterable[int], receivers: Collection[str]) -> dict[int, list[str]]:
    """By finding, which of these receivers were told of it, or will be: only they hear of updates."""
    found: dict[int, list[str]] = {}
    wanted = list(finding_ids) if receivers else []
    for i in range(0, len(wanted), 500):
        query = (
            select(OUTBOX.c.finding_id, OUTBOX.c.receiver).distinct()
            .where(OUTBOX.c.finding_id.in_(wanted[i : i + 500]), OUTBOX.c.receiver.in_(list(receivers)))
            .where(OUTBOX.c.status != "dead").order_by(OUTBOX.c.finding_id, OUTBOX.c.receiver)
        )  # fmt: skip
        for finding_id, receiver in connection.execute(query):
            found.setdefault(finding_id, []).append(receiver)
    return found


def notification_of(row: Any) -> Notification:
    content = json.loads(row.content) if isinstance(row.content, str) else row.content
    created, first = (moment(t) if isinstance(t, int) else t for t in (row.created_at, row.first_attempt_at))
    assert created is not None
    return Notification(
        row.id, row.receiver, Reason(row.reason), row.key, content, created, row.finding_id, first, row.attempts,
        address=row.lane.partition(" ")[2], group=group_of(row),
    )  # fmt: skip


_NEXT = {
    Sending.SENT: "sent",
    Sending.REJECTED: "dead",
    Sending.LATER: "pending",
    Sending.PAUSED: "pending",
    Sending.DISABLED: "pending",
    Sending.UNCERTAIN: "uncertain",
}


def settle(
    engine: Engine, claimed: Claim, receipt: Receipt, due_at: datetime, now: datetime,
    known: Health | None = None, also: Iterable[Notification] = (),
) -> bool:  # fmt: skip
    """Writes how an attempt ended, what is known of the receiver since, and what is to be said because of it.

    False when the lease was lost: then another worker's word counts.
    """
    note, status = claimed.notification, _NEXT[receipt.sending]
    sent_at = now if status == "sent" else None
    with writing(engine) as connection:
        result = connection.execute(
            update(OUTBOX)
            .where(OUTBOX.c.id == note.id, OUTBOX.c.lease_token == claimed.token)
            .values(
                status=status, due_at=due_at, sent_at=sent_at, lease_token=None,
                lease_until=None, error=None if status == "sent" else receipt.detail or receipt.sending.value,
                reference=receipt.reference or None,
            )
        )  # fmt: skip
        if result.rowcount != 1:
            return False
        if (note.reason is Reason.DIGEST or note.group) and status in ("sent", "dead"):
            told = {"status": status, "sent_at": sent_at, "reference": f"told by {note.id}"}
            connection.execute(update(OUTBOX).where(OUTBOX.c.digest_id == note.id).values(told))
        connection.execute(
            update(DELIVERIES)
            .where(DELIVERIES.c.outbox_id == note.id, DELIVERIES.c.attempt == note.attempts)
            .values(finished_at=now, outcome=receipt.sending.value, detail=receipt.detail or receipt.reference or None)
        )
        if known is not None:
            _note_health(connection, note.receiver, known)
        body = {
            "id": note.id, "receiver": note.lane, "attempt": note.attempts, "outcome": receipt.sending.value,
            "detail": receipt.detail, "reference": receipt.reference,
        }  # fmt: skip
        ledger.append(connection, now, [("notification.delivery", {k: v for k, v in body.items() if v})])
        put(connection, [(n, n.finding_id) for n in also], None)
    return True


def of_finding(engine: Engine, finding_id: int) -> list[dict[str, Any]]:
    """What was to be said of one finding, in the order of saying."""
    query = select(OUTBOX).where(OUTBOX.c.finding_id == finding_id).order_by(OUTBOX.c.position)
    with reading(engine) as connection:
        return [dict(r) for r in connection.execute(query).mappings()]


# receivers


def health(engine: Engine) -> dict[str, Health]:
    """What is known of each receiver that was ever tried."""
    with reading(engine) as connection:
        rows = connection.execute(select(RECEIVERS)).mappings()
        return {r["name"]: Health(**{k: r[k] for k in Health._fields}) for r in rows}


def failing(engine: Engine, receivers: Collection[str], now: datetime) -> list[str]:
    """Those of these receivers that are not tried at present, or to whom a message was given up lately."""
    broken = or_(RECEIVERS.c.disabled_at.is_not(None), RECEIVERS.c.open_until.is_not(None))
    given_up = select(OUTBOX.c.receiver).where(OUTBOX.c.status == "dead", OUTBOX.c.created_at > now - GIVEN_UP_LATELY)
    with reading(engine) as connection:
        found = {
            r[0] for query in (select(RECEIVERS.c.name).where(broken), given_up) for r in connection.execute(query)
        }
    return sorted(found & set(receivers))


def _note_health(connection: Connection, receiver: str, known: Health) -> None:
    values = known._asdict()
    adding = insert_or(RECEIVERS).values(name=receiver, **values)
    connection.execute(adding.on_conflict_do_update(index_elements=["name"], set_=values))


def enable(engine: Engine, receiver: str, by: str, now: datetime) -> bool:
    """Switches a receiver on again, and tries it at once. False when there was nothing to switch on."""
    with writing(engine) as connection:
        disabled = connection.execute(select(RECEIVERS.c.disabled_at).where(RECEIVERS.c.name == receiver)).scalar()
        _try_at_once(connection, [receiver])
        if disabled is None:
            return False
        ledger.append(connection, now, [("receiver.enabled", {"receiver": receiver, "by": by})])
    return True


def _try_at_once(connection: Connection, receivers: Iterable[str]) -> None:
    closed = {"open_until": None, "disabled_at": None, "failures": 0, "error": None}
    connection.execute(update(RECEIVERS).where(RECEIVERS.c.name.in_(list(receivers))).values(closed))


# by hand


def retry(engine: Engine, which: Sequence[ColumnElement[bool]], by: str, now: datetime) -> list[dict[str, Any]]:
    """Makes messages due now: waiting ones sooner, refused ones once more. Their receivers are tried at once."""
    with writing(engine) as connection:
        chosen = select(OUTBOX.c.id, OUTBOX.c.receiver, OUTBOX.c.status).where(*which)
        rows = connection.execute(chosen.where(OUTBOX.c.status.in_(["pending", "uncertain", "dead"]))).mappings().all()
        dead = [r["id"] for r in rows if r["status"] == "dead"]
        for ids in _some(dead):
            connection.execute(update(OUTBOX).where(OUTBOX.c.id.in_(ids)).values(status="pending"))
            again = {"status": "collected", "sent_at": None}
            connection.execute(update(OUTBOX).where(OUTBOX.c.digest_id.in_(ids)).values(again))
        for ids in _some([r["id"] for r in rows]):
            connection.execute(update(OUTBOX).where(OUTBOX.c.id.in_(ids)).values(due_at=now))
        switched_on = connection.execute(
            select(RECEIVERS.c.name).where(RECEIVERS.c.disabled_at.is_(None))
        ).scalars()  # a receiver that wants nothing more is switched on by `enable`, and by nothing else
        _try_at_once(connection, set(switched_on) & {r["receiver"] for r in rows})
        if rows:
            body = {"by": by, "ids": [r["id"] for r in rows][:100], "number": len(rows)}
            ledger.append(connection, now, [("notification.retry", body)])
        return [dict(r) for r in rows]


def _some(ids: Sequence[str], number: int = 500) -> Iterable[Sequence[str]]:
    return (ids[i : i + number] for i in range(0, len(ids), number))


def listing(
    engine: Engine, statuses: Iterable[str] = (), receiver: str | None = None, beginning: str = "",
    limit: int | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Messages, in the order of saying."""
    query = select(OUTBOX).order_by(OUTBOX.c.position)
    if statuses:
        query = query.where(OUTBOX.c.status.in_(list(statuses)))
    if receiver:
        query = query.where(OUTBOX.c.receiver == receiver)
    if beginning:
        query = query.where(OUTBOX.c.id.startswith(beginning, autoescape=True))
    if limit is not None:
        query = query.limit(limit)
    with reading(engine) as connection:
        return [dict(r) for r in connection.execute(query).mappings()]


def attempts(engine: Engine, outbox_id: str) -> list[dict[str, Any]]:
    """Every attempt to send a message, in order."""
    query = select(DELIVERIES).where(DELIVERIES.c.outbox_id == outbox_id).order_by(DELIVERIES.c.id)
    with reading(engine) as connection:
        return [dict(r) for r in connection.execute(query).mappings()]


def counts(engine: Engine) -> dict[str, dict[str, int]]:
    """By receiver and status, how many messages there are that are not sent."""
    query = select(OUTBOX.c.receiver, OUTBOX.c.status, func.count()).where(OUTBOX.c.status != "sent")
    found: dict[str, dict[str, int]] = {}
    with reading(engine) as connection:
        for receiver, status, number in connection.execute(query.group_by(OUTBOX.c.receiver, OUTBOX.c.status)):
            found.setdefault(receiver, {})[status] = number
    return found


def refused(engine: Engine) -> int:
    """How many messages are given up. Not tests: whoever sent one was told at once."""
    given_up = select(func.count()).where(OUTBOX.c.status == "dead", OUTBOX.c.reason != Reason.TEST.value)
    with reading(engine) as connection:
        return int(connection.execute(given_up).scalar_one())


def known_key(engine: Engine, beginning: str) -> bool:
    """Whether a message whose key begins so was ever written."""
    with reading(engine) as connection:
        query = select(OUTBOX.c.id).where(OUTBOX.c.key >= beginning, OUTBOX.c.key < beginning + "\U0010ffff").limit(1)
        return connection.execute(query).first() is not None


# what is told together: by a digest, or as a group


def due_together(engine: Engine, now: datetime) -> list[tuple[str, str | None]]:
    """Lanes, and groups in them, in which something was collected whose time has come."""
    with reading(engine) as connection:
        return [(lane, group) for lane, group in connection.execute(_TOGETHER, {"now": micros(now)})]


def gather(
    engine: Engine, lane: str, group: str | None, make: Callable[[Connection, Sequence[Notification]], Notification]
) -> Notification | None:
    """Writes the message that tells what was collected, and marks that as told by it, in one transaction."""
    with writing(engine) as connection:
        which = (OUTBOX.c.lane == lane, *waiting_in(group))
        rows = connection.execute(select(OUTBOX).where(*which).order_by(OUTBOX.c.position)).all()
        if not rows:  # another process was quicker
            return None
        told = make(connection, [notification_of(r) for r in rows])
        put(connection, [(told, None)], None)
        connection.execute(update(OUTBOX).where(*which).values(digest_id=told.id))
    return told
