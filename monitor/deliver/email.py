"""Mail over SMTP, one recipient a message.

At least once: SMTP has no way to ask for a message again, so after a connection that broke behind the final dot
the mail is sent again, under the same Message-ID, by which mail readers can tell that it is the same.
"""

from __future__ import annotations

import ipaddress
import re
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from monitor.deliver.clean import one_line, shortened
from monitor.deliver.letter import Envelope, compose, mailbox
from monitor.deliver.render import Renderer
from monitor.domain.message import Notification, Receipt, Sending

Tls = Literal["implicit", "starttls", "none"]
_CREDENTIALS = frozenset({530, 534, 535, 538})
_FULL = frozenset({452, 552})  # storage or size: it may pass
TIMEOUT = 20.0


class Email:
    def __init__(
        self, *, host: str, port: int, tls: Tls, username: str | None, password: str | None, sender: str,
        to: str | None, renderer: Renderer, message_id_domain: str, ca_file: Path | None = None,
        timeout: float = TIMEOUT,
    ) -> None:  # fmt: skip
        if tls not in ("implicit", "starttls", "none"):
            raise ValueError("tls must be implicit, starttls or none")
        if tls == "none" and password and not _loopback(host):
            raise ValueError("tls = none would send the password in clear: use starttls or implicit")
        if (username is None) != (password is None):
            raise ValueError("username and password belong together")
        if not re.fullmatch(r"[A-Za-z0-9.-]+", message_id_domain):
            raise ValueError(f"is no domain: {message_id_domain!r}")
        mailbox(to or sender)
        self._from = mailbox(sender).addr_spec
        self.host, self.port, self.tls, self.timeout = host, port, tls, timeout
        self.username, self._password = username, password
        self.renderer, self.ca_file = renderer, ca_file
        self.sender, self.to, self.domain = sender, to, message_id_domain

    def send(self, notification: Notification) -> Receipt:
        try:
            data, to = self.letter(notification)
        except ValueError as error:
            return Receipt(Sending.REJECTED, str(error))
        try:
            with self._session() as session:
                return _transact(session, self._from, to, data)
        except _Ended as ended:
            return ended.receipt
        except (smtplib.SMTPException, OSError) as error:
            return _before(error)  # nothing was handed over yet

    def letter(self, notification: Notification) -> tuple[bytes, str]:
        """The mail, and the one address that it goes to. Raises ValueError."""
        to = notification.address or self.to
        if not to:
            raise ValueError("this message has no address: its receiver sends to owners")
        envelope = Envelope(self.sender, to, self.domain)
        return compose(notification, self.renderer, envelope), mailbox(to).addr_spec

    def find(self, notification: Notification) -> str | None:
        return None

    def check(self) -> str | None:
        try:
            with self._session() as session:
                _expect(session.noop(), "NOOP")
        except _Ended as ended:
            return f"{self.host}:{self.port}: {ended.receipt.detail}"
        except (smtplib.SMTPException, OSError) as error:
            return f"{self.host}:{self.port}: {_before(error).detail}"
        return None

    @contextmanager
    def _session(self) -> Iterator[smtplib.SMTP]:
        """Connected, encrypted and logged in."""
        context = ssl.create_default_context(cafile=str(self.ca_file) if self.ca_file else None)
        session = (
            smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout, context=context)
            if self.tls == "implicit"
            else smtplib.SMTP(self.host, self.port, timeout=self.timeout)
        )
        try:
            session.ehlo_or_helo_if_needed()
            if self.tls == "starttls":
                session.starttls(context=context)
                session.ehlo()
            if self.username is not None and self._password is not None:
                session.login(self.username, self._password)
            yield session
            _quit(session)
        finally:
            session.close()


class _Ended(Exception):
    """The transaction is over, and this is how."""

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt
        super().__init__(receipt.detail)


def _transact(session: smtplib.SMTP, sender: str, to: str, data: bytes) -> Receipt:
    _expect(session.mail(sender, [f"size={len(data)}"] if session.has_extn("size") else []), "MAIL")
    _expect(session.rcpt(to), "RCPT")
    _expect(session.docmd("DATA"), "DATA", ok=354)
    session.send(_stuffed(data))  # without the final dot no server may deliver it
    try:
        session.send(b".\r\n")
        code, reply = session.getreply()
    except (smtplib.SMTPServerDisconnected, OSError) as error:
        lost = f"no answer after the mail was sent: {type(error).__name__}"
        raise _Ended(Receipt(Sending.UNCERTAIN, lost)) from error
    _expect((code, reply), "the mail")
    return Receipt(Sending.SENT, reference=_said(reply))


def _stuffed(data: bytes) -> bytes:
    """With CRLF, and a dot before each line that begins with one (RFC 5321, 4.5.2)."""
    lines = re.sub(rb"\r?\n|\r", b"\r\n", data)
    lines = lines if lines.endswith(b"\r\n") else lines + b"\r\n"
    return re.sub(rb"(?m)^\.", b"..", lines)


def _expect(answer: tuple[int, bytes], what: str, ok: int = 250) -> None:
    code, reply = answer
    if code == ok or (ok == 250 and code == 251):  # 251: will be forwarded
        return
    raise _Ended(_refused(code, reply, what))


def _refused(code: int, reply: bytes | str, what: str) -> Receipt:
    detail = f"{what} refused: {code} {_said(reply)}"
    if code in _CREDENTIALS:
        return Receipt(Sending.PAUSED, f"{detail}. Check username and password.")
    if 500 <= code < 600 and code not in _FULL:
        return Receipt(Sending.REJECTED, detail)
    return Receipt(Sending.LATER, detail)


def _before(error: smtplib.SMTPException | OSError) -> Receipt:
    """What failed before the mail was handed over: nothing of it was accepted."""
    match error:
        case smtplib.SMTPAuthenticationError() if error.smtp_code >= 500:
            detail = f"log-in refused: {error.smtp_code} {_said(error.smtp_error)}. Check username and password."
            return Receipt(Sending.PAUSED, detail)
        case smtplib.SMTPNotSupportedError():
            return Receipt(Sending.PAUSED, f"{_said(str(error))} Check the port and `tls`.")
        case smtplib.SMTPResponseException():  # of the session and not of this message, so 5xx is no verdict on it
            return Receipt(Sending.LATER, f"session refused: {error.smtp_code} {_said(error.smtp_error)}")
        case ssl.SSLCertVerificationError():
            advice = "If the server has a certificate of your own authority, name it in `ca_file`."
            return Receipt(Sending.LATER, f"the certificate is not trusted: {error.verify_message}. {advice}")
        case smtplib.SMTPServerDisconnected():
            return Receipt(Sending.LATER, "the server closed the connection before it took the mail")
    return Receipt(Sending.LATER, f"not reached: {getattr(error, 'strerror', None) or type(error).__name__}")


def _said(reply: bytes | str) -> str:
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    return shortened(one_line(text), 200)


def _quit(session: smtplib.SMTP) -> None:
    try:
        session.quit()
    except (smtplib.SMTPException, OSError):
        pass  # the mail is accepted: a rude good-bye does not change that


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
