"""Clauses in CEL: compiled with the declared facts as typed variables. The only module that knows the CEL library.

What was tried of the library, and where it bites, stands in docs/decisions/0003-cel.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from functools import cache
from typing import Any

from cel_expr_python import cel
from cel_expr_python.ext import ext_strings

from monitor.decide.facts import readable
from monitor.decide.hints import in_words

MAX_LENGTH = 1000  # characters of one clause: far above any clause that a person can read
_T = cel.Type
_TYPES = {
    "bool": _T.BOOL,
    "int": _T.INT,
    "string": _T.STRING,
    "timestamp": _T.TIMESTAMP,
    "list(string)": _T.List(_T.STRING),
    "map(string, string)": _T.Map(_T.STRING, _T.STRING),
}
_TEXT = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
_DAYS = re.compile(_TEXT.pattern + r"|\bdays\(\s*(\d{1,6})\s*\)")
_MACRO = re.compile(r"\.(?:all|exists|exists_one|map|filter)\s*\(")
_SHORTCUT = re.compile(r"\|\||&&|\?")


class ClauseError(Exception):
    """A clause that cannot be used: line and column (1-based) inside it, and what is wrong."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line, self.column = line, column


@cache
def language(kind: str) -> cel.Env:
    """CEL with the facts that a rule about this kind may read, and days(n)."""
    days = cel.FunctionDecl(
        "days", [cel.Overload("days_int", _T.DURATION, [_T.INT], False, lambda n: timedelta(days=n))]
    )
    variables = {name: _TYPES[fact.type] for name, fact in readable(kind).items()}
    return cel.NewEnv(variables=variables, functions=[days], extensions=[ext_strings.ExtStrings()])


class Clause:
    """One compiled line of `match`, and which facts it reads."""

    __slots__ = ("_expression", "kind", "reads", "shortcut", "single", "text")

    def __init__(self, text: str, kind: str) -> None:
        self.text, self.kind = text, kind
        self._expression = compiled(text, kind)
        self.reads = frozenset(_names_in(self._expression.serialize(), readable(kind)))
        without_texts = _TEXT.sub('""', text)
        self.single = bool(_MACRO.search(without_texts))
        self.shortcut = bool(_SHORTCUT.search(without_texts))  # may be true or false though a fact is absent

    def holds(self, data: Mapping[str, Any]) -> bool | None:
        """True or False, or None when a fact that it reads is absent and decides. Raises ClauseError otherwise."""
        try:
            answer = self._expression.eval(data=data)
        except RuntimeError as error:  # over 10,000 iterations: raised, not returned
            raise ClauseError(str(error)) from error
        if answer.type() == _T.BOOL:
            return bool(answer.value())
        if any(name not in data for name in self.reads) or "Key not found in map" in str(answer.value()):
            return None
        raise ClauseError(in_words(str(answer.value()), self.kind))


def compiled(text: str, kind: str) -> cel.Expression:
    """Raises ClauseError with the place marked and, for an unknown name, the nearest fact."""
    if len(text) > MAX_LENGTH:
        raise ClauseError(f"the clause has {len(text)} characters; {MAX_LENGTH} are allowed. Split it into several")
    if re.search(r"\bhas\s*\(", _TEXT.sub('""', text)):
        raise ClauseError('has() does not work on facts; ask a named fact, or for a map: "key" in account.fields')
    try:
        expression = language(kind).compile(text)  # as written, so that columns in errors are right
    except RuntimeError as error:
        raise _located(str(error), text, kind) from error
    if expression.return_type() != _T.BOOL:
        kind_of = expression.return_type().name().lower()
        raise ClauseError(f"a clause must be true or false; this one is {kind_of}: compare it with something")
    faster = _DAYS.sub(_as_duration, text)
    return expression if faster == text else language(kind).compile(faster)


def _as_duration(match: re.Match[str]) -> str:
    """days(90) as a literal, which costs less to evaluate; texts stay as they are."""
    return f'duration("{int(match[1]) * 86400}s")' if match[1] else match[0]


def _located(error: str, text: str, kind: str) -> ClauseError:
    found = re.search(r"<input>:(\d+):(\d+): (.*)", error)
    if not found:
        return ClauseError(error)
    line, column, message = int(found[1]), int(found[2]), found[3].replace(" (in container '')", "")
    source = text.splitlines()[line - 1] if line <= len(text.splitlines()) else text
    unknown = re.search(r"undeclared reference to '([^']+)'", message)
    if unknown and unknown[1] in source:
        column = source.index(unknown[1]) + 1  # the library marks the last dot
    return ClauseError(f"{in_words(message, kind)}\n    {source}\n    {' ' * (column - 1)}^", line, column)


def _names_in(serialized: bytes, names: Iterable[str]) -> Iterable[str]:
    """The declared names that a checked expression refers to: protobuf strings, so length-prefixed."""
    return (n for n in names if bytes([len(n)]) + n.encode() in serialized)


def mask(parts: list[tuple[int, list[str]]], kind: str) -> cel.Expression:
    """One expression for many rules: bit i is set when all clauses of part i hold.

    A balanced tree of sums: a flat one exceeds the parser's depth at 32. At most 60 parts: bit 63 is no literal.
    Each clause ends its line: it may end in a comment.
    """
    joint = "\n) && ("
    terms = [f"(({joint.join(clauses)}\n) ? {1 << bit} : 0)" for bit, clauses in parts]
    while len(terms) > 1:
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        terms = [f"({a[0]} + {a[1]})" if len(a) == 2 else a[0] for a in pairs]
    return language(kind).compile(_DAYS.sub(_as_duration, terms[0]))


def bits(expression: cel.Expression, data: Mapping[str, Any]) -> int | None:
    """The mask's value, or None when anything in it erred: then judge the rules singly."""
    try:
        answer = expression.eval(data=data)
    except RuntimeError:
        return None
    return int(answer.value()) if answer.type() == _T.INT else None
