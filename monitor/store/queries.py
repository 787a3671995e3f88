"""What is read back: sources, snapshots, accounts, drift, ledger, for commands, reports and the line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, select

from monitor.domain.change import Seen
from monitor.domain.reading import Outcome, Sizes
from monitor.store.engine import reading, writing
from monitor.store.tables import (
    AccountRow,
    ChangeRow,
    GroupRow,
    RoleRow,
    ScopeRow,
    SeatRow,
    SnapshotRow,
    SourceRow,
    moment,
)

SOURCES = SourceRow.__table__  # type: ignore[attr-defined]
SNAPSHOTS = SnapshotRow.__table__  # type: ignore[attr-defined]
CHANGES = ChangeRow.__table__  # type: ignore[attr-defined]
SCOPES = ScopeRow.__table__  # type: ignore[attr-defined]
ACCOUNTS = AccountRow.__table__  # type: ignore[attr-defined]


class SourceFacts(NamedTuple):
    watched_since: datetime | None
    reader: str
    scopes_read: Mapping[str, datetime]  # by family: when the last poll that read it began


def source_id(engine: Engine, name: str, kind: str) -> int:
    """The row of a source, made when it is seen for the first time."""
    with reading(engine) as connection:
        found = connection.execute(select(SOURCES.c.id).where(SOURCES.c.name == name)).scalar()
    if found is not None:
        return int(found)
    with writing(engine) as connection:
        key = connection.execute(SOURCES.insert().values(name=name, kind=kind, reader="")).inserted_primary_key
    assert key is not None
    return int(key[0])


def source_facts(engine: Engine, source_id: int) -> SourceFacts:
    with reading(engine) as connection:
        row = connection.execute(select(SOURCES).where(SOURCES.c.id == source_id)).one()
    read = {family: moment(at) for family, at in (row.scopes_read or {}).items()}
    return SourceFacts(row.watched_since, row.reader, {f: at for f, at in read.items() if at is not None})


def scopes_read(engine: Engine, name: str) -> Mapping[str, datetime]:
    """By family of scopes, when the last poll that read it began."""
    with reading(engine) as connection:
        found = connection.execute(select(SOURCES.c.id).where(SOURCES.c.name == name)).scalar()
    return {} if found is None else source_facts(engine, int(found)).scopes_read


def last_outcome(engine: Engine, source_id: int, lane: str = "full") -> str | None:
    with reading(engine) as connection:
        return connection.execute(
            select(SNAPSHOTS.c.outcome)
            .where(SNAPSHOTS.c.source_id == source_id, SNAPSHOTS.c.lane == lane)
            .order_by(SNAPSHOTS.c.id.desc())
            .limit(1)
        ).scalar()


def outcomes(connection: Connection) -> dict[str, str]:
    """How the last poll of each source ended that had one."""
    last = (
        select(SNAPSHOTS.c.outcome).where(SNAPSHOTS.c.source_id == SOURCES.c.id, SNAPSHOTS.c.lane == "full")
        .order_by(SNAPSHOTS.c.id.desc()).limit(1).scalar_subquery()
    )  # fmt: skip
    return {name: outcome for name, outcome in connection.execute(select(SOURCES.c.name, last)) if outcome}


def last_sight(engine: Engine, source_id: int, at: datetime) -> datetime | None:
    """When the last whole poll of a source began, as of a time; while there is none, the first poll."""
    seen = (SNAPSHOTS.c.source_id == source_id) & (SNAPSHOTS.c.lane == "full") & (SNAPSHOTS.c.started_at <= at)
    began, newest_first = select(SNAPSHOTS.c.started_at).where(seen), SNAPSHOTS.c.id.desc()
    with reading(engine) as connection:
        whole = connection.execute(
            began.where(SNAPSHOTS.c.outcome == "complete").order_by(newest_first).limit(1)
        ).scalar()
        return whole or connection.execute(began.order_by(SNAPSHOTS.c.id).limit(1)).scalar()


def outcome_now(engine: Engine, name: str) -> str | None:
    """How the last whole cycle of a source ended; None while there was none."""
    with reading(engine) as connection:
        return connection.execute(
            select(SNAPSHOTS.c.outcome).join(SOURCES, SOURCES.c.id == SNAPSHOTS.c.source_id)
            .where(SOURCES.c.name == name, SNAPSHOTS.c.lane == "full").order_by(SNAPSHOTS.c.id.desc()).limit(1)
        ).scalar()  # fmt: skip


def last_started(engine: Engine, name: str, lane: str = "full") -> datetime | None:
    """When the last poll of a source began: its next one is due an interval later, also after a restart."""
    with reading(engine) as connection:
        return connection.execute(
            select(SNAPSHOTS.c.started_at).join(SOURCES, SOURCES.c.id == SNAPSHOTS.c.source_id)
            .where(SOURCES.c.name == name, SNAPSHOTS.c.lane == lane).order_by(SNAPSHOTS.c.id.desc()).limit(1)
        ).scalar()  # fmt: skip


def is_watched(engine: Engine, name: str) -> bool:
    """Whether a source has had a whole poll."""
    with reading(engine) as connection:
        query = select(SOURCES.c.id).where(SOURCES.c.name == name, SOURCES.c.watched_since.is_not(None))
        return connection.execute(query).scalar() is not None


def sizes(engine: Engine, name: str) -> Sizes:
    """How much of everything is recorded of a source; of one that was never polled, nothing."""
    with reading(engine) as connection:
        source = connection.execute(select(SOURCES.c.id).where(SOURCES.c.name == name)).scalar()
        if source is None:
            return Sizes()
        # two questions, so that each is answered by an index: at a million accounts the rows are half a gigabyte
        accounts = connection.exec_driver_sql(
            "SELECT count(*) FROM accounts WHERE source_id = ? AND valid_to IS NULL", (source,)
        ).scalar_one()
        row = connection.exec_driver_sql(
            """SELECT coalesce(sum(coalesce(privileged, 0)), 0), coalesce(sum(coalesce(status = 'suspended', 0)), 0),
                      coalesce(sum(privileged AND level IN ('seat_manager', 'user')
                                   AND coalesce(status, '') <> 'suspended'), 0)
               FROM accounts WHERE source_id = ? AND valid_to IS NULL AND (privileged OR status = 'suspended')""",
            (source,),
        ).one()
        groups = connection.exec_driver_sql(
            """SELECT (SELECT count(*) FROM grants g WHERE g.source_id = t.source_id AND g.kind = 'member'
                       AND g.entitlement_id = t.group_id AND g.valid_to IS NULL)
               FROM groups t WHERE t.source_id = ? AND t.valid_to IS NULL""",
            (source,),
        )
        seats = connection.exec_driver_sql(
            """SELECT (SELECT count(*) FROM grants g WHERE g.source_id = t.source_id AND g.kind = 'seat'
                       AND g.entitlement_id = t.seat_id AND g.valid_to IS NULL)
               FROM seats t WHERE t.source_id = ? AND t.valid_to IS NULL""",
            (source,),
        )
        return Sizes(accounts, row[0], row[1], row[2], tuple(r[0] for r in groups), tuple(r[0] for r in seats))


def most_asked(engine: Engine, name: str, within: int = 50) -> dict[str, int]:
    """By scope, how many requests one of the latest whole polls asked for at the most."""
    query = (
        select(SNAPSHOTS.c.proof).join(SOURCES, SOURCES.c.id == SNAPSHOTS.c.source_id)
        .where(SOURCES.c.name == name, SNAPSHOTS.c.lane == "full", SNAPSHOTS.c.outcome == "complete")
        .order_by(SNAPSHOTS.c.id.desc()).limit(within)
    )  # fmt: skip
    found: dict[str, int] = {}
    with reading(engine) as connection:
        for (proof,) in connection.execute(query):
            for scope, number in (proof or {}).get("asked", {}).items():
                found[scope] = max(number, found.get(scope, 0))
    return found


def last_moved(engine: Engine, name: str) -> datetime | None:
    """When the last poll ended that changed what is known of this source: who looks at it is due again since then."""
    query = (
        select(SNAPSHOTS.c.finished_at).join(SOURCES, SOURCES.c.id == SNAPSHOTS.c.source_id)
        .where(SOURCES.c.name == name, (SNAPSHOTS.c.changes > 0) | SNAPSHOTS.c.baseline)
        .order_by(SNAPSHOTS.c.id.desc()).limit(1)
    )  # fmt: skip
    with reading(engine) as connection:
        return connection.execute(query).scalar()


def snapshots(
    engine: Engine, source: str | None = None, limit: int | None = None, only: int | None = None
) -> list[dict[str, Any]]:
    """Newest last. `only`: the id of one."""
    query = (
        select(SNAPSHOTS, SOURCES.c.name.label("source"))
        .join(SOURCES, SOURCES.c.id == SNAPSHOTS.c.source_id)
        .order_by(SNAPSHOTS.c.id.desc())
        .limit(limit)
    )
    query = query.where(SOURCES.c.name == source) if source else query
    query = query.where(SNAPSHOTS.c.id == only) if only is not None else query
    with reading(engine) as connection:
        return [dict(r) for r in connection.execute(query).mappings()][::-1]


def applied(engine: Engine, source: str) -> list[dict[str, Any]]:
    """Of the snapshots of a source those that moved the record, oldest first; without their proofs, which are long."""
    wanted = (SNAPSHOTS.c[name] for name in ("id", "source_id", "outcome", "started_at", "finished_at"))
    query = (
        select(*wanted).join(SOURCES, SOURCES.c.id == SNAPSHOTS.c.source_id)
        .where(SOURCES.c.name == source, SNAPSHOTS.c.outcome.not_in((Outcome.FAILED, Outcome.QUARANTINED)))
        .order_by(SNAPSHOTS.c.id)
    )  # fmt: skip
    with reading(engine) as connection:
        return [dict(r) for r in connection.execute(query).mappings()]


def scopes_of(engine: Engine, snapshot_id: int) -> list[dict[str, Any]]:
    """The scopes of a snapshot, each with its outcome."""
    with reading(engine) as connection:
        source = connection.execute(select(SNAPSHOTS.c.source_id).where(SNAPSHOTS.c.id == snapshot_id)).scalar()
        query = select(SCOPES).where(
            SCOPES.c.source_id == source,
            SCOPES.c.valid_from <= snapshot_id,
            (SCOPES.c.valid_to.is_(None)) | (SCOPES.c.valid_to > snapshot_id),
        )
        return [dict(r) for r in connection.execute(query.order_by(SCOPES.c.id)).mappings()]


def drift(
    engine: Engine, source: str | None = None, snapshot: int | None = None, since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Changes, oldest first."""
    query = (
        select(CHANGES, SOURCES.c.name.label("source"), SNAPSHOTS.c.started_at)
        .join(SOURCES, SOURCES.c.id == CHANGES.c.source_id)
        .join(SNAPSHOTS, SNAPSHOTS.c.id == CHANGES.c.snapshot_id)
        .order_by(CHANGES.c.id)
    )
    query = query.where(SOURCES.c.name == source) if source else query
    query = query.where(CHANGES.c.snapshot_id == snapshot) if snapshot is not None else query
    query = query.where(SNAPSHOTS.c.started_at >= since) if since else query
    query = query.where(SNAPSHOTS.c.started_at <= until) if until else query
    with reading(engine) as connection:
        for row in connection.execute(query).mappings():
            yield {**row, "before": _json(row["before"]), "after": _json(row["after"])}


def entitlement_titles(engine: Engine) -> dict[str, str]:
    """What people call a role or a group that a change tells as "role:ID" or "group:ID"."""
    with reading(engine) as connection:
        rows = connection.exec_driver_sql(
            """SELECT 'role:' || role_id, 'role ' || title FROM roles WHERE title IS NOT NULL
               UNION ALL SELECT 'group:' || group_id, 'group ' || title FROM groups WHERE title IS NOT NULL"""
        )
        return {key: title for key, title in rows}


def _json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


def accounts(
    engine: Engine, source: str | None = None, privileged: bool | None = None, at: datetime | None = None,
    account: str | None = None,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Accounts as of a time (now, if none is given), with the groups that they were members of then.

    `last_login` is the latest that is known, whatever the time: sign-ins are not kept as history.
    """
    with reading(engine) as connection:
        names: dict[int, str] = {r.id: r.name for r in connection.execute(select(SOURCES.c.id, SOURCES.c.name))}
        for source_id, name in sorted(names.items()):
            if source is not None and name != source:
                continue
            as_of = None if at is None else _snapshot_at(connection, source_id, at)
            if at is not None and as_of is None:
                continue
            yield from _accounts_of(connection, source_id, name, as_of, privileged, account)


def _snapshot_at(connection: Any, source_id: int, at: datetime) -> int | None:
    found = connection.execute(
        select(SNAPSHOTS.c.id).where(SNAPSHOTS.c.source_id == source_id, SNAPSHOTS.c.finished_at <= at)
        .order_by(SNAPSHOTS.c.id.desc()).limit(1)
    ).scalar()  # fmt: skip
    return None if found is None else int(found)


def _accounts_of(
    connection: Any, source_id: int, name: str, as_of: int | None, privileged: bool | None, account: str | None
) -> Iterator[dict[str, Any]]:
    valid = (
        "{0}.valid_to IS NULL"
        if as_of is None
        else "{0}.valid_from <= :s AND ({0}.valid_to IS NULL OR {0}.valid_to > :s)"
    )
    only = "" if privileged is None else " AND a.privileged" if privileged else " AND NOT coalesce(a.privileged, 0)"
    only += " AND (a.account_id = :account OR a.email_key = :email)" if account else ""
    query = f"""
        SELECT a.account_id AS id, a.email, coalesce(a.name, a.username) AS name, a.status, a.level, a.role,
               a.privileged,
               a.is_admin, a.is_instructor, a.created, y.last_login, a.first_seen, a.status_since,
               (SELECT json_group_array(coalesce(t.title, g.entitlement_id)) FROM grants g LEFT JOIN groups t
                  ON t.source_id = g.source_id AND t.group_id = g.entitlement_id AND {valid.format("t")}
                WHERE g.source_id = a.source_id AND g.account_id = a.account_id AND g.kind = 'member'
                  AND {valid.format("g")}) AS groups
        FROM accounts a LEFT JOIN activity y ON y.source_id = a.source_id AND y.account_id = a.account_id
        WHERE a.source_id = :source AND {valid.format("a")}{only} ORDER BY a.account_id"""  # noqa: S608
    parameters = {"source": source_id, "s": as_of, "account": account, "email": (account or "").casefold()}
    used = {k: v for k, v in parameters.items() if f":{k}" in query}
    from sqlalchemy import text

    for row in connection.execute(text(query), used).mappings():
        yield {
            "source": name,
            **row,
            **{k: None if row[k] is None else bool(row[k]) for k in ("privileged", "is_admin", "is_instructor")},
            **{k: moment(row[k]) for k in ("created", "last_login", "first_seen", "status_since")},
            "groups": msgspec.json.decode(row["groups"]),
        }


_VERSIONS: dict[str, tuple[Any, str]] = {
    "account": (AccountRow, "account_id"), "role": (RoleRow, "role_id"), "group": (GroupRow, "group_id"),
    "seat": (SeatRow, "seat_id"),
}  # fmt: skip


def since(engine: Engine, source_id: int, kind: str, subject_id: str, snapshot_id: int) -> dict[str, Seen]:
    """By column: from which snapshot on a subject has the value that it has as of this one."""
    if kind not in _VERSIONS:
        return {}
    row, key = _VERSIONS[kind]
    table = row.__table__
    query = (
        select(table, SNAPSHOTS.c.started_at).join(SNAPSHOTS, SNAPSHOTS.c.id == table.c.valid_from)
        .where(table.c.source_id == source_id, table.c[key] == subject_id, table.c.valid_from <= snapshot_id)
        .order_by(table.c.valid_from.desc())
    )  # fmt: skip
    halves = (table.c.valid_to.is_(None), table.c.valid_to.is_not(None))  # each has an index of its own
    with reading(engine) as connection:
        versions = [dict(r) for half in halves for r in connection.execute(query.where(half)).mappings()]
    return {column: _run(versions, column) for column in (versions[0] if versions else ())}


def _run(versions: Sequence[dict[str, Any]], column: str) -> Seen:
    """The oldest of the newest versions that agree, each following on the one before it."""
    last = versions[0]
    for version in versions[1:]:
        if version[column] != last[column] or version["valid_to"] != last["valid_from"]:
            break
        last = version
    return Seen(last["valid_from"], last["started_at"])


def roles(engine: Engine) -> list[dict[str, Any]]:
    """Roles of today with how many hold them, by the level that the holders are reported with."""
    with reading(engine) as connection:
        rows = connection.exec_driver_sql(
            """SELECT s.name AS source, r.role_id, r.title, r.access_level, r.custom, r.changed, r.first_seen,
                      count(a.pk) AS holders,
                      coalesce(sum(a.level IS NOT NULL AND r.access_level IS NOT NULL AND a.level <> r.access_level), 0)
                        AS disagreeing
               FROM roles r JOIN sources s ON s.id = r.source_id
               LEFT JOIN accounts a ON a.source_id = r.source_id AND a.role_id = r.role_id AND a.valid_to IS NULL
               WHERE r.valid_to IS NULL GROUP BY r.pk ORDER BY s.name, r.access_level, r.title"""
        ).mappings()
        return [{**r, "changed": moment(r["changed"]), "first_seen": moment(r["first_seen"])} for r in rows]


def ledger_rows(engine: Engine, kinds: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    with reading(engine) as connection:
        for row in connection.exec_driver_sql("SELECT * FROM ledger ORDER BY sequence").mappings():
            if not kinds or row["kind"] in kinds:
                yield {**row, "time": moment(row["time"]), "body": msgspec.json.decode(row["body"])}
