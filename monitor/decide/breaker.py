"""Whether a receiver is tried at all: a breaker that opens after failures in a row, and the rate.

Open means that its rows wait; none is dropped. When the time is over one row is tried: it closes the breaker, or
opens it for longer.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from monitor.decide.backoff import PAUSE
from monitor.domain.message import Health, Receipt, Sending

FAILURES = 5  # in a row
FIRST, LONGEST = 60.0, 900.0  # seconds that it stays open


def after(health: Health, receipt: Receipt, rate: tuple[int, float] | None, now: datetime) -> Health:
    """What is known of a receiver once an attempt has ended."""
    if receipt.ours:
        return health
    paced = health._replace(
        not_before=_later(health.not_before, _pace(rate, now), _asked(receipt, now)), error=receipt.detail or None
    )
    match receipt.sending:
        case Sending.SENT:
            return paced._replace(failures=0, open_until=None, error=None, sent_at=now)
        case Sending.REJECTED:  # the other side is well: it answered
            return paced._replace(failures=0, open_until=None)
        case Sending.DISABLED:
            return paced._replace(disabled_at=now)
        case Sending.LATER if receipt.retry_after is not None:  # it is busy, not broken
            return paced
    failures = health.failures + 1
    seconds = PAUSE if receipt.sending is Sending.PAUSED else _cool_down(failures)
    return paced._replace(
        failures=failures, open_until=now + timedelta(seconds=seconds) if seconds else health.open_until
    )


def _cool_down(failures: int) -> float:
    return min(LONGEST, FIRST * 2.0 ** min(failures - FAILURES, 10)) if failures >= FAILURES else 0.0


def state(health: Health, now: datetime) -> str:
    """In one word, for people."""
    if health.disabled_at is not None:
        return "disabled"
    if health.open_until is None:
        return "ok" if health.failures == 0 else "failing"
    return "open" if health.open_until > now else "half-open"


def opened(before: Health, now_known: Health) -> bool:
    """Whether this attempt opened the breaker that was closed before."""
    return before.open_until is None and now_known.open_until is not None


def _pace(rate: tuple[int, float] | None, now: datetime) -> datetime | None:
    """Messages are spread evenly: a burst is what the other side would refuse."""
    return None if rate is None else now + timedelta(seconds=rate[1] / rate[0])


def _asked(receipt: Receipt, now: datetime) -> datetime | None:
    return None if receipt.retry_after is None else now + timedelta(seconds=receipt.retry_after)


def _later(*times: datetime | None) -> datetime | None:
    return max((t for t in times if t is not None), default=None)
