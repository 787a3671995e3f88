"""A school with an HR beside it: the little school of little.py, and an authority that is polled like it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from monitor.cycle import CycleResult, run_cycle
from monitor.decide.match import Matching
from monitor.domain.observed import Account
from monitor.domain.reading import Outcome
from monitor.domain.rule import Rule
from monitor.line.parts import RuleSet, Watched
from tests.peers.little import NAME, Bench, Breaks, MemorySource, School

HR = "hr"


def person(key: str, email: str | None = None, name: str | None = None, status: str | None = "active",
           **fields: str) -> Account:  # fmt: skip
    """A record of HR: `person("1", "ann@example.test", department="Sales")`."""
    return Account(key, email, name=name or key, status=status, fields=tuple(sorted(fields.items())))


class Staff(Bench):
    """`bench.hires(person(...)); bench.poll_hr(); bench.poll()`."""

    def __init__(self, folder: Path, rules: tuple[Rule, ...] = (), **matching: Any) -> None:
        """`matching`: keys, aliases, expectations."""
        super().__init__(folder)
        self.hr = School()
        self.hr_source = MemorySource(self.hr, HR)
        watched = {
            HR: Watched(self.hr_source, "memory", 900.0, "reader", authority=True),
            NAME: self.parts.watched[NAME],
        }
        self.parts = replace(self.parts, watched=watched, rules=RuleSet(rules, "some"))
        self.matching(**matching)

    def matching(self, **how: Any) -> None:
        found = Matching(((HR, timedelta(days=1)),), **how)
        watched = self.parts.watched
        self.parts = replace(self.parts, watched={**watched, NAME: replace(watched[NAME], matching=found)})

    def hires(self, *people: Account) -> None:
        """These, as HR has them from now on."""
        self.hr.accounts |= {p.id: p for p in people}

    def poll_hr(self, *broken: str, hidden: set[str] | None = None, outcome: Outcome = Outcome.PARTIAL) -> CycleResult:
        self.hr_source.breaks = Breaks(set(broken), hidden or set(), outcome)
        result = run_cycle(self.parts, HR)
        self.clock.ahead(minutes=1)
        return result
