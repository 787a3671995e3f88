"""The same school through every kind of source: what a first poll needs of memory, of wall time and of the processor.

    python -m benchmarks.ways --accounts 100000 [--only truto-mcp,csv] [--cache 64,16]

Each kind runs in a process of its own. Sources over HTTP are answered in the process, from the pages that `records.py`
writes, wrapped as that API wraps them: the network is left out, and the wrapping counts against us. The shipped rules
judge, and groups and members are read wherever there is a way to them.
"""

from __future__ import annotations

import argparse
import csv
import json
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.ours import EVERY, NO_LIMIT, BenchmarkClock, peak_mib, quiet, shipped_rules
from benchmarks.pages import Canned
from benchmarks.runs import Runs, child
from monitor.cycle import run_cycle
from monitor.domain.message import Route
from monitor.domain.reading import Clock, Source
from monitor.line.parts import Parts, Watched
from monitor.sources.files import File
from monitor.sources.learnworlds import LearnWorlds
from monitor.sources.rows import Columns
from monitor.sources.scim import Scim
from monitor.sources.sql import Sql
from monitor.sources.truto import Truto
from monitor.store import staging
from monitor.store.engine import migrate, open_engine

LIMIT = 200  # MiB at 100,000 accounts
COLUMNS = ("id", "email", "name", "status", "level", "last_login", "department", "groups")
HTTP = ("learnworlds", "truto-unified", "truto-proxy", "truto-mcp", "scim")
TABLES = ("csv", "xlsx", "json", "jsonl", "sql")
ORIGIN = "https://school.example.com"
SCHEMA = {"type": "object", "properties": {k: {"type": "string"} for k in ("next_cursor", "id", "include_suspended")}}
TOOLS = [
    {"name": f"{verb}_learnworlds_{what}", "inputSchema": SCHEMA}
    for verb, what in (
        ("list_all", "users"), ("list_all", "roles"), ("list_all", "groups"), ("get_single", "user_by_id"),
        ("get_single", "group_by_id"),
    )
]  # fmt: skip
PATHS = {"users": "/v2/users", "roles": "/v2/user-roles", "groups": "/v2/user_groups"}
_encode, _raws = msgspec.json.encode, msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Pages:
    """LearnWorlds' own answers, by path and page."""

    def __init__(self, folder: Path) -> None:
        self._canned = Canned(folder, "first")

    def body(self, path: str, page: str = "1") -> bytes:
        asked = httpx.Request("GET", f"{ORIGIN}/admin/api{path}?x=1&page={page}")
        return self._canned.handle_request(asked).read()

    def next_of(self, body: bytes) -> str | None:
        found = _raws(body)
        if "meta" not in found:
            return None
        meta = msgspec.json.decode(found["meta"])
        return str(meta["page"] + 1) if meta["page"] < meta["totalPages"] else None


class ThroughTruto(httpx.BaseTransport):
    """The same pages as Truto hands them on, by one of its three ways."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path, query = request.url.path, dict(request.url.params)
        if path.startswith("/integrated-account/"):
            return _json({"status": "active"})
        if path.startswith("/custom/v2"):
            return httpx.Response(200, content=self._pages.body(path.removeprefix("/custom"), query.get("page", "1")))
        if path.startswith("/mcp/"):
            return self._tool(json.loads(request.content))
        kind = path.rpartition("/")[2]
        return httpx.Response(200, content=self._listed(kind, query.get("next_cursor"), unified="/unified/" in path))

    def _listed(self, kind: str, cursor: str | None, *, unified: bool = False) -> bytes:
        body = self._pages.body(PATHS[kind], cursor or "1")
        result: Any = msgspec.Raw(body)
        if unified:
            records = msgspec.json.decode(_raws(body)["data"], type=list[msgspec.Raw])
            result = [{"id": msgspec.json.decode(_raws(r)["id"]), "remote_data": r} for r in records]
        return _encode({"result": result, "next_cursor": self._pages.next_of(body)})

    def _tool(self, asked: dict[str, Any]) -> httpx.Response:
        if asked["method"] == "tools/list":
            return _json({"jsonrpc": "2.0", "id": asked["id"], "result": {"tools": TOOLS}})
        if asked["method"] != "tools/call":
            return _json({"jsonrpc": "2.0", "id": asked.get("id"), "result": {}})
        kind = asked["params"]["name"].rpartition("_")[2]
        text = self._listed(kind, asked["params"]["arguments"].get("next_cursor")).decode()
        return _json({"jsonrpc": "2.0", "id": asked["id"], "result": {"content": [{"type": "text", "text": text}]}})


class AsScim(httpx.BaseTransport):
    """The same users and groups as a SCIM server lists them, 200 a page."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        kind = request.url.path.rpartition("/")[2]
        if kind not in ("Users", "Groups"):
            return _json({"pagination": {"cursor": False}})
        start = int(request.url.params["startIndex"])
        body = msgspec.json.decode(self._pages.body(PATHS[kind.lower()], str((start - 1) // 200 + 1)))
        records = list(map(_scim_user if kind == "Users" else self._group, body["data"]))
        said = {"totalResults": body["meta"]["totalItems"], "startIndex": start, "Resources": records}
        return _json(said)

    def _group(self, group: dict[str, Any]) -> dict[str, Any]:
        members: list[dict[str, str]] = []
        page: str | None = "1"
        while page is not None:
            body = self._pages.body(f"/v2/user_groups/{group['id']}/users", page)
            members += ({"value": m["id"]} for m in msgspec.json.decode(body)["data"])
            page = self._pages.next_of(body)
        return {"id": group["id"], "displayName": group["title"], "members": members}


def _scim_user(user: dict[str, Any]) -> dict[str, Any]:
    return {
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"], "id": user["id"], "userName": user["email"],
        "displayName": f"{user['first_name']} {user['last_name']}", "active": not user["is_suspended"],
        "emails": [{"value": user["email"], "primary": True}], "roles": [{"value": user["role"]["name"]}],
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": {"department": user["fields"]["cf_department"]},
        "meta": {"created": datetime.fromtimestamp(user["created"], UTC).isoformat()},
    }  # fmt: skip


def _json(what: Any) -> httpx.Response:
    return httpx.Response(200, content=_encode(what))


# files and a database


def rows(folder: Path) -> Iterator[tuple[Any, ...]]:
    pages = Pages(folder)
    page: str | None = "1"
    number = 0
    while page is not None:
        body = pages.body("/v2/users", page)
        for user in msgspec.json.decode(body)["data"]:
            number += 1
            signed_in = user["last_login"] and datetime.fromtimestamp(user["last_login"], UTC).isoformat()
            yield (
                user["id"], user["email"], f"{user['first_name']} {user['last_name']}",
                "suspended" if user["is_suspended"] else "active", user["role"]["level"], signed_in,
                user["fields"]["cf_department"], f"Cohort {number // 200};Circle {number % 500}",
            )  # fmt: skip
        page = pages.next_of(body)


def write(kind: str, folder: Path) -> Path:
    path = folder / f"export.{'sqlite' if kind == 'sql' else kind}"
    if not path.exists():
        WRITERS[kind](path, rows(folder))
    return path


def _csv(path: Path, found: Iterator[tuple[Any, ...]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([COLUMNS, *found])


def _jsonl(path: Path, found: Iterator[tuple[Any, ...]]) -> None:
    with path.open("wb") as file:
        file.writelines(_encode(dict(zip(COLUMNS, row, strict=True))) + b"\n" for row in found)


def _array(path: Path, found: Iterator[tuple[Any, ...]]) -> None:
    path.write_bytes(_encode([dict(zip(COLUMNS, row, strict=True)) for row in found]))


def _xlsx(path: Path, found: Iterator[tuple[Any, ...]]) -> None:
    from openpyxl import Workbook

    book = Workbook(write_only=True)
    sheet = book.create_sheet()
    for row in (COLUMNS, *found):
        sheet.append(row)
    book.save(path)


def _database(path: Path, found: Iterator[tuple[Any, ...]]) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"CREATE TABLE staff ({', '.join(COLUMNS)})")
        db.executemany(f"INSERT INTO staff VALUES ({', '.join('?' * len(COLUMNS))})", found)
    db.close()


WRITERS: dict[str, Callable[[Path, Iterator[tuple[Any, ...]]], None]] = {
    "csv": _csv, "jsonl": _jsonl, "json": _array, "xlsx": _xlsx, "sql": _database,
}  # fmt: skip


# one poll


def source(kind: str, folder: Path, clock: Clock) -> Source:
    how: dict[str, Any] = {"clock": clock, "rate": NO_LIMIT}
    if kind == "learnworlds":
        return LearnWorlds("school", ORIGIN, "client", token="token", transport=Canned(folder, "first"), **how)
    if kind == "scim":
        return Scim("school", f"{ORIGIN}/scim", "token", count=200, transport=AsScim(Pages(folder)), **how)
    if kind.startswith("truto-"):
        api: Any = kind.removeprefix("truto-")
        mcp = "https://api.truto.one/mcp/secret-of-the-server" if api == "mcp" else None
        return Truto("school", token="token", integrated_account="account", api=api, mcp_url=mcp,
                        transport=ThroughTruto(Pages(folder)), **how)  # fmt: skip
    path, columns = folder / f"export.{'sqlite' if kind == 'sql' else kind}", Columns({c: c for c in COLUMNS})
    if kind == "sql":
        query = f"SELECT {', '.join(COLUMNS)} FROM staff"
        return Sql("school", f"sqlite:///{path}", query, columns, clock=clock, folder=folder)
    return File("school", path, columns, clock=clock)


def poll(kind: str, folder: Path, database: Path) -> dict[str, float]:
    clock = BenchmarkClock("first")
    watched = Watched(source(kind, folder, clock), kind, EVERY.total_seconds(), "reader", admin_limit=20)
    engine = open_engine(f"sqlite:///{database}")
    migrate(engine)
    parts = Parts(engine=engine, clock=clock, rules=shipped_rules(), routes=(Route(("nobody",)),), channels={},
                  watched={"school": watched}, staging_folder=database.parent)  # fmt: skip
    wall, processor = time.perf_counter(), time.process_time()
    result = run_cycle(parts, "school")
    told = {"seconds": time.perf_counter() - wall, "cpu": time.process_time() - processor, "mib": float(peak_mib())}
    assert result.snapshot.error is None, result.snapshot.error
    accounts = engine.connect().exec_driver_sql("SELECT accounts, grants FROM snapshots").one()
    return told | {"accounts": accounts[0], "grants": accounts[1], "requests": result.snapshot.proof.requests}


def measured(kinds: list[str], runs: Runs, caches: list[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for kind in kinds:
        if kind in TABLES:
            child("ways", "--write", kind, "--folder", str(runs.folder))
        for cache in caches:
            yield kind, cache, runs.run("ours", "", "--poll", kind, "--cache", cache, module="ways")


def main() -> None:
    parser = argparse.ArgumentParser(description="One school through every kind of source.")
    parser.add_argument("--accounts", type=int, default=100_000)
    parser.add_argument("--only", help="kinds, with commas between them")
    parser.add_argument(
        "--cache",
        default=str(staging.CACHE_KIB // 1024),
        help="MiB of page cache of the staging file, with commas between them",
    )
    parser.add_argument("--poll", help=argparse.SUPPRESS)
    parser.add_argument("--write", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--database", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    quiet()
    if asked.write:
        write(asked.write, asked.folder)
    elif asked.poll:
        staging.CACHE_KIB = int(asked.cache) * 1024
        print(json.dumps(poll(asked.poll, asked.folder, asked.database)))
    else:
        _all(asked)


def _all(asked: argparse.Namespace) -> None:
    kinds = asked.only.split(",") if asked.only else [*HTTP, *TABLES]
    heads = ("accounts", "grants", "requests", "seconds", "of the processor", "peak MiB", f"under {LIMIT}")
    table = Table("source", "cache MiB", *heads)
    with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
        runs = Runs(asked.accounts, Path(folder), 1)
        runs.prepare()
        for kind, cache, told in measured(kinds, runs, asked.cache.split(",")):
            met = "" if asked.accounts != 100_000 else "met" if told["mib"] < LIMIT else "not met"
            numbers = (f"{told[n]:,}" for n in ("accounts", "grants", "requests"))
            times = (f"{told[n]:.1f}" for n in ("seconds", "cpu"))
            print(kind, cache, told, file=sys.stderr, flush=True)
            table.add_row(kind, cache, *numbers, *times, f"{told['mib']:.0f}", met)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
