"""Since when most of a group have been idle: a pass over members, of groups of which somebody moved."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec

from monitor.store.judged import TOUCHED
from monitor.store.records import account_records
from monitor.store.staging import Staging
from monitor.store.tables import json_text, micros, moment

Idle = Mapping[str, datetime | None]  # by group; None: it cannot be said
_FIELDS = ("groups", "status", "last_login", "last_active", "created", "never_signed_in")
_STIRRED = f"""
    CREATE TABLE stirred AS
    SELECT entitlement_id FROM main_db.grants INDEXED BY ix_grants_current
    WHERE source_id = :source AND kind = 'member' AND valid_to IS NULL
      AND account_id IN (SELECT account_id FROM {TOUCHED})
    UNION SELECT entitlement_id FROM new_grants WHERE kind = 'member'"""  # noqa: S608  # only our own names
_MEMBERS = """
    CREATE TABLE stirred_members AS
    SELECT account_id FROM main_db.grants INDEXED BY ix_grants_holders
    WHERE source_id = :source AND kind = 'member' AND valid_to IS NULL
      AND entitlement_id IN (SELECT entitlement_id FROM stirred)
    UNION SELECT account_id FROM new_grants WHERE kind = 'member'"""


def idle_since(staging: Staging, earlier: Idle | None = None) -> Idle:
    """By group, since when more than half of its members have not signed in. `earlier`: as it was before this poll."""
    if earlier is None:
        return _of_members(staging, None, None)
    for sql in (_STIRRED, _MEMBERS):
        staging.db.execute(sql, {"source": staging.source_id})
    stirred = {r[0] for r in staging.db.execute("SELECT entitlement_id FROM stirred")}
    standing = {group: at for group, at in earlier.items() if group not in stirred}
    return standing | _of_members(staging, "stirred_members", stirred) if stirred else standing


def _of_members(staging: Staging, among: str | None, groups: set[str] | None) -> dict[str, datetime | None]:
    signed_in: dict[str, list[datetime | None]] = {}
    for account in account_records(staging, _FIELDS, None, among=among):
        if account["status"] != "suspended":  # who cannot sign in says nothing about the others
            moments = [m for m in (account["last_login"], account["last_active"]) if m is not None]
            at = max(moments) if moments else account["created"] if account["never_signed_in"] else None
            for group_id in account["groups"]:
                if groups is None or group_id in groups:
                    signed_in.setdefault(group_id, []).append(at)
    return {group_id: _middle(moments) for group_id, moments in signed_in.items()}


def _middle(moments: list[datetime | None]) -> datetime | None:
    """More than half lie no later than this; None when one is not known."""
    known = sorted(m for m in moments if m is not None)
    return known[len(known) // 2] if len(known) == len(moments) else None


def text(idle: Idle) -> str:
    return json_text({group: micros(at) for group, at in idle.items()})


def remembered(staging: Staging) -> Idle | None:
    """As it was at the last poll of which everything stood judged, if a rule asked then."""
    row = staging.db.execute("SELECT idle FROM main_db.judged WHERE source_id = ?", (staging.source_id,)).fetchone()
    if row is None or row[0] is None:
        return None
    return {group: moment(at) for group, at in msgspec.json.decode(row[0]).items()}
