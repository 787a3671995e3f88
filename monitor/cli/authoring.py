"""Writing rule files: a new one from a few answers, and all of them in one layout."""

from __future__ import annotations

import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from monitor.cli.clock import SystemClock
from monitor.cli.output import console
from monitor.decide.coverage import missing
from monitor.decide.faults import table
from monitor.decide.layout import laid_out
from monitor.decide.parse import parse_rule
from monitor.decide.rule_settings import unread
from monitor.decide.schema import EXEMPTIONS_FILE, RULE_FILE, exemptions_schema, rule_schema, text
from monitor.decide.sketch import Sketch, polls, written
from monitor.errors import ConfigError, RuleErrors
from monitor.rulebook.folder import read_folder

QUESTIONS = {
    "id": ("What is wrong, in lower-case words joined by hyphens", ""),
    "for_each": ("What is judged, one by one: account, person, grant, role, group, seat or source", "account"),
    "match": ("A clause that must hold, like account.idle_days > 90 (an empty line ends)", ""),
    "title": ("One line for the alert, facts in braces (empty: made from the name)", ""),
    "severity": ("How bad it is: low, medium, high or critical", "medium"),
    "owner": ("Who answers for it: an e-mail", "it-security@example.com"),
    "description": ("Why it matters (empty: to be written later)", ""),
}


def asked(given: dict[str, Any]) -> dict[str, Any]:
    """What was given, with answers or defaults for the rest. Raises ConfigError off a terminal when it needs more."""
    lacking = [f"--{key}" if key == "match" else key.upper() for key in ("id", "match") if not given[key]]
    if lacking and not sys.stdin.isatty():
        raise ConfigError([f"rules new needs {' and '.join(lacking)}; on a terminal it asks for them"])
    for key, (question, default) in QUESTIONS.items():
        if given[key] is None and sys.stdin.isatty():
            given[key] = _clauses(question, given) if key == "match" else _answer(key, question, default, given)
        given[key] = given[key] or default
    return given


def _answer(key: str, question: str, default: str, given: dict[str, Any]) -> str:
    """Asked again while it cannot be so: better now than after the last question."""
    while fault := _fault(key, said := typer.prompt(question, default=default, show_default=bool(default)), given):
        console(err=True).print(fault, style="yellow", markup=False, soft_wrap=True)
    return str(said)


def _clauses(question: str, given: dict[str, Any]) -> list[str]:
    found: list[str] = []
    while clause := _answer("match", question, "", given):
        found.append(clause)
    return found


def _fault(key: str, said: str, given: dict[str, Any]) -> str:
    """What a rule with nothing but this answer would be told; settings are given apart, and looked at in the end."""
    if key == "match" and (not said or "settings." in said):
        return ""
    plain = {"id": "x", "for_each": "account", "match": ["now > timestamp('2020-01-01T00:00:00Z')"], "severity": "low"}
    whole = plain | {"for_each": given["for_each"] or "account"} | {key: [said] if key == "match" else said}
    try:
        today = SystemClock().now().date()
        parse_rule(written(Sketch(**whole), {}, ""), f"{whole['id']}.toml", today=today)
    except RuleErrors as error:
        return error.problems[0].partition(": ")[2]
    return ""


def write_new(folder: Path, given: dict[str, Any], settings: Sequence[str]) -> tuple[Path, list[str]]:
    """The file that was written, and what its tests lack. Raises RuleErrors when the rule is faulty: then none is."""
    path = folder / f"{given['id']}.toml"
    if path.exists():
        raise ConfigError([f"{path} is there already; nothing was written"])
    sketch = Sketch(**given, settings=dict(map(_setting, settings)))
    today = SystemClock().now().date()
    rule = parse_rule(written(sketch, {}, f"./{RULE_FILE}"), path.name, today=today)
    if unneeded := list(unread(rule, written(sketch, {}, ""))):
        raise RuleErrors(unneeded)
    whole = written(sketch, polls(rule), f"./{RULE_FILE}")
    _save(path, whole)
    for name, schema in ((RULE_FILE, rule_schema), (EXEMPTIONS_FILE, exemptions_schema)):
        if not (folder / name).exists():
            _save(folder / name, text(schema()))
    return path, list(missing(parse_rule(whole, str(path), today=today)))


def _setting(said: str) -> tuple[str, Any]:
    name, sign, value = said.partition("=")
    if not sign:
        raise ConfigError([f'--setting: "{said}" is no NAME=VALUE, like dormant_days=90'])
    try:
        return name.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()  # a text without quotes: the shell took them


def lay_out(folder: Path, check: bool) -> list[str]:
    """Names of files that are (or would be) laid out anew. Raises RuleErrors before any is written."""
    made, problems = dict[str, str](), list[str]()
    for name, before in read_folder(folder).items():
        try:
            table(before, name)
            after = laid_out(before)
        except RuleErrors as error:
            problems += error.problems
        except ValueError as error:
            problems.append(f"{name}:1: {error}")
        else:
            made |= {name: after} if after != before else {}
    if problems:
        raise RuleErrors(problems)
    for name, after in made.items():
        if not check:
            _save(folder.parent / name, after)
    return list(made)


def _save(path: Path, content: str) -> None:
    """Whole or not at all: the daemon may be reading."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(content, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be written: {error.strerror}"]) from error
