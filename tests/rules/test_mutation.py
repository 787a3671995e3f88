"""The shipped rules' own tests are strong: a rule that is made a little wrong fails at least one of them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pytest

from monitor.decide import timeline
from monitor.decide.parse import parse_set
from monitor.domain.company import Setting
from monitor.domain.rule import Rule

RULES = Path(__file__).parents[2] / "rules"
SEED, SLICE = 20260615, 20
TEXT_OR_NUMBER = re.compile(r"\"[^\"]*\"|\b\d+\b")
TEXT_OR_COMPARISON = re.compile(r"\"[^\"]*\"|<=|>=|==|!=|<|>")
NEAR = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
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
    for name, (kind, value) in rule.defaults.items():
        for by in (-1, 1) if kind == "int" else ():
            moved = {**rule.defaults, name: Setting(kind, value + by)}
            yield Mutant(f"{rule.id}: {name} = {value + by}", replace(rule, defaults=moved))


def _others(clause: str) -> Iterator[str]:
    yield f"!({clause})"
    for found in TEXT_OR_NUMBER.finditer(clause):
        if not found[0].startswith('"'):
            yield from (_spliced(clause, found, str(int(found[0]) + by)) for by in (-1, 1))
    for found in TEXT_OR_COMPARISON.finditer(clause):
        if found[0] in NEAR:
            yield _spliced(clause, found, NEAR[found[0]])
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


def score(chosen: list[Mutant]) -> list[str]:
    return [m.what for m in chosen if survives(m)]


def test_a_sample_of_mutants_is_caught() -> None:
    """A seeded sample of the wrong rules; all of them are tried when long checks are asked for."""
    every = [m for rule in shipped() for m in mutants(rule)]
    assert score(random.Random(SEED).sample(every, SLICE)) == []


@pytest.mark.long
def test_every_mutant_is_caught(capsys: pytest.CaptureFixture[str]) -> None:
    """No clause can be dropped, negated or shifted by one without a test of its rule that fails."""
    every = [m for rule in shipped() for m in mutants(rule)]
    left = score(every)
    caught = len(every) - len(left)
    with capsys.disabled():
        print(f"\n{caught} of {len(every)} wrong rules are caught")  # noqa: T201  # what a long run is asked for
    assert left == []
