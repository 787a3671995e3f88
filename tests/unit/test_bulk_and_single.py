"""Judging in bulk, many rules in one expression, says of every subject what each rule says of it alone.

Here single evaluation is the measure: slow, one rule on one subject, clause by clause.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from monitor.decide import facts, timeline
from monitor.decide.alike import Plan
from monitor.decide.clause_check import SAMPLE_MATCH
from monitor.decide.compiled import active, compile_rule
from monitor.decide.expressions import Clause, ClauseError
from monitor.decide.judge import explain, judge
from monitor.decide.parse import parse_set
from monitor.domain.company import Setting
from monitor.domain.person import Match
from monitor.domain.rule import Rule, RuleStatus, Severity, Verdict

NOW = timeline.NOW
RULES = Path(__file__).parents[2] / "rules"
SEED = 20260615
F, N, U, E = Verdict.FINDING, Verdict.NOTHING, Verdict.UNKNOWN, Verdict.ERROR


def quickly(plan: Plan, record: dict[str, Any], now: datetime) -> dict[str, Verdict]:
    """The verdicts in bulk, by rule, that are no nothings; counted and told of as they should be."""
    before, unsure = Counter(plan.unknown), dict[str, Verdict]()
    said = judge(plan, [record], now, want_unknown=True, undecided=lambda _id, of: unsure.update(of))
    verdicts = {j.rule: j.verdict for j in said}
    assert unsure == {rule: v for rule, v in verdicts.items() if v in (U, E)}
    assert Counter(plan.unknown) - before == Counter(rule for rule, v in verdicts.items() if v is U)
    return verdicts


def agreed(plan: Plan, records: Iterable[dict[str, Any]], now: datetime = NOW) -> Counter[tuple[str, Verdict]]:
    """How often each rule came to each verdict, bulk and single evaluation being of one mind."""
    said: Counter[tuple[str, Verdict]] = Counter()
    for record in records:
        bulk = quickly(plan, record, now)
        for rule in plan.rules:
            alone = explain(rule, record, now, plan).verdict
            assert bulk.get(rule.rule.id, N) is alone, (rule.rule.match, record)
            said[rule.rule.id, alone] += 1
    return said


# All shipped rules, on what their own tests show: near to where a verdict turns.


@cache
def shipped() -> tuple[Rule, ...]:
    files = {str(p): p.read_text(encoding="utf-8") for p in RULES.rglob("*.toml")}
    return parse_set(files, today=date(2026, 6, 15))


@cache
def played(kind: str, *expected: Verdict) -> list[dict[str, Any]]:
    tests = [t for r in shipped() if r.for_each == kind for t in r.tests if t.expect in (expected or (t.expect,))]
    return [record for test in tests if (record := timeline.play(kind, test.polls)[0]) is not None]


def extreme(rule: Rule) -> Rule:
    """With settings that let everything or nothing through: zero, and empty lists and tables."""
    empty: dict[str, Any] = {"int": 0, "list(string)": [], "duration": timedelta()}
    moved = {n: Setting(t, empty.get(t, {} if t.startswith("map") else v)) for n, (t, v) in rule.settings.items()}
    return replace(rule, settings=moved)


MAY_BE_UNKNOWN = ("email", "status", "department", "title", "manager", "starts", "ended", "tags", "allowed_levels",
                  "required_groups")  # fmt: skip


@cache
def given() -> dict[str, Setting]:
    """What the tests say of settings, all of them together: without it some rules never hold."""
    every: dict[str, Setting] = {}
    for name, setting in (pair for rule in shipped() for test in rule.tests for pair in test.settings.items()):
        before = every.get(name, setting).value
        every[name] = Setting(setting.type, {**before, **setting.value} if isinstance(before, dict) else setting.value)
    return every


def as_tested(rule: Rule) -> Rule:
    return replace(rule, settings={n: given().get(n, s) for n, s in rule.settings.items()})


def gaps(dice: random.Random, names: Collection[str]) -> frozenset[str]:
    """Names of some fields: none, few or many."""
    share = dice.choice((0, 0.03, 0.15, 0.5))
    return frozenset(n for n in sorted(names) if dice.random() < share)


def holder(dice: random.Random, match: Match | None) -> Match | None:
    """The person of an account, of whom now and then something is not known."""
    if match is None or match.person is None or dice.random() < 0.5:
        return match
    unknown: dict[str, Any] = dict.fromkeys(gaps(dice, MAY_BE_UNKNOWN))
    return match._replace(person=match.person._replace(**unknown))


def mixed(dice: random.Random, kind: str, holes: Sequence[frozenset[str]]) -> dict[str, Any]:
    """A record of one test with some fields of another's, and with holes."""
    one, other = dice.choice(played(kind)), dice.choice(played(kind))
    share = dice.choice((0, 0, 0.1, 0.4))
    record = {n: other.get(n, v) if dice.random() < share else v for n, v in one.items()}
    record |= dict.fromkeys(dice.choice(holes))
    return record | ({"person": holder(dice, record["person"])} if "person" in record else {})


def plans(dice: random.Random, kind: str, count: int) -> Iterator[Plan]:
    """With nothing blind first, then with some facts that nobody was asked for."""
    names = sorted(facts.readable(kind).keys() - {"now"})
    for number in range(count):
        moved = (as_tested, extreme, lambda rule: rule)[number % 3]
        blind = frozenset(dice.sample(names, dice.randint(1, 4))) if number >= 2 else frozenset[str]()
        yield Plan(kind, active(map(moved, shipped()), kind), blind)


def judged_both_ways(dice: random.Random, kind: str, count: int, of_plan: int) -> Counter[tuple[str, Verdict]]:
    said: Counter[tuple[str, Verdict]] = Counter()
    fields = sorted({n for record in played(kind) for n in record} - {"id", "grant_id"})
    for plan in plans(dice, kind, count):
        holes = [gaps(dice, fields) for _ in range(12)]
        records = [*(() if said else played(kind, F, N)), *(mixed(dice, kind, holes) for _ in range(of_plan))]
        now = NOW + timedelta(days=dice.choice((0, 1, -1, 40)) if said else 0)
        said += agreed(plan, (dict.fromkeys(plan.fields) | r for r in records), now)
    return said


@pytest.mark.parametrize("kind", facts.KINDS)
def test_shipped_rules_come_out_alike(kind: str) -> None:
    """Records of the rules' own tests, then crossed, with holes, under blind facts and odd settings."""
    said = judged_both_ways(random.Random(SEED), kind, 3, 30)
    ids = {rule.id for rule in shipped() if rule.for_each == kind}
    for verdict in (F, N):  # or else agreeing would say little
        assert {rule for rule, v in said if v is verdict} == ids


@pytest.mark.long
@pytest.mark.parametrize("kind", facts.KINDS)
def test_shipped_rules_come_out_alike_at_length(kind: str) -> None:
    """The whole of the check above."""
    assert judged_both_ways(random.Random(), kind, 12, 200)


# Rules that nobody would write: every way to join clauses, and every way in which one can fail.

ATOMS = (
    "account.is_admin", "account.is_reporter", "account.privileged", 'account.level == "admin"',
    'account.level in ["user", "x"]', 'account.role.startsWith("U")', "account.idle_days > 90",
    "account.idle_days > settings.limit", "account.idle_days % account.nps_score == 0",
    "now - account.created > days(200)", "account.created > person.starts", '"a" in account.tags',
    "size(account.groups) > 0", 'account.fields.cf_team == "x"', '"cf_team" in account.fields',
    'account.fields[?"cf_team"].orValue(account.level) == "user"', "account.tags[?0].hasValue()",
    'account.tags.exists(t, t == "a")', "account.tags.all(t, t in account.groups)",
    "account.tags.exists_one(t, t.startsWith(account.level))", "account.tags.filter(t, t != account.role) == []",
    "account.groups.map(g, g + account.level).size() > 1", "10 / size(account.tags) > 4",
    'account.past_levels[0] == "admin"', "in_domain(account.email, settings.mine)",
    "business_days(account.created, now) > 5", "settings.seats[account.level] > 3", "person.found", "person.active",
    'person.department == "Sales"', "sets.intersects(account.tags, account.groups)",
    "account.role.matches(account.level)", "duration(account.role) > days(1)", "timestamp(account.name) < now",
    'account.role.charAt(account.nps_score) == "r"', "account.is_admin // whoever that is", "true", "1 > 2",
)  # fmt: skip
JOINTS = ("!({0})", "({0}\n) && ({1}\n)", "({0}\n) || ({1}\n)", "({0}\n) ? ({1}\n) : ({2}\n)", "({0}\n) == ({1}\n)",
          "({0}\n) != ({1}\n)")  # fmt: skip
SETTINGS = {
    "limit": Setting("int", 50), "mine": Setting("list(string)", ["x.test"]),
    "seats": Setting("map(string, int)", {"user": 5, "admin": 2}),
}  # fmt: skip
VALUES: dict[str, Sequence[Any]] = {
    "is_admin": (True, False), "is_reporter": (True, False), "privileged": (True, False),
    "level": ("user", "admin", "x", "("), "role": ("User", "36h", "(", ""), "nps_score": (0, 1, 3, 9),
    "email": ("a@x.test", "a@y.test"), "name": ("2026-03-01T00:00:00Z", "Ann"),
    "created": (NOW - timedelta(days=300), NOW, datetime(1, 1, 2, tzinfo=UTC)), "tags": ([], ["a"], ["a", "b"]),
    "groups": ([], ["a"], ["b", "c"]), "past_levels": ([], ["admin"]), "never_signed_in": (True, False),
    "fields": ({}, {"cf_team": "x"}, {"cf_team": "user"}), "last_login": (NOW - timedelta(days=91), NOW),
    "last_active": (NOW,), "person": (SAMPLE_MATCH, Match(), Match(several=("1", "2"))),
}  # fmt: skip


def clause(dice: random.Random, depth: int = 2) -> str:
    if not depth or dice.random() < 0.4:
        return dice.choice(ATOMS)
    return dice.choice(JOINTS).format(*(clause(dice, depth - 1) for _ in range(3)))


def clauses(dice: random.Random) -> Iterator[str]:
    """One to three that a rule file may hold."""
    wanted = dice.randint(1, 3)
    while wanted:
        text = clause(dice)
        with suppress(ClauseError):  # three macros at most, and so on
            Clause(text, "account", SETTINGS)
            wanted -= 1
            yield text


def odd_rules(dice: random.Random, count: int) -> tuple[Rule, ...]:
    return tuple(
        Rule(f"r{n}", "x", Severity.LOW, RuleStatus.ACTIVE, "it@example.com", "account", tuple(clauses(dice)), "x", "x",
             settings=SETTINGS) for n in range(count)
    )  # fmt: skip


def odd_record(dice: random.Random) -> dict[str, Any]:
    share = dice.choice((0, 0.05, 0.2, 0.6))
    return {n: None if dice.random() < share else dice.choice(of) for n, of in VALUES.items()} | {"id": "it"}


def odd_ones_both_ways(dice: random.Random, rules: int, records: int) -> Counter[tuple[str, Verdict]]:
    plan = Plan("account", tuple(map(compile_rule, odd_rules(dice, rules))), frozenset())
    return agreed(plan, (odd_record(dice) for _ in range(records)))


def test_rules_that_nobody_would_write_come_out_alike() -> None:
    """Clauses joined at random, some of which fail; more of them than one mask holds, and few."""
    dice, said = random.Random(SEED), Counter[Verdict]()
    for rules, records in ((1, 20), (5, 20), (20, 40), (70, 20)):
        for (_, verdict), times in odd_ones_both_ways(dice, rules, records).items():
            said[verdict] += times
    assert min(said[v] for v in (F, N, U, E)) > 50


@pytest.mark.long
def test_rules_that_nobody_would_write_come_out_alike_at_length() -> None:
    """The whole of the check above."""
    dice = random.Random()
    for _ in range(60):
        odd_ones_both_ways(dice, dice.choice((1, 3, 10, 70)), 60)
