"""From the text of a TOML file to a form, with every fault in the words of whoever edits it."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from monitor.decide.form import ExemptionForm, ExemptionsForm, Form, RuleTestForm, SharedExemptionForm
from monitor.decide.places import line_of_path
from monitor.errors import RuleErrors

_Form = TypeVar("_Form", bound=Form)


def filled(form: type[_Form], text: str, file: str) -> _Form:
    """Raises RuleErrors naming every fault as "file:line: key: what is wrong"."""
    try:
        return form.model_validate(_toml(text, file))
    except ValidationError as error:
        faults = _once(error.errors(include_url=False), form)
        raise RuleErrors([_said(e, text, file, form) for e in faults]) from error


def _once(faults: Sequence[Any], form: type[Form]) -> list[Any]:
    """A key that is misspelt is also missing: one mistake, one error."""
    meant = {
        (*e["loc"][:-1], _nearest([str(p) for p in e["loc"]], form)) for e in faults if e["type"] == "extra_forbidden"
    }
    return [e for e in faults if not (e["type"] == "missing" and tuple(e["loc"]) in meant)]


def _toml(text: str, file: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+), column (\d+)", str(error))
        where = f"{file}:{found[1]}:{found[2]}" if found else f"{file}:{len(text.splitlines())}"
        raise RuleErrors([f"{where}: not valid TOML: {str(error).split(' (at')[0]}"]) from error


def _said(error: Mapping[str, Any], text: str, file: str, form: type[Form]) -> str:
    path = [str(p) for p in error["loc"]]
    said = {
        "missing": "is missing; add it",
        "extra_forbidden": f"is no key here{_near_key(path, form)}",
        "string_pattern_mismatch": "must be lower-case words joined by hyphens, like dormant-account",
        "too_short": "is empty; write at least one",
        "string_too_short": "is empty or too short; say a little more",
        "date_from_datetime_parsing": "is no day; write it like 2026-12-31, without quotes",
        "date_type": "is no day; write it like 2026-12-31, without quotes",
    }
    if error["type"] in ("literal_error", "enum"):
        said[error["type"]] = f"must be one of {_choices(error)}"
    message = said.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    return f"{file}:{line_of_path(text, path)}: {'.'.join(path)}: {message}"


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
