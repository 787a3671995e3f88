"""How much a settled poll would take away or change, of how much there is: what the limits of a source are about."""

from __future__ import annotations

from collections.abc import Collection

from monitor.domain.limits import Moved
from monitor.store.settled import Settled
from monitor.store.staging import Staging

_ACCOUNTS = """
    WITH moved AS (
      SELECT a.account_id, a.status AS was, a.privileged AS held, 0 AS gone, s.status, s.privileged
      FROM accounts s JOIN main_db.accounts a ON a.pk = s.ends WHERE s.state = 'changed'
      UNION ALL
      SELECT a.account_id, a.status, a.privileged, 1, NULL, 0 FROM gone g JOIN main_db.accounts a ON a.pk = g.ends)
    SELECT coalesce(sum(gone), 0),
           coalesce(sum(status IN ('suspended', 'deactivated')
                        AND coalesce(was, '') NOT IN ('suspended', 'deactivated')), 0),
           coalesce(sum(held AND NOT coalesce(privileged, 0)), 0), count(*)
    FROM moved WHERE account_id NOT IN (SELECT account_id FROM corroborated)"""
_SIZES = """
    SELECT count(*), coalesce(sum(coalesce(status, '') NOT IN ('suspended', 'deactivated')), 0),
           coalesce(sum(coalesce(privileged, 0)), 0)
    FROM main_db.accounts WHERE source_id = ? AND valid_to IS NULL"""
_MEMBERSHIPS = """
    SELECT count(*) FROM ended_grants e JOIN main_db.grants g ON g.pk = e.pk
    WHERE g.kind = 'member' AND e.account_id NOT IN (SELECT account_id FROM gone)
      AND e.account_id NOT IN (SELECT account_id FROM corroborated)
      AND g.entitlement_id NOT IN (SELECT id FROM ended_groups)"""


def measured(staging: Staging, settled: Settled, corroborated: Collection[str] = ()) -> dict[str, Moved]:
    """By the name of a limit. Accounts in `corroborated` do not count: an authority says that they have ended.

    Memberships that end with their group or their account are counted as these. When all records are read anew,
    because settings changed what is made of them, only departures and suspensions are the source's own doing.
    """
    db = staging.db
    for table, ids in (("corroborated", corroborated), ("ended_groups", settled.ended_groups)):
        column = "account_id" if table == "corroborated" else "id"
        db.execute(f"CREATE TEMP TABLE IF NOT EXISTS {table} ({column} TEXT PRIMARY KEY)")
        db.execute(f"DELETE FROM {table}")  # noqa: S608  # one of two names
        db.executemany(f"INSERT OR IGNORE INTO {table} VALUES (?)", ((i,) for i in ids))  # noqa: S608
    removed, suspended, unprivileged, changed = db.execute(_ACCOUNTS).fetchone()
    found = {"removed": removed, "suspended": suspended}
    if not staging.forget:
        found |= {"unprivileged": unprivileged, "changed": changed}
    found |= {"roles_removed": len(settled.ended_roles), "groups_removed": len(settled.ended_groups)}
    found["members_removed"] = db.execute(_MEMBERSHIPS).fetchone()[0]
    sizes = _sizes(staging) if any(found.values()) else {}  # most polls move nothing: then counting would be a waste
    return {name: Moved(count, sizes.get(name, 0)) for name, count in found.items()}


def _sizes(staging: Staging) -> dict[str, int]:
    accounts, active, privileged = staging.db.execute(_SIZES, (staging.source_id,)).fetchone()
    roles, groups, members = (
        staging.db.execute(sql, (staging.source_id,)).fetchone()[0]
        for sql in (
            "SELECT count(*) FROM main_db.roles WHERE source_id = ? AND valid_to IS NULL",
            "SELECT count(*) FROM main_db.groups WHERE source_id = ? AND valid_to IS NULL",
            "SELECT count(*) FROM main_db.grants WHERE source_id = ? AND kind = 'member' AND valid_to IS NULL",
        )
    )
    return {
        "removed": accounts, "suspended": active, "unprivileged": privileged, "changed": accounts,
        "roles_removed": roles, "groups_removed": groups, "members_removed": members,
    }  # fmt: skip
