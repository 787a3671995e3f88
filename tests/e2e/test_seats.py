"""Seat offerings: read at their own interval, remembered, told, judged; closed to us, they break nothing else."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from monitor.domain.reading import Outcome, Scope
from monitor.simulator import School
from tests.peers.watch import CONFIG, Watch, watched

SEATS = CONFIG.replace('rate = "5000/1s"', 'rate = "5000/1s"\nseats_every = "6h"')
CUSTOMER = "Customer 1"


def seats_id(school: School, title: str = CUSTOMER) -> str:
    return next(i for i, s in school.seats.items() if s["title"] == title)


def managers(school: School, title: str = CUSTOMER) -> set[str]:
    return {school.record(i)["id"] for i in school.offering(title)["managers"]}


def members(school: School, title: str = CUSTOMER) -> set[str]:
    return {school.record(i)["id"] for i in school.offering(title)["members"]}


def held(watch: Watch, kind: str) -> set[tuple[str, str]]:
    with sqlite3.connect(watch.database) as db:
        found = set(db.execute(
            "SELECT account_id, entitlement_id FROM grants WHERE kind = ? AND valid_to IS NULL", (kind,)
        ))  # fmt: skip
    db.close()
    return found


def scope(result: Any) -> Any:
    return next((s for s in result.snapshot.scopes if s.name == Scope.SEATS), None)


def test_they_are_what_the_school_has(tmp_path: Path) -> None:
    """Three offerings with more members than a page holds; every manager and member; and the plan had said the cost."""
    with watched(tmp_path, users=1200, config=SEATS) as (school, server, watch):
        result = watch.poll()
        assert (result.snapshot.outcome, scope(result).outcome) == (Outcome.COMPLETE, Outcome.COMPLETE)
        assert len(school.seats) == 3
        assert max(len(s["members"]) for s in school.seats.values()) > 20
        for title in school.seats.values():
            name, what = title["title"], seats_id(school, title["title"])
            assert {a for a, s in held(watch, "seat_manager") if s == what} == managers(school, name)
            assert {a for a, s in held(watch, "seat") if s == what} == members(school, name)
        plan = json.loads(watch.command("plan", "--format", "json").stdout)
        planned = next(r["requests"] for r in plan if r["lane"] == "full" and r["scope"] == "seats")
        assert planned == sum("/v2/seats" in a.path for a in server.log)
        proof = result.snapshot.proof
        assert (proof.first["seats"], proof.last["seats"], proof.totals["seats"]) == ("page 1", "page 1", 3)


def test_without_the_setting_nobody_asks(tmp_path: Path) -> None:
    """No request, no scope, and no unknown verdict because of it."""
    with watched(tmp_path, users=450) as (_, server, watch):
        result = watch.poll()
        assert (scope(result), [a for a in server.log if "seats" in a.path]) == (None, [])
        assert not [rule for rule in result.unknown if "seat" in rule]


def test_who_joins_and_leaves_is_told(tmp_path: Path) -> None:
    """As the offering's managers and the account's seats; a changed offering field by field; but not twice a seat."""
    with watched(tmp_path, users=450, config=SEATS) as (school, _, watch):
        watch.poll()
        what, (old,), gone = seats_id(school), managers(school), sorted(members(school))[0]
        new = school.holders("Course creator")[0]
        school.remove_seat_managers(CUSTOMER)
        school.add_seat_manager(CUSTOMER, new)
        school.leave_seat(CUSTOMER, gone)
        school.take_seat(CUSTOMER, new)
        school.offering(CUSTOMER)["purchased"] += 10
        watch.clock.ahead(hours=7)
        result = watch.poll()
        mail = {who: school.get(who)["email"] for who in (old, new)}
        before = school.offering(CUSTOMER)["purchased"] - 10
        assert watch.drift(result.snapshot_id) == {
            (what, "managers", json.dumps(mail[old]), "null"), (what, "managers", "null", json.dumps(mail[new])),
            (gone, "seats", f'"{CUSTOMER}"', "null"), (new, "seats", "null", f'"{CUSTOMER}"'),
            (what, "purchased", str(before), str(before + 10)),
        }  # fmt: skip
        del school.seats[what]
        watch.clock.ahead(hours=7)
        ended = watch.poll()
        told = {(r[0], r[1]) for r in watch.drift(ended.snapshot_id)}
        assert (what, None) in told
        assert not {s for _, s in held(watch, "seat") | held(watch, "seat_manager")} & {what}


def test_between_its_intervals_it_stands_as_it_was_read(tmp_path: Path) -> None:
    """Not asked for, known all the same, and nothing ends by it."""
    with watched(tmp_path, users=450, config=SEATS) as (school, server, watch):
        watch.poll()
        school.remove_seat_managers(CUSTOMER)
        watch.clock.ahead(minutes=15)
        since = len(server.log)
        result = watch.poll()
        assert not [a for a in server.log[since:] if "seats" in a.path]
        assert (scope(result), result.changes) == (None, 0)
        assert "seats" in {s.name for s in result.snapshot.carried}
        assert held(watch, "seat_manager")


def test_a_suspended_seat_manager_is_found_once_and_closes(tmp_path: Path) -> None:
    """Though role details tell of the same seats."""
    with watched(tmp_path, users=450, config=SEATS) as (school, _, watch):
        watch.poll()
        [who] = managers(school)
        school.suspend(who)
        watch.clock.ahead(hours=7)
        watch.poll()
        found = [f for f in watch.findings() if f["rule"] == "suspended-still-seat-manager"]
        assert [f["subject"]["id"].split(" ")[:2] for f in found] == [[who, "seat_manager"]]
        school.remove_seat_managers(CUSTOMER)
        watch.clock.ahead(minutes=15)
        watch.poll()
        assert [f for f in watch.findings() if f["rule"] == "suspended-still-seat-manager"], "nobody looked yet"
        watch.clock.ahead(hours=7)
        watch.poll()
        assert not [f for f in watch.findings() if f["rule"] == "suspended-still-seat-manager"]


def test_more_seats_than_were_bought(tmp_path: Path) -> None:
    """And more members than are allowed."""
    with watched(tmp_path, users=450, config=SEATS) as (school, _, watch):
        offering = school.offering(CUSTOMER)
        offering["purchased"], offering["max"] = len(offering["members"]) - 1, 1
        watch.poll()
        what = seats_id(school)
        assert {("seats-over-purchased", what), ("seat-offering-over-maximum", what)} <= watch.open()


def test_where_they_are_forbidden_the_school_is_whole(tmp_path: Path) -> None:
    """The scope says so, a finding opens, nothing closes, and when they are opened again all is as it should be."""
    with watched(tmp_path, users=450, config=SEATS) as (school, server, watch):
        watch.poll()
        [who] = managers(school)
        school.suspend(who)
        watch.clock.ahead(hours=7)
        watch.poll()
        server.faults.add("forbidden", "/v2/seats", times=None)
        watch.clock.ahead(hours=7)
        result = watch.poll()
        assert (result.snapshot.outcome, scope(result).outcome) == (Outcome.COMPLETE, Outcome.UNREAD)
        assert "403" in scope(result).reason
        rules = {rule for rule, _ in watch.open()}
        assert {"source-forbidden", "suspended-still-seat-manager"} <= rules
        assert held(watch, "seat_manager")
        server.faults.clear()
        watch.clock.ahead(minutes=15)
        result = watch.poll()
        assert scope(result).outcome is Outcome.COMPLETE, "it was not whole, and so it is due at once"
        assert "source-forbidden" not in {rule for rule, _ in watch.open()}


@pytest.mark.parametrize("path", ["/v2/seats$", "/v2/seats/.*/users"])
def test_broken_lists_end_nothing(tmp_path: Path, path: str) -> None:
    """The scope is not whole, and so is the poll; who was in it stays in it."""
    with watched(tmp_path, users=450, config=SEATS) as (school, server, watch):
        watch.poll()
        before = held(watch, "seat"), held(watch, "seat_manager")
        school.remove_seat_managers(CUSTOMER)
        server.faults.add("500", path, times=None)
        watch.clock.ahead(hours=7)
        result = watch.poll()
        assert result.snapshot.outcome is Outcome.PARTIAL
        assert scope(result).outcome in (Outcome.PARTIAL, Outcome.FAILED)
        assert (held(watch, "seat"), held(watch, "seat_manager")) == before


def test_facts_of_an_account(tmp_path: Path) -> None:
    """`account.seats` and `account.managed_seats` are what the lists say."""
    with watched(tmp_path, users=450, config=SEATS) as (school, _, watch):
        watch.poll()
        [who], member = managers(school), sorted(members(school))[0]
        rule = tmp_path / "holds-seats.toml"
        for account, fact in ((who, "account.managed_seats"), (member, "account.seats")):
            rule.write_text(
                'id = "holds-seats"\ntitle = "{account.id}"\nseverity = "low"\nstatus = "draft"\n'
                'owner = "a@example.com"\n'
                f'for_each = "account"\ndescription = "x"\nmatch = [\'"{seats_id(school)}" in {fact}\']\n'
            )
            shown = watch.command("rules", "preview", str(rule), "--format", "json")
            assert account in shown.stdout, shown.stderr
