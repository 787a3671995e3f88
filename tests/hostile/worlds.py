"""One school, and every way in which it can be read over HTTP, with a hostile proxy in between."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor import wiring
from monitor.config import load
from monitor.cycle import CycleResult, run_cycle
from monitor.simulator import School, SchoolServer, TrutoServer
from monitor.simulator.loopback import Asked, Loopback, Reply
from monitor.store import findings, queries
from monitor.store.engine import open_engine, reading
from tests.hostile.proxy import Hostile
from tests.peers.watch import START, VirtualClock

USERS = 450
END = """
rate = "5000/1s"
{more}

[[receivers]]
name = "out"
kind = "files"
path = "./messages"

[[routes]]
to = ["out"]
"""
CONFIGS = {
    "learnworlds": """[[sources]]
name = "school"
kind = "learnworlds"
url = "{url}"
client_id = "{client_id}"
client_secret = {{ file = "secret" }}
role_details = false
seats_every = "1s"
event_logs_every = "1s"
""",
    "unified": """[[sources]]
name = "school"
kind = "truto"
url = "{url}"
token = {{ file = "secret" }}
integrated_account_id = "{account}"
members = false
""",
    "scim": """[[sources]]
name = "school"
kind = "scim"
url = "{url}/v2"
token = {{ file = "secret" }}
count = 50
""",
}
CONFIGS["proxy"] = CONFIGS["unified"] + 'api = "proxy"\n'
CONFIGS["mcp"] = CONFIGS["unified"] + 'api = "mcp"\nmcp_url = {{ file = "mcp" }}\n'
# where lists of users, their last page, and one user are asked for
LISTS = {
    "learnworlds": r"/v2/users\?page=", "unified": "/users$", "proxy": "/users$",
    "mcp": "#list_all_learnworlds_users$", "scim": "/Users$",
}  # fmt: skip
LAST = LISTS | {"learnworlds": r"/v2/users\?page=3$"}  # on an earlier page its length tells that a row is missing
# the scopes of a school beside users: lists whose rows may vanish, and parts of them
OTHERS = {
    "groups": r"/v2/user_groups\?page=", "seats": r"/v2/seats\?page=", "events": "/v2/event-logs",
    "members of seats": "/v2/seats/[^/]+/users", "members of groups": "/v2/user_groups/[^/]+/users",
}  # fmt: skip
ONES = {
    "learnworlds": "/v2/users/[^/]+$", "unified": "/users/", "proxy": "/users/",
    "mcp": "#get_single_learnworlds_user", "scim": "/Users/",
}  # fmt: skip


NO_SUCH = {"schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"], "status": "404", "detail": "not found"}


class ScimSchool(Loopback):
    """The same school as a SCIM service would show it."""

    def __init__(self, school: School, token: str) -> None:
        super().__init__()
        self.school, self.token = school, token

    def answer(self, asked: Asked, headers: Any, body: bytes) -> Reply | None:
        if headers.get("Authorization") != f"Bearer {self.token}":
            return _json(401, {"status": "401", "detail": "no"})
        _, _, kind, *rest = asked.path.split("/")
        if kind == "ServiceProviderConfig":
            return _json(200, {"pagination": {"cursor": False}})
        with self.school.lock:
            records = [_scim(u) for u in self.school.users()] if kind == "Users" else []
        if rest:
            found = [r for r in records if r["id"] == rest[0]]
            return _json(200, found[0]) if found else _json(404, NO_SUCH)
        start, count = int(asked.query["startIndex"]), int(asked.query["count"])
        shown = records[start - 1 : start - 1 + count]
        said = {"totalResults": len(records), "startIndex": start, "itemsPerPage": len(shown), "Resources": shown}
        return _json(200, said)


def _scim(user: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": user["id"], "userName": user["email"], "active": not user["is_suspended"],
        "roles": [{"value": user["role"]["level"]}], "meta": {"created": _iso(user["created"])},
    }  # fmt: skip


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _json(status: int, what: Any) -> Reply:
    import json

    return Reply(status, json.dumps(what).encode())


@dataclass
class World:
    kind: str
    school: School
    proxy: Hostile
    config: Path
    clock: VirtualClock
    revive: Callable[[], None]
    truto: TrutoServer

    def poll(self) -> CycleResult:
        parts = wiring.parts(load(self.config), self.clock, stream=io.StringIO())
        try:
            return run_cycle(parts, "school")
        finally:
            parts.engine.dispose()
            self.clock.ahead(minutes=15)

    def here(self) -> set[str]:
        return {u["id"] for u in self.school.users()}

    def recorded(self) -> set[str]:
        engine = open_engine(load(self.config).database_url)
        try:
            return {a["id"] for a in queries.accounts(engine)}
        finally:
            engine.dispose()

    def grants(self) -> set[tuple[str, str, str]]:
        """Who holds which group or seat offering, as recorded."""
        engine = open_engine(load(self.config).database_url)
        query = "SELECT account_id, kind, entitlement_id FROM grants WHERE kind <> 'role' AND valid_to IS NULL"
        try:
            with reading(engine) as connection:
                return {tuple(r) for r in connection.exec_driver_sql(query)}
        finally:
            engine.dispose()

    def removed(self, snapshot: int) -> set[str]:
        engine = open_engine(load(self.config).database_url)
        try:
            rows = list(queries.drift(engine, snapshot=snapshot))
        finally:
            engine.dispose()
        return {r["subject_id"] for r in rows if r["kind"] == "removed" and r["subject_kind"] == "account"}

    def findings(self) -> list[Any]:
        engine = open_engine(load(self.config).database_url)
        with reading(engine) as connection:
            found = findings.load(connection)
        engine.dispose()
        return found


@contextmanager
def world(kind: str, folder: Path) -> Iterator[World]:
    """A school of one kind of reading; every request goes through the proxy."""
    clock = VirtualClock()
    school = School(users=USERS, seed=1, now=START.timestamp())
    now = lambda: clock.now().timestamp()  # noqa: E731
    with SchoolServer(school, clock=now, rate=None) as server, TrutoServer(server) as truto:
        scim = ScimSchool(school, truto.token)
        target = {"learnworlds": server.url, "scim": scim.url}.get(kind, truto.url)
        with scim, Hostile(target) as proxy:
            secret = server.client_secret if kind == "learnworlds" else truto.token
            (folder / "secret").write_text(secret)
            (folder / "mcp").write_text(f"{proxy.url}/mcp/{truto.mcp_token}")
            text = CONFIGS[kind].format(url=proxy.url, client_id=server.client_id, account=truto.account)
            config = folder / "config.toml"
            config.write_text(text + END.format(more=""))

            def revive() -> None:
                truto.status, truto.last_error = "active", ""

            yield World(kind, school, proxy, config, clock, revive, truto)
