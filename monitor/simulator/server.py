"""The school's API over real HTTP: LearnWorlds API v2 as documented, the odd corners included.

A page past the end is the last page again; suspended users are hidden unless asked for; a group without members
answers 404 "Users not found"; every request needs `Lw-Client`. Sources: the OpenAPI description of API v2, and for the
token call the three encodings that working clients send.
"""

from __future__ import annotations

import json
import re
import secrets
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

import msgspec

from monitor.simulator import people
from monitor.simulator.control import PREFIX, control
from monitor.simulator.faults import Fault, Faults
from monitor.simulator.loopback import Asked, Loopback, Reply
from monitor.simulator.school import School, User

API = "/admin/api"
CLIENT_ID = "5f0000000000000000000001"
DEFAULT_PAGE, MOST, EVENTS_PAGE = 20, 200, 50
NOT_FOUND = "Sorry the resource your trying to access does not exist."  # the API's own words
Shape = Literal["array", "data"]

_encode = msgspec.json.encode


class SchoolServer(Loopback):
    """Serves a school on loopback while the `with` block lasts. `clock` gives Unix time in seconds."""

    def __init__(
        self,
        school: School,
        *,
        clock: Callable[[], float],
        port: int = 0,
        rate: tuple[int, float] | None = (30, 10.0),
        members_shape: Shape = "array",
        token_lifetime: float = 8000,
        on_next: Callable[[], str] | None = None,
    ) -> None:
        """`rate`: requests and seconds, None for no limit. `on_next`: what POST /simulator/next does."""
        super().__init__(port)
        self.school, self.clock, self.rate, self.shape = school, clock, rate, members_shape
        self.lifetime, self.on_next = token_lifetime, on_next
        self.client_id, self.client_secret, self.token = CLIENT_ID, secrets.token_hex(16), secrets.token_hex(20)
        self.faults = Faults()
        self._half = False
        self.refused = False  # after "revoke" the secret is worth nothing
        self._tokens: dict[str, float] = {self.token: float("inf")}
        self._recent: deque[float] = deque()
        self._lock = threading.Lock()

    def time(self) -> float:
        return self.clock()

    def answer(self, asked: Asked, headers: Any, body: bytes) -> Reply | None:
        """What goes back; None ends the connection without a word."""
        if asked.path.startswith(PREFIX):
            return _reply(*control(asked.method, asked.path, asked.query, self.faults, self.on_next))
        with self._lock:
            self.log.append(asked)
            fault = self.faults.take(asked.path, asked.page)
            early = self._trouble_before(fault)
        if fault is not None and fault.kind == "slow":
            self._stop.wait(fault.seconds)
        if fault is not None and fault.kind == "drop":
            return None
        if early is not None:
            return early
        with self.school.lock:
            self._half = fault is not None and fault.kind == "half"
            return _spoilt(self._honest(asked, headers, body), fault)

    def _trouble_before(self, fault: Fault | None) -> Reply | None:
        """Trouble that needs no look into the school."""
        kind = fault.kind if fault else None
        if kind in ("expire-token", "revoke"):
            self._tokens.clear()
            self.refused = kind == "revoke"
        elif kind == "429" and fault is not None:
            return _too_many(fault.retry_after)
        elif kind == "500":
            return _reply(500, {"error": "Server Error"})
        elif kind == "html":
            page = b"<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"
            return Reply(502, page, content_type="text/html")
        elif kind == "forbidden":
            return _errors(403, "access_denied", "The plan of this school does not include the API.")
        elif kind == "success-false":
            return _reply(200, {"success": False, "errors": [{"code": "500", "message": "Something went wrong"}]})
        elif kind == "insert":
            number = self.school.size + len(self.log)
            self.school.add_user(f"meanwhile.{number}@school.example", "Mean While", created=self.clock())
        elif kind == "delete":
            self.school.remove_user(self.school.record(self.school.listed(suspended=True)[0])["id"])
        return None

    def _honest(self, asked: Asked, headers: Any, body: bytes) -> Reply:
        if not asked.path.startswith(API):
            return _reply(404, {"error": NOT_FOUND})
        if headers.get("Lw-Client") != self.client_id:
            return _errors(400, "client_id", "Missing client_id or client cannot be found.")
        if asked.path == f"{API}/oauth2/access_token" and asked.method == "POST":
            return self._token(headers, body)
        return self._over_rate() or self._for_holders(asked, headers.get("Authorization", ""))

    def _for_holders(self, asked: Asked, authorization: str) -> Reply:
        """What needs a good token."""
        if not self._allowed(authorization):
            return _errors(401, None, "The access token is missing, expired or revoked.")
        if asked.method != "GET":
            return _reply(405, {"error": "This school can only be read."})
        return self._read(asked.path.removeprefix(API), asked)

    def _over_rate(self) -> Reply | None:
        if self.rate is None:
            return None
        most, seconds = self.rate
        now = self.clock()
        with self._lock:
            while self._recent and self._recent[0] <= now - seconds:
                self._recent.popleft()
            if len(self._recent) >= most:
                return _too_many(None)
            self._recent.append(now)
        return None

    def _allowed(self, authorization: str) -> bool:
        return self._tokens.get(authorization.removeprefix("Bearer "), -1.0) > self.clock()

    def _token(self, headers: Any, body: bytes) -> Reply:
        asked = _token_request(headers.get("Content-Type", ""), body)
        good = {"client_id": self.client_id, "client_secret": self.client_secret, "grant_type": "client_credentials"}
        if self.refused or any(asked.get(key) != value for key, value in good.items()):
            return _errors(400, "access_denied", "The resource owner or authorization server denied the request.")
        token = secrets.token_hex(20)
        self._tokens[token] = self.clock() + self.lifetime
        data = {"access_token": token, "token_type": "Bearer", "expires_in": self.lifetime}
        return _reply(200, {"tokenData": data, "errors": [], "success": True})

    def _read(self, path: str, asked: Asked) -> Reply:
        for pattern, work in _ROUTES:
            match = re.fullmatch(pattern, path)
            if match:
                return work(self, asked, *map(unquote, match.groups()))
        return _reply(404, {"error": NOT_FOUND})

    # what can be read

    def _users(self, asked: Asked) -> Reply:
        query = asked.query
        every = query.get("include_suspended") == "true" or query.get("status") == "suspended"
        numbers = self.school.listed(suspended=every)
        if "role" in query or "status" in query:
            numbers = self.school.filtered(numbers, query.get("role"), query.get("status"))
        numbers = [i for i in numbers if i % 2 == 0] if self._half else numbers
        return self._page(numbers, asked, _size(asked), self.school.record)

    def _user(self, asked: Asked, who: str) -> Reply:
        found = None if self._half and (people.index_of(who) or 0) % 2 else self.school.find(who)
        if found is None or (found["is_suspended"] and asked.query.get("include_suspended") != "true"):
            return _reply(404, {"error": NOT_FOUND})
        return _reply(200, found)

    def _user_role(self, asked: Asked, who: str) -> Reply:
        found = self.school.find(who)
        if found is None:
            return _reply(404, {"error": NOT_FOUND})
        role = next((r for r in self.school.roles if r["title"] == found["role"]["name"]), None)
        detail: dict[str, Any] = {"id": found["id"], "email": found["email"], "username": found["username"]}
        if role is not None:
            detail["role_id"] = role["id"]
            detail["user_role"] = {"id": role["id"], "access_level": role["access_level"], "name": role["title"]}
        return _reply(200, detail | self._assigned(found))

    def _assigned(self, user: User) -> dict[str, Any]:
        level, index = user["role"]["level"], int(user["id"][:8], 16)
        if level == "instructor":
            share = {"course_id": f"course-{index % 7 + 1}", "revenue_share_percentage": 0.25}
            return {"assigned_courses": [share], "assigned_user_group_ids": [], "assigned_seat_offering_ids": []}
        if level == "seat_manager":
            wanted = [g for g, group in self.school.groups.items() if user["id"] in self._manager_ids(group)]
            return {"assigned_courses": [], "assigned_user_group_ids": wanted, "assigned_seat_offering_ids": []}
        return {"assigned_segment_id": f"segment-{index % 5}"} if level == "reporter" else {}

    def _manager_ids(self, group: dict[str, Any]) -> list[str]:
        return [self.school.record(i)["id"] for i in group["managers"]]

    def _roles(self, asked: Asked) -> Reply:
        return _reply(200, {"data": sorted(self.school.roles, key=lambda r: str(r["title"]))})

    def _groups(self, asked: Asked) -> Reply:
        return self._page(list(self.school.groups), asked, DEFAULT_PAGE, self._group_record)

    def _group(self, asked: Asked, group_id: str) -> Reply:
        known = group_id in self.school.groups
        return _reply(200, self._group_record(group_id)) if known else _reply(404, {"error": NOT_FOUND})

    def _group_record(self, group_id: str) -> dict[str, Any]:
        group = dict(self.school.groups[group_id])
        managers = [self.school.record(i) for i in group.pop("managers")]
        roles = {r["title"]: r["id"] for r in self.school.roles}
        group["group_managers"] = [
            {"id": u["id"], "username": u["username"], "email": u["email"], "role_id": roles.get(u["role"]["name"])}
            for u in managers
        ]
        return group

    def _members(self, asked: Asked, group_id: str) -> Reply:
        if group_id not in self.school.groups:
            return _reply(404, {"error": NOT_FOUND})
        members = self.school.members[group_id]
        if not members:
            return _reply(404, {"error": "Users not found"})
        return self._page(members, asked, DEFAULT_PAGE, self.school.record, bare=self.shape == "array")

    def _seats(self, asked: Asked) -> Reply:
        return self._page(list(self.school.seats), asked, DEFAULT_PAGE, self._seats_record)

    def _one_offering(self, asked: Asked, seat_id: str) -> Reply:
        known = seat_id in self.school.seats
        return _reply(200, self._seats_record(seat_id)) if known else _reply(404, {"error": NOT_FOUND})

    def _seats_record(self, seat_id: str) -> dict[str, Any]:
        """As in the description's schema; its samples leave `available_seats` out."""
        found = self.school.seats[seat_id]
        roles = {r["title"]: r["id"] for r in self.school.roles}
        managers = [self.school.record(i) for i in found["managers"]]
        return {
            "id": seat_id, "title": found["title"], "description": found["description"],
            "products": {"courses": found["courses"]}, "number_of_seats": found["purchased"],
            "available_seats": found["purchased"] - len(found["members"]), "max_number_of_users": found["max"],
            "access": "active", "total_enrollments": len(found["members"]),
            "seat_managers": [
                {"id": u["id"], "username": u["username"], "email": u["email"], "role_id": roles[u["role"]["name"]]}
                for u in managers
            ],
            "tags": found["tags"], "created": found["created"], "modified": found["created"],
        }  # fmt: skip

    def _event_logs(self, asked: Asked) -> Reply:
        query = asked.query
        after, before = float(query.get("created_after", "-inf")), float(query.get("created_before", "inf"))
        found = [
            e for e in self.school.events
            if after < e["created"] < before and query.get("activity") in (None, e["activity"])
        ]  # fmt: skip
        found = found if query.get("sort") == "asc" else found[::-1]
        return self._page(found, asked, EVENTS_PAGE, lambda event: event)

    def _in_offering(self, asked: Asked, seat_id: str) -> Reply:
        """A bare array, whatever the members of groups come as."""
        if seat_id not in self.school.seats:
            return _reply(404, {"error": NOT_FOUND})
        members = self.school.seats[seat_id]["members"]
        if not members:
            return _reply(404, {"error": "Users not found"})
        return self._page(members, asked, DEFAULT_PAGE, self.school.record, bare=True)

    def _page(
        self, all_of: list[Any], asked: Asked, size: int, record: Callable[[Any], Any], *, bare: bool = False
    ) -> Reply:
        """A page past the end is the last one again."""
        pages = max(-(-len(all_of) // size), 1)
        page = min(asked.page, pages)
        data = [record(what) for what in all_of[(page - 1) * size : page * size]]
        meta = {"page": page, "totalItems": len(all_of), "totalPages": pages, "itemsPerPage": size}
        return _reply(200, data if bare else {"data": data, "meta": meta})


_ROUTES: tuple[tuple[str, Callable[..., Reply]], ...] = (
    ("/v2/users", SchoolServer._users),
    ("/v2/users/([^/]+)", SchoolServer._user),
    ("/v2/users/([^/]+)/user-role", SchoolServer._user_role),
    ("/v2/user-roles", SchoolServer._roles),
    ("/v2/event-logs", SchoolServer._event_logs),
    ("/v2/seats", SchoolServer._seats),
    ("/v2/seats/([^/]+)", SchoolServer._one_offering),
    ("/v2/seats/([^/]+)/users", SchoolServer._in_offering),
    ("/v2/user_groups", SchoolServer._groups),
    ("/v2/user_groups/([^/]+)", SchoolServer._group),
    ("/v2/user_groups/([^/]+)/users", SchoolServer._members),
)


def _size(asked: Asked) -> int:
    given = asked.query.get("items_per_page", "")
    return min(max(int(given), 1), MOST) if given.isdigit() else DEFAULT_PAGE


def _token_request(content_type: str, body: bytes) -> dict[str, Any]:
    """Working clients send JSON, form fields, or JSON in the form field `data`."""
    try:
        if "json" in content_type:
            found = json.loads(body)
        else:
            fields = dict(parse_qsl(body.decode()))
            found = json.loads(fields["data"]) if "data" in fields else fields
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _reply(status: int, what: Any) -> Reply:
    return Reply(status, _encode(what))


def _errors(status: int, context: str | None, message: str) -> Reply:
    return _reply(status, {"errors": [{"code": str(status), "context": context, "message": message}], "success": False})


def _too_many(retry_after: str | None) -> Reply:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Reply(429, _encode({"error": "Too many requests"}), headers)


def _spoilt(reply: Reply, fault: Fault | None) -> Reply:
    kind = fault.kind if fault else None
    if kind == "cut":
        return Reply(reply.status, reply.body, reply.headers, cut=True)
    if kind == "malformed":
        return Reply(reply.status, reply.body[: len(reply.body) // 2] + b"\x00", reply.headers)
    if kind == "wrong-type":
        return Reply(reply.status, re.sub(rb'"created":[\d.e+]+', b'"created":"yesterday"', reply.body, count=1))
    return reply
