"""When time alone can change a verdict: the moments at which a rule may begin or cease to hold for a subject of which
nothing changed.

`account.idle_days > 30` can only flip when whole days since the last sign-in pass 30: such comparisons, wherever they
stand in a clause, have a *boundary*, a fact and a distance from it. A clause that asks for time in any other way makes
its rule *restless*: it is judged on every subject at every poll.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import NamedTuple

from monitor.decide.compiled import Compiled
from monitor.decide.expressions import TEXT, Clause
from monitor.decide.facts import DAY, FACTS, MOVES
from monitor.domain.company import Setting

OF_OTHERS = "person.accounts"  # moves with accounts other than the one that is judged


class Boundary(NamedTuple):
    fact: str  # whose fields hold the timestamp
    after: timedelta


def boundaries(compiled: Compiled) -> frozenset[Boundary] | None:
    """All moments at which a verdict of this rule may flip. None: it is restless."""
    if OF_OTHERS in decisive(compiled):
        return None
    found: set[Boundary] = set()
    for clause in _clauses(compiled):
        if clause.reads & MOVES.keys():
            mine = _of_clause(clause, compiled.rule.settings)
            if mine is None:
                return None
            found |= mine
    return frozenset(found)


def decisive(compiled: Compiled) -> frozenset[str]:
    """All facts that its verdicts depend on."""
    return frozenset().union(*(c.reads for c in _clauses(compiled)))


def _clauses(compiled: Compiled) -> Iterator[Clause]:
    """Those of the rule, and those that say whom an exemption lets be."""
    yield from compiled.clauses
    for leave in compiled.leave:
        yield from leave.clauses


# Outside of these nothing is recognised: a comparison must be a whole part of what `&&`, `||` and `?:` join.
_OPENS, _ENDS = r"(^|&&|\|\||\(|\?|:)\s*", r"\s*(?=$|&&|\|\||\)|\?|:)"
_OP, _FACT = r"\s*(?:[<>]=?|[=!]=)\s*", r"(?P<fact>[a-z]+\.\w+)"
_SPAN, _NUMBER = r"@(?P<span>\d+)", r"#(?P<number>-?\d+)"
_PASSED = rf"(?:now\s*-\s*{_FACT}|\(\s*now\s*-\s*{_FACT.replace('fact', 'inner')}\s*\))"
_LATER, _EARLIER = rf"{_FACT}\s*\+\s*{_SPAN}", rf"now\s*-\s*{_SPAN}"
_COMPARISONS = tuple(
    re.compile(_OPENS + two + _ENDS)
    for one, other in ((_FACT, _NUMBER), (_PASSED, _SPAN), (_FACT, "now"), (_LATER, "now"), (_FACT, _EARLIER))
    for two in (one + _OP + other, other + _OP + one)
)
_ODD = re.compile(r"'''|\"\"\"|\b[rRbB]{1,2}['\"]|//|[@#]")  # texts and comments that are not looked into
_LENGTH = re.compile(
    rf"""duration\(\s*["'](\d+)([smh])["']\s*\)|{TEXT.pattern}|\b(days|hours)\(\s*(\d{{1,6}}|settings\.\w+)\s*\)"""
)
_LITERAL = re.compile(r"(?<![\w.@#])(-?\d+|settings\.\w+)(?![\w.(])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "hours": 3600, "days": 86400}


def _of_clause(clause: Clause, settings: Mapping[str, Setting]) -> set[Boundary] | None:
    if _ODD.search(clause.text):
        return None
    found: set[Boundary] = set()
    text = _plain(clause.text, settings)
    for comparison in _COMPARISONS:
        text = comparison.sub(lambda m: _taken(m, found), text)
    for name in sorted(clause.reads & MOVES.keys()):
        if FACTS[name].type == "bool" and _mentions(text, name):
            found.add(Boundary(MOVES[name], timedelta()))
            text = re.sub(rf"(?<![\w.]){re.escape(name)}(?!\w)", "true", text)
    return None if any(_mentions(text, name) for name in MOVES) else found


def _plain(text: str, settings: Mapping[str, Setting]) -> str:
    """Texts emptied, durations as @seconds, whole numbers and settings that are some as #number."""

    def number(word: str) -> int | None:
        if not word.startswith("settings."):
            return int(word)
        known = settings.get(word.removeprefix("settings."))
        return known.value if known is not None and known.type == "int" else None

    def length(m: re.Match[str]) -> str:
        amount, unit = (m[1], m[2]) if m[1] else (m[4], m[3])
        seconds = number(amount) if amount else None
        return '""' if not amount else m[0] if seconds is None or seconds < 0 else f"@{seconds * _UNITS[unit]}"

    def literal(m: re.Match[str]) -> str:
        found = number(m[1])
        return m[0] if found is None else f"#{found}"

    return _LITERAL.sub(literal, _LENGTH.sub(length, text))


def _taken(m: re.Match[str], found: set[Boundary]) -> str:
    """A comparison as nothing but true, with its boundaries noted; as it stands if it is of another kind."""
    groups = m.groupdict()
    fact = groups.get("fact") or groups["inner"]
    mine = list(_boundaries_of(fact, groups.get("number"), groups.get("span")))
    found.update(mine)
    return f"{m[1]} true" if mine else m[0]


def _boundaries_of(name: str, number: str | None, span: str | None) -> Iterator[Boundary]:
    fact = FACTS.get(name)
    if fact is None:
        return
    if number is not None:  # the day on which it comes to be the number, and the one on which it passes it
        if fact.type == "int" and MOVES.get(name):
            yield Boundary(MOVES[name], int(number) * DAY)
            yield Boundary(MOVES[name], (int(number) + 1) * DAY)
    elif fact.type == "timestamp" and name not in MOVES:
        yield Boundary(name, timedelta(seconds=int(span or 0)))


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", text) is not None
