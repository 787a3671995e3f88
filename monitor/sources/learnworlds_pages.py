"""LearnWorlds' own pages, members and role details, whoever passes them on.

The API numbers its pages; a page past the end is the last one again, and a group without members answers 404.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from functools import partial
from itertools import chain

import msgspec
from msgspec import Raw

from monitor.domain.observed import Grant, Group
from monitor.domain.reading import (
    Batch,
    DetailsRead,
    MembersRead,
    Outcome,
    Progress,
    Recall,
    Resumed,
    Scope,
    ScopeEnded,
)
from monitor.errors import AuthError, SourceError
from monitor.sources.answer import Answer, Ask, Refused, Unreachable
from monitor.sources.http import Reader
from monitor.sources.learnworlds_records import Meta, Page, assigned_of, decode_detail, decode_member, decode_page
from monitor.sources.scopes import Part, Polling, decoded, whole

GROUP_PAGE = 20  # what a page of groups or of members holds unless the API says otherwise


class SchoolPolling(Polling):
    """One poll of a school. How its members and role details are asked for is filled in."""

    def __init__(self, reader: Reader, recall: Recall, confirm_limit: int, progress: Progress) -> None:
        super().__init__(reader, recall, confirm_limit, progress)
        self.groups: dict[str, Group] = {}

    def go_on_after(self, earlier: Resumed) -> None:
        super().go_on_after(earlier)
        if Scope.GROUPS in earlier.done:
            self.groups = {g.id: g for g in earlier.groups}

    def members_page(self, group_id: str, number: int = 1) -> Ask:
        raise NotImplementedError

    def user_role(self, account_id: str) -> Ask:
        raise NotImplementedError

    # members

    def no_members(self) -> Iterator[Batch]:
        yield ScopeEnded(Scope.MEMBERS, Outcome.UNREAD, "the config says members = false")

    def read_members(self) -> Iterator[Batch]:
        """The first page of several groups is fetched ahead; the further pages of a group, while it is read."""
        names = {g: Scope.members(g) for g in self.groups}
        groups = [g for g, name in names.items() if name not in self.done and self.recall.due(name)]
        for done, (group_id, future) in enumerate(self.each("members", groups, self.members_page, decode_page), 1):
            yield from self.scope(Scope.members(group_id), partial(self.members_of, group_id, future))
            self.progress("members", done, len(groups))

    def members_of(self, group_id: str, first: Future[Answer[Page | list[Raw]]], part: Part) -> Iterator[Batch]:
        members = self.ids_listed("members", partial(self.members_page, group_id), first, part)
        if not part.faults:
            self.count("members", len(members))
            yield MembersRead(group_id, members)

    def ids_listed(
        self, kind: str, ask: Callable[[int], Ask], first: Future[Answer[Page | list[Raw]]], part: Part
    ) -> list[str]:
        """Who is in a group or a seat offering, in both documented shapes of the answer."""
        try:
            answer = first.result()
        except Refused as error:
            if error.status != 404 or "users not found" not in (error.said or "").lower():
                raise
            return []  # nobody: 404 {"error": "Users not found"} (API v2)
        if isinstance(answer.value, list):
            return self._bare_ids(kind, ask, answer, part)
        pages = self.pages(part, kind, ask, GROUP_PAGE, first)
        return list(dict.fromkeys(i for n, data, _ in pages for i in decoded(data, _member_id, part, f"page {n}")))

    def _bare_ids(
        self, kind: str, ask: Callable[[int], Ask], answer: Answer[Page | list[Raw]], part: Part
    ) -> list[str]:
        """Bare arrays do not say how many pages there are, and a page past the end is the last one again (API v2)."""
        found: dict[str, None] = {}
        number, before = 1, 0
        while True:
            data = self.records(self.got(part, kind, answer), ask(number).path)
            size = len(found)
            found.update(dict.fromkeys(decoded(data, _member_id, part, f"page {number}")))
            if len(found) == size or len(data) < max(GROUP_PAGE, before):
                return list(found)
            number, before = number + 1, len(data)
            self.asking(kind)
            answer = self.reader.fetch(ask(number), decode_page)

    # role details

    def read_details(self, part: Part) -> Iterator[Batch]:
        assigned: list[Grant] = []
        for account_id, future in self.each("role_details", self.recall.privileged(), self.user_role, whole):
            try:
                detail = decode_detail(self.got(part, "role_details", future.result()))
                assigned += assigned_of(account_id, detail)
            except (AuthError, Unreachable):
                raise
            except SourceError as error:
                # not there any more: the next poll tells what became of the account
                if not (isinstance(error, Refused) and error.gone):
                    part.fault(str(error))
            except ValueError as error:
                part.fault(f"role of user {account_id}: {error}")
        self.count("role_details", len(assigned))
        if assigned:
            yield DetailsRead(assigned)

    # what is on no list any more

    def confirm_listed(
        self, kind: str, recorded: list[str], found: Collection[str], ask: Callable[[str], Ask], part: Part
    ) -> None:
        """Nothing tells how long a list should have been: what is missing on it is asked for before it counts as gone.

        Where one that is listed is not found that way, no such answer is believed.
        """
        missing = [i for i in recorded if i not in found]
        witness = next(iter(found), None) if missing else None
        if witness is not None and self._is_gone(kind, ask(witness), part):
            raise SourceError(f"{ask(witness)}: not found, though a page has just shown it, so no 404 is believed")
        for one in missing[: self.confirm_limit]:
            if not self._is_gone(kind, ask(one), part):
                part.fault(f"{kind}: {one} is there, and was not on the list")
        if len(missing) > self.confirm_limit:
            part.fault(f"{len(missing)} {kind} were not on any page, {self.confirm_limit} could be confirmed")

    def _is_gone(self, kind: str, ask: Ask, part: Part) -> bool:
        self.asking(kind)
        try:
            self.got(part, kind, self.reader.fetch(ask, whole))
        except Refused as error:
            if not error.gone:
                raise
            return True
        return False

    # asking

    def pages(
        self,
        part: Part,
        kind: str,
        ask: Callable[[int], Ask],
        size: int,
        first: Future[Answer[Page | list[Raw]]] | None = None,
        start: int = 1,
        called: str = "",
    ) -> Iterator[tuple[int, list[Raw], Meta]]:
        """Every page, by what each says of the total: a list may grow or shrink while it is read.

        `called`: in the proof, where one kind has several lists.
        """
        total = start
        upcoming = start if first is None else 2

        def following() -> Ask | None:
            nonlocal upcoming
            if upcoming > total:
                return None
            upcoming += 1
            self.asking(kind)
            return ask(upcoming - 1)

        later = (future for _, future in self.reader.ahead(following, decode_page))
        before: list[bytes] = []
        for number, future in enumerate(chain(() if first is None else (first,), later), start):
            page = self.got(part, kind, future.result())
            data, meta = self.records(page, ask(number).path), meta_of(page, ask(number))
            total, ends = meta.totalPages, [hashlib.sha256(raw).digest() for raw in (*data[:1], *data[-1:])]
            if first is None:
                self.proof.page(called or kind, f"page {number}", meta.totalItems)
            if number <= total:
                _refuse_repeated(ask(number), meta, number, repeated=number > start and ends == before)
                _expect_full(part, meta, number, len(data), size)
            if number <= total or ends != before:
                yield number, data, meta
            if number >= total:
                return  # past the end comes the last page again, never an empty one (API v2)
            before = ends

    def records(self, page: Page | list[Raw], where: str) -> list[Raw]:
        """Some consumers of the API saw errors sent with status 200."""
        if isinstance(page, list):
            return page
        if page.success is False or page.data is None:
            said = self.reader.clean(msgspec.json.encode(page.errors or page.error))
            raise SourceError(f"GET {where}: answered 200 without records: {said}")
        return page.data


def _member_id(raw: Raw) -> str:
    member = decode_member(raw)
    if not member.id:
        raise ValueError("the id is empty")
    return member.id


def meta_of(page: Page | list[Raw], ask: Ask) -> Meta:
    if isinstance(page, list) or page.meta is None:
        raise SourceError(f"{ask}: without `meta` there is no telling how many pages there are")
    return page.meta


def _refuse_repeated(ask: Ask, meta: Meta, number: int, *, repeated: bool) -> None:
    if meta.page not in (None, number):
        raise SourceError(f"{ask} of {meta.totalPages}: the answer is page {meta.page}")
    if repeated:
        raise SourceError(f"{ask} of {meta.totalPages}: the answer repeats the page before")


def _expect_full(part: Part, meta: Meta, number: int, records: int, size: int) -> None:
    """Only the last page may be short. (A repeated `data` key would silently win over the first.)"""
    expected = meta.itemsPerPage or size
    if number < meta.totalPages and records < expected:
        part.fault(f"page {number} of {meta.totalPages} holds {records} records instead of {expected}")
