"""Exemptions that people gave by a button. None is ever removed: what became of it stands in its row."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, insert, select, update

from monitor.domain.exemption import Standing, StoredExemption
from monitor.domain.finding import Finding
from monitor.domain.observed import Subject
from monitor.store import ledger
from monitor.store.findings import FINDINGS, SOURCES
from monitor.store.tables import ExemptionRow

EXEMPTIONS = ExemptionRow.__table__  # type: ignore[attr-defined]
ITSELF = "access-monitor"  # ends what no person did


def load(connection: Connection, *where: ColumnElement[bool]) -> list[StoredExemption]:
    query = select(EXEMPTIONS, SOURCES.c.name.label("source")).join(SOURCES, SOURCES.c.id == EXEMPTIONS.c.source_id)
    return [_stored(r) for r in connection.execute(query.where(*where).order_by(EXEMPTIONS.c.id)).mappings()]


def approved(connection: Connection, source: str | None = None) -> list[StoredExemption]:
    """Those that let somebody be, expired ones as well."""
    where = [EXEMPTIONS.c.status == Standing.APPROVED.value]
    return load(connection, *where, *([SOURCES.c.name == source] if source else []))


def asked(connection: Connection, finding_id: int | None) -> StoredExemption | None:
    """The one that waits for a second person."""
    which = (EXEMPTIONS.c.finding_id == finding_id, EXEMPTIONS.c.status == Standing.ASKED.value)
    return next(iter(load(connection, *which)), None)


def add(
    connection: Connection, found: Finding, expires: date, reason: str, ticket: str, by: tuple[str, str],
    *, approved: bool, now: datetime,
) -> StoredExemption:  # fmt: skip
    """`by`: the person's name and id. `approved`: no second person is needed."""
    source_id = connection.execute(select(SOURCES.c.id).where(SOURCES.c.name == found.source)).scalar_one()
    row = {
        "status": Standing.APPROVED.value if approved else Standing.ASKED.value, "source_id": source_id,
        "finding_id": found.id, "fingerprint": found.fingerprint, "rule": found.rule,
        "subject_kind": str(found.subject.kind), "subject_id": found.subject.id, "subject_email": found.subject.email,
        "subject_name": found.subject.name, "reason": reason, "ticket": ticket or None,
        "expires": expires.isoformat(), "asked_by": by[0], "asked_by_id": by[1], "asked_at": now,
        "approved_by": by[0] if approved else None, "approved_at": now if approved else None,
    }  # fmt: skip
    key = connection.execute(insert(EXEMPTIONS).values(**row)).inserted_primary_key
    assert key is not None
    (stored,) = load(connection, EXEMPTIONS.c.id == key[0])
    if approved:
        ledger.append(connection, now, [("exemption.approved", _body(stored, by[0]))])
    else:
        ledger.append(connection, now, [("exemption.asked", _body(stored, by[0]))])
    return stored


def approve(connection: Connection, stored: StoredExemption, by: str, now: datetime) -> None:
    _set(connection, stored, status=Standing.APPROVED.value, approved_by=by, approved_at=now)
    ledger.append(connection, now, [("exemption.approved", _body(stored, by))])


def refuse(connection: Connection, stored: StoredExemption, by: str, now: datetime) -> None:
    _set(connection, stored, status=Standing.REFUSED.value, ended_by=by, ended_at=now)
    ledger.append(connection, now, [("exemption.refused", _body(stored, by))])


def withdraw(connection: Connection, stored: StoredExemption, by: str, now: datetime) -> None:
    """From the next poll on it lets nobody be."""
    _set(connection, stored, status=Standing.WITHDRAWN.value, ended_by=by, ended_at=now)
    ledger.append(connection, now, [("exemption.withdrawn", _body(stored, by))])


def lapse(connection: Connection, now: datetime) -> None:
    """Ends what was asked for findings that are over: nobody has anything to approve any more."""
    still = exists().where(FINDINGS.c.id == EXEMPTIONS.c.finding_id, FINDINGS.c.status != "resolved")
    for stored in load(connection, EXEMPTIONS.c.status == Standing.ASKED.value, ~still):
        _set(connection, stored, status=Standing.LAPSED.value, ended_by=ITSELF, ended_at=now)
        ledger.append(connection, now, [("exemption.lapsed", _body(stored, ITSELF))])


def _set(connection: Connection, stored: StoredExemption, **values: Any) -> None:
    connection.execute(update(EXEMPTIONS).where(EXEMPTIONS.c.id == stored.number).values(**values))


def _body(stored: StoredExemption, by: str) -> dict[str, Any]:
    body = {
        "exemption": stored.number, "fingerprint": stored.fingerprint, "rule": stored.rule, "source": stored.source,
        "subject": stored.subject.id, "until": stored.expires.isoformat(), "reason": stored.reason,
        "ticket": stored.ticket, "asked_by": stored.asked_by, "by": by,
    }  # fmt: skip
    return {k: v for k, v in body.items() if v is not None}


def _stored(row: Any) -> StoredExemption:
    return StoredExemption(
        number=row["id"], standing=Standing(row["status"]), rule=row["rule"], source=row["source"],
        subject=Subject(row["subject_kind"], row["subject_id"], row["subject_email"], row["subject_name"]),
        fingerprint=row["fingerprint"], reason=row["reason"], expires=date.fromisoformat(row["expires"]),
        ticket=row["ticket"], asked_by=row["asked_by"], asked_by_id=row["asked_by_id"], asked_at=row["asked_at"],
        approved_by=row["approved_by"], approved_at=row["approved_at"], ended_by=row["ended_by"],
        ended_at=row["ended_at"],
    )  # fmt: skip
