"""Recheck now: one account is read, what that proves is closed, and nothing else is touched."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from monitor import wiring
from monitor.acting import clicked
from monitor.config import load
from monitor.dispatch import deliver_waiting
from monitor.domain.act import Act, Click
from monitor.domain.reading import Lane
from monitor.simulator import SMALLEST, School, SchoolServer
from monitor.store import findings
from monitor.store.engine import open_engine, reading
from tests.peers.watch import CONFIG, Watch, watched

RULE = """\
id = "is-an-admin"
title = "{account.email} is an admin"
severity = "low"
owner = "it@example.com"
for_each = "account"
description = "An admin."
runbook = "1. Ask."
match = ["account.is_admin"]
"""
GROUPED = RULE.replace("is-an-admin", "is-in-groups").replace("account.is_admin", "size(account.groups) > 0")
LEVEL = RULE.replace("account.is_admin", "account.level == 'admin'")
OF_GROUPS = RULE.replace("is-an-admin", "a-group").replace('"account"', '"group"')
OF_GROUPS = OF_GROUPS.replace("account.email", "group.title").replace("account.is_admin", "group.members >= 0")


@contextmanager
def admins(folder: Path, *rules: str, config: str = CONFIG) -> Iterator[tuple[School, SchoolServer, Watch]]:
    """Polled once, so that every admin is a finding."""
    with watched(folder, users=SMALLEST, config=config) as (school, server, watch):
        (folder / "rules").mkdir()
        for text in rules or (RULE,):
            (folder / "rules" / (text.split('"')[1] + ".toml")).write_text(text, encoding="utf-8")
        watch.poll()
        watch.clock.ahead(minutes=1)
        yield school, server, watch


def recheck(watch: Watch, fingerprint: str, by: str = "ann (U1)") -> str:
    parts = wiring.parts(load(watch.config), watch.clock, stream=io.StringIO())
    try:
        said = clicked(
            parts, Click(Act.RECHECK, fingerprint, "out", by, (f"{watch.clock.now()}",), allowed=by != "eve")
        )
        deliver_waiting(parts)
    finally:
        parts.engine.dispose()
    return said


def history(watch: Watch, fingerprint: str) -> list[tuple[str, str | None]]:
    """Of the newest finding: what happened, and what was said of it."""
    engine = open_engine(f"sqlite:///{watch.database}")
    with reading(engine) as connection:
        found = findings.load(connection, findings.FINDINGS.c.fingerprint == fingerprint)[-1]
        rows = findings.history(connection, found.id or 0)
    engine.dispose()
    return [(r["kind"], (r["detail"] or {}).get("detail")) for r in rows]


def test_it_still_holds(tmp_path: Path) -> None:
    """One request; nobody else is looked at, whatever became of them meanwhile."""
    with admins(tmp_path) as (school, server, watch):
        first, second, *_ = watch.findings()
        school.set(second["subject"]["id"], is_admin=False)
        since = len(server.log)
        recheck(watch, first["fingerprint"])
        assert [a.path.removeprefix("/admin/api") for a in server.log[since:]] == [
            f"/v2/users/{first['subject']['id']}"
        ]
        assert history(watch, first["fingerprint"])[-1] == ("rechecked", "it still holds, as read just now")
        assert second in watch.findings()
        assert [m["reason"] for m in watch.messages()] == ["baseline"]


def test_what_it_proves_is_closed(tmp_path: Path) -> None:
    """By a snapshot of its own, and told; the next polls go on as if nothing had been."""
    with admins(tmp_path) as (school, _, watch):
        first, *others = watch.findings()
        school.set(first["subject"]["id"], is_admin=False)
        recheck(watch, first["fingerprint"])
        (closed,) = watch.findings("resolved")
        assert (closed["fingerprint"], closed["resolution"]) == (first["fingerprint"], "fixed")
        assert watch.messages()[-1]["reason"] == "resolved"
        assert (first["subject"]["id"], "is_admin", "true", "false") in watch.drift(closed["snapshot"] + 1)
        watch.clock.ahead(minutes=1)
        assert (watch.poll().events, watch.findings()) == ((), others)


def gone(school: School, _server: SchoolServer, who: str) -> None:
    school.remove_user(who)


def broken(school: School, server: SchoolServer, who: str) -> None:
    school.set(who, is_admin=False)
    server.faults.add("500", f"/v2/users/{who}", times=None)


def another(school: School, server: SchoolServer, who: str) -> None:
    server.faults.add("forbidden", f"/v2/users/{who}", times=None)


@pytest.mark.parametrize(
    ("happens", "said"), [(gone, "no such account"), (broken, "could not be asked"), (another, "could not be asked")]
)
def test_what_it_does_not_prove_stays(tmp_path: Path, happens: Any, said: str) -> None:
    """A 404 for one account, an error, a refusal: the finding is as open as it was, and no operator is alarmed."""
    with admins(tmp_path) as (school, server, watch):
        first = watch.findings()[0]
        before = watch.findings()
        happens(school, server, first["subject"]["id"])
        recheck(watch, first["fingerprint"])
        kind, detail = history(watch, first["fingerprint"])[-1]
        assert (kind, said in (detail or "")) == ("rechecked", True), detail
        assert watch.findings() == before
        assert [m["reason"] for m in watch.messages()] == ["baseline"]


@pytest.mark.parametrize(("rule", "said"), [(GROUPED, "account.groups"), (OF_GROUPS, "about a group")])
def test_a_rule_that_asks_for_more(tmp_path: Path, rule: str, said: str) -> None:
    """Nothing is asked of the source: it could not answer."""
    with admins(tmp_path, rule) as (_, server, watch):
        first, since = watch.findings()[0], len(server.log)
        recheck(watch, first["fingerprint"])
        assert said in (history(watch, first["fingerprint"])[-1][1] or "")
        assert len(server.log) == since


def test_a_source_that_cannot(tmp_path: Path) -> None:
    """A file is read whole or not at all."""
    config = (
        CONFIG[: CONFIG.index("[[sources]]")]
        + """
[[sources]]
name = "school"
kind = "file"
path = "people.csv"
columns = {{ id = "id", email = "email", level = "level" }}
"""
        + CONFIG[CONFIG.index("[[receivers]]") :]
    )
    (tmp_path / "people.csv").write_text("id,email,level\n1,ann@example.test,admin\n2,bob@example.test,user\n")
    with admins(tmp_path, LEVEL, config=config) as (_, _, watch):
        (first,) = watch.findings()
        recheck(watch, first["fingerprint"])
        assert "cannot be asked for one account" in (history(watch, first["fingerprint"])[-1][1] or "")


def test_who_may_not(tmp_path: Path) -> None:
    with admins(tmp_path) as (_, server, watch):
        first, since = watch.findings()[0], len(server.log)
        assert "may not act" in recheck(watch, first["fingerprint"], by="eve")
        assert len(server.log) == since


def test_it_goes_beside_the_fast_lane(tmp_path: Path) -> None:
    """Neither delays the other, and the fast lane still judges all whom it shows."""
    lanes = CONFIG.replace('rate = "5000/1s"', 'rate = "5000/1s"\nfast_every = "3m"')
    with admins(tmp_path, config=lanes) as (school, _, watch):
        first, second, *_ = watch.findings()
        recheck(watch, first["fingerprint"])
        school.set(second["subject"]["id"], is_admin=False)
        watch.clock.ahead(minutes=3)
        result = watch.poll(Lane.FAST)
        assert {e.finding.fingerprint for e in result.events} == {second["fingerprint"]}
