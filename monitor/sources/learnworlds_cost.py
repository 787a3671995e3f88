"""How many requests the polls of a school take, by how much of everything there is. Pure."""

from __future__ import annotations

from monitor.domain.reading import Lane, Scope, Sizes
from monitor.sources.learnworlds_events import ACTIVITIES

PER_PAGE, SMALL_PAGE = 200, 20  # users; groups and members, whose pages the API does not let us choose for sure


def requests(
    sizes: Sizes,
    lane: Lane,
    *,
    members: bool,
    details: bool,
    confirm_limit: int,
    seats: bool = False,
    events: bool = False,
) -> dict[str, int]:
    if lane is Lane.FAST:
        filters = 5 + sizes.privileged // PER_PAGE + sizes.suspended // PER_PAGE
        return {Scope.FAST: filters + min(sizes.managers, confirm_limit)}
    found = {Scope.ROLES: 1, Scope.USERS: _pages(sizes.accounts, PER_PAGE), Scope.GROUPS: _pages(len(sizes.groups))}
    if members:
        found["members"] = sum(map(_pages, sizes.groups))
    if seats:
        found[Scope.SEATS] = _pages(len(sizes.seats)) + sum(map(_pages, sizes.seats))
    if events:
        found[Scope.EVENTS] = len(ACTIVITIES)  # at the least: how much people do is nowhere recorded
    if details:
        found[Scope.DETAILS] = sizes.privileged
    return found


def _pages(records: int, size: int = SMALL_PAGE) -> int:
    return max(1, -(-records // size))
