"""SCIM servers: a real one in a process of its own, and a small one that does what real ones should not."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

TOKEN = "scim-secret-1"
USER = "urn:ietf:params:scim:schemas:core:2.0:User"
GROUP = "urn:ietf:params:scim:schemas:core:2.0:Group"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
LIST = "urn:ietf:params:scim:api:messages:2.0:ListResponse"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"
BASE = "http://scim.test/v2"

Json = dict[str, Any]


@dataclass
class RealScim:
    """scim2-server, filled through its own API."""

    url: str
    client: httpx.Client

    def add(self, kind: str, **record: Any) -> str:
        made = self.client.post(f"/{kind}", json=record)
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    def user(self, name: str, **more: Any) -> str:
        return self.add("Users", schemas=[USER, ENTERPRISE], userName=name, **more)

    def group(self, name: str, members: list[str]) -> str:
        return self.add("Groups", schemas=[GROUP], displayName=name, members=[{"value": m} for m in members])

    def patch(self, user_id: str, **values: Any) -> None:
        operations = [{"op": "replace", "path": name, "value": value} for name, value in values.items()]
        schema = "urn:ietf:params:scim:api:messages:2.0:PatchOp"
        done = self.client.patch(f"/Users/{user_id}", json={"schemas": [schema], "Operations": operations})
        assert done.status_code in (200, 204), done.text

    def delete(self, kind: str, record_id: str) -> None:
        assert self.client.delete(f"/{kind}/{record_id}").status_code == 204


@contextmanager
def real_scim(folder: Path, *, cursor: bool = False) -> Iterator[RealScim]:
    """The server as its package starts it, on loopback, with a token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    more = []
    if cursor:
        schema = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"
        yes = {"supported": True}
        config = {"schemas": [schema], "patch": yes, "filter": {**yes, "maxResults": 1000}, "sort": yes, "etag": yes,
                  "bulk": {"supported": False}, "changePassword": yes,
                  "pagination": {"cursor": True, "index": True, "defaultPaginationMethod": "index"}}  # fmt: skip
        (folder / "provider.json").write_text(json.dumps(config))
        more = ["--service-provider-config", str(folder / "provider.json")]
    program = "from scim2_server.testserver.cli import main; main()"
    with (folder / "scim.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", program, "--port", str(port), "--bearer-token", TOKEN, *more], stdout=log, stderr=log
        )
        try:
            url = f"http://127.0.0.1:{port}/v2"
            headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/scim+json"}
            with httpx.Client(base_url=url, headers=headers, trust_env=False) as client:
                _until_it_answers(client, server, folder / "scim.log")
                yield RealScim(url, client)
        finally:
            server.terminate()
            server.wait(10)


def _until_it_answers(client: httpx.Client, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        assert server.poll() is None, log.read_text()
        try:
            client.get("/ServiceProviderConfig")
            return
        except httpx.ConnectError:
            time.sleep(0.05)  # noqa: TID251  # a real process takes real time to start
    raise AssertionError("scim2-server does not start: " + log.read_text())


Fault = Callable[[httpx.Request], httpx.Response | None]


@dataclass
class LittleScim:
    """Users and groups in lists, served as a transport. `faults` see each request first and may answer it."""

    users: list[Json] = field(default_factory=list)
    groups: list[Json] = field(default_factory=list)
    by_cursor: bool = False
    most: int = 1000  # records a page, whatever is asked for
    faults: list[Fault] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.handle)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.raw_path.decode().removeprefix("/v2"))
        for fault in self.faults:
            answer = fault(request)
            if answer is not None:
                return answer
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return error(401, "no such token")
        _, _, kind, *rest = request.url.path.split("/")
        if kind == "ServiceProviderConfig":
            return httpx.Response(200, json={"pagination": {"cursor": self.by_cursor}})
        records = {"Users": self.users, "Groups": self.groups}[kind]
        if rest:
            found = [r for r in records if r.get("id") == rest[0]]
            return httpx.Response(200, json=found[0]) if found else error(404, "not found")
        return httpx.Response(200, json=self.page(records, dict(request.url.params)))

    def page(self, records: list[Json], params: dict[str, str]) -> Json:
        count = min(int(params["count"]), self.most)
        start = int(params.get("cursor") or 1) if "cursor" in params else max(int(params["startIndex"]), 1)
        data, after = records[start - 1 : start - 1 + count], start + count
        answer: Json = {"schemas": [LIST], "totalResults": len(records), "itemsPerPage": len(data)}
        if "cursor" in params:
            answer |= {"nextCursor": str(after)} if after <= len(records) else {}
        else:
            answer["startIndex"] = start
        return answer | ({"Resources": data} if data else {})


def error(status: int, detail: str, **headers: str) -> httpx.Response:
    body = {"schemas": [ERROR], "status": str(status), "detail": detail}
    return httpx.Response(status, json=body, headers=headers)


def people(count: int) -> list[Json]:
    return [{"id": f"u{n}", "userName": f"user{n}", "active": True} for n in range(1, count + 1)]
