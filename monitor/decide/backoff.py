"""When to try again: full jitter, with what the other side asked for as a floor."""

from __future__ import annotations

from datetime import timedelta

from monitor.domain.message import Receipt, Sending

BASE, CAP = 2.0, 900.0  # seconds
PAUSE = 300.0  # credentials were refused: somebody has to act first


def wait(receipt: Receipt, attempts: int, chance: float) -> timedelta:
    """How long until the next attempt. `chance` is a random number from 0 to 1."""
    if receipt.sending is Sending.PAUSED:
        seconds = PAUSE
    elif receipt.sending is Sending.UNCERTAIN:
        seconds = max(3.0, chance * min(CAP, BASE * 2.0 ** min(attempts, 20)))  # the other side's history may lag
    else:
        seconds = chance * min(CAP, BASE * 2.0 ** min(attempts, 20))
    return timedelta(seconds=max(seconds, receipt.retry_after or 0.0))
