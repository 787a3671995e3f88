"""Whether a receiver is tried: decided from how attempts ended, and from nothing else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.breaker import FAILURES, LONGEST, after, opened, state
from monitor.domain.message import Health, Receipt, Sending

NOW = datetime(2026, 3, 1, 9, tzinfo=UTC)
FAILED = Receipt(Sending.UNCERTAIN, "no answer")


def failed(times: int) -> Health:
    health = Health()
    for _ in range(times):
        health = after(health, FAILED, None, NOW)
    return health


@pytest.mark.parametrize(
    ("times", "seconds"), [(0, None), (4, None), (5, 60), (6, 120), (7, 240), (8, 480), (9, 900), (50, 900)]
)
def test_how_long_it_stays_open(times: int, seconds: int | None) -> None:
    """Five in a row open it; each probe that fails doubles the time, up to a quarter of an hour."""
    until = failed(times).open_until
    assert until == (None if seconds is None else NOW + timedelta(seconds=seconds))


def test_in_words() -> None:
    """What an operator reads."""
    assert [state(failed(n), NOW) for n in (0, 1, 5)] == ["ok", "failing", "open"]
    assert state(failed(5), NOW + timedelta(minutes=2)) == "half-open"
    assert state(after(Health(), Receipt(Sending.DISABLED, "410"), None, NOW), NOW) == "disabled"


def test_it_opens_once() -> None:
    """What is told when it opens is not told again while it is open."""
    assert opened(failed(4), failed(5))
    assert not opened(failed(5), failed(6))
    assert not opened(failed(3), failed(4))


RECEIPTS = st.builds(
    Receipt, st.sampled_from(Sending), st.just("why"), st.just(""), st.none() | st.floats(0, 86400), st.booleans()
)


@given(st.lists(RECEIPTS, max_size=30), RECEIPTS, st.none() | st.tuples(st.integers(1, 60), st.floats(0.1, 60)))
def test_it_never_locks_itself(past: list[Receipt], last: Receipt, rate: tuple[int, float] | None) -> None:
    """Whatever came before: there is an end to every wait, success closes it, and our own faults change nothing."""
    health = Health()
    for receipt in past:
        health = after(health, receipt, rate, NOW)
    then = after(health, last, rate, NOW)
    until = then.waits_until()
    assert until is None or until <= NOW + timedelta(seconds=max(LONGEST, 86400))
    assert (then.open_until is None) or then.failures > 0
    if last.ours:
        assert then == health
    elif last.sending in (Sending.SENT, Sending.REJECTED):
        assert (then.failures, then.open_until) == (0, None)
    elif last.sending is Sending.UNCERTAIN:
        assert then.failures == health.failures + 1
        assert (then.open_until is not None) or then.failures < FAILURES
    if rate and not last.ours:
        assert then.not_before is not None
        assert then.not_before >= NOW + timedelta(seconds=rate[1] / rate[0])
