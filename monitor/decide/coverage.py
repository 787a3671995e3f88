"""Whether the tests of a rule say enough: a rule that nobody saw hold, not hold and not know may do anything."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.decide import facts, factsheet
from monitor.decide.compiled import compile_rule
from monitor.domain.rule import Rule, RuleStatus, Verdict

# Absent only before the first whole snapshot, and every test begins with one; or with the whole list of roles or
# groups, and then there is nothing to judge.
NEVER_ABSENT_IN_TESTS = {
    "account.new", "group.first_seen", "group.id", "seat.id", "seat.first_seen", "role.changed", "role.first_seen",
    "role.id", "role.past_access_levels", "role.description_changed",
}  # fmt: skip


def can_be_absent(rule: Rule) -> list[str]:
    """Facts that the clauses read and that a source may leave out."""
    reads = compile_rule(rule).reads - NEVER_ABSENT_IN_TESTS
    return sorted(n for n in reads if factsheet.when_absent(facts.FACTS[n]) != "never")


def missing(rule: Rule) -> Iterator[str]:
    """What the tests of a rule lack, each with file and what to add. A retired rule need not prove anything."""
    if rule.status is RuleStatus.RETIRED:
        return
    expected, where = {test.expect for test in rule.tests}, f"{rule.file}:1: tests: no test expects"
    if Verdict.FINDING not in expected:
        yield f'{where} a finding; add one in which every clause holds, with expect = "finding"'
    if Verdict.NOTHING not in expected:
        yield f'{where} nothing; add one in which a clause does not hold, with expect = "nothing"'
    absent = can_be_absent(rule)
    if absent and Verdict.UNKNOWN not in expected:
        field = facts.optional(facts.FACTS[absent[0]].fields[0])[0]
        yield (f"{where} unknown, and {absent[0]} can be absent; add one with "
               f'absent = ["{field}"] and expect = "unknown"')  # fmt: skip
