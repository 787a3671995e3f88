"""Truto in front of the simulated school: unified user directory, proxy, custom paths, batch, and the MCP server.

Every record comes from the school's own server, so its limits and its faults come through, marked as the provider's.
Truto's reading of a LearnWorlds user is nowhere public; the one here is the likeliest, and what could be otherwise are
attributes to set. Sources: Truto's documentation of its APIs, errors and MCP servers.
"""

from __future__ import annotations

import base64
import json
import re
import secrets
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal, get_args
from urllib.parse import unquote

import msgspec

from monitor.simulator.control import PREFIX, control
from monitor.simulator.faults import Fault, Faults
from monitor.simulator.loopback import Asked, Loopback, Reply
from monitor.simulator.server import API, SchoolServer

ACCOUNT = "0d9f2c1e-5a57-4c0b-9c42-3b1f6a7d8e90"
INTEGRATION = "learnworlds"
PATHS = {"users": "/v2/users", "groups": "/v2/user_groups", "roles": "/v2/user-roles"}
HEADERS = ("retry-after", "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")  # handed on from the provider

TrutoKind = Literal[
    "429",  # Truto's own limit, with Retry-After: 10 unless another is given
    "500",
    "503",  # the account is blocked
    "530",
    "html",  # a gateway's page
    "cut",  # the connection ends in the middle of the body
    "malformed",  # whole, but no JSON
    "slow",  # answers after `seconds`
    "drop",  # the connection ends without an answer
    "own-401",  # the API token is refused
    "forbidden",  # the API token may not
    "not-found",  # nothing is visible to this token
    "no-result",  # 200 without records
    "partial",  # is_partial_response
    "empty",  # an empty page with a cursor to the same records
    "round",  # the cursor that led here
    "repeat",  # the first page's records again, with a new cursor
    "short",  # half the records, and no cursor
    "wrong-type",  # a record whose `created` is no time
]
Roles = Literal["level", "id", "none"]


class TrutoServer(Loopback):
    """One integrated account. `behind`: the school's server, which need not listen."""

    def __init__(self, behind: SchoolServer, *, port: int = 0) -> None:
        super().__init__(port)
        self.behind, self.faults = behind, Faults(kinds=get_args(TrutoKind))
        self.token, self.account = secrets.token_hex(20), ACCOUNT
        self.mcp_token = secrets.token_hex(16)
        self.mcp_url = f"{self.url}/mcp/{self.mcp_token}"
        self.status, self.last_error = "active", ""
        # what Truto's documentation leaves open
        self.remote_data = True
        self.roles: Roles = "level"  # what stands in roles[].id
        self.proxy_shape: Literal["array", "data"] = "array"
        self.end: Literal["null", "empty", "absent"] = "null"  # next_cursor of the last page
        self.hears_suspended = True  # whether remote_query[include_suspended] reaches the school
        self.custom_refused: int | None = None  # the status, where custom paths are not allowed
        self.most = 200  # records on a page, whatever the limit asked for
        self.reset: Literal["seconds", "epoch"] | None = None  # ratelimit-reset of a provider's 429
        self.tools_missing: set[str] = set()
        self.arguments = {"cursor": "next_cursor", "limit": "limit", "suspended": "include_suspended", "id": "id"}
        self.mcp_needs_token = False
        self.events = False  # whether MCP answers as text/event-stream
        self._salt = 0
        self._lock = threading.Lock()

    def time(self) -> float:
        return self.behind.clock()

    def answer(self, asked: Asked, headers: Any, body: bytes) -> Reply | None:
        if asked.path.startswith(PREFIX):
            return _reply(*control(asked.method, asked.path, asked.query, self.faults, self.behind.on_next))
        asked = self._with_page(asked, body)
        with self._lock:
            self.log.append(asked)
            fault = self.faults.take(asked.path, asked.page)
        if fault is not None and fault.kind == "slow":
            self._stop.wait(fault.seconds)
        if fault is not None and fault.kind == "drop":
            return None
        early = self._trouble(fault)
        if early is not None:
            return early
        try:
            return _spoilt(self._honest(asked, headers, body, fault), fault)
        except _ProviderError as error:
            return self._remote(error.reply, insight=asked.path.startswith("/unified/"))

    def _with_page(self, asked: Asked, body: bytes) -> Asked:
        """Tools all have one path, and pages no number: both are written in for the faults to find."""
        cursor = asked.query.get("next_cursor", "")
        path = asked.path
        if path == f"/mcp/{self.mcp_token}":
            message = _object(body)
            params = message.get("params") or {}
            path = f"/tool/{params.get('name') or message.get('method')}"
            cursor = str((params.get("arguments") or {}).get(self.arguments.get("cursor", ""), ""))
        elif path.startswith("/custom/"):
            return asked
        return Asked(asked.method, path, {**asked.query, "page": str(_page_of(cursor))})

    def _trouble(self, fault: Fault | None) -> Reply | None:
        """Trouble that needs no look into the school."""
        if fault is not None and fault.kind == "429":
            return _own(429, "Too Many Requests", "Rate limit exceeded", {"Retry-After": fault.retry_after or "10"})
        return _TROUBLE.get(fault.kind) if fault else None

    # routes

    def _honest(self, asked: Asked, headers: Any, body: bytes, fault: Fault | None) -> Reply:
        bearer = headers.get("Authorization", "") == f"Bearer {self.token}"
        if asked.path.startswith("/tool/") and (bearer or not self.mcp_needs_token):
            return self._mcp(body, fault)
        if not bearer:
            return _own(401, "Unauthorized", "Invalid API token")
        for pattern, work in _ROUTES:
            found = re.fullmatch(pattern, asked.path)
            if found:
                return work(self, asked, fault, body, *map(unquote, found.groups()))
        return _own(404, "Not Found", "Route not found")

    def _integrated(self, asked: Asked, fault: Fault | None, body: bytes, account: str) -> Reply:
        if account != self.account:
            return _own(404, "Not Found", "Integrated account not found")
        return _reply(200, self._record())

    def _record(self) -> dict[str, Any]:
        return {
            "id": self.account, "tenant_id": "acme-1", "status": self.status, "is_sandbox": False,
            "authentication_method": "api_key", "last_error": self.last_error or None, "context": {},
            "integration": {"id": "a1b2", "name": INTEGRATION, "category": "default"},
            "created_at": "2024-09-01 10:00:00", "updated_at": "2024-09-01 10:05:00",
        }  # fmt: skip

    def _integrated_list(self, asked: Asked, fault: Fault | None, body: bytes) -> Reply:
        return _reply(200, {"result": [self._record()], "next_cursor": None, "limit": 5000})

    def _capabilities(self, asked: Asked, fault: Fault | None, body: bytes, account: str) -> Reply:
        resources = [{"resource": r, "methods": ["list", "get"] if r != "roles" else ["list"]} for r in PATHS]
        whose = {"id": account, "status": self.status, "authentication_method": "api_key", "is_blocked": False}
        unified = [{"model": "user-directory", "env_overridden": False, **r} for r in resources]
        said = {"integration": INTEGRATION, "proxy": resources, "unified": unified, "account": whose}
        return _reply(200, said)

    def _list(self, asked: Asked, fault: Fault | None, body: bytes, api: str, kind: str) -> Reply:
        if asked.query.get("integrated_account_id") != self.account:
            return _own(400, "Bad Request", "integrated_account_id is required")
        limit = asked.query.get("limit", "100")
        suspended = self.hears_suspended and asked.query.get("remote_query[include_suspended]") == "true"
        native = self._provider_page(kind, asked.page, limit, suspended=suspended)
        return _reply(200, self._envelope(api, kind, native, asked, fault))

    def _one(self, asked: Asked, fault: Fault | None, body: bytes, api: str, kind: str, an_id: str) -> Reply:
        if asked.query.get("integrated_account_id") != self.account:
            return _own(400, "Bad Request", "integrated_account_id is required")
        suspended = self.hears_suspended and asked.query.get("remote_query[include_suspended]") == "true"
        native = self._provider(f"{PATHS[kind]}/{an_id}", {"include_suspended": "true"} if suspended else {})
        return _reply(200, self._unified(kind, native) if api == "unified/user-directory" else native)

    def _custom(self, asked: Asked, fault: Fault | None, body: bytes, path: str) -> Reply:
        if self.custom_refused is not None:
            return _own(self.custom_refused, "Refused", "Custom requests are not allowed")
        query = {k: v for k, v in asked.query.items() if k != "integrated_account_id"}
        return _reply(200, self._provider(f"/{path}", query))

    def _batch(self, asked: Asked, fault: Fault | None, body: bytes) -> Reply:
        """Follows the pages itself. One resource may fail while the others are whole."""
        result: dict[str, list[Any]] = {}
        errors: dict[str, list[Any]] = {}
        for wanted in _object(body).get("resources", ()):
            resource = wanted["resource"]
            result[resource], errors[resource] = [], []
            try:
                kind, number, pages = resource.rpartition("/")[2], 1, 1
                while number <= pages:
                    native = self._provider_page(kind, number, "200", suspended=False)
                    result[resource] += [self._unified(kind, r) for r in native["data"]]
                    number, pages = number + 1, native.get("meta", {}).get("totalPages", 1)
            except _ProviderError as error:
                errors[resource].append(json.loads(self._remote(error.reply, insight=True).body))
        return _reply(200, {"result": result, "errors": errors})

    # the school

    def _provider_page(self, kind: str, page: int, limit: str, *, suspended: bool) -> Any:
        query = {"page": str(page), "items_per_page": str(min(int(limit), self.most))}
        if kind == "users" and suspended:
            query["include_suspended"] = "true"
        return self._provider(PATHS[kind], query)

    def _provider(self, path: str, query: dict[str, str]) -> Any:
        if self.status != "active":
            raise _ProviderError(_reply(401, {"error": "the credentials were refused"}))
        headers = {"Lw-Client": self.behind.client_id, "Authorization": f"Bearer {self.behind.token}"}
        reply = self.behind.answer(Asked("GET", API + path, query), headers, b"")
        if reply is None or reply.cut:
            raise _ProviderError(Reply(502, b"", content_type="text/plain"))
        if reply.status != 200:
            raise _ProviderError(reply)
        try:
            return json.loads(reply.body)
        except ValueError as error:
            raise _ProviderError(Reply(502, reply.body, content_type="text/plain")) from error

    def _remote(self, reply: Reply, *, insight: bool) -> Reply:
        """What the provider said, marked as its own; `message` stays empty, as it may."""
        if reply.status == 401:
            self.status, self.last_error = "needs_reauth", "401 Unauthorized"
        try:
            raw: Any = json.loads(reply.body)
        except ValueError:
            raw = reply.body.decode("utf-8", "replace")
        said = {
            "statusCode": reply.status, "error": "Remote error", "message": "", "truto_is_remote_error": True,
            "raw_response": raw,
        }  # fmt: skip
        if insight:
            said["truto_error_insight"] = {"remote_error": {"description": "The provider answered with an error."}}
        headers = {k: v for k, v in reply.headers.items() if k.lower() in HEADERS}
        if reply.status == 429 and self.reset is not None:
            now = self.behind.clock()
            headers["ratelimit-reset"] = "7" if self.reset == "seconds" else str(int(now) + 7)
        return Reply(reply.status, msgspec.json.encode(said), headers)

    # what is answered

    def _envelope(self, api: str, kind: str, native: Any, asked: Asked, fault: Fault | None) -> dict[str, Any]:
        if not isinstance(native, dict) or native.get("success") is False or "data" not in native:
            raise _ProviderError(_reply(502, native))
        page, pages = asked.page, native.get("meta", {}).get("totalPages", 1)
        records, cursor = native["data"], self._cursor(page + 1) if page < pages else None
        match fault.kind if fault else None:
            case "empty":
                records, cursor = [], self._cursor(page)
            case "round":
                cursor = asked.query.get("next_cursor") or self._cursor(page, salted=False)
            case "repeat":
                records = self._provider_page(kind, 1, asked.query.get("limit", "100"), suspended=True)["data"]
                cursor = self._cursor(page + 1)
            case "short":
                records, cursor = records[: len(records) // 2], None
        if api == "unified/user-directory":
            result: Any = [self._unified(kind, r) for r in records]
        else:
            result = records if self.proxy_shape == "array" else {**native, "data": records}
        answer = {"result": result, "next_cursor": cursor, "prev_cursor": None, "result_count": len(records)}
        if cursor is None and self.end != "null":
            answer["next_cursor"] = ""
            if self.end == "absent":
                del answer["next_cursor"], answer["result_count"]
        if fault is not None and fault.kind == "partial":
            answer["is_partial_response"] = True
        return answer

    def _cursor(self, page: int, *, salted: bool = True) -> str:
        self._salt += salted
        return base64.urlsafe_b64encode(json.dumps({"page": page, "salt": self._salt * salted}).encode()).decode()

    def _unified(self, kind: str, native: dict[str, Any]) -> dict[str, Any]:
        found = {"users": self._unified_user, "groups": _unified_group, "roles": _unified_role}[kind](native)
        return found | ({"remote_data": native} if self.remote_data else {})

    def _unified_user(self, user: dict[str, Any]) -> dict[str, Any]:
        role = user["role"]
        ids = {r["title"]: r["id"] for r in self.behind.school.roles}
        ref = {"id": role["level"] if self.roles == "level" else ids.get(role["name"]), "name": role["name"]}
        return {
            "id": user["id"], "first_name": user["first_name"], "last_name": user["last_name"],
            "name": f"{user['first_name']} {user['last_name']}".strip(), "username": user["username"],
            "emails": [{"email": user["email"], "is_primary": True}], "phones": [],
            "status": "inactive" if user["is_suspended"] else "active",
            "roles": [] if self.roles == "none" else [ref], "groups": [],
            "created_at": _iso(user["created"]), "last_login_at": _iso(user["last_login"]),
        }  # fmt: skip

    # MCP

    def _mcp(self, body: bytes, fault: Fault | None) -> Reply:
        message = _object(body)
        if "id" not in message:
            return Reply(202, b"")
        params = message.get("params") or {}
        result: dict[str, Any] | None
        match message.get("method"):
            case "initialize":
                info = {"name": "truto", "version": "1"}
                result = {
                    "protocolVersion": params["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": info,
                }
            case "tools/list":
                result = {"tools": self._tools()}
            case "tools/call":
                result = self._call(params.get("name", ""), params.get("arguments") or {}, fault)
            case method:
                return self._rpc(message["id"], error={"code": -32601, "message": f"Method not found: {method}"})
        if result is None:
            return self._rpc(message["id"], error={"code": -32602, "message": f"Unknown tool: {params.get('name')}"})
        return self._rpc(message["id"], result=result)

    def _rpc(self, number: Any, **what: Any) -> Reply:
        said = msgspec.json.encode({"jsonrpc": "2.0", "id": number, **what})
        if not self.events:
            return Reply(200, said)
        note = b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}'
        return Reply(200, b"event: message\ndata: " + note + b"\n\nevent: message\ndata: " + said + b"\n\n",
                     content_type="text/event-stream")  # fmt: skip

    def _tools(self) -> list[dict[str, Any]]:
        kinds: dict[str, Any] = {
            "cursor": {"type": "string"},
            "limit": {"type": ["integer", "null"], "maximum": 200},
            "suspended": {"type": "string", "enum": ["true", "false"]},
            "id": {"type": "string"},
        }
        wants = {name: ("id", "suspended") if "single" in name else ("cursor", "limit", "suspended") for name in _TOOLS}
        tools = []
        for name, asked in wants.items():
            known = {self.arguments[a]: kinds[a] for a in asked if a in self.arguments}
            required = [self.arguments["id"]] if "single" in name else []
            schema = {"type": "object", "properties": known, "required": required}
            tools.append({"name": name, "description": f"Calls {_TOOLS[name][0]}", "inputSchema": schema})
        return [t for t in tools if t["name"] not in self.tools_missing]

    def _call(self, name: str, given: dict[str, Any], fault: Fault | None) -> dict[str, Any] | None:
        if name not in _TOOLS or name in self.tools_missing:
            return None
        kind, single = _TOOLS[name]
        value = {what: given.get(argument) for what, argument in self.arguments.items()}
        suspended = self.hears_suspended and str(value.get("suspended")).lower() == "true"
        try:
            if single:
                query = {"include_suspended": "true"} if suspended else {}
                said: Any = self._provider(f"{PATHS[kind]}/{value['id']}", query)
            else:
                cursor, limit = str(value.get("cursor") or ""), str(value.get("limit") or 100)
                asked = Asked("POST", name, {"page": str(_page_of(cursor)), "next_cursor": cursor, "limit": limit})
                native = self._provider_page(kind, asked.page, limit, suspended=suspended)
                said = self._envelope("proxy", kind, native, asked, fault)
        except _ProviderError as error:
            text = self._remote(error.reply, insight=False).body.decode()
            return {"content": [{"type": "text", "text": text}], "isError": True}
        return {"content": [{"type": "text", "text": json.dumps(said)}]}


_TOOLS = {
    "list_all_learnworlds_users": ("users", False),
    "get_single_learnworlds_user_by_id": ("users", True),
    "list_all_learnworlds_roles": ("roles", False),
    "list_all_learnworlds_groups": ("groups", False),
    "get_single_learnworlds_group_by_id": ("groups", True),
}
_LISTED = "(unified/user-directory|proxy)/(users|groups|roles)"
_ROUTES: tuple[tuple[str, Callable[..., Reply]], ...] = (
    ("/integrated-account", TrutoServer._integrated_list),
    ("/integrated-account/([^/]+)", TrutoServer._integrated),
    ("/integrated-account/([^/]+)/capabilities", TrutoServer._capabilities),
    (f"/{_LISTED}", TrutoServer._list),
    (f"/{_LISTED}/([^/]+)", TrutoServer._one),
    ("/custom/(.+)", TrutoServer._custom),
    ("/batch-request", TrutoServer._batch),
)


class _ProviderError(Exception):
    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


def _unified_role(role: dict[str, Any]) -> dict[str, Any]:
    return {"id": role["id"], "name": role["title"], "description": role["description"], "type": role["access_level"]}


def _unified_group(group: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": group["id"], "name": group["title"], "description": group["description"], "group_type": "group",
        "created_at": _iso(group["created"]), "updated_at": _iso(group["modified"]),
    }  # fmt: skip


def _iso(seconds: float | None) -> str | None:
    """To the millisecond, as JavaScript writes it."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _page_of(cursor: str) -> int:
    try:
        return int(json.loads(base64.urlsafe_b64decode(cursor))["page"]) if cursor else 1
    except (ValueError, KeyError, TypeError):
        return 1


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _reply(status: int, what: Any) -> Reply:
    return Reply(status, msgspec.json.encode(what))


def _own(status: int, error: str, message: str, headers: dict[str, str] | None = None) -> Reply:
    said = msgspec.json.encode({"statusCode": status, "error": error, "message": message})
    return Reply(status, said, headers or {})


def _spoilt(reply: Reply, fault: Fault | None) -> Reply:
    kind = fault.kind if fault else None
    if kind == "cut":
        return Reply(reply.status, reply.body, reply.headers, cut=True)
    if kind == "malformed":
        return Reply(reply.status, reply.body[: len(reply.body) // 2] + b"\x00", reply.headers)
    if kind == "wrong-type":
        spoilt = re.sub(rb'(\\?"created\\?": ?)[\d.e+]+', rb"\1[]", reply.body, count=1)
        return Reply(reply.status, spoilt, reply.headers)
    return reply


_TROUBLE = {
    "500": _own(500, "Internal Server Error", "An internal server error occurred"),
    "503": _own(503, "Service Unavailable", "The integrated account is blocked. Please contact support."),
    "530": Reply(530, b"error code: 1016", content_type="text/plain"),
    "html": Reply(502, b"<html><body><h1>502 Bad Gateway</h1></body></html>", content_type="text/html"),
    "own-401": _own(401, "Unauthorized", "Invalid API token"),
    "forbidden": _own(403, "Forbidden", "The token may not do this"),
    "not-found": _own(404, "Not Found", "Resource not found"),
    "no-result": _reply(200, {"success": False}),
}
