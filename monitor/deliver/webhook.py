"""Signed webhooks, by Standard Webhooks. At least once: the id is the same for every attempt, by which to tell.

Only 2xx is success. A redirect is not followed: the signed message would go where somebody else says.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from standardwebhooks import Webhook as Signer

from monitor.deliver.clean import one_line, shortened
from monitor.deliver.guard import Answer, Guard, NoAnswer, NotReached, Refused
from monitor.deliver.render import Renderer
from monitor.domain.message import ABOUT_A_FINDING, Notification, Receipt, Sending
from monitor.errors import TemplateFault

Format = Literal["json", "cloudevents", "template"]
_OPERATOR = frozenset({401, 403, 404, 405, 407})  # of the config and not of this message: everything waits
_BUSY = frozenset({408, 425, 429})
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_RESERVED = frozenset({"host", "content-length", "content-type", "transfer-encoding", "connection"})


@dataclass(frozen=True)
class Request:
    """What a template asks for: the body, and where it goes when that is not the receiver's address itself."""

    body: Any
    method: str = "POST"
    path: str = ""
    reference: str = ""  # the key of the answer that holds the other side's name for it


@dataclass(frozen=True)
class Webhook:
    url: str
    format: Format
    renderer: Renderer
    guard: Guard
    now: Callable[[], datetime]
    template: str | None = None
    signing_keys: Sequence[str] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if not re.fullmatch(r"https?://[!-~]+", self.url) or not parts.hostname or "@" in parts.netloc:
            raise ValueError("url: must begin with https:// and hold no blanks and no password")
        if parts.scheme == "http" and not self.guard.allow_private:
            raise ValueError(
                "url: must begin with https://; plain http is for private addresses (allow_private = true)"
            )
        for key in self.signing_keys:
            _checked_key(key)
        for name, value in self.headers.items():
            if not _NAME.fullmatch(name) or name.lower() in _RESERVED or name.lower().startswith("webhook-"):
                raise ValueError(f"headers: {name} cannot be set")
            if not re.fullmatch(r"[\x20-\x7e]+", value):
                raise ValueError(f"headers: the value of {name} must be one line of ASCII")

    def send(self, notification: Notification) -> Receipt:
        request = self.request(notification)
        if request is None:
            return Receipt(Sending.SENT, f"the template {self.template} says nothing about this")
        body = json.dumps(request.body, ensure_ascii=True, separators=(",", ":")).encode()
        headers = {**self.headers, **self._signed(notification, body), "Content-Type": self._type()}
        try:
            answer = self.guard.ask(request.method, self._at(request.path), headers, body)
        except Refused as error:
            return Receipt(Sending.PAUSED, str(error))
        except NotReached as error:
            return Receipt(Sending.LATER, f"not reached: {error}")
        except NoAnswer as error:
            return Receipt(Sending.UNCERTAIN, f"no answer: {error}")
        return classify(answer, request.reference)

    def find(self, notification: Notification) -> str | None:
        return None

    def check(self) -> str | None:
        host = urlsplit(self.url).hostname
        problem = self.guard.reach(self.url)
        return None if problem is None else f"{host}: {problem}"

    def request(self, notification: Notification) -> Request | None:
        """What is sent of a notification; None when the template has nothing to say of it."""
        if self.format == "json":
            return Request(plain(notification))
        if self.format == "cloudevents":
            return Request(cloud_event(notification))
        said = self.renderer.webhook(str(self.template), notification, self.values, self.secrets)
        if not said:
            return None
        if isinstance(said, dict) and {"path", "body"} <= said.keys() <= {"path", "body", "method", "reference"}:
            return _request(self.template, **said)
        return Request(said)

    def _at(self, path: str) -> str:
        return self.url if not path else self.url.rstrip("/") + "/" + path.lstrip("/")

    def _type(self) -> str:
        return "application/cloudevents+json" if self.format == "cloudevents" else "application/json"

    def _signed(self, notification: Notification, body: bytes) -> dict[str, str]:
        """The time is that of the attempt; every key signs, so that one can be replaced while both are known."""
        now = self.now()
        headers = {"webhook-id": notification.id, "webhook-timestamp": str(int(now.timestamp()))}
        signatures = [Signer(key).sign(notification.id, now, body.decode()) for key in self.signing_keys]
        return headers | ({"webhook-signature": " ".join(signatures)} if signatures else {})


def _request(template: str | None, body: Any, path: Any, method: Any = "POST", reference: Any = "") -> Request:
    if not re.fullmatch(r"[\w/?=&%+.,:-]{0,500}", str(path)) or ".." in str(path):
        raise TemplateFault(f"webhook/{template}.json.j2: `path` must be a plain path")
    if method not in ("POST", "PUT", "PATCH"):
        raise TemplateFault(f"webhook/{template}.json.j2: `method` must be POST, PUT or PATCH")
    return Request(body, method, str(path), str(reference))


def classify(answer: Answer, reference: str = "") -> Receipt:
    status = answer.status
    if 200 <= status < 300:
        return Receipt(Sending.SENT, reference=_named(answer, reference) or f"HTTP {status}")
    means, advice = _meaning(status)
    return Receipt(means, f"HTTP {status}{_excerpt(answer)}{advice}", retry_after=answer.retry_after())


def _meaning(status: int) -> tuple[Sending, str]:
    if status == 410:
        return Sending.DISABLED, ": the other side wants no more messages"
    if 300 <= status < 400:
        return Sending.PAUSED, ": a redirect, which is not followed; set `url` to where it leads"
    if status in _OPERATOR:
        return Sending.PAUSED, ": check `url`, `headers` and the secrets"
    if status >= 500:
        return Sending.UNCERTAIN, ""
    return (Sending.LATER if status in _BUSY else Sending.REJECTED), ""


def kind_of(notification: Notification) -> str:
    """ "finding.opened", "changes": what a program asks first."""
    reason = notification.reason
    return f"finding.{reason.value}" if reason in ABOUT_A_FINDING else reason.value


def plain(notification: Notification) -> dict[str, Any]:
    return {
        "type": kind_of(notification), "timestamp": _time(notification),
        "data": {"id": notification.id, "receiver": notification.receiver, **notification.content},
    }  # fmt: skip


def cloud_event(notification: Notification) -> dict[str, Any]:
    content = notification.content
    found = content.get("finding")
    return {
        "specversion": "1.0", "id": notification.id, "source": f"/access-monitor/{quote(str(content['source']), '')}",
        "type": f"access-monitor.{kind_of(notification)}.v1", "time": _time(notification),
        "subject": str(found["fingerprint"] if found else content["source"]),
        "datacontenttype": "application/json", "data": dict(content),
    }  # fmt: skip


def _time(notification: Notification) -> str:
    return notification.created_at.isoformat().replace("+00:00", "Z")


def _checked_key(key: str) -> None:
    try:
        length = len(base64.b64decode(key.removeprefix("whsec_") + "==", validate=False))
        base64.b64decode(key.removeprefix("whsec_"), validate=True)
    except (ValueError, binascii.Error):
        length = 0
    if not 24 <= length <= 64:
        raise ValueError(
            "signing_keys: a key is whsec_ and 24 to 64 bytes in base64, such as `openssl rand -base64 32`"
        )


def _named(answer: Answer, reference: str) -> str:
    """What the other side calls the message, when the template says where the answer has it."""
    if not reference:
        return ""
    try:
        told = json.loads(answer.body)
    except ValueError:
        return ""
    return str(told.get(reference) or "")[:200] if isinstance(told, dict) else ""


def _excerpt(answer: Answer) -> str:
    text = shortened(one_line(answer.body[:2000].decode("utf-8", "replace")), 200)
    return f": {text}" if text else ""
