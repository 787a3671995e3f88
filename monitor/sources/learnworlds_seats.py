"""The seat offerings of a school: seats that a customer bought, who hands them out, and who may take one."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from urllib.parse import quote

from msgspec import Raw

from monitor.domain.observed import Grant, GrantKind, Seats
from monitor.domain.reading import Batch, Scope, SeatsRead
from monitor.sources.answer import Ask
from monitor.sources.learnworlds_pages import GROUP_PAGE, SchoolPolling
from monitor.sources.learnworlds_records import decode_page, decode_seats, seats_of
from monitor.sources.scopes import Part, decoded

SEATS = "/v2/seats"


def read_seats(polling: SchoolPolling, part: Part) -> Iterator[Batch]:
    """All of them, with managers and members; nothing is told when one list broke off."""
    found: dict[str, Seats] = {}
    grants: dict[Grant, None] = {}
    for number, data, meta in polling.pages(part, "seats", _seats_page, GROUP_PAGE):
        polling.count("seats", len(data))
        for seats, managers in decoded(data, _seats, part, f"seats, page {number}"):
            found[seats.id] = seats
            grants.update(dict.fromkeys(managers))
        polling.progress("seats", len(found), meta.totalItems)
    if not part.faults:
        polling.confirm_listed("seats", polling.recall.recorded(Scope.SEATS), found, _one, part)
    for seat_id, future in polling.each("seats", found, _users_page, decode_page):
        members = polling.ids_listed("seats", partial(_users_page, seat_id), future, part)
        polling.count("seat_members", len(members))
        grants.update(dict.fromkeys(Grant(i, GrantKind.SEAT.value, seat_id) for i in members))
    if not part.faults:
        yield SeatsRead(list(found.values()), list(grants))


def _seats(raw: Raw) -> tuple[Seats, list[Grant]]:
    seats, managers = seats_of(decode_seats(raw))
    if not seats.id:
        raise ValueError("the id is empty")
    return seats, managers


def _seats_page(number: int) -> Ask:
    return Ask(SEATS, {"page": number})


def _one(seat_id: str) -> Ask:
    return Ask(f"{SEATS}/{quote(seat_id, safe='')}")


def _users_page(seat_id: str, number: int = 1) -> Ask:
    return Ask(f"{SEATS}/{quote(seat_id, safe='')}/users", {"page": number})
