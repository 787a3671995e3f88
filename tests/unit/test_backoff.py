"""When to try again: spread out, never without end, and never sooner than the other side asked for."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.backoff import wait
from monitor.domain.message import Receipt, Sending

LATER, UNCERTAIN, PAUSED = Sending.LATER, Sending.UNCERTAIN, Sending.PAUSED
WAITS: list[tuple[Sending, int, float, float | None, float]] = [
    # how it ended, attempts before, chance, what the other side asked for, seconds to wait
    (LATER, 0, 1.0, None, 2),
    (LATER, 1, 1.0, None, 4),
    (LATER, 1, 0.5, None, 2),
    (LATER, 8, 1.0, None, 512),
    (LATER, 9, 1.0, None, 900),
    (LATER, 100_000, 1.0, None, 900),
    (LATER, 5, 0.0, None, 0),
    (LATER, 0, 0.0, 30.0, 30),
    (LATER, 9, 1.0, 30.0, 900),
    (LATER, 9, 1.0, 3600.0, 3600),
    (UNCERTAIN, 0, 0.0, None, 3),
    (UNCERTAIN, 0, 1.0, None, 3),
    (UNCERTAIN, 3, 1.0, None, 16),
    (UNCERTAIN, 0, 0.0, 30.0, 30),
    (PAUSED, 0, 0.0, None, 300),
    (PAUSED, 50, 1.0, None, 300),
    (PAUSED, 0, 0.0, 600.0, 600),
]


@pytest.mark.parametrize(("sending", "attempts", "chance", "asked", "seconds"), WAITS)
def test_how_long_to_wait(sending: Sending, attempts: int, chance: float, asked: float | None, seconds: float) -> None:
    """Doubling up to a quarter of an hour; a pause of five minutes when credentials were refused."""
    assert wait(Receipt(sending, retry_after=asked), attempts, chance) == timedelta(seconds=seconds)


@given(
    st.sampled_from([LATER, UNCERTAIN, PAUSED]),
    st.integers(0, 10**9),
    st.floats(0, 1),
    st.none() | st.floats(0, 86400),
)
def test_a_wait_has_bounds(sending: Sending, attempts: int, chance: float, asked: float | None) -> None:
    """Never before the time that was asked for, and never beyond the larger of that and a quarter of an hour."""
    waited = wait(Receipt(sending, retry_after=asked), attempts, chance)
    assert timedelta(seconds=asked or 0) <= waited <= timedelta(seconds=max(asked or 0, 900))
