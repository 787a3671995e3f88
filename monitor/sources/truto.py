"""A LearnWorlds school, read through Truto: by its unified user directory, its proxy, or its MCP server.

The three give the same accounts, since LearnWorlds' own record lies in each of their answers and is read first.
Nothing is ever written.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal
from urllib.parse import quote, urlsplit

import httpx
import msgspec
from msgspec import Raw, Struct

from monitor.domain.observed import Account, Activity, Grant, Role
from monitor.domain.reading import (
    AccountsRead,
    Batch,
    Clock,
    GroupsRead,
    KeepPage,
    Outcome,
    PageRead,
    Progress,
    Proof,
    Recall,
    Resumed,
    RolesRead,
    Scope,
    ScopeEnded,
    Sizes,
)
from monitor.errors import AuthError, SourceError
from monitor.sources.answer import Ask, Refused, Unreachable
from monitor.sources.gate import RateGate
from monitor.sources.http import Caps, Inline, Reader, open_client
from monitor.sources.learnworlds_pages import SchoolPolling
from monitor.sources.learnworlds_records import KEPT_FIELDS, decode_member
from monitor.sources.scopes import Part, cause_of, decoded, silent
from monitor.sources.table import Nothing
from monitor.sources.truto_api import (
    MOST_PER_PAGE,
    RECONNECT,
    Native,
    Proxy,
    TrutoPage,
    TrutoToken,
    Unified,
    Way,
    native_page,
    one_of,
)
from monitor.sources.truto_mcp import Mcp
from monitor.sources.truto_records import IntegratedAccount, RoleList, decode_integrated

Api = Literal["unified", "proxy", "mcp"]
CUSTOM = "/custom/v2"  # what follows goes to LearnWorlds' own API, with the credentials that Truto holds
MOST_PAGES = 20_000
MCP_BEGINS = 3  # requests: initialize, initialized, tools/list
MOST_EMPTY_PAGES = 20  # in a row; an empty page with a cursor is no end

STATES = {
    "needs_reauth": f"LearnWorlds refused the credentials that Truto holds: {RECONNECT}",
    "connecting": "the connection was begun and not finished: finish it in Truto",
    "validation_error": "LearnWorlds did not accept what was entered: connect the school again in Truto",
    "post_install_error": "Truto could not finish setting it up: see its last error in Truto, and connect it again",
}

OF_CREDENTIALS = ("needs_reauth", "validation_error")  # only a person with good credentials can mend these

NO_TOOL = "no tool of the MCP server tells the members of a group; with token and integrated_account_id they are read"

NO_MANAGERS = 'without remote_data nobody knows who manages it; api = "proxy" reads it'

MOVED = "begun anew: its cursor is not valid any more, or the rows have moved too far"

Pool = Callable[[int], Executor]


class Truto:
    """The source of one integrated account. `rate`: LearnWorlds' limit, narrower than Truto's own 50 in 10 s."""

    def __init__(
        self,
        name: str,
        url: str = "https://api.truto.one",
        token: str | None = None,
        integrated_account: str | None = None,
        *,
        api: Api = "unified",
        mcp_url: str | None = None,
        clock: Clock,
        rate: tuple[int, float] = (30, 10.0),
        confirm_limit: int = 200,
        kept_fields: Iterable[str] = KEPT_FIELDS,
        read_members: bool = True,
        read_details: bool = False,
        pages_ahead: int = 4,
        transport: httpx.BaseTransport | None = None,
        progress: Progress | None = None,
        gate: RateGate | None = None,
        caps: Caps | None = None,
        pool: Pool = ThreadPoolExecutor,
    ) -> None:
        """`mcp_url` lies below `url`, since the token is sent there."""
        self.name, self.proof, self.rate = name, Proof(), rate
        self.resumes, self.cut_off = True, False
        self._only: str | None = None
        self._url, self._api, self._mcp = url.strip().rstrip("/"), api, (mcp_url or "").strip()
        self._path = urlsplit(self._mcp).path
        self._token = TrutoToken(token, self._mcp, self._path.rpartition("/")[2])
        self._clock, self._gate = clock, gate or RateGate(clock, *rate)
        self._caps = caps
        self._transport, self._pool, self._ahead = transport, pool, max(1, pages_ahead)
        self._settings = Settings(
            integrated_account,
            confirm_limit,
            frozenset(kept_fields),
            read_members,
            read_details and integrated_account is not None,
            progress or silent,
        )

    def read(self, recall: Recall) -> Iterator[Batch]:
        way = self._way()
        self.proof = Proof(endpoint=self._url + way.endpoint)
        with self._reader(self.proof, recall.keep_page()) as reader:
            reading = _Reading(reader, recall, self._settings, way)
            reading.goes_on = self.resumes
            yield from reading.all() if self._only is None else reading.only(self._only)
            self.cut_off = reading.cut_off

    def cost(self, sizes: Sizes) -> dict[str, int]:
        """Truto makes one request of each of ours; `begin`: what is asked before anything is read."""
        settings, own = self._settings, self._settings.integrated_account is not None
        found = {"begin": own + (MCP_BEGINS if self._api == "mcp" else 0), Scope.ROLES: 1}
        found |= {Scope.USERS: _pages(sizes.accounts), Scope.GROUPS: _pages(len(sizes.groups))}
        if settings.read_members and own:
            found["members"] = sum(map(_pages, sizes.groups))
        if settings.read_details:
            found[Scope.DETAILS] = sizes.privileged
        return found

    def one_account(self, account_id: str) -> Truto:
        """The same school, of which only this account is read."""
        lane = copy.copy(self)
        lane._only, lane.resumes, lane.proof = account_id, False, Proof()
        return lane

    def check(self) -> str | None:
        """What is wrong with the connection and what to do, or None. Asks for one record of each kind."""
        with self._reader(Proof()) as reader:
            try:
                return _Reading(reader, Nothing(), self._settings, self._way()).check()
            except SourceError as error:
                return str(error)

    def _way(self) -> Way:
        if self._api == "mcp":
            return Mcp(self._path, self._token)
        account = self._settings.integrated_account or ""
        return Unified(account) if self._api == "unified" else Proxy(account)

    @contextmanager
    def _reader(self, proof: Proof, keep: KeepPage | None = None) -> Iterator[Reader]:
        pool = self._pool(self._ahead) if self._ahead > 1 else Inline()
        accept = {"Accept": "application/json, text/event-stream"} if self._api == "mcp" else {}
        with open_client(self._transport, accept) as client:
            if self._api == "mcp":
                client.event_hooks = {"response": [partial(_keep_session, client)]}
            reader = Reader(
                client, self._gate, self._clock, proof, base=self._url, credentials=self._token,
                explain=self._token.explain, pool=pool, ahead=self._ahead, caps=self._caps,
                keep=keep,
            )  # fmt: skip
            try:
                yield reader
            finally:
                reader.close()


def _pages(records: int) -> int:
    return max(1, -(-records // MOST_PER_PAGE))


def _keep_session(client: httpx.Client, response: httpx.Response) -> None:
    """A server that gives out a session wants it with every later request (MCP, Streamable HTTP)."""
    session = response.headers.get("mcp-session-id")
    if session and session.isascii() and session.isprintable():
        client.headers["Mcp-Session-Id"] = session


@dataclass(frozen=True, slots=True)
class Settings:
    integrated_account: str | None
    confirm_limit: int
    kept_fields: Collection[str]
    read_members: bool
    read_details: bool
    progress: Progress


class Shown(Struct):
    """As much of a record as says whether its user is suspended, unified or LearnWorlds' own."""

    id: str
    is_suspended: bool | None = None
    status: str | None = None
    remote_data: Shown | None = None

    @property
    def suspended(self) -> bool:
        own = self.remote_data or self
        return self.status == "inactive" if own.is_suspended is None else own.is_suspended


_shown = msgspec.json.Decoder(Shown).decode


class _Reading(SchoolPolling):
    """One poll of a school through Truto."""

    def __init__(self, reader: Reader, recall: Recall, settings: Settings, way: Way) -> None:
        super().__init__(reader, recall, settings.confirm_limit, settings.progress)
        self.settings, self.way = settings, way
        self.roles = RoleList(())
        self.digests_hold = False  # until the roles were read whole: without them a role has no id
        self.witness: Raw | None = None  # a user that a page has shown
        self.suspended: str | None = None  # one of those that are suspended
        self.custom = False  # whether single accounts are asked for through /custom/
        self.earlier = recall.earlier_part()
        if self.earlier is not None:
            self._go_on(self.earlier)

    def _go_on(self, earlier: Resumed) -> None:
        self.go_on_after(earlier)
        if Scope.ROLES in earlier.done:
            self.roles, self.digests_hold = RoleList(earlier.roles), True
        if Scope.GROUPS in earlier.done:
            self.groups = {g.id: g for g in earlier.groups}

    def all(self) -> Iterator[Batch]:
        try:
            self.begin()
        except SourceError as error:
            self.over, self.over_for = str(error), cause_of(error)
        yield from self.scope(Scope.ROLES, self.read_roles)
        yield from self.scope(Scope.USERS, self.read_users)
        yield from self.scope(Scope.GROUPS, self.read_groups)
        yield from self.read_members() if self.settings.read_members else self.no_members()
        if self.settings.read_details:
            yield from self.scope(Scope.DETAILS, self.read_details)

    def only(self, account_id: str) -> Iterator[Batch]:
        """One account, with the roles that are recorded."""
        self.roles, self.digests_hold = RoleList(self.recall.known_roles()), True
        try:
            self.begin()
        except SourceError as error:
            self.over = str(error)
        yield from self.read_one(account_id)

    def begin(self) -> None:
        """Raises SourceError when nothing can be read: an account that lost its connection is no empty school."""
        if self.settings.integrated_account is not None:
            ask = Ask(f"/integrated-account/{quote(self.settings.integrated_account, safe='')}")
            self.asking("integrated_account")
            found = self.got(Part(), "integrated_account", self.reader.fetch(ask, decode_integrated))
            if found.status != "active":
                kind = AuthError if found.status in OF_CREDENTIALS else SourceError
                raise kind(self._inactive(found))
        self.way.begin(self.reader)
        self.proof.filters = dict(self.way.filters)

    def _inactive(self, found: IntegratedAccount) -> str:
        advice = STATES.get(found.status or "", "see what Truto's dashboard says of it")
        said = f" (last error: {self.reader.clean(msgspec.json.encode(found.last_error))})" if found.last_error else ""
        return f"the integrated account is {found.status or 'without a status'}: {advice}{said}"

    def check(self) -> str | None:
        self.begin()
        missing = self.way.missing if isinstance(self.way, Mcp) else ()
        if missing:
            return f"the MCP server lacks {', '.join(missing)}: make one in Truto whose methods include read"
        for kind in ("users", "roles", "groups"):
            page = self.reader.fetch(self.way.listing(kind, None, limit=1), partial(self.way.page, kind)).value
        if self.settings.read_members and self.settings.integrated_account:
            return self._check_members(page.records[:1])
        return None

    def _check_members(self, groups: list[Raw]) -> str | None:
        part = Part()
        for group, _ in decoded(groups, self.way.group, part, "groups"):
            try:
                self.reader.fetch(self.members_page(group.id), native_page)
            except Refused as error:
                return _no_members(error) if _forbidden(error) else None
        return part.ended(Scope.GROUPS).reason

    # lists

    def listed(
        self, part: Part, kind: str, start: int = 1, cursor: str | None = None
    ) -> Generator[tuple[int, str | None, TrutoPage], None, None]:
        """Every page with its cursor, until there is none. Each has to bring something new, or they would never end."""
        cursors, pages, empty = set[str](), set[bytes](), 0
        for number in range(start, MOST_PAGES + 1):
            ask = self.way.listing(kind, cursor)
            self.asking(kind)
            page = self.got(part, kind, self.reader.fetch(ask, partial(self.way.page, kind)))
            self.proof.page(kind, self.cursor_told(cursor), page.total)
            self.count(kind, len(page.records))
            if page.fault:
                part.fault(f"{kind}, page {number}: {page.fault}")
            digest = hashlib.sha256(b"\n".join(page.records)).digest()
            if page.records and digest in pages:
                raise SourceError(f"{kind}, page {number}: it repeats an earlier page")
            yield number, cursor, page
            if page.cursor is None:
                return
            empty = 0 if page.records else empty + 1
            if empty > MOST_EMPTY_PAGES:
                raise SourceError(f"{kind}, page {number}: {empty} empty pages in a row, each with a cursor")
            if page.cursor in cursors:
                raise SourceError(f"{kind}, page {number}: its cursor was given before, so the pages go round")
            cursors.add(page.cursor)
            pages.add(digest)
            cursor = page.cursor
        raise SourceError(f"{kind}: more than {MOST_PAGES} pages")

    # roles

    def read_roles(self, part: Part) -> Iterator[Batch]:
        roles = self._roles(part)
        missing = set(self.recall.recorded(Scope.ROLES)) - roles.keys()
        if missing and not part.faults:
            found = missing & (self._own_role_ids(part) or self._roles(part).keys())
            if found:
                part.fault(f"{len(found)} roles are there, and were not on the list: {', '.join(sorted(found))}")
        yield RolesRead(list(roles.values()))
        if not part.faults:
            self.roles, self.digests_hold = RoleList(roles.values()), True

    def _roles(self, part: Part) -> dict[str, Role]:
        pages = self.listed(part, "roles")
        found = (r for n, _, page in pages for r in decoded(page.records, self.way.role, part, f"page {n}"))
        return {role.id: role for role in found}

    def _own_role_ids(self, part: Part) -> set[str] | None:
        """What LearnWorlds itself says, where Truto lets us ask: it has no way to ask for one role."""
        if self.settings.integrated_account is None:
            return None
        self.asking("roles")
        try:
            page = self.got(part, "roles", self.reader.fetch(self._custom("/user-roles"), native_page))
            return {decode_member(raw).id for raw in self.records(page, f"{CUSTOM}/user-roles")}
        except Refused:
            return None

    # users

    def read_users(self, part: Part) -> Iterator[Batch]:
        earlier = self.earlier.pages.get(Scope.USERS) if self.earlier else None
        if earlier is not None and (yield from self._goes_on(part, earlier)):
            self.proof.resumed["users"] = f"from page {earlier.number}"
        else:
            if earlier is not None:
                self.proof.resumed["users"] = MOVED
            for number, cursor, page in self.listed(part, "users"):
                yield from self._users_on(part, number, cursor, page)
        if not (self.way.shows_suspended or self.suspended):
            part.fault("nothing tells Truto to show suspended users, so some may be missing")
        if not part.faults:
            yield from self.confirm(part)

    def _goes_on(self, part: Part, earlier: PageRead) -> Generator[Batch, None, bool]:
        """Reads on from the page that was read last, if its cursor still holds and it shows its first or last row."""
        pages = self.listed(part, "users", earlier.number, earlier.cursor)
        try:
            number, cursor, page = next(pages)
        except (AuthError, Unreachable):
            raise
        except Refused as error:
            if error.passing:
                raise
            return False
        if not set(earlier.ends) & set(_ends(page.records)):
            pages.close()
            return False
        yield from self._users_on(part, number, cursor, page)
        for number, cursor, page in pages:
            yield from self._users_on(part, number, cursor, page)
        return True

    def _users_on(self, part: Part, number: int, cursor: str | None, page: TrutoPage) -> Iterator[Batch]:
        self._look_for_witnesses(page.records)
        self.progress("users", self.proof.records["users"], None)
        seen = self.accounts(page.records, part, f"page {number}")
        if seen:
            yield AccountsRead(seen)
        if not part.faults:
            yield PageRead(Scope.USERS, number, _ends([*page.records[:1], *page.records[-1:]]), self.so_far(), cursor)

    # confirmation

    def _look_for_witnesses(self, records: list[Raw]) -> None:
        self.witness = records[-1] if records else self.witness
        if self.suspended is None:
            self.suspended = next((s.id for s in map(_try_shown, records) if s and s.suspended), None)

    def witness_id(self) -> str | None:
        """One that is suspended, if there is any: where even those are found, a 404 does not mean "hidden"."""
        if self.suspended is not None:
            return self.suspended
        shown = None if self.witness is None else _try_shown(self.witness)
        return shown.id if shown else None

    def ask_witness(self, part: Part) -> None:
        """Where nobody suspended was shown, LearnWorlds is asked itself: its flag for them is documented."""
        if self.suspended is None:
            if self._custom_answers(part):
                return
            self.disbelief = "no suspended account was shown, so it may be suspended and hidden"
        super().ask_witness(part)

    def _custom_answers(self, part: Part) -> bool:
        """Whether /custom/ finds the witness: then the missing are asked for there, and so was the witness."""
        witness = self.witness_id()
        if witness is None or self.settings.integrated_account is None:
            return False
        self.asking("confirm")
        try:
            body = self.got(part, "confirm", self.reader.fetch(self._custom_user(witness), one_of))
        except Refused:
            return False
        self.custom = decode_member(body).id == witness
        return self.custom

    def user(self, account_id: str) -> Ask:
        return self._custom_user(account_id) if self.custom else self.way.user(account_id)

    def one(self, body: bytes) -> bytes:
        return one_of(body) if self.custom else self.way.one(body)

    def account_in(self, raw: Raw) -> tuple[Account, Activity]:
        way = NATIVE if self.custom else self.way
        account, activity, by = way.account(raw, self.roles, self.settings.kept_fields)
        if by is not None:
            self.proof.matched[by] = self.proof.matched.get(by, 0) + 1
        return account, activity

    # groups

    def read_groups(self, part: Part) -> Iterator[Batch]:
        """What was read of them is told even when the list broke off."""
        managers: dict[Grant, None] = {}
        broken: SourceError | None = None
        try:
            for number, _, page in self.listed(part, "groups"):
                self._add_groups(page.records, managers, part, f"page {number}")
                self.progress("groups", len(self.groups), None)
            if not part.faults:
                self._confirm_groups(managers, part)
        except SourceError as error:
            broken = error
        if part.answers:
            yield GroupsRead(list(self.groups.values()), list(managers))
        if broken is not None:
            raise broken

    def _add_groups(self, records: list[Raw], managers: dict[Grant, None], part: Part, where: str) -> None:
        for group, managed in decoded(records, self.way.group, part, where):
            self.groups[group.id] = group
            managers.update(dict.fromkeys(managed or ()))
            if managed is None:
                part.fault(f"group {group.id}: {NO_MANAGERS}")

    def _confirm_groups(self, managers: dict[Grant, None], part: Part) -> None:
        """Nothing tells how long the list should have been, so a group that is not on it is asked for, too."""
        missing = [g for g in self.recall.recorded(Scope.GROUPS) if g not in self.groups]
        witness = next(iter(self.groups), None) if missing else None
        if witness is not None and self._group_is_gone(witness, part, {}):
            raise SourceError(f"group {witness}: not found, though a page has just shown it, so no 404 is believed")
        for group_id in missing[: self.confirm_limit]:
            self._group_is_gone(group_id, part, managers)
        if len(missing) > self.confirm_limit:
            part.fault(f"{len(missing)} groups were not on any page, {self.confirm_limit} could be confirmed")

    def _group_is_gone(self, group_id: str, part: Part, managers: dict[Grant, None]) -> bool:
        """Where it is not, it is read; where nobody knows, the groups are not whole."""
        self.asking("groups")
        try:
            body = self.got(part, "groups", self.reader.fetch(self.way.one_group(group_id), self.way.one))
        except Refused as error:
            if not error.gone:
                part.fault(str(error))
            return error.gone
        self._add_groups([Raw(body)], managers, part, f"group {group_id}")
        if group_id not in self.groups:
            part.fault(f"group {group_id}: answered with another group")
        return False

    # members and role details, which only LearnWorlds' own API has

    def read_members(self) -> Iterator[Batch]:
        """Where the first group is refused, so are all: that is one fault, and not one for each group."""
        groups = [g for g in self.groups if Scope.members(g) not in self.done]
        if self.settings.integrated_account is None:
            yield ScopeEnded(Scope.MEMBERS, self.outcome_without(), NO_TOOL)
            return
        for done, (group_id, future) in enumerate(self.each("members", groups, self.members_page, native_page), 1):
            refused = future.exception() if done == 1 else None
            if isinstance(refused, Refused) and _forbidden(refused):
                yield ScopeEnded(Scope.MEMBERS, self.outcome_without(), f"not read: {refused}")
                return
            yield from self.scope(Scope.members(group_id), partial(self.members_of, group_id, future))
            self.progress("members", done, len(groups))

    def outcome_without(self) -> Outcome:
        """What was read before and cannot be any more is missing; what never could be was never promised."""
        return Outcome.FAILED if self.recall.recorded(Scope.MEMBERS) else Outcome.UNREAD

    def members_page(self, group_id: str, number: int = 1) -> Ask:
        return self._custom(f"/user_groups/{quote(group_id, safe='')}/users", items_per_page=MOST_PER_PAGE, page=number)

    def user_role(self, account_id: str) -> Ask:
        return self._custom(f"/users/{quote(account_id, safe='')}/user-role")

    def _custom_user(self, account_id: str) -> Ask:
        return self._custom(f"/users/{quote(account_id, safe='')}", include_suspended="true")

    def _custom(self, path: str, **params: str | int) -> Ask:
        return Ask(CUSTOM + path, {"integrated_account_id": self.settings.integrated_account or "", **params})


def _ends(records: list[Raw]) -> list[str]:
    return [shown.id for shown in map(_try_shown, records) if shown]


def _try_shown(raw: Raw) -> Shown | None:
    try:
        return _shown(raw)
    except ValueError:
        return None


def _forbidden(error: Refused) -> bool:
    """That there is no such way to LearnWorlds, or that it is closed; not that a group has no members."""
    return error.status in (403, 405) or (error.status == 404 and "users not found" not in (error.said or "").lower())


def _no_members(error: Refused) -> str:
    return f"{error}. Rules about members are unknown; if that is meant, set members = false in the config"


NATIVE = Native()
