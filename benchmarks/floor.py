"""The floor: orjson and sqlite3, nothing else. It parses the same pages and writes the same rows into the same tables.

No checks, no retries, no history, no staging, no ledger: what a program cannot do without, written to be quick.
A later poll is parsed, digested and compared in memory, and writes nothing.
Run in a process of its own, which prints one line of JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import resource
import sqlite3
import time
from pathlib import Path
from typing import Any

import orjson

from benchmarks.pages import bodies
from benchmarks.records import NOW

FIRST = NOW * 1_000_000
ACCOUNT = (
    "source_id, account_id, email, email_key, username, name, status, level, role, role_id, is_admin, is_instructor, "
    "is_reporter, is_affiliate, privileged, tags, fields, created, first_seen, status_since, level_since, "
    "role_changed, privileged_since, reactivated, past_levels, past_roles, past_emails, earlier_ids, "
    "access_digest, valid_from"
)
ACTIVITY = "source_id, account_id, last_login, never_signed_in, nps_score, utms, raw_digest, snapshot_id"
GRANT = "source_id, account_id, kind, entitlement_id, since, valid_from"
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-65536")


def insert(table: str, columns: str) -> str:
    return f"INSERT INTO {table} ({columns}) VALUES ({', '.join('?' * len(columns.split(', ')))})"


def digest(value: Any) -> bytes:
    return hashlib.sha256(orjson.dumps(value)).digest()[:16]


def micros(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1_000_000)


def access(user: dict[str, Any]) -> list[Any]:
    """What makes a version when it differs."""
    kept = {k: v for k, v in user["fields"].items() if v is not None and (k == "company" or k.startswith("cf_"))}
    return [
        user["id"], user["email"], user["username"], f"{user['first_name']} {user['last_name']}".strip(),
        user["is_suspended"], user["role"]["level"], user["role"]["name"], user["is_admin"], user["is_instructor"],
        user["is_reporter"], user["is_affiliate"], sorted(user["tags"]), kept, user["created"],
    ]  # fmt: skip


def account_row(user: dict[str, Any], roles: dict[str, str]) -> tuple[Any, ...]:
    values = access(user)
    id_, email, username, name, suspended, level, role, admin, instructor, reporter, affiliate, tags, kept, made = (
        values
    )
    return (
        1, id_, email, email.casefold(), username, name, "suspended" if suspended else "active", level, role,
        roles[role], admin, instructor, reporter, affiliate, admin or instructor or reporter or level != "user",
        orjson.dumps(tags).decode(), orjson.dumps(kept, option=orjson.OPT_SORT_KEYS).decode(), micros(made),
        FIRST, FIRST, FIRST, FIRST, FIRST, FIRST, "[]", "[]", "[]", "[]", digest(values), 1,
    )  # fmt: skip


def activity_row(user: dict[str, Any]) -> tuple[Any, ...]:
    utms = {k: v for k, v in user["utms"].items() if v is not None}
    last = user["last_login"]
    return (
        1, user["id"], micros(last), last is None, user["nps_score"], orjson.dumps(utms).decode() if utms else None,
        digest(user), 1,
    )  # fmt: skip


def grants_of(path: str, page: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Of a page that is not one of users."""
    if path.endswith("/user-role"):
        return [(1, page["id"], "assigned", f"role:{page['role_id']}", FIRST, 1)]
    if path.endswith("/users"):
        group = path.split("/")[-2]
        return [(1, member["id"], "member", group, FIRST, 1) for member in page["data"]]
    managed = ((m["id"], group["id"]) for group in page["data"] for m in group["group_managers"])
    return [(1, account, "manager", group, FIRST, 1) for account, group in managed]


def first(folder: Path, db: sqlite3.Connection) -> None:
    roles: dict[str, str] = {}
    grants: list[tuple[Any, ...]] = []
    db.execute("BEGIN IMMEDIATE")
    for place, body in bodies(folder, "first"):
        page = orjson.loads(body)
        if place.path.endswith("/v2/user-roles"):
            roles = {role["title"]: role["id"] for role in page["data"]}
        elif place.path.endswith("/v2/users"):
            rows = [account_row(user, roles) for user in page["data"]]
            db.executemany(insert("accounts", ACCOUNT), rows)
            db.executemany(insert("activity", ACTIVITY), [activity_row(user) for user in page["data"]])
            grants += [(1, row[1], "role", row[9], FIRST, 1) for row in rows]
        else:
            grants += grants_of(place.path, page)
    grants.sort()  # an index that grows in its own order grows fastest
    db.executemany(insert("grants", GRANT), grants)
    db.execute("COMMIT")


def later(folder: Path, db: sqlite3.Connection, state: str) -> int:
    """How many accounts differ in access from what the database holds."""
    known = dict(db.execute("SELECT account_id, access_digest FROM accounts WHERE valid_to IS NULL"))
    different = 0
    for place, body in bodies(folder, state):
        page = orjson.loads(body)
        if place.path.endswith("/v2/users"):
            for user in page["data"]:
                different += known.get(user["id"]) != digest(access(user))
        elif place.path.endswith("/users"):
            digest(sorted(member["id"] for member in page["data"]))
    return different


def main() -> None:
    parser = argparse.ArgumentParser(description="One poll of the generated school by the floor program.")
    parser.add_argument("state", choices=("first", "moved", "changed"))
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True, help="with the tables in it")
    asked = parser.parse_args()
    db = sqlite3.connect(asked.database, isolation_level=None)
    for pragma in PRAGMAS:
        db.execute(f"PRAGMA {pragma}")
    began, different = time.perf_counter(), 0
    if asked.state == "first":
        first(asked.folder, db)
    else:
        different = later(asked.folder, db, asked.state)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    found = {t: db.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("accounts", "grants", "activity")}
    db.close()
    print(json.dumps({"seconds": seconds, "mib": peak, "different": different} | found))


if __name__ == "__main__":
    main()
