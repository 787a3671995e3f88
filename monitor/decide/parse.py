"""A rule file's text, parsed and checked. Every fault is named with file and line; none is guessed away."""

from __future__ import annotations

import difflib
import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from monitor.decide import controls, facts
from monitor.decide.expressions import Clause, ClauseError
from monitor.decide.form import ExemptionForm, Form, RuleForm, RuleTestForm, duration
from monitor.domain.rule import Closes, Exemption, Rule, RuleStatus, RuleTest, Verdict
from monitor.errors import RuleErrors

LONGEST_EXEMPTION = timedelta(days=366)
PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def parse_rule(text: str, file: str, *, today: date) -> Rule:
    """The rule in a file. Raises RuleErrors naming every fault as "file:line: what is wrong"."""
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"line (\d+), column (\d+)", str(error))
        where = f"{file}:{found[1]}:{found[2]}" if found else f"{file}:{len(text.splitlines())}"
        raise RuleErrors([f"{where}: not valid TOML: {str(error).split(' (at')[0]}"]) from error
    try:
        model = RuleForm.model_validate(raw)
    except ValidationError as error:
        raise RuleErrors([_key_fault(e, text, file) for e in error.errors(include_url=False)]) from error
    problems = list(_problems(model, text, file, today))
    if problems:
        raise RuleErrors(problems)
    return _rule(model, file)


def _key_fault(error: Mapping[str, Any], text: str, file: str) -> str:
    path = [str(p) for p in error["loc"]]
    line = _line_of_path(text, path)
    said = {
        "missing": "is missing; add it",
        "extra_forbidden": f"is no key here{_near_key(path)}",
        "string_pattern_mismatch": "must be lower-case words joined by hyphens, like dormant-account",
        "too_short": "is empty; write at least one",
        "string_too_short": "is empty or too short; say a little more",
    }
    message = said.get(error["type"]) or error["msg"].removeprefix("Value error, ")
    return f"{file}:{line}: {'.'.join(path)}: {message}"


def _near_key(path: list[str]) -> str:
    below: dict[str, type[Form]] = {"tests": RuleTestForm, "exemptions": ExemptionForm}
    known = below.get(path[0], RuleForm).model_fields
    close = difflib.get_close_matches(path[-1], known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are {', '.join(known)}"


def _line_of_path(text: str, path: list[str]) -> int:
    """The line of ["tests", "2", "expect"]: the key below the third [[tests]], or else that header."""
    if not path:
        return 1
    if len(path) < 2 or not path[1].isdigit():
        return _line_of_key(text, path[-1]) if len(path) > 1 else _line_of_key(text, path[0])
    header = re.compile(rf"^\s*\[\[\s*{re.escape(path[0])}\s*\]\]")
    lines = text.splitlines()
    heads = [n for n, line in enumerate(lines, 1) if header.match(line)]
    if int(path[1]) >= len(heads):
        return _line_of_key(text, path[0])
    start = heads[int(path[1])]
    end = next((n for n, line in enumerate(lines[start:], start) if line.lstrip().startswith("[")), len(lines))
    within = _line_of_key("\n".join(lines[start:end]), path[2], default=0) if len(path) > 2 else 0
    return start + within


def _line_of_key(text: str, key: str, default: int = 1) -> int:
    pattern = re.compile(rf"^\s*(?:\[+\s*)?{re.escape(key)}\b")
    return next((n for n, line in enumerate(text.splitlines(), 1) if pattern.match(line)), default)


def _line_of(text: str, needle: str, start: int) -> int:
    """The first line from `start` on that holds the text: quoted if possible, since one may be part of another."""
    first = needle.strip().splitlines()[0] if needle.strip() else needle
    escaped = first.replace('"', '\\"')
    for wanted in (f"'{first}'", f'"{escaped}"', first, escaped):
        for number, line in enumerate(text.splitlines()[start - 1 :], start):
            if wanted in line:
                return number
    return start


def _problems(rule: RuleForm, text: str, file: str, today: date) -> Iterator[str]:
    stem = file.replace("\\", "/").rpartition("/")[2].removesuffix(".toml")
    if stem != rule.id:
        line = _line_of_key(text, "id")
        yield f'{file}:{line}: id: "{rule.id}" is unlike the file name; call the file {rule.id}.toml'
    if rule.status is RuleStatus.ACTIVE and not rule.runbook.strip():
        yield f"{file}:{_line_of_key(text, 'runbook')}: runbook: an active rule needs one: what should the reader do?"
    yield from _clause_problems(rule, text, file)
    yield from _name_problems(rule, text, file)
    yield from _control_problems(rule, text, file)
    yield from _exemption_problems(rule, text, file, today)
    try:
        _closes(rule.closes)
    except ValueError as error:
        yield f"{file}:{_line_of_key(text, 'closes')}: closes: {error}"


def _clause_problems(rule: RuleForm, text: str, file: str) -> Iterator[str]:
    start = _line_of_key(text, "match")
    for number, clause in enumerate(rule.match, 1):
        line = _line_of(text, clause, start)
        try:
            compiled = Clause(clause, rule.for_each)
            _try_on_sample(compiled, rule.for_each)
        except ClauseError as error:
            yield f"{file}:{line + error.line - 1}: clause {number}, column {error.column}: {error}"


def _try_on_sample(clause: Clause, kind: str) -> None:
    """Some mistakes compile and then always fail: duration("90d"), a broken regex. So every clause is tried once."""
    if clause.holds(sample(kind, facts.readable(kind))) is None:
        return  # it asks for a map key that the sample lacks: unknown, as it would be in life


def sample(kind: str, names: Mapping[str, facts.Fact]) -> dict[str, Any]:
    """A complete record of a kind as the values of facts."""
    now = datetime(2026, 1, 1, tzinfo=UTC)
    record = {k: now - v if isinstance(v, timedelta) else v for k, v in facts.SAMPLES[kind].items()}
    dated = ("first_seen", "status_since", "level_since", "role_changed", "privileged_since", "reactivated", "changed")
    record |= dict.fromkeys(dated, now - timedelta(days=100)) | {"watched_since": now - timedelta(days=100)}
    lists = ("past_levels", "past_roles", "past_emails", "earlier_ids", "past_access_levels")
    record |= {name: ["sample"] for name in lists}
    record |= {"privileged": False, "role_access_level": "user"} if kind == "account" else {}
    return {name: facts.value(fact, record, now) for name, fact in names.items()}


def _name_problems(rule: RuleForm, text: str, file: str) -> Iterator[str]:
    known = facts.readable(rule.for_each)
    for name in rule.evidence:
        if name not in known:
            line = _line_of(text, name, _line_of_key(text, "evidence"))
            yield f"{file}:{line}: evidence: there is no fact {name}{facts.suggest(name, rule.for_each)}"
    if set("{}") & set(PLACEHOLDER.sub("", rule.title)):
        line = _line_of_key(text, "title")
        yield f'{file}:{line}: title: a brace has no partner; a fact is written like "{{account.email}}"'
    for name in PLACEHOLDER.findall(rule.title):
        if name not in known:
            line = _line_of_key(text, "title")
            yield f"{file}:{line}: title: there is no fact {name}{facts.suggest(name, rule.for_each)}"


def _control_problems(rule: RuleForm, text: str, file: str) -> Iterator[str]:
    for framework, named in rule.controls.items():
        line = _line_of_key(text, framework)
        faults = [controls.fault(framework)] if framework not in controls.FRAMEWORKS else []
        faults += [controls.fault(framework, c) for c in named] if not faults else []
        yield from (f"{file}:{line}: controls.{framework}: {fault}" for fault in faults if fault)


def _exemption_problems(rule: RuleForm, text: str, file: str, today: date) -> Iterator[str]:
    for exemption in rule.exemptions:
        line = _line_of(text, exemption.subject, _line_of_key(text, "exemptions"))
        if exemption.expires - today > LONGEST_EXEMPTION:
            yield f"{file}:{line}: exemptions: {exemption.subject} is exempt until {exemption.expires}; a year at most"


def _closes(text: str) -> Closes:
    if text == "fixed":
        return Closes()
    if text == "acknowledged":
        return Closes(acknowledged=True)
    if text.startswith("after "):
        return Closes(acknowledged=True, after=duration(text.removeprefix("after ")))
    raise ValueError(f'"{text}" is no way to close; write "fixed", "acknowledged" or "after 14d"')


def _rule(model: RuleForm, file: str) -> Rule:
    return Rule(
        id=model.id,
        title=model.title,
        severity=model.severity,
        status=model.status,
        owner=model.owner,
        for_each=model.for_each,
        match=tuple(model.match),
        description=model.description.strip(),
        runbook=model.runbook.strip(),
        fix_within=duration(model.fix_within) if model.fix_within else None,
        closes=_closes(model.closes),
        evidence=tuple(model.evidence),
        controls={k: tuple(v) for k, v in model.controls.items()},
        tags=tuple(model.tags),
        exemptions=tuple(Exemption(e.subject, e.reason, e.approved_by, e.expires) for e in model.exemptions),
        tests=tuple(RuleTest(t.name, Verdict(t.expect), tuple(t.polls)) for t in model.tests),
        file=file,
        digest=hashlib.sha256(repr((model.for_each, model.match)).encode()).hexdigest()[:16],
    )


def parse_set(files: Mapping[str, str], *, today: date) -> tuple[Rule, ...]:
    """All rules, or none: raises RuleErrors with the faults of every file."""
    rules: dict[str, Rule] = {}
    problems: list[str] = []
    for file, text in sorted(files.items()):
        try:
            rule = parse_rule(text, file, today=today)
        except RuleErrors as error:
            problems += error.problems
            continue
        if rule.id in rules:
            problems.append(f"{file}:1: id: {rule.id} is also the id of {rules[rule.id].file}")
        rules[rule.id] = rule
    if problems:
        raise RuleErrors(problems)
    return tuple(rules.values())


def set_digest(files: Mapping[str, str]) -> str:
    """What identifies a rule set: SHA-256 over names and texts."""
    whole = hashlib.sha256()
    for name, text in sorted(files.items()):
        whole.update(f"{name}\0{text}\0".encode())
    return whole.hexdigest()
