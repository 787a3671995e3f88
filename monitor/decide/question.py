"""What is left to ask of a subject when all that it shares with others is decided.

Rules that ask for the same few-valued facts are one question, whose answers are remembered. A *mask* asks it: one
expression over its rules that returns bits, compiled once per *set of absent facts*. Clauses that read an absent fact
are left out; what remains false is nothing, what remains true is unknown. Where a clause holds macros, or `&&`, `||` or
`?:` around an absent fact, the rule is looked at by itself, and so is a subject on which the mask errs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from operator import itemgetter
from typing import Any, NamedTuple

from monitor.decide import facts
from monitor.decide.compiled import Compiled
from monitor.decide.expressions import Clause, ClauseError, bits, mask, types_of
from monitor.domain.rule import Verdict

MOST_IN_A_MASK = 60
MOST_REMEMBERED = 50_000  # answers to one question; what comes later is asked for each

Said = tuple[Compiled, Verdict]


class Left(NamedTuple):
    """A rule that the shared facts leave open: the clauses to ask yet, and the verdict if they hold."""

    rule: Compiled
    clauses: Sequence[Clause]
    so_far: Verdict

    def said(self, data: Mapping[str, Any]) -> Said:
        return self.rule, together((self.so_far, *(held(c, data) for c in self.clauses)))


class Question:
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
