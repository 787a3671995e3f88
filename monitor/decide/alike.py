"""Judging in bulk: subjects that are alike are decided together.

Most accounts of a school share their flags, level and status and hold nothing special. Facts with few values are
*shared*: subjects with the same shared facts are alike, and a clause that reads nothing else is decided once for all
of them. What is left is asked of each: see question.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from monitor.decide import facts
from monitor.decide.compiled import Compiled
from monitor.decide.question import MOST_IN_A_MASK, Left, Question, Said, held, together
from monitor.domain.rule import Verdict

MOST_ALIKE = 10_000  # sets of shared facts; far more than a school has, and they start anew beyond
SOME = object()  # a list or map that is not empty: no part of what is shared
EMPTY: tuple[()] = ()


class Reading(NamedTuple):
    """How a fact is read off a record: the field that it is, or what computes it."""

    name: str
    field: str
    compute: Callable[[dict[str, Any], datetime], Any] | None

    @staticmethod
    def of(name: str) -> Reading:
        fact = facts.FACTS[name]
        return Reading(name, fact.fields[0], facts.reader(fact) if fact.compute or fact is facts.NOW else None)


@dataclass
class Plan:
    """How to judge all subjects of one kind: which fields of their records are needed, and who was alike so far."""

    kind: str
    rules: tuple[Compiled, ...]
    blind: frozenset[str]  # facts of scopes that were not read whole: absent for everybody
    day_zone: tzinfo = UTC
    unknown: Counter[str] = field(default_factory=Counter)
    _alike: dict[tuple[Any, ...], Alike] = field(default_factory=dict)

    def __post_init__(self) -> None:
        read = frozenset().union(*(r.reads for r in self.rules)) - self.blind
        shared = [Reading.of(n) for n in sorted(read) if facts.FACTS[n].shared]
        self._many, single = _divided(shared, lambda r: facts.FACTS[r.name].many)
        self._words, self._computed = _divided(single, lambda r: r.compute is None)
        self._names = [r.name for r in (*self._words, *self._many, *self._computed)]

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the records that anything here reads."""
        every = frozenset().union(*(r.reads | r.shown for r in self.rules))
        found = {facts.optional(f)[0] for n in every for f in facts.FACTS[n].fields if n != "now"}
        return tuple(sorted(found | {"id"}))

    def alike(self, record: dict[str, Any], now: datetime) -> Alike:
        """What is decided by the shared facts of a record, and what is left to ask of it."""
        key = tuple(
            [record[field] for _, field, _ in self._words]
            + [
                None if (v := record[field] if read is None else read(record, now)) is None else SOME if v else EMPTY
                for _, field, read in self._many
            ]
            + [read(record, now) for _, _, read in self._computed if read]
        )
        found = self._alike.get(key)
        if found is None:
            if len(self._alike) >= MOST_ALIKE:
                self._alike.clear()
            found = self._alike[key] = Alike(self, dict(zip(self._names, key, strict=True)))
        return found


def _divided(readings: Iterable[Reading], first: Callable[[Reading], bool]) -> tuple[list[Reading], list[Reading]]:
    found = list(readings)
    return [r for r in found if first(r)], [r for r in found if not first(r)]


class Alike:
    """Subjects with the same shared facts: what these decide, and how to ask for the rest."""

    def __init__(self, plan: Plan, shared: Mapping[str, Any]) -> None:
        data = {n: _whole(n, v) for n, v in shared.items() if v is not None and v is not SOME}
        known = {n for n, v in shared.items() if v is not SOME} | plan.blind
        self.decided, left = list[Said](), list[Left]()
        for rule in plan.rules:
            open_ = [c for c in rule.clauses if not c.reads <= known]
            verdict = together(held(c, data) for c in rule.clauses if c.reads <= known)
            if verdict is not Verdict.NOTHING:
                if open_:
                    left.append(Left(rule, open_, verdict))
                else:
                    self.decided.append((rule, verdict))
        asked = sorted(frozenset().union(*(c.reads for some in left for c in some.clauses)) - known)
        self._readings = [Reading.of(n) for n in asked]
        self._questions = [Question(some, asked, data, known, plan.kind) for some in _by_facts(left, known)]

    def said(self, record: dict[str, Any], now: datetime) -> list[Said]:
        """Every rule that holds for the record, is unknown, or errs."""
        if not self._questions:
            return self.decided
        values = [record[field] if read is None else read(record, now) for _, field, read in self._readings]
        said = self.decided
        for question in self._questions:
            if more := question.said(values):
                said = said + more
        return said


def _by_facts(left: Sequence[Left], known: Set[str]) -> list[list[Left]]:
    """Rules that ask for the same few-valued facts belong together, and all the others; as many as one mask holds."""
    found: dict[frozenset[str] | None, list[Left]] = {}
    for some in left:
        asked = frozenset().union(*(c.reads for c in some.clauses)) - known
        found.setdefault(asked if all(facts.FACTS[n].narrow for n in asked) else None, []).append(some)
    return [some[i : i + MOST_IN_A_MASK] for some in found.values() for i in range(0, len(some), MOST_IN_A_MASK)]


def _whole(name: str, value: Any) -> Any:
    """The value of a shared fact, of which an empty list or map is kept as EMPTY."""
    return value if value is not EMPTY else {} if facts.FACTS[name].type.startswith("map") else []
