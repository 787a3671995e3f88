"""What people press in Slack, as signed requests to an address of ours: the other way beside Socket Mode.

Nothing of a request is looked at before its signature holds over the very bytes that came. Behind it stands the same
desk. Meant to stand behind a proxy that speaks TLS.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, cast
from urllib.parse import parse_qs

import structlog
from slack_sdk.signature import SignatureVerifier

from monitor.acts.desk import Answer, Desk, Handle
from monitor.acts.payload import Payload
from monitor.errors import ConfigError

log = structlog.get_logger()
PATH = "/slack/interactivity"
LARGEST = 256 * 1024  # bytes of a request: Slack's are some kB
MOST = 32  # connections at a time
PATIENCE = 2.5  # seconds: Slack waits for 3
REMEMBERED = 10_000  # signatures of the last minutes


class App(NamedTuple):
    """An app in Slack: how its requests are known, and where they are taken in."""

    verifier: SignatureVerifier
    desk: Desk


class Now:
    """The clock that signatures are held against."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now


class Said(NamedTuple):
    status: HTTPStatus
    body: Payload | None = None


class Endpoint:
    def __init__(self, host: str, port: int, apps: Sequence[App], patience: float = PATIENCE) -> None:
        self._address, self._apps, self._patience = (host, port), tuple(apps), patience
        self._seen: dict[str, None] = {}  # signatures that came in, the oldest first
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(max_workers=8, thread_name_prefix="slack-act")
        self._server: _Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.server_address[1])

    def start(self, handle: Handle) -> None:
        """Raises ConfigError when the address cannot be had."""
        for app in self._apps:
            app.desk.hears(handle)
        host, port = self._address
        try:
            self._server = _Server(self._address, self)
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise ConfigError([f"slack_endpoint: cannot listen on {host}:{port}: {why}"]) from error
        threading.Thread(target=self._server.serve_forever, name="slack-endpoint", daemon=True).start()
        log.info("buttons in Slack are heard", listening=f"{host}:{self.port}{PATH}")

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._workers.shutdown(wait=True)

    def answer(self, headers: dict[str, str], body: bytes) -> Said:
        """To a request whose body is whole, within the time that Slack waits."""
        app = next((a for a in self._apps if _signed(a.verifier, headers, body)), None)
        if app is None:
            return Said(HTTPStatus.UNAUTHORIZED)
        payload = _payload(body)
        if payload is None:
            return Said(HTTPStatus.BAD_REQUEST)
        signature = headers["x-slack-signature"]
        if not self._first(signature):
            return Said(HTTPStatus.OK)
        return self._within(self._workers.submit(self._taken, app.desk, payload, signature))

    def _first(self, signature: str) -> bool:
        """Whether this request did not come before, as far as we remember; the database remembers acts for longer."""
        with self._lock:
            first = signature not in self._seen
            self._seen[signature] = None
            while len(self._seen) > REMEMBERED:
                self._seen.pop(next(iter(self._seen)))
        return first

    def _taken(self, desk: Desk, payload: Any, signature: str) -> Answer:
        try:
            answer = desk.take(payload, f"http {signature}")
        except Exception:  # whatever it was, nothing was done, so it may come again
            with self._lock:
                self._seen.pop(signature, None)
            raise
        self._workers.submit(desk.tell, answer)
        return answer

    def _within(self, work: Future[Answer]) -> Said:
        try:
            return Said(HTTPStatus.OK, work.result(timeout=self._patience).body)
        except TimeoutError:  # Slack tells the person that it got no answer; the work is finished all the same
            return Said(HTTPStatus.SERVICE_UNAVAILABLE)
        except Exception:  # nothing was done: Slack tells the person; the log keeps what happened
            log.exception("what somebody pressed could not be written down")
            return Said(HTTPStatus.INTERNAL_SERVER_ERROR)


def _signed(verifier: SignatureVerifier, headers: dict[str, str], body: bytes) -> bool:
    """The verifier raises for a time that is no number, and for texts that are not ASCII or UTF-8: none is Slack's."""
    try:
        return bool(verifier.is_valid_request(body, headers))
    except (ValueError, TypeError, OverflowError):
        return False


def _payload(body: bytes) -> Any:
    try:
        return json.loads(parse_qs(body.decode(), strict_parsing=True, max_num_fields=20)["payload"][0])
    except (ValueError, KeyError, RecursionError):
        return None


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], endpoint: Endpoint) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.endpoint, self._room = endpoint, threading.BoundedSemaphore(MOST)
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Whoever comes when the house is full is turned away at once."""
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.info("a request broke off", client=str(client_address[0]))


class _Handler(BaseHTTPRequestHandler):
    timeout = 5.0  # seconds for each step of a request
    server_version, sys_version = "access-monitor", ""

    def do_POST(self) -> None:
        said = self._said()
        body = b"" if said.body is None else json.dumps(said.body).encode()
        self.send_response(said.status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))),
                            ("Connection", "close")):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def _said(self) -> Said:
        if self.path != PATH:
            return Said(HTTPStatus.NOT_FOUND)
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()):
            return Said(HTTPStatus.LENGTH_REQUIRED)
        if int(length[:12]) > LARGEST:
            return Said(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        body = self.rfile.read(int(length))
        if len(body) != int(length):
            return Said(HTTPStatus.BAD_REQUEST)
        headers = {name.lower(): value for name, value in self.headers.items()}
        return cast(_Server, self.server).endpoint.answer(headers, body)

    def log_message(self, format: str, *args: Any) -> None:
        """Strangers do not write into our log."""
