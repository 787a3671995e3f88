"""Whether a poll is to be believed: a source that answers well and shows half of its accounts is rather broken."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.domain.limits import Exceeded, Limit, Moved

# The limits by their names in the config, with what each one counts.
LIMITS = {
    "removed": "accounts gone",
    "suspended": "accounts suspended or deactivated",
    "unprivileged": "privileged accounts that lose their privilege",
    "changed": "accounts changed in any way",
    "roles_removed": "roles gone",
    "groups_removed": "groups gone",
    "members_removed": "memberships ended",
}


def exceeded(moved: Mapping[str, Moved], limits: Mapping[str, Limit]) -> tuple[Exceeded, ...]:
    """The limits that a poll goes beyond, in the order of LIMITS; none: it is believed."""
    found = (Exceeded(name, moved[name], limits[name]) for name in LIMITS if name in moved and name in limits)
    return tuple(e for e in found if beyond(e.moved, e.allowed))


def beyond(moved: Moved, limit: Limit) -> bool:
    """As much as the limit is still within it."""
    if moved.of < limit.minimum:
        return False
    return moved.many > limit.share * moved.of or (limit.number is not None and moved.many > limit.number)


def said(found: Exceeded) -> str:
    """ "150 of 300 accounts gone (removed: at most 20 %, 1000)"."""
    number = found.allowed.number
    most = [f"{found.allowed.share * 100:g} %", *([] if number is None else [str(number)])]
    return f"{found.moved.many} of {found.moved.of} {LIMITS[found.limit]} ({found.limit}: at most {', '.join(most)})"


def percent(moved: Moved | None) -> int:
    """Rounded up, so that 1 is never told as none."""
    return 0 if moved is None or moved.of == 0 else -(-moved.many * 100 // moved.of)
