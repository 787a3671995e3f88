"""When a poll is not believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.quarantine import LIMITS, beyond, exceeded, percent, said
from monitor.domain.limits import Exceeded, Limit, Moved

TWENTY = Limit(0.2, None, 10)
SIZES = st.integers(0, 10_000)


@pytest.mark.parametrize(
    ("many", "of", "limit", "doubted"),
    [
        (20, 100, TWENTY, False),
        (21, 100, TWENTY, True),
        (9, 9, TWENTY, False),
        (3, 10, TWENTY, True),
        (0, 0, Limit(0.0, 0, 0), False),
        (1, 1000, Limit(1.0, 0, 0), True),
        (5, 1000, Limit(0.2, 5, 0), False),
        (6, 1000, Limit(0.2, 5, 0), True),
        (1000, 1000, Limit(1.0, None, 0), False),
    ],
)
def test_share_number_and_minimum(many: int, of: int, limit: Limit, *, doubted: bool) -> None:
    """More than the share or than the number, where there is enough of it; as much as the limit is within it."""
    assert beyond(Moved(many, of), limit) is doubted


@given(SIZES, SIZES, st.floats(0, 1), st.one_of(st.none(), SIZES), SIZES)
def test_more_never_is_less_doubtful(of: int, many: int, share: float, number: int | None, minimum: int) -> None:
    """Where some loss is beyond a limit, a greater one is; and nothing moved is never beyond."""
    limit = Limit(share, number, minimum)
    many = min(many, of)
    assert not beyond(Moved(0, of), limit)
    if many < of and beyond(Moved(many, of), limit):
        assert beyond(Moved(many + 1, of), limit)


def test_what_is_said_names_numbers_and_limit() -> None:
    """In the order of the limits; a limit that is not set, or of which nothing is known, is none."""
    moved = {"suspended": Moved(30, 100), "removed": Moved(50, 100), "changed": Moved(80, 100)}
    found = exceeded(moved, {"suspended": TWENTY, "removed": Limit(0.25, 40, 0), "groups_removed": TWENTY})
    assert [e.limit for e in found] == ["removed", "suspended"]
    assert said(found[0]) == "50 of 100 accounts gone (removed: at most 25 %, 40)"
    assert all(name in said(Exceeded(name, Moved(1, 2), TWENTY)) for name in LIMITS)


def test_a_percentage_is_rounded_up() -> None:
    """One of a thousand is told as 1, not as none."""
    assert [percent(Moved(m, 1000)) for m in (0, 1, 10, 11, 1000)] == [0, 1, 1, 2, 100]
    assert percent(Moved(0, 0)) == percent(None) == 0
