"""Findings and their histories in the database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, insert, or_, select, text, update
from sqlalchemy.dialects.sqlite import insert as insert_or

from monitor.domain.finding import Event, EventKind, Evidence, Finding, FindingStatus, Resolution
from monitor.domain.observed import Kind, Subject
from monitor.domain.rule import Severity, Verdict
from monitor.store import ledger
from monitor.store.tables import ClickRow, FindingEventRow, FindingRow, SourceRow, json_text, micros

FINDINGS = FindingRow.__table__  # type: ignore[attr-defined]
EVENTS = FindingEventRow.__table__  # type: ignore[attr-defined]
CLICKS = ClickRow.__table__  # type: ignore[attr-defined]
_REDELIVERED = timedelta(days=7)  # Slack gives up after hours
SOURCES = SourceRow.__table__  # type: ignore[attr-defined]


def load(connection: Connection, *where: ColumnElement[bool]) -> list[Finding]:
    query = select(FINDINGS, SOURCES.c.name.label("source")).join(SOURCES, SOURCES.c.id == FINDINGS.c.source_id)
    return [_finding(r) for r in connection.execute(query.where(*where).order_by(FINDINGS.c.id)).mappings()]


def to_reconcile(connection: Connection, source_id: int, ids: Sequence[int] | None = None) -> list[Finding]:
    """What is unresolved, and what a person closed while it held on (it must stop holding before it may reopen).
    `ids`: of these only.
    """
    unresolved = FINDINGS.c.status != FindingStatus.RESOLVED.value
    closed_by_hand = and_(
        FINDINGS.c.status == FindingStatus.RESOLVED.value,
        FINDINGS.c.resolution.in_([Resolution.ACKNOWLEDGED.value, Resolution.FALSE_ALARM.value]),
        FINDINGS.c.verdict != Verdict.NOTHING.value,
    )
    asked = (FINDINGS.c.source_id == source_id, or_(unresolved, closed_by_hand))
    if ids is None:
        return load(connection, *asked)
    chunks = (ids[i : i + 500] for i in range(0, len(ids), 500))
    return [f for chunk in chunks for f in load(connection, FINDINGS.c.id.in_(chunk), *asked)]


def of_ids(connection: Connection, ids: Sequence[int]) -> list[Finding]:
    chunks = (ids[i : i + 500] for i in range(0, len(ids), 500))
    return [f for chunk in chunks for f in load(connection, FINDINGS.c.id.in_(chunk))]


def seen_before(connection: Connection, fingerprints: Iterable[str]) -> frozenset[str]:
    """Which of these fingerprints have had a finding before."""
    found: set[str] = set()
    wanted = list(fingerprints)
    for i in range(0, len(wanted), 500):
        query = select(FINDINGS.c.fingerprint).where(FINDINGS.c.fingerprint.in_(wanted[i : i + 500]))
        found |= {r[0] for r in connection.execute(query)}
    return frozenset(found)


def episodes(connection: Connection, fingerprints: Iterable[str]) -> dict[str, list[tuple[datetime, datetime | None]]]:
    """By fingerprint, when each finding of it opened and ended, the first one first. Without drafts, and without what
    is exempt or silenced: nobody was told of those.
    """
    found: dict[str, list[tuple[datetime, datetime | None]]] = {}
    wanted, of = list(fingerprints), FINDINGS.c
    told = (of.draft.is_(False), of.exempt_until.is_(None), of.silenced_until.is_(None))
    for i in range(0, len(wanted), 500):
        query = select(of.fingerprint, of.opened_at, of.resolved_at).order_by(of.id)
        for mark, opened, ended in connection.execute(query.where(of.fingerprint.in_(wanted[i : i + 500]), *told)):
            found.setdefault(mark, []).append((opened, ended))
    return found


def _calm(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return FINDINGS.c.calm_at <= now, FINDINGS.c.status == FindingStatus.RESOLVED.value


def anything_calm(connection: Connection, now: datetime) -> bool:
    return connection.execute(select(FINDINGS.c.id).where(*_calm(now)).limit(1)).first() is not None


def calm_later(connection: Connection, sources: Collection[str], now: datetime, then: datetime) -> None:
    """Those of these sources wait on: nobody could say whether they have come back."""
    ids = select(SOURCES.c.id).where(SOURCES.c.name.in_(list(sources)))
    connection.execute(update(FINDINGS).where(*_calm(now), FINDINGS.c.source_id.in_(ids)).values(calm_at=then))


def take_calm(connection: Connection, now: datetime) -> list[Finding]:
    """Those whose end was not told, since they came and went, and which have not come back: each once."""
    later = FINDINGS.alias()
    back = exists().where(later.c.fingerprint == FINDINGS.c.fingerprint, later.c.id > FINDINGS.c.id)
    by_hand = FINDINGS.c.resolution.in_([Resolution.ACKNOWLEDGED.value, Resolution.FALSE_ALARM.value])
    found = load(connection, *_calm(now), ~back, ~by_hand)
    connection.execute(update(FINDINGS).where(*_calm(now)).values(calm_at=None))
    return [replace(f, calm_at=None) for f in found]


def apply(
    connection: Connection, events: Sequence[Event], source_id: int, snapshot_id: int | None, now: datetime
) -> dict[str, int]:
    """Writes events inside the caller's transaction, with their ledger rows. Returns finding ids by fingerprint."""
    next_id = (connection.execute(select(func.coalesce(func.max(FINDINGS.c.id), 0))).scalar_one()) + 1
    ids: dict[str, int] = {}
    new_rows, event_rows = [], []
    for event in events:
        found = event.finding
        if event.kind is EventKind.OPENED:
            ids[found.fingerprint] = next_id
            new_rows.append({"id": next_id, "source_id": source_id, **_row(found), "snapshot_id": snapshot_id})
            next_id += 1
        else:
            assert found.id is not None
            ids[found.fingerprint] = found.id
            if moved := _moved(event, now):
                connection.execute(update(FINDINGS).where(FINDINGS.c.id == found.id).values(**moved))
        event_rows.append(_event_row(event, ids[found.fingerprint], snapshot_id, now))
    if new_rows:
        connection.execute(insert(FINDINGS), new_rows)
    if event_rows:
        connection.execute(insert(EVENTS), event_rows)
    ledger.append(connection, now, (_entry(e, ids[e.finding.fingerprint], snapshot_id) for e in events))
    return ids


def never_told(connection: Connection, finding_ids: Iterable[int]) -> frozenset[int]:
    """Which of these opened while they were silenced, and have been silenced ever since, or opened as flapping."""
    told_of, wanted = (EventKind.OPENED.value, EventKind.SILENCE_ENDED.value), list(finding_ids)
    found: dict[int, bool] = {}
    for i in range(0, len(wanted), 500):
        query = select(EVENTS.c.finding_id, EVENTS.c.kind, EVENTS.c.detail).order_by(EVENTS.c.id)
        which = (EVENTS.c.finding_id.in_(wanted[i : i + 500]), EVENTS.c.kind.in_(told_of))
        for finding_id, kind, detail in connection.execute(query.where(*which)):
            found[finding_id] = kind == EventKind.OPENED and bool((detail or {}).get("detail"))
    return frozenset(i for i, silent in found.items() if silent)


def unresolved(connection: Connection, source_id: int | None = None) -> list[Finding]:
    of_source = [] if source_id is None else [FINDINGS.c.source_id == source_id]
    return load(connection, FINDINGS.c.status != FindingStatus.RESOLVED.value, *of_source)


def about_sources(connection: Connection) -> list[Finding]:
    """What is unresolved about sources as such."""
    return load(connection, FINDINGS.c.subject_kind == Kind.SOURCE.value, FINDINGS.c.status != "resolved")


_UNRESOLVED = text("status <> 'resolved'")  # as the partial index says it, or the planner does not take that


def anything_wakes(connection: Connection, now: datetime) -> bool:
    """Two steps of the index; both conditions at once would be a walk over all that is unresolved."""
    either = (FINDINGS.c.wakes_at.is_(None), FINDINGS.c.wakes_at <= now)
    first = (connection.execute(select(FINDINGS.c.id).where(_UNRESOLVED, due).limit(1)).first() for due in either)
    return any(row is not None for row in first)


def waking(connection: Connection, now: datetime | None) -> list[Finding]:
    """Those that time brings something to, or may; without a time, all that are unresolved."""
    due = [] if now is None else [or_(FINDINGS.c.wakes_at.is_(None), FINDINGS.c.wakes_at <= now)]
    return load(connection, FINDINGS.c.status != FindingStatus.RESOLVED.value, *due)


def sleep(connection: Connection, until: Iterable[tuple[int, datetime]]) -> None:
    rows = [{"of": finding_id, "then": micros(wakes_at)} for finding_id, wakes_at in until]
    if rows:
        connection.execute(text("UPDATE findings SET wakes_at = :then WHERE id = :of"), rows)


def move(connection: Connection, event: Event, now: datetime) -> None:
    """A step that no poll found; the evidence stays that of the snapshot it was seen in."""
    move_all(connection, [event], now)


def move_all(connection: Connection, events: Iterable[Event], now: datetime) -> None:
    """Such steps of several findings."""
    by_snapshot: dict[int, list[Event]] = {}
    for event in events:
        assert event.kind is not EventKind.OPENED
        by_snapshot.setdefault(event.finding.snapshot, []).append(event)
    for snapshot_id, several in by_snapshot.items():
        apply(connection, several, 0, snapshot_id, now)


def first_time(connection: Connection, keys: Iterable[str], now: datetime) -> bool:
    """Whether none of these keys came before. Writes them down, and forgets those that nobody delivers any more."""
    connection.execute(delete(CLICKS).where(CLICKS.c.came_at < now - _REDELIVERED))
    new = [connection.execute(insert_or(CLICKS).values(key=k, came_at=now).on_conflict_do_nothing()) for k in keys]
    return all(result.rowcount for result in new)


def refused(connection: Connection, body: dict[str, Any], now: datetime) -> None:
    ledger.append(connection, now, [("act.refused", body)])


def history(connection: Connection, finding_id: int) -> list[dict[str, Any]]:
    query = select(EVENTS).where(EVENTS.c.finding_id == finding_id).order_by(EVENTS.c.id)
    return [dict(r) for r in connection.execute(query).mappings()]


def _entry(event: Event, finding_id: int, snapshot_id: int | None) -> tuple[str, dict[str, Any]]:
    found = event.finding
    body: dict[str, Any] = {
        "finding": finding_id, "fingerprint": found.fingerprint, "rule": found.rule, "subject": found.subject.id,
        "status": found.status.value, "verdict": found.verdict.value, "snapshot": snapshot_id,
    }  # fmt: skip
    if event.kind is EventKind.OPENED:
        body["evidence"] = [{"clause": e.clause, "facts": dict(e.facts)} for e in found.evidence]
    if found.resolution:
        body |= {"resolution": found.resolution.value}
    body |= {k: v for k, v in (("detail", event.detail), ("by", event.by)) if v}
    return f"finding.{event.kind.value}", body


def _event_row(event: Event, finding_id: int, snapshot_id: int | None, now: datetime) -> dict[str, Any]:
    detail = {"verdict": event.finding.verdict.value} | ({"detail": event.detail} if event.detail else {})
    return {
        "finding_id": finding_id, "time": now, "kind": event.kind.value, "by": event.by, "snapshot_id": snapshot_id,
        "detail": detail,
    }  # fmt: skip


_JUDGED = ("verdict", "severity", "owner", "exempt_until", "draft", "rule_digest", "due_at")
_CLOSED = ("status", "resolved_at", "resolution", "resolution_detail")
_EXEMPTED = ("verdict", "exempt_until", "exemption")
TIMELY = (EventKind.DUE_SOON, EventKind.OVERDUE, EventKind.REMINDED, EventKind.ESCALATED)
_MOVES: dict[EventKind, tuple[str, ...]] = {
    EventKind.VERDICT: _JUDGED,
    EventKind.EDITED: _JUDGED,
    EventKind.SEVERITY_RAISED: _JUDGED,
    EventKind.SEVERITY_LOWERED: _JUDGED,
    EventKind.RESOLVED: (*_CLOSED, "verdict", "calm_at"),
    EventKind.ACKNOWLEDGED: (*_CLOSED, "acknowledged_at", "acknowledged_by"),
    EventKind.FALSE_ALARM: _CLOSED,
    EventKind.ASSIGNED: ("assigned_to",),
    EventKind.RECHECKED: (),  # what the look found moves it by itself
    EventKind.SILENCED: ("silenced_until",),
    **dict.fromkeys(TIMELY, ()),
    EventKind.SILENCE_ENDED: ("silenced_until",),
    EventKind.EXEMPTION_ASKED: _EXEMPTED,
    EventKind.EXEMPTED: _EXEMPTED,
    EventKind.EXEMPTION_REFUSED: _EXEMPTED,
    EventKind.EXEMPTION_WITHDRAWN: _EXEMPTED,
}


def _moved(event: Event, now: datetime) -> dict[str, Any]:
    """The columns that an event moves, and no others: a poll that began before a person acted must not undo that."""
    row = _row(event.finding)
    said = {"asked_at": now, "told_at": now} if event.asks else {"told_at": now} if event.kind in TIMELY else {}
    return {name: row[name] for name in _MOVES[event.kind]} | said | {"wakes_at": None}


def _row(found: Finding) -> dict[str, Any]:
    return {
        "fingerprint": found.fingerprint,
        "rule": found.rule,
        "title": found.title,
        "severity": found.severity.value,
        "status": found.status.value,
        "verdict": found.verdict.value,
        "subject_kind": str(found.subject.kind),
        "subject_id": found.subject.id,
        "subject_email": found.subject.email,
        "subject_name": found.subject.name,
        "owner": found.owner,
        "tags": list(found.tags),
        "opened_at": found.opened_at,
        "due_at": found.due_at,
        "closes_at": found.closes_at,
        "acknowledged_at": found.acknowledged_at,
        "acknowledged_by": found.acknowledged_by,
        "resolved_at": found.resolved_at,
        "resolution": found.resolution.value if found.resolution else None,
        "resolution_detail": found.resolution_detail,
        "exempt_until": found.exempt_until,
        "silenced_until": found.silenced_until,
        "exemption": None if found.exemption is None else dict(found.exemption),
        "assigned_to": found.assigned_to,
        "evidence": _plain([{"clause": e.clause, "facts": dict(e.facts)} for e in found.evidence]),
        "rule_digest": found.rule_digest,
        "baseline": found.baseline,
        "draft": found.draft,
        "asked_at": found.asked_at or found.opened_at,
        "told_at": found.told_at or found.opened_at,
        "calm_at": found.calm_at,
    }


def _plain(value: Any) -> Any:
    import msgspec

    return msgspec.json.decode(json_text(value))


def _finding(row: Any) -> Finding:
    return Finding(
        id=row["id"],
        fingerprint=row["fingerprint"],
        rule=row["rule"],
        title=row["title"],
        severity=Severity(row["severity"]),
        status=FindingStatus(row["status"]),
        verdict=Verdict(row["verdict"]),
        source=row["source"],
        subject=Subject(row["subject_kind"], row["subject_id"], row["subject_email"], row["subject_name"]),
        owner=row["owner"],
        opened_at=row["opened_at"],
        due_at=row["due_at"],
        closes_at=row["closes_at"],
        evidence=tuple(Evidence(e["clause"], e["facts"]) for e in row["evidence"]),
        rule_digest=row["rule_digest"],
        snapshot=row["snapshot_id"],
        baseline=row["baseline"],
        resolved_at=row["resolved_at"],
        resolution=Resolution(row["resolution"]) if row["resolution"] else None,
        resolution_detail=row["resolution_detail"],
        acknowledged_at=row["acknowledged_at"],
        acknowledged_by=row["acknowledged_by"],
        exempt_until=row["exempt_until"],
        silenced_until=row["silenced_until"],
        exemption=row["exemption"],
        assigned_to=row["assigned_to"],
        draft=row["draft"],
        asked_at=row["asked_at"],
        told_at=row["told_at"],
        calm_at=row["calm_at"],
        tags=tuple(row["tags"]),
    )
