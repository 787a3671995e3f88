"""No clause can hang or exhaust the monitor: what could is refused at load, or is a rule error of that one subject."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.decide.alike import Plan
from monitor.decide.compiled import compile_rule
from monitor.decide.expressions import LONGEST_LIST, LONGEST_TEXT, Clause, ClauseError
from monitor.decide.judge import judge
from monitor.domain.rule import Rule, RuleStatus, Severity, Verdict

LONG = "a" * 200_000 + "!"
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


def within(seconds: float, clause: str, **data: Any) -> bool | None:
    """The clause's answer, which must come in time: of the processor, since the machine may be busy."""
    start = time.process_time()
    try:
        return Clause(clause, "account").holds({f"account.{k}": v for k, v in data.items()})
    finally:
        assert time.process_time() - start < seconds


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a*)*b", "(a|aa)+$", "(.*a){20}b", "(a+a+)+b", "(?:a?){100}a{100}b", "(([a-z])+.)+[A-Z]([a-z])+$",
     "^(([a-z])+)+[0-9]$", "(a|b|ab)*c", "(.*)*\\\\d"],
)  # fmt: skip
def test_a_regular_expression_cannot_blow_up(pattern: str) -> None:
    """Patterns that take a backtracking matcher for ever, on a text that a stranger chose to be long."""
    assert within(2, f'account.name.matches("{pattern}")', name=LONG) is False


@pytest.mark.parametrize(
    "pattern", ["(a{0,1000}){0,1000}", "a{1,1001}", "(((a{100}){100}){100}){100}", "\\\\1(a)", "(?=a)"]
)
def test_a_regular_expression_that_would_be_too_large_is_refused(pattern: str) -> None:
    """Repetitions of repetitions, and what cannot be matched in linear time: an error when it is tried, at load."""
    with pytest.raises(ClauseError, match="not a regular expression"):
        within(2, f'account.name.matches("{pattern}")', name="a")


@pytest.mark.parametrize(
    ("clause", "said"),
    [
        ("account.is_admin" + " || account.is_admin" * 80, "characters; 1000 are allowed"),
        ("(" * 100 + "account.is_admin" + ")" * 100, "recursion"),
        ("1" + " + 1" * 40 + " > 0", "recursion"),
        ('account.tags.all(a, account.tags.all(b, account.tags.all(c, account.tags.all(d, a + b + c + d != ""))))',
         "4 of exists, all, map and the like; 3 are allowed"),
        ("account.tags.map(t, " + "t + " * 5 + "t) == account.tags", "5 times +"),
        ('account.name.replace("a", account.name).replace("a", account.name) == ""', "stand alone"),
        ('account.tags.map(t, account.name.replace("a", t)).size() > 0', "stand alone"),
        ('account.tags.map(t, account.tags.join(t)).size() > 0', "stand alone"),
        ('(account.name + account.name).replace("a", "b") == ""', "stand alone"),
        ("lists.range(1000000000).size() > 0", "lists.range() is not offered"),
        ("cel.bind(x, account.name + account.name, x + x == x)", "there is no fact"),
        ("account.idle_days > 90 * 9223372036854775807", None),
    ],
)  # fmt: skip
def test_what_could_cost_too_much_is_refused(clause: str, said: str | None) -> None:
    """At load, with words; or when it is tried, as an overflow is."""
    with pytest.raises(ClauseError) as caught:
        within(1, clause, idle_days=1, tags=["a"], name="a")
    assert said is None or said in str(caught.value)


@pytest.mark.parametrize(
    ("clause", "data"),
    [
        ('account.tags.all(t, t != "")', {"tags": ["x"] * (LONGEST_LIST + 1)}),
        ("account.tags.all(t, account.tags.all(u, t == u))", {"tags": ["x"] * 300}),
        ('account.name.replace("a", account.name) == ""', {"name": "a" * (LONGEST_TEXT + 1)}),
        ("account.tags.map(t, t + t).size() > 0", {"tags": ["x" * (LONGEST_TEXT + 1)]}),
        ('account.fields.exists(k, k == "x")', {"fields": {"x": "y" * (LONGEST_TEXT + 1)}}),
        ("sets.contains(account.tags, account.groups)", {"tags": ["x"] * 10**5, "groups": ["y"] * 10**5}),
    ],
)
def test_what_strangers_wrote_cannot_make_a_clause_slow(clause: str, data: dict[str, Any]) -> None:
    """A clause that loops or grows refuses more than its measure: an error, not a crash and not a nothing."""
    with pytest.raises(ClauseError, match=r"too long|loops over more than"):
        within(1, clause, **data)


def test_the_most_that_is_allowed_takes_seconds_at_worst() -> None:
    """Clauses at their bounds, on values at theirs."""
    within(5, 'account.name.replace("a", account.name) == ""', name="a" * LONGEST_TEXT)
    many = [f"{n}" for n in range(LONGEST_LIST)]
    within(5, "sets.contains(account.tags, account.groups)", tags=many, groups=many[::-1])
    within(5, "account.tags.map(t, account.name + account.name + account.name + t).size() > 0",
           tags=many, name="a" * LONGEST_TEXT)  # fmt: skip


def _rule(id: str, clause: str) -> Rule:
    return Rule(id, "x", Severity.LOW, RuleStatus.ACTIVE, "it@example.com", "account", (clause,), "x", "x")


def test_one_failing_rule_does_not_stop_the_others() -> None:
    """Its error is told for the subject on which it fails; every other verdict stands."""
    rules = [
        _rule("loops", 'account.tags.all(t, t != "")'), _rule("divides", "1 / account.nps_score > 0"),
        _rule("raises", "business_days(account.created, now) > 0"), _rule("holds", "account.is_admin"),
    ]  # fmt: skip
    plan = Plan("account", tuple(map(compile_rule, rules)), frozenset())
    ann = {"id": "ann", "tags": ["x"] * 20_000, "nps_score": 0, "created": datetime(1, 1, 2, tzinfo=UTC),
           "is_admin": True}  # fmt: skip
    bob = {"id": "bob", "tags": ["x"], "nps_score": 1, "created": datetime(2026, 6, 1, tzinfo=UTC), "is_admin": True}
    said = {(j.subject.id, j.rule): j.verdict for j in judge(plan, [ann, bob], NOW)}
    failing = dict.fromkeys([("ann", "loops"), ("ann", "divides"), ("ann", "raises")], Verdict.ERROR)
    assert said == failing | {(who, "holds"): Verdict.FINDING for who in ("ann", "bob")} | {
        ("bob", rule): Verdict.FINDING for rule in ("loops", "divides", "raises")
    }


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("acount.ilevtgs()[]{}\"'+-*/%<>=!&|?:,0919 xm$^\\"), max_size=60))
def test_no_text_makes_the_compiler_fall_over(text: str) -> None:
    """Whatever somebody types is a clause, or an error that we raise."""
    with suppress(ClauseError):
        assert Clause(text, "account").holds({}) in (True, False, None)
