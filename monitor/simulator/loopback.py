"""A real HTTP server on loopback, for whatever answers."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Reply:
    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    content_type: str = "application/json"


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]

    @property
    def page(self) -> int:
        given = self.query.get("page", "1")
        return max(int(given), 1) if given.isdigit() else 1


class Loopback(ABC):
    """Answers while the `with` block lasts."""

    def __init__(self, port: int = 0) -> None:
        self.log: list[Asked] = []
        self._stop = threading.Event()
        self._http = _Http(("127.0.0.1", port), self)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def time(self) -> float | None:
        """Unix time by its clock; None: that of the machine."""
        return None

    @abstractmethod
    def answer(self, asked: Asked, headers: Any, body: bytes) -> Reply | None:
        """What goes back; None ends the connection without a word."""


class _Http(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], peer: Loopback) -> None:
        self.peer = peer
        super().__init__(address, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is its own business."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http
    timeout = 60
    disable_nagle_algorithm = True

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The Date of an answer is that of the school's own clock."""
        return super().date_time_string(self.server.peer.time() if timestamp is None else timestamp)

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        reply = self.server.peer.answer(Asked(self.command, parts.path, query), self.headers, body)
        if reply is None:
            self.close_connection = True
            return
        self.send_response(reply.status)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(reply.body)))
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(reply.body[: len(reply.body) // 2] if reply.cut else reply.body)
        self.close_connection = self.close_connection or reply.cut

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _respond

    def log_message(self, format: str, *args: object) -> None:
        """Said nowhere: the peer's log knows."""
