"""Truto's lists, of which each page names the next by a cursor, and what is asked of LearnWorlds itself through it."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Generator
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from monitor.domain.reading import Progress, Recall
from monitor.errors import SourceError
from monitor.sources.answer import Ask
from monitor.sources.http import Reader
from monitor.sources.learnworlds_pages import SchoolPolling
from monitor.sources.scopes import Part
from monitor.sources.truto_api import MOST_PER_PAGE, TrutoPage, Way

CUSTOM = "/custom/v2"  # what follows goes to LearnWorlds' own API, with the credentials that Truto holds
MOST_PAGES = 20_000
MOST_EMPTY_PAGES = 20  # in a row; an empty page with a cursor is no end


@dataclass(frozen=True, slots=True)
class Settings:
    integrated_account: str | None
    confirm_limit: int
    kept_fields: Collection[str]
    read_members: bool
    read_details: bool
    progress: Progress


class TrutoPolling(SchoolPolling):
    """One poll of a school through Truto: its settings, the way it is asked, and how its lists are read."""

    def __init__(self, reader: Reader, recall: Recall, settings: Settings, way: Way) -> None:
        super().__init__(reader, recall, settings.confirm_limit, settings.progress)
        self.settings, self.way = settings, way

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

    def members_page(self, group_id: str, number: int = 1) -> Ask:
        return self.custom(f"/user_groups/{quote(group_id, safe='')}/users", items_per_page=MOST_PER_PAGE, page=number)

    def user_role(self, account_id: str) -> Ask:
        return self.custom(f"/users/{quote(account_id, safe='')}/user-role")

    def custom_user(self, account_id: str) -> Ask:
        return self.custom(f"/users/{quote(account_id, safe='')}", include_suspended="true")

    def custom(self, path: str, **params: str | int) -> Ask:
        return Ask(CUSTOM + path, {"integrated_account_id": self.settings.integrated_account or "", **params})
