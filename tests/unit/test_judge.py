"""Judging: what holds, what does not, what nobody can say, and that the quick way says what the slow way says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.decide import alike, exemptions, facts, question
from monitor.decide.alike import Plan
from monitor.decide.compiled import active, compile_rule
from monitor.decide.judge import blind_facts, explain, judge
from monitor.decide.parse import parse_set
from monitor.decide.question import MOST_IN_A_MASK
from monitor.domain.company import Setting
from monitor.domain.finding import Judgement
from monitor.domain.observed import Subject
from monitor.domain.person import Match, Needed, Person
from monitor.domain.rule import Exemption, Rule, RuleStatus, Severity, Verdict

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
SCOPES = ("users", "roles", "groups", "members/", "seats", "persons")
ROOT = Path(__file__).parents[2] / "rules"
SHIPPED = parse_set({p.name: p.read_text(encoding="utf-8") for p in ROOT.rglob("*.toml")}, today=NOW.date())


def rule(*match: str, id: str = "some-rule", for_each: str = "account", **more: Any) -> Rule:
    fixed: dict[str, Any] = {
        "title": "{account.email} is wrong", "severity": Severity.HIGH, "status": RuleStatus.ACTIVE,
        "owner": "it@example.com", "description": "Wrong.", "runbook": "1. Mend it.",
    }  # fmt: skip
    return Rule(id=id, for_each=for_each, match=match, **(fixed | more))


def account(**said: Any) -> dict[str, Any]:
    """A complete record, with what a test says."""
    return {
        "id": "ann", "email": "ann@example.test", "name": "Ann", "status": "active", "level": "user", "role": "User",
        "is_admin": True, "is_instructor": False, "is_reporter": False, "privileged": True, "tags": ["a"],
        "fields": {"cf_department": "Sales"}, "last_login": NOW - timedelta(days=100), "never_signed_in": False,
        "created": NOW - timedelta(days=400), "past_levels": ["admin"], "groups": ["g1"], "managed_groups": [],
        "role_access_level": "user", "first_seen": NOW - timedelta(days=300), "last_active": None,
    } | said  # fmt: skip


def verdict(one: Rule, record: dict[str, Any], blind: Iterable[str] = ()) -> Judgement:
    """What `judge` says of one rule on one subject; a nothing is asked for as of an open finding."""
    plan = Plan(one.for_each, (compile_rule(one),), frozenset(blind))
    (said,) = judge(plan, [record], NOW, {record["id"]: {one.id}})
    return said


F, N, U, E = Verdict.FINDING, Verdict.NOTHING, Verdict.UNKNOWN, Verdict.ERROR
VERDICTS: list[tuple[str, tuple[str, ...], dict[str, Any], Verdict, str]] = [
    ("every clause holds", ("account.is_admin", "account.idle_days > 90"), {}, F, ""),
    ("one clause does not", ("account.is_admin", "account.idle_days > 100"), {}, N, "account.idle_days > 100"),
    ("a fact is absent", ("account.is_admin",), {"is_admin": None}, U, "not reported: account.is_admin"),
    ("absent beside one that holds", ("account.is_admin", "account.level == 'user'"), {"is_admin": None}, U,
     "not reported: account.is_admin"),
    ("absent beside one that does not", ("account.is_admin", "account.level == 'x'"), {"is_admin": None}, N,
     "account.level == 'x'"),
    ("two absent", ("account.is_admin != account.is_reporter",), {"is_admin": None, "is_reporter": None}, U,
     "not reported: account.is_admin, account.is_reporter"),
    ("or, settled by the other side", ("account.is_admin || account.is_reporter",), {"is_reporter": None}, F, ""),
    ("or, not settled", ("account.is_admin || account.is_reporter",), {"is_admin": None}, U,
     "not reported: account.is_admin"),
    ("and, settled by the other side", ("account.is_admin && account.is_reporter",), {"is_admin": None}, N,
     "account.is_admin && account.is_reporter"),
    ("a map key that is there", ('account.fields.cf_department == "Sales"',), {}, F, ""),
    ("a map key that is not", ('account.fields.cf_team == "Sales"',), {}, U, "not reported: a map key"),
    ("a macro", ('account.tags.exists(t, t == "a")',), {}, F, ""),
    ("a macro on an absent fact", ('account.tags.exists(t, t == "a")',), {"tags": None}, U,
     "not reported: account.tags"),
    ("an error", ("1 / size(account.tags) > 0",), {"tags": []}, E, "1 / size(account.tags) > 0: "),
    ("an error beside one that does not hold", ("1 / size(account.tags) > 0", "!account.is_admin"), {"tags": []}, N,
     "!account.is_admin"),
    ("an error beside an absent fact", ("1 / size(account.tags) > 0", "account.is_admin"),
     {"tags": [], "is_admin": None}, E, "1 / size(account.tags) > 0: "),
    ("never signed in counts from creation", ("account.idle_days == 400",),
     {"last_login": None, "never_signed_in": True}, F, ""),
    ("not told of sign-ins is not never", ("account.idle_days > 90",),
     {"last_login": None, "never_signed_in": None}, U, "not reported: account.idle_days"),
]  # fmt: skip


@pytest.mark.parametrize(("match", "said", "expected", "why"), [v[1:] for v in VERDICTS], ids=[v[0] for v in VERDICTS])
def test_verdicts(match: tuple[str, ...], said: dict[str, Any], expected: Verdict, why: str) -> None:
    """Each verdict, and the clause, fact or error that decided it."""
    got = verdict(rule(*match), account(**said))
    assert (got.verdict, got.why[: len(why) or None]) == (expected, why)


def test_a_finding_explains_itself() -> None:
    """Title and evidence hold the values that were seen: those of each clause, then those that only explain."""
    got = verdict(rule("account.is_admin", 'account.level == "user"', evidence=("account.role",)), account())
    assert got.title == "ann@example.test is wrong"
    assert got.subject == Subject("account", "ann", "ann@example.test", "Ann")
    assert [tuple(e) for e in got.evidence] == [
        ("account.is_admin", {"account.is_admin": True}),
        ('account.level == "user"', {"account.level": "user"}),
        ("", {"account.role": "User"}),
    ]


def test_what_is_not_known_is_not_shown() -> None:
    """An absent fact has no value in the evidence and a question mark in the title; a blind one neither."""
    got = verdict(
        rule("account.is_admin", evidence=("account.role", "account.name")), account(email=None, role=None),
        blind={"account.name"},
    )  # fmt: skip
    assert (got.title, [tuple(e) for e in got.evidence]) == (
        "? is wrong", [("account.is_admin", {"account.is_admin": True})],
    )  # fmt: skip


def test_a_nothing_is_told_only_when_somebody_waits_for_it() -> None:
    """Most of all verdicts are nothings: they are yielded for open findings alone."""
    plan = Plan("account", (compile_rule(rule("!account.is_admin")),), frozenset())
    assert list(judge(plan, [account()], NOW)) == []
    assert list(judge(plan, [account()], NOW, {"bob": {"some-rule"}, "ann": {"a rule of another kind"}})) == []
    assert [j.verdict for j in judge(plan, [account()], NOW, {"ann": {"some-rule"}})] == [N]


def test_unknowns_are_counted_and_told_when_asked_for() -> None:
    """Without `want_unknown` a poll still says how many there were."""
    plan = Plan("account", (compile_rule(rule("account.is_admin")),), frozenset())
    records = [account(is_admin=None), account(id="bob", is_admin=None), account(id="cat")]
    assert [(j.subject.id, j.verdict) for j in judge(plan, records, NOW)] == [("cat", F)]
    assert plan.unknown == {"some-rule": 2}
    told = [(j.subject.id, j.verdict) for j in judge(plan, records, NOW, want_unknown=True)]
    assert told == [("ann", U), ("bob", U), ("cat", F)]


# Exemptions


def exempt(subject: str, day: date) -> Exemption:
    return Exemption(subject, "On leave", "head@example.com", day)


TODAY, YESTERDAY = date(2026, 6, 15), date(2026, 6, 14)


@pytest.mark.parametrize(
    ("exemption", "expected"),
    [
        (exempt("ann", TODAY), Verdict.EXEMPT),
        (exempt("ann@example.test", TODAY), Verdict.EXEMPT),
        (exempt("Ann@Example.TEST", TODAY), Verdict.EXEMPT),
        (exempt("ann", YESTERDAY), F),
        (exempt("bob", TODAY), F),
    ],
)
def test_an_exemption_lasts_through_its_last_day(exemption: Exemption, expected: Verdict) -> None:
    """It names an id or an e-mail in any case, and says until when."""
    got = verdict(rule("account.is_admin", exemptions=(exemption,)), account(email="Ann@example.test"))
    assert got.verdict is expected
    assert got.exempt_until == (datetime(2026, 6, 16, tzinfo=UTC) if expected is Verdict.EXEMPT else None)


def test_an_exemption_makes_nothing_of_a_nothing() -> None:
    """Only what would be a finding is exempt: a nothing and an unknown stay what they are."""
    leave = (exempt("ann", TODAY),)
    assert verdict(rule("!account.is_admin", exemptions=leave), account()).verdict is N
    assert verdict(rule("account.is_admin", exemptions=leave), account(is_admin=None)).verdict is U


def test_the_day_ends_in_the_zone_of_the_config() -> None:
    """In Berlin, 14 June ends at 22:00 UTC in summer, and of several exemptions the longest counts."""
    zone, ann = ZoneInfo("Europe/Berlin"), Subject("account", "ann")
    end = datetime(2026, 6, 14, 22, 0, tzinfo=UTC)
    both = (exempt("ann", YESTERDAY - timedelta(days=3)), exempt("ann", YESTERDAY), exempt("ann", YESTERDAY))
    given = exemptions.leave(rule("account.is_admin", exemptions=both))
    assert exemptions.ends(both[1], zone) == end
    assert exemptions.in_force(given, ann, {}, end - timedelta(seconds=1), zone) == [both[1], both[2]]
    assert exemptions.in_force(given, ann, {}, end, zone) == []


def test_an_exemption_may_be_a_clause() -> None:
    """It lets be whoever it holds for, and nobody when it cannot be decided: better an alert too many than too few."""
    partners = Exemption("", "Partners", "head@example.com", TODAY, ('account.email_domain == "partner.test"',))
    mine = rule("account.is_admin", exemptions=(partners,))
    got = verdict(mine, account(email="ann@partner.test"))
    assert (got.verdict, got.exempted_by) == (Verdict.EXEMPT, (partners.id,))
    assert verdict(mine, account()).verdict is F
    assert verdict(mine, account(email=None)).verdict is F
    failing = replace(partners, match=("1 / size(account.tags) > 0",))
    assert verdict(rule("account.is_admin", exemptions=(failing,)), account(tags=[])).verdict is F
    both = replace(partners, match=(*partners.match, 'account.role == "Tutor"'))
    assert verdict(rule("account.is_admin", exemptions=(both,)), account(email="a@partner.test")).verdict is F


def test_every_exemption_in_force_is_named() -> None:
    """So that one which mutes nothing can be told from one beside another."""
    long, short = exempt("ann", TODAY + timedelta(days=9)), exempt("ann@example.test", TODAY)
    got = verdict(rule("account.is_admin", exemptions=(short, long)), account())
    assert got.exempted_by == (long.id, short.id)
    assert got.exempt_until == exemptions.ends(long, UTC)


def test_a_grant_is_a_subject_of_its_own() -> None:
    """Told with the holder's e-mail, known by account, kind and entitlement; its holder's exemption covers it."""
    mine = rule('grant.kind == "manager"', for_each="grant", title="{account.email} manages {grant.title}")
    held = account(id="ann 1", grant_id="ann%201 manager g1", grant_kind="manager", entitlement_title="Cohort")
    plan = Plan("grant", (compile_rule(mine),), frozenset())
    (said,) = judge(plan, [held], NOW, {"ann%201 manager g1": {"some-rule"}})
    assert said.subject == Subject("grant", "ann%201 manager g1", "ann@example.test", "Ann")
    assert (said.verdict, said.title) == (F, "ann@example.test manages Cohort")
    for whom in ("ann 1", "ann@example.test", "ann%201 manager g1"):
        let_be = Plan("grant", (compile_rule(replace(mine, exemptions=(exempt(whom, TODAY),))),), frozenset())
        assert [j.verdict for j in judge(let_be, [held], NOW)] == [Verdict.EXEMPT]


# Which rules, and which facts


def test_retired_rules_are_not_judged_and_drafts_are() -> None:
    """A draft is recorded without being sent; a rule about groups has nothing to say of accounts."""
    some = [
        rule("account.is_admin", id=s.value, status=s) for s in RuleStatus
    ] + [rule("group.managers == 0", id="of-groups", for_each="group")]  # fmt: skip
    assert [c.rule.id for c in active(some, "account")] == ["draft", "active"]


def test_a_plan_asks_for_what_is_read_and_shown() -> None:
    """Fields of clauses, evidence and title, and of what facts are computed from; nothing more is fetched."""
    one = rule("account.idle_days > 90", "now > account.created", evidence=("account.role",))
    assert Plan("account", (compile_rule(one),), frozenset()).fields == (
        "created", "email", "id", "last_active", "last_login", "never_signed_in", "role",
    )  # fmt: skip
    assert Plan("account", (), frozenset()).fields == ("id",)


@pytest.mark.parametrize(
    ("broken", "blind", "seeing"),
    [
        ("roles", {"account.role_access_level", "role.title"}, {"account.level", "account.groups", "role.holders"}),
        ("groups", {"account.managed_groups", "group.managers"}, {"account.groups", "account.level", "group.members"}),
        ("members/", {"account.groups", "group.members"}, {"account.managed_groups", "group.managers"}),
        ("users", {"role.holders", "source.admins"}, {"account.level", "source.admin_limit", "role.title", "now"}),
    ],
)
def test_a_broken_scope_blinds_its_facts(broken: str, blind: set[str], seeing: set[str]) -> None:
    """What a list would have said is absent for everybody; what a shown account says of itself is not."""
    found = blind_facts({scope: scope != broken for scope in SCOPES})
    assert blind <= found
    assert not seeing & found


def test_a_whole_poll_is_not_blind() -> None:
    """And a scope that is not even named was not read."""
    assert blind_facts(dict.fromkeys(SCOPES, True)) == frozenset()
    assert blind_facts({}) >= {"account.groups", "role.title", "group.managers", "source.admins"}


def test_a_blind_fact_is_unknown_whatever_the_record_holds() -> None:
    """An old list of groups must neither accuse nor acquit."""
    for groups in ([], ["g1"]):
        got = verdict(rule("size(account.groups) > 0"), account(groups=groups), blind={"account.groups"})
        assert (got.verdict, got.why) == (U, "not reported: account.groups")


def test_many_rules_are_split_into_masks() -> None:
    """A mask has room for 60: of 150 rules each is judged as it would be alone."""
    many = [rule(f"account.idle_days > {i}", 'account.level == "user"', id=f"r{i}") for i in range(150)]
    plan = Plan("account", tuple(map(compile_rule, many)), frozenset())
    assert len(many) > 2 * MOST_IN_A_MASK
    said = {j.rule: j.verdict for j in judge(plan, [account()], NOW)}
    assert said == {f"r{i}": F for i in range(100)}
    list(judge(plan, [account(level=None)], NOW))
    assert plan.unknown == {f"r{i}": 1 for i in range(100)}


def test_what_is_remembered_of_those_alike_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for one kind of subject and one answer, each is still judged by what it has itself."""
    monkeypatch.setattr(alike, "MOST_ALIKE", 1)
    monkeypatch.setattr(question, "MOST_REMEMBERED", 1)
    plan = Plan("account", (compile_rule(rule("account.is_admin", "account.idle_days > 90")),), frozenset())
    some = [account(id=f"{n}", is_admin=n % 2 == 0, last_login=NOW - timedelta(days=85 + n % 7)) for n in range(40)]
    assert [j.subject.id for j in judge(plan, some, NOW)] == [f"{n}" for n in range(0, 40, 2) if n % 7 > 5]


# The quick way and the slow way

EXTRA = [
    rule("account.is_admin || account.is_reporter", 'account.level == "user"', id="or"),
    rule("account.is_admin && account.is_reporter", "account.idle_days > 50", id="and"),
    rule("account.is_admin ? account.is_reporter : account.is_instructor", id="choice"),
    rule('account.fields.cf_department == "admin"', "account.is_admin", id="map-key"),
    rule('account.tags.exists(t, t == "admin")', "account.privileged", id="macro"),
    rule("10 / size(account.past_levels) > 4", "account.is_admin", id="may-divide-by-zero"),
    rule('account.email_domain != "x"', id="domain"),
    rule("now - account.created > days(200)", "account.age_days < 300", id="dates"),
    rule("account.idle_days > settings.limit", "!in_domain(account.email, settings.mine)", id="settings",
         settings={"limit": Setting("int", 50), "mine": Setting("list(string)", ["x"])}),
    rule("business_days(account.created, now) > settings.limit || account.is_admin", id="functions",
         settings={"limit": Setting("int", 50)}),
    rule('account.fields[?"cf_team"].orValue(account.level) == "user"', "account.is_admin", id="optional"),
    rule("sets.intersects(account.tags, account.groups)", "account.is_admin", id="sets"),
    rule("size(role.past_access_levels) > 0", "role.custom", id="role-moved", for_each="role", title="{role.title}"),
    rule('grant.kind == "admin"', "account.is_admin", "grant.since_days > 50", id="held", for_each="grant",
         title="{grant.title}"),
    rule("group.members > group.max_members", "group.enrolls || group.managers > 1", id="group-full",
         for_each="group", title="{group.title}"),
]  # fmt: skip
ALL = (*SHIPPED, *EXTRA)
_words = st.sampled_from(["user", "admin", "active", "suspended", "x"])
_OF_TYPE: dict[str, st.SearchStrategy[Any]] = {
    "bool": st.booleans(),
    "int": st.integers(0, 200),
    "string": _words,
    "timestamp": st.integers(0, 400).map(lambda days: NOW - timedelta(days=days)),
    "list(string)": st.lists(_words, max_size=2),
    "map(string, string)": st.dictionaries(st.sampled_from(["cf_department", "cf_team"]), _words),
}


@cache
def matches(*, gaps: bool) -> st.SearchStrategy[Match]:
    """A person with everything, of whom some may not be known; or none; or several."""

    def known(of: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.none() | of if gaps else of

    days, many = _OF_TYPE["timestamp"], st.lists(_words, max_size=2).map(tuple)
    needed = st.lists(_words.map(lambda w: Needed(w, frozenset({w}))), max_size=2).map(tuple)
    text = known(_words)
    found = st.builds(
        Person, _words, _words, text, text, text, text, text, text, known(days), known(days), known(days), known(many),
        many, known(days), known(many), known(needed), known(needed), st.booleans() if gaps else st.just(value=False),
    )  # fmt: skip
    people = st.builds(Match, found, known(_words), st.just(()), many)
    return people | st.builds(Match, st.none(), st.none(), many, st.just(())) if gaps else people


@cache
def records(kind: str, *, gaps: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Records of every field that a fact of this kind reads; with gaps, any of them may be None."""
    mine = [f for f in facts.readable(kind).values() if f.kind != "now"]
    kinds = {facts.optional(n)[0]: "timestamp" for f in mine for n in f.fields}
    kinds |= {f.fields[0]: f.type for f in mine if f.compute is None} | {"email": "string", "never_signed_in": "bool"}
    of_type = _OF_TYPE | {"person": matches(gaps=gaps)}
    kinds |= {"person": "person"} if "person" in kinds else {}
    fields = {n: st.none() | of_type[t] if gaps else of_type[t] for n, t in kinds.items()}
    return st.fixed_dictionaries(fields | {"id": st.just("it"), "grant_id": st.just("it"), "email": fields["email"]})


@cache
def rules_of(kind: str) -> tuple[Any, ...]:
    return active(ALL, kind)


def names_of(kind: str) -> list[str]:
    return sorted(facts.readable(kind))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_the_masks_agree_with_single_evaluation(data: st.DataObject) -> None:
    """Random records with random absent facts, under all shipped rules and some awkward ones."""
    kind = data.draw(st.sampled_from(facts.KINDS))
    blind = data.draw(st.frozensets(st.sampled_from(names_of(kind)), max_size=3))
    some = data.draw(st.lists(records(kind, gaps=True), min_size=1, max_size=5))
    for number, record in enumerate(some):
        record["id"] = record["grant_id"] = f"it-{number}"
    plan = Plan(kind, rules_of(kind), blind)
    quick = {(j.subject.id, j.rule): j.verdict for j in judge(plan, some, NOW, want_unknown=True)}
    slow = {(r["id"], c.rule.id): explain(c, r, NOW, plan).verdict for r in some for c in plan.rules}
    assert quick == {k: v for k, v in slow.items() if v is not N}
    assert plan.unknown == Counter(rule_id for (_, rule_id), v in slow.items() if v is U)


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_unknown_is_never_a_nothing(data: st.DataObject) -> None:
    """What is said without a fact is what would be said with it; where it might differ, the verdict is unknown, or a
    rule error when a clause that can be read fails: neither closes anything."""
    kind = data.draw(st.sampled_from(facts.KINDS))
    record = data.draw(records(kind, gaps=False))
    blind = data.draw(st.frozensets(st.sampled_from(names_of(kind))))
    whole, part = Plan(kind, rules_of(kind), frozenset()), Plan(kind, rules_of(kind), blind)
    ids = {record["id"]: {c.rule.id for c in whole.rules}}
    known = {j.rule: j.verdict for j in judge(whole, [record], NOW, ids)}
    for said in judge(part, [record], NOW, ids):
        assert said.verdict in (known[said.rule], U, Verdict.ERROR), (said, record)
