"""The fast lane of a school: who is privileged or suspended, by the API's own filters, every few minutes.

It removes nobody, whatever the answers say. An account that the filters showed before and show no more is asked for
by its id, so that what became of it is seen at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from msgspec import Raw

from monitor.domain.observed import Account, Status
from monitor.domain.reading import AccountsRead, Batch, Recall, Scope, SeenAccount
from monitor.errors import SourceError
from monitor.sources.answer import Ask
from monitor.sources.http import Reader
from monitor.sources.learnworlds import EVEN_SUSPENDED, USERS, SchoolReading, Settings
from monitor.sources.learnworlds_records import role_ids
from monitor.sources.scopes import Part, to_be_read_again

LEVELS = ("admin", "instructor", "reporter", "license_reporter")  # API v2 has no filter for seat managers
FILTERS = (*({"role": level} for level in LEVELS), {"status": "suspended"})
EVERYBODY = 2**31


class FastReading(SchoolReading):
    """One poll of the fast lane, or of one account."""

    def __init__(self, reader: Reader, recall: Recall, settings: Settings) -> None:
        super().__init__(reader, recall, settings)
        self.role_ids, self.digests_hold = role_ids(recall.known_roles()), True

    def all(self) -> Iterator[Batch]:
        yield from self.scope(Scope.FAST, self.read_lane)

    def accounts(self, data: list[Raw], part: Part, where: str) -> list[SeenAccount]:
        """Roles are those of the last full poll: a record whose role is not among them is read again by the next."""
        seen = super().accounts(data, part, where)
        return [s if s.account.role is None or s.account.role_id else to_be_read_again(s) for s in seen]

    def read_lane(self, part: Part) -> Iterator[Batch]:
        for wanted in FILTERS:
            yield from self._filtered(part, wanted)
        if not part.faults:
            yield from self._others(part)

    def _filtered(self, part: Part, wanted: dict[str, str]) -> Iterator[Batch]:
        ask, size = partial(_page, wanted, self.settings.page_size), self.settings.page_size
        called = " ".join(f"{key}={value}" for key, value in wanted.items())
        for number, data, _ in self.pages(part, Scope.FAST, ask, size, called=called):
            self.count(Scope.FAST, len(data))
            seen = self.accounts(data, part, f"{ask(number)}")
            stranger = next((s.account for s in seen if not _belongs(s.account)), None)
            if stranger is not None:
                raise SourceError(f"{ask(number)}: shows {stranger.id}, so the filter {wanted} is not honoured")
            if seen:
                yield AccountsRead(seen)

    def _others(self, part: Part) -> Iterator[Batch]:
        """First those that the filters ought to show; then, as far as the budget goes, those that no filter names."""
        ids, _ = self.recall.missing(EVERYBODY)
        expected = self.recall.in_the_lane(LEVELS)
        ids.sort(key=lambda i: i not in expected)
        vanished, most = sum(i in expected for i in ids), self.confirm_limit
        for account_id, future in self.each("confirm", ids[:most], self.user, self.one):
            self.proof.confirmed += 1
            seen = self.asked_for(
                part, account_id, future
            )  # None: the source has it no more; a full poll will prove it
            if seen:
                yield AccountsRead(seen)
        if vanished > most:
            part.fault(f"{vanished} accounts left the filters, {most} could be asked for")
        elif len(ids) > most:
            self.proof.totals["left to the full poll"] = len(ids) - most


def _page(wanted: dict[str, str], size: int, number: int) -> Ask:
    return Ask(USERS, {**wanted, **EVEN_SUSPENDED, "items_per_page": size, "page": number})


def _belongs(account: Account) -> bool:
    flags = (account.is_admin, account.is_instructor, account.is_reporter)
    return True in flags or account.level not in (None, "user") or account.status == Status.SUSPENDED
