"""The shipped rules' own tests are strong: a rule that is made a little wrong fails at least one of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from monitor.decide import facts, timeline
from monitor.decide.compiled import compile_rule
from monitor.decide.parse import parse_set
from monitor.domain.company import Setting
from monitor.domain.rule import Rule

RULES = Path(__file__).parents[2] / "rules"
TEXT_OR_NUMBER = re.compile(r"\"[^\"]*\"|\b\d+\b")
TEXT_OR_COMPARISON = re.compile(r"\"[^\"]*\"|<=|>=|==|!=|<|>")
NEAR = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
QUOTED = re.compile(r"\"[^\"]*\"")
WORDS = re.compile(r"\"[^\"]*\"|&&|\|\||!(?!=)|\b(?:days|hours|exists|all|startsWith|endsWith|contains)(?=\()")
OTHER = {
    "&&": "||", "||": "&&", "!": "", "days": "hours", "hours": "days", "exists": "all", "all": "exists",
    "startsWith": "endsWith", "endsWith": "startsWith", "contains": "startsWith",
}  # fmt: skip
DAY = timedelta(days=1)
CHOICE = re.compile(r"in \[(\"[^\"]*\"(?:, \"[^\"]*\")+)\]")
JOINTS = re.compile(r"\"[^\"]*\"|\(|\)|\|\||&&")


class Mutant(NamedTuple):
    what: str
    rule: Rule


def shipped() -> tuple[Rule, ...]:
    files = {str(p): p.read_text(encoding="utf-8") for p in RULES.rglob("*.toml")}
    return parse_set(files, today=date(2026, 6, 15))


def mutants(rule: Rule) -> Iterator[Mutant]:
    for i, clause in enumerate(rule.match):
        dropped = (*rule.match[:i], *rule.match[i + 1 :])
        yield Mutant(f"{rule.id}: without {clause}", replace(rule, match=dropped))
        for other in _others(clause):
            changed = (*rule.match[:i], other, *rule.match[i + 1 :])
            yield Mutant(f"{rule.id}: {other}  instead of  {clause}", replace(rule, match=changed))
    for name, setting in rule.defaults.items():
        for value in _moved(setting):
            moved = {**rule.defaults, name: Setting(setting.type, value)}
            yield Mutant(f"{rule.id}: {name} = {value}", replace(rule, defaults=moved))


def _moved(setting: Setting) -> list[Any]:
    """Other values of a setting: one less and one more, a day less and more, the opposite."""
    kind, value = setting
    if kind == "int":
        return [value - 1, value + 1]
    if kind == "duration":
        return [value - DAY, value + DAY]
    return [not value] if kind == "bool" else []


def _others(clause: str) -> Iterator[str]:
    yield f"!({clause})"
    for found in TEXT_OR_NUMBER.finditer(clause):
        if not found[0].startswith('"'):
            yield from (_spliced(clause, found, str(int(found[0]) + by)) for by in (-1, 1))
    for found in TEXT_OR_COMPARISON.finditer(clause):
        if found[0] in NEAR:
            yield _spliced(clause, found, NEAR[found[0]])
    for found in QUOTED.finditer(clause):
        yield _spliced(clause, found, f'"not-{found[0][1:]}')
    for found in WORDS.finditer(clause):
        if found[0] in OTHER:
            yield _spliced(clause, found, OTHER[found[0]])
    for found in CHOICE.finditer(clause):
        every = found[1].split(", ")
        yield from (_spliced(clause, found, f"in [{', '.join(e for e in every if e is not left)}]") for left in every)
    yield from _with_one_side(clause)


def _with_one_side(text: str) -> Iterator[str]:
    """What `&&` and `||` join, cut down to one of its sides, at any depth of brackets."""
    sides = list(_sides(text))
    if len(sides) > 1:
        yield from sides
    for side in sides:
        for lead in ("!(", "("):
            inner = side[len(lead) : -1]
            if side.startswith(lead) and side.endswith(")") and len(list(_sides(inner))) > 1 and _balanced(inner):
                yield from (text.replace(side, f"{lead}{cut})", 1) for cut in _with_one_side(inner))


def _sides(text: str) -> Iterator[str]:
    depth, start = 0, 0
    for found in JOINTS.finditer(text):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if found[0] in ("&&", "||") and depth == 0:
            yield text[start : found.start()].strip()
            start = found.end()
    yield text[start:].strip()


def _balanced(text: str) -> bool:
    """No bracket closes before it opens: the brackets around the text are one pair."""
    depth = 0
    for found in JOINTS.finditer(text):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if depth < 0:
            return False
    return depth == 0


def _spliced(text: str, found: re.Match[str], new: str) -> str:
    return text[: found.start()] + new + text[found.end() :]


def survives(mutant: Mutant) -> bool:
    return all(result.passed for result in timeline.run_tests(mutant.rule))


def every() -> list[Mutant]:
    """Each once: dropping one of two sides may come to the same as another change."""
    made = {(m.rule.id, m.rule.match, repr(m.rule.defaults)): m for rule in shipped() for m in mutants(rule)}
    return list(made.values())


def test_every_mutant_is_caught() -> None:
    """No clause can be dropped, negated, shifted by one (day) or said otherwise without a test that fails."""
    tried = every()
    assert len(tried) > 450  # or else the changes are not made any more
    assert [m.what for m in tried if survives(m)] == []


@pytest.mark.long
def test_the_score(capsys: pytest.CaptureFixture[str]) -> None:
    """The same, in numbers: of all wrong rules, how many are caught; and by which change the others came about."""
    tried = every()
    left = [m.what for m in tried if survives(m)]
    with capsys.disabled():
        print(f"\n{len(tried) - len(left)} of {len(tried)} wrong rules are caught: {1 - len(left) / len(tried):.0%}")  # noqa: T201  # what a long run is asked for
    assert left == []


# Another fact in place of one says the same there: who never signed in is idle since the account was made, and the
# domain of an address lies in the domains in which the address lies.
SAME = {("account.age_days", "account.idle_days"), ("account.email", "account.email_domain")}


def other_facts(rule: Rule) -> Iterator[Mutant]:
    """Each fact of a clause in turn changed for every other of its kind and type."""
    known = facts.readable(rule.for_each)
    for i, clause in enumerate(rule.match):
        for name in sorted(compile_rule(replace(rule, match=(clause,))).reads):
            mine = known[name]
            for other in known.values():
                if (other.kind, other.type) == (mine.kind, mine.type) and other is not mine:
                    new = re.sub(rf"\b{re.escape(name)}\b(?![\w.])", other.name, clause)
                    if new != clause and (name, other.name) not in SAME:
                        match = (*rule.match[:i], new, *rule.match[i + 1 :])
                        yield Mutant(f"{rule.id}: {new}  instead of  {clause}", replace(rule, match=match))


@pytest.mark.long
def test_no_other_fact_would_do() -> None:
    """A rule that asks about the wrong date, flag or list fails one of its tests."""
    tried = [m for rule in shipped() for m in other_facts(rule)]
    assert len(tried) > 800
    assert [m.what for m in tried if survives(m)] == []
