"""The rules that come with the program: each reads well, and each proves what it says."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from monitor.cli.app import app, register
from monitor.decide import coverage, facts, timeline
from monitor.decide.compiled import compile_rule
from monitor.decide.parse import parse_set
from monitor.domain.rule import Rule, RuleStatus, Verdict

ROOT = Path(__file__).parents[2] / "rules"
RULES = parse_set({p.name: p.read_text(encoding="utf-8") for p in ROOT.rglob("*.toml")}, today=date(2026, 6, 15))
SHIPPED = {
    "account-recreated", "admin-flag-and-role-disagree", "admin-kept-after-role-change", "dormant-account",
    "dormant-privileged-account", "group-without-manager", "new-privileged-account", "privileged-never-signed-in",
    "role-and-level-disagree", "suspended-still-group-manager", "suspended-still-in-groups",
    "suspended-still-privileged", "too-many-admins",
    "clock-skew", "receiver-failing", "rules-not-loading",
    "source-blind", "source-forbidden", "source-needs-reauth", "too-many-unknown",
    "custom-role-changed", "privileged-outside-change-hours", "reactivated-after-suspension", "anonymised-still-holds",
    "suspended-still-seat-manager", "suspended-still-in-seats", "service-account-unreviewed",
    "seats-over-purchased", "seat-offering-over-maximum",
    "group-over-maximum", "account-not-started", "churn-risk", "detractor",
    "group-without-customer", "group-over-seats", "manager-outside-customer", "member-of-two-customers",
    "email-differs", "name-differs", "self-made-admin", "new-hire-not-in-cohort",
    "leaver-still-active", "leaver-still-privileged", "orphan-account", "ambiguous-match", "level-above-allowed",
    "mover-kept-access", "person-without-account", "required-group-missing",
}  # fmt: skip

register()
each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)


def test_all_are_here() -> None:
    """A rule that gets lost in packaging or by a bad merge is noticed."""
    assert {rule.id for rule in RULES} == SHIPPED


@each_rule
def test_its_tests_pass(rule: Rule) -> None:
    """Every test inside the file comes out as it says."""
    assert [(r.test, r.message) for r in timeline.run_tests(rule) if not r.passed] == []


@each_rule
def test_it_has_a_finding_and_a_nothing_for_every_clause(rule: Rule) -> None:
    """For each clause there is a test in which only that clause stands against a finding."""
    alone = set()
    for test in rule.tests:
        compiled = compile_rule(timeline.as_tested(rule, test))
        record, now = timeline.play(rule.for_each, test.polls)
        assert record is not None
        values = {n: facts.value(facts.FACTS[n], record, now) for n in compiled.reads}
        data = {n: v for n, v in values.items() if v is not None}
        failed = [c.text for c in compiled.clauses if c.holds(data) is False]
        if test.expect is Verdict.NOTHING and len(failed) == 1:
            alone.add(failed[0])
    assert Verdict.FINDING in {test.expect for test in rule.tests}
    assert [clause for clause in rule.match if clause not in alone] == []


@each_rule
def test_every_fact_that_can_be_absent_has_an_unknown(rule: Rule) -> None:
    """For each fact that a clause reads and a source may leave out, a test leaves it out and expects unknown."""
    can_be_absent = set(coverage.can_be_absent(rule))
    left_out = set()
    for test in rule.tests:
        if test.expect is Verdict.UNKNOWN:
            record, now = timeline.play(rule.for_each, test.polls)
            assert record is not None
            left_out |= {n for n in can_be_absent if facts.value(facts.FACTS[n], record, now) is None}
    assert can_be_absent - left_out == set()


@each_rule
def test_its_tests_say_enough(rule: Rule) -> None:
    """What `rules check` asks of everybody's rules holds of ours."""
    assert list(coverage.missing(rule)) == []


@each_rule
def test_it_reads_well(rule: Rule) -> None:
    """Somebody who gets the alert at night learns what is wrong, why it matters, and what to do."""
    assert rule.status is RuleStatus.ACTIVE
    assert len(rule.title) <= 120
    assert 2 <= len(re.findall(r"\.(?:\s|$)", rule.description)) <= 6
    steps = [int(n) for n in re.findall(r"^(\d)\. ", rule.runbook, re.MULTILINE)]
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= 2
    about_us = rule.id in ("clock-skew", "receiver-failing", "rules-not-loading")  # and not about any source
    assert "LearnWorlds" in rule.runbook or about_us
    assert rule.owner == "it-security@example.com"
    assert rule.fix_within is not None
    assert {"soc2", "iso27001"} <= set(rule.controls) or "signal" in rule.tags  # of which no framework speaks


@each_rule
def test_its_runbook_names_commands_that_there_are(rule: Rule) -> None:
    """Whoever follows it at night must not learn from the program that it has no such command."""
    for said in re.findall(r"`access-monitor ([^`]+)`", rule.runbook):
        words = [w for w in said.split() if re.fullmatch(r"[a-z][a-z-]*", w)]
        command: Any = get_command(app)
        while words and hasattr(command, "commands"):
            assert words[0] in command.commands, f"access-monitor {said}"
            command = command.commands[words.pop(0)]
        options = {option for p in command.params for option in p.opts}
        assert {w for w in said.split() if w.startswith("--")} <= options, f"access-monitor {said}"


@each_rule
def test_its_titles_show_values(rule: Rule) -> None:
    """In every test that ends in a finding, the title has a value for each fact that it names."""
    titles = [r.judgement.title for r in timeline.run_tests(rule) if r.judgement and r.judgement.verdict == "finding"]
    assert titles
    assert not [title for title in titles if "?" in title or "{" in title]


@each_rule
def test_evidence_says_more_than_the_clauses(rule: Rule) -> None:
    """Facts that a clause reads are in the evidence anyhow; naming them again only repeats them."""
    assert set(rule.evidence) & compile_rule(rule).reads == set()


def test_they_are_judged_in_bulk() -> None:
    """None of them uses a macro, which would cost a call an account; but for one that asks the config first."""
    assert [rule.id for rule in RULES if any(c.single for c in compile_rule(rule).clauses)] == [
        "member-of-two-customers"
    ]
