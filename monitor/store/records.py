"""What is judged: one flat record an account, role, group or source, as of this poll: recorded state, the staged on
top. With an empty staging, the state as recorded.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from monitor.domain.observed import Activity, GrantKind, Kind, grant_id
from monitor.domain.reading import Scope
from monitor.store.settled import whole
from monitor.store.staging import HISTORY, SEEN, Staging
from monitor.store.tables import micros, moment
from monitor.store.things import (
    GroupVersion,
    RoleVersion,
    SeatsVersion,
    recorded_groups,
    recorded_roles,
    recorded_seats,
)

AT_ONCE = 100  # accounts whose columns are held
_COLUMNS = {"id": "account_id", **{n: n for n in (*SEEN, "privileged", *HISTORY)}}


@lru_cache(maxsize=4096)
def _decoded(text: str | None) -> Any:
    """Most lists are one of a few texts. What is handed out is shared, and nobody writes to it."""
    return None if text is None else msgspec.json.decode(text)


def moments(column: Iterable[int | None]) -> list[datetime | None]:
    """`moment` of each, quickly: a float of seconds holds microseconds for thousands of years."""
    at = datetime.fromtimestamp
    return [None if micros is None else at(micros / 1_000_000, UTC) for micros in column]


_poll = lru_cache(maxsize=4096)(moment)  # what we date ourselves has the time of a poll
_flag = {0: False, 1: True, None: None}.__getitem__
_READ: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(HISTORY[:6], _poll),
    **dict.fromkeys(("tags", "fields", "past_levels", "past_roles", "past_emails", "earlier_ids"), _decoded),
    **dict.fromkeys(("is_admin", "is_instructor", "is_reporter", "is_affiliate"), _flag),
    **dict.fromkeys(("privileged", "never_signed_in"), _flag),
}


def account_records(
    staging: Staging,
    fields: Sequence[str],
    watched_since: datetime | None,
    without: set[str] | None = None,
    groups_as_of: datetime | None = None,
    among: str | None = None,
) -> Iterator[dict[str, Any]]:
    """Every account, in the order of its id, with these fields and email and name; None where absent.
    Of a narrow lane, those that it showed.

    `without`: accounts that a broken read did not show; they are not judged.
    `among`: a table of the staging; only accounts that stand there, as all do of which anything was read.
    """
    among = among or ("shown" if staging.lane.narrow else None)
    wanted = {"id", "email", "name", *fields}
    roles = role_levels(staging) if "role_access_level" in wanted else None
    stored = sorted(f for f in wanted | ({"role_id"} if roles is not None else set())
                    if f in _COLUMNS or f in Activity._fields)  # fmt: skip
    links: dict[str, _Merge | _Latest | _ManagersOf] = {
        k: _links(staging, g, among) for k, g in _LINKS.items() if k in wanted
    }
    if "group_manager_emails" in wanted:
        links["group_manager_emails"] = _ManagersOf(_links(staging, GrantKind.MEMBER, among), managers_now(staging))
    links |= {"last_active": _Latest(staging)} if "last_active" in wanted else {}
    links |= {"past_groups": _Merge(staging.past_members())} if "past_groups" in wanted else {}
    given = {"watched_since": watched_since, "groups_as_of": groups_as_of}
    found = staging.db.execute(_sql(stored, among), {"source": staging.source_id})
    while rows := found.fetchmany(AT_ONCE):  # column by column, since every account is met at every poll
        columns: dict[str, Iterable[Any]] = dict(zip(stored, zip(*rows, strict=True), strict=True))
        ids: Sequence[str] = [*columns["id"]]
        columns |= {f: map(read, columns[f]) for f, read in _READ.items() if f in columns}
        columns |= {f: moments(columns[f]) for f in ("created", "last_login") if f in columns}
        columns |= {f: link.of(ids) for f, link in links.items()}
        columns |= {f: [value] * len(ids) for f, value in given.items() if f in wanted}
        if roles is not None:
            held = [*columns["role_id"]]
            columns |= {"role_id": held, "role_access_level": map(roles.get, held)}
        for values in zip(*columns.values(), strict=True):
            record = dict(zip(columns, values, strict=True))
            if not without or record["id"] not in without:
                yield record


def recorded_accounts(staging: Staging) -> Iterator[dict[str, Any]]:
    """Every account as it was before this poll, with what persons are matched by."""
    names = ("id", "email", "username", "name", "fields")
    rows = staging.db.execute(
        """SELECT account_id, email, username, name, fields FROM main_db.accounts
           WHERE source_id = ? AND valid_to IS NULL""",
        (staging.source_id,),
    )
    for row in rows:
        record = dict(zip(names, row, strict=True))
        record["fields"] = _decoded(record["fields"]) if record["fields"] else {}
        yield record


def _sql(stored: Sequence[str], among: str | None) -> str:
    activity = [f for f in stored if f in Activity._fields]
    staged = ", ".join(f"s.{_COLUMNS.get(f, f)}" for f in stored)
    recorded = ", ".join(
        f"CASE WHEN s.account_id IS NULL THEN y.{f} ELSE s.{f} END" if f in Activity._fields else f"a.{_COLUMNS[f]}"
        for f in stored
    )
    join = (
        "LEFT JOIN main_db.activity y ON y.source_id = a.source_id AND y.account_id = a.account_id" if activity else ""
    )
    place = list(stored).index("id") + 1
    shown = f"{among} x CROSS JOIN" if among else ""
    who = " AND a.account_id = x.account_id" if among else ""
    return f"""
        SELECT {recorded} FROM {shown} main_db.accounts a INDEXED BY ix_accounts_current
        LEFT JOIN accounts s ON s.account_id = a.account_id {join}
        WHERE a.source_id = :source AND a.valid_to IS NULL AND (s.state IS NULL OR s.state = 'same')
          AND a.account_id NOT IN (SELECT account_id FROM gone){who}
        UNION ALL
        SELECT {staged} FROM accounts s WHERE s.state IN ('new', 'changed')
        ORDER BY {place}"""  # noqa: S608  # only our own column names


_LINKS = {
    "groups": GrantKind.MEMBER, "managed_groups": GrantKind.MANAGER,
    "seats": GrantKind.SEAT, "managed_seats": GrantKind.SEAT_MANAGER,
}  # fmt: skip
_GRANTS = """
    SELECT account_id, entitlement_id FROM main_db.grants INDEXED BY ix_grants_current
    WHERE source_id = ? AND kind = ? AND valid_to IS NULL AND pk NOT IN (SELECT pk FROM ended_grants){who}
    UNION ALL
    SELECT account_id, entitlement_id FROM new_grants WHERE kind = ?
    ORDER BY 1, 2"""


class _Merge:
    """The entitlements of one account after another, both in the order of ids: nothing is held but the present one."""

    def __init__(self, rows: sqlite3.Cursor) -> None:
        self._rows, self._next = rows, rows.fetchone()

    def of(self, ids: Sequence[str]) -> list[list[str]]:
        held, found = self._next, list[list[str]]()
        for account_id in ids:
            mine: list[str] = []
            while held is not None and held[0] <= account_id:
                if held[0] == account_id:
                    mine.append(held[1])
                held = self._rows.fetchone()
            found.append(mine)
        self._next = held
        return found


class _ManagersOf:
    """The addresses of those who manage the groups of one account after another, each once."""

    def __init__(self, groups: _Merge, managers: Mapping[str, Sequence[str]]) -> None:
        self._groups, self._managers = groups, managers

    def of(self, ids: Sequence[str]) -> list[list[str]]:
        return [
            list(dict.fromkeys(m for g in held for m in self._managers.get(g, ()))) for held in self._groups.of(ids)
        ]


class _Latest:
    """When one account after another was last active, both in the order of ids."""

    def __init__(self, staging: Staging) -> None:
        self._rows = staging.db.execute(
            """SELECT account_id, max(at) FROM (
                 SELECT account_id, last_active AS at FROM main_db.activity WHERE source_id = ? AND last_active NOTNULL
                 UNION ALL SELECT account_id, at FROM active) GROUP BY account_id ORDER BY account_id""",
            (staging.source_id,),
        )
        self._next = self._rows.fetchone()

    def of(self, ids: Sequence[str]) -> list[datetime | None]:
        return [self._of(account_id) for account_id in ids]

    def _of(self, account_id: str) -> datetime | None:
        while self._next is not None and self._next[0] < account_id:
            self._next = self._rows.fetchone()
        return moment(self._next[1]) if self._next is not None and self._next[0] == account_id else None


def _links(staging: Staging, kind: GrantKind, among: str | None) -> _Merge:
    who = _among(among)
    return _Merge(staging.db.execute(_GRANTS.format(who=who), (staging.source_id, kind.value, kind.value)))


def _among(table: str | None) -> str:
    return f" AND account_id IN (SELECT account_id FROM {table})" if table else ""  # noqa: S608  # only our own names


_HELD = """
    SELECT account_id, kind, entitlement_id, since FROM main_db.grants INDEXED BY ix_grants_current
    WHERE source_id = :source AND valid_to IS NULL AND pk NOT IN (SELECT pk FROM ended_grants){who}
    UNION ALL
    SELECT account_id, kind, entitlement_id, :now FROM new_grants
    ORDER BY 1, 2, 3"""


def grant_records(
    staging: Staging,
    accounts: Iterable[dict[str, Any]],
    proved: Callable[[str, str], bool],
    among: str | None = None,
    *,
    seats_known: bool = False,
    managers: Mapping[str, list[str]] | None = None,
) -> Iterator[dict[str, Any]]:
    """Every grant with the account that holds it. Those of lists that were not read whole are left out by `proved`."""
    titles = held_titles(staging)
    rows = staging.db.execute(_HELD.format(who=_among(among)), {"source": staging.source_id, "now": micros(staging.at)})
    held = rows.fetchone()
    for account in accounts:  # both in the order of the account's id
        while held is not None and held[0] <= account["id"]:
            account_id, kind, entitlement, since = held
            if account_id == account["id"] and proved(kind, entitlement):
                yield account | {
                    "grant_id": grant_id(account_id, kind, entitlement), "grant_kind": kind, "entitlement": entitlement,
                    "entitlement_title": titles.get(entitlement), "grant_since": moment(since),
                    "seats_known": seats_known,
                    "manager_emails": None if managers is None else managers.get(entitlement, []),
                }  # fmt: skip
            held = rows.fetchone()


def held_titles(staging: Staging) -> dict[str, str | None]:
    """By id, of everything that can be held."""
    titles = {i: v.role.title for i, v in roles_now(staging).items()}
    titles |= {i: v.group.title for i, v in groups_now(staging).items()}
    return titles | {i: v.seats.title for i, v in seats_now(staging).items()}


def ended_grants(staging: Staging) -> Iterator[tuple[str, str]]:
    """(kind, id) of grants that this poll proves to be over, as subjects of findings."""
    for row in staging.db.execute(
        """SELECT g.account_id, g.kind, g.entitlement_id FROM ended_grants e JOIN main_db.grants g ON g.pk = e.pk"""
    ):
        yield Kind.GRANT.value, grant_id(*row)


def roles_now(staging: Staging) -> dict[str, RoleVersion]:
    recorded = recorded_roles(staging)
    seen = {i: recorded[i]._replace(role=r) if i in recorded else RoleVersion(r, staging.at, staging.at, (), staging.at)
            for i, r in staging.roles.items()}  # fmt: skip
    return seen if whole(staging, Scope.ROLES) else recorded | seen


def groups_now(staging: Staging) -> dict[str, GroupVersion]:
    recorded = recorded_groups(staging)
    seen = {
        i: GroupVersion(g, recorded[i].first_seen if i in recorded else staging.at) for i, g in staging.groups.items()
    }
    return seen if whole(staging, Scope.GROUPS) else recorded | seen


def seats_now(staging: Staging) -> dict[str, SeatsVersion]:
    recorded = recorded_seats(staging)
    seen = {
        i: SeatsVersion(s, recorded[i].first_seen if i in recorded else staging.at) for i, s in staging.seats.items()
    }
    return seen if whole(staging, Scope.SEATS) else recorded | seen


def role_levels(staging: Staging) -> dict[str, str | None]:
    return {i: v.role.access_level for i, v in roles_now(staging).items()}


def role_records(staging: Staging, settled_roles: Sequence[RoleVersion] = ()) -> Iterator[dict[str, Any]]:
    holders = _counts(staging, GrantKind.ROLE)
    carried = {v.role.id: v for v in settled_roles}
    for role_id, version in sorted(roles_now(staging).items()):
        role, first_seen, changed, past, described = carried.get(role_id, version)
        yield {
            **role._asdict(), "holders": holders.get(role_id, 0), "first_seen": first_seen, "changed": changed,
            "past_access_levels": list(past), "description_changed": described,
        }  # fmt: skip


_MANAGERS = """
    SELECT g.entitlement_id, CASE WHEN s.account_id IS NULL THEN a.email ELSE s.email END AS address
    FROM (SELECT account_id, entitlement_id, since FROM main_db.grants INDEXED BY ix_grants_current
          WHERE source_id = :source AND kind = 'manager' AND valid_to IS NULL
            AND pk NOT IN (SELECT pk FROM ended_grants)
          UNION ALL SELECT account_id, entitlement_id, :now FROM new_grants WHERE kind = 'manager') g
    LEFT JOIN main_db.accounts a
      ON a.source_id = :source AND a.account_id = g.account_id AND a.valid_to IS NULL
    LEFT JOIN accounts s ON s.account_id = g.account_id AND s.state IN ('new', 'changed')
    WHERE address IS NOT NULL
      AND coalesce(CASE WHEN s.account_id IS NULL THEN a.status ELSE s.status END, '')
          NOT IN ('suspended', 'deactivated')
    ORDER BY g.entitlement_id, g.since, address"""


def managers_now(staging: Staging) -> dict[str, list[str]]:
    """By group, the addresses of those who manage it and can sign in; who has managed it longest comes first."""
    found: dict[str, list[str]] = {}
    for group_id, address in staging.db.execute(_MANAGERS, {"source": staging.source_id, "now": micros(staging.at)}):
        found.setdefault(group_id, []).append(address)
    return found


def group_records(
    staging: Staging,
    idle: Mapping[str, datetime | None] | None = None,
    addresses: Mapping[str, list[str]] | None = None,
) -> Iterator[dict[str, Any]]:
    """`idle`: since when most of a group have been idle, if that was asked for and can be known; `addresses`: of those
    who manage each, if that was asked for.
    """
    idle = idle or {}
    members, managers = _counts(staging, GrantKind.MEMBER), _counts(staging, GrantKind.MANAGER)
    for group_id, (group, first_seen) in sorted(groups_now(staging).items()):
        record = {**group._asdict(), "members": members.get(group_id, 0), "managers": managers.get(group_id, 0)}
        record |= {k: list(v) for k, v in record.items() if isinstance(v, tuple)}
        emails = None if addresses is None else addresses.get(group_id, [])
        yield record | {
            "first_seen": first_seen, "mostly_idle_since": idle.get(group_id), "manager_emails": emails,
        }  # fmt: skip


def seat_records(staging: Staging) -> Iterator[dict[str, Any]]:
    members, managers = _counts(staging, GrantKind.SEAT), _counts(staging, GrantKind.SEAT_MANAGER)
    for seat_id, (seats, first_seen) in sorted(seats_now(staging).items()):
        record = {**seats._asdict(), "members": members.get(seat_id, 0), "managers": managers.get(seat_id, 0)}
        record |= {k: list(v) for k, v in record.items() if isinstance(v, tuple)}
        yield record | {"first_seen": first_seen}


def _counts(staging: Staging, kind: GrantKind) -> dict[str, int]:
    rows = staging.db.execute(
        """SELECT entitlement_id, count(*) FROM (
             SELECT entitlement_id FROM main_db.grants
             WHERE source_id = ? AND kind = ? AND valid_to IS NULL AND pk NOT IN (SELECT pk FROM ended_grants)
             UNION ALL SELECT entitlement_id FROM new_grants WHERE kind = ?) GROUP BY 1""",
        (staging.source_id, kind.value, kind.value),
    )
    return dict(rows.fetchall())


def source_record(staging: Staging, name: str, watched_since: datetime | None) -> dict[str, Any]:
    row = staging.db.execute(
        """WITH now AS (
             SELECT a.status, a.level, a.is_admin, a.privileged FROM main_db.accounts a
             LEFT JOIN accounts s ON s.account_id = a.account_id
             WHERE a.source_id = :source AND a.valid_to IS NULL AND (s.state IS NULL OR s.state = 'same')
               AND a.account_id NOT IN (SELECT account_id FROM gone)
             UNION ALL SELECT status, level, is_admin, privileged FROM accounts WHERE state IN ('new', 'changed'))
           SELECT count(*), coalesce(sum(suspended), 0), coalesce(sum(admin AND NOT suspended), 0),
                  coalesce(sum(privileged AND NOT suspended), 0)
           FROM (SELECT coalesce(status = 'suspended', 0) AS suspended,
                        (coalesce(is_admin, 0) OR coalesce(level = 'admin', 0)) AS admin,
                        coalesce(privileged, 0) AS privileged FROM now)""",
        {"source": staging.source_id},
    ).fetchone()
    accounts, suspended, admins, privileged = row
    return {
        "id": name, "name": name, "accounts": accounts, "admins": admins, "privileged": privileged,
        "suspended": suspended, "watched_since": watched_since,
    }  # fmt: skip


def groups_as_of(staging: Staging) -> datetime | None:
    """When the members of groups were read."""
    if any(name.startswith(Scope.MEMBERS) for name in staging.scopes) and "members" not in staging.later:
        return staging.at
    row = staging.db.execute(
        "SELECT json_extract(scopes_read, '$.members') FROM main_db.sources WHERE id = ?", (staging.source_id,)
    ).fetchone()
    read = moment(row[0]) if row else None
    return None if read is None else min(read, staging.at)  # of an earlier state, only that it was read by then


def watched_since(staging: Staging) -> datetime | None:
    row = staging.db.execute("SELECT watched_since FROM main_db.sources WHERE id = ?", (staging.source_id,)).fetchone()
    return moment(row[0]) if row else None
