"""A LearnWorlds school, read through its API v2: users, roles, groups and who belongs to them. Nothing is ever written.

There is no "changed since" filter and no history, so every poll reads every page; a record that is byte for byte
what it was last time is not even decoded. What is on no page is asked for by its id before it counts as gone.
"""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from msgspec import Raw

from monitor.domain.observed import Account, Activity, Grant, Group
from monitor.domain.reading import (
    AccountsRead,
    Batch,
    Clock,
    GroupsRead,
    KeepPage,
    Lane,
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
from monitor.sources.answer import Ask, Refused, Unreachable
from monitor.sources.gate import RateGate
from monitor.sources.http import Caps, Inline, Reader, open_client
from monitor.sources.learnworlds_cost import requests
from monitor.sources.learnworlds_events import read_events
from monitor.sources.learnworlds_pages import GROUP_PAGE, SchoolPolling, meta_of
from monitor.sources.learnworlds_records import (
    KEPT_FIELDS,
    Meta,
    RoleIds,
    account_of,
    activity_of,
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
from monitor.sources.learnworlds_seats import read_seats
from monitor.sources.scopes import Part, decoded, silent

API = "/admin/api"
USERS = "/v2/users"
GROUPS = "/v2/user_groups"
ROLES = "/v2/user-roles"
EVEN_SUSPENDED = {"include_suspended": "true"}  # suspended users are hidden unless asked for: LearnWorlds API v2
MOST_PER_PAGE = 200  # API v2, items_per_page

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
        read_seats: bool = False,
        events_back: timedelta | None = None,
        pages_ahead: int = 4,
        transport: httpx.BaseTransport | None = None,
        progress: Progress | None = None,
        gate: RateGate | None = None,
        caps: Caps | None = None,
        pool: Pool = ThreadPoolExecutor,
    ) -> None:
        """`events_back`: how far back event logs are read the first time; None never reads them.

        `gate` keeps the rate with others who ask the same school. `pool` makes the threads that fetch ahead; with
        `pages_ahead` 1 there are none.
        """
        self._lane, self.resumes, self.cut_off = Lane.FULL, True, False
        self._only: str | None = None
        self.name, self.proof, self.rate = name, Proof(), rate
        self._url, self._client_id = url.strip().rstrip("/").removesuffix(API), client_id
        self._credentials = Tokens(client_id, token, client_secret)
        self._clock, self._gate = clock, gate or RateGate(clock, *rate)
        self._caps = caps
        self._transport, self._pool, self._ahead = transport, pool, max(1, pages_ahead)
        self._settings = Settings(
            min(max(page_size, 1), MOST_PER_PAGE),
            confirm_limit,
            frozenset(kept_fields),
            read_members,
            read_details,
            read_seats,
            events_back,
            clock,
            progress or silent,
        )

    def read(self, recall: Recall) -> Iterator[Batch]:
        parts = urlsplit(self._url)
        endpoint = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{API}"
        self.proof = Proof(endpoint=endpoint, filters=dict(EVEN_SUSPENDED))
        with self._reader(self.proof, recall.keep_page()) as reader:
            reading = self._reading()(reader, recall, self._settings)
            reading.goes_on = self.resumes
            yield from reading.all() if self._only is None else reading.read_one(self._only)
            self.cut_off = reading.cut_off

    def fast_lane(self) -> LearnWorlds:
        """The same school, of which only those are read who are privileged or suspended."""
        lane = copy.copy(self)
        lane._lane, lane.resumes, lane.proof = Lane.FAST, False, Proof()
        return lane

    def one_account(self, account_id: str) -> LearnWorlds:
        """The same school, of which only this account is read."""
        lane = self.fast_lane()
        lane._lane, lane._only = Lane.ONE, account_id
        return lane

    def cost(self, sizes: Sizes) -> dict[str, int]:
        settings = self._settings
        return requests(
            sizes, self._lane, members=settings.read_members, details=settings.read_details,
            confirm_limit=settings.confirm_limit, seats=settings.read_seats,
            events=settings.events_back is not None,
        )  # fmt: skip

    def _reading(self) -> type[SchoolReading]:
        from monitor.sources.learnworlds_lane import FastReading

        return FastReading if self._lane.narrow else SchoolReading

    def check(self) -> str | None:
        """What is wrong with the connection and what to do, or None. Asks for one user."""
        with self._reader(Proof()) as reader:
            try:
                answer = reader.fetch(Ask(USERS, {"items_per_page": 1, "page": 1}), decode_page)
                meta_of(answer.value, Ask(USERS))
            except Refused as error:
                return f"{error}{_CHECK_ADVICE.get(error.status, '')}"
            except SourceError as error:
                return str(error)
        return None

    @contextmanager
    def _reader(self, proof: Proof, keep: KeepPage | None = None) -> Iterator[Reader]:
        pool = self._pool(self._ahead) if self._ahead > 1 else Inline()
        with open_client(self._transport, {"Lw-Client": self._client_id}) as client:
            reader = Reader(
                client, self._gate, self._clock, proof,
                base=self._url + API, credentials=self._credentials, pool=pool, ahead=self._ahead, caps=self._caps,
                keep=keep,
            )  # fmt: skip
            try:
                yield reader
            finally:
                reader.close()


_CHECK_ADVICE = {
    403: ". LearnWorlds has its API on the plans Learning Center and High Volume & Corporate: check the school's plan",
    404: ". The url is the school's own address, such as https://yourschool.learnworlds.com",
}


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
    read_seats: bool
    events_back: timedelta | None
    clock: Clock
    progress: Progress


class SchoolReading(SchoolPolling):
    """One poll of a school."""

    def __init__(self, reader: Reader, recall: Recall, settings: Settings) -> None:
        super().__init__(reader, recall, settings.confirm_limit, settings.progress)
        self.settings = settings
        self.role_ids: RoleIds = {}
        self.digests_hold = False  # until the roles were read whole: without them a role has no id
        self.witness: Raw | None = None  # a user that a page has shown
        self.earlier = recall.earlier_part()
        if self.earlier is not None:
            self._go_on(self.earlier)

    def _go_on(self, earlier: Resumed) -> None:
        """What was read before the poll was cut off is not asked for again."""
        self.go_on_after(earlier)
        if Scope.ROLES in earlier.done:
            self.role_ids, self.digests_hold = role_ids(earlier.roles), True

    def account_in(self, raw: Raw) -> tuple[Account, Activity]:
        user = decode_user(raw)
        return account_of(user, self.role_ids, self.settings.kept_fields), activity_of(user)

    def user(self, account_id: str) -> Ask:
        return Ask(f"{USERS}/{quote(account_id, safe='')}", EVEN_SUSPENDED)

    def witness_id(self) -> str | None:
        try:
            return None if self.witness is None else decode_member(self.witness).id
        except ValueError:
            return None

    def all(self) -> Iterator[Batch]:
        yield from self.scope(Scope.ROLES, self.read_roles)
        yield from self.scope(Scope.USERS, self.read_users)
        yield from self.scope(Scope.GROUPS, self.read_groups)
        yield from self.read_members() if self.settings.read_members else self.no_members()
        if self.settings.read_seats and self.recall.due(Scope.SEATS):
            yield from self.scope(Scope.SEATS, partial(read_seats, self), optional=True)
        if self.settings.events_back is not None and self.recall.due(Scope.EVENTS):
            work = partial(read_events, self, self.settings.clock.now(), self.settings.events_back)
            yield from self.scope(Scope.EVENTS, work, optional=True)
        if self.settings.read_details and self.recall.due(Scope.DETAILS):
            yield from self.scope(Scope.DETAILS, self.read_details)

    def members_page(self, group_id: str, number: int = 1) -> Ask:
        return Ask(f"{GROUPS}/{quote(group_id, safe='')}/users", {"items_per_page": MOST_PER_PAGE, "page": number})

    def user_role(self, account_id: str) -> Ask:
        return Ask(f"{USERS}/{quote(account_id, safe='')}/user-role")

    # roles

    def read_roles(self, part: Part) -> Iterator[Batch]:
        self.asking("roles")
        page = self.got(part, "roles", self.reader.fetch(Ask(ROLES), decode_page))
        roles = list(decoded(self.records(page, ROLES), lambda raw: role_of(decode_role(raw)), part, "roles"))
        self.count("roles", len(roles))
        yield RolesRead(roles)
        if not part.faults:
            self.role_ids, self.digests_hold = role_ids(roles), True

    # users

    def read_users(self, part: Part) -> Iterator[Batch]:
        earlier = self.earlier.pages.get(Scope.USERS) if self.earlier else None
        if earlier is not None and (yield from self._goes_on(part, earlier)):
            self.proof.resumed["users"] = f"from page {earlier.number}"
        else:
            if earlier is not None:
                self.proof.resumed["users"] = "begun anew: the rows have moved too far"
            yield from self._read_users(part, 1)
        if not part.faults:
            yield from self.confirm(part)

    def _goes_on(self, part: Part, earlier: PageRead) -> Generator[Batch, None, bool]:
        """Reads on from the page that was read last, if that still shows its first or its last row: the newest come
        first, so rows only move down when somebody joins and up when somebody is deleted, and whatever came after one
        of its rows is on this page or on a later one.
        """
        pages = self._pages_of_users(part, earlier.number)
        number, data, _ = next(pages, (0, [], None))
        if not set(earlier.ends) & set(decoded(data, lambda raw: decode_member(raw).id, Part(), "")):
            pages.close()
            return False
        yield from self._users_on(part, number, data)
        for number, data, _ in pages:
            yield from self._users_on(part, number, data)
        return True

    def _read_users(self, part: Part, start: int) -> Iterator[Batch]:
        for number, data, _ in self._pages_of_users(part, start):
            yield from self._users_on(part, number, data)

    def _pages_of_users(self, part: Part, start: int) -> Generator[tuple[int, list[Raw], Meta], None, None]:
        size = self.settings.page_size
        for number, data, meta in self.pages(part, "users", partial(_users_page, size), size, start=start):
            self.count("users", len(data))
            self.progress("users", self.proof.records["users"], meta.totalItems)
            yield number, data, meta

    def _users_on(self, part: Part, number: int, data: list[Raw]) -> Iterator[Batch]:
        self.witness = data[-1] if data else self.witness
        seen = self.accounts(data, part, f"page {number}")
        if seen:
            yield AccountsRead(seen)
        if not part.faults:
            ends = [decode_member(raw).id for raw in (*data[:1], *data[-1:])]
            yield PageRead(Scope.USERS, number, ends, self.so_far())

    # groups

    def read_groups(self, part: Part) -> Iterator[Batch]:
        """What was read of them is told even when the list broke off."""
        managers: dict[Grant, None] = {}
        broken: SourceError | None = None
        try:
            for number, data, meta in self.pages(part, "groups", _groups_page, GROUP_PAGE):
                self.count("groups", len(data))
                for group, managed in decoded(data, _group, part, f"page {number}"):
                    self.groups[group.id] = group
                    managers.update(dict.fromkeys(managed))
                self.progress("groups", len(self.groups), meta.totalItems)
            if not part.faults:
                self.confirm_listed("groups", self.recall.recorded(Scope.GROUPS), self.groups, _one_group, part)
        except SourceError as error:
            broken = error
        if part.answers:
            yield GroupsRead(list(self.groups.values()), list(managers))
        if broken is not None:
            raise broken


def _users_page(size: int, number: int) -> Ask:
    return Ask(USERS, {**EVEN_SUSPENDED, "items_per_page": size, "page": number})


def _groups_page(number: int) -> Ask:
    return Ask(GROUPS, {"items_per_page": MOST_PER_PAGE, "page": number})


def _one_group(group_id: str) -> Ask:
    return Ask(f"{GROUPS}/{quote(group_id, safe='')}")


def _group(raw: Raw) -> tuple[Group, list[Grant]]:
    record = decode_group(raw)
    return group_of(record), managers_of(record)
