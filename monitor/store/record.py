"""Recording: all that a cycle found and has to say, in one transaction. Before it nothing is kept, after it all is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, Engine, insert, select, update

from monitor.domain.finding import Event
from monitor.domain.message import Notification
from monitor.domain.reading import Outcome, Scope
from monitor.domain.snapshot import Snapshot
from monitor.store import findings, ledger, outbox, rulesets
from monitor.store.engine import writing
from monitor.store.settled import Settled
from monitor.store.staging import ACTIVITY, VERSION, Staging
from monitor.store.tables import SnapshotRow, SourceRow, json_text, micros

SNAPSHOTS = SnapshotRow.__table__  # type: ignore[attr-defined]
SOURCES = SourceRow.__table__  # type: ignore[attr-defined]


class RuleTexts(Protocol):
    """What a snapshot was judged by."""

    @property
    def digest(self) -> str: ...
    @property
    def files(self) -> Mapping[str, str]: ...


def record(
    engine: Engine,
    staging: Staging,
    settled: Settled,
    snapshot: Snapshot,
    events: Sequence[Event],
    notes: Sequence[tuple[Notification, str | None]],
    *,
    rules: RuleTexts,
    version: str,
    reader: str,
    at: Callable[[str], None],
    beside: Sequence[Callable[[Connection, int], object]] = (),
) -> int:
    """Returns the id of the snapshot. `beside`: what else is written in the same transaction.

    Raises StoreError and leaves the database as it was.
    """
    assert staging.path is not None
    with writing(engine, staging.path) as connection:
        snapshot_id = _snapshot(connection, staging.source_id, snapshot, rules.digest, version)
        rulesets.keep(connection, rules.digest, rules.files, snapshot.finished_at)
        at("record: snapshot written")
        _accounts(connection, staging, snapshot_id)
        _grants(connection, staging, snapshot_id)
        _things(connection, staging, settled, snapshot_id)
        _scopes(connection, staging, settled, snapshot_id)
        changes = _changes(connection, staging, snapshot_id)
        totals = _totals(connection, staging.source_id, snapshot_id, changes)
        _source(connection, staging, snapshot, reader)
        ledger.append(
            connection, snapshot.finished_at,
            [("snapshot", _proof_entry(snapshot_id, snapshot, totals, changes, rules.digest))],
        )  # fmt: skip
        at("record: versions written")
        ids = findings.apply(connection, events, staging.source_id, snapshot_id, snapshot.finished_at)
        at("record: findings written")
        outbox.put(connection, [(note, ids.get(mark or "")) for note, mark in notes], snapshot_id)
        for write in beside:
            write(connection, snapshot_id)
        at("record: before commit")
    at("record: after commit")
    return snapshot_id


def _snapshot(connection: Connection, source_id: int, snapshot: Snapshot, rules_digest: str, version: str) -> int:
    proof = snapshot.proof
    row = {
        "source_id": source_id,
        "lane": snapshot.lane.value,
        "outcome": snapshot.outcome.value,
        "started_at": snapshot.started_at,
        "finished_at": snapshot.finished_at,
        "requests": proof.requests,
        "pages": sum(proof.pages.values()),
        "digest": proof.root_digest,
        "rules_digest": rules_digest,
        "version": version,
        "baseline": snapshot.baseline,
        "error": snapshot.error,
        "changes": 0, "accounts": 0, "roles": 0, "groups": 0, "grants": 0,
        "proof": {
            k: round(v, 3) if isinstance(v, float) else v for k, v in proof.as_dict().items() if k != "root_digest"
        },
    }  # fmt: skip
    key = connection.execute(insert(SNAPSHOTS).values(**row)).inserted_primary_key
    assert key is not None
    return int(key[0])


def _accounts(connection: Connection, staging: Staging, snapshot_id: int) -> None:
    run, source = connection.exec_driver_sql, staging.source_id
    run(
        """UPDATE accounts SET valid_to = ? WHERE pk IN (
             SELECT ends FROM staged.accounts WHERE state = 'changed' UNION ALL SELECT ends FROM staged.gone)""",
        (snapshot_id,),
    )
    columns = ", ".join(VERSION)
    run(
        f"""INSERT INTO accounts (source_id, {columns}, valid_from)
            SELECT ?, {columns}, ? FROM staged.accounts WHERE state IN ('new', 'changed') ORDER BY account_id""",  # noqa: S608
        (source, snapshot_id),
    )
    activity = (*ACTIVITY, "raw_digest")
    names, again = ", ".join(activity), ", ".join(f"{c} = excluded.{c}" for c in (*activity, "snapshot_id"))
    run(
        f"""INSERT INTO activity (source_id, account_id, {names}, snapshot_id)
            SELECT ?, account_id, {names}, ? FROM staged.accounts WHERE true ORDER BY account_id
            ON CONFLICT (source_id, account_id) DO UPDATE SET {again}""",  # noqa: S608  # only our own column names
        (source, snapshot_id),
    )
    run(
        """UPDATE activity SET last_active = max(coalesce(last_active, 0), (
             SELECT at FROM staged.active a WHERE a.account_id = activity.account_id))
           WHERE source_id = ? AND account_id IN (SELECT account_id FROM staged.active)""",
        (source,),
    )
    run("DELETE FROM activity WHERE source_id = ? AND account_id IN (SELECT account_id FROM staged.gone)", (source,))


def _grants(connection: Connection, staging: Staging, snapshot_id: int) -> None:
    run = connection.exec_driver_sql
    run("UPDATE grants SET valid_to = ? WHERE pk IN (SELECT pk FROM staged.ended_grants)", (snapshot_id,))
    run(
        """INSERT OR IGNORE INTO grants (source_id, account_id, kind, entitlement_id, since, valid_from)
           SELECT ?, account_id, kind, entitlement_id, ?, ? FROM staged.new_grants
           ORDER BY account_id, kind, entitlement_id""",
        (staging.source_id, micros(staging.at), snapshot_id),
    )


def _things(connection: Connection, staging: Staging, settled: Settled, snapshot_id: int) -> None:
    source = staging.source_id
    _end(connection, "roles", "role_id", source, [r.role.id for r in settled.roles] + settled.ended_roles, snapshot_id)
    _end(
        connection,
        "groups",
        "group_id",
        source,
        [g.group.id for g in settled.groups] + settled.ended_groups,
        snapshot_id,
    )
    ended = [s.seats.id for s in settled.seats] + settled.ended_seats
    _end(connection, "seats", "seat_id", source, ended, snapshot_id)
    for seats, first_seen in settled.seats:
        lists = (None if x is None else json_text(x) for x in (seats.courses, seats.tags))
        connection.exec_driver_sql(
            """INSERT INTO seats (source_id, seat_id, title, description, purchased, available, max_members, courses,
               tags, created, first_seen, valid_from) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (source, *seats[:6], *lists, micros(seats.created), micros(first_seen), snapshot_id),
        )
    for version in settled.roles:
        connection.exec_driver_sql(
            """INSERT INTO roles (source_id, role_id, title, description, access_level, custom, first_seen, changed,
               past_access_levels, description_changed, valid_from) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (source, *version.role, micros(version.first_seen), micros(version.changed),
             json_text(version.past_access_levels), micros(version.description_changed), snapshot_id),
        )  # fmt: skip
    for group, first_seen in settled.groups:
        lists = (None if x is None else json_text(x) for x in (group.courses, group.tags))
        connection.exec_driver_sql(
            """INSERT INTO groups (source_id, group_id, title, description, max_members, courses, tags, enrolls,
               created, first_seen, valid_from) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (source, group.id, group.title, group.description, group.max_members, *lists, group.enrolls,
             micros(group.created), micros(first_seen), snapshot_id),
        )  # fmt: skip


def _end(connection: Connection, table: str, key: str, source: int, ids: Sequence[str], snapshot_id: int) -> None:
    if ids:
        connection.exec_driver_sql(
            f"UPDATE {table} SET valid_to = ? WHERE source_id = ? AND {key} = ? AND valid_to IS NULL",  # noqa: S608
            [(snapshot_id, source, i) for i in ids],
        )


def _scopes(connection: Connection, staging: Staging, settled: Settled, snapshot_id: int) -> None:
    names = [s.name for s, _ in settled.scopes] + [Scope.members(g) for g in settled.ended_groups]
    names += settled.ended_scopes
    _end(connection, "scopes", "name", staging.source_id, names, snapshot_id)
    for scope, digest in settled.scopes:
        connection.exec_driver_sql(
            """INSERT INTO scopes (source_id, name, outcome, reason, cause, digest, valid_from)
               VALUES (?, ?, ?, ?, ?, ?, ?)""",
            (staging.source_id, scope.name, scope.outcome.value, scope.reason,
             scope.cause.value if scope.cause else None, digest, snapshot_id),
        )  # fmt: skip


def _changes(connection: Connection, staging: Staging, snapshot_id: int) -> int:
    return connection.exec_driver_sql(
        """INSERT INTO changes (snapshot_id, source_id, kind, subject_kind, subject_id, subject_email, subject_name,
             field, before, after)
           SELECT ?, ?, kind, subject_kind, subject_id, subject_email, subject_name, field, before, after
           FROM staged.changes ORDER BY rowid""",
        (snapshot_id, staging.source_id),
    ).rowcount


def _totals(connection: Connection, source_id: int, snapshot_id: int, changes: int) -> Mapping[str, int]:
    totals = {
        table: connection.exec_driver_sql(
            f"SELECT count(*) FROM {table} WHERE source_id = ? AND valid_to IS NULL",  # noqa: S608
            (source_id,),
        ).scalar_one()
        for table in ("accounts", "roles", "groups", "grants")
    }
    connection.execute(update(SNAPSHOTS).where(SNAPSHOTS.c.id == snapshot_id).values(**totals, changes=changes))
    return totals


def _source(connection: Connection, staging: Staging, snapshot: Snapshot, reader: str) -> None:
    if snapshot.lane.narrow:
        return
    row = connection.execute(select(SOURCES).where(SOURCES.c.id == staging.source_id)).one()
    began = micros(snapshot.started_at)
    read = {Scope.family(s.name) for s in snapshot.scopes if s.outcome is Outcome.COMPLETE} - staging.later
    values: dict[str, Any] = {"scopes_read": {**(row.scopes_read or {}), **dict.fromkeys(sorted(read), began)}}
    if row.watched_since is None and snapshot.outcome is Outcome.COMPLETE:
        values["watched_since"] = snapshot.started_at
    if row.reader != reader and snapshot.complete(Scope.USERS):
        values["reader"] = reader
    connection.execute(update(SOURCES).where(SOURCES.c.id == staging.source_id).values(**values))


def _proof_entry(
    snapshot_id: int, snapshot: Snapshot, totals: Mapping[str, int], changes: int, rules_digest: str
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": snapshot_id, "source": snapshot.source, "lane": snapshot.lane.value,
        "outcome": snapshot.outcome.value, **totals, "changes": changes,
        "requests": snapshot.proof.requests, "digest": snapshot.proof.root_digest, "rules": rules_digest[:16],
    }  # fmt: skip
    broken = {s.name: s.reason for s in snapshot.scopes if s.outcome not in (Outcome.COMPLETE, Outcome.UNREAD)}
    return entry | ({"broken": dict(list(broken.items())[:50])} if broken else {})
