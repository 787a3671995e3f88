"""Only what can have changed is judged again, and all that is said is what judging everything would say."""

from __future__ import annotations

import copy
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from monitor.cycle import CycleResult, run_cycle
from monitor.decide.judge import judge
from monitor.domain.company import Setting
from monitor.domain.observed import Account, Activity, Group, Role
from monitor.domain.reading import (
    AccountsGone,
    AccountsRead,
    Batch,
    Lane,
    MembersRead,
    Outcome,
    Recall,
    Scope,
    ScopeEnded,
)
from monitor.domain.rule import Closes, Exemption, Rule
from monitor.line.parts import RuleSet
from tests.integration.test_store_property import IDS, accounts, schools
from tests.peers.little import NAME, Bench, Breaks, MemorySource, School
from tests.peers.staff import Staff, person
from tests.peers.watch import START
from tests.unit.test_judge import rule


class Lanes(MemorySource):
    """The fast lane of the little school: whoever is suspended or may do more than others."""

    def read(self, recall: Recall) -> Iterator[Batch]:
        everybody = list(super()._accounts(recall))
        seen = [s for batch in everybody if isinstance(batch, AccountsRead) for s in batch.seen]
        yield AccountsRead([s for s in seen if s.account.level != "user" or s.account.status == "suspended"])
        yield AccountsGone([i for i in recall.missing(100)[0] if i not in self.school.accounts])
        yield ScopeEnded(Scope.FAST, Outcome.COMPLETE)


class Unhurried(MemorySource):
    """Reads members of groups when they are due, as real sources do."""

    def read(self, recall: Recall) -> Iterator[Batch]:
        for batch in super().read(recall):
            name = Scope.members(batch.group_id) if isinstance(batch, MembersRead) else getattr(batch, "name", "")
            if not name.startswith(Scope.MEMBERS) or recall.due(name):
                yield batch


def numbered(*rules: Rule) -> tuple[Rule, ...]:
    return tuple(replace(r, id=f"rule-{n}") for n, r in enumerate(rules))


LIMIT = {"limit": Setting("int", 9)}
EXEMPT = (Exemption("ann", "", "", (START + timedelta(days=3)).date()),)
BY_AGE = (Exemption("", "", "", (START + timedelta(days=9)).date(), ("account.idle_days > 3", "account.is_admin")),)
RULES = numbered(
    rule("account.is_admin", "account.idle_days > 5"),
    rule("account.nps_score > 6", "account.status == 'active'"),
    rule("now - account.privileged_since <= days(14)", "account.privileged", closes=Closes(after=timedelta(days=9))),
    rule("account.age_days > settings.limit", "account.level == 'user'", settings=LIMIT, exemptions=EXEMPT),
    rule("size(account.groups) > 0", "account.status != 'active'"),
    rule("account.level != account.role_access_level"),
    rule("'x' in account.tags", "size(account.past_groups) > 0"),
    rule("account.tags.exists(t, t == 'x')", "account.idle_days < 30"),
    rule("1 / size(account.managed_groups) > 0"),
    rule("in_business_hours(now)", "account.level == 'admin'"),
    rule("person.found", "!person.active", "account.status != 'suspended'"),
    rule("now - person.starts > days(20)", "size(account.groups) == 0"),
    rule("size(person.accounts) > 1"),
    rule("grant.kind == 'member'", "grant.since_days > 7", "account.is_admin", for_each="grant"),
    rule("grant.title.contains('e')", for_each="grant"),
    rule("size(person.accounts) == 0", "person.active", for_each="person"),
    rule("source.unknown_percent > 20", for_each="source"),
    rule("account.first_seen + days(10) < now", "!account.is_admin || account.nps_score > 3", exemptions=EXEMPT),
    rule("account.status == 'active'", exemptions=BY_AGE),
    rule("group.mostly_idle_days > 4", for_each="group"),
)
NAMES = st.sampled_from(IDS)
PERSONS = st.builds(
    lambda who, starts, ends, status: person(who, f"{who}@example.com", status=status, starts=starts, ends=ends),
    NAMES, st.sampled_from(["2026-01-01", "2026-03-08"]), st.sampled_from(["2026-03-04", "2026-04-02", ""]),
    st.sampled_from(["active", "suspended", None]),
)  # fmt: skip
ACTIVITIES = st.builds(
    lambda days, never, nps: Activity(None if never else START + timedelta(days=days), never, nps),
    st.integers(-9, 9), st.booleans(), st.sampled_from([None, 3, 9]),
)  # fmt: skip
DEEDS = st.one_of(
    st.tuples(st.just("account"), NAMES.flatmap(accounts)),
    st.tuples(st.just("login"), st.tuples(NAMES, ACTIVITIES)),
    st.tuples(st.just("leaves"), NAMES),
    st.tuples(st.just("joins"), NAMES),
    st.tuples(st.just("group"), st.sampled_from(["g1", "g2"])),
    st.tuples(st.just("role"), st.sampled_from(["user", "admin"])),
    st.tuples(st.just("hires"), PERSONS),
    st.tuples(st.just("rules"), st.sampled_from([RULES, RULES[1:], RULES[:6], RULES[::2]])),
)
WAITS = st.sampled_from([timedelta(), timedelta(hours=1), timedelta(hours=13), timedelta(days=1), timedelta(days=6)])


@dataclass(frozen=True)
class Step:
    deeds: tuple[tuple[str, Any], ...] = ()
    wait: timedelta = timedelta()
    lane: Lane = Lane.FULL
    broken: tuple[str, ...] = ()
    hears: bool = True  # whether HR is polled before


STEPS = st.builds(
    Step, st.lists(DEEDS, max_size=2).map(tuple), WAITS,
    st.sampled_from([Lane.FULL, Lane.FULL, Lane.FULL, Lane.FAST]),
    st.sampled_from([(), (), (), (), (Scope.USERS,), (Scope.GROUPS,), (Scope.members("g1"),), (Scope.ROLES,)]),
    st.sampled_from([True, True, True, False]),
)  # fmt: skip


class Both:
    """Two monitors of one school: one remembers what it judged, the other judges everything at every poll."""

    def __init__(self, folder: Path, school: School) -> None:
        self.school, self.benches = school, []
        for name in ("remembers", "judges-all"):
            (folder / name).mkdir()
            bench = Staff(folder / name, RULES)
            bench.source, watched = Unhurried(school), bench.parts.watched
            lanes = replace(watched[NAME], source=bench.source, fast=Lanes(school), fast_every=60.0,
                            slow={"members": 6 * 3600.0})  # fmt: skip
            bench.parts = replace(bench.parts, watched={**watched, NAME: lanes})
            self.benches.append(bench)

    def step(self, step: Step) -> None:
        for name, what in step.deeds:
            getattr(self, f"_{name}")(what)
        got = [self._poll(bench, step) for bench in self.benches]
        assert got[0] == got[1], step
        assert self._findings(0) == self._findings(1), step

    def _poll(self, bench: Staff, step: Step) -> Any:
        bench.clock.ahead(seconds=step.wait.total_seconds())
        if step.hears:
            bench.poll_hr()
        if bench is self.benches[1]:
            with bench.engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM judged")
        if step.lane is Lane.FAST:
            if not bench.rows(
                "SELECT 1 FROM snapshots s JOIN sources o ON o.id = s.source_id WHERE name = ? AND baseline", NAME
            ):
                return None
            result = run_cycle(bench.parts, NAME, lane=Lane.FAST)
            bench.clock.ahead(minutes=3)
        else:
            result = bench.poll(*step.broken, hidden={"ann", "g1"})
        return told(result)

    def _findings(self, which: int) -> Any:
        return self.benches[which].rows(
            """SELECT rule, subject_kind, subject_id, status, verdict, opened_at, resolved_at, resolution, title,
                      evidence, due_at, exempt_until FROM findings ORDER BY 1, 2, 3, 6"""
        )

    def _account(self, account: Account) -> None:
        self.school.accounts[account.id] = account
        self.school.activity.setdefault(account.id, Activity(START, False))

    def _login(self, what: tuple[str, Activity]) -> None:
        self.school.activity[what[0]] = what[1]

    def _leaves(self, who: str) -> None:
        self.school.accounts.pop(who, None)
        for ids in self.school.members.values():
            ids.discard(who)
        self.school.managers = {(a, g) for a, g in self.school.managers if a != who}
        self.school.assigned = {(a, w) for a, w in self.school.assigned if a != who}

    def _joins(self, who: str) -> None:
        """Or leaves, if it is a member."""
        if who in self.school.accounts and self.school.groups:
            self.school.members.setdefault(min(self.school.groups), set()).symmetric_difference_update({who})

    def _group(self, group: str) -> None:
        """Comes, or goes with all its members."""
        if self.school.groups.pop(group, None) is None:
            self.school.groups[group] = Group(group, group)
        self.school.members.pop(group, None)
        self.school.managers = {(a, g) for a, g in self.school.managers if g != group}

    def _role(self, level: str) -> None:
        self.school.roles["user"] = Role("user", "user", None, level)

    def _hires(self, who: Account) -> None:
        for bench in self.benches:
            bench.hires(who)

    def _rules(self, rules: tuple[Rule, ...]) -> None:
        for bench in self.benches:
            bench.parts = replace(bench.parts, rules=RuleSet(rules, str(len(rules))))

    def close(self) -> None:
        for bench in self.benches:
            bench.close()


def told(result: CycleResult) -> Any:
    events = sorted((e.kind.value, e.finding.rule, e.finding.subject, e.finding.verdict, e.detail or "")
                    for e in result.events)  # fmt: skip
    return events, dict(result.unknown), Counter((e.rule, e.subject, e.why) for e in result.rule_errors)


def compare(school: School, steps: list[Step]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        both = Both(Path(folder), copy.deepcopy(school))
        try:
            for step in (Step(), *steps):
                both.step(step)
        finally:
            both.close()


@given(schools(), st.lists(STEPS, min_size=2, max_size=6))
@settings(max_examples=8, phases=[Phase.generate], derandomize=True, database=None)  # to shrink takes minutes
def test_judging_what_can_have_changed_says_what_judging_everything_says(school: School, steps: list[Step]) -> None:
    """Findings, unknown verdicts, errors and what is told, over polls whole and broken, fast lanes and days that pass,
    with accounts, persons, roles and rules that change."""
    compare(school, steps)


@pytest.mark.long
@pytest.mark.parametrize("part", range(6))
@given(schools(), st.lists(STEPS, min_size=2, max_size=12))
@settings(max_examples=100)
def test_it_says_so_over_many_more_timelines(part: int, school: School, steps: list[Step]) -> None:
    """The same, for as long as nobody waits: 600 timelines, in parts that can be tried side by side."""
    compare(school, steps)


def judged(monkeypatch: pytest.MonkeyPatch, bench: Bench, **how: Any) -> list[str]:
    """Ids of the accounts that a poll judges."""
    asked: list[str] = []

    def spy(plan: Any, subjects: Any, *more: Any, **options: Any) -> Any:
        def seen() -> Iterator[Any]:
            for record in subjects:
                asked.append(record["id"])
                yield record

        return judge(plan, seen(), *more, **options)

    with monkeypatch.context() as patched:
        patched.setattr("monitor.line.judging.judge", spy)
        bench.poll(**how)
    return asked


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    rules = numbered(rule("account.is_admin", "account.idle_days > 9"), rule("account.nps_score > 6"))
    made.parts = replace(made.parts, rules=RuleSet(rules, "some"))
    for n, who in enumerate(IDS):
        made.school.accounts[who] = Account(who, f"{who}@example.com", is_admin=True)
        made.school.activity[who] = Activity(START - timedelta(days=n), False, n)
    yield made
    made.close()


def test_an_unchanged_poll_judges_nobody_and_keeps_the_count_of_the_unknown(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then a sign-in, a day that comes, and another rule, each of which is about somebody."""
    bench.school.activity["dan"] = Activity(START - timedelta(days=3), False, None)
    assert judged(monkeypatch, bench) == list(IDS)
    before = bench.counts()
    assert judged(monkeypatch, bench) == []
    grown = {t: n - before[t] for t, n in bench.counts().items() if n != before[t]}
    assert grown == {"snapshots": 1, "ledger": 1}
    assert bench.rows("SELECT account_id, rules, again FROM undecided") == [("dan", '{"rule-1":1}', 0)]
    bench.school.activity["bob"] = Activity(START, False, 1)
    assert judged(monkeypatch, bench) == ["bob"]
    bench.clock.ahead(days=7)
    assert judged(monkeypatch, bench) == ["cid", "dan"], "the ninth day has come for one, the tenth for the other"
    assert [f[0] for f in bench.rows("SELECT subject_id FROM findings")] == ["dan"]
    assert bench.poll().unknown == {"rule-1": 1}
    bench.parts = replace(bench.parts, rules=RuleSet(numbered(rule("account.is_admin")), "other"))
    assert judged(monkeypatch, bench) == list(IDS)


def test_a_poll_that_missed_accounts_makes_the_next_one_judge_all(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it did not show was not judged."""
    bench.poll()
    bench.source.breaks = Breaks({Scope.USERS}, {"ann"})
    run_cycle(bench.parts, NAME)
    bench.source.breaks = Breaks()
    assert judged(monkeypatch, bench) == list(IDS)
