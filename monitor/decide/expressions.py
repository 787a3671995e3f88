"""Clauses in CEL: compiled with the declared facts as typed variables. The only module that knows the CEL library.

What was tried of the library, and where it bites, stands in docs/decisions/0003-cel.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from cel_expr_python import cel

from monitor.decide.facts import readable
from monitor.decide.functions import FUNCTIONS
from monitor.decide.hints import in_words
from monitor.decide.settings import PREFIX
from monitor.domain.company import USUAL_HOURS, BusinessHours, Setting

MAX_LENGTH = 1000  # characters of one clause: far above any clause that a person can read
_T = cel.Type
_TYPES = {
    "bool": _T.BOOL,
    "int": _T.INT,
    "string": _T.STRING,
    "timestamp": _T.TIMESTAMP,
    "duration": _T.DURATION,
    "list(string)": _T.List(_T.STRING),
    "list(int)": _T.List(_T.INT),
    "map(string, string)": _T.Map(_T.STRING, _T.STRING),
    "map(string, int)": _T.Map(_T.STRING, _T.INT),
    "map(string, list(string))": _T.Map(_T.STRING, _T.List(_T.STRING)),
}
EXTENSIONS = ("strings", "lists", "sets", "optional")  # none by which a text or a list could grow without bound
TEXT = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'")
_LENGTHS = re.compile(TEXT.pattern + r"|\b(days|hours)\(\s*(\d{1,6})\s*\)")
_SECONDS = {"days": 86400, "hours": 3600}
_MACRO = re.compile(r"\.(?:all|exists|exists_one|map|filter|sortBy|optMap|optFlatMap)\s*\(")
_GROWS = re.compile(r"\.(?:replace|join|format|flatten)\s*\(")
_COSTLY = re.compile(r"\bsets\.|\.(?:sort|distinct)\s*\(")
_SHORTCUT = re.compile(r"\|\||&&|\?|\.or(?:Value|Optional)?\s*\(")
MOST_MACROS, MOST_SUMS = 3, 4  # of one clause
LONGEST_TEXT, LONGEST_LIST = 2_000, 5_000  # of what a clause with one of these reads


class ClauseError(Exception):
    """A clause that cannot be used: line and column (1-based) inside it, and what is wrong."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line, self.column = line, column


@lru_cache(maxsize=64)
def language(kind: str, types: tuple[tuple[str, str], ...] = (), hours: BusinessHours = USUAL_HOURS) -> cel.Env:
    """CEL with the facts that a rule about this kind may read, settings of these types, and the named functions."""
    variables = {name: _TYPES[fact.type] for name, fact in readable(kind).items()}
    variables |= {f"{PREFIX}{name}": _TYPES[type_] for name, type_ in types}
    named = [
        cel.FunctionDecl(
            f.name, [cel.Overload(f.name, _TYPES[f.gives], [_TYPES[t] for t in f.takes], False, f.make(hours))]
        )
        for f in FUNCTIONS
    ]
    extensions = "\n".join(f" - name: {name}" for name in EXTENSIONS)
    config = cel.NewEnvConfigFromYaml(f"name: rules\nextensions:\n{extensions}\n")
    return cel.NewEnv(config=config, variables=variables, functions=named)


def types_of(settings: Mapping[str, Setting]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((name, s.type) for name, s in settings.items()))


class Clause:
    """One compiled line of `match`, which facts it reads, and the settings that it reads with their values."""

    __slots__ = ("_bounded", "_expression", "constants", "kind", "names", "reads", "shortcut", "single", "text")

    def __init__(
        self, text: str, kind: str, settings: Mapping[str, Setting] | None = None,
        hours: BusinessHours = USUAL_HOURS,
    ) -> None:  # fmt: skip
        settings = settings or {}
        self.text, self.kind = text, kind
        self._expression, self.reads, named = _parsed(text, kind, types_of(settings), hours)
        self.constants = {f"{PREFIX}{name}": settings[name].value for name in named}
        self.names = sorted((*self.reads, *self.constants))
        without_texts = TEXT.sub('""', text)
        self._bounded = any(p.search(without_texts) for p in (_MACRO, _GROWS, _COSTLY))
        self.single = self._bounded
        self.shortcut = bool(_SHORTCUT.search(without_texts))  # may be true or false though a fact is absent

    def holds(self, data: Mapping[str, Any]) -> bool | None:
        """True or False, or None when a fact that it reads is absent and decides. Raises ClauseError otherwise."""
        data = {**data, **self.constants} if self.constants else data
        if self._bounded:
            _check_sizes({n: data[n] for n in self.reads if n in data})
        try:
            answer = self._expression.eval(data=data)
        except RuntimeError as error:  # over 10,000 iterations: raised, not returned
            raise ClauseError(in_words(str(error), self.kind)) from error
        if answer.type() == _T.BOOL:
            return bool(answer.value())
        if any(name not in data for name in self.reads) or "Key not found in map" in str(answer.value()):
            return None
        raise ClauseError(in_words(str(answer.value()), self.kind))


@lru_cache(maxsize=4096)
def _parsed(
    text: str, kind: str, types: tuple[tuple[str, str], ...], hours: BusinessHours
) -> tuple[cel.Expression, frozenset[str], frozenset[str]]:
    """The expression, the facts that it reads, and the settings. Every poll asks for the same ones."""
    expression = compiled(text, kind, {name: Setting(type_, None) for name, type_ in types}, hours)
    serialized = expression.serialize()
    named = _names_in(serialized, (f"{PREFIX}{name}" for name, _ in types))
    settings = frozenset(name.removeprefix(PREFIX) for name in named)
    return expression, frozenset(_names_in(serialized, readable(kind))), settings


def _check_sizes(data: Mapping[str, Any]) -> None:
    """What strangers wrote must not make a clause that loops or grows take seconds. Raises ClauseError."""
    for name, value in data.items():
        texts = [value] if isinstance(value, str) else [*value] if isinstance(value, (list, dict)) else []
        texts += value.values() if isinstance(value, dict) else ()
        if len(texts) > LONGEST_LIST or any(len(t) > LONGEST_TEXT for t in texts):
            raise ClauseError(
                f"{name} is too long for exists, map, replace and the like: {LONGEST_LIST:,} entries "
                f"of {LONGEST_TEXT:,} characters are the most"
            )


def compiled(
    text: str, kind: str, settings: Mapping[str, Setting] | None = None, hours: BusinessHours = USUAL_HOURS
) -> cel.Expression:
    """Raises ClauseError with the place marked and, for an unknown name, the nearest fact."""
    if fault := _beyond_bounds(text):
        raise ClauseError(fault)
    known = language(kind, types_of(settings or {}), hours)
    try:
        expression = known.compile(text)  # as written, so that columns in errors are right
    except RuntimeError as error:
        raise _located(str(error), text, kind, settings or {}) from error
    if expression.return_type() != _T.BOOL:
        kind_of = expression.return_type().name().lower()
        raise ClauseError(f"a clause must be true or false; this one is {kind_of}: compare it with something")
    faster = _LENGTHS.sub(_as_duration, text)
    return expression if faster == text else known.compile(faster)


def _beyond_bounds(text: str) -> str | None:
    """What no clause may do: it would cost too much, or not mean what it seems to."""
    bare = TEXT.sub('""', text)
    macros, grows, sums = len(_MACRO.findall(bare)), len(_GROWS.findall(bare)), bare.count("+")
    bounds = (
        (len(text) > MAX_LENGTH,
         f"the clause has {len(text)} characters; {MAX_LENGTH} are allowed. Split it into several"),
        (re.search(r"\bhas\s*\(", bare),
         'has() does not work on facts; ask a named fact, or for a map: "key" in account.fields'),
        (re.search(r"(?<![.\w])null\b", bare),
         "no fact is ever null; where the source did not say, the clause is unknown by itself"),
        (re.search(r"\blists\.range\s*\(", bare), "lists.range() is not offered: no rule needs to count up"),
        (macros > MOST_MACROS,
         f"the clause has {macros} of exists, all, map and the like; {MOST_MACROS} are allowed. Split it into several"),
        (grows > 1 or (grows and (macros or sums)),
         "replace, join, format and flatten stand alone: one in a clause, without + and exists, all, map"),
        (macros and sums > MOST_SUMS,
         f"the clause has {sums} times +; beside exists, all and map {MOST_SUMS} are allowed"),
    )  # fmt: skip
    return next((message for beyond, message in bounds if beyond), None)


def _as_duration(match: re.Match[str]) -> str:
    """days(90) as a literal, which costs less to evaluate; texts stay as they are."""
    return f'duration("{int(match[2]) * _SECONDS[match[1]]}s")' if match[1] else match[0]


def _located(error: str, text: str, kind: str, settings: Mapping[str, Setting]) -> ClauseError:
    found = re.search(r"<input>:(\d+):(\d+): (.*)", error)
    if not found:
        return ClauseError(in_words(error, kind))
    line, column, message = int(found[1]), int(found[2]), found[3].replace(" (in container '')", "")
    source = text.splitlines()[line - 1] if line <= len(text.splitlines()) else text
    unknown = re.search(r"undeclared reference to '([^']+)'", message)
    if unknown and (at := re.search(rf"(?<![\w.]){re.escape(unknown[1])}(?!\w)", source)):
        column = at.start() + 1  # the library marks the last dot
    said = in_words(message, kind, settings, TEXT.sub('""', text))
    return ClauseError(f"{said}\n    {source}\n    {' ' * (column - 1)}^", line, column)


def _names_in(serialized: bytes, names: Iterable[str]) -> Iterable[str]:
    """The declared names that a checked expression refers to: protobuf strings, so length-prefixed."""
    return (n for n in names if bytes([len(n)]) + n.encode() in serialized)


def mask(
    parts: list[tuple[int, list[str]]], kind: str, types: tuple[tuple[str, str], ...] = (),
    hours: BusinessHours = USUAL_HOURS,
) -> cel.Expression:  # fmt: skip
    """One expression for many rules: bit i is set when all clauses of part i hold.

    A balanced tree of sums: a flat one exceeds the parser's depth at 32. At most 60 parts: bit 63 is no literal.
    Each clause ends its line: it may end in a comment.
    """
    joint = "\n) && ("
    terms = [f"(({joint.join(clauses)}\n) ? {1 << bit} : 0)" for bit, clauses in parts]
    while len(terms) > 1:
        pairs = [terms[i : i + 2] for i in range(0, len(terms), 2)]
        terms = [f"({a[0]} + {a[1]})" if len(a) == 2 else a[0] for a in pairs]
    return language(kind, types, hours).compile(_LENGTHS.sub(_as_duration, terms[0]))


def bits(expression: cel.Expression, data: Mapping[str, Any]) -> int | None:
    """The mask's value, or None when anything in it erred: then judge the rules singly."""
    try:
        answer = expression.eval(data=data)
    except RuntimeError:
        return None
    return int(answer.value()) if answer.type() == _T.INT else None
