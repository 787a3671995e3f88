"""Judging in bulk: subjects that are alike are decided together.

Most accounts of a school share their flags, level and status and hold nothing special. Facts with few values are
*shared*: subjects with the same shared facts are alike, and a clause that reads nothing else is decided once for all
of them. What is left to ask of each, mostly ages, is one expression over the rules still open that returns a bit
mask, compiled once per *set of absent facts*: clauses that read an absent fact are left out; what remains false is
nothing, what remains true is unknown. Where a clause holds macros, or `&&`, `||` or `?:` around an absent fact, the
rule is looked at by itself, and so is a subject on which the mask errs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from operator import itemgetter
from typing import Any, NamedTuple

from monitor.decide import facts
from monitor.decide.compiled import Compiled
from monitor.decide.expressions import Clause, ClauseError, bits, mask, types_of
from monitor.domain.rule import Verdict

MOST_IN_A_MASK = 60
MOST_ALIKE = 10_000  # sets of shared facts; far more than a school has, and they start anew beyond
SOME = object()  # a list or map that is not empty: no part of what is shared
EMPTY: tuple[()] = ()
MOST_REMEMBERED = 50_000  # answers of one group of rules; what comes later is asked for each

Said = tuple[Compiled, Verdict]


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


class Left(NamedTuple):
    """A rule that the shared facts leave open: the clauses to ask yet, and the verdict if they hold."""

    rule: Compiled
    clauses: Sequence[Clause]
    so_far: Verdict

    def said(self, data: Mapping[str, Any]) -> Said:
        return self.rule, together((self.so_far, *(held(c, data) for c in self.clauses)))


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
        self._groups = [Group(some, asked, data, known, plan.kind) for some in _by_facts(left, known)]

    def said(self, record: dict[str, Any], now: datetime) -> list[Said]:
        """Every rule that holds for the record, is unknown, or errs."""
        if not self._groups:
            return self.decided
        values = [record[field] if read is None else read(record, now) for _, field, read in self._readings]
        said = self.decided
        for group in self._groups:
            if more := group.said(values):
                said = said + more
        return said


def _by_facts(left: Sequence[Left], known: Set[str]) -> list[list[Left]]:
    """Rules that ask for the same few-valued facts belong together, and all the others; as many as one mask holds."""
    found: dict[frozenset[str] | None, list[Left]] = {}
    for some in left:
        asked = frozenset().union(*(c.reads for c in some.clauses)) - known
        found.setdefault(asked if all(facts.FACTS[n].narrow for n in asked) else None, []).append(some)
    return [some[i : i + MOST_IN_A_MASK] for some in found.values() for i in range(0, len(some), MOST_IN_A_MASK)]


class Group:
    """Rules that are asked together: what they say is remembered, if what they ask for has few values."""

    def __init__(
        self, left: list[Left], asked: Sequence[str], data: Mapping[str, Any], known: Set[str], kind: str
    ) -> None:
        reads = frozenset().union(*(c.reads for some in left for c in some.clauses))
        self._left, self._kind, self._reads = left, kind, reads
        self._names = [n for n in asked if n in reads]
        self._places = [asked.index(n) for n in self._names]
        self._lists = [i for i in self._places if facts.FACTS[asked[i]].many]
        self._pick = itemgetter(*self._places)
        self._remembers = all(facts.FACTS[n].narrow for n in self._names)
        self._data = {n: v for n, v in data.items() if n in reads}
        for some in left:
            for clause in some.clauses:
                self._data |= clause.constants
        self._said: dict[Any, list[Said]] = {}
        self._masks: dict[tuple[bool, ...], Mask] = {}

    def said(self, values: list[Any]) -> list[Said]:
        """`values` of the facts asked for; None where absent."""
        if not self._remembers:
            return self._asked(values)
        key = self._pick(self._hashable(values) if self._lists else values)
        said = self._said.get(key)
        if said is None:
            said = self._asked(values)
            if len(self._said) < MOST_REMEMBERED:
                self._said[key] = said
        return said

    def _hashable(self, values: list[Any]) -> list[Any]:
        found = values.copy()
        for i in self._lists:
            found[i] = None if values[i] is None else tuple(values[i])
        return found

    def _asked(self, values: list[Any]) -> list[Said]:
        mine = [values[i] for i in self._places]
        data = self._data | {n: v for n, v in zip(self._names, mine, strict=True) if v is not None}
        absent = tuple([v is None for v in mine])
        if absent not in self._masks:
            self._masks[absent] = Mask(self._left, self._reads - data.keys(), self._kind)
        return self._masks[absent].said(data)


class Mask:
    """One expression over some rules, for one set of absent facts."""

    def __init__(self, some: Sequence[Left], gone: frozenset[str], kind: str) -> None:
        parts: list[tuple[int, list[str]]] = []
        self._by_bit: dict[int, tuple[Left, Verdict | None]] = {}  # None: worth a closer look where the others hold
        self._always, self._singly = list[Said](), list[Left]()
        for bit, left in enumerate(some):
            joined = [c.text for c in left.clauses if not c.single and not c.reads & gone]
            # macros count items, and a shortcut may settle a clause although a fact that it reads is absent
            look = any(c.single or (c.shortcut and c.reads & gone) for c in left.clauses)
            whole = left.so_far if len(joined) == len(left.clauses) else together((left.so_far, Verdict.UNKNOWN))
            if joined:
                parts.append((bit, joined))
                self._by_bit[bit] = left, None if look else whole
            elif look:
                self._singly.append(left)
            else:
                self._always.append((left.rule, whole))
        settings = {name: s for left in some for name, s in left.rule.rule.settings.items()}
        self._expression = mask(parts, kind, types_of(settings), some[0].rule.rule.hours) if parts else None

    def said(self, data: Mapping[str, Any]) -> list[Said]:
        said, close = list(self._always), list(self._singly)
        found = 0 if self._expression is None else bits(self._expression, data)
        if found is None:
            close += [left for left, _ in self._by_bit.values()]
        elif found:
            for bit, (left, verdict) in self._by_bit.items():
                if found >> bit & 1:
                    if verdict is None:
                        close.append(left)
                    else:
                        said.append((left.rule, verdict))
        return said + [s for s in (left.said(data) for left in close) if s[1] is not Verdict.NOTHING]


def _whole(name: str, value: Any) -> Any:
    """The value of a shared fact, of which an empty list or map is kept as EMPTY."""
    return value if value is not EMPTY else {} if facts.FACTS[name].type.startswith("map") else []


def held(clause: Clause, data: Mapping[str, Any]) -> Verdict:
    """What one clause says by itself."""
    try:
        found = clause.holds(data)
    except ClauseError:
        return Verdict.ERROR
    return Verdict.UNKNOWN if found is None else Verdict.FINDING if found else Verdict.NOTHING


_WEIGHT = {Verdict.FINDING: 0, Verdict.UNKNOWN: 1, Verdict.ERROR: 2, Verdict.NOTHING: 3}


def together(said: Iterable[Verdict]) -> Verdict:
    """Of clauses that must all hold: one that does not settles it, whatever nobody knows of the others."""
    return max(said, key=_WEIGHT.__getitem__, default=Verdict.FINDING)
