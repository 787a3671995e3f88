"""Messages on a terminal, or on any stream: plain where no terminal reads it."""

from __future__ import annotations

from typing import IO

from rich.console import Console as Rich
from rich.panel import Panel
from rich.text import Text

from monitor.deliver.render import Renderer
from monitor.domain.message import Notification, Reason, Receipt, Sending

_STYLES = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "cyan"}


class Console:
    def __init__(self, stream: IO[str], renderer: Renderer) -> None:
        self.stream, self.renderer = stream, renderer

    def send(self, notification: Notification) -> Receipt:
        text = self.renderer.text(notification).rstrip("\n")
        try:
            if self.stream.isatty():
                self._draw(notification, text)
            else:
                self.stream.write(f"{text}\n\n{'-' * 72}\n\n")
            self.stream.flush()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            return Receipt(Sending.LATER, f"cannot write to the console: {error}")
        return Receipt(Sending.SENT)

    def find(self, notification: Notification) -> str | None:
        return None

    def check(self) -> str | None:
        return "the stream is closed" if self.stream.closed else None

    def _draw(self, notification: Notification, text: str) -> None:
        # Text, and not a string: rich would take [brackets] in names for its markup
        first, _, rest = text.partition("\n")
        style = _style(notification)
        body = Text(rest.strip("\n")) if rest else Text("")
        panel = Panel(body, title=Text(first, style=style), title_align="left", border_style=style, padding=(1, 2))
        Rich(file=self.stream, highlight=False, emoji=False).print(panel)


def _style(notification: Notification) -> str:
    if notification.reason is Reason.RESOLVED:
        return "green"
    return _STYLES.get(str(notification.content.get("finding", {}).get("severity")), "bold")
