"""What one asks a source over HTTP, and what its answer means: a body, or one of these errors.

SourceError
 ├─ AuthError         credentials: nothing more can be read
 ├─ Unreachable       the host does not answer at all: nothing more is tried
 │   └─ Capped        a poll has taken all that the config allows it
 └─ Refused           an HTTP status that is not 200, with what the source said
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Generic, NamedTuple, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from monitor.errors import SourceError
from monitor.sources.gate import LONGEST_RETRY_AFTER

T = TypeVar("T")

LONGEST_BODY = 64 * 1024 * 1024
AN_EPOCH = 1e9  # a number above is Unix time, and no number of seconds to wait


class Unreachable(SourceError):
    """Nobody answers at that address, or nothing but failures comes back: asking for more is of no use now."""


class Capped(Unreachable):
    """More came than the config allows for one poll: nothing more is read in it."""


class Refused(SourceError):
    """An answer with an error status. `said` is its body when that is JSON, so surely written by the API itself."""

    def __init__(
        self, message: str, status: int, said: str | None, *, retry: bool = False, after: float | None = None
    ) -> None:
        super().__init__(message, retry=retry, after=after)
        self.status, self.said = status, said

    @property
    def gone(self) -> bool:
        """The API's own 404: a proxy's page in HTML says nothing about a record."""
        return self.status == 404 and self.said is not None


@dataclass(frozen=True, slots=True)
class Ask:
    path: str
    params: Mapping[str, str | int] = field(default_factory=dict)
    form: Mapping[str, str] | None = None  # a token is asked for by POST, and without a token
    json: bytes | None = None  # some APIs are read by POST
    called: str = ""  # in messages, where the path is a secret or says too little

    @property
    def method(self) -> str:
        return "GET" if self.form is None and self.json is None else "POST"

    def __str__(self) -> str:
        page = f" page {self.params['page']}" if "page" in self.params else ""
        return self.called or f"{self.method} {self.path}{page}"


class _ErrorSaid(msgspec.Struct):
    message: str | None = None


class _Errors(msgspec.Struct):
    """An error in either shape: `errors` of API v2, or `error` of what stands before it."""

    errors: list[_ErrorSaid] = []
    error: str | None = None


class Answer(NamedTuple, Generic[T]):
    value: T
    digest: bytes  # SHA-256 of the body
    size: int = 0  # of the body, in bytes
    asked: str = ""
    body: bytes | None = None  # as it came, where raw pages are kept


def worth_a_retry(status: int, after: float | None) -> bool:
    return (status == 429 or status >= 500) and (after or 0) <= LONGEST_RETRY_AFTER


def sanitised(body: bytes, secrets: tuple[str, ...] = ()) -> str:
    """The first 200 characters that a person can read, without tags, control characters or secrets."""
    text = body[:20_000].decode("utf-8", "replace")
    for secret in secrets:
        text = text.replace(secret, "***") if secret else text
    text = re.sub(r"(?is)<(script|style)\b.*?</\1>|<[^>]*>", " ", text)
    text = re.sub(r"(?i)\bbearer\s+\S+|(?<=access_token\":)\s*\"[^\"]*\"?", "***", text)
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return text[:200] or "(nothing)"


def limited(response: httpx.Response, ask: Ask) -> bytes:
    """The body, unless somebody sends more than any page can be."""
    chunks, size = [], 0
    for chunk in response.iter_bytes():
        size += len(chunk)
        if size > LONGEST_BODY:
            raise SourceError(f"{ask}: the answer is longer than {LONGEST_BODY // 2**20} MiB")
        chunks.append(chunk)
    return b"".join(chunks)


def in_words(body: bytes) -> bytes:
    """What the source said for people, if it is written as LearnWorlds writes errors; else the body as it is."""
    try:
        found = msgspec.json.decode(body, type=_Errors)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return body
    said = [e.message for e in found.errors if e.message] or [found.error or ""]
    return "; ".join(said).encode() or body


def _retry_after(value: str | None, now: datetime) -> float | None:
    """Seconds from now. Seconds or a date are allowed (RFC 9110, 10.2.3); what cannot be read counts as not said."""
    if value is None:
        return None
    try:
        return max(float(value), 0.0) if re.fullmatch(r"\s*\d+(\.\d+)?\s*", value) else _until(value, now)
    except (ValueError, TypeError):
        return None


def told_to_wait(headers: httpx.Headers, now: datetime) -> float | None:
    """`Retry-After`, or else `ratelimit-reset`: seconds, or the time itself where the number is as large as one."""
    after = _retry_after(headers.get("retry-after"), now)
    if after is not None:
        return after
    reset = _retry_after(headers.get("ratelimit-reset"), now)
    return max(reset - now.timestamp(), 0.0) if reset is not None and reset > AN_EPOCH else reset


def _until(date: str, now: datetime) -> float:
    then = parsedate_to_datetime(date)
    return max((then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp() - now.timestamp(), 0.0)


def advice(status: int, headers: httpx.Headers, after: float | None) -> str:
    if 300 <= status < 400:
        host = urlsplit(headers.get("location", "")).hostname or "another address"
        return f". It redirects to {host}: put the final address in the config"
    if status == 429 and after is not None and after > LONGEST_RETRY_AFTER:
        return f". It asks to wait {after:.0f} s; the next poll tries again"
    return {
        403: ". The credentials are valid but may not read this: check what they are allowed to",
        404: ". There is no such thing at this address: check the url in the config",
        429: ". Something else may use the same credentials: lower the rate in the config",
    }.get(status, "")


def like(error: SourceError, message: str) -> SourceError:
    """A fresh copy, since one exception must not be raised by several threads."""
    if isinstance(error, Refused):
        return type(error)(message, error.status, error.said)
    return type(error)(message)


def any_json(body: bytes) -> bytes:
    msgspec.json.decode(body, type=msgspec.Raw)
    return body


def is_json(body: bytes) -> bool:
    try:
        any_json(body)
    except msgspec.DecodeError:
        return False
    return True
