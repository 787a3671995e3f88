"""What a poll changes of grants: roles, memberships, managerships, seats and what was assigned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from monitor.domain.change import Change, ChangeKind
from monitor.domain.observed import GrantKind, Group, Kind, Seats, Subject
from monitor.domain.reading import Scope
from monitor.store.settled import Settled, whole, write_changes
from monitor.store.staging import Staging

_OF_GROUPS = (GrantKind.MEMBER, GrantKind.MANAGER)
_OF_SEATS = (GrantKind.SEAT, GrantKind.SEAT_MANAGER)
_MANAGED = {GrantKind.MANAGER: Kind.GROUP, GrantKind.SEAT_MANAGER: Kind.SEAT}
_FIELD = {GrantKind.MEMBER: "groups", GrantKind.SEAT: "seats", GrantKind.ASSIGNED: "assigned"}


def settle_grants(staging: Staging, settled: Settled) -> None:
    _role_grants(staging)
    if whole(staging, Scope.GROUPS):
        _compare(staging, GrantKind.MANAGER, None, {(g.account_id, g.entitlement_id) for g in staging.managers})
    for group_id, ids in staging._pending_members.items():
        _compare(staging, GrantKind.MEMBER, group_id, {(i, group_id) for i in ids})
    if whole(staging, Scope.SEATS):
        for kind in _OF_SEATS:
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
        write_changes(staging, _grant_changes(staging, kind, joined, left))


def _grant_changes(
    staging: Staging, kind: GrantKind, joined: list[tuple[str, str]], left: list[tuple[str, str]]
) -> Iterator[Change]:
    """A membership is told as the account's, a managership as the group's or offering's: one change a value."""
    for pairs, is_new in ((joined, True), (left, False)):
        for account_id, target in pairs:
            account = _subject(staging, account_id)
            title = _title(staging, kind, target)
            if kind in _MANAGED:
                subject, said = Subject(_MANAGED[kind], target, None, title), account.email or account_id
            else:
                subject, said = account, target if kind is GrantKind.ASSIGNED else (title or target)
            fieldname = _FIELD.get(kind, "managers")
            yield Change(ChangeKind.CHANGED, subject, fieldname, None if is_new else said, said if is_new else None)


def _subject(staging: Staging, account_id: str) -> Subject:
    row = staging.db.execute(
        """SELECT email, coalesce(name, username), 0 AS place FROM accounts WHERE account_id = :id
           UNION ALL SELECT email, coalesce(name, username), 1 FROM main_db.accounts
           WHERE source_id = :source AND account_id = :id AND valid_to IS NULL ORDER BY place LIMIT 1""",
        {"id": account_id, "source": staging.source_id},
    ).fetchone()
    return Subject(staging.kind, account_id, *(row[:2] if row else (None, None)))


def _title(staging: Staging, kind: GrantKind, target: str) -> str | None:
    seen: Mapping[str, Group | Seats] = staging.seats if kind in _OF_SEATS else staging.groups
    if target in seen:
        return seen[target].title
    table, key = ("seats", "seat_id") if kind in _OF_SEATS else ("groups", "group_id")
    row = staging.db.execute(
        f"SELECT title FROM main_db.{table} WHERE source_id = ? AND {key} = ? ORDER BY pk DESC LIMIT 1",  # noqa: S608
        (staging.source_id, target),
    ).fetchone()
    return row[0] if row else None


def _end_grants_of_gone(staging: Staging, settled: Settled) -> None:
    staging.db.execute(
        """INSERT OR IGNORE INTO ended_grants SELECT g.pk, g.account_id FROM gone x JOIN main_db.grants g
           ON g.source_id = ? AND g.account_id = x.account_id AND g.valid_to IS NULL""",
        (staging.source_id,),
    )
    ended = [(g, *_OF_GROUPS) for g in settled.ended_groups] + [(s, *_OF_SEATS) for s in settled.ended_seats]
    staging.db.executemany(
        """INSERT OR IGNORE INTO ended_grants SELECT pk, account_id FROM main_db.grants
           WHERE source_id = ? AND entitlement_id = ? AND kind IN (?, ?) AND valid_to IS NULL""",
        [(staging.source_id, *what) for what in ended],
    )
