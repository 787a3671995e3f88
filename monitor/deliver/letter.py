"""A notification as a mail: text, HTML and, for lists, the CSV. No text of a stranger can make a header of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from email import message_from_bytes
from email.headerregistry import Address
from email.message import EmailMessage, Message
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import Any, NamedTuple

from monitor.deliver.attachment import attachment
from monitor.deliver.render import Renderer
from monitor.domain.message import Notification, Reason

# seven bits for servers without 8BITMIME; encoded words in headers for those without SMTPUTF8
_POLICY = SMTP.clone(cte_type="7bit")
_LONGEST_ID = 64  # with its header's name it stays on one line: a folded one becomes an encoded word, and threads break
FALLBACK = "access-monitor: a message whose title could not be shown safely"


class Envelope(NamedTuple):
    """From whom, to whom, and the domain that Message-IDs are made in."""

    sender: str
    to: str
    domain: str


def mailbox(text: str) -> Address:
    """One address, with or without a name. Raises ValueError for anything else."""
    name, spec = parseaddr(text)
    local, at, domain = spec.rpartition("@")
    if not (at and local and domain) or any(c in text for c in "\r\n\0") or not spec.isascii() or " " in spec:
        raise ValueError(f"is no e-mail address: {text!r}")
    return Address(name, local, domain)


def compose(notification: Notification, renderer: Renderer, envelope: Envelope) -> bytes:
    """The mail as it is sent. What is built is read back: a title that changes the headers is replaced."""
    subject = renderer.subject(notification)
    for said in (subject, FALLBACK):
        message = _built(notification, renderer, envelope, said)
        try:
            data = message.as_bytes(policy=_POLICY)
        except (ValueError, LookupError):  # email refuses what it could not write safely
            continue
        if _unchanged(message, data):
            return data
    raise ValueError("the mail's headers would not be read as they were written")


def message_id(notification: Notification, domain: str) -> str:
    """The same for every attempt, so that a second copy can be told by it."""
    root = thread(notification, domain)
    return root if root is not None and _first(notification) else _id(notification.id, domain)


def thread(notification: Notification, domain: str) -> str | None:
    """The Message-ID of the first mail about a finding, or a group of them."""
    content = notification.content
    if not (content.get("finding") or "group" in content):
        return None
    of = content["group"]["id"] if "group" in content else _episode(content["finding"])
    which = f"{of}\n{notification.lane}"
    return _id(hashlib.sha256(which.encode()).hexdigest()[:24], domain)


def _episode(found: Mapping[str, Any]) -> str:
    return f"{found['fingerprint']}\n{found['opened_at']}"


def _first(notification: Notification) -> bool:
    content = notification.content
    if "group" in content:
        return bool(content["group"]["first"])
    return notification.reason in (Reason.OPENED, Reason.FLAPPING) or (
        notification.reason is Reason.REOPENED and content["finding"]["opened_at"] == content["at"]
    )


def _id(local: str, domain: str) -> str:
    whole = f"<{local}@{domain}>"
    if len(whole) <= _LONGEST_ID:
        return whole
    return f"<{local}@{hashlib.sha256(domain.encode()).hexdigest()[:12]}.invalid>"


def _built(notification: Notification, renderer: Renderer, envelope: Envelope, subject: str) -> EmailMessage:
    message = EmailMessage(policy=_POLICY)
    message["From"] = mailbox(envelope.sender)
    message["To"] = mailbox(envelope.to)
    message["Subject"] = subject
    message["Date"] = format_datetime(notification.created_at)
    _identify(message, notification, envelope.domain)
    message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nothing should answer this by itself
    message["X-Auto-Response-Suppress"] = "All"  # the same for Exchange
    message["List-Id"] = f"access-monitor <alerts.{envelope.domain}>"
    listed = attachment(notification)
    message.set_content(renderer.text(notification, attached=listed is not None), cte="quoted-printable")
    html = renderer.html(notification, attached=listed is not None)
    message.add_alternative(html, subtype="html", cte="quoted-printable")
    if listed is not None:
        message.add_attachment(listed.data, maintype="text", subtype="csv", filename=listed.name)
    _bound(message, notification.id)
    return message


def _identify(message: EmailMessage, notification: Notification, domain: str) -> None:
    own, root = message_id(notification, domain), thread(notification, domain)
    message["Message-ID"] = own
    if root is not None and root != own:
        message["In-Reply-To"] = root
        message["References"] = root


def _bound(message: EmailMessage, outbox_id: str) -> None:
    """Boundaries that are the same for every attempt; "=_" stands in no quoted-printable and no base64 text."""
    for i, part in enumerate(p for p in message.walk() if p.is_multipart()):
        part.set_boundary(f"=_{hashlib.sha256(f'{outbox_id} {i}'.encode()).hexdigest()[:32]}")


def _unchanged(message: EmailMessage, data: bytes) -> bool:
    read = message_from_bytes(data, policy=SMTP)
    return (
        sorted(k.lower() for k in read) == sorted(k.lower() for k in message)
        and str(read["To"]) == str(message["To"])
        and str(read["From"]) == str(message["From"])
        and all(_unfolded(read[k]) == _unfolded(message[k]) for k in message if k not in _WRITTEN_ANEW)
        and [_part(p) for p in read.walk()] == [_part(p) for p in message.walk()]
    )


_WRITTEN_ANEW = ("Content-Type", "MIME-Version", "Content-Transfer-Encoding")  # the parts are compared by themselves


def _unfolded(value: object) -> str:
    return " ".join(str(value).split())


def _part(part: Message) -> tuple[str, str | None, bytes]:
    """What a part is, and what it holds; line ends count as one, since sending sets them."""
    content = b"" if part.is_multipart() else bytes(part.get_payload(decode=True) or b"")
    return part.get_content_type(), part.get_filename(), content.replace(b"\r\n", b"\n")
