"""Silences in the database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, insert, or_, select, update

from monitor.domain.matcher import Matcher
from monitor.domain.silence import Silence, SilenceState
from monitor.store import ledger
from monitor.store.tables import SilenceRow

SILENCES = SilenceRow.__table__  # type: ignore[attr-defined]
_STANDING = SILENCES.c.state != SilenceState.OVER.value


def add(connection: Connection, silence: Silence, warn_at: datetime, now: datetime) -> Silence:
    """Written down inside the caller's transaction; nothing is muted by it yet."""
    row = {
        "matcher": {name: list(values) for name, values in silence.matcher.named.items()}, "by": silence.by,
        "reason": silence.reason, "receiver": silence.receiver, "made_at": now, "starts_at": silence.starts,
        "ends_at": silence.ends, "warn_at": warn_at, "state": SilenceState.PLANNED.value,
    }  # fmt: skip
    key = connection.execute(insert(SILENCES).values(**row)).inserted_primary_key
    assert key is not None
    body = {
        "id": key[0], "by": silence.by, "reason": silence.reason, "matcher": row["matcher"],
        "starts": silence.starts.isoformat(), "ends": silence.ends.isoformat(),
    }  # fmt: skip
    ledger.append(connection, now, [("silence.added", body)])
    return replace(silence, id=int(key[0]))


def expire(connection: Connection, silence_id: int, by: str, now: datetime) -> bool:
    """Ends one before its time; False when it is over already, or there is none."""
    which = (SILENCES.c.id == silence_id, _STANDING, SILENCES.c.ends_at > now)
    done = connection.execute(update(SILENCES).where(*which).values(ends_at=now, expired_by=by)).rowcount == 1
    if done:
        ledger.append(connection, now, [("silence.expired", {"id": silence_id, "by": by})])
    return done


def standing(connection: Connection) -> list[Silence]:
    """Planned ones and active ones."""
    return [_silence(r) for r in connection.execute(select(SILENCES).where(_STANDING).order_by(SILENCES.c.id)).all()]


def all_of_them(connection: Connection) -> list[Silence]:
    return [_silence(r) for r in connection.execute(select(SILENCES).order_by(SILENCES.c.id)).all()]


def moving(connection: Connection, now: datetime) -> bool:
    """Whether one begins, ends or is to be warned of."""
    begins = and_(SILENCES.c.state == SilenceState.PLANNED.value, SILENCES.c.starts_at <= now)
    warned = and_(SILENCES.c.warned_at.is_(None), SILENCES.c.warn_at <= now)
    query = select(SILENCES.c.id).where(_STANDING, or_(begins, SILENCES.c.ends_at <= now, warned)).limit(1)
    return connection.execute(query).first() is not None


def to_warn(connection: Connection, now: datetime) -> list[Silence]:
    which = (_STANDING, SILENCES.c.warned_at.is_(None), SILENCES.c.warn_at <= now, SILENCES.c.ends_at > now)
    return [_silence(r) for r in connection.execute(select(SILENCES).where(*which).order_by(SILENCES.c.id)).all()]


def moved(connection: Connection, states: Iterable[tuple[Silence, SilenceState]], now: datetime) -> None:
    """Writes down which ones began and ended."""
    for silence, state in states:
        connection.execute(update(SILENCES).where(SILENCES.c.id == silence.id).values(state=state.value))
        if state is SilenceState.OVER and silence.expired_by is None:
            ledger.append(connection, now, [("silence.ended", {"id": silence.id})])


def warned(connection: Connection, silence: Silence, now: datetime) -> None:
    connection.execute(update(SILENCES).where(SILENCES.c.id == silence.id).values(warned_at=now))
    ledger.append(connection, now, [("silence.warned", {"id": silence.id, "by": silence.by})])


def _silence(row: Any) -> Silence:
    named = {name: tuple(values) for name, values in row.matcher.items()}
    return Silence(
        Matcher(**named), row.by, row.reason, row.starts_at, row.ends_at, row.receiver, SilenceState(row.state),
        row.expired_by, row.warned_at, row.id,
    )  # fmt: skip
