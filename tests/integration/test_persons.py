"""Persons: an authority is polled by the same line, and what it says bears on the accounts of a target."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from monitor.cycle import CycleResult
from monitor.daemon import Daemon
from monitor.decide.compiled import compile_rule
from monitor.decide.facts import OF_PERSONS
from monitor.decide.match import match_key
from monitor.decide.persons import Expectation
from monitor.domain.finding import EventKind, Resolution
from monitor.domain.limits import Limit
from monitor.domain.observed import Account, Group
from monitor.domain.reading import Outcome
from monitor.domain.rule import Verdict
from monitor.line.parts import RuleSet
from monitor.store import persons
from monitor.store.engine import reading
from monitor.store.tables import moment
from tests.peers.little import NAME
from tests.peers.shipped import RULES
from tests.peers.staff import HR, Staff, person

# those that ask something of persons
SHIPPED = tuple(r for r in RULES if r.for_each == "person" or compile_rule(r).reads & OF_PERSONS)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Staff]:
    made = Staff(tmp_path, SHIPPED)
    yield made
    made.close()


def test_an_authority_is_remembered_as_persons(bench: Staff) -> None:
    """The same line and the same tables; in drift it is a person whose department moved."""
    bench.hires(person("1", "ann@example.test", department="Sales"), person("2", "bob@example.test"))
    assert bench.poll_hr().snapshot.baseline
    bench.hires(person("1", "ann@example.test", department="Support"), person("3", "cleo@example.test"))
    del bench.hr.accounts["2"]
    second = bench.poll_hr()
    told = [(k, kind, who, field) for k, kind, who, field, _, _ in bench.changes(second.snapshot_id)]
    assert sorted(told) == [
        ("changed", "person", "1", "department"), ("created", "person", "3", None), ("removed", "person", "2", None),
    ]  # fmt: skip
    assert json.loads(bench.changes(second.snapshot_id)[1][5] or "") == "Support"


def test_no_rule_about_access_is_judged_on_an_authority(bench: Staff) -> None:
    """An identity provider's administrators are not the school's; nor is anything about them unknown."""
    bench.hires(person("1", "ann@example.test", status="suspended")._replace(is_admin=True, level="admin"))
    result = bench.poll_hr()
    assert (result.events, dict(result.unknown)) == ((), {})
    assert bench.rows("SELECT privileged FROM accounts") == [(None,)]
    assert bench.rows("SELECT name FROM sources") == [(HR,)]


def school(bench: Staff, **accounts: Account) -> None:
    """Who has an account: `ann=Account("a1", "ann@example.test", ...)`."""
    bench.school.accounts |= {a.id: a for a in accounts.values()}


def learner(id_: str, email: str, **said: Any) -> Account:
    """A member of staff with an ordinary account."""
    fixed: dict[str, Any] = {
        "status": "active",
        "level": "user",
        "is_admin": False,
        "is_instructor": False,
        "is_reporter": False,
    }
    return Account(id_, email, **({**fixed, "tags": (), "fields": ()} | said))


def told(result: CycleResult) -> set[tuple[str, str]]:
    return {(e.finding.rule, e.finding.subject.id) for e in result.events if e.kind is EventKind.OPENED}


def test_a_leaver_is_found_and_proved_fixed(bench: Staff) -> None:
    """HR's end came; the account works on. The time to fix counts from the last working day, in the config's zone."""
    bench.hires(person("1", "Ann@Example.test", "Ann", ends="2026-02-27", department="Sales"))
    school(bench, ann=learner("a1", "ann@example.test", level="admin", is_admin=True))
    bench.poll_hr()
    opened = bench.poll()
    assert told(opened) == {("leaver-still-active", "a1"), ("leaver-still-privileged", "a1")}
    found = next(e.finding for e in opened.events if e.finding.rule == "leaver-still-active")
    assert found.due_at == datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)
    shown = {name: value for evidence in found.evidence for name, value in evidence.facts.items()}
    assert (shown["person.key"], shown["person.matched_by"], shown["person.authority"]) == ("1", "email", HR)
    bench.school.accounts["a1"] = learner("a1", "ann@example.test", status="suspended")
    resolved = bench.poll()
    assert {(e.kind, e.finding.resolution) for e in resolved.events} == {(EventKind.RESOLVED, Resolution.FIXED)}


def test_an_end_that_hr_moves_moves_what_is_due(bench: Staff) -> None:
    """The clock is HR's, also after the finding was opened."""
    bench.hires(person("1", "ann@example.test", ends="2026-02-27"))
    school(bench, ann=learner("a1", "ann@example.test"))
    bench.poll_hr()
    bench.poll()
    bench.hires(person("1", "ann@example.test", ends="2026-02-20"))
    bench.poll_hr()
    bench.poll()
    assert moment(bench.rows("SELECT due_at FROM findings")[0][0]) == datetime(2026, 2, 21, 23, 59, 59, tzinfo=UTC)


BROKEN: list[tuple[str, Callable[[Staff], object]]] = [
    ("HR could not be read", lambda b: b.poll_hr("users", "roles", "groups", "role_details", outcome=Outcome.FAILED)),
    ("HR was cut off", lambda b: b.poll_hr("users", hidden={"1", "2"})),
]


def left_and_stayed(bench: Staff) -> None:
    """Ann has left and can still sign in; Bob works here."""
    bench.hires(person("1", "ann@example.test", status="deactivated"), person("2", "bob@example.test"))
    school(bench, ann=learner("a1", "ann@example.test"), bob=learner("b1", "bob@example.test"))
    bench.poll_hr()
    assert told(bench.poll()) == {("leaver-still-active", "a1")}
    school(bench, cleo=learner("c1", "cleo@example.test"))


def the_next_look_is_whole(bench: Staff) -> None:
    bench.poll_hr()
    assert told(bench.poll()) == {("orphan-account", "c1")}
    assert bench.rows("SELECT rule, verdict, status FROM findings WHERE subject_id = 'a1'") == [
        ("leaver-still-active", "finding", "open")
    ]


def test_without_hr_nothing_is_found_and_nothing_closes(bench: Staff) -> None:
    """Being blind for too long is unknown: no orphan, no leaver, and what was open stays open."""
    left_and_stayed(bench)
    bench.clock.ahead(days=2)
    blind = bench.poll()
    assert {(e.kind, e.finding.verdict) for e in blind.events} == {(EventKind.VERDICT, Verdict.UNKNOWN)}
    assert blind.unknown["orphan-account"] == 3
    the_next_look_is_whole(bench)


@pytest.mark.parametrize(("how", "breaks"), BROKEN, ids=[b[0] for b in BROKEN])
def test_after_a_broken_look_at_hr_those_who_are_known_stay_known(
    bench: Staff, how: str, breaks: Callable[[Staff], object]
) -> None:
    """A bad row does not hide a leaver; and of whom it does not show nobody can say that HR has no such person."""
    left_and_stayed(bench)
    breaks(bench)
    doubtful = bench.poll()
    assert doubtful.events == ()
    assert doubtful.unknown["orphan-account"] == 1
    the_next_look_is_whole(bench)


def test_a_row_that_a_broken_look_did_show_counts(bench: Staff) -> None:
    """Bob's end is in the part of HR's list that could be read; Ann's row could not, and she stays who she was."""
    left_and_stayed(bench)
    bench.hires(person("2", "bob@example.test", status="deactivated"))
    bench.poll_hr("users", hidden={"1"})
    assert told(bench.poll()) == {("leaver-still-active", "b1")}
    assert bench.rows("SELECT status FROM findings WHERE subject_id = 'a1'") == [("open",)]


def test_before_hr_was_read_nothing_is_known_of_persons(bench: Staff) -> None:
    """The first poll of a school does not make everybody an orphan."""
    school(bench, ann=learner("a1", "ann@example.test"))
    result = bench.poll()
    assert (result.events, result.unknown["orphan-account"]) == ((), 1)


def test_a_target_without_an_authority_shows_no_unknowns(tmp_path: Path) -> None:
    """Rules about persons are not judged there at all, and what they found earlier ends."""
    bench = Staff(tmp_path, SHIPPED)
    bench.hires(person("1", "ann@example.test", status="deactivated"), person("2", "bob@example.test"))
    school(bench, ann=learner("a1", "ann@example.test"))
    bench.poll_hr()
    assert told(bench.poll()) == {("leaver-still-active", "a1"), ("person-without-account", "2")}
    alone = replace(bench.parts.watched[NAME], matching=None)
    bench.parts = replace(bench.parts, watched={**bench.parts.watched, NAME: alone})
    result = bench.poll()
    assert {e.finding.resolution for e in result.events} == {Resolution.RULE_RETIRED}
    assert not {r for r in result.unknown if "leaver" in r or "orphan" in r or "person" in r}
    bench.close()


def test_a_mover_keeps_groups_of_before(tmp_path: Path) -> None:
    """What Sales required and Support does not, by title; the date of the move is the clock."""
    expectations = (Expectation((), ("Sales",), (), ("Sellers",)), Expectation((), ("Support",), (), ("Helpers", "g3")))
    bench = Staff(tmp_path, SHIPPED, expectations=expectations)
    bench.school.groups |= {g: Group(g, title) for g, title in (("g1", "Sellers"), ("g2", "Helpers"), ("g3", "Third"))}
    bench.school.managers = {("boss", g) for g in bench.school.groups}
    bench.school.members = {"g1": {"a1"}, "g2": set(), "g3": set()}
    bench.hires(person("1", "ann@example.test", department="Sales"))
    school(bench, ann=learner("a1", "ann@example.test"))
    bench.poll_hr()
    assert told(bench.poll()) == set()
    bench.hires(person("1", "ann@example.test", department="support"))
    moved = bench.clock.now()
    bench.poll_hr()
    result = bench.poll()
    assert told(result) == {("mover-kept-access", "a1"), ("required-group-missing", "a1")}
    kept, missing = sorted((e.finding for e in result.events), key=lambda f: f.rule)
    assert kept.due_at == moved + timedelta(days=7)
    assert "Sellers" in kept.title
    assert "Helpers" in missing.title
    assert "g3" in missing.title
    bench.school.members = {"g1": set(), "g2": {"a1"}, "g3": {"a1"}}
    assert {e.kind for e in bench.poll().events} == {EventKind.RESOLVED}
    bench.close()


def test_a_level_that_the_job_does_not_allow(tmp_path: Path) -> None:
    """Titles are patterns; upper and lower case are the same. Whoever the config does not name is let be."""
    expectations = (Expectation(("account manager*",), (), ("user",), ()),)
    bench = Staff(tmp_path, SHIPPED, expectations=expectations)
    bench.hires(
        person("1", "ann@example.test", title="Account Manager EMEA"),
        person("2", "bob@example.test", title="Head of Training"),
    )
    teacher: dict[str, Any] = {"level": "instructor", "role": "Instructor", "is_instructor": True}
    school(bench, ann=learner("a1", "ann@example.test", **teacher), bob=learner("b1", "bob@example.test", **teacher))
    bench.poll_hr()
    assert told(bench.poll()) == {("level-above-allowed", "a1")}
    bench.close()


def test_persons_without_an_account_and_accounts_of_nobody(bench: Staff) -> None:
    """Each is one finding; a program's account is excepted by its tag, and a person who left the file is gone."""
    bench.hires(person("1", "ann@example.test"), person("2", "bob@example.test"), person("3", starts="2026-05-01"))
    school(bench, ann=learner("a1", "ann@example.test"), old=learner("o1", "gone@example.test"),
           robot=learner("r1", "robot@example.test", tags=("service-account",)))  # fmt: skip
    bench.poll_hr()
    opened = bench.poll()
    assert told(opened) == {("person-without-account", "2"), ("orphan-account", "o1")}
    del bench.hr.accounts["2"]
    bench.poll_hr()
    assert [(e.finding.subject.id, e.finding.resolution) for e in bench.poll().events] == [("2", Resolution.GONE)]


def test_keys_that_disagree_are_a_finding_until_an_alias_settles_it(tmp_path: Path) -> None:
    """The number says Ann, the address says Bob: nobody may choose, until the operator does."""
    keys = (match_key("employee_id:cf_number"), match_key("email"))
    bench = Staff(tmp_path, SHIPPED, keys=keys)
    bench.hires(person("1", "ann@example.test", employee_id="100", status="deactivated"),
                person("2", "bob@example.test", employee_id="200"))  # fmt: skip
    school(bench, odd=learner("x1", "bob@example.test", fields=(("cf_number", "100"),)))
    bench.poll_hr()
    assert told(bench.poll()) == {("ambiguous-match", "x1")}
    bench.matching(keys=keys, aliases={"x1": "1"})
    assert told(bench.poll()) >= {("leaver-still-active", "x1"), ("person-without-account", "2")}
    bench.close()


def test_rules_that_ask_nothing_of_persons_read_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What no rule asks costs nothing: the authority's rows are not even read."""
    asked = list[str]()

    def rows(_connection: Connection, _found: persons.Standing) -> Iterator[dict[str, Any]]:
        asked.append("asked")
        return iter(())

    monkeypatch.setattr(persons, "rows", rows)
    bench = Staff(tmp_path, tuple(r for r in RULES if r not in SHIPPED))
    bench.hires(person("1", "ann@example.test"))
    school(bench, ann=learner("a1", "ann@example.test"))
    bench.poll_hr()
    bench.poll()
    assert asked == []
    bench.parts = replace(bench.parts, rules=RuleSet(SHIPPED, "all"))
    bench.poll()
    assert asked == ["asked"]
    bench.close()


def test_what_hr_corroborates_is_no_reason_for_doubt(bench: Staff) -> None:
    """Half of the school is gone at once: doubtful, unless HR says that all of them have left."""
    limit = {"removed": Limit(0.2, None, 4)}
    watched = replace(bench.parts.watched[NAME], limits=limit)
    bench.parts = replace(bench.parts, watched={**bench.parts.watched, NAME: watched})
    bench.hires(*(person(str(i), f"p{i}@example.test") for i in range(10)))
    school(bench, **{f"p{i}": learner(f"a{i}", f"p{i}@example.test") for i in range(10)})
    bench.poll_hr()
    bench.poll()
    kept, bench.school.accounts = bench.school.accounts, dict(list(bench.school.accounts.items())[:5])
    assert bench.poll().snapshot.outcome is Outcome.QUARANTINED
    bench.hires(*(person(str(i), f"p{i}@example.test", status="deactivated") for i in range(5, 10)))
    bench.poll_hr()
    assert bench.poll().snapshot.outcome is Outcome.COMPLETE
    assert len(kept) == 10


def test_persons_as_of_an_earlier_day(bench: Staff) -> None:
    """Replaying history asks who worked here then, not who does now."""
    bench.hires(person("1", "ann@example.test", department="Sales"))
    first = bench.poll_hr()
    bench.hires(person("1", "ann@example.test", department="Support"), person("2", "bob@example.test"))
    bench.poll_hr()
    with reading(bench.engine) as connection:
        then = persons.standing(connection, HR, first.snapshot.finished_at)
        now = persons.standing(connection, HR)
        assert then
        assert now
        shown = [[(r["id"], r["fields"]["department"] if r["fields"] else None) for r in persons.rows(connection, s)]
                 for s in (then, now)]  # fmt: skip
        assert shown == [[("1", "Sales")], [("1", "Support"), ("2", None)]]
        assert len(list(persons.earlier(connection, then))) == 1
        assert len(list(persons.earlier(connection, now))) == 2


class Asked:
    """Stands where the pool of threads would, and starts nothing."""

    def __init__(self) -> None:
        self.polls: dict[str, Future[None]] = {}

    def submit(self, _poll: object, name: str, _lane: object) -> Future[None]:
        return self.polls.setdefault(name, Future())


def test_an_authority_that_moved_makes_its_targets_due(bench: Staff) -> None:
    """At once, whatever the interval; an unchanged one does not."""
    rarely = {name: replace(w, every=86400.0) for name, w in bench.parts.watched.items()}
    bench.parts = replace(bench.parts, watched=rarely)
    daemon = Daemon(bench.parts, lambda: bench.parts, lambda: "same")
    daemon._pool = asked = Asked()  # type: ignore[assignment]
    bench.hires(person("1", "ann@example.test"))
    bench.poll_hr()
    bench.poll()
    daemon.tick()
    assert asked.polls == {}
    bench.hires(person("1", "ann@example.test", status="deactivated"))
    bench.poll_hr()
    daemon._moved.clear()
    daemon.tick()
    assert list(asked.polls) == [NAME]


def test_a_target_waits_for_its_authority(bench: Staff) -> None:
    """At the start both are due: first who works here, then who gets in."""
    daemon = Daemon(bench.parts, lambda: bench.parts, lambda: "same")
    daemon._pool = asked = Asked()  # type: ignore[assignment]
    daemon.tick()
    assert list(asked.polls) == [HR]
    bench.poll_hr()
    asked.polls[HR].set_result(None)
    daemon.tick()
    assert list(asked.polls) == [HR, NAME]
