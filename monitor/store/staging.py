"""A file of its own for one poll of one source: what was read, then what it changes. Thrown away when recorded.

The main database is attached, and only read. So a poll may take minutes and hold no lock, and recording it is a few
`INSERT ... SELECT` in one short transaction (record.py).
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from monitor.domain.change import History
from monitor.domain.observed import Account, Activity, Grant, GrantKind, Group, Kind, Role, Seats
from monitor.domain.reading import (
    AccountsGone,
    AccountsRead,
    ActiveRead,
    Batch,
    Cause,
    DetailsRead,
    GroupsRead,
    KeepPage,
    Lane,
    MembersRead,
    Outcome,
    Resumed,
    RolesRead,
    Scope,
    ScopeEnded,
    SeatsRead,
    SeenAccount,
)
from monitor.store.tables import EPOCH, MICROSECOND, AccountRow, ActivityRow, micros, moment

if TYPE_CHECKING:
    from monitor.store.pages import Archive

SEEN = Account._fields[1:]  # the columns that an account brings along, besides its id
HISTORY = History._fields
ACTIVITY = Activity._fields
VERSION = ("account_id", "email_key", *SEEN, "privileged", *HISTORY, "access_digest")
STAGED = (*VERSION, *ACTIVITY, "raw_digest")
assert set(VERSION) == set(AccountRow.__table__.columns.keys()) - {"pk", "source_id", "valid_from", "valid_to"}  # type: ignore[attr-defined]
assert {*ACTIVITY, "raw_digest"} < set(ActivityRow.__table__.columns.keys())  # type: ignore[attr-defined]

CACHE_KIB = 16_384  # 65,536 was no faster at 100,000 accounts, and took 50 MiB more
# state: null (not compared yet), same, changed (with the pk of the version that it ends), new
SCHEMA = f"""
CREATE TABLE accounts (account_id TEXT PRIMARY KEY, {", ".join(STAGED[1:])}, state TEXT, ends INTEGER) WITHOUT ROWID;
CREATE TABLE gone (account_id TEXT PRIMARY KEY, ends INTEGER) WITHOUT ROWID;
CREATE TABLE active (account_id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE shown (account_id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE new_grants (account_id TEXT, kind TEXT, entitlement_id TEXT);
CREATE TABLE ended_grants (pk INTEGER PRIMARY KEY, account_id TEXT);
CREATE TABLE changes (kind, subject_kind, subject_id, subject_email, subject_name, field, before, after);
"""
IN_THE_LANE = """SELECT account_id FROM main_db.accounts INDEXED BY ix_accounts_lane
    WHERE source_id = :source AND valid_to IS NULL AND (privileged OR status = 'suspended')"""
ONE_ACCOUNT = """SELECT account_id FROM main_db.accounts
    WHERE source_id = :source AND valid_to IS NULL AND account_id = :only"""
INSERT = f"INSERT OR REPLACE INTO accounts ({', '.join(STAGED)}, state) VALUES ({', '.join('?' * (len(STAGED) + 1))})"  # noqa: S608
# where subjects of a kind are recorded, and by which column
_KEYS = {
    "account": ("accounts", "account_id"), "role": ("roles", "role_id"), "group": ("groups", "group_id"),
    "seat": ("seats", "seat_id"),
}  # fmt: skip
_json = msgspec.json.Encoder(order="sorted").encode


def json_text(value: Any) -> str:
    return _json(value).decode()


class Staging:
    """What one poll has read so far; also the Recall that a source asks while reading."""

    def __init__(
        self,
        path: Path | None,
        database: str,
        source_id: int,
        at: datetime,
        born: History,
        *,
        quiet: bool,
        forget: bool,
        privileged: Callable[[Account], bool | None],
        digest: Callable[[Account], bytes],
        kind: Kind = Kind.ACCOUNT,
        lane: Lane = Lane.FULL,
        later: Collection[str] = (),
        only: str | None = None,
    ) -> None:
        """`quiet`: the source has no complete snapshot yet, so nothing is a change. `forget`: read every record anew.
        `later`: families of scopes that are not due. `only`: the account that a poll of one is about.

        `kind`: what the records are called in changes: accounts, or the persons of an authority.
        `path` None stages nothing: an empty staging, for looking at what is recorded.
        """
        self.path, self.source_id, self.at, self.quiet, self.kind = path, source_id, at, quiet, kind
        self.now = at  # of judging: later than `at` only when what was read waited for a person
        self._privileged, self._digest, self._database = privileged, digest, database
        self._born = (*(micros(t) for t in born[:6]), *(json_text(past) for past in born[6:]))
        self.forget = forget
        self.lane, self.later, self.only = lane, frozenset(later), only
        self.left_out: set[str] = set()  # scopes that were asked for and are not due
        self.archive: Archive | None = None  # of raw pages, where they are kept
        self.start()

    def start(self, known: set[bytes] | None = None) -> None:
        """With an empty file, as if nothing had been read yet."""
        path = self.path
        if path is not None:
            path.unlink(missing_ok=True)
            path.touch(mode=0o600)
        self.connect()
        self.db.executescript(SCHEMA)
        self.began = self._latest_snapshot() if path is not None else 0
        self.known_digests = self._load_digests() if known is None else known
        self._seen: list[bytes] = []  # digests that were known, since they were last asked for
        self.resumed: Resumed | None = None
        self.roles: dict[str, Role] = {}
        self.groups: dict[str, Group] = {}
        self.managers: list[Grant] = []
        self.seats: dict[str, Seats] = {}
        self.seat_grants: list[Grant] = []
        self.assigned: list[Grant] = []
        self.members: dict[str, str] = {}  # group id -> digest of its members
        self.scopes: dict[str, ScopeEnded] = {}
        # with nothing to compare and nothing to tell, members go straight to what is new
        self.first_members = self.quiet and not self._any_member()
        self._pending_members: dict[str, list[str]] = {}

    def empty(self) -> None:
        """As if nothing had been read, and nothing were missing."""
        self.db.close()
        self.start(known=set())

    def connect(self) -> None:
        self.db = sqlite3.connect(
            f"file:{quote(str(self.path))}" if self.path else ":memory:",
            isolation_level=None, check_same_thread=False, uri=True,
        )  # fmt: skip
        # The file is worthless after a crash, so it need not survive one.
        self.db.executescript(f"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-{CACHE_KIB};")
        self._attach(self._database)

    def _attach(self, database: str) -> None:
        self.db.execute("ATTACH DATABASE ? AS main_db", (f"file:{quote(database)}?mode=ro",))

    def close(self) -> None:
        self.db.close()
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    # Recall

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

    def keep_page(self) -> KeepPage | None:
        return None if self.archive is None else self.archive.add

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

    # adding

    def add(self, batch: Batch) -> None:
        match batch:
            case AccountsRead(seen):
                self._add_accounts(seen)
            case AccountsGone(ids):
                self.db.executemany("INSERT OR IGNORE INTO gone (account_id) VALUES (?)", [(i,) for i in ids])
            case RolesRead(roles):
                self.roles = {r.id: r for r in roles}
            case GroupsRead(groups, managers):
                self.groups, self.managers = {g.id: g for g in groups}, managers
            case MembersRead(group_id, ids):
                self._add_members(group_id, ids)
            case ActiveRead(latest):
                self._add_active(latest)
            case SeatsRead(seats, grants):
                self.seats, self.seat_grants = {s.id: s for s in seats}, grants
            case DetailsRead(assigned):
                self.assigned += assigned
            case ScopeEnded(name):
                self.scopes[name] = batch

    def _add_accounts(self, seen: Iterable[SeenAccount]) -> None:
        state = "new" if self.quiet and self.is_first else None
        rows = [(*self.row(s), state) for s in seen]
        self.known_digests.difference_update(s.raw_digest for s in seen)
        self.db.execute("BEGIN")
        self.db.executemany(INSERT, rows)
        self.db.execute("COMMIT")

    def _add_active(self, latest: Mapping[str, datetime]) -> None:
        self.db.executemany(
            """INSERT INTO active VALUES (?, ?) ON CONFLICT (account_id) DO UPDATE SET at = max(at, excluded.at)""",
            [(account_id, (at - EPOCH) // MICROSECOND) for account_id, at in latest.items()],
        )

    def row(self, seen: SeenAccount) -> tuple[Any, ...]:
        account, activity, raw_digest = seen
        id_, email, *middle, tags, fields, created = account
        return (
            id_,
            email.strip().casefold() if email is not None else None,
            email,
            *middle,
            None if tags is None else json_text(tags),
            None if fields is None else json_text(dict(fields)),
            None if created is None else (created - EPOCH) // MICROSECOND,
            self._privileged(account),
            *self._born,
            self._digest(account),
            None if activity.last_login is None else (activity.last_login - EPOCH) // MICROSECOND,
            *activity[1:],
            raw_digest,
        )

    @property
    def is_first(self) -> bool:
        """Nothing of this source is recorded: then every account is new, and none need be compared."""
        if not hasattr(self, "_first"):
            found = self.db.execute(
                "SELECT 1 FROM main_db.accounts WHERE source_id = ? AND valid_to IS NULL LIMIT 1", (self.source_id,)
            ).fetchone()
            self._first = found is None
        return self._first

    def _add_members(self, group_id: str, ids: Collection[str]) -> None:
        whole = sorted(set(ids))
        digest = hashlib.sha256("\n".join(whole).encode()).hexdigest()[:32]
        self.members[group_id] = digest
        if self.member_digests().get(Scope.members(group_id)) == digest:
            return
        if self.first_members:
            self.stage_grants((i, GrantKind.MEMBER.value, group_id) for i in whole)
        else:
            self._pending_members[group_id] = whole

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

    def stage_grants(self, grants: Iterable[tuple[str, str, str]]) -> None:
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO new_grants VALUES (?, ?, ?)", grants)
        self.db.execute("COMMIT")

    # asking

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
        found = self.db.execute(f"SELECT 1 FROM main_db.{table} WHERE {key} = ? LIMIT 1", (subject_id,))  # noqa: S608
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

    def settle_shown(self) -> None:
        """Who was shown by a narrow lane, recognised or read: whom it may judge."""
        unseen = set(self._not_shown())
        known = (r[0] for r in self.db.execute(self._of_lane, self._asked))
        self.db.execute("INSERT OR IGNORE INTO shown SELECT account_id FROM accounts")
        self.db.executemany("INSERT OR IGNORE INTO shown VALUES (?)", ((i,) for i in known if i not in unseen))

    def drop_overtaken(self) -> int:
        """Leaves out accounts that a poll which began and ended meanwhile has recorded: which of the two saw the newer
        state cannot be known, and the next poll sees what differs. Returns how many.
        """
        if self._latest_snapshot() == self.began:
            return 0
        newer = "SELECT account_id FROM main_db.activity WHERE source_id = ? AND snapshot_id > ?"
        dropped = 0
        for table in ("accounts", "gone"):
            dropped += self.db.execute(
                f"DELETE FROM {table} WHERE account_id IN ({newer})",  # noqa: S608
                (self.source_id, self.began),
            ).rowcount
        return dropped

    def _latest_snapshot(self) -> int:
        row = self.db.execute("SELECT max(id) FROM main_db.snapshots WHERE source_id = ?", (self.source_id,)).fetchone()
        return row[0] or 0

    def _any_member(self) -> bool:
        found = self.db.execute(
            "SELECT 1 FROM main_db.grants WHERE source_id = ? AND kind = 'member' AND valid_to IS NULL LIMIT 1",
            (self.source_id,),
        )
        return found.fetchone() is not None
