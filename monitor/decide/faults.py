"""From the text of a TOML file to a form, with every fault in the words of whoever edits it."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from monitor.decide.form import ExemptionForm, ExemptionsForm, Form, RuleForm, RuleTestForm, SharedExemptionForm
from monitor.decide.places import line_of_path, stem
from monitor.decide.toml_hints import advice
from monitor.errors import RuleErrors

_Form = TypeVar("_Form", bound=Form)

# What stands in for a key that is wrong, so that the others are looked at all the same.
_STAND_INS = {"title": "-", "severity": "low", "owner": "it@example.com", "description": "-", "runbook": "-"}
_BEARING = {"for_each", "match", "settings"}  # without them nothing can be said of clauses


def filled(form: type[_Form], text: str, file: str) -> _Form:
    """Raises RuleErrors naming every fault as "file:line: key: what is wrong"."""
    found, problems = fill(form, text, file)
    if problems or found is None:
        raise RuleErrors(problems)
    return found


def fill(form: type[_Form], text: str, file: str) -> tuple[_Form | None, list[str]]:
    """The form with every fault; where there is one, the form of the rest, if that makes sense alone."""
    raw = table(text, file)
    if not raw and form is RuleForm:
        return None, [f"{file}:1: is empty; `access-monitor rules new` writes a rule to start from"]
    try:
        return form.model_validate(raw), []
    except ValidationError as error:
        faults = error.errors(include_url=False)
        told, meant = _once(faults, form)
        wrong = {str(e["loc"][0]) for e in faults} | {str(path[0]) for path in meant}
        return _rest(form, raw, wrong, file), [_said(e, text, file, form) for e in told]


def _rest(form: type[_Form], raw: Mapping[str, Any], wrong: set[str], file: str) -> _Form | None:
    if wrong & _BEARING or form is ExemptionsForm:
        return None
    stand_ins = {k: v for k, v in (_STAND_INS | {"id": stem(file)}).items() if k in wrong}
    try:
        return form.model_validate({k: v for k, v in raw.items() if k not in wrong} | stand_ins)
    except ValidationError:
        return None


def _once(faults: Sequence[Any], form: type[Form]) -> tuple[list[Any], set[tuple[Any, ...]]]:
    """A key that is misspelt is also missing: one mistake, one error. And the keys that were meant."""
    meant = {
        (*e["loc"][:-1], _nearest([str(p) for p in e["loc"]], form)) for e in faults if e["type"] == "extra_forbidden"
    }
    return [e for e in faults if not (e["type"] == "missing" and tuple(e["loc"]) in meant)], meant


def table(text: str, file: str) -> dict[str, Any]:
    """Raises RuleErrors with the place that is not TOML."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+), column (\d+)", str(error))
        what = str(error).split(" (at")[0]
        line = int(found[1]) if found else _last_opened(text)
        column = int(found[2]) if found else 0
        where = f"{file}:{line}:{column}" if found else f"{file}:{line}"
        at = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
        raise RuleErrors([f"{where}: not valid TOML: {what}{advice(what, at, column)}"]) from error


def _last_opened(text: str) -> int:
    """The line on which a text begins that three quotes do not end; else the last line."""
    for quotes in ('"""', "'''"):
        if text.count(quotes) % 2:
            return text.count("\n", 0, text.rindex(quotes)) + 1
    return len(text.splitlines())


def _said(error: Mapping[str, Any], text: str, file: str, form: type[Form]) -> str:
    path = [str(p) for p in error["loc"]]
    return f"{file}:{line_of_path(text, path)}: {'.'.join(path)}: {_what(error, path, form)}"


def _what(error: Mapping[str, Any], path: list[str], form: type[Form]) -> str:
    kind, key = error["type"], next((p for p in reversed(path) if not p.isdigit()), "")
    example = f", like {_LIKE[key]}" if key in _LIKE else ""
    if kind == "list_type" and key in _REPEATED and path[-1] == key:
        return f"write [[{key}]] in double brackets, once for each"
    if kind in ("literal_error", "enum"):
        return f"must be one of {_choices(error)}"
    if kind.startswith("date_"):
        return "is no day; write it like 2026-12-31, without quotes"
    said = {
        "missing": "is missing; add it",
        "extra_forbidden": f"is no key here{_near_key(path, form)}",
        "string_pattern_mismatch": "must be lower-case words joined by hyphens, like dormant-account",
        "too_short": "is empty; write at least one",
        "string_too_short": "is empty or too short; say a little more",
        "string_too_long": f"is too long; {error.get('ctx', {}).get('max_length')} characters are the most",
        "string_type": f"must be a text in quotes{example}" if path[-1] == key else "must be a text in quotes",
        "list_type": f"must be a list in brackets{example}",
        "dict_type": f"must be a table{example}" if path[-1] == key else "must be a table in braces",
        "model_type": f"must be a table; write [[{path[0]}]] in double brackets, once for each",
    }
    return said.get(kind) or str(error["msg"]).removeprefix("Value error, ")


_REPEATED = ("tests", "exemptions")
_LIKE = {
    "match": "['account.is_admin']", "evidence": "['account.role']", "tags": '["contractors"]',
    "owner_from": '["person.manager"]', "polls": '[ { at = "10d ago" } ]', "settings": "{ dormant_days = 90 }",
    "controls": '{ soc2 = ["CC6.3"] }', "soc2": '["CC6.3"]', "iso27001": '["A.5.18"]', "nist": '["AC-2"]',
    "cis": '["5.3"]', "fix_within": '"2d"', "clock": '"person.ended"', "closes": '"after 14d"',
    "owner": '"it@example.com"',
}  # fmt: skip


def _choices(error: Mapping[str, Any]) -> str:
    """The words that are allowed, and the one that was perhaps meant."""
    words = re.findall(r"'([^']+)'", str(error["ctx"]["expected"]))
    close = difflib.get_close_matches(str(error["input"]), words, n=1)
    return ", ".join(words) + (f"; did you mean {close[0]}?" if close else "")


def _near_key(path: list[str], form: type[Form]) -> str:
    close = _nearest(path, form)
    return f"; did you mean {close}?" if close else f"; there are {', '.join(_keys(path, form))}"


def _nearest(path: list[str], form: type[Form]) -> str:
    return next(iter(difflib.get_close_matches(path[-1], _keys(path, form), n=1)), "")


def _keys(path: list[str], form: type[Form]) -> list[str]:
    exempting = SharedExemptionForm if form is ExemptionsForm else ExemptionForm
    below: dict[str, type[Form]] = {"tests": RuleTestForm, "exemptions": exempting}
    return list((below.get(path[0], form) if len(path) > 1 else form).model_fields)
