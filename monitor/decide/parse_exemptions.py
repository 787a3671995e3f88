"""Exemptions as files say them: below their rule, or for several rules in exemptions.toml."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from fnmatch import fnmatchcase

from monitor.decide.clause_check import clause_problems
from monitor.decide.faults import filled
from monitor.decide.form import ExemptionForm, ExemptionsForm, SharedExemptionForm
from monitor.decide.places import line_of_path
from monitor.domain.rule import Exemption, Rule
from monitor.errors import RuleErrors

SHARED_FILE = "exemptions.toml"
LONGEST_EXEMPTION = timedelta(days=366)


def is_shared(file: str) -> bool:
    return file.replace("\\", "/").rpartition("/")[2] == SHARED_FILE


def exemption(form: ExemptionForm, rules: tuple[str, ...], file: str, line: int) -> Exemption:
    return Exemption(
        form.subject or "", form.reason, form.approved_by, form.expires, tuple(form.match), form.ticket, rules, file,
        line, tuple(form.source),
    )  # fmt: skip


def line_of_exemption(text: str, number: int) -> int:
    """Of the subject or the clauses of the n-th exemption, counted from 0; of its header when neither has a line."""
    return max(line_of_path(text, ["exemptions", str(number), key]) for key in ("subject", "match"))


def overlong(form: ExemptionForm, text: str, file: str, number: int, today: date) -> Iterator[str]:
    if form.expires - today > LONGEST_EXEMPTION:
        whom = form.subject or " && ".join(form.match)
        line, last = line_of_path(text, ["exemptions", str(number), "expires"]), today + LONGEST_EXEMPTION
        yield f"{file}:{line}: exemptions: {whom} is exempt until {form.expires}; a year at most, until {last}"


def with_shared(rules: Mapping[str, Rule], text: str, file: str, *, today: date) -> dict[str, Rule]:
    """The rules with the exemptions of exemptions.toml added. Raises RuleErrors."""
    forms, problems, extended = filled(ExemptionsForm, text, file).exemptions, [], dict(rules)
    for number, form in enumerate(forms):
        line = line_of_exemption(text, number)
        problems += [*overlong(form, text, file, number, today), *_unmatched(form, rules, text, file, number)]
        given = exemption(form, tuple(form.rule), file, line)
        for rule in _meant(form, rules):
            faults = clause_problems(form.match, text, line, rule.for_each, rule.settings, rule.hours)
            problems += [f"{file}:{at}: exemptions: {fault}" for at, fault in faults]
            extended[rule.id] = replace(extended[rule.id], exemptions=(*extended[rule.id].exemptions, given))
    if problems:
        raise RuleErrors(list(dict.fromkeys(problems)))
    return extended


def _meant(form: SharedExemptionForm, rules: Mapping[str, Rule]) -> list[Rule]:
    return [r for r in rules.values() if any(fnmatchcase(r.id, pattern) for pattern in form.rule)]


def _unmatched(
    form: SharedExemptionForm, rules: Mapping[str, Rule], text: str, file: str, number: int
) -> Iterator[str]:
    line = line_of_path(text, ["exemptions", str(number), "rule"])
    for pattern in form.rule:
        if not any(fnmatchcase(known, pattern) for known in rules):
            close = difflib.get_close_matches(pattern, rules, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            yield f"{file}:{line}: exemptions.{number}.rule: there is no rule {pattern}{meant}"
