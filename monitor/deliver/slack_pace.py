"""How often Slack lets an app call each of its methods, and what it asked for when that was too often.

Limits are an app's, by method; posting has one for each channel besides. So all receivers with one token share a gate:
https://docs.slack.dev/apis/web-api/rate-limits (tiers: 3 is 50 in a minute, 4 is 100).
"""

from __future__ import annotations

import threading
from typing import Any

from monitor.domain.reading import Clock

_TIER_3, _TIER_4 = 60 / 50, 60 / 100
SPACING = {  # seconds between two calls
    "chat.postMessage": 1.0,
    "chat.update": _TIER_3,
    "chat.delete": _TIER_3,
    "conversations.history": _TIER_3,
    "conversations.replies": _TIER_3,
    "conversations.open": _TIER_3,
    "files.getUploadURLExternal": _TIER_4,
    "files.completeUploadExternal": _TIER_4,
    "chat.postEphemeral": _TIER_4,
}
PER_CHANNEL = frozenset({"chat.postMessage"})
LONGEST = 30.0  # seconds that a call waits here; longer waits are the outbox's


class NotYet(Exception):
    """A call that Slack would refuse: it was not made."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not before {seconds:.0f} s")
        self.seconds = seconds


class MethodGate:
    """Lets calls pass one after the other, as far apart as Slack wants them."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._next: dict[tuple[str, str], float] = {}  # by method and channel
        self._until: dict[str, float] = {}  # by method, what Slack asked for

    def wait(self, method: str, channel: str) -> None:
        """Raises NotYet when that would take long; then nothing counts as called."""
        spacing, key = SPACING.get(method, 0.0), (method, channel if method in PER_CHANNEL else "")
        with self._lock:
            now = self._clock.monotonic()
            at = max(now, self._next.get(key, now), self._until.get(method, now))
            if at - now > LONGEST:
                raise NotYet(at - now)
            self._next[key] = at + spacing
        if at > now:
            self._clock.sleep(at - now)

    def refused(self, method: str, seconds: float) -> None:
        """Slack answered 429: nobody calls this method before."""
        with self._lock:
            until = self._clock.monotonic() + seconds
            self._until[method] = max(self._until.get(method, until), until)


def channel_of(asked: dict[str, Any]) -> str:
    """Of a call, wherever the SDK puts it."""
    for part in ("json", "params", "data"):
        given = asked.get(part)
        if isinstance(given, dict) and given.get("channel"):
            return str(given["channel"])
    return ""
