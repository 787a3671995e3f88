"""A small Slack: keeps messages, metadata and files, and fails on request in the ways that a real network does."""

from __future__ import annotations

import json
import queue
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl

from tests.peers.websocket import WebSocket

CHANNEL = "C0MONITOR1"
Json = dict[str, Any]
# Any of these allows it, as Slack's pages of methods say.
_READS, _LISTS = {"channels:history", "groups:history"}, {"channels:read", "groups:read"}
NEEDS: dict[str, set[str]] = {
    "chat.postMessage": {"chat:write"},
    "chat.update": {"chat:write"},
    "chat.delete": {"chat:write"},
    "conversations.history": _READS,
    "conversations.replies": _READS,
    "conversations.info": _LISTS,
    "conversations.list": _LISTS,
    "conversations.open": {"im:write"},
    "chat.postEphemeral": {"chat:write"},
    "usergroups.users.list": {"usergroups:read"},
    "users.info": {"users:read"},
    "files.getUploadURLExternal": {"files:write"},
    "files.completeUploadExternal": {"files:write"},
}


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request. `after` means: once the request has had its effect."""

    kind: str  # answer, drop, reset, hang
    after: bool = False
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


def answer(status: int, body: str | Json | list[Any] = "", kind: str = "application/json", **headers: str) -> Fault:
    text = body if isinstance(body, str) else json.dumps(body)
    return Fault("answer", status=status, body=text, headers={"Content-Type": kind, **headers})


def error(code: str) -> Fault:
    return answer(200, {"ok": False, "error": code})


DROP_AFTER = Fault("drop", after=True)
DROP_BEFORE = Fault("drop")
RESET = Fault("reset")
HANG_AFTER = Fault("hang", after=True)


class SlackPeer:
    """with SlackPeer() as slack: SlackBot(token, CHANNEL, renderer, base_url=slack.url)"""

    def __init__(self, page_size: int = 200) -> None:
        self.page_size = page_size
        self.messages: list[Json] = []
        self.files: list[Json] = []
        self.calls: list[tuple[str, Json]] = []
        self.tokens: set[str] = set()
        self.archived = False
        self.token: str | None = None  # the one that is taken; None: any
        self.scopes: set[str] | None = None  # what the app may do; None: all
        self.member = True
        self.shows_metadata = True
        self._uploads: dict[str, bytes] = {}
        self._posted = 0
        self.whispers: list[tuple[str, str]] = []
        self.views: list[Json] = []
        self.groups: dict[str, list[str]] = {}
        self.acks: queue.Queue[str] = queue.Queue()
        self._socket: WebSocket | None = None
        self.listening = threading.Event()
        self._faults: dict[str, list[Fault]] = defaultdict(list)
        self._released = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler, self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _t: type[BaseException] | None, _e: BaseException | None, _b: TracebackType | None) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        return f"{self.root}/api/"

    def fails(self, method: str, *faults: Fault) -> None:
        """The next requests of a method fail, in this order."""
        self._faults[method] += faults

    def top_level(self) -> list[Json]:
        return [m for m in self.messages if "thread_ts" not in m]

    def fault(self, method: str) -> Fault | None:
        faults = self._faults[method]
        return faults.pop(0) if faults else None

    def wait_released(self) -> None:
        self._released.wait()

    def act(self, method: str, asked: Json, raw: bytes) -> Json | str:
        self.calls.append((method, asked))
        if method.startswith("upload/"):
            self._uploads[method.removeprefix("upload/")] = raw
            return "OK"
        if method == "webhook":
            self.messages.append(asked)
            return "ok"
        if method in NEEDS and self.scopes is not None and not NEEDS[method] & self.scopes:
            return {"ok": False, "error": "missing_scope", "needed": ",".join(sorted(NEEDS[method]))}
        does: dict[str, Callable[[Json], Json]] = {
            "auth.test": lambda _: {"ok": True, "bot_id": "B0MONITOR1", "team": "acme"},
            "chat.postMessage": self._post,
            "chat.update": self._update,
            "chat.delete": self._delete,
            "chat.postEphemeral": self._whisper,
            "apps.connections.open": lambda _: {"ok": True, "url": f"{self.root.replace('http', 'ws')}/socket"},
            "views.open": self._view,
            "users.info": lambda asked: {"ok": True, "user": {"name": asked["user"][2:5].lower()}},
            "usergroups.users.list": lambda asked: {"ok": True, "users": self.groups.get(asked["usergroup"], [])},
            "conversations.replies": self._replies,
            "conversations.history": self._history,
            "conversations.info": self._info,
            "conversations.list": lambda _: {"ok": True, "channels": [{"id": CHANNEL, "name": "access"}]},
            "conversations.open": lambda _: {"ok": True, "channel": {"id": CHANNEL}},
            "files.getUploadURLExternal": self._upload_url,
            "files.completeUploadExternal": self._uploaded,
        }
        return does[method](asked) if method in does else {"ok": False, "error": "unknown_method"}

    def _whisper(self, asked: Json) -> Json:
        self.whispers.append((asked["user"], asked["text"]))
        return {"ok": True}

    def _view(self, asked: Json) -> Json:
        view = asked["view"]
        self.views.append(json.loads(view) if isinstance(view, str) else view)
        return {"ok": True, "view": {"id": "V1"}}

    def envelope(self, envelope_id: str, payload: Json) -> None:
        """Hands something to the app through its socket."""
        assert self.listening.wait(10)
        assert self._socket is not None
        said = {"type": "interactive", "envelope_id": envelope_id, "payload": payload, "accepts_response_payload": True}
        self._socket.send(json.dumps(said).encode())

    def serve_socket(self, socket: WebSocket) -> None:
        self._socket = socket
        socket.send(b'{"type": "hello", "num_connections": 1}')
        self.listening.set()
        while (data := socket.receive()) is not None:
            self.acks.put(str(json.loads(data)["envelope_id"]))
        self.listening.clear()

    def _post(self, asked: Json) -> Json:
        if asked["channel"] not in (CHANNEL, "#access", "U0PERSON01"):
            return {"ok": False, "error": "channel_not_found"}
        if not self.member:
            return {"ok": False, "error": "not_in_channel"}
        if "thread_ts" in asked and self.message(asked["thread_ts"]) is None:
            return {"ok": False, "error": "cannot_reply_to_message"}
        self._posted += 1
        ts = f"{1_795_000_000 + self._posted}.000100"
        self.messages.append(asked | {"ts": ts})
        return {"ok": True, "channel": CHANNEL, "ts": ts}

    def _update(self, asked: Json) -> Json:
        """As documented: parse and link_names fall back to their defaults when absent, metadata stays."""
        there = self.message(asked["ts"])
        if asked["channel"] != CHANNEL:  # takes an id, neither a name nor a person
            return {"ok": False, "error": "channel_not_found"}
        if there is None:
            return {"ok": False, "error": "message_not_found"}
        if len(asked["text"]) > 4000:
            return {"ok": False, "error": "msg_too_long"}
        there.update({"parse": "client", "link_names": "none"} | asked)
        return {"ok": True, "channel": CHANNEL, "ts": asked["ts"], "text": asked["text"]}

    def _replies(self, asked: Json) -> Json:
        if self.message(asked["ts"]) is None:
            return {"ok": False, "error": "thread_not_found"}
        found = [m for m in self.messages if asked["ts"] in (m["ts"], m.get("thread_ts"))]
        return {"ok": True, "messages": [self._seen(m, asked) for m in found]}

    def message(self, ts: str) -> Json | None:
        return next((m for m in self.messages if m["ts"] == ts), None)

    def _delete(self, asked: Json) -> Json:
        self.delete(asked["ts"])
        return {"ok": True}

    def delete(self, ts: str) -> None:
        """Somebody deletes a message in the channel."""
        self.messages = [m for m in self.messages if m["ts"] != ts]

    def thread(self, ts: str) -> list[Json]:
        return [m for m in self.messages if m.get("thread_ts") == ts]

    def _history(self, asked: Json) -> Json:
        if asked["channel"] != CHANNEL:
            return {"ok": False, "error": "channel_not_found"}
        newest_first = self.top_level()[::-1]
        start = int(asked.get("cursor") or 0)
        page = [self._seen(m, asked) for m in newest_first[start : start + self.page_size]]
        after = start + self.page_size
        more = {"response_metadata": {"next_cursor": str(after)}} if after < len(newest_first) else {}
        return {"ok": True, "messages": page, **more}

    def _seen(self, message: Json, asked: Json) -> Json:
        """As history shows it: metadata only when asked for."""
        replies = sum(m.get("thread_ts") == message["ts"] for m in (*self.messages, *self.files))
        shown = {"ts": message["ts"], "text": message["text"]} | ({"reply_count": replies} if replies else {})
        wanted = self.shows_metadata and asked.get("include_all_metadata") in ("1", "true", True)
        return shown | ({"metadata": message["metadata"]} if wanted and "metadata" in message else {})

    def _info(self, asked: Json) -> Json:
        if asked["channel"] != CHANNEL:
            return {"ok": False, "error": "channel_not_found"}
        return {"ok": True, "channel": {"id": CHANNEL, "is_archived": self.archived, "is_member": self.member}}

    def _upload_url(self, asked: Json) -> Json:
        file_id = f"F{len(self._uploads):08}"
        return {"ok": True, "file_id": file_id, "upload_url": f"{self.root}/upload/{file_id}"}

    def _uploaded(self, asked: Json) -> Json:
        done = json.loads(asked["files"])
        for file in done:
            self.files.append(
                {"name": file["title"], "data": self._uploads[file["id"]], "thread_ts": asked.get("thread_ts")}
            )
        return {"ok": True, "files": done}


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # joined on close, so that no socket outlives its test

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], peer: SlackPeer) -> None:
        super().__init__(address, handler)
        self.peer = peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        method = self.path.split("?")[0].removeprefix("/api/").strip("/")
        method = "webhook" if method.startswith("services/") else method
        peer = self.server.peer
        token = self.headers.get("Authorization") or ""
        peer.tokens.add(token)
        if peer.token is not None and token != f"Bearer {peer.token}":
            self._answer(200, {"Content-Type": "application/json"}, '{"ok": false, "error": "invalid_auth"}')
            return
        fault = peer.fault("upload" if method.startswith("upload/") else method)
        if fault is None or fault.after:
            said = peer.act(method, _asked(self.headers, raw), raw)
        if fault is None:
            headers = {"Content-Type": "application/json"}
            if peer.scopes is not None:
                headers["X-OAuth-Scopes"] = ",".join(sorted(peer.scopes))
            self._answer(200, headers, said if isinstance(said, str) else json.dumps(said))
        else:
            self._fail(fault)

    def do_GET(self) -> None:
        self.server.peer.serve_socket(WebSocket(self))
        self.close_connection = True

    def _fail(self, fault: Fault) -> None:
        if fault.kind == "answer":
            self._answer(fault.status, fault.headers, fault.body)
        elif fault.kind == "hang":
            self.server.peer.wait_released()
        elif fault.kind == "reset":  # linger of zero: the kernel sends RST
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        self.close_connection = True

    def _answer(self, status: int, headers: dict[str, str], text: str) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


def _asked(headers: Message, raw: bytes) -> Json:
    kind = headers.get_content_type()
    if kind == "application/json":
        return dict(json.loads(raw or b"{}"))
    return dict(parse_qsl(raw.decode())) if kind == "application/x-www-form-urlencoded" else {}
