"""What a poll changes: compares a staging with what is recorded. What differs, and how, is decided in decide/drift;
this module only finds the rows and hands them over.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol

import msgspec

from monitor.domain.change import Change, ChangeKind, History, Version
from monitor.domain.observed import Account, GrantKind, Group, Kind, Role, Seats, Subject
from monitor.domain.reading import Outcome, Scope, ScopeEnded
from monitor.store.staging import HISTORY, SEEN, Staging, json_text
from monitor.store.tables import micros, moment

_LISTS = {"tags", "past_levels", "past_roles", "past_emails", "earlier_ids"}
_MOMENTS = {"created", *HISTORY[:6]}
_FLAGS = {"is_admin", "is_instructor", "is_reporter", "is_affiliate"}
_READ = ("account_id", *SEEN, "privileged", *HISTORY)
_loads = msgspec.json.decode


class Drift(Protocol):
    """The decisions, handed in by the line so that this edge imports none."""

    def advance(self, before: Version | None, seen: Account, privileged: bool | None, at: datetime) -> Version: ...
    def account_changes(self, before: Version | None, after: Version, kind: Kind) -> Iterator[Change]: ...
    def thing_changes(self, kind: Kind, before: Any, after: Any) -> Iterator[Change]: ...
    def advance_role(self, before: Any, seen: Role, at: datetime) -> tuple[datetime, tuple[str, ...], datetime]: ...


class RoleVersion(NamedTuple):
    role: Role
    first_seen: datetime
    changed: datetime
    past_access_levels: tuple[str, ...]
    description_changed: datetime


class GroupVersion(NamedTuple):
    group: Group
    first_seen: datetime


class SeatsVersion(NamedTuple):
    seats: Seats
    first_seen: datetime


@dataclass
class Settled:
    """What recording will write besides what lies in the staging file."""

    roles: list[RoleVersion] = field(default_factory=list)
    ended_roles: list[str] = field(default_factory=list)
    groups: list[GroupVersion] = field(default_factory=list)
    ended_groups: list[str] = field(default_factory=list)
    seats: list[SeatsVersion] = field(default_factory=list)
    ended_seats: list[str] = field(default_factory=list)
    scopes: list[tuple[ScopeEnded, str | None]] = field(default_factory=list)
    ended_scopes: list[str] = field(default_factory=list)
    removed: set[tuple[str, str]] = field(default_factory=set)  # (kind, id) of what vanished from a whole scope


def settle(staging: Staging, drift: Drift) -> Settled:
    """Fills the staging's changes, and says what else is to be written."""
    settled = Settled()
    staging.drop_overtaken()
    if staging.lane.narrow:
        staging.settle_shown()
    _accounts(staging, drift, settled)
    _roles(staging, drift, settled)
    _groups(staging, drift, settled)
    _seats(staging, drift, settled)
    _grants(staging, settled)
    _scopes(staging, settled)
    return settled


def whole(staging: Staging, scope: str) -> bool:
    ended = staging.scopes.get(scope)
    return ended is not None and ended.outcome is Outcome.COMPLETE


def _write_changes(staging: Staging, changes: Iterable[Change]) -> None:
    if staging.quiet:
        return
    rows = [
        (c.kind.value, str(c.subject.kind), c.subject.id, c.subject.email, c.subject.name, c.field,
         None if c.before is None else json_text(c.before), None if c.after is None else json_text(c.after))
        for c in changes
    ]  # fmt: skip
    staging.db.executemany("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


# accounts


def _accounts(staging: Staging, drift: Drift, settled: Settled) -> None:
    db, source = staging.db, staging.source_id
    db.execute("BEGIN")
    if not staging.is_first:
        db.execute(
            """UPDATE accounts SET state = 'same' WHERE EXISTS (
                 SELECT 1 FROM main_db.accounts a WHERE a.source_id = ? AND a.account_id = accounts.account_id
                 AND a.valid_to IS NULL AND a.access_digest = accounts.access_digest)""",
            (source,),
        )
    _gone(staging, settled)
    moved_away = _changed(staging, drift)
    _new(staging, drift, moved_away)
    db.execute("COMMIT")


def _gone(staging: Staging, settled: Settled) -> None:
    # An account that a page did show after all is not gone.
    staging.db.execute("DELETE FROM gone WHERE account_id IN (SELECT account_id FROM accounts)")
    rows = staging.db.execute(
        """SELECT a.pk, a.account_id, a.email, coalesce(a.name, a.username), a.status, a.level, a.privileged
           FROM gone g JOIN main_db.accounts a ON a.account_id = g.account_id
           WHERE a.source_id = ? AND a.valid_to IS NULL""",
        (staging.source_id,),
    ).fetchall()
    staging.db.execute("DELETE FROM gone")
    staging.db.executemany("INSERT INTO gone VALUES (?, ?)", [(r[1], r[0]) for r in rows])
    settled.removed |= {(staging.kind.value, r[1]) for r in rows}
    _write_changes(
        staging,
        (
            Change(ChangeKind.REMOVED, Subject(staging.kind, r[1], r[2], r[3]), None,
                   {"status": r[4], "level": r[5], "privileged": None if r[6] is None else bool(r[6])}, None)
            for r in rows
        ),
    )  # fmt: skip


def _changed(staging: Staging, drift: Drift) -> dict[str, list[str]]:
    """Carries versions on. Returns which accounts gave up which e-mail address in this poll."""
    columns = ", ".join([f"s.{c}" for c in _READ] + [f"a.{c}" for c in _READ])
    rows = staging.db.execute(
        f"""SELECT a.pk, {columns} FROM accounts s JOIN main_db.accounts a
            ON a.source_id = ? AND a.account_id = s.account_id AND a.valid_to IS NULL
            WHERE s.state IS NULL""",  # noqa: S608  # only our own column names
        (staging.source_id,),
    ).fetchall()
    moved_away: dict[str, list[str]] = {}
    updates, changes = [], list[Change]()
    for pk, *values in rows:
        seen, before = _version(values[: len(_READ)]), _version(values[len(_READ) :])
        after = drift.advance(before, seen.account, seen.privileged, staging.at)
        changes += drift.account_changes(before, after, staging.kind)
        updates.append((*_history_row(after.history), pk, after.account.id))
        if before.account.email and before.account.email != after.account.email:
            moved_away.setdefault(before.account.email.strip().casefold(), []).append(before.account.id)
    _write_changes(staging, changes)
    staging.db.executemany(
        f"UPDATE accounts SET state = 'changed', {', '.join(f'{h} = ?' for h in HISTORY)}, ends = ?"  # noqa: S608
        " WHERE account_id = ?",
        updates,
    )
    return moved_away


def _new(staging: Staging, drift: Drift, moved_away: dict[str, list[str]]) -> None:
    db = staging.db
    if staging.quiet:
        db.execute("UPDATE accounts SET state = 'new' WHERE state IS NULL")
        return
    rows = db.execute(f"SELECT {', '.join(_READ)}, email_key FROM accounts WHERE state IS NULL").fetchall()  # noqa: S608
    updates, changes = [], list[Change]()
    for *values, email_key in rows:
        version = _version(values)
        earlier = sorted(_earlier_holders(staging, version.account.id, email_key, moved_away))
        version = version._replace(history=version.history._replace(earlier_ids=tuple(earlier)))
        changes += drift.account_changes(None, version, staging.kind)
        updates.append((json_text(earlier), version.account.id))
    _write_changes(staging, changes)
    db.executemany("UPDATE accounts SET state = 'new', earlier_ids = ? WHERE account_id = ?", updates)


def _earlier_holders(
    staging: Staging, account_id: str, email_key: str | None, moved_away: dict[str, list[str]]
) -> set[str]:
    """Other accounts that had this e-mail and have it no more."""
    if not email_key:
        return set()
    rows = staging.db.execute(
        """SELECT e.account_id FROM main_db.accounts e
           WHERE e.source_id = :source AND e.email_key = :email AND e.valid_to IS NOT NULL AND NOT EXISTS (
             SELECT 1 FROM main_db.accounts c WHERE c.source_id = :source AND c.account_id = e.account_id
             AND c.valid_to IS NULL AND c.email_key = :email)
           UNION
           SELECT a.account_id FROM gone g JOIN main_db.accounts a ON a.pk = g.ends WHERE a.email_key = :email""",
        {"source": staging.source_id, "email": email_key},
    )
    return ({r[0] for r in rows} | set(moved_away.get(email_key, ()))) - {account_id}


def _version(values: list[Any]) -> Version:
    """A row in the order of _READ as a version."""
    got = {name: _value(name, value) for name, value in zip(_READ, values, strict=True)}
    account = Account(got["account_id"], **{n: got[n] for n in SEEN})
    privileged = None if got["privileged"] is None else bool(got["privileged"])
    return Version(account, privileged, History(**{n: got[n] for n in HISTORY}))


def _value(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in _MOMENTS:
        return moment(value)
    if name in _LISTS:
        return tuple(_loads(value))
    if name in _FLAGS:
        return bool(value)
    return tuple(sorted(_loads(value).items())) if name == "fields" else value


def _history_row(history: History) -> tuple[Any, ...]:
    return (*(micros(t) for t in history[:6]), *(json_text(p) for p in history[6:]))


# roles, groups and seat offerings: small, so they are compared in memory


def recorded_roles(staging: Staging) -> dict[str, RoleVersion]:
    rows = staging.db.execute(
        """SELECT role_id, title, description, access_level, custom, first_seen, changed, past_access_levels,
             description_changed
           FROM main_db.roles WHERE source_id = ? AND valid_to IS NULL""",
        (staging.source_id,),
    )
    return {
        r[0]: RoleVersion(
            Role(r[0], r[1], r[2], r[3], None if r[4] is None else bool(r[4])),
            moment(r[5]) or staging.at,
            moment(r[6]) or staging.at,
            tuple(_loads(r[7])),
            moment(r[8]) or staging.at,
        )
        for r in rows
    }


def recorded_groups(staging: Staging) -> dict[str, GroupVersion]:
    rows = staging.db.execute(
        """SELECT group_id, title, description, max_members, courses, tags, enrolls, created, first_seen
           FROM main_db.groups WHERE source_id = ? AND valid_to IS NULL""",
        (staging.source_id,),
    )
    return {r[0]: GroupVersion(_group(r), moment(r[8]) or staging.at) for r in rows}


def _group(r: Any) -> Group:
    courses, tags = (None if x is None else tuple(_loads(x)) for x in r[4:6])
    enrolls = None if r[6] is None else bool(r[6])
    return Group(r[0], r[1], r[2], r[3], courses, tags, enrolls, moment(r[7]))


def _roles(staging: Staging, drift: Drift, settled: Settled) -> None:
    recorded = recorded_roles(staging)
    for role in staging.roles.values():
        old = recorded.get(role.id)
        if old is None or old.role != role:
            before = (old.role, old.changed, old.past_access_levels, old.description_changed) if old else None
            advanced = drift.advance_role(before, role, staging.at)
            settled.roles.append(RoleVersion(role, old.first_seen if old else staging.at, *advanced))
            _write_changes(staging, drift.thing_changes(Kind.ROLE, old.role if old else None, role))
    if whole(staging, Scope.ROLES):
        for vanished in recorded.keys() - staging.roles.keys():
            settled.ended_roles.append(vanished)
            settled.removed.add((Kind.ROLE.value, vanished))
            _write_changes(staging, drift.thing_changes(Kind.ROLE, recorded[vanished].role, None))


def _groups(staging: Staging, drift: Drift, settled: Settled) -> None:
    recorded = recorded_groups(staging)
    for group in staging.groups.values():
        old = recorded.get(group.id)
        if old is None or old.group != group:
            settled.groups.append(GroupVersion(group, old.first_seen if old else staging.at))
            _write_changes(staging, drift.thing_changes(Kind.GROUP, old.group if old else None, group))
    if whole(staging, Scope.GROUPS):
        for vanished in recorded.keys() - staging.groups.keys():
            settled.ended_groups.append(vanished)
            settled.removed.add((Kind.GROUP.value, vanished))
            _write_changes(staging, drift.thing_changes(Kind.GROUP, recorded[vanished].group, None))


def recorded_seats(staging: Staging) -> dict[str, SeatsVersion]:
    rows = staging.db.execute(
        """SELECT seat_id, title, description, purchased, available, max_members, courses, tags, created, first_seen
           FROM main_db.seats WHERE source_id = ? AND valid_to IS NULL""",
        (staging.source_id,),
    )
    found = {}
    for r in rows:
        courses, tags = (None if x is None else tuple(_loads(x)) for x in r[6:8])
        found[r[0]] = SeatsVersion(
            Seats(r[0], r[1], r[2], r[3], r[4], r[5], courses, tags, moment(r[8])), moment(r[9]) or staging.at
        )
    return found


def _seats(staging: Staging, drift: Drift, settled: Settled) -> None:
    recorded = recorded_seats(staging)
    for seats in staging.seats.values():
        old = recorded.get(seats.id)
        if old is None or old.seats != seats:
            settled.seats.append(SeatsVersion(seats, old.first_seen if old else staging.at))
            _write_changes(staging, drift.thing_changes(Kind.SEAT, old.seats if old else None, seats))
    if whole(staging, Scope.SEATS):
        for vanished in recorded.keys() - staging.seats.keys():
            settled.ended_seats.append(vanished)
            settled.removed.add((Kind.SEAT.value, vanished))
            _write_changes(staging, drift.thing_changes(Kind.SEAT, recorded[vanished].seats, None))


# grants


def _grants(staging: Staging, settled: Settled) -> None:
    _role_grants(staging)
    if whole(staging, Scope.GROUPS):
        _compare(staging, GrantKind.MANAGER, None, {(g.account_id, g.entitlement_id) for g in staging.managers})
    for group_id, ids in staging._pending_members.items():
        _compare(staging, GrantKind.MEMBER, group_id, {(i, group_id) for i in ids})
    if whole(staging, Scope.SEATS):
        for kind in (GrantKind.SEAT, GrantKind.SEAT_MANAGER):
            held = {(g.account_id, g.entitlement_id) for g in staging.seat_grants if g.kind == kind}
            _compare(staging, kind, None, held)
    if whole(staging, Scope.DETAILS):
        _compare(staging, GrantKind.ASSIGNED, None, {(g.account_id, g.entitlement_id) for g in staging.assigned})
    _end_grants_of_gone(staging, settled)


def _role_grants(staging: Staging) -> None:
    db, source = staging.db, staging.source_id
    db.execute("BEGIN")
    if not staging.is_first:
        db.execute(
            """INSERT OR IGNORE INTO ended_grants SELECT g.pk, g.account_id FROM accounts s JOIN main_db.grants g
                 ON g.source_id = ? AND g.account_id = s.account_id AND g.kind = 'role' AND g.valid_to IS NULL
               WHERE s.state = 'changed' AND g.entitlement_id IS NOT s.role_id""",
            (source,),
        )
    db.execute(
        """INSERT INTO new_grants SELECT s.account_id, 'role', s.role_id FROM accounts s
           WHERE s.role_id IS NOT NULL AND (s.state = 'new' OR (s.state = 'changed' AND NOT EXISTS (
             SELECT 1 FROM main_db.grants g WHERE g.source_id = ? AND g.account_id = s.account_id
             AND g.kind = 'role' AND g.valid_to IS NULL AND g.entitlement_id = s.role_id)))""",
        (source,),
    )
    db.execute("COMMIT")


def _compare(staging: Staging, kind: GrantKind, entitlement: str | None, seen: set[tuple[str, str]]) -> None:
    """All grants of a kind (of one entitlement, if given) against what is recorded."""
    where, args = ("", ()) if entitlement is None else (" AND entitlement_id = ?", (entitlement,))
    rows = staging.db.execute(
        f"""SELECT account_id, entitlement_id, pk FROM main_db.grants
            WHERE source_id = ? AND kind = ? AND valid_to IS NULL{where}""",  # noqa: S608
        (staging.source_id, kind.value, *args),
    )
    recorded = {(r[0], r[1]): r[2] for r in rows}
    joined, left = sorted(seen - recorded.keys()), sorted(recorded.keys() - seen)
    staging.stage_grants((account, kind.value, target) for account, target in joined)
    staging.db.executemany("INSERT OR IGNORE INTO ended_grants VALUES (?, ?)", [(recorded[k], k[0]) for k in left])
    if not staging.quiet:
        _write_changes(staging, _grant_changes(staging, kind, joined, left))


def _grant_changes(
    staging: Staging, kind: GrantKind, joined: list[tuple[str, str]], left: list[tuple[str, str]]
) -> Iterator[Change]:
    """A membership is told as the account's, a managership as the group's or offering's: one change a value."""
    for pairs, is_new in ((joined, True), (left, False)):
        for account_id, target in pairs:
            account = _subject(staging, account_id)
            title = _seats_title(staging, target) if kind in _OF_SEATS else _title(staging, target)
            if kind in _MANAGED:
                subject, said = Subject(_MANAGED[kind], target, None, title), account.email or account_id
            else:
                subject, said = account, target if kind is GrantKind.ASSIGNED else (title or target)
            fieldname = _FIELD.get(kind, "managers")
            yield Change(ChangeKind.CHANGED, subject, fieldname, None if is_new else said, said if is_new else None)


_MANAGED = {GrantKind.MANAGER: Kind.GROUP, GrantKind.SEAT_MANAGER: Kind.SEAT}
_OF_SEATS = (GrantKind.SEAT, GrantKind.SEAT_MANAGER)
_FIELD = {GrantKind.MEMBER: "groups", GrantKind.SEAT: "seats", GrantKind.ASSIGNED: "assigned"}


def _seats_title(staging: Staging, seat_id: str) -> str | None:
    if seat_id in staging.seats:
        return staging.seats[seat_id].title
    found = recorded_seats(staging).get(seat_id)
    return found.seats.title if found else None


def _subject(staging: Staging, account_id: str) -> Subject:
    row = staging.db.execute(
        """SELECT email, coalesce(name, username), 0 AS place FROM accounts WHERE account_id = :id
           UNION ALL SELECT email, coalesce(name, username), 1 FROM main_db.accounts
           WHERE source_id = :source AND account_id = :id AND valid_to IS NULL ORDER BY place LIMIT 1""",
        {"id": account_id, "source": staging.source_id},
    ).fetchone()
    return Subject(staging.kind, account_id, *(row[:2] if row else (None, None)))


def _title(staging: Staging, group_id: str) -> str | None:
    if group_id in staging.groups:
        return staging.groups[group_id].title
    row = staging.db.execute(
        "SELECT title FROM main_db.groups WHERE source_id = ? AND group_id = ? ORDER BY pk DESC LIMIT 1",
        (staging.source_id, group_id),
    ).fetchone()
    return row[0] if row else None


def _end_grants_of_gone(staging: Staging, settled: Settled) -> None:
    staging.db.execute(
        """INSERT OR IGNORE INTO ended_grants SELECT g.pk, g.account_id FROM gone x JOIN main_db.grants g
           ON g.source_id = ? AND g.account_id = x.account_id AND g.valid_to IS NULL""",
        (staging.source_id,),
    )
    for group_id in settled.ended_groups:
        staging.db.execute(
            """INSERT OR IGNORE INTO ended_grants SELECT pk, account_id FROM main_db.grants WHERE source_id = ?
               AND kind IN ('member', 'manager') AND entitlement_id = ? AND valid_to IS NULL""",
            (staging.source_id, group_id),
        )

    for seat_id in settled.ended_seats:
        staging.db.execute(
            """INSERT OR IGNORE INTO ended_grants SELECT pk, account_id FROM main_db.grants WHERE source_id = ?
               AND kind IN ('seat', 'seat_manager') AND entitlement_id = ? AND valid_to IS NULL""",
            (staging.source_id, seat_id),
        )


# scopes


def _scopes(staging: Staging, settled: Settled) -> None:
    """A scope row is written only when its outcome, reason or digest differs from the row in force."""
    rows = staging.db.execute(
        "SELECT name, outcome, reason, cause, digest FROM main_db.scopes WHERE source_id = ? AND valid_to IS NULL",
        (staging.source_id,),
    )
    recorded = {r[0]: tuple(r[1:]) for r in rows}
    for ended in staging.scopes.values():
        group_id = ended.name.removeprefix(Scope.MEMBERS)
        digest = staging.members.get(group_id) if ended.name.startswith(Scope.MEMBERS) else None
        if recorded.get(ended.name) != (ended.outcome.value, ended.reason, ended.cause, digest):
            settled.scopes.append((ended, digest))
    if Scope.MEMBERS in recorded and Scope.MEMBERS not in staging.scopes and whole(staging, Scope.GROUPS):
        settled.ended_scopes.append(Scope.MEMBERS)  # they can be read again, each for itself
