"""One poll of a school through Truto: roles, users, groups, members, and what is on no page any more."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial

import msgspec
from msgspec import Raw, Struct

from monitor.domain.observed import Account, Activity, Role
from monitor.domain.reading import AccountsRead, Batch, Outcome, PageRead, Recall, Resumed, RolesRead, Scope, ScopeEnded
from monitor.errors import AuthError, SourceError
from monitor.sources.answer import Ask, Refused, Unreachable
from monitor.sources.http import Reader
from monitor.sources.learnworlds_records import decode_member
from monitor.sources.scopes import Part, cause_of, decoded
from monitor.sources.truto_api import Native, TrutoPage, Way, native_page, one_of
from monitor.sources.truto_connection import begin, forbidden
from monitor.sources.truto_groups import read_groups
from monitor.sources.truto_pages import CUSTOM, Settings, TrutoPolling
from monitor.sources.truto_records import RoleList

NO_TOOL = "no tool of the MCP server tells the members of a group; with token and integrated_account_id they are read"
MOVED = "begun anew: its cursor is not valid any more, or the rows have moved too far"
NATIVE = Native()


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


class TrutoReading(TrutoPolling):
    """What is read in which order, and what the answers mean."""

    def __init__(self, reader: Reader, recall: Recall, settings: Settings, way: Way) -> None:
        super().__init__(reader, recall, settings, way)
        self.roles = RoleList(())
        self.digests_hold = False  # until the roles were read whole: without them a role has no id
        self.witness: Raw | None = None  # a user that a page has shown
        self.suspended: str | None = None  # one of those that are suspended
        self.by_custom = False  # whether single accounts are asked for through /custom/
        self.earlier = recall.earlier_part()
        if self.earlier is not None:
            self._go_on(self.earlier)

    def _go_on(self, earlier: Resumed) -> None:
        self.go_on_after(earlier)
        if Scope.ROLES in earlier.done:
            self.roles, self.digests_hold = RoleList(earlier.roles), True

    def all(self) -> Iterator[Batch]:
        try:
            begin(self)
        except SourceError as error:
            self.over, self.over_for = str(error), cause_of(error)
        yield from self.scope(Scope.ROLES, self.read_roles)
        yield from self.scope(Scope.USERS, self.read_users)
        yield from self.scope(Scope.GROUPS, partial(read_groups, self))
        yield from self.read_members() if self.settings.read_members else self.no_members()
        if self.settings.read_details:
            yield from self.scope(Scope.DETAILS, self.read_details)

    def only(self, account_id: str) -> Iterator[Batch]:
        """One account, with the roles that are recorded."""
        self.roles, self.digests_hold = RoleList(self.recall.known_roles()), True
        try:
            begin(self)
        except SourceError as error:
            self.over = str(error)
        yield from self.read_one(account_id)

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
            page = self.got(part, "roles", self.reader.fetch(self.custom("/user-roles"), native_page))
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
            body = self.got(part, "confirm", self.reader.fetch(self.custom_user(witness), one_of))
        except Refused:
            return False
        self.by_custom = decode_member(body).id == witness
        return self.by_custom

    def user(self, account_id: str) -> Ask:
        return self.custom_user(account_id) if self.by_custom else self.way.user(account_id)

    def one(self, body: bytes) -> bytes:
        return one_of(body) if self.by_custom else self.way.one(body)

    def account_in(self, raw: Raw) -> tuple[Account, Activity]:
        way = NATIVE if self.by_custom else self.way
        account, activity, by = way.account(raw, self.roles, self.settings.kept_fields)
        if by is not None:
            self.proof.matched[by] = self.proof.matched.get(by, 0) + 1
        return account, activity

    # members and role details, which only LearnWorlds' own API has

    def read_members(self) -> Iterator[Batch]:
        """Where the first group is refused, so are all: that is one fault, and not one for each group."""
        groups = [g for g in self.groups if Scope.members(g) not in self.done]
        if self.settings.integrated_account is None:
            yield ScopeEnded(Scope.MEMBERS, self.outcome_without(), NO_TOOL)
            return
        for done, (group_id, future) in enumerate(self.each("members", groups, self.members_page, native_page), 1):
            refused = future.exception() if done == 1 else None
            if isinstance(refused, Refused) and forbidden(refused):
                yield ScopeEnded(Scope.MEMBERS, self.outcome_without(), f"not read: {refused}")
                return
            yield from self.scope(Scope.members(group_id), partial(self.members_of, group_id, future))
            self.progress("members", done, len(groups))

    def outcome_without(self) -> Outcome:
        """What was read before and cannot be any more is missing; what never could be was never promised."""
        return Outcome.FAILED if self.recall.recorded(Scope.MEMBERS) else Outcome.UNREAD


def _ends(records: list[Raw]) -> list[str]:
    return [shown.id for shown in map(_try_shown, records) if shown]


def _try_shown(raw: Raw) -> Shown | None:
    try:
        return _shown(raw)
    except ValueError:
        return None
