"""A LearnWorlds school, read through its API v2: users, roles, groups and who belongs to them. Nothing is ever written.

There is no "changed since" filter and no history, so every poll reads every page; a record that is byte for byte
what it was last time is not even decoded. What is on no page is asked for by its id before it counts as gone.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from msgspec import Raw

from monitor.domain.observed import Grant, Group, Role
from monitor.domain.reading import (
    AccountsGone,
    AccountsRead,
    Batch,
    Clock,
    DetailsRead,
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
from monitor.errors import AuthError, SourceError
from monitor.sources.http import Answer, Ask, Inline, RateGate, Reader, Refused, Unreachable, open_client
from monitor.sources.learnworlds_records import (
    KEPT_FIELDS,
    Meta,
    Page,
    RoleIds,
    account_of,
    activity_of,
    assigned_of,
    decode_detail,
    decode_group,
    decode_member,
    decode_page,
    decode_role,
    decode_user,
    group_of,
    managers_of,
    role_ids,
    role_of,
)

API = "/admin/api"
USERS = "/v2/users"
GROUPS = "/v2/user_groups"
EVEN_SUSPENDED = {"include_suspended": "true"}  # suspended users are hidden unless asked for: LearnWorlds API v2
MOST_PER_PAGE = 200  # API v2, items_per_page
GROUP_PAGE = 20  # what a page of groups or of members holds unless the API says otherwise
MANY_FAULTS = 3  # how many are told one by one

Pool = Callable[[int], Executor]


class LearnWorlds:
    """The source of one school. `rate`: requests and seconds, 30 in 10 s by the API's documentation."""

    def __init__(
        self,
        name: str,
        url: str,
        client_id: str,
        token: str | None = None,
        client_secret: str | None = None,
        *,
        clock: Clock,
        rate: tuple[int, float] = (30, 10.0),
        page_size: int = MOST_PER_PAGE,
        confirm_limit: int = 200,
        kept_fields: Iterable[str] = KEPT_FIELDS,
        read_members: bool = True,
        read_details: bool = True,
        pages_ahead: int = 4,
        transport: httpx.BaseTransport | None = None,
        progress: Progress | None = None,
        pool: Pool = ThreadPoolExecutor,
    ) -> None:
        """`pool` makes the threads that fetch ahead; with `pages_ahead` 1 there are none."""
        self.name, self.proof = name, Proof()
        self._url, self._client_id = url.strip().rstrip("/").removesuffix(API), client_id
        self._credentials = Tokens(client_id, token, client_secret)
        self._clock, self._gate = clock, RateGate(clock, *rate)
        self._transport, self._pool, self._ahead = transport, pool, max(1, pages_ahead)
        self._settings = Settings(
            min(max(page_size, 1), MOST_PER_PAGE),
            confirm_limit,
            frozenset(kept_fields),
            read_members,
            read_details,
            progress or _silent,
        )

    def read(self, recall: Recall) -> Iterator[Batch]:
        parts = urlsplit(self._url)
        endpoint = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{API}"
        self.proof = Proof(endpoint=endpoint, filters=dict(EVEN_SUSPENDED))
        with self._reader(self.proof) as reader:
            yield from _Reading(reader, recall, self._settings).all()

    def check(self) -> str | None:
        """What is wrong with the connection and what to do, or None. Asks for one user."""
        with self._reader(Proof()) as reader:
            try:
                answer = reader.fetch(Ask(USERS, {"items_per_page": 1, "page": 1}), decode_page)
                _records(answer.value, "users")
            except Refused as error:
                return f"{error}{_CHECK_ADVICE.get(error.status, '')}"
            except SourceError as error:
                return str(error)
        return None

    @contextmanager
    def _reader(self, proof: Proof) -> Iterator[Reader]:
        pool = self._pool(self._ahead) if self._ahead > 1 else Inline()
        with open_client(self._transport, {"Lw-Client": self._client_id}) as client:
            reader = Reader(
                client, self._gate, self._clock, proof,
                base=self._url + API, credentials=self._credentials, pool=pool, ahead=self._ahead,
            )  # fmt: skip
            try:
                yield reader
            finally:
                reader.close()


_CHECK_ADVICE = {
    403: ". LearnWorlds offers its API on the plans Learning Center and High Volume & Corporate: check the school's plan",
    404: ". The url is the school's own address, such as https://yourschool.learnworlds.com",
}


def _silent(what: str, done: int, of: int | None) -> None:
    pass


class Tokens:
    """The access token of one school: given, or fetched with the client's secret, and renewed when it is refused."""

    def __init__(self, client_id: str, token: str | None, client_secret: str | None) -> None:
        self._client_id, self._secret = client_id, (client_secret or "").strip()
        self._token = (token or "").strip()
        self._lock = threading.Lock()

    def token(self, reader: Reader) -> str:
        with self._lock:
            if not self._token:
                self._token = self._fetch(reader)
            return _sendable(self._token, "access token")

    def renew(self, reader: Reader, stale: str) -> str:
        """Threads that were refused together renew once."""
        with self._lock:
            if self._token == stale:
                self._token = self._fetch(reader)
            return self._token

    def secrets(self) -> tuple[str, ...]:
        return tuple(s for s in (self._token, self._secret) if s)

    def _fetch(self, reader: Reader) -> str:
        if not self._secret:
            raise AuthError(
                "LearnWorlds refused the access token (401), and there is no client secret to renew it with. "
                "Create a new one in LearnWorlds under Settings > Developers > API, or set the client secret"
            )
        asked = {"client_id": self._client_id, "client_secret": self._secret, "grant_type": "client_credentials"}
        try:
            answer = reader.fetch(Ask("/oauth2/access_token", form={"data": json.dumps(asked)}), _token_in)
        except Unreachable:
            raise
        except SourceError as error:
            raise AuthError(
                f"no access token: {error}. Check client id and secret in LearnWorlds under Settings > Developers > API"
            ) from error
        return _sendable(answer.value, "access token")


def _token_in(body: bytes) -> str:
    """`tokenData.access_token`; some schools are said to answer with `access_token` at the top."""
    answer = msgspec.json.decode(body)
    for holder in (answer.get("tokenData"), answer) if isinstance(answer, dict) else ():
        if isinstance(holder, dict) and isinstance(holder.get("access_token"), str) and holder["access_token"]:
            return str(holder["access_token"])
    raise SourceError("the answer holds no access token")


def _sendable(token: str, what: str) -> str:
    if not (token.isascii() and token.isprintable()):
        raise AuthError(f"the {what} has characters that cannot be sent; copy it again")
    return token


@dataclass(frozen=True, slots=True)
class Settings:
    page_size: int
    confirm_limit: int
    kept_fields: frozenset[str]
    read_members: bool
    read_details: bool
    progress: Progress


@dataclass(slots=True)
class Part:
    """A scope while it is read: how many answers came, and what was wrong."""

    answers: int = 0
    faults: list[str] = field(default_factory=list)
    stopped: bool = False  # an error broke it off

    def ended(self, name: str) -> ScopeEnded:
        if not self.faults:
            return ScopeEnded(name, Outcome.COMPLETE)
        more = len(self.faults) - MANY_FAULTS
        reason = "; ".join(self.faults[:MANY_FAULTS]) + (f"; and {more} more" if more > 0 else "")
        return ScopeEnded(name, Outcome.PARTIAL if self.answers else Outcome.FAILED, reason)


class _Reading:
    """One poll of a school."""

    def __init__(self, reader: Reader, recall: Recall, settings: Settings) -> None:
        self.reader, self.proof, self.recall, self.settings = reader, reader.proof, recall, settings
        self.over: str | None = None  # why nothing more can be read
        self.role_ids: RoleIds | None = None  # None: the roles were not read whole
        self.groups: dict[str, Group] = {}
        self.ids: set[int] = set()  # hashes of the ids that were decoded: a third of the memory of the ids
        self.witness: Raw | None = None

    def all(self) -> Iterator[Batch]:
        yield from self.scope(Scope.ROLES, self.roles)
        yield from self.scope(Scope.USERS, self.users)
        yield from self.scope(Scope.GROUPS, self.read_groups)
        if self.settings.read_members:
            yield from self.members()
        if self.settings.read_details:
            yield from self.scope(Scope.DETAILS, self.details)

    def scope(self, name: str, work: Callable[[Part], Iterator[Batch]]) -> Iterator[Batch]:
        """Exactly one end for every scope, whatever happens in it."""
        if self.over is not None:
            yield ScopeEnded(name, Outcome.FAILED, f"not read: {self.over}")
            return
        part = Part()
        try:
            yield from work(part)
        except SourceError as error:
            if isinstance(error, AuthError | Unreachable):
                self.over = str(error)
            part.faults.append(str(error))
        yield part.ended(name)

    # roles

    def roles(self, part: Part) -> Iterator[Batch]:
        self._asking("roles")
        page = self._got(part, "roles", self.reader.fetch(Ask("/v2/user-roles"), decode_page))
        roles = list(_decoded(_records(page, "roles"), lambda raw: role_of(decode_role(raw)), part, "the list of roles"))
        self._count("roles", len(roles))
        yield RolesRead(roles)
        if not part.faults:
            self.role_ids = role_ids(roles)

    # users

    def users(self, part: Part) -> Iterator[Batch]:
        size = self.settings.page_size
        pages = self._pages(part, "users", lambda n: Ask(USERS, {**EVEN_SUSPENDED, "items_per_page": size, "page": n}), size)
        for number, data, meta in pages:
            self._count("users", len(data))
            if data:
                self.witness = data[-1]
            self.settings.progress("users", self.proof.records["users"], meta.totalItems)
            seen = self._accounts(data, part, f"page {number}")
            if seen:
                yield AccountsRead(seen)
        if not part.faults:
            yield from self._confirm(part)

    def _accounts(self, data: list[Raw], part: Part, where: str) -> list[SeenAccount]:
        """Those of these records that were not seen before. Runs once for every user of the school: local names."""
        known, sha256, ids, kept = self.recall.known, hashlib.sha256, self.ids, self.settings.kept_fields
        roles: RoleIds = self.role_ids or {}
        seen: list[SeenAccount] = []
        for position, raw in enumerate(data, 1):
            digest = sha256(raw).digest()[:16]
            if known(digest):
                continue
            try:
                user = decode_user(raw)
                account = account_of(user, roles, kept)
                seen.append(SeenAccount(account, activity_of(user), digest))
            except (ValueError, OverflowError, OSError) as error:
                part.faults.append(_fault("record", where, position, error))
                continue
            if not account.id:
                seen.pop()
                part.faults.append(f"{where}, record {position}: the id is empty")
                continue
            mark = hash(account.id)
            if mark in ids:
                self.proof.duplicates += 1
            ids.add(mark)
        return seen if self.role_ids is not None else [_undated(s) for s in seen]

    # confirmation

    def _confirm(self, part: Part) -> Iterator[Batch]:
        """Rows shift while pages are read, and one may slip through: only a 404 for the very id means gone."""
        ids, count = self.recall.missing(self.settings.confirm_limit)
        gone: list[str] = []
        for account_id, future in self._each("confirm", self._with_witness(ids), partial(_one, USERS, EVEN_SUSPENDED)):
            seen = self._asked_for(part, account_id, future)
            if account_id not in ids:
                if seen is None:
                    raise SourceError(f"{USERS}/{account_id}: not found, though a page has just shown it; so no 404 is believed")
                continue
            self.proof.confirmed += 1
            if seen is None:
                gone.append(account_id)
            elif seen:
                yield AccountsRead(seen)
        if gone:
            yield AccountsGone(gone)
        if count > len(ids):
            part.faults.append(f"{count} accounts were not on any page, {len(ids)} could be confirmed")

    def _with_witness(self, ids: list[str]) -> list[str]:
        """An account that a page has just shown, asked for first: an API that denies it would deny all the others."""
        if not ids or self.witness is None:
            return ids
        try:
            return [decode_member(self.witness).id, *ids]
        except ValueError:
            return ids

    def _asked_for(self, part: Part, account_id: str, future: Future[Answer[bytes]]) -> list[SeenAccount] | None:
        """One account, or None when the source says that it has none such; empty after any other answer."""
        try:
            body = self._got(part, "confirm", future.result())
        except (AuthError, Unreachable):
            raise
        except SourceError as error:
            if _not_found(error):
                return None
            part.faults.append(str(error))
            return []
        seen = self._accounts([Raw(body)], part, f"{USERS}/{account_id}")
        if seen and seen[0].account.id != account_id:
            part.faults.append(f"{USERS}/{account_id}: answered with another account, {seen[0].account.id!r}")
            return []
        return seen

    # groups

    def read_groups(self, part: Part) -> Iterator[Batch]:
        managers: list[Grant] = []
        broken: SourceError | None = None
        try:
            for number, data, meta in self._pages(
                part, "groups", lambda n: Ask(GROUPS, {"items_per_page": MOST_PER_PAGE, "page": n}), GROUP_PAGE
            ):
                self._count("groups", len(data))
                for record in _decoded(data, decode_group, part, f"page {number}"):
                    managers += [] if record.id in self.groups else managers_of(record)
                    self.groups[record.id] = group_of(record)
                self.settings.progress("groups", len(self.groups), meta.totalItems)
        except SourceError as error:
            broken = error
        if part.answers:
            yield GroupsRead(list(self.groups.values()), managers)
        if broken is not None:
            raise broken

    # members

    def members(self) -> Iterator[Batch]:
        """The first page of several groups is fetched ahead; the further pages of a group, while it is read."""
        done = 0
        for group_id, future in self._each("members", list(self.groups), _members_page):
            yield from self.scope(Scope.members(group_id), partial(self._members_of, group_id, future))
            done += 1
            self.settings.progress("members", done, len(self.groups))

    def _members_of(self, group_id: str, first: Future[Answer[Page | list[Raw]]], part: Part) -> Iterator[Batch]:
        try:
            answer = first.result()
        except Refused as error:
            if error.status != 404 or "users not found" not in (error.said or "").lower():
                raise
            part.answers += 1
            yield MembersRead(group_id, [])  # a group without members: 404 {"error": "Users not found"} (API v2)
            return
        where = f"group {group_id}"
        if isinstance(answer.value, list):
            ids = self._bare_members(group_id, answer, part)
        else:
            pages = self._pages(part, "members", partial(_members_page, group_id), GROUP_PAGE, first)
            ids = [i for n, data, _ in pages for i in _member_ids(data, part, f"{where}, page {n}")]
        if not part.faults:
            whole = list(dict.fromkeys(ids))
            self._count("members", len(whole))
            yield MembersRead(group_id, whole)

    def _bare_members(self, group_id: str, answer: Answer[Page | list[Raw]], part: Part) -> list[str]:
        """Bare arrays do not say how many pages there are, and a page past the end is the last one again (API v2)."""
        found: dict[str, None] = {}
        number, before = 1, 0
        while True:
            data = _records(self._got(part, "members", answer), "members")
            new = [i for i in _member_ids(data, part, f"group {group_id}, page {number}") if i not in found]
            found.update(dict.fromkeys(new))
            if not new or len(data) < max(GROUP_PAGE, before):
                return list(found)
            number, before = number + 1, len(data)
            self._asking("members")
            answer = self.reader.fetch(_members_page(group_id, number), decode_page)

    # role details

    def details(self, part: Part) -> Iterator[Batch]:
        assigned: list[Grant] = []
        ids = self.recall.privileged()
        for account_id, future in self._each("role_details", ids, partial(_one, USERS, {}, then="/user-role")):
            try:
                body = self._got(part, "role_details", future.result())
                assigned += assigned_of(account_id, decode_detail(body))
            except (AuthError, Unreachable):
                raise
            except SourceError as error:
                if not _not_found(error):  # gone since its page was read: the next poll sees to it
                    part.faults.append(str(error))
            except ValueError as error:
                part.faults.append(f"{USERS}/{account_id}/user-role: {error}")
        self._count("role_details", len(assigned))
        if assigned:
            yield DetailsRead(assigned)

    # paging

    def _pages(
        self,
        part: Part,
        kind: str,
        ask: Callable[[int], Ask],
        size: int,
        first: Future[Answer[Page | list[Raw]]] | None = None,
    ) -> Iterator[tuple[int, list[Raw], Meta]]:
        """Every page, by what each says of the total; a list may grow or shrink while it is read."""
        total, asked = 1, 0 if first is None else 1

        def following() -> Ask | None:
            nonlocal asked
            if asked >= total:
                return None
            asked += 1
            self._asking(kind)
            return ask(asked)

        given = [] if first is None else [first]
        later = (future for _, future in self.reader.ahead(following, decode_page))
        before: tuple[int, bytes, bytes] | None = None
        for number, future in enumerate(chain(given, later), 1):
            page = self._got(part, kind, future.result())
            data, meta = _records(page, kind), _meta(page, kind)
            total = meta.totalPages
            if meta.totalItems is not None:
                self.proof.totals[kind] = self.proof.totals.get(kind, 0) if first else meta.totalItems
            ends = (len(data), *(hashlib.sha256(r).digest() for r in (data[0], data[-1]))) if data else (0, b"", b"")
            if number <= total and (ends == before or meta.page not in (None, number)):
                said = f", and calls it page {meta.page}" if meta.page != number else ""
                raise SourceError(f"{ask(number)} of {total} repeats the page before{said}")
            if number < total and len(data) < (meta.itemsPerPage or size):
                part.faults.append(f"page {number} of {total} holds {len(data)} records, not {meta.itemsPerPage or size}")
            yield number, data, meta
            if number >= total:
                return  # past the end the last page is repeated (API v2): never wait for an empty one
            before = ends

    def _each[T](self) -> None: ...
