"""What every HTTP source shares: a reader that keeps to the rate, retries, and keeps the proof."""

from __future__ import annotations

import hashlib
import logging
import random
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
import tenacity

from monitor.domain.reading import Clock, KeepPage, Proof
from monitor.errors import AuthError, SourceError
from monitor.sources.answer import (
    Answer,
    Ask,
    Capped,
    Refused,
    Unreachable,
    advice,
    any_json,
    in_words,
    is_json,
    like,
    limited,
    sanitised,
    told_to_wait,
    worth_a_retry,
)
from monitor.sources.gate import NAP, RateGate

# At INFO these log every URL asked for, and a school's pages are thousands.
for _name in ("httpx", "httpcore"):
    logging.getLogger(_name).setLevel(logging.WARNING)

TRIES = 5
FAILURES_IN_A_ROW = 5
SHORTEST_SECRET = 8  # what is shorter occurs by chance, and keeps nobody out
TIMEOUT = httpx.Timeout(60.0, connect=10.0)

T = TypeVar("T")
P = ParamSpec("P")


class Caps(NamedTuple):
    """The most that one poll takes from a source: a guard against lists without an end, not a way to plan."""

    pages: int = 100_000
    records: int = 10_000_000
    megabytes: int = 50_000
    seconds: float = 12 * 3600.0


class Credentials(Protocol):
    def token(self, reader: Reader) -> str:
        """Raises AuthError when there is none to be had."""
        ...

    def renew(self, reader: Reader, stale: str) -> str:
        """Another token than `stale`, which was refused. Raises AuthError."""
        ...

    def secrets(self) -> tuple[str, ...]:
        """What no message may show."""
        ...


class Token:
    """A bearer token that only a person can renew. `where` that is done stands in the message."""

    def __init__(self, token: str, where: str) -> None:
        self._token, self._where = token.strip(), where

    def token(self, reader: Reader) -> str:
        if not (self._token.isascii() and self._token.isprintable()):
            raise AuthError("the token has characters that cannot be sent; copy it again")
        return self._token

    def renew(self, reader: Reader, stale: str) -> str:
        raise AuthError(f"{self._where} refused the token (401): make a new one there, and put it in its place")

    def secrets(self) -> tuple[str, ...]:
        return (self._token,)


class Explain(Protocol):
    def __call__(self, ask: Ask, status: int, body: bytes, after: float | None) -> SourceError | None:
        """What the API's own error means, or None for what any HTTP answer of that status means."""
        ...


class Inline(Executor):
    """Runs what it is given at once: reading page after page, for `pages_ahead = 1`."""

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # handed on: it is raised where the result is asked for
            future.set_exception(error)
        return future


class Reader:
    """Asks, retries, and counts. Several threads may fetch; the thread that consumes seals the answers, in order."""

    def __init__(
        self,
        client: httpx.Client,
        gate: RateGate,
        clock: Clock,
        proof: Proof,
        *,
        base: str = "",
        credentials: Credentials | None = None,
        explain: Explain | None = None,
        pool: Executor | None = None,
        ahead: int = 1,
        caps: Caps | None = None,
        keep: KeepPage | None = None,
    ) -> None:
        """`keep`: where the answers go as they came."""
        self._keep = keep
        self._caps, self._began = caps or Caps(), clock.monotonic()
        self._pages = self._records = self._bytes = 0
        self._client, self._gate, self._clock, self.proof = client, gate, clock, proof
        self._base, self._credentials, self._explain = base, credentials, explain
        self._pool, self._ahead = pool or Inline(), ahead
        # Jitter needs no secrecy; seeded by the address, so that runs repeat and sources still differ.
        self._random = random.Random(base)  # noqa: S311
        self._root = hashlib.sha256()
        self._lock = threading.Lock()
        self._failures = 0
        self._over: SourceError | None = None

    # asking

    def get(self, path: str, params: Mapping[str, str | int] | None = None) -> bytes:
        """The body of one answer, which is JSON."""
        return self.seal(self.fetch(Ask(path, params or {}), any_json))

    def fetch(self, ask: Ask, decode: Callable[[bytes], T]) -> Answer[T]:
        """One answer, tried up to five times; what `decode` finds not to be JSON is asked for again."""
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(TRIES),
            retry=tenacity.retry_if_exception(lambda e: isinstance(e, SourceError) and e.retry),
            wait=self._pause,
            sleep=self._sleep,
            before_sleep=lambda _state: self._count_retry(),
            reraise=True,
        )
        try:
            answer = retrying(self._try, ask, decode)
        except SourceError as error:
            raise self._given_up(error) from error
        self._failures = 0
        return answer

    def ahead(
        self, asks: Callable[[], Ask | None], decode: Callable[[bytes], T]
    ) -> Iterator[tuple[Ask, Future[Answer[T]]]]:
        """Answers in the order of asking, some fetched before they are wanted. `asks` says what to ask for next."""
        waiting: deque[tuple[Ask, Future[Answer[T]]]] = deque()
        try:
            while True:
                while len(waiting) < self._ahead and (ask := asks()) is not None:
                    waiting.append((ask, self._pool.submit(self.fetch, ask, decode)))
                if not waiting:
                    return
                yield waiting.popleft()
        finally:
            for _, future in waiting:
                future.cancel()

    def seal(self, answer: Answer[T]) -> T:
        """Takes an answer into the proof. Raises Capped when it is one too many."""
        self._pages, self._bytes = self._pages + 1, self._bytes + answer.size
        self._within("pages", self._pages, self._caps.pages)
        self._within("megabytes", self._bytes / 1e6, self._caps.megabytes)
        self._within("time", self._clock.monotonic() - self._began, self._caps.seconds)
        self._root.update(answer.digest)
        if self._keep is not None and answer.body is not None:
            self._keep(answer.asked, None if self._tells_a_secret(answer.body) else answer.body, answer.digest)
        return answer.value

    def _tells_a_secret(self, body: bytes) -> bool:
        """PHP writes a slash as \\/ in JSON."""
        secrets = self._credentials.secrets() if self._credentials else ()
        texts = (s.encode() for s in secrets if len(s) >= SHORTEST_SECRET)
        return any(t in body or t.replace(b"/", b"\\/") in body for t in texts)

    def took(self, records: int) -> None:
        """So many records came. Raises Capped when they are too many."""
        self._records += records
        self._within("records", self._records, self._caps.records)

    def _within(self, cap: str, used: float, most: float) -> None:
        if used > most:
            unit = " s" if cap == "time" else ""
            capped = Capped(f"caps.{cap}: one poll may take {most:.0f}{unit}; raise it if the source is that large")
            self._over = self._over or capped
            raise capped

    def root(self) -> str:
        """The digest over all answers so far."""
        return self._root.hexdigest()

    def go_on(self, proof: Mapping[str, Any]) -> None:
        """After an earlier part of the same poll: its answers count, and its digest comes before ours."""
        self.proof.go_on(proof)
        self._root.update(bytes.fromhex(proof.get("root_digest", "")))

    def close(self) -> None:
        """Threads end at their next step; the proof is complete."""
        self._over = self._over or SourceError("the reading was stopped")
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.proof.root_digest = self._root.hexdigest()
        self.proof.waited = round(self.proof.waited, 3)

    # retrying

    def _count_retry(self) -> None:
        with self._lock:
            self.proof.retries += 1

    def _pause(self, state: tenacity.RetryCallState) -> float:
        """Full jitter. What the rate limit costs is waited for at the gate, by every thread."""
        error = state.outcome.exception() if state.outcome else None
        limited = isinstance(error, Refused) and error.status == 429
        # A full window of LearnWorlds takes 10 s to empty, so these waits grow from 5 s instead of 1 s.
        wait = self._random.uniform(0, min(60.0, (5.0 if limited else 1.0) * 2 ** (state.attempt_number - 1)))
        if isinstance(error, SourceError) and (limited or error.after is not None):
            self._gate.hold(wait if error.after is None else error.after)
            return 0.0
        return wait

    def _sleep(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while (left := until - self._clock.monotonic()) > 0 and self._over is None:
            self._clock.sleep(min(left, NAP))

    def _given_up(self, error: SourceError) -> SourceError:
        """The same error, no longer worth a retry. After many in a row the source counts as unreachable."""
        with self._lock:
            self._failures = self._failures + 1 if error.retry else 0
            tired = self._failures >= FAILURES_IN_A_ROW
        final = error
        if error.retry:
            final = like(error, f"{error} (tried {TRIES} times)")
        if tired and not isinstance(error, AuthError | Unreachable):
            final = Unreachable(f"{final}; {FAILURES_IN_A_ROW} requests in a row failed, so no more were sent")
        final.passing = error.retry or tired
        if isinstance(final, AuthError | Unreachable):
            self._over = self._over or final
        return final

    # one try

    def _try(self, ask: Ask, decode: Callable[[bytes], T]) -> Answer[T]:
        body = self._authorised(ask)
        try:
            kept = None if self._keep is None else body
            return Answer(decode(body), hashlib.sha256(body).digest(), len(body), str(ask), kept)
        except msgspec.ValidationError as error:
            raise SourceError(f"{ask}: answered in another shape than the API documents: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            said = self.clean(body)
            raise SourceError(f"{ask}: answered 200 with something else than JSON: {said}", retry=True) from error

    def _authorised(self, ask: Ask) -> bytes:
        if self._credentials is None or ask.form is not None:
            return self._checked(ask, *self._exchange(ask, None))
        token = self._credentials.token(self)
        status, headers, body = self._exchange(ask, token)
        if status == 401:
            self._raise_explained(ask, status, body)
        if status == 401:
            token = self._credentials.renew(self, token)
            status, headers, body = self._exchange(ask, token)
        if status == 401:
            said = self.clean(body)
            raise AuthError(f"{ask}: a new access token was refused as well (401: {said}). Check the client id")
        return self._checked(ask, status, headers, body)

    def _exchange(self, ask: Ask, token: str | None) -> tuple[int, httpx.Headers, bytes]:
        waited = self._gate.wait(lambda: self._over is not None)
        if self._over is not None:
            raise like(self._over, str(self._over))
        with self._lock:
            self.proof.requests += 1
            self.proof.waited += waited
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if ask.json is not None:
            headers["Content-Type"] = "application/json"
        try:
            with self._client.stream(
                ask.method, self._base + ask.path, params=ask.params or None, data=ask.form, content=ask.json,
                headers=headers,
            ) as response:  # fmt: skip
                self._note_time(response.headers)
                return response.status_code, response.headers, limited(response, ask)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise self._translated(ask, error) from error

    def _note_time(self, headers: httpx.Headers) -> None:
        """By the Date of an answer, if it has one that can be read."""
        try:
            theirs = parsedate_to_datetime(headers.get("date", ""))
            ahead = round((theirs - self._clock.now()).total_seconds())
        except (TypeError, ValueError, OverflowError):
            return
        with self._lock:
            self.proof.said_the_time(ahead)

    def _checked(self, ask: Ask, status: int, headers: httpx.Headers, body: bytes) -> bytes:
        if status == 200 or (status == 202 and ask.json is not None):
            return body
        after = told_to_wait(headers, self._clock.now()) if status in (429, 503) else None
        self._raise_explained(ask, status, body, after)
        retry = worth_a_retry(status, after)
        said = self.clean(body)
        message = f"{ask}: HTTP {status}: {self.clean(in_words(body))}{advice(status, headers, after)}"
        raise Refused(message, status, said if is_json(body) else None, retry=retry, after=after)

    def _raise_explained(self, ask: Ask, status: int, body: bytes, after: float | None = None) -> None:
        error = self._explain(ask, status, body, after) if self._explain else None
        if error is not None:
            raise error

    def _translated(self, ask: Ask, error: Exception) -> SourceError:
        host = urlsplit(self._base).hostname or self._base
        # h11 quotes an illegal header value, and that may be the token.
        why = type(error).__name__ if isinstance(error, httpx.LocalProtocolError) else self.clean(str(error).encode())
        match error:
            case httpx.ConnectError() | httpx.ConnectTimeout():
                what = "check the name, the network and the certificate"
                return Unreachable(f"{ask}: cannot connect to {host}: {why or 'timed out'}; {what}", retry=True)
            case httpx.TimeoutException():
                return SourceError(f"{ask}: no answer in {TIMEOUT.read:.0f} s ({type(error).__name__})", retry=True)
            case httpx.NetworkError() | httpx.RemoteProtocolError() | httpx.DecodingError():
                return SourceError(f"{ask}: the connection broke off: {why or type(error).__name__}", retry=True)
            case httpx.InvalidURL() | httpx.UnsupportedProtocol():
                return Unreachable(f"{ask}: {host!r} is not an address; check the url in the config")
        return SourceError(f"{ask}: {type(error).__name__}: {why}")

    def clean(self, body: bytes) -> str:
        return sanitised(body, self._credentials.secrets() if self._credentials else ())


@cache
def _trusted() -> ssl.SSLContext:
    """Loading the certificates takes longer than a request, so they are loaded once."""
    return httpx.create_ssl_context(trust_env=False)


def open_client(transport: httpx.BaseTransport | None, headers: Mapping[str, str]) -> httpx.Client:
    """Proxies and certificates from the environment are not taken: what a source is read through is in the config."""
    return httpx.Client(
        transport=transport, verify=_trusted(), trust_env=False, follow_redirects=False, timeout=TIMEOUT,
        headers={"Accept": "application/json", "User-Agent": "access-monitor", **headers},
    )  # fmt: skip
