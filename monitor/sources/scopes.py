"""What the poll of every HTTP source does alike: each scope ends exactly once, records that cannot be understood are
named, and whatever no page showed is asked for by its id before it counts as gone.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import msgspec
from msgspec import Raw

from monitor.domain.observed import Account, Activity
from monitor.domain.reading import (
    NOT_READ,
    AccountsGone,
    AccountsRead,
    Batch,
    Cause,
    Outcome,
    PageRead,
    Progress,
    Recall,
    Resumed,
    Scope,
    ScopeEnded,
    SeenAccount,
)
from monitor.errors import AuthError, SourceError
from monitor.sources.answer import Answer, Ask, Refused, Unreachable
from monitor.sources.http import Reader

FAULTS_TOLD = 3  # one by one; the others are counted

T = TypeVar("T")


@dataclass(slots=True)
class Part:
    """A scope while it is read: how many answers came, and what was wrong."""

    answers: int = 0
    faults: int = 0
    told: list[str] = field(default_factory=list)
    cause: Cause | None = None
    optional: bool = False  # where it is forbidden, that is the school's plan and no broken poll

    def fault(self, what: str) -> None:
        self.faults += 1
        if len(self.told) < FAULTS_TOLD:
            self.told.append(what)

    def ended(self, name: str) -> ScopeEnded:
        if not self.faults:
            return ScopeEnded(name, Outcome.COMPLETE)
        more = self.faults - len(self.told)
        reason = "; ".join(self.told) + (f"; and {more} more faults" if more else "")
        if self.optional and self.cause is Cause.FORBIDDEN:
            return ScopeEnded(name, Outcome.UNREAD, reason, self.cause)
        return ScopeEnded(name, Outcome.PARTIAL if self.answers else Outcome.FAILED, reason, self.cause)


def cause_of(error: SourceError) -> Cause | None:
    if isinstance(error, AuthError):
        return Cause.CREDENTIALS
    return Cause.FORBIDDEN if isinstance(error, Refused) and error.status == 403 else None


class Polling:
    """One poll of one system. A source fills in what it asks and what the answers mean."""

    def __init__(self, reader: Reader, recall: Recall, confirm_limit: int, progress: Progress) -> None:
        self.reader, self.proof, self.recall = reader, reader.proof, recall
        self.confirm_limit, self.progress = confirm_limit, progress
        self.over: str | None = None  # why nothing more can be read
        self.over_for: Cause | None = None
        self.ids: set[int] = set()  # hashes of the ids that were decoded: less memory than the ids
        self.disbelief: str | None = None  # why a 404 proves nothing
        self.cut_off = False  # a scope broke off by what may be over soon
        self.done: frozenset[str] = frozenset()  # scopes that were read before the poll was cut off
        self.goes_on = False  # whether the poll leaves word of what it has read
        self.digests_hold = True  # False: a record means something else once the other scopes can be read

    def go_on_after(self, earlier: Resumed) -> None:
        """What was read before the poll was cut off is not asked for again."""
        self.done = earlier.done
        self.reader.go_on(earlier.proof)
        self.proof.resumed["began"] = earlier.began.isoformat().replace("+00:00", "Z")
        self.proof.resumed["kept"] = f"{len(earlier.done)} scopes"

    # what a source fills in

    def account_in(self, raw: Raw) -> tuple[Account, Activity]:
        """Raises ValueError, OverflowError or OSError for what cannot be understood."""
        raise NotImplementedError

    def user(self, account_id: str) -> Ask:
        """How one account is asked for."""
        raise NotImplementedError

    def one(self, body: bytes) -> bytes:
        """The record in the answer to that."""
        return whole(body)

    def witness_id(self) -> str | None:
        """An account that a page of this poll has shown."""
        raise NotImplementedError

    # scopes

    def scope(self, name: str, work: Callable[[Part], Iterator[Batch]], *, optional: bool = False) -> Iterator[Batch]:
        """Exactly one end for every scope, whatever happens in it. What an earlier part read whole has ended."""
        if name in self.done:
            return
        if self.over is not None:
            yield ScopeEnded(name, Outcome.FAILED, f"{NOT_READ}{self.over}", self.over_for)
            return
        part = Part(optional=optional)
        try:
            yield from work(part)
        except SourceError as error:
            part.cause = cause_of(error)
            if isinstance(error, AuthError | Unreachable):
                self.over, self.over_for = str(error), part.cause
            part.fault(str(error))
            self.cut_off = self.cut_off or error.passing or isinstance(error, AuthError)
        ended = part.ended(name)
        yield ended
        if self.goes_on and ended.outcome is Outcome.COMPLETE:
            yield PageRead(name, 0, [], self.so_far())

    def so_far(self) -> dict[str, Any]:
        """The proof up to here: a poll that is cut off after it goes on with it."""
        return {**self.proof.as_dict(), "root_digest": self.reader.root()}

    # accounts

    def accounts(self, data: list[Raw], part: Part, where: str) -> list[SeenAccount]:
        """Those records that were not seen before. It meets every user of the system: hence the local names."""
        known, sha256, ids, account_in = self.recall.known, hashlib.sha256, self.ids, self.account_in
        seen: list[SeenAccount] = []
        for position, raw in enumerate(data, 1):
            digest = sha256(raw).digest()[:16]
            if known(digest):
                continue
            try:
                str(raw, "utf-8")  # msgspec does not look at the text that it skips
                account, activity = account_in(raw)
                if not account.id:
                    raise ValueError("the id is empty")
            except (ValueError, OverflowError, OSError) as error:
                part.fault(f"{where}, record {position}: {error}")
                continue
            seen.append(SeenAccount(account, activity, digest))
            mark = hash(account.id)
            if mark in ids:
                self.proof.duplicates += 1
            ids.add(mark)
        return seen if self.digests_hold else [to_be_read_again(s) for s in seen]

    def confirm(self, part: Part) -> Iterator[Batch]:
        """Rows shift while pages are read, and one may slip through: only a 404 for the very id means gone."""
        ids, count = self.recall.missing(self.confirm_limit)
        if ids:
            self.ask_witness(part)
        gone: list[str] = []
        for account_id, future in self.each("confirm", ids, self.user, self.one):
            self.proof.confirmed += 1
            seen = self.asked_for(part, account_id, future)
            if seen is None:
                gone.append(account_id)
            elif seen:
                yield AccountsRead(seen)
        if gone:
            yield AccountsGone(gone)
        if count > len(ids):
            part.fault(f"{count} accounts were not on any page, {len(ids)} could be confirmed")

    def ask_witness(self, part: Part) -> None:
        """Asks for an account that a page has just shown: where that is not found, no 404 proves a departure."""
        witness = self.witness_id()
        if witness is None:
            return
        ask = self.user(witness)
        self.asking("confirm")
        try:
            self.got(part, "confirm", self.reader.fetch(ask, self.one))
        except Refused as error:
            if not error.gone:
                raise
            raise SourceError(f"{ask}: not found, though a page has just shown it, so no 404 is believed") from error

    def asked_for(self, part: Part, account_id: str, future: Future[Answer[bytes]]) -> list[SeenAccount] | None:
        """One account, or None when the source says that it has none such; empty after any other answer."""
        try:
            body = self.got(part, "confirm", future.result())
        except (AuthError, Unreachable):
            raise
        except SourceError as error:
            if isinstance(error, Refused) and error.gone and self.disbelief is None:
                return None
            part.fault(str(error) if self.disbelief is None else f"{error}; {self.disbelief}")
            return []
        seen = self.accounts([Raw(body)], part, f"user {account_id}")
        if seen and seen[0].account.id != account_id:
            part.fault(f"user {account_id}: answered with another account, {seen[0].account.id!r}")
            return []
        return seen

    def read_one(self, account_id: str) -> Iterator[Batch]:
        """One account and nothing else; whether it was shown stands in the proof."""
        yield from self.scope(Scope.ONE, partial(self._one, account_id))

    def _one(self, account_id: str, part: Part) -> Iterator[Batch]:
        for _, future in self.each(Scope.ONE, [account_id], self.user, self.one):
            seen = self.asked_for(part, account_id, future)
            self.count(Scope.ONE, 0 if seen is None else 1)
            if seen:
                yield AccountsRead(seen)

    # asking

    def each(
        self, kind: str, ids: Iterable[str], ask: Callable[[str], Ask], decode: Callable[[bytes], T]
    ) -> Iterator[tuple[str, Future[Answer[T]]]]:
        """One request for every id, several on their way at a time, answers in the order of the ids."""
        coming, asked = iter(ids), deque[str]()

        def following() -> Ask | None:
            account_id = next(coming, None)
            if account_id is None:
                return None
            asked.append(account_id)
            self.asking(kind)
            return ask(account_id)

        for _, future in self.reader.ahead(following, decode):
            yield asked.popleft(), future

    def asking(self, kind: str) -> None:
        self.proof.asked[kind] = self.proof.asked.get(kind, 0) + 1

    def got(self, part: Part, kind: str, answer: Answer[T]) -> T:
        part.answers += 1
        self.proof.pages[kind] = self.proof.pages.get(kind, 0) + 1
        return self.reader.seal(answer)

    def cursor_told(self, cursor: str | None) -> str:
        """A cursor as the proof names it: a stranger's text, and not without end."""
        return f"cursor {self.reader.clean(cursor.encode())}" if cursor else "the beginning"

    def count(self, kind: str, records: int) -> None:
        self.proof.records[kind] = self.proof.records.get(kind, 0) + records
        self.reader.took(records)


def whole(body: bytes) -> bytes:
    """One record, as it was sent."""
    return bytes(msgspec.json.decode(body, type=Raw))


def decoded(data: Iterable[Raw], decode: Callable[[Raw], T], part: Part, where: str) -> Iterator[T]:
    """The records that can be understood; of the others, which they are."""
    for position, raw in enumerate(data, 1):
        try:
            yield decode(raw)
        except (ValueError, OverflowError, OSError) as error:
            part.fault(f"{where}, record {position}: {error}")


def silent(what: str, done: int, of: int | None) -> None:
    pass


def to_be_read_again(seen: SeenAccount) -> SeenAccount:
    """Without the list of roles its role has no id yet, so the next poll must not take the record for known."""
    return seen._replace(raw_digest=hashlib.sha256(seen.raw_digest).digest()[:16])
