"""The way out is guarded: no inside address, no second look-up, no redirect, no proxy, no endless answer."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import httpcore
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.clock import SystemClock
from monitor.deliver.guard import LARGEST, Guard, NoAnswer, NotReached, Refused, why_refused
from tests.peers.hook import Say, hook

MONOTONIC = SystemClock().monotonic
INSIDE = Guard(MONOTONIC, allow_private=True, timeout=5.0)

REFUSED = [
    ("127.0.0.1", "loopback"), ("127.255.0.9", "loopback"), ("::1", "loopback"), ("10.1.2.3", "private"),
    ("172.16.0.1", "private"), ("172.31.255.255", "private"), ("192.168.1.1", "private"), ("100.64.0.1", "private"),
    ("fd00::1", "private"), ("fec0::1", "private"), ("169.254.169.254", "link-local"), ("fe80::1", "link-local"),
    ("224.0.0.1", "multicast"), ("ff02::1", "multicast"), ("0.0.0.0", "reserved"), ("255.255.255.255", "reserved"),
    ("240.0.0.1", "reserved"), ("192.0.0.8", "reserved"), ("198.18.0.1", "reserved"), ("::", "reserved"),
    ("::7f00:1", "reserved"), ("2001:0:7f00:1::", "reserved"), ("2001:db8::1", "reserved"),
    ("::ffff:127.0.0.1", "loopback"), ("::ffff:10.0.0.1", "private"), ("64:ff9b::7f00:1", "an IPv4 address in NAT64"),
    ("64:ff9b:1::a00:1", "an IPv4 address in NAT64"), ("2002:7f00:1::", "an IPv4 address in 6to4"),
]  # fmt: skip
ALLOWED = ["1.1.1.1", "93.184.216.34", "172.32.0.1", "2606:4700:4700::1111", "::ffff:1.1.1.1", "2a00:1450::1"]


@pytest.mark.parametrize(("address", "why"), REFUSED)
def test_what_is_refused(address: str, why: str) -> None:
    """Each kind by its name, however it is wrapped."""
    assert why_refused(ipaddress.ip_address(address)) == why


@pytest.mark.parametrize("address", ALLOWED)
def test_what_is_public(address: str) -> None:
    """Neighbours of what is refused."""
    assert why_refused(ipaddress.ip_address(address)) is None


@given(st.ip_addresses())
def test_nothing_that_python_calls_special_passes(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """The library's own opinion is the floor; ours refuses more."""
    if why_refused(address) is None and not getattr(address, "ipv4_mapped", None):
        special = (address.is_loopback, address.is_link_local, address.is_multicast, address.is_unspecified)
        assert not any(special)
        assert not address.is_private or address in ipaddress.ip_network("192.0.0.0/8")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "127.1", "[::1]"])
def test_what_the_system_makes_of_a_name_is_checked(host: str) -> None:
    """Spellings of 127.0.0.1 that no list of names would hold."""
    with pytest.raises((Refused, NotReached)) as caught:
        Guard(MONOTONIC).ask("POST", f"http://{host}:9/x")
    if isinstance(caught.value, Refused):
        assert "allow_private" in str(caught.value)


def test_one_private_answer_among_public_ones_is_enough() -> None:
    """The other side may choose which one is dialled."""
    guard = Guard(MONOTONIC, resolve=lambda _h, _p: ["93.184.216.34", "10.0.0.1"])
    with pytest.raises(Refused, match=r"hooks\.test is 10\.0\.0\.1, which is private"):
        guard.ask("POST", "https://hooks.test/x")
    assert "private" in (guard.reach("https://hooks.test/x") or "")


def test_the_connection_is_made_to_the_checked_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name is looked up once; a second answer, which would be 127.0.0.1, is never asked for."""
    answers, dialled = [["93.184.216.34"], ["127.0.0.1"]], []

    def connect(_self: Any, host: str, *_: Any, **__: Any) -> Any:
        dialled.append(host)
        raise httpcore.ConnectError("not in a test")

    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    with pytest.raises(NotReached):
        Guard(MONOTONIC, resolve=lambda _h, _p: answers.pop(0)).ask("POST", "https://hooks.test/x")
    assert (dialled, answers) == (["93.184.216.34"], [["127.0.0.1"]])


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path]:
    """A certificate authority, and its certificate as a file."""
    made, path = trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem"
    made.cert_pem.write_to_path(str(path))
    return made, path


def served(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_tls_is_for_the_name_and_not_for_the_address(authority: tuple[trustme.CA, Path]) -> None:
    """Dialling a checked address leaves the certificate, SNI and Host those of the name."""
    ca, path = authority
    guard = Guard(MONOTONIC, True, path, resolve=lambda _h, _p: ["127.0.0.1"], timeout=5.0)
    with hook(served(ca, "hooks.test")) as peer:
        assert guard.ask("POST", f"https://hooks.test:{peer.port}/x", body=b"{}").status == 200
        assert peer.got[0].headers["host"] == f"hooks.test:{peer.port}"
        assert guard.reach(f"https://hooks.test:{peer.port}/x") is None
        with pytest.raises(NotReached, match="certificate is not trusted"):
            guard.ask("POST", f"https://other.test:{peer.port}/x", body=b"{}")
        assert len(peer.got) == 1


def test_redirects_are_not_followed() -> None:
    """Also not to where we were allowed to go in the first place."""
    with hook(None, Say(307, headers={"Location": "/elsewhere"})) as peer:
        assert INSIDE.ask("POST", peer.url).status == 307
        assert len(peer.got) == 1


def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy would look the name up itself."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with hook() as peer:
        assert INSIDE.ask("POST", peer.url).status == 200


def test_an_answer_is_read_up_to_a_limit() -> None:
    """And no further."""
    with hook(None, Say(body=b"x" * (LARGEST * 4))) as peer:
        assert len(INSIDE.ask("POST", peer.url).body) == LARGEST


def test_what_was_sent_and_what_was_not() -> None:
    """A closed port: certainly not sent. Dropped behind the request: perhaps."""
    with closing(socket.socket()) as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(NotReached):
            INSIDE.ask("POST", f"http://127.0.0.1:{unused.getsockname()[1]}/")
    with hook(None, Say(drop=True)) as peer, pytest.raises(NoAnswer):
        INSIDE.ask("POST", peer.url)


def test_a_server_that_drips_is_given_up() -> None:
    """Each byte comes within the time-out of a read; the whole does not come in time."""
    now = [0.0]

    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(4096)
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 200:
                now[0] += 1.0
                with suppress(OSError):
                    connection.sendall(bytes([byte]))

    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        with pytest.raises(NoAnswer, match="time for the whole request is over"):
            Guard(lambda: now[0], True, timeout=5.0).ask("POST", f"http://127.0.0.1:{listening.getsockname()[1]}/")
        thread.join()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "12"}, 12.0), ({"Retry-After": "999999"}, 86400.0), ({"Retry-After": "soon"}, None),
        ({}, None),
        ({"Retry-After": "Sun, 01 Mar 2026 09:02:00 GMT", "Date": "Sun, 01 Mar 2026 09:00:00 GMT"}, 120.0),
    ],
)  # fmt: skip
def test_when_to_come_again(headers: dict[str, str], seconds: float | None) -> None:
    """Seconds, or a time by the other side's own clock."""
    with hook(None, Say(429, headers=headers)) as peer:
        answer = INSIDE.ask("POST", peer.url)
    if "Date" in headers:  # the server sends a Date of its own first
        answer = answer._replace(headers={**answer.headers, "date": headers["Date"]})
    assert answer.retry_after() == seconds
