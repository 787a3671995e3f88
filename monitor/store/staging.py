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

from monitor.domain.change import History
from monitor.domain.observed import Account, Activity, Grant, GrantKind, Group, Kind, Role, Seats
from monitor.domain.reading import (
    AccountsGone,
    AccountsRead,
    ActiveRead,
    Batch,
    DetailsRead,
    GroupsRead,
    KeepPage,
    Lane,
    MembersRead,
    RolesRead,
    Scope,
    ScopeEnded,
    SeatsRead,
    SeenAccount,
)
from monitor.store.recorded import Recorded
from monitor.store.tables import EPOCH, MICROSECOND, AccountRow, ActivityRow, json_text, micros

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
INSERT = f"INSERT OR REPLACE INTO accounts ({', '.join(STAGED)}, state) VALUES ({', '.join('?' * (len(STAGED) + 1))})"  # noqa: S608


class Staging(Recorded):
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
        super().__init__(source_id, forget=forget, lane=lane, later=later, only=only)
        self.path, self.at, self.quiet, self.kind = path, at, quiet, kind
        self.now = at  # of judging: later than `at` only when what was read waited for a person
        self._privileged, self._digest, self._database = privileged, digest, database
        self._born = (*(micros(t) for t in born[:6]), *(json_text(past) for past in born[6:]))
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
        self.take_seen()
        self.resumed = None
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

    def stage_grants(self, grants: Iterable[tuple[str, str, str]]) -> None:
        self.db.execute("BEGIN")
        self.db.executemany("INSERT INTO new_grants VALUES (?, ?, ?)", grants)
        self.db.execute("COMMIT")

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

    def keep_page(self) -> KeepPage | None:
        return None if self.archive is None else self.archive.add
