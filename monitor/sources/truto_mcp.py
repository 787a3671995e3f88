"""Truto's MCP server: the same proxy calls as tools, by JSON-RPC over HTTP POST (MCP, Streamable HTTP).

What a tool calls its arguments is nowhere described but in its own `inputSchema`, so it is looked up there.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct, field

from monitor.errors import SourceError
from monitor.sources.answer import Ask, Refused, sanitised
from monitor.sources.http import Reader
from monitor.sources.truto_api import EVEN_SUSPENDED, MOST_PER_PAGE, Native, TrutoPage, TrutoToken, one_of, page_of

VERSION = "2025-06-18"  # of the protocol; the server may answer with another one
LISTS = {
    "users": "list_all_learnworlds_users",
    "roles": "list_all_learnworlds_roles",
    "groups": "list_all_learnworlds_groups",
}
ONE_USER, ONE_GROUP = "get_single_learnworlds_user_by_id", "get_single_learnworlds_group_by_id"
TOOLS = (*LISTS.values(), ONE_USER, ONE_GROUP)
MOST_TOOL_PAGES = 50

# What arguments may be called, letters and digits only, the likeliest first.
CURSOR = ("nextcursor", "cursor", "pagetoken", "nextpagetoken")
PAGE = ("page", "pagenumber")
LIMIT = ("limit", "itemsperpage", "pagesize", "perpage")
SUSPENDED = ("includesuspended", "remotequeryincludesuspended", "withsuspended")
ID = ("id", "userid", "groupid", "learnworldsuserid", "learnworldsgroupid")


class Tool(Struct):
    name: str
    inputSchema: dict[str, Any] = field(default_factory=dict)

    def argument(self, called: tuple[str, ...]) -> str | None:
        """The name that this tool has for it, if it takes such a thing."""
        known = {re.sub(r"[^a-z0-9]", "", name.lower()): name for name in self._properties}
        return next((known[name] for name in called if name in known), None)

    def fitting(self, name: str, value: str | int | bool) -> str | int | bool:
        """The value in the type that the schema wants."""
        wanted = self._properties[name].get("type") if isinstance(self._properties[name], dict) else None
        types = set(wanted if isinstance(wanted, list) else [wanted])
        if isinstance(value, bool):
            return value if "boolean" in types or not types & {"string"} else str(value).lower()
        if isinstance(value, int):
            most = self._properties[name].get("maximum") if isinstance(self._properties[name], dict) else None
            value = min(value, int(most)) if isinstance(most, int | float) else value
            return str(value) if types & {"string"} and not types & {"integer", "number"} else value
        return int(value) if types & {"integer", "number"} and "string" not in types and value.isdigit() else value

    @property
    def required(self) -> set[str]:
        return set(self.inputSchema.get("required") or ())

    @property
    def _properties(self) -> dict[str, Any]:
        found = self.inputSchema.get("properties")
        return found if isinstance(found, dict) else {}


class Tools(Struct):
    tools: list[Tool]
    nextCursor: str | None = None


class Content(Struct):
    type: str = ""
    text: str | None = None


class Called(Struct):
    content: list[Content] = field(default_factory=list)
    structuredContent: Any = None
    isError: bool | None = None


class RpcError(Struct):
    code: int | None = None
    message: str | None = None


class Rpc(Struct):
    result: msgspec.Raw = field(default_factory=msgspec.Raw)
    error: RpcError | None = None


class Mcp(Native):
    """Reads by the five tools. `address` is the path of the server, and whoever knows it has the access."""

    endpoint = "/mcp"

    def __init__(self, address: str, token: TrutoToken) -> None:
        self._address, self._token, self._number = address, token, 0
        self.filters: dict[str, str] = {}
        self._tools: dict[str, Tool] = {}

    @property
    def shows_suspended(self) -> bool:
        tool = self._tools.get(LISTS["users"])
        return tool is not None and tool.argument(SUSPENDED) is not None

    # the protocol

    def begin(self, reader: Reader) -> None:
        client = {"name": "access-monitor", "version": "1"}
        asked = {"protocolVersion": VERSION, "capabilities": {}, "clientInfo": client}
        reader.seal(reader.fetch(self._ask("initialize", asked), rpc_result))
        try:
            reader.fetch(self._ask("notifications/initialized"), bytes)
        except Refused:
            pass  # Truto keeps no sessions, so it is not waiting for this
        self._tools = {tool.name: tool for tool in self._listed(reader)}
        self.filters = {k: "true" for k in EVEN_SUSPENDED} if self.shows_suspended else {}

    def _listed(self, reader: Reader) -> list[Tool]:
        found: list[Tool] = []
        cursor: str | None = None
        for _ in range(MOST_TOOL_PAGES):
            asked = {} if cursor is None else {"cursor": cursor}
            page = reader.seal(reader.fetch(self._ask("tools/list", asked), _tools_in))
            found += page.tools
            if not page.nextCursor or page.nextCursor == cursor:
                return found
            cursor = page.nextCursor
        raise SourceError(f"tools/list: more than {MOST_TOOL_PAGES} pages of tools")

    def _ask(self, method: str, params: dict[str, Any] | None = None, called: str = "") -> Ask:
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
        if not method.startswith("notifications/"):
            self._number += 1
            message["id"] = self._number
        if params is not None:
            message["params"] = params
        return Ask(self._address, json=msgspec.json.encode(message), called=f"MCP {called or method}")

    # the tools

    @property
    def missing(self) -> list[str]:
        return [name for name in TOOLS if name not in self._tools]

    def listing(self, kind: str, cursor: str | None, limit: int = MOST_PER_PAGE) -> Ask:
        tool = self._tool(LISTS[kind])
        wanted: list[tuple[tuple[str, ...], str | int | bool]] = [(LIMIT, limit)]
        if kind == "users":
            wanted.append((SUSPENDED, True))
        if cursor is not None:
            wanted.append((CURSOR if tool.argument(CURSOR) else PAGE, cursor))
            if tool.argument(wanted[-1][0]) is None:
                raise SourceError(f"MCP {tool.name}: there are more records, and no argument asks for the next page")
        return self._call(tool, wanted)

    def user(self, account_id: str) -> Ask:
        return self._one(ONE_USER, account_id)

    def one_group(self, group_id: str) -> Ask:
        return self._one(ONE_GROUP, group_id)

    def _one(self, name: str, record_id: str) -> Ask:
        tool = self._tool(name)
        if tool.argument(ID) is None:
            raise SourceError(f"MCP {tool.name}: none of its arguments is an id, so nothing can be asked for")
        return self._call(tool, [(ID, record_id), (SUSPENDED, True)], f" {record_id}")

    def _tool(self, name: str) -> Tool:
        if name not in self._tools:
            raise SourceError(
                f"the MCP server has no tool {name}: make one in Truto whose methods include read, or api = 'proxy'"
            )
        return self._tools[name]

    def _call(self, tool: Tool, wanted: list[tuple[tuple[str, ...], str | int | bool]], what: str = "") -> Ask:
        names = ((tool.argument(called), value) for called, value in wanted)
        arguments = {name: tool.fitting(name, value) for name, value in names if name is not None}
        unknown = tool.required - set(arguments)
        if unknown:
            raise SourceError(f"MCP {tool.name}: it wants {', '.join(sorted(unknown))}, and nobody says what that is")
        return self._ask("tools/call", {"name": tool.name, "arguments": arguments}, tool.name + what)

    def page(self, kind: str, body: bytes) -> TrutoPage:
        tool = self._tool(LISTS[kind])
        return page_of(self._told(body), numbered=tool.argument(CURSOR) is None and tool.argument(PAGE) is not None)

    def one(self, body: bytes) -> bytes:
        return one_of(self._told(body))

    def _told(self, body: bytes) -> bytes:
        """What the tool answered, which is JSON written into a text. Errors come the same way."""
        called = rpc_result(body, Called)
        texts = [c.text for c in called.content if c.text]
        told = texts[0].encode() if texts else msgspec.json.encode(called.structuredContent)
        status = _status_in(told)
        if called.isError or status:
            ask = Ask(self._address, called="MCP")
            said = sanitised(told, self._token.secrets())
            raise self._token.explain(ask, status or 500, told, None) or SourceError(f"MCP: the tool failed: {said}")
        return told


def rpc_result(body: bytes, kind: Any = dict[str, Any]) -> Any:
    """The result in an answer, which may come as one JSON object or as a stream of events."""
    answers = [msgspec.json.decode(text, type=Rpc) for text in _messages(body)]
    for answer in answers:
        if answer.error is not None:
            said = sanitised((answer.error.message or "").encode())
            raise SourceError(f"MCP: error {answer.error.code}: {said}")
        if bytes(answer.result):
            return msgspec.json.decode(answer.result, type=kind)
    raise SourceError("MCP: an answer without a result", retry=True)  # such as a page of whatever stands in between


def _tools_in(body: bytes) -> Tools:
    found: Tools = rpc_result(body, Tools)
    return found


def _messages(body: bytes) -> list[bytes]:
    """An event's data may go over several lines (text/event-stream)."""
    if body.lstrip()[:1] in (b"{", b"["):
        return [body]
    events = re.split(rb"\r\n\r\n|\n\n|\r\r", body)
    lines = ([line[5:].lstrip(b" ") for line in event.splitlines() if line.startswith(b"data:")] for event in events)
    return [b"\n".join(data) for data in lines if data]


def _status_in(told: bytes) -> int | None:
    """The status of an error that stands where the records should be."""
    try:
        found = msgspec.json.decode(told)
    except msgspec.DecodeError:
        return None
    status = found.get("statusCode") if isinstance(found, dict) else None
    return status if isinstance(status, int) and status >= 400 else None
