"""What a receiver would send, without sending it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from monitor import config as settings
from monitor.config import Config
from monitor.deliver.attachment import rows
from monitor.deliver.guard import Guard
from monitor.deliver.letter import Envelope, compose
from monitor.deliver.preview import page
from monitor.deliver.render import SHOWN, Renderer
from monitor.deliver.webhook import Webhook, cloud_event, plain
from monitor.domain.message import Notification

_SENDER = "access-monitor <access-monitor@localhost>"


def letter(config: Config, note: Notification, renderer: Renderer) -> bytes:
    """The whole mail, as the receiver's settings have it; a made-up envelope for one that sends no mail."""
    receiver = next((r for r in config.receivers if r.name == note.receiver), None)
    if not isinstance(receiver, settings.EmailReceiver):
        return compose(note, renderer, Envelope(_SENDER, "you@localhost", "localhost"))
    to = note.address or (receiver.to[0] if receiver.to != ["owner"] else "owner@localhost")
    domain = receiver.sender.rpartition("@")[2].strip("> ") or "localhost"
    return compose(note, renderer, Envelope(receiver.sender, to, domain))


def as_json(receiver: settings.ReceiverConfig, note: Notification, renderer: Renderer) -> Any:
    """What goes over the wire, as far as it is JSON. Secrets are shown as their names."""
    if isinstance(receiver, settings.WebhookReceiver):
        return _body(receiver, note, renderer)
    if isinstance(receiver, (settings.SlackReceiver, settings.SlackWebhookReceiver)):
        return renderer.slack(note, attached=rows(note) > SHOWN)
    if isinstance(receiver, settings.EmailReceiver):
        listed = rows(note) > 0
        return {
            "subject": renderer.subject(note), "text": renderer.text(note, attached=listed),
            "html": renderer.html(note, attached=listed),
        }  # fmt: skip
    if isinstance(receiver, settings.FilesReceiver) and receiver.format == "slack":
        return renderer.slack(note, attached=rows(note) > SHOWN)
    return {"title": note.content["title"], "text": renderer.text(note), "content": dict(note.content)}


def as_page(config: Config, receiver: settings.ReceiverConfig, note: Notification, renderer: Renderer) -> str:
    """A page that shows it as it is read: as Slack draws it, as a mailbox does, or as text."""
    if isinstance(receiver, (settings.SlackReceiver, settings.SlackWebhookReceiver)):
        return page([renderer.slack(note, attached=rows(note) > SHOWN)], [])
    if isinstance(receiver, settings.WebhookReceiver):
        body = json.dumps(_body(receiver, note, renderer), indent=2, ensure_ascii=False)
        return page([{"text": note.content["title"], "blocks": [_code(body)]}], [])
    return page([], [letter(config, note, renderer)])


def _code(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "plain_text", "text": text}}


def _body(receiver: settings.WebhookReceiver, note: Notification, renderer: Renderer) -> Any:
    if receiver.format != "template":
        return plain(note) if receiver.format == "json" else cloud_event(note)
    shown = Webhook(
        url="https://localhost", format="template", renderer=renderer, guard=Guard(lambda: 0.0),
        now=lambda: datetime(2026, 1, 1, tzinfo=UTC), template=receiver.template, values=receiver.values,
        secrets={name: f"({name})" for name in receiver.secrets},
    )  # fmt: skip
    request = shown.request(note)
    if request is None:
        return None
    return request.body if not request.path else {"method": request.method, "path": request.path, "body": request.body}
