"""When time alone can change a verdict: between two polls that lie on one side of every boundary, nothing flips."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.alike import Plan
from monitor.decide.compiled import compile_rule
from monitor.decide.facts import FACTS, MOVES, SAMPLES, optional, value
from monitor.decide.judge import judge
from monitor.decide.recheck import Boundary, boundaries, decisive
from monitor.domain.company import Setting
from monitor.domain.person import Match, Person
from monitor.domain.rule import Exemption, Verdict
from tests.unit.test_judge import NOW, SHIPPED, rule

DAY = timedelta(days=1)
SETTINGS = {"limit": Setting("int", 5), "word": Setting("string", "x"), "most": Setting("int", 2)}

AGE, SPAN = "account.created", timedelta
TAKEN: list[tuple[str, set[tuple[str, float]]]] = [
    ("account.age_days > 90", {("account.created", 90), ("account.created", 91)}),
    ("90 < account.age_days", {("account.created", 90), ("account.created", 91)}),
    ("account.idle_days <= settings.limit", {("account.idle_days", 5), ("account.idle_days", 6)}),
    ("account.idle_days == 3 || account.is_admin", {("account.idle_days", 3), ("account.idle_days", 4)}),
    ("now - account.created > days(90)", {("account.created", 90)}),
    ("(now - account.created) > days(90)", {("account.created", 90)}),
    ("days(settings.most) >= now - account.first_seen", {("account.first_seen", 2)}),
    ('now - account.created > duration("36h")', {("account.created", 1.5)}),
    ("now > account.created", {("account.created", 0)}),
    ("account.created + hours(12) < now", {("account.created", 0.5)}),
    ("account.created > now - days(3)", {("account.created", 3)}),
    ("!person.active && account.age_days > 1", {("person.ended", 0), ("account.created", 1), ("account.created", 2)}),
    ("person.started ? account.age_days > 1 : account.is_admin",
     {("person.starts", 0), ("account.created", 1), ("account.created", 2)}),
    ('account.role == "now" && account.age_days > 1', {("account.created", 1), ("account.created", 2)}),
    ("!(account.is_admin && account.age_days > 1)", {("account.created", 1), ("account.created", 2)}),
    ("account.nps_score > 6", set()),
    ("in_business_hours(account.created)", set()),
]  # fmt: skip
RESTLESS = [
    "in_business_hours(now)", "business_days(account.created, now) > 5", "now.getHours() > 9",
    "account.age_days > account.idle_days", "5 - account.age_days > 1", "account.age_days > 5 + account.nps_score",
    "account.age_days > 5 == account.is_admin", "days(3) + (now - account.created) > days(90)",
    "now - account.groups_as_of > days(1)", "account.last_seen == now", "account.tags.exists(now, now == 'x')",
    "account.age_days in [1, 2]", "size(person.accounts) == 2", "account.age_days > 1 // now and then",
    '"""a"b""" == account.role || account.age_days > 1', "now - account.created > days(account.nps_score)",
    "account.age_days > size(settings.word)",
]  # fmt: skip


@pytest.mark.parametrize(("clause", "expected"), TAKEN, ids=[c for c, _ in TAKEN])
def test_comparisons_with_time_have_boundaries(clause: str, expected: set[tuple[str, float]]) -> None:
    """The fact and the distance from it at which the clause may flip."""
    found = boundaries(compile_rule(rule(clause, settings=SETTINGS)))
    assert found is not None
    assert set(found) == {Boundary(fact, timedelta(days=n)) for fact, n in expected}


@pytest.mark.parametrize("clause", RESTLESS)
def test_what_asks_for_time_in_another_way_is_restless(clause: str) -> None:
    """Nothing is guessed: such a rule is judged on everybody at every poll."""
    assert boundaries(compile_rule(rule(clause, settings=SETTINGS))) is None


def test_the_clauses_of_an_exemption_count_as_well() -> None:
    """A finding may come to be let be by time alone."""
    exempt = Exemption("", "On leave", "it@example.com", NOW.date(), ("account.idle_days > 3",))
    compiled = compile_rule(rule("account.is_admin", exemptions=(exempt,)))
    assert boundaries(compiled) == frozenset(Boundary("account.idle_days", n * DAY) for n in (3, 4))
    assert decisive(compiled) == {"account.is_admin", "account.idle_days"}


def test_no_shipped_rule_on_accounts_or_grants_is_restless() -> None:
    """Else an unchanged poll would cost as much as any other."""
    restless = [r.id for r in SHIPPED if r.for_each in ("account", "grant") and boundaries(compile_rule(r)) is None]
    assert restless == []


def moments(record: dict[str, Any]) -> dict[str, Any]:
    return {k: NOW - v if isinstance(v, timedelta) else v for k, v in record.items()}


PERSON = Person("p", "hr", starts=NOW + DAY, ended=NOW + 9 * DAY, status="active")
ALL = {kind: moments(sample) for kind, sample in SAMPLES.items()}
for record in ALL.values():
    record |= {"person": Match(PERSON), "first_seen": NOW - 9 * DAY, "watched_since": NOW, "grant_since": NOW - DAY}


def test_every_fact_that_moves_with_time_is_declared() -> None:
    """And none else: a fact that moves and is not on the list would never be judged again."""
    later = [NOW + n * DAY for n in (0, 1, 2, 10, 40)]
    moving = {n for n, f in FACTS.items() if len({repr(value(f, ALL.get(f.kind, {}), at)) for at in later}) > 1}
    assert moving | {"account.groups_as_of"} == set(MOVES)


OPERATORS = st.sampled_from([">", ">=", "<", "<=", "==", "!="])
SPANS = st.integers(0, 60)


@st.composite
def comparisons(draw: st.DrawFn) -> str:
    fact, op, n = draw(st.sampled_from(["created", "last_login", "first_seen"])), draw(OPERATORS), draw(SPANS)
    days = draw(st.sampled_from(["age_days", "idle_days"]))
    return draw(st.sampled_from([
        f"account.{days} {op} {n}", f"{n} {op} account.{days}", f"now - account.{fact} {op} hours({n * 7})",
        f"account.{fact} + days({n}) {op} now", f"account.{fact} {op} now - days({n})", f"now {op} account.{fact}",
    ]))  # fmt: skip


@st.composite
def clauses(draw: st.DrawFn) -> str:
    joined = draw(st.sampled_from([" && ", " || "])).join(draw(st.lists(comparisons(), min_size=1, max_size=3)))
    return draw(st.sampled_from([joined, f"!({joined})", f"({joined}) == account.is_admin", f"account.is_admin ? {joined} : false"]))  # noqa: E501  # fmt: skip


HOURS = st.integers(0, 70 * 24).map(lambda n: timedelta(hours=n))


def counted_from(fact: str, record: dict[str, Any]) -> list[datetime]:
    """The timestamps among its fields."""
    return [at for name, _ in map(optional, FACTS[fact].fields) if isinstance(at := record.get(name), datetime)]


@given(clauses(), HOURS, HOURS, st.none() | HOURS, st.none() | HOURS, st.booleans(), HOURS, HOURS)
def test_a_verdict_that_flips_has_passed_a_boundary(  # what hypothesis draws
    clause: str, created: timedelta, seen: timedelta, login: timedelta | None, active: timedelta | None, admin: bool,
    one: timedelta, two: timedelta,
) -> None:  # fmt: skip
    """The property that judging again rests on, for any clause, subject and two polls."""
    compiled = compile_rule(rule(clause))
    found = boundaries(compiled)
    if found is None:
        return
    record = ALL["account"] | {
        "created": NOW - created, "first_seen": NOW - seen, "is_admin": admin, "never_signed_in": login is None,
        "last_login": None if login is None else NOW - login, "last_active": None if active is None else NOW - active,
    }  # fmt: skip
    before, after = NOW + min(one, two), NOW + max(one, two)
    passed = [b for b in found for at in counted_from(b.fact, record) if before <= at + b.after <= after]
    held = [any(j.verdict is Verdict.FINDING for j in judge(Plan("account", (compiled,), frozenset()), [record], at))
            for at in (before, after)]  # fmt: skip
    assert passed or held[0] == held[1]
