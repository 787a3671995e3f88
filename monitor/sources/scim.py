"""A SCIM 2.0 server (RFC 7643, RFC 7644): users and groups, by index or cursor (RFC 9865). Never written to."""

from __future__ import annotations

import copy
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal
from urllib.parse import quote

import httpx
from msgspec import Raw

from monitor.domain.observed import Account, Activity, Grant, Group, Role
from monitor.domain.reading import (
    AccountsRead,
    Batch,
    Clock,
    DetailsRead,
    GroupsRead,
    KeepPage,
    MembersRead,
    PageRead,
    Progress,
    Proof,
    Recall,
    Resumed,
    RolesRead,
    Scope,
    Sizes,
)
from monitor.errors import AuthError, SourceError
from monitor.sources.answer import Ask, Refused, Unreachable, sanitised, worth_a_retry
from monitor.sources.gate import RateGate
from monitor.sources.http import Caps, Reader, Token, open_client
from monitor.sources.scim_records import (
    GroupRecord,
    Held,
    ListResponse,
    account_of,
    assigned_of,
    decode_config,
    decode_group,
    decode_held,
    decode_page,
    error_in,
    group_of,
    members_of,
    roles_of,
)
from monitor.sources.scopes import Part, Polling, decoded, silent

USERS, GROUPS, CONFIG = "/Users", "/Groups", "/ServiceProviderConfig"
EMPTY_PAGES = 100  # so many without a record, and the server only makes cursors
MOVED = "begun anew: its place is not valid any more, or the rows have moved too far"

Paging = Literal["auto", "index", "cursor"]


@dataclass(frozen=True)
class Settings:
    count: int
    paging: Paging
    levels: Mapping[str, str]
    kept: tuple[str, ...]
    read_groups: bool
    confirm_limit: int
    progress: Progress


class Scim:
    """The source of one SCIM server. `levels`: what a role or an entitlement makes of its holder."""

    def __init__(
        self,
        name: str,
        url: str,
        token: str,
        *,
        clock: Clock,
        rate: tuple[int, float] = (10, 1.0),
        count: int = 100,
        paging: Paging = "auto",
        levels: Mapping[str, str] | None = None,
        kept_fields: tuple[str, ...] = (),
        read_groups: bool = True,
        confirm_limit: int = 200,
        transport: httpx.BaseTransport | None = None,
        progress: Progress | None = None,
        gate: RateGate | None = None,
        caps: Caps | None = None,
    ) -> None:
        """`gate` keeps the rate with others who ask the same server."""
        self.name, self.proof, self.rate = name, Proof(), rate
        self.resumes, self.cut_off, self._caps = True, False, caps
        self._only: str | None = None
        self._url, self._token, self._transport = url.rstrip("/"), Token(token, "the SCIM server"), transport
        self._clock, self._gate = clock, gate or RateGate(clock, *rate)
        self._settings = Settings(
            count, paging, levels or {}, kept_fields, read_groups, confirm_limit, progress or silent
        )

    def read(self, recall: Recall) -> Iterator[Batch]:
        self.proof = Proof(endpoint=self._url)
        with self._reader(self.proof, recall.keep_page()) as reader:
            reading = _Reading(reader, recall, self._settings)
            reading.goes_on = self.resumes
            yield from reading.all() if self._only is None else reading.read_one(self._only)
            self.cut_off = reading.cut_off

    def cost(self, sizes: Sizes) -> dict[str, int]:
        """A server may give out smaller pages; then earlier polls tell."""
        settings = self._settings
        found = {"config": int(settings.paging == "auto"), Scope.USERS: _pages(sizes.accounts, settings.count)}
        if settings.read_groups:
            found |= {Scope.GROUPS: _pages(len(sizes.groups), settings.count), "members": 0}
        return found

    def one_account(self, account_id: str) -> Scim:
        """The same server, of which only this user is read."""
        lane = copy.copy(self)
        lane._only, lane.resumes, lane.proof = account_id, False, Proof()
        return lane

    def check(self) -> str | None:
        """What is wrong with the connection and what to do, or None. Asks for one user."""
        with self._reader(Proof()) as reader:
            try:
                reader.fetch(Ask(USERS, {"startIndex": 1, "count": 1}), decode_page)
            except SourceError as error:
                return str(error)
        return None

    @contextmanager
    def _reader(self, proof: Proof, keep: KeepPage | None = None) -> Iterator[Reader]:
        with open_client(self._transport, {"Accept": "application/scim+json, application/json"}) as client:
            reader = Reader(
                client,
                self._gate,
                self._clock,
                proof,
                base=self._url,
                credentials=self._token,
                explain=self._explain,
                caps=self._caps,
                keep=keep,
            )
            try:
                yield reader
            finally:
                reader.close()

    def _explain(self, ask: Ask, status: int, body: bytes, after: float | None) -> SourceError | None:
        """The server's own error; a 404 that somebody else wrote says nothing about a user."""
        said = error_in(body)
        if status == 401 or (said is None and status != 404):
            return None
        message = f"{ask}: HTTP {status}: {self._clean(said or 'an answer that is no SCIM error; check the url')}"
        return Refused(message, status, said, retry=worth_a_retry(status, after), after=after)

    def _clean(self, said: str) -> str:
        return sanitised(said.encode(), self._token.secrets())


def _pages(records: int, size: int) -> int:
    return max(1, -(-records // size))


class _Reading(Polling):
    """One poll of a server."""

    def __init__(self, reader: Reader, recall: Recall, settings: Settings) -> None:
        super().__init__(reader, recall, settings.confirm_limit, settings.progress)
        self.settings = settings
        self.by_cursor = settings.paging == "cursor"
        self.users = Part()
        self.last: str | None = None  # the last user that a page has shown
        self.roles: dict[str, Role] = {}
        self.assigned: list[Grant] = []  # since they were last told
        self.earlier = recall.earlier_part()
        if self.earlier is not None:
            self._go_on(self.earlier)

    def _go_on(self, earlier: Resumed) -> None:
        """Groups are read anew: their members stand in the list itself."""
        self.go_on_after(earlier)
        self.done = earlier.done & {Scope.USERS, Scope.ROLES, Scope.DETAILS}
        self.roles = {role.id: role for role in earlier.roles}

    def all(self) -> Iterator[Batch]:
        """Roles are those that users hold: SCIM has no list of them."""
        yield from self.scope(Scope.USERS, self.read_users)
        yield from self.scope(Scope.ROLES, partial(self._of_users, RolesRead([*self.roles.values()])))
        yield from self.scope(Scope.DETAILS, partial(self._of_users, DetailsRead([])))
        if self.settings.read_groups:
            yield from self.read_groups()

    # users

    def account_in(self, raw: Raw) -> tuple[Account, Activity]:
        return account_of(raw, self.settings.levels, self.settings.kept), Activity()

    def user(self, account_id: str) -> Ask:
        return Ask(f"{USERS}/{quote(account_id, safe='')}")

    def witness_id(self) -> str | None:
        return self.last

    def one(self, body: bytes) -> bytes:
        self._hold(decode_held(body))
        return super().one(body)

    def _hold(self, one: Held) -> None:
        self.assigned += assigned_of(one)
        self.roles |= {role.id: role for role in roles_of(one)}

    def read_users(self, part: Part) -> Iterator[Batch]:
        self.users = part
        self._choose_paging()
        self.proof.filters["paging"] = "cursor" if self.by_cursor else "index"
        earlier = self.earlier.pages.get(Scope.USERS) if self.earlier else None
        if earlier is not None and (yield from self._goes_on(part, earlier)):
            self.proof.resumed["users"] = f"{self._told(earlier.cursor or '')}"
        else:
            if earlier is not None:
                self.proof.resumed["users"] = MOVED
            for where, cursor, data in self._pages(part, "users", USERS):
                yield from self._users_on(part, where, cursor, data)
        if not part.faults:
            yield from self.confirm(part)
            yield from self._held_so_far()

    def _goes_on(self, part: Part, earlier: PageRead) -> Generator[Batch, None, bool]:
        """Reads on from the page that was read last, if it still shows its first or its last row."""
        start = earlier.cursor or ""
        if start.isdigit() is self.by_cursor and start:
            return False  # the server pages in another way now
        pages = self._pages(part, "users", USERS, start)
        try:
            where, cursor, data = next(pages)
        except (AuthError, Unreachable):
            raise
        except Refused as error:
            if error.passing:
                raise
            return False
        if not set(earlier.ends) & {one.id for one in decoded(data, decode_held, Part(), where)}:
            pages.close()
            return False
        yield from self._users_on(part, where, cursor, data)
        for where, cursor, data in pages:
            yield from self._users_on(part, where, cursor, data)
        return True

    def _users_on(self, part: Part, where: str, cursor: str, data: list[Raw]) -> Iterator[Batch]:
        held = list(decoded(data, decode_held, part, where))
        for one in held:
            self.last = one.id
            self._hold(one)
        seen = self.accounts(data, part, where)
        if seen:
            yield AccountsRead(seen)
        if not part.faults:
            yield from self._held_so_far()
            ends = [one.id for one in (*held[:1], *held[-1:])]
            yield PageRead(Scope.USERS, self.proof.pages["users"], ends, self.so_far(), cursor)

    def _held_so_far(self) -> Iterator[Batch]:
        """Page by page, so that a poll that goes on knows them."""
        if self.assigned:
            yield RolesRead([*self.roles.values()])
            yield DetailsRead(self.assigned)
            self.assigned = []

    def _of_users(self, batch: Batch, part: Part) -> Iterator[Batch]:
        """What follows from users is whole when they were."""
        part.answers = self.users.answers
        yield batch
        if self.users.faults:
            part.fault("the users were not read whole")

    def _choose_paging(self) -> None:
        """By cursor where the server says that it can: pages do not shift then. Few say anything."""
        if self.settings.paging != "auto":
            return
        try:
            said = self.reader.seal(self.reader.fetch(Ask(CONFIG), decode_config))
        except (AuthError, Unreachable):
            raise
        except SourceError:
            return
        self.by_cursor = said.pagination is not None and said.pagination.cursor

    # groups

    def read_groups(self) -> Iterator[Batch]:
        records: dict[str, bytes] = {}  # as they came: decoded, their members would take several times as much
        yield from self.scope(Scope.GROUPS, partial(self._list_groups, records))
        for done, (group_id, record) in enumerate(records.items(), 1):
            yield from self.scope(Scope.members(group_id), partial(self._members, record))
            self.progress("members", done, len(records))

    def _list_groups(self, records: dict[str, bytes], part: Part) -> Iterator[Batch]:
        """What was read of them is told even when the list broke off."""
        groups: dict[str, Group] = {}
        try:
            for where, _, data in self._pages(part, "groups", GROUPS):
                for record, raw in decoded(data, _with_its_bytes, part, where):
                    records[record.id], groups[record.id] = raw, group_of(record)
        finally:
            if part.answers:
                yield GroupsRead(list(groups.values()), [])

    def _members(self, listed: bytes, part: Part) -> Iterator[Batch]:
        """Some servers leave members out of lists: a group that shows none there is asked for by its id."""
        part.answers += 1
        record = decode_group(listed)
        if record.members is None:
            self.asking("members")
            ask = Ask(f"{GROUPS}/{quote(record.id, safe='')}")
            record = self.got(part, "members", self.reader.fetch(ask, decode_group))
        ids, nested = members_of(record)
        self.count("members", len(ids))
        if nested:
            self.count("nested groups", nested)
        yield MembersRead(record.id, ids)

    # pages

    def _pages(
        self, part: Part, kind: str, path: str, start: str = ""
    ) -> Generator[tuple[str, str, list[Raw]], None, None]:
        """Every page with its index or cursor, and a fault when the server's own count says that there was more.

        The count may move meanwhile: who came or went is on one page more or less, so the smallest one is expected.
        """
        shown, totals = set[int](), list[int]()
        by = self._by_cursor if self.by_cursor else self._by_index
        before_start = int(start) - 1 if start and not self.by_cursor else 0
        for number, (cursor, page) in enumerate(by(part, kind, path, start), 1):
            data, where = page.Resources or [], f"{kind} page {number}"
            before = len(shown)
            shown |= {hash(one.id) for one in decoded(data, decode_held, Part(), where)}
            if data and len(shown) == before:
                raise SourceError(f"{where}: it repeats records that other pages have shown, and brings no new one")
            totals += [page.totalResults] if page.totalResults is not None else []
            self.count(kind, len(data))
            self.progress(kind, len(shown), page.totalResults)
            yield where, cursor, data
        whole = not start or not self.by_cursor  # by cursor nobody knows how many came before
        if totals and whole and before_start + len(shown) < min(totals):
            part.fault(f"the server counts {min(totals)} {kind} and showed {len(shown)}")

    def _by_index(self, part: Part, kind: str, path: str, begin: str) -> Iterator[tuple[str, ListResponse]]:
        """The server may return fewer than asked for (RFC 7644, 3.4.2.4), so the next index follows from what came."""
        start = int(begin or 1)
        while True:
            page = self._page(
                part,
                kind,
                Ask(path, {"startIndex": start, "count": self.settings.count}, called=f"GET {path} from {start}"),
            )
            if page.totalResults is None:
                raise SourceError(f"GET {path}: without totalResults there is no telling how many {kind} there are")
            if page.startIndex not in (None, start) and page.Resources:
                raise SourceError(f"GET {path} from {start}: the answer begins at {page.startIndex}")
            yield str(start), page
            start += len(page.Resources or ())
            if start > page.totalResults or not page.Resources:
                return

    def _by_cursor(self, part: Part, kind: str, path: str, begin: str) -> Iterator[tuple[str, ListResponse]]:
        """`count` stays the same in every request, or a cursor is no longer valid (RFC 9865)."""
        cursor, seen, empty = begin, set[str](), 0
        while True:
            page = self._page(part, kind, Ask(path, {"cursor": cursor, "count": self.settings.count}))
            yield cursor, page
            empty = 0 if page.Resources else empty + 1
            if not page.nextCursor:
                return
            if page.nextCursor in seen or empty >= EMPTY_PAGES:
                raise SourceError(f"GET {path}: the server repeats its cursors, or they lead nowhere")
            cursor = page.nextCursor
            seen.add(cursor)

    def _page(self, part: Part, kind: str, ask: Ask) -> ListResponse:
        self.asking(kind)
        page = self.got(part, kind, self.reader.fetch(ask, decode_page))
        where = self._told(str(ask.params.get("startIndex", ask.params.get("cursor", ""))))
        self.proof.page(kind, where, page.totalResults)
        return page

    def _told(self, where: str) -> str:
        return self.cursor_told(where) if self.by_cursor else f"from {where}"


def _with_its_bytes(raw: Raw) -> tuple[GroupRecord, bytes]:
    return decode_group(raw), bytes(raw)
