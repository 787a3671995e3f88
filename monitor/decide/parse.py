"""A rule file's text, parsed and checked. Every fault is named with file and line; none is guessed away."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from monitor.decide import controls, facts, hints, settings
from monitor.decide.clause_check import clause_problems
from monitor.decide.expressions import Clause
from monitor.decide.faults import fill, filled
from monitor.decide.form import OPENED, PLACEHOLDER, ExemptionsForm, RuleForm, duration
from monitor.decide.parse_exemptions import exemption, is_shared, line_of_exemption, overlong, with_shared
from monitor.decide.places import line_of, line_of_key, line_of_path, stem
from monitor.decide.rule_settings import RuleSettings, unread
from monitor.domain.company import ANY_COMPANY, Company, Setting
from monitor.domain.rule import SOURCE_OWNER, Closes, Rule, RuleStatus, RuleTest, Verdict
from monitor.errors import RuleErrors


def parse_rule(text: str, file: str, *, today: date, company: Company = ANY_COMPANY) -> Rule:
    """The rule in a file. Raises RuleErrors naming every fault as "file:line: what is wrong"."""
    model, problems = fill(RuleForm, text, file)
    if model is None:
        raise RuleErrors(problems)
    known = RuleSettings(model, text, file, company)
    problems += [*known.problems, *_problems(model, text, file, today, known)]
    if problems:
        raise RuleErrors(problems)
    return _rule(model, text, file, known)


def _problems(rule: RuleForm, text: str, file: str, today: date, known: RuleSettings) -> Iterator[str]:
    if stem(file) != rule.id:
        line = line_of_key(text, "id")
        yield f'{file}:{line}: id: "{rule.id}" is unlike the file name; call the file {rule.id}.toml'
    if rule.status is RuleStatus.ACTIVE and not rule.runbook.strip():
        yield f"{file}:{line_of_key(text, 'runbook')}: runbook: an active rule needs one: what should the reader do?"
    start = line_of_key(text, "match")
    faults = clause_problems(rule.match, text, start, rule.for_each, known.in_force, known.hours)
    yield from (f"{file}:{line}: {fault}" for line, fault in faults if not known.excused(fault))
    yield from _name_problems(rule, text, file, known)
    yield from _clock_problems(rule, text, file)
    yield from _owner_problems(rule, text, file)
    yield from _control_problems(rule, text, file)
    yield from _twins(rule, text, file)
    for number, form in enumerate(rule.exemptions):
        line = line_of_exemption(text, number)
        yield from overlong(form, text, file, number, today)
        wrong = clause_problems(form.match, text, line, rule.for_each, known.in_force, known.hours)
        yield from (f"{file}:{at}: exemptions: {fault}" for at, fault in wrong if not known.excused(fault))
    try:
        _closes(rule.closes)
    except ValueError as error:
        yield f"{file}:{line_of_key(text, 'closes')}: closes: {error}"


def _twins(rule: RuleForm, text: str, file: str) -> Iterator[str]:
    names = [t.name for t in rule.tests]
    for number, name in enumerate(names):
        if name in names[:number]:
            line = line_of_path(text, ["tests", str(number), "name"])
            yield f"{file}:{line}: tests.{number}.name: another test is called so; give each its own"


def _name_problems(rule: RuleForm, text: str, file: str, asked: RuleSettings) -> Iterator[str]:
    known = facts.readable(rule.for_each).keys() | {f"{settings.PREFIX}{n}" for n in asked.in_force}
    for name in rule.evidence:
        if name not in known:
            line = line_of(text, name, line_of_key(text, "evidence"))
            yield f"{file}:{line}: evidence: {_unknown_name(name, rule, asked)}"
    if set("{}") & set(PLACEHOLDER.sub("", rule.title)):
        line = line_of_key(text, "title")
        yield f'{file}:{line}: title: a brace has no partner; a fact is written like "{{account.email}}"'
    for name in PLACEHOLDER.findall(rule.title):
        if name not in known:
            line = line_of_key(text, "title")
            yield f"{file}:{line}: title: {_unknown_name(name, rule, asked)}"


def _unknown_name(name: str, rule: RuleForm, asked: RuleSettings) -> str:
    if not facts.NAME.fullmatch(name):
        return f'"{name}" is no name of a fact; write nothing but the name, like account.email'
    if name.startswith("account.fields."):
        return f"{name} is a part of a fact; only whole ones are shown: write account.fields"
    return hints.no_fact(name, rule.for_each, asked.in_force)


def _clock_problems(rule: RuleForm, text: str, file: str) -> Iterator[str]:
    if rule.clock == OPENED:
        return
    known, line = facts.readable(rule.for_each), line_of_key(text, "clock")
    if rule.clock not in known:
        yield f"{file}:{line}: clock: {hints.no_fact(rule.clock, rule.for_each)}"
    elif known[rule.clock].type != "timestamp":
        yield f"{file}:{line}: clock: {rule.clock} is {known[rule.clock].type}; fix_within counts from a timestamp"
    if rule.fix_within is None:
        yield f"{file}:{line}: clock: says from when fix_within counts; add fix_within"


def _owner_problems(rule: RuleForm, text: str, file: str) -> Iterator[str]:
    known, line = facts.readable(rule.for_each), line_of_key(text, "owner_from")
    for name in rule.owner_from:
        if name == SOURCE_OWNER:
            continue
        if name not in known:
            yield f"{file}:{line}: owner_from: {hints.no_fact(name, rule.for_each)}"
        elif known[name].type not in ("string", "list(string)"):
            yield f"{file}:{line}: owner_from: {name} is {known[name].type}; an owner is named by a text"


def _control_problems(rule: RuleForm, text: str, file: str) -> Iterator[str]:
    for framework, named in rule.controls.items():
        line = line_of_key(text, framework)
        faults = [controls.fault(framework)] if framework not in controls.FRAMEWORKS else []
        faults += [controls.fault(framework, c) for c in named] if not faults else []
        yield from (f"{file}:{line}: controls.{framework}: {fault}" for fault in faults if fault)


def _closes(text: str) -> Closes:
    if text == "fixed":
        return Closes()
    if text == "acknowledged":
        return Closes(acknowledged=True)
    if text.startswith("after "):
        after = duration(text.removeprefix("after "))
        if after:
            return Closes(acknowledged=True, after=after)
    raise ValueError(f'"{text}" is no way to close; write "fixed", "acknowledged" or "after 14d"')


def _rule(model: RuleForm, text: str, file: str, known: RuleSettings) -> Rule:
    used = _used(model, known)
    decides: list[Any] = [model.for_each, model.match]
    decides += [sorted(used.items())] if used else []
    decides += [known.hours] if any("business_" in clause for clause in model.match) else []
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
        clock=None if model.clock == OPENED else model.clock,
        owner_from=tuple(model.owner_from),
        closes=_closes(model.closes),
        evidence=tuple(model.evidence),
        controls={k: tuple(v) for k, v in model.controls.items()},
        tags=tuple(model.tags),
        exemptions=tuple(
            exemption(form, (model.id,), file, line_of_exemption(text, number))
            for number, form in enumerate(model.exemptions)
        ),
        tests=tuple(
            RuleTest(t.name, Verdict(t.expect), tuple(t.polls), s, line_of_path(text, ["tests", str(n), "polls"]))
            for n, (t, s) in enumerate(zip(model.tests, known.tests, strict=True))
        ),
        file=file,
        digest=hashlib.sha256(repr(tuple(decides)).encode()).hexdigest()[:16],
        settings=used,
        defaults=known.defaults,
        hours=known.hours,
    )


def _used(model: RuleForm, known: RuleSettings) -> dict[str, Setting]:
    """The settings that the rule reads or declares: another rule's need not move this one's digest."""
    words = {*model.evidence, *PLACEHOLDER.findall(model.title)}
    for text in model.match:
        words |= Clause(text, model.for_each, known.in_force, known.hours).constants.keys()
    return {n: s for n, s in known.in_force.items() if n in known.defaults or f"{settings.PREFIX}{n}" in words}


def parse_set(files: Mapping[str, str], *, today: date, company: Company = ANY_COMPANY) -> tuple[Rule, ...]:
    """All rules with their exemptions, or none: raises RuleErrors with the faults of every file."""
    rules: dict[str, Rule] = {}
    problems: list[str] = []
    for file, text in sorted(files.items()):
        if is_shared(file):
            continue
        try:
            rule = parse_rule(text, file, today=today, company=company)
        except RuleErrors as error:
            problems += error.problems
            continue
        if rule.id in rules:
            line = line_of_key(text, "id")
            other = rules[rule.id].file
            problems.append(f"{file}:{line}: id: {rule.id} is also the id of {other}; keep one of them, or rename it")
        rules[rule.id] = rule
    problems += _disagreeing(rules.values())
    faulty = bool(problems)
    for file in filter(is_shared, sorted(files)):
        try:
            if faulty:  # which rules there are is not known, but the file itself can be looked at
                filled(ExemptionsForm, files[file], file)
            else:
                rules = with_shared(rules, files[file], file, today=today)
        except RuleErrors as error:
            problems += error.problems
    problems = problems or [p for rule in rules.values() for p in unread(rule, files[rule.file])]
    if problems:
        raise RuleErrors(list(dict.fromkeys(problems)))
    return tuple(rules.values())


def _disagreeing(rules: Iterable[Rule]) -> Iterator[str]:
    """A setting is one thing: two files that declare it must give it the same default."""
    first: dict[str, Rule] = {}
    for rule in rules:
        for name, default in rule.defaults.items():
            other = first.setdefault(name, rule)
            if other.defaults[name] != default:
                yield f"{rule.file}: settings.{name} has another default in {other.file}; give both the same"


def set_digest(files: Mapping[str, str], company: Company = ANY_COMPANY) -> str:
    """What identifies a rule set: SHA-256 over names and texts, and what the config says that rules may read."""
    whole = hashlib.sha256()
    if company != ANY_COMPANY:
        whole.update(repr((sorted(company.settings.items()), company.hours)).encode())
    for name, text in sorted(files.items()):
        whole.update(f"{name}\0{text}\0".encode())
    return whole.hexdigest()
