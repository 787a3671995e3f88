"""What is recorded of a source, as one poll of it asks: what it need not read again, and what it still has to see."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from monitor.domain.observed import Role
from monitor.domain.reading import Cause, Lane, Outcome, Resumed, Scope, ScopeEnded
from monitor.store.tables import json_text, moment

IN_THE_LANE = """SELECT account_id FROM main_db.accounts INDEXED BY ix_accounts_lane
    WHERE source_id = :source AND valid_to IS NULL AND (privileged OR status = 'suspended')"""
ONE_ACCOUNT = """SELECT account_id FROM main_db.accounts
    WHERE source_id = :source AND valid_to IS NULL AND account_id = :only"""
# where subjects of a kind are recorded, and by which column
_KEYS = {
    "account": ("accounts", "account_id"), "role": ("roles", "role_id"), "group": ("groups", "group_id"),
    "seat": ("seats", "seat_id"),
}  # fmt: skip


class Recorded:
    """Asks the staging, to which the main database is attached. With it a staging is the Recall of its source."""

    db: sqlite3.Connection
    known_digests: set[bytes]  # of the records as they were last seen, but for those that this poll has shown
    resumed: Resumed | None

    def __init__(self, source_id: int, *, forget: bool, lane: Lane, later: Collection[str], only: str | None) -> None:
        self.source_id, self.forget = source_id, forget
        self.lane, self.later, self.only = lane, frozenset(later), only
        self.left_out: set[str] = set()  # scopes that were asked for and are not due
        self._seen: list[bytes] = []  # digests that were known, since they were last asked for

    def known(self, raw_digest: bytes) -> bool:
        if self.forget:
            return False
        try:
            self.known_digests.remove(raw_digest)
        except KeyError:
            return False
        self._seen.append(raw_digest)
        return True

    def take_seen(self) -> bytes:
        """Digests of the records that were known since this was last asked."""
        seen, self._seen = b"".join(self._seen), []
        return seen

    def recall_seen(self, seen: bytes) -> None:
        """As if these records had been shown to this poll."""
        self.known_digests.difference_update(seen[i : i + 16] for i in range(0, len(seen), 16))

    def earlier_part(self) -> Resumed | None:
        return self.resumed

    def missing(self, limit: int) -> tuple[list[str], int]:
        found = self._not_shown()
        return found[:limit], len(found)

    def privileged(self) -> list[str]:
        rows = self.db.execute(
            """
            SELECT account_id FROM accounts WHERE privileged
            UNION
            SELECT account_id FROM main_db.accounts WHERE source_id = ? AND valid_to IS NULL AND privileged
              AND account_id NOT IN (SELECT account_id FROM accounts UNION ALL SELECT account_id FROM gone)
            """,
            (self.source_id,),
        )
        return [r[0] for r in rows]

    def recorded(self, scope: str) -> list[str]:
        query = {
            Scope.ROLES: "role_id FROM main_db.roles WHERE true",
            Scope.GROUPS: "group_id FROM main_db.groups WHERE true",
            Scope.SEATS: "seat_id FROM main_db.seats WHERE true",
            Scope.MEMBERS: "DISTINCT entitlement_id FROM main_db.grants WHERE kind = 'member'",
        }[scope]
        rows = self.db.execute(f"SELECT {query} AND source_id = ? AND valid_to IS NULL", (self.source_id,))
        found = {r[0] for r in rows}
        if scope == Scope.MEMBERS:  # groups that were read, and had none
            found |= {name.removeprefix(Scope.MEMBERS) for name in self.member_digests()}
        return sorted(found)

    def due(self, scope: str) -> bool:
        """What was not read whole last time is due whatever its interval; so is what was never read."""
        family, recorded = Scope.family(scope), self.recorded_scopes().get(scope)
        if family not in self.later or recorded is None or recorded.outcome is not Outcome.COMPLETE:
            return True
        self.left_out.add(scope)
        return False

    def read_until(self, scope: str) -> datetime | None:
        row = self.db.execute(
            "SELECT json_extract(scopes_read, '$.' || ?) FROM main_db.sources WHERE id = ?", (scope, self.source_id)
        ).fetchone()
        return moment(row[0]) if row else None

    def known_roles(self) -> list[Role]:
        rows = self.db.execute(
            """SELECT role_id, title, description, access_level, custom FROM main_db.roles
               WHERE source_id = ? AND valid_to IS NULL""",
            (self.source_id,),
        )
        return [Role(r[0], r[1], r[2], r[3], None if r[4] is None else bool(r[4])) for r in rows]

    def in_the_lane(self, levels: Collection[str]) -> set[str]:
        rows = self.db.execute(
            f"{IN_THE_LANE} AND (status = 'suspended' OR level IN (SELECT value FROM json_each(:levels)))",  # noqa: S608
            {"source": self.source_id, "levels": json_text(sorted(levels))},
        )
        return {r[0] for r in rows}

    def recorded_scopes(self) -> Mapping[str, ScopeEnded]:
        """The outcome of every part as the poll that read it last recorded it."""
        if not hasattr(self, "_recorded_scopes"):
            rows = self.db.execute(
                "SELECT name, outcome, reason, cause FROM main_db.scopes WHERE source_id = ? AND valid_to IS NULL",
                (self.source_id,),
            )
            self._recorded_scopes = {
                r[0]: ScopeEnded(r[0], Outcome(r[1]), r[2], Cause(r[3]) if r[3] else None) for r in rows
            }
        return self._recorded_scopes

    @property
    def is_first(self) -> bool:
        """Nothing of this source is recorded: then every account is new, and none need be compared."""
        if not hasattr(self, "_first"):
            found = self.db.execute(
                "SELECT 1 FROM main_db.accounts WHERE source_id = ? AND valid_to IS NULL LIMIT 1", (self.source_id,)
            ).fetchone()
            self._first = found is None
        return self._first

    def member_digests(self) -> Mapping[str, str]:
        if not hasattr(self, "_member_digests"):
            self._member_digests: dict[str, str] = dict(
                self.db.execute(
                    """SELECT name, digest FROM main_db.scopes WHERE source_id = ? AND valid_to IS NULL
                       AND outcome = ? AND name LIKE 'members/%' AND digest IS NOT NULL""",
                    (self.source_id, Outcome.COMPLETE.value),
                )
            )
        return self._member_digests

    def past_members(self) -> sqlite3.Cursor:
        """Account and group of memberships that have ended, in the order of ids."""
        return self.db.execute(
            """SELECT account_id, entitlement_id FROM main_db.grants
               WHERE source_id = :source AND kind = 'member' AND valid_to IS NOT NULL
               UNION SELECT g.account_id, g.entitlement_id FROM ended_grants e JOIN main_db.grants g ON g.pk = e.pk
               WHERE g.kind = 'member' ORDER BY 1, 2""",
            {"source": self.source_id},
        )

    def shows(self, kind: str, subject_id: str) -> bool:
        """Whether such an account, role or group is recorded."""
        if kind not in _KEYS:
            return True
        table, key = _KEYS[kind]
        found = self.db.execute(
            f"SELECT 1 FROM main_db.{table} WHERE source_id = ? AND {key} = ? AND valid_to IS NULL",  # noqa: S608
            (self.source_id, subject_id),
        )
        return found.fetchone() is not None

    def unseen(self) -> set[str]:
        """Ids of recorded accounts that this poll has not shown, and that are not known to be gone."""
        return set(self._not_shown()) - {r[0] for r in self.db.execute("SELECT account_id FROM gone")}

    def _not_shown(self) -> list[str]:
        if not self.known_digests:
            return []
        remaining = self.known_digests
        rows = self.db.execute(
            f"""SELECT account_id, raw_digest FROM main_db.activity WHERE source_id = :source
               AND account_id NOT IN (SELECT account_id FROM accounts) {self._population}""",  # noqa: S608
            self._asked,
        )
        return [account_id for account_id, digest in rows if digest in remaining]

    def _load_digests(self) -> set[bytes]:
        rows = self.db.execute(
            f"SELECT raw_digest FROM main_db.activity WHERE source_id = :source {self._population}",  # noqa: S608
            self._asked,
        )
        return {r[0] for r in rows}

    @property
    def _population(self) -> str:
        """Whom this poll is to show, of the accounts that are recorded."""
        return f"AND account_id IN ({self._of_lane})" if self.lane.narrow else ""

    @property
    def _of_lane(self) -> str:
        return ONE_ACCOUNT if self.lane is Lane.ONE else IN_THE_LANE

    @property
    def _asked(self) -> dict[str, Any]:
        return {"source": self.source_id, "only": self.only}

    def _latest_snapshot(self) -> int:
        row = self.db.execute("SELECT max(id) FROM main_db.snapshots WHERE source_id = ?", (self.source_id,)).fetchone()
        return row[0] or 0

    def _any_member(self) -> bool:
        found = self.db.execute(
            "SELECT 1 FROM main_db.grants WHERE source_id = ? AND kind = 'member' AND valid_to IS NULL LIMIT 1",
            (self.source_id,),
        )
        return found.fetchone() is not None
