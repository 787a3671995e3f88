"""Mail over real connections: aiosmtpd with every kind of TLS, and postfix's smtp-sink, which breaks on request."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, Session
from hypothesis import example, given, settings
from hypothesis import strategies as st

from monitor.cli.clock import SystemClock
from monitor.deliver.email import Email
from monitor.deliver.letter import Envelope as Letter
from monitor.deliver.letter import compose
from monitor.deliver.render import Renderer
from monitor.deliver.samples import FINDING, sample, samples
from monitor.domain.message import Manner, Notification, Reason, Sending
from tests.peers.outgoing import Post

RENDERER = Renderer([Path(__file__).parents[2] / "templates"])
SINK = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin:/usr/local/sbin")
CLOCK = SystemClock()
TO = "it-security@example.test"


class Mailbox:
    """Keeps mails; answers one command with what a test says."""

    def __init__(self, **answers: str) -> None:
        self.mails: list[tuple[list[str], bytes]] = []
        self.answers = answers

    async def handle_RCPT(self, _server: Any, _session: Session, envelope: Envelope, address: str, _o: Any) -> str:
        if "rcpt" in self.answers:
            return self.answers["rcpt"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Session, envelope: Envelope) -> str:
        if "data" in self.answers:
            return self.answers["data"]
        assert isinstance(envelope.content, bytes)
        self.mails.append((list(envelope.rcpt_tos), envelope.content))
        return "250 queued as 1"

    def message(self, index: int = -1) -> EmailMessage:
        read = message_from_bytes(self.mails[index][1], policy=default)
        assert isinstance(read, EmailMessage)
        return read


@contextmanager
def server(mailbox: Mailbox, **how: Any) -> Iterator[int]:
    port = unused()
    controller = Controller(mailbox, hostname="127.0.0.1", port=port, **how)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


def unused() -> int:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def email(port: int, **how: Any) -> Email:
    usual: dict[str, Any] = {
        "host": "127.0.0.1", "port": port, "tls": "none", "username": None, "password": None,
        "sender": "Access monitor <alerts@example.test>", "to": TO, "renderer": RENDERER,
        "message_id_domain": "example.test", "timeout": 5.0,
    }  # fmt: skip
    return Email(**(usual | how))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    """A server's context for 127.0.0.1, and the certificate of who signed it."""
    ca, path = trustme.CA(), tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    return context, path


class TestTls:
    def test_starttls_is_insisted_on(self, authority: tuple[ssl.SSLContext, Path]) -> None:
        """With the right authority it goes; without it, or without STARTTLS at all, nothing is sent in clear."""
        context, ca = authority
        box = Mailbox()
        with server(box, tls_context=context, require_starttls=True) as port:
            assert email(port, tls="starttls", ca_file=ca).send(sample(Reason.TEST)).sending is Sending.SENT
            receipt = email(port, tls="starttls").send(sample(Reason.TEST))
            assert (receipt.sending, "ca_file" in receipt.detail) == (Sending.LATER, True)
        with server(box) as port:
            receipt = email(port, tls="starttls", ca_file=ca).send(sample(Reason.TEST))
            assert (receipt.sending, "`tls`" in receipt.detail) == (Sending.PAUSED, True)
        assert len(box.mails) == 1

    def test_implicit(self, authority: tuple[ssl.SSLContext, Path]) -> None:
        """Encrypted from the first byte."""
        context, ca = authority
        box = Mailbox()
        with server(box, ssl_context=context) as port:
            channel = email(port, tls="implicit", ca_file=ca)
            assert channel.check() is None
            assert channel.send(sample(Reason.TEST)).sending is Sending.SENT

    def test_a_wrong_password_waits_for_the_operator(self, authority: tuple[ssl.SSLContext, Path]) -> None:
        """Everything for this receiver is paused; the right one goes through."""
        context, ca = authority

        def known(_s: Any, _session: Any, _e: Any, _mechanism: str, login: Any) -> AuthResult:
            return AuthResult(success=login.password == b"right", handled=False)

        box = Mailbox()
        how: dict[str, Any] = {"tls_context": context, "authenticator": known, "auth_required": True}
        with server(box, require_starttls=True, **how) as port:
            for password, sending in (("wrong", Sending.PAUSED), ("right", Sending.SENT)):
                channel = email(port, tls="starttls", ca_file=ca, username="u", password=password)
                receipt = channel.send(sample(Reason.TEST))
                assert receipt.sending is sending
                assert password not in receipt.detail


@pytest.mark.parametrize(
    ("answers", "sending"),
    [
        ({"rcpt": "550 no such user"}, Sending.REJECTED), ({"rcpt": "450 greylisted"}, Sending.LATER),
        ({"rcpt": "452 too many"}, Sending.LATER), ({"data": "554 spam"}, Sending.REJECTED),
        ({"data": "552 mailbox full"}, Sending.LATER), ({"data": "451 try later"}, Sending.LATER),
        ({"rcpt": "530 log in first"}, Sending.PAUSED), ({}, Sending.SENT),
    ],
)  # fmt: skip
def test_what_an_answer_means(answers: dict[str, str], sending: Sending) -> None:
    """Permanent, later, or for the operator."""
    box = Mailbox(**answers)
    with server(box) as port:
        assert email(port).send(sample(Reason.OPENED)).sending is sending
    assert len(box.mails) == (sending is Sending.SENT)


def test_each_recipient_has_a_mail_of_his_own(tmp_path: Path) -> None:
    """Nobody sees the others; who is refused holds up nobody."""
    box = Mailbox()
    with server(box) as port:
        channel = email(port, to=None)
        post = Post(tmp_path, {"mail": Manner(to=("ann@x.test", "bob@x.test"))}, mail=channel)
        post.write("mail", "one", reason=Reason.TEST)
        assert post.deliver() == {"sent": 2}
        post.close()
    assert [to for to, _ in box.mails] == [["ann@x.test"], ["bob@x.test"]]
    assert b"bob" not in box.mails[0][1]
    assert len({box.message(i)["Message-ID"] for i in (0, 1)}) == 2


def test_mails_about_one_finding_are_a_thread() -> None:
    """The first one is the root; later ones refer to it."""
    box = Mailbox()
    with server(box) as port:
        for reason in (Reason.OPENED, Reason.RESOLVED):
            about = FINDING | {"opened_at": "2026-11-24T02:10:00Z", "resolved_at": None, "open_for": 1.0}
            email(port).send(sample(reason, finding=about))
    first, second = box.message(0), box.message(1)
    assert second["In-Reply-To"] == second["References"] == first["Message-ID"]
    assert first["In-Reply-To"] is None
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["X-Auto-Response-Suppress"] == "All"
    assert first["List-Id"] == "access-monitor <alerts.example.test>"


def test_no_owner_no_address() -> None:
    """A message that was meant for an owner and has none is refused, and says why."""
    receipt = email(9, to=None).send(sample(Reason.TEST))
    assert (receipt.sending, "owners" in receipt.detail) == (Sending.REJECTED, True)


class Loads(HTMLParser):
    """Collects what a page would load from elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {k}" for k, _ in attrs if k in ("src", "href", "background", "srcset")]
        self.found += [f"{tag} url" for _, v in attrs if v and "url(" in v]
        self.found += [tag] if tag in ("script", "link", "img", "iframe", "object", "form") else []


@pytest.mark.parametrize("note", [pytest.param(n, id=f"{i}-{n.reason}") for i, n in enumerate(samples())])
def test_a_mail_loads_nothing_and_reads_in_the_dark(note: Notification) -> None:
    """No image, no link, no script; styles stand in the elements, and dark ones in the only sheet."""
    page = RENDERER.html(note)
    parser = Loads()
    parser.feed(page)
    assert parser.found == []
    sheets = re.findall(r"<style.*?</style>", page, re.DOTALL)
    assert len(sheets) == 1
    assert "prefers-color-scheme: dark" in sheets[0]
    assert 'name="color-scheme"' in page
    assert 'style="' in page


# headers that strangers would write

PAYLOADS = [
    "=?utf-8?q?hi=0d=0aBcc:_evil@x.test?=", "=?utf-8?b?aGkNCkJjYzogZXZpbEB4LnRlc3Q=?=", "x\r\nBcc: evil@x.test",
    "x\nBcc: evil@x.test\n\nbody", "x\u2028Bcc: evil@x.test", "x\u0085Bcc: evil@x.test", "\x00\x0b\x0c=?", "a" * 5000,
    "=?utf-8?q?=3D=3Futf-8=3Fq=3Fa=0ABcc=3A_b=3F=3D?=", "=\r?utf-8?q?a=0ABcc:_b?=", "=\u200b?utf-8?q?a=0ABcc:_b?=",
    "\ud800\udfff", "\u202egro.live", "=?utf-8?q?" + "a" * 200 + "=0d=0aBcc:_evil?=",
]  # fmt: skip
NAMES = [
    "auto-submitted", "content-type", "date", "from", "list-id", "message-id", "mime-version", "subject", "to",
    "x-auto-response-suppress",
]  # fmt: skip


def check_headers(text: str) -> None:
    note = sample(
        Reason.OPENED, title=text, finding=FINDING | {"title": text, "subject": FINDING["subject"] | {"name": text}}
    )
    data = compose(note, RENDERER, Letter("Access monitor <alerts@example.test>", TO, "example.test"))
    head = data.partition(b"\r\n\r\n")[0]
    assert sorted(k.lower() for k in message_from_bytes(data, policy=default)) == NAMES
    lines = [line.partition(b":")[0].lower() for line in head.split(b"\r\n") if not line.startswith((b" ", b"\t"))]
    assert sorted(n.decode() for n in lines) == NAMES, "as a server reads it, which knows no Python"
    assert b"\n" not in head.replace(b"\r\n", b"")
    assert message_from_bytes(data, policy=default)["To"] == TO


@pytest.mark.parametrize("text", PAYLOADS)
def test_no_title_makes_a_header(text: str) -> None:
    """Encoded words that decode to line breaks included (CVE-2024-6923)."""
    check_headers(text)


_HOSTILE = st.lists(
    st.sampled_from(["=?utf-8?q?", "?=", "=0d=0a", "\r\n", "\n", "Bcc: x@evil.test", " ", "=?", "a", "\u2029", "é"]),
    max_size=8,
).map("".join)


@settings(max_examples=60, deadline=None)
@given(_HOSTILE | st.text(max_size=80))
@example("=?utf-8?q?hi=0d=0aBcc:_evil@x.test?=")
def test_no_text_at_all_makes_a_header(text: str) -> None:
    """Whatever it is put together from."""
    check_headers(text)


# smtp-sink, by other people, in C


@contextmanager
def sink(folder: Path, *flags: str) -> Iterator[int]:
    """Postfix's sink, which dumps each mail into a file and breaks as its flags say."""
    assert SINK is not None
    port = unused()
    user = ["-u", "root"] if Path("/proc/self").owner() == "root" else []
    process = subprocess.Popen(
        [SINK, *user, "-d", "%M.", *flags, f"127.0.0.1:{port}", "10"], cwd=folder, stderr=subprocess.PIPE, text=True
    )
    try:
        _wait(lambda: _open(port) or process.poll() is not None)
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield port
    finally:
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def _open(port: int) -> bool:
    with contextlib.closing(socket.socket()) as trial:
        return trial.connect_ex(("127.0.0.1", port)) == 0


def _wait(until: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = CLOCK.monotonic() + seconds
    while not until():
        assert CLOCK.monotonic() < deadline, "it never came"
        CLOCK.sleep(0.02)


def dumped(folder: Path) -> list[bytes]:
    return [p.read_bytes() for p in sorted(folder.iterdir()) if p.is_file() and b"Message-ID:" in p.read_bytes()]


def ids(mails: list[bytes]) -> set[bytes]:
    return {m for mail in mails for m in re.findall(rb"(?m)^Message-ID:\s*(\S+)", mail)}


@pytest.mark.skipif(SINK is None, reason="smtp-sink is not installed (Debian: apt-get install postfix)")
class TestSink:
    def test_it_takes_what_we_send(self, tmp_path: Path) -> None:
        """Every kind of message, as a server that is not written in Python reads it."""
        with sink(tmp_path) as port:
            for note in samples():
                assert email(port).send(note).sending is Sending.SENT
            _wait(lambda: len(dumped(tmp_path)) >= len(list(samples())))
        assert all(b"X-Rcpt-Args: <it-security@example.test>" in m for m in dumped(tmp_path))

    @pytest.mark.parametrize(
        ("flags", "sending"),
        [
            (["-q", "."], Sending.UNCERTAIN), (["-q", "data"], Sending.LATER), (["-q", "rcpt"], Sending.LATER),
            (["-r", "rcpt"], Sending.LATER), (["-f", "rcpt"], Sending.REJECTED), (["-r", "."], Sending.LATER),
            (["-f", "."], Sending.REJECTED), (["-f", "mail"], Sending.REJECTED),
        ],
    )  # fmt: skip
    def test_where_it_breaks_says_what_is_known(self, tmp_path: Path, flags: list[str], sending: Sending) -> None:
        """Before the final dot nothing was taken; behind it nobody knows."""
        with sink(tmp_path, *flags) as port:
            assert email(port).send(sample(Reason.OPENED)).sending is sending

    def test_dropped_at_the_final_dot_there_is_no_second_copy_under_another_id(self, tmp_path: Path) -> None:
        """The server may have it: sent again under the same Message-ID, byte for byte the same."""
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        second.mkdir()
        channel = email(0)
        post = Post(tmp_path, mail=channel)
        post.write("mail", "one", finding=FINDING)
        with sink(first, "-q", ".") as port:
            channel.port = port
            assert post.deliver() == {"uncertain": 1}
            post.clock.ahead(minutes=10)
            assert post.deliver() == {"uncertain": 1}
            _wait(lambda: dumped(first))
        with sink(second) as port:
            channel.port = port
            post.clock.ahead(minutes=10)
            assert post.deliver() == {"sent": 1}
            _wait(lambda: dumped(second))
        post.close()
        assert len(ids(dumped(first) + dumped(second))) == 1
