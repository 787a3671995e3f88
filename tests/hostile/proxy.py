"""What stands between a source and us and spoils what goes by: a real HTTP proxy with a schedule to be replayed."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from monitor.simulator.loopback import Asked, Loopback, Reply

Rows = list[Any]
HOP = {"content-length", "connection", "transfer-encoding", "date", "server", "content-encoding", "content-type"}


@dataclass
class Strike:
    """Trouble on the requests whose path matches: from the `first` of them on, `times` times (None: on all)."""

    kind: str
    path: str = ""
    first: int = 0
    times: int | None = 1
    met: int = 0
    fired: int = 0

    def takes(self, path: str) -> bool:
        if not re.search(self.path, path):
            return False
        self.met += 1
        if self.met <= self.first or (self.times is not None and self.fired >= self.times):
            return False
        self.fired += 1
        return True


INSTEAD: dict[str, Reply | None] = {
    "drop": None,
    "429": Reply(429, b'{"error":"Too many requests"}'),
    "429-after": Reply(429, b'{"error":"Too many requests"}', {"Retry-After": "7"}),
    "skew": Reply(429, b'{"error":"Too many requests"}', {"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}),
    "500": Reply(500, b'{"error":"Server Error"}'),
    "503": Reply(503, b'{"error":"Unavailable"}', {"Retry-After": "3"}),
    "html": Reply(502, b"<html><h1>502 Bad Gateway</h1></html>", content_type="text/html"),
    "html-200": Reply(200, b"<html><h1>Please sign in</h1></html>", content_type="text/html"),
    "expired": Reply(401, b'{"errors":[{"code":"401","context":null,"message":"expired"}],"success":false}'),
    "refused": Reply(400, b'{"statusCode":400,"message":"invalid cursor"}'),
    "forbidden": Reply(403, b'{"error":"Forbidden"}'),
    "not-found": Reply(404, b'{"error":"Sorry the resource your trying to access does not exist."}'),
}


class Hostile(Loopback):
    """Hands every request on to `target`, except for what the strikes say."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.strikes: list[Strike] = []
        self._client = httpx.Client(base_url=target, trust_env=False, timeout=30)
        self._lock = threading.Lock()
        self._first: dict[str, Reply] = {}  # by path: the first whole answer, for loops
        self._last_row: dict[str, Any] = {}  # by path: the last row that went by, for shifted pages

    def __exit__(self, *how: object) -> None:
        super().__exit__(*how)
        self._client.close()

    def answer(self, asked: Asked, headers: Any, body: bytes) -> Reply | None:
        with self._lock:
            self.log.append(asked)
            strike = next((s for s in self.strikes if s.takes(_place(asked, body))), None)
        if strike is not None and strike.kind in INSTEAD:
            return INSTEAD[strike.kind]
        reply = self._handed_on(asked, headers, body)
        if strike is not None:
            return self._spoilt(reply, strike, _place(asked, body))
        self._remember(reply, _place(asked, body))
        return reply

    def _handed_on(self, asked: Asked, headers: Any, body: bytes) -> Reply:
        kept = {k: v for k, v in headers.items() if k.lower() not in ("host", "content-length", "accept-encoding")}
        got = self._client.request(asked.method, asked.path, params=asked.query, headers=kept, content=body)
        rest = {k: v for k, v in got.headers.items() if k.lower() not in HOP}
        return Reply(got.status_code, got.content, rest, content_type=got.headers.get("content-type", ""))

    def _remember(self, reply: Reply, place: str) -> None:
        if reply.status != 200:
            return
        place = place.partition("?")[0]
        self._first.setdefault(place, reply)

        def last(rows: Rows) -> Rows:
            if rows:
                self._last_row[place] = rows[-1]
            return rows

        edited(reply.body, last)

    def _spoilt(self, reply: Reply, strike: Strike, place: str) -> Reply:
        match strike.kind:
            case "cut":
                return Reply(reply.status, reply.body, reply.headers, cut=True, content_type=reply.content_type)
            case "malformed":
                return Reply(
                    reply.status, reply.body[: len(reply.body) // 2] + b"\x00", content_type=reply.content_type
                )
            case "loop":
                return self._first.get(place.partition("?")[0], reply)
            case "delay":
                return reply
        change = ROWS[strike.kind](self._last_row.get(place.partition("?")[0]))
        return Reply(reply.status, edited(reply.body, change), reply.headers, content_type=reply.content_type)


def _place(asked: Asked, body: bytes) -> str:
    """The path, with the number of the page if it has one; of an MCP server, with the tool that is called."""
    tool = re.search(rb'"name":\s*"([a-z_]+)"', body) if asked.path.startswith("/mcp/") else None
    if tool:
        return f"{asked.path}#{tool[1].decode()}"
    return f"{asked.path}?page={asked.query['page']}" if "page" in asked.query else asked.path


def edited(body: bytes, change: Callable[[Rows], Rows]) -> bytes:
    """The body with its list of records changed, wherever this API puts it; untouched when it holds none."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body
    return json.dumps(_in(answer, change)).encode()


def _in(answer: Any, change: Callable[[Rows], Rows]) -> Any:
    if isinstance(answer, list):
        return change(answer)
    if isinstance(answer, dict):
        for key in ("data", "result", "Resources"):
            if isinstance(answer.get(key), list):
                return answer | {key: change(answer[key])}
        result = answer.get("result")
        if isinstance(result, dict) and isinstance(result.get("data"), list):
            return answer | {"result": _in(result, change)}
        if isinstance(result, dict) and result.get("content"):  # a tool's answer: JSON in a text
            text = json.dumps(_in(json.loads(result["content"][0]["text"]), change))
            return answer | {"result": {"content": [{"type": "text", "text": text}]}}
    return answer


def _wrong_type(rows: Rows) -> Rows:
    return [row | {"id": {"$oid": row["id"]}} if i == 0 else row for i, row in enumerate(rows)]


ROWS: dict[str, Callable[[Any], Callable[[Rows], Rows]]] = {
    "duplicate": lambda _: lambda rows: [*rows, *rows[:1]],
    "missing": lambda _: lambda rows: rows[:3] + rows[4:],
    "shifted": lambda last: lambda rows: [*([last] if last else []), *rows[1:]],
    "empty": lambda _: lambda rows: [],
    "wrong-type": lambda _: _wrong_type,
}
