"""One poll of a table: every row is read and checked before the first one counts.

A table that cannot be right as a whole (empty, cut off, without a column, suddenly small) is quarantined: nothing of it
is taken over. Rows that cannot be understood are named, and make it partial: then nobody counts as gone.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import islice
from typing import IO

import msgspec

from monitor.domain.observed import Account, Activity, Group, Role
from monitor.domain.reading import (
    AccountsGone,
    AccountsRead,
    Batch,
    GroupsRead,
    MembersRead,
    Outcome,
    Progress,
    Proof,
    Recall,
    RolesRead,
    Scope,
    ScopeEnded,
    SeenAccount,
)
from monitor.errors import SourceError
from monitor.sources.rows import Columns, Row, RowFault, RowReader, has, shown

FAULTS_TOLD = 20
BATCH = 1000
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[Account, Activity, bytes]).decode

Rows = Iterable[tuple[str, Row | RowFault]]  # each with its place: "row 3"


class Quarantined(SourceError):
    """The table as a whole is not to be believed."""


@dataclass(slots=True)
class _Seen:
    """What has been read so far."""

    spool: IO[bytes]
    lengths: list[int] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)  # of every key
    twice: set[str] = field(default_factory=set)
    roles: dict[str, None] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    missing: set[str] = field(default_factory=set)  # columns that no row had
    there: set[str] = field(default_factory=set)  # columns of the first row
    faults: int = 0
    told: list[str] = field(default_factory=list)
    rows: int = 0

    def fault(self, what: str) -> None:
        self.faults += 1
        if len(self.told) < FAULTS_TOLD:
            self.told.append(what)

    @property
    def reason(self) -> str | None:
        more = self.faults - len(self.told)
        return "; ".join(self.told) + (f"; and {more} more faults" if more else "") if self.faults else None


class TableReading:
    """How the rows of one source are read. `rows` gives them with their places, and may raise SourceError."""

    def __init__(self, where: str, columns: Columns, max_shrink: float, progress: Progress | None) -> None:
        """`where` stands before every reason: the file or the database."""
        self._where, self._columns, self._max_shrink, self._progress = where, columns, max_shrink, progress
        self._reader = RowReader(columns)

    def read(self, rows: Rows, recall: Recall, proof: Proof) -> Iterator[Batch]:
        before = recall.missing(0)[1]  # how many accounts the last snapshot had: nothing was shown yet
        with tempfile.TemporaryFile() as spool:
            seen = _Seen(spool, missing=self._columns.wanted)
            try:
                self._take_in(rows, seen, recall)
                self._refuse(seen, before)
            except SourceError as error:
                outcome = Outcome.QUARANTINED if isinstance(error, Quarantined) else Outcome.FAILED
                yield from (ScopeEnded(scope, outcome, f"{self._where}: {error}") for scope in self._scopes())
                return
            finally:
                proof.records["users"], proof.duplicates = seen.rows, len(seen.twice)
            yield from self._accounts(seen, recall)
            yield from self._roles_and_groups(seen, proof)

    def _scopes(self) -> Iterator[str]:
        yield Scope.USERS
        yield from (scope for name, scope in (("role", Scope.ROLES), ("groups", Scope.GROUPS))
                    if name in self._columns.names)  # fmt: skip

    # reading

    def _take_in(self, rows: Rows, seen: _Seen, recall: Recall) -> None:
        for place, row in rows:
            seen.rows += 1
            if self._progress and seen.rows % BATCH == 0:
                self._progress("users", seen.rows, None)
            if isinstance(row, RowFault):
                seen.fault(f"{place}: {row}")
                continue
            seen.there = seen.there or {*row}
            if seen.missing:
                seen.missing -= {column for column in seen.missing if has(row, column)}
            self._take(place, row, seen, recall)

    def _take(self, place: str, row: Row, seen: _Seen, recall: Recall) -> None:
        try:
            account, activity, groups = self._reader.read(row)
        except RowFault as error:
            seen.fault(f"{place}: {error}")
            return
        first = seen.places.setdefault(account.id, place)
        if first != place:
            seen.fault(f'{first} and {place}: both have the key {shown(account.id)} in column "{self._key}"')
            seen.twice.add(account.id)
            return
        if account.role:
            seen.roles[account.role] = None
        for group in groups:
            seen.groups.setdefault(group, []).append(account.id)
        digest = hashlib.sha256(_encode((account, activity))).digest()[:16]
        if not recall.known(digest):
            record = _encode((account, activity, digest))
            seen.spool.write(record)
            seen.lengths.append(len(record))

    @property
    def _key(self) -> str:
        return self._columns.names["id"]

    def _refuse(self, seen: _Seen, before: int) -> None:
        """What no table does that is whole."""
        if not seen.rows:
            raise Quarantined("there are no rows in it: an empty table is never taken for a company without people")
        if seen.missing and seen.there:
            raise Quarantined("; ".join(no_column(column, seen.there) for column in sorted(seen.missing)))
        if seen.rows < before * (1 - self._max_shrink):
            raise Quarantined(
                f"it has {seen.rows} rows, and had {before} accounts before: it shrank by more than max_shrink "
                f"({self._max_shrink:g}). If that is right, raise max_shrink for one poll"
            )

    # telling

    def _accounts(self, seen: _Seen, recall: Recall) -> Iterator[Batch]:
        seen.spool.seek(0)
        records = (SeenAccount(*_decode(seen.spool.read(length))) for length in seen.lengths)
        once = (s for s in records if s.account.id not in seen.twice)
        while batch := list(islice(once, BATCH)):
            yield AccountsRead(batch)
        if not seen.faults:
            gone, _ = recall.missing(sys.maxsize)
            if gone:
                yield AccountsGone(gone)
        yield self._ended(Scope.USERS, seen)

    def _roles_and_groups(self, seen: _Seen, proof: Proof) -> Iterator[Batch]:
        """Roles and groups are those that some row names. Where rows had faults, nobody knows whether these are all."""
        scopes = {*self._scopes()}
        if Scope.ROLES in scopes:
            proof.records["roles"] = len(seen.roles)
            yield RolesRead([Role(title, title) for title in seen.roles])
            yield self._ended(Scope.ROLES, seen)
        if Scope.GROUPS in scopes:
            proof.records["groups"] = len(seen.groups)
            yield GroupsRead([Group(title, title) for title in seen.groups], [])
            yield self._ended(Scope.GROUPS, seen)
            for title, ids in seen.groups.items() if not seen.faults else ():
                yield MembersRead(title, ids)
                yield ScopeEnded(Scope.members(title), Outcome.COMPLETE)

    def _ended(self, scope: str, seen: _Seen) -> ScopeEnded:
        if not seen.faults:
            return ScopeEnded(scope, Outcome.COMPLETE)
        reason = seen.reason if scope == Scope.USERS else "some rows had faults"
        return ScopeEnded(scope, Outcome.PARTIAL, f"{self._where}: {reason}")


def no_column(column: str, there: set[str]) -> str:
    near = get_close_matches(column, there, n=1)
    hint = f"; did you mean {shown(near[0])}?" if near else f"; there are {', '.join(map(shown, sorted(there)[:20]))}"
    return f"there is no column {shown(column)}{hint}"


class Nothing(Recall):
    """The recall of a check: nothing was seen before."""

    def known(self, raw_digest: bytes) -> bool:
        return False

    def missing(self, limit: int) -> tuple[list[str], int]:
        return [], 0

    def privileged(self) -> list[str]:
        return []

    def recorded(self, scope: str) -> list[str]:
        return []


def faults_of(batches: Iterable[Batch]) -> str | None:
    """What a check says: everything that a poll would stumble over, or None."""
    ends = [b for b in batches if isinstance(b, ScopeEnded) and b.outcome is not Outcome.COMPLETE]
    return ends[0].reason if ends else None
