"""What a poll changes: compares a staging with what is recorded. What differs, and how, is decided in decide/drift;
this module only finds the rows and hands them over.
"""

from __future__ import annotations

from typing import Any

import msgspec

from monitor.domain.change import Change, ChangeKind, History, Version
from monitor.domain.observed import Account, Subject
from monitor.domain.reading import Scope
from monitor.store.settle_grants import settle_grants
from monitor.store.settle_things import settle_groups, settle_roles, settle_seats
from monitor.store.settled import Drift, Settled, whole, write_changes
from monitor.store.staging import HISTORY, SEEN, Staging
from monitor.store.tables import json_text, micros, moment

_LISTS = {"tags", "past_levels", "past_roles", "past_emails", "earlier_ids"}
_MOMENTS = {"created", *HISTORY[:6]}
_FLAGS = {"is_admin", "is_instructor", "is_reporter", "is_affiliate"}
_READ = ("account_id", *SEEN, "privileged", *HISTORY)
_loads = msgspec.json.decode


def settle(staging: Staging, drift: Drift) -> Settled:
    """Fills the staging's changes, and says what else is to be written."""
    settled = Settled()
    staging.drop_overtaken()
    if staging.lane.narrow:
        staging.settle_shown()
    _accounts(staging, drift, settled)
    settle_roles(staging, drift, settled)
    settle_groups(staging, drift, settled)
    settle_seats(staging, drift, settled)
    settle_grants(staging, settled)
    _scopes(staging, settled)
    return settled


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
    write_changes(
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
    write_changes(staging, changes)
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
    write_changes(staging, changes)
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
