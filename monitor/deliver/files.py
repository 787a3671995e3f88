"""One file a message, in a folder: for other programs, for air-gapped places, and for trying templates."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from monitor.deliver.attachment import rows
from monitor.deliver.letter import Envelope, compose
from monitor.deliver.render import SHOWN, Renderer
from monitor.domain.message import Notification, Receipt, Sending

Format = Literal["json", "text", "slack", "email"]
_ENDS: dict[Format, str] = {"json": ".json", "text": ".txt", "slack": ".slack.json", "email": ".eml"}
_SENDER = "access-monitor <access-monitor@localhost>"


class Files:
    """The outbox id names the file, so that sending again replaces and never doubles."""

    def __init__(self, path: Path, format: Format, renderer: Renderer) -> None:
        if format not in _ENDS:
            raise ValueError(f"format must be one of {', '.join(_ENDS)}")
        self.path, self.format, self.renderer = path, format, renderer

    def send(self, notification: Notification) -> Receipt:
        write: dict[Format, Callable[[Notification], bytes]] = {
            "json": self._json, "text": self._text, "slack": self._slack, "email": self._email,
        }  # fmt: skip
        data = write[self.format](notification)
        target = self._file(notification)
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            _put(target, data)
        except OSError as error:
            return Receipt(Sending.LATER, f"cannot write {target}: {error.strerror}")
        return Receipt(Sending.SENT, reference=str(target))

    def find(self, notification: Notification) -> str | None:
        target = self._file(notification)
        return str(target) if target.exists() else None

    def check(self) -> str | None:
        trial = self.path / ".access-monitor-check"
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            _put(trial, b"")
            trial.unlink()
        except OSError as error:
            return f"cannot write into {self.path}: {error.strerror}. Make the folder writable for this user."
        return None

    def _file(self, notification: Notification) -> Path:
        name = "".join(c if c.isalnum() or c in "-_" else "_" for c in notification.id)
        return self.path / f"{name}{_ENDS[self.format]}"

    def _json(self, n: Notification) -> bytes:
        return _dumped({
            "id": n.id, "reason": n.reason.value, "receiver": n.receiver,
            "created_at": n.created_at.isoformat().replace("+00:00", "Z"),
            "title": n.content["title"], "text": self.renderer.text(n), "content": dict(n.content),
        })  # fmt: skip

    def _text(self, n: Notification) -> bytes:
        return self.renderer.text(n).encode()

    def _slack(self, n: Notification) -> bytes:
        return _dumped(self.renderer.slack(n, attached=rows(n) > SHOWN))

    def _email(self, n: Notification) -> bytes:
        receiver = "".join(c if (c.isascii() and c.isalnum()) or c in "-_." else "-" for c in n.receiver).strip(".")
        return compose(n, self.renderer, Envelope(_SENDER, f"{receiver or 'receiver'}@localhost", "localhost"))


def _dumped(value: Any) -> bytes:
    # a lone surrogate of a stranger's name would not encode; escaped, it stays what it was
    return json.dumps(value, indent=2, ensure_ascii=True).encode() + b"\n"


def _put(target: Path, data: bytes) -> None:
    """Whole or not at all, also when the power goes: written beside, flushed to disk, moved into place."""
    beside = target.with_name(f".{target.name}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(beside, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    beside.replace(target)
    folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
