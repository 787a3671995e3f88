"""A rule with its clauses compiled, and what they read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from monitor.decide import exemptions
from monitor.decide.exemptions import Leave
from monitor.decide.expressions import Clause
from monitor.decide.facts import FACTS, Fact
from monitor.decide.form import PLACEHOLDER
from monitor.decide.settings import PREFIX
from monitor.domain.rule import SOURCE_OWNER, Rule, RuleStatus


@dataclass(frozen=True, eq=False)
class Compiled:
    rule: Rule
    clauses: tuple[Clause, ...]
    leave: tuple[Leave, ...] = ()

    @cached_property
    def reads(self) -> frozenset[str]:
        return frozenset().union(*(c.reads for c in self.clauses))

    @cached_property
    def shown(self) -> frozenset[str]:
        """Facts for evidence, title, clock, owner and exemptions, besides those that the clauses read."""
        clock = (self.rule.clock,) if self.rule.clock else ()
        owners = (n for n in self.rule.owner_from if n != SOURCE_OWNER)
        named = (*self.rule.evidence, *PLACEHOLDER.findall(self.rule.title), *clock, *owners)
        exempting = (n for leave in self.leave for clause in leave.clauses for n in clause.reads)
        return frozenset(n for n in (*named, *exempting) if not n.startswith(PREFIX))

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """All that it reads and shows."""
        return tuple(FACTS[n] for n in sorted(self.reads | self.shown))

    @cached_property
    def constants(self) -> dict[str, Any]:
        """The settings that it may show, by the names that clauses write."""
        return {f"{PREFIX}{name}": s.value for name, s in self.rule.settings.items()}


def compile_rule(rule: Rule) -> Compiled:
    clauses = tuple(Clause(text, rule.for_each, rule.settings, rule.hours) for text in rule.match)
    return Compiled(rule, clauses, exemptions.leave(rule))


_ONCE: dict[int, Compiled] = {}  # by identity of the rule, which the compiled one holds on to
MOST_ONCE = 1000


def compiled_once(rule: Rule) -> Compiled:
    """The same, remembered: compiling takes longer than judging an account, and a storm asks for each finding."""
    found = _ONCE.get(id(rule))
    if found is None or found.rule is not rule:
        if len(_ONCE) >= MOST_ONCE:
            _ONCE.clear()
        found = _ONCE[id(rule)] = compile_rule(rule)
    return found


def active(rules: Iterable[Rule], kind: str) -> tuple[Compiled, ...]:
    """Compiled rules of a kind that are in force (drafts are recorded, too; retired ones are not judged)."""
    return tuple(compile_rule(r) for r in rules if r.for_each == kind and r.status is not RuleStatus.RETIRED)
