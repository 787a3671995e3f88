"""A SCIM 2.0 server (RFC 7643, RFC 7644): users and groups, by index or cursor (RFC 9865). Never written to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal
from urllib.parse import quote

import httpx
from msgspec import Raw

from monitor.domain.observed import Account, Activity, Grant, Role
from monitor.domain.reading import (
    AccountsRead,
    Batch,
    Clock,
    DetailsRead,
    GroupsRead,
    KeepPage,
    MembersRead,
    Progress,
    Proof,
    Recall,
    RolesRead,
    Scope,
)
from monitor.errors import AuthError, SourceError
from monitor.sources.http import (
    Ask,
    RateGate,
    Reader,
    Refused,
    Token,
    Unreachable,
    open_client,
    sanitised,
    worth_a_retry,
)
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
    ) -> None:
        self.name, self.proof = name, Proof()
        self._url, self._token, self._transport = url.rstrip("/"), Token(token, "the SCIM server"), transport
        self._clock, self._gate = clock, RateGate(clock, *rate)
        self._settings = Settings(
            count, paging, levels or {}, kept_fields, read_groups, confirm_limit, progress or silent
        )

    def read(self, recall: Recall) -> Iterator[Batch]:
        self.proof = Proof(endpoint=self._url)
        with self._reader(self.proof, recall.keep_page()) as reader:
            yield from _Reading(reader, recall, self._settings).all()

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


class _Reading(Polling):
    """One poll of a server."""

    def __init__(self, reader: Reader, recall: Recall, settings: Settings) -> None:
        super().__init__(reader, recall, settings.confirm_limit, settings.progress)
        self.settings = settings
        self.by_cursor = settings.paging == "cursor"
        self.users = Part()
        self.last: str | None = None  # the last user that a page has shown
        self.roles: dict[str, Role] = {}
        self.assigned: list[Grant] = []

    def all(self) -> Iterator[Batch]:
        """Roles are those that users hold: SCIM has no list of them."""
        yield from self.scope(Scope.USERS, self.read_users)
        yield from self.scope(Scope.ROLES, partial(self._of_users, RolesRead([*self.roles.values()])))
        yield from self.scope(Scope.DETAILS, partial(self._of_users, DetailsRead(self.assigned)))
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
        for where, data in self._pages(part, "users", USERS):
            for one in decoded(data, decode_held, part, where):
                self.last = one.id
                self._hold(one)
            seen = self.accounts(data, part, where)
            if seen:
                yield AccountsRead(seen)
        if not part.faults:
            yield from self.confirm(part)

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
        records: dict[str, GroupRecord] = {}
        yield from self.scope(Scope.GROUPS, partial(self._list_groups, records))
        for done, (group_id, record) in enumerate(records.items(), 1):
            yield from self.scope(Scope.members(group_id), partial(self._members, record))
            self.progress("members", done, len(records))

    def _list_groups(self, records: dict[str, GroupRecord], part: Part) -> Iterator[Batch]:
        """What was read of them is told even when the list broke off."""
        try:
            for where, data in self._pages(part, "groups", GROUPS):
                records |= {record.id: record for record in decoded(data, decode_group, part, where)}
        finally:
            if part.answers:
                yield GroupsRead([group_of(record) for record in records.values()], [])

    def _members(self, record: GroupRecord, part: Part) -> Iterator[Batch]:
        """Some servers leave members out of lists: a group that shows none there is asked for by its id."""
        part.answers += 1
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

    def _pages(self, part: Part, kind: str, path: str) -> Iterator[tuple[str, list[Raw]]]:
        """Every page, and a fault when the server's own count says that there was more.

        The count may move meanwhile: who came or went is on one page more or less, so the smallest one is expected.
        """
        shown, totals = set[int](), list[int]()
        pages = self._by_cursor(part, kind, path) if self.by_cursor else self._by_index(part, kind, path)
        for number, page in enumerate(pages, 1):
            data, where = page.Resources or [], f"{kind} page {number}"
            before = len(shown)
            shown |= {hash(one.id) for one in decoded(data, decode_held, Part(), where)}
            if data and len(shown) == before:
                raise SourceError(f"{where}: it repeats records that other pages have shown, and brings no new one")
            totals += [page.totalResults] if page.totalResults is not None else []
            self.count(kind, len(data))
            self.progress(kind, len(shown), page.totalResults)
            yield where, data
        if totals and len(shown) < min(totals):
            part.fault(f"the server counts {min(totals)} {kind} and showed {len(shown)}")

    def _by_index(self, part: Part, kind: str, path: str) -> Iterator[ListResponse]:
        """The server may return fewer than asked for (RFC 7644, 3.4.2.4), so the next index follows from what came."""
        start = 1
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
            yield page
            start += len(page.Resources or ())
            if start > page.totalResults or not page.Resources:
                return

    def _by_cursor(self, part: Part, kind: str, path: str) -> Iterator[ListResponse]:
        """`count` stays the same in every request, or a cursor is no longer valid (RFC 9865)."""
        cursor, seen, empty = "", set[str](), 0
        while True:
            page = self._page(part, kind, Ask(path, {"cursor": cursor, "count": self.settings.count}))
            yield page
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
        start, cursor = ask.params.get("startIndex"), str(ask.params.get("cursor", ""))
        self.proof.page(kind, self.cursor_told(cursor) if start is None else f"from {start}", page.totalResults)
        return page
