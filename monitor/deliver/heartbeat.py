"""The dead-man's switch, in the style of healthchecks.io: silence is what somebody else notices."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from monitor.deliver.guard import Guard, NoAnswer, NotReached, Refused

LONGEST = 1000  # characters of a reason


@dataclass(frozen=True)
class Heartbeat:
    """The URL is the secret: it stands in no text."""

    url: str
    guard: Guard

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in ("https", "http") or not parts.hostname:
            raise ValueError("must be an address that begins with https://")
        if parts.scheme == "http" and not self.guard.allow_private:
            raise ValueError("must begin with https://; plain http is for private addresses (allow_private = true)")

    def beat(self, failed: str | None) -> str | None:
        """Told once, and not again: the next cycle tells anew. Returns what went wrong, or None."""
        try:
            answer = self.guard.ask("POST", self._url(failed), body=(failed or "")[:LONGEST].encode())
        except (Refused, NotReached, NoAnswer) as error:
            return str(error)
        return None if 200 <= answer.status < 300 else f"HTTP {answer.status}"

    def _url(self, failed: str | None) -> str:
        parts = urlsplit(self.url)
        path = parts.path.rstrip("/") + ("/fail" if failed is not None else "")
        return urlunsplit(parts._replace(path=path or "/"))
