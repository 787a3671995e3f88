"""Requests to addresses that somebody may have chosen to reach what only we can reach.

The name is resolved here, every answer is checked, and the connection is made to a checked address and to no other:
a second look-up in between could give another one. No redirects are followed, no proxies of the environment are asked,
an answer is read up to a limit, and all of it has to be over in time.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpcore

LARGEST = 64 * 1024  # bytes of an answer that are read
TIMEOUT = 20.0  # seconds for each step
DEADLINE = 60.0  # seconds for all of it

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], list[str]]

# Written out, since what `ipaddress` calls global differs between versions of Python, and none of them refuses all.
_REFUSED = {
    "loopback": ("127.0.0.0/8", "::1/128"),
    "private": ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"),
    "link-local": ("169.254.0.0/16", "fe80::/10"),
    "multicast": ("224.0.0.0/4", "ff00::/8"),
    "reserved": (
        "0.0.0.0/8", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
        "203.0.113.0/24", "240.0.0.0/4", "::/96", "100::/64", "2001::/23", "2001:db8::/32", "3fff::/20", "5f00::/16",
    ),
    "an IPv4 address in NAT64": ("64:ff9b::/96", "64:ff9b:1::/48"),
    "an IPv4 address in 6to4": ("2002::/16",),
}  # fmt: skip
_NETWORKS = [(why, ipaddress.ip_network(n)) for why, networks in _REFUSED.items() for n in networks]


class Refused(Exception):
    """The guard does not let us go there. Nothing was sent."""


class NotReached(Exception):
    """No connection. Nothing was sent."""


class NoAnswer(Exception):
    """The request went out, and what became of it is not known."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    def retry_after(self) -> float | None:
        """Seconds that the other side asked for, at most a day: a number, or a time beside its own clock's."""
        asked = self.headers.get("retry-after", "")
        try:
            seconds = float(asked) if re.fullmatch(r"[0-9.]+", asked) else _apart(self.headers.get("date", ""), asked)
        except (ValueError, TypeError, OverflowError):
            return None
        return min(max(seconds, 0.0), 86400.0)


def why_refused(address: Address) -> str | None:
    """What is wrong with an address, or None when it is one of the public Internet."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return why_refused(address.ipv4_mapped)
    return next((why for why, network in _NETWORKS if address in network), None)


def resolved(host: str, port: int) -> list[str]:
    """By the system: it also turns 2130706433, 0x7f.1 and 127.1 into what they mean."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


@dataclass(frozen=True)
class Guard:
    """The one way out for requests to configured addresses."""

    monotonic: Callable[[], float]
    allow_private: bool = False
    ca_file: Path | None = None
    resolve: Resolve = resolved
    timeout: float = TIMEOUT

    def ask(self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes = b"") -> Answer:
        """Raises Refused or NotReached when nothing was sent, NoAnswer when perhaps it was."""
        until = self.monotonic() + DEADLINE
        written = False

        def on_write() -> None:
            nonlocal written
            written = True

        backend = _Checked(self, until, on_write)
        steps = dict.fromkeys(("connect", "read", "write", "pool"), self.timeout)
        given: list[tuple[bytes | str, bytes | str]] = [("Host", _host(url)), ("Content-Length", str(len(body)))]
        given += (headers or {}).items()
        try:
            with (
                httpcore.ConnectionPool(ssl_context=self._tls(), network_backend=backend, retries=0) as pool,
                pool.stream(method, url, headers=given, content=body, extensions={"timeout": steps}) as answer,
            ):
                return Answer(answer.status, _names(answer.headers), _capped(answer.iter_stream()))
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            raise NotReached(_said(error)) from error
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise (NoAnswer if written else NotReached)(_said(error)) from error

    def reach(self, url: str) -> str | None:
        """What keeps us from a server, or None. Connects, and says nothing."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        try:
            backend = _Checked(self, self.monotonic() + DEADLINE, lambda: None)
            stream = backend.connect_tcp(parts.hostname or "", parts.port or (443 if secure else 80), self.timeout)
            if secure:
                stream = stream.start_tls(self._tls(), parts.hostname, self.timeout)
            stream.close()
        except (Refused, httpcore.NetworkError, httpcore.TimeoutException) as error:
            return _said(error)
        return None

    def addresses(self, host: str, port: int) -> list[str]:
        """Every address of a name, if each of them may be connected to. Raises Refused."""
        try:
            found = self.resolve(host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} cannot be resolved") from error
        for text in found if not self.allow_private else ():
            why = why_refused(ipaddress.ip_address(text))
            if why is not None:
                raise Refused(f"{host} is {text}, which is {why}: set allow_private = true if that is meant")
        return found

    def _tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)


class _Checked(httpcore.NetworkBackend):
    """Connects to addresses that were checked, and stops when the time is over."""

    def __init__(self, guard: Guard, until: float, on_write: Callable[[], None]) -> None:
        self._guard, self._until, self._on_write = guard, until, on_write
        self._system = httpcore.SyncBackend()

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:  # fmt: skip
        last: httpcore.NetworkError | httpcore.TimeoutException | None = None
        for address in self._guard.addresses(host, port):
            try:
                stream = self._system.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.NetworkError, httpcore.TimeoutException) as error:
                last = error
            else:
                return _Timed(stream, self._until, self._guard.monotonic, self._on_write)
        raise last or httpcore.ConnectError(f"the name {host} has no address")

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise Refused("a socket of this host")

    def sleep(self, seconds: float) -> None:
        raise AssertionError("retries are off: the outbox is what tries again")


class _Timed(httpcore.NetworkStream):
    """A server that sends a byte now and then never runs into the time-out of a single step."""

    def __init__(
        self, stream: httpcore.NetworkStream, until: float, monotonic: Callable[[], float], on_write: Callable[[], None]
    ) -> None:
        self._stream, self._until, self._monotonic, self._on_write = stream, until, monotonic, on_write

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, self._left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._on_write()
        self._stream.write(buffer, self._left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        inner = self._stream.start_tls(ssl_context, server_hostname, self._left(timeout, httpcore.ConnectTimeout))
        return _Timed(inner, self._until, self._monotonic, self._on_write)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def _left(self, timeout: float | None, late: type[httpcore.TimeoutException]) -> float:
        left = self._until - self._monotonic()
        if left <= 0:
            raise late("the time for the whole request is over")
        return min(left, timeout) if timeout is not None else left


def _apart(first: str, last: str) -> float:
    return (parsedate_to_datetime(last) - parsedate_to_datetime(first)).total_seconds()


def _capped(chunks: Iterable[bytes]) -> bytes:
    """The beginning of a body. The status has been read by now, so one that breaks off changes nothing."""
    body = b""
    with suppress(httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError):
        for chunk in chunks:
            body += chunk
            if len(body) >= LARGEST:
                break
    return body[:LARGEST]


def _names(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    return {k.decode("ascii", "replace").lower(): v.decode("latin-1") for k, v in headers}


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _said(error: Exception) -> str:
    if isinstance(error, Refused):
        return str(error)
    cause = error.__cause__ or error.__context__ or error
    while isinstance(cause, (httpcore.NetworkError, httpcore.TimeoutException)) and cause.__cause__ is not None:
        cause = cause.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"the certificate is not trusted: {cause.verify_message}"
    if isinstance(cause, OSError) and cause.strerror:
        return f"{type(error).__name__}: {cause.strerror}"
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
