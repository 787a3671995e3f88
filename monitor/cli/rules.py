"""access-monitor rules ...: list, check, test, facts, schema, fmt, new."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from monitor.cli.app import Exit, app, config_of
from monitor.cli.output import Format, FormatOption, console, counted, show
from monitor.decide import facts as declared
from monitor.domain.rule import Rule
from monitor.errors import ConfigError, RuleErrors

if TYPE_CHECKING:
    from monitor.decide.timeline import TestResult
    from monitor.line.parts import RuleSet

rules = typer.Typer(no_args_is_help=True, help="The rules: what they are, whether they are sound, what they may ask.")
app.add_typer(rules, name="rules")

FolderOption = Annotated[Path | None, typer.Option("--folder", help="Another folder of rules than the config's.")]


def _rule_set(context: typer.Context, folder: Path | None) -> RuleSet:
    """The rules of a folder, of the config, or those shipped while there is no config and none was asked for."""
    from monitor import wiring
    from monitor.cli.clock import SystemClock

    today = SystemClock().now().date()
    if folder is not None:
        if not folder.is_dir():
            raise ConfigError([f"--folder: there is no folder {folder}"])
    elif context.obj.exists() or _asked_for_config(context):
        return wiring.rule_set(config_of(context), today)
    chosen = folder or wiring.shipped("rules")
    return (
        wiring.rules_in(chosen, today, wiring.company(config_of(context)))
        if context.obj.exists()
        else wiring.rules_in(chosen, today)
    )


def _asked_for_config(context: typer.Context) -> bool:
    source = context.find_root().get_parameter_source("config")
    return source is not None and source.name != "DEFAULT"


@rules.command("list")
def list_(context: typer.Context, fmt: FormatOption = Format.TABLE, folder: FolderOption = None) -> None:
    """Every rule in force, with what it is for."""
    rows = [_row(r) for r in _rule_set(context, folder).rules]
    show(
        rows,
        fmt,
        ("severity", "id", "for_each", "closes", "fix_within", "status", "controls"),
        counted(len(rows), "rule"),
    )


def _row(rule: Rule) -> dict[str, Any]:
    from monitor.decide.compiled import compile_rule

    closes = rule.closes
    return {
        "id": rule.id,
        "title": rule.title,
        "severity": rule.severity.value,
        "status": rule.status.value,
        "for_each": rule.for_each,
        "needs_authority": rule.for_each == "person" or bool(compile_rule(rule).reads & declared.OF_PERSONS),
        "owner": rule.owner,
        "fix_within": None if rule.fix_within is None else _age(rule.fix_within),
        "closes": f"after {_age(closes.after)}" if closes.after else "acknowledged" if closes.acknowledged else "fixed",
        "controls": {k: list(v) for k, v in rule.controls.items()},
        "match": list(rule.match),
        "exemptions": len(rule.exemptions),
        "tests": len(rule.tests),
        "file": rule.file,
    }


def _age(length: timedelta) -> str:
    """As one writes it in a rule: in the largest unit that it is a whole number of."""
    seconds = int(length.total_seconds())
    unit, size = next((u, n) for u, n in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % n == 0)
    return f"{seconds // size}{unit}"


@rules.command()
def check(context: typer.Context, fmt: FormatOption = Format.TABLE, folder: FolderOption = None) -> None:
    """Whether every rule file is sound: keys, facts, types, controls, exemptions, and tests that say enough.

    Faults name file, line and clause. Exits with 1 when there is one.
    """
    try:
        found = _sound(context, folder)
    except RuleErrors as error:
        if fmt is Format.TABLE:
            raise
        show(map(placed, error.problems), fmt, (), "")
        raise typer.Exit(Exit.FAILED) from error
    for line in _unread(context, found, folder):
        console(err=True).print(line, style="yellow", markup=False)
    if fmt is Format.TABLE:
        console().print(f"{counted(len(found.rules), 'rule is', 'rules are')} sound; set {found.digest[:16]}")
    else:
        show([], fmt, (), "")


def _sound(context: typer.Context, folder: Path | None) -> RuleSet:
    """Raises RuleErrors, also for what loads and yet should be mended."""
    from monitor.cli.clock import SystemClock
    from monitor.decide.coverage import missing
    from monitor.decide.exemptions import expired
    from monitor.decide.timeline import faulty_polls

    found = _rule_set(context, folder)
    lacking = [fault for rule in found.rules for fault in (*missing(rule), *faulty_polls(rule))]
    lacking += expired(found.rules, SystemClock().now().date())
    if lacking:
        raise RuleErrors(lacking)
    return found


def placed(problem: str) -> dict[str, Any]:
    """A fault as programs read it: file, line, column where there is one, and what is wrong."""
    place = re.match(r"(?P<file>.+?):(?P<line>\d+)(?::(?P<column>\d+))?: ", problem)
    message = problem[place.end() :] if place else problem
    clause = re.match(r"(?:exemptions: )?clause \d+, column (\d+): ", message)
    column = (place and place["column"]) or (clause and clause[1])
    return {
        "file": place and place["file"], "line": int(place["line"]) if place else None,
        "column": int(column) if column else None, "message": message,
    }  # fmt: skip


def _unread(context: typer.Context, found: RuleSet, folder: Path | None) -> Iterator[str]:
    """Settings of the config that no rule reads, and files that are no rules by their name: misspelt ones would change
    nothing, and nobody would know.
    """
    from monitor import wiring
    from monitor.decide.settings import unread

    given = config_of(context).settings if context.obj.exists() else {}
    yield from (f"{context.obj}: {line}" for line in unread(given, found.rules))
    if folder or context.obj.exists():
        yield from wiring.not_read(folder or wiring.rules_folder(config_of(context)))


class TestFormat(StrEnum):
    TABLE = "table"
    JSON = "json"
    JUNIT = "junit"


@rules.command()
def test(
    context: typer.Context,
    rule: Annotated[str | None, typer.Argument(help="Only this rule.")] = None,
    fmt: Annotated[
        TestFormat, typer.Option("--format", "-f", help="table for people, json or junit for programs.")
    ] = TestFormat.TABLE,
    folder: FolderOption = None,
) -> None:
    """Run the tests in the rule files. A failing one says which clause saw which value."""
    from monitor.decide.junit import junit
    from monitor.decide.timeline import run_tests

    chosen = [r for r in _rule_set(context, folder).rules if rule in (None, r.id)]
    if not chosen:
        raise ConfigError([f"there is no rule {rule}; see `access-monitor rules list`"])
    results = [result for r in chosen for result in run_tests(r)]
    files = {r.id: r.file for r in chosen}
    if fmt is TestFormat.TABLE:
        _print(results, files)
    elif fmt is TestFormat.JUNIT:
        sys.stdout.write(junit(results, files))
    else:
        show([_tested(r, files) for r in results], Format.JSON, (), "")
    if not results or not all(r.passed for r in results):
        raise typer.Exit(Exit.FAILED)


def _tested(result: TestResult, files: dict[str, str]) -> dict[str, Any]:
    judged = result.judgement
    return {
        "rule": result.rule,
        "test": result.test,
        "passed": result.passed,
        "message": result.message,
        "verdict": judged.verdict.value if judged else None,
        "evidence": [{"clause": e.clause, "facts": dict(e.facts)} for e in judged.evidence] if judged else [],
        "file": files[result.rule],
        "line": result.line,
    }


def _print(results: list[TestResult], files: dict[str, str]) -> None:
    counts = Counter(r.rule for r in results)
    for rule in sorted(counts):
        mine = [r for r in results if r.rule == rule]
        failed = [r for r in mine if not r.passed]
        mark = "[red]✗[/]" if failed else "[green]✓[/]"
        console().print(f"{mark} {escape(rule)}: {len(mine) - len(failed)} of {len(mine)} tests pass")
        for result in failed:
            place = f"{files[rule]}:{result.line}"
            console().print(f"    {place}: {result.test}: {result.message}", style="red", markup=False, soft_wrap=True)
    passed = sum(r.passed for r in results)
    console().print(f"{passed} passed, {len(results) - passed} failed")


@rules.command()
def schema(
    of: Annotated[str, typer.Argument(help="rule, or exemptions for exemptions.toml.")] = "rule",
) -> None:
    """Print the JSON Schema of rule files, by which an editor completes and checks them."""
    from monitor.decide.schema import exemptions_schema, rule_schema, text

    made = {"rule": rule_schema, "exemptions": exemptions_schema}.get(of)
    if made is None:
        raise ConfigError([f"there is no schema of {of}; write rule or exemptions"])
    sys.stdout.write(text(made()))


@rules.command()
def fmt(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit with 1 if a file would change.")] = False,
    folder: FolderOption = None,
) -> None:
    """Lay out rule files: keys in one order, aligned; every comment stays, and nothing is said otherwise."""
    from monitor.cli.authoring import lay_out

    moved = lay_out(_own_folder(context, folder), check)
    for name in moved:
        console().print(f"{'would be' if check else 'was'} laid out anew: {name}", markup=False)
    if moved and check:
        raise typer.Exit(Exit.FAILED)
    if not moved:
        console().print("All rule files are laid out.")


@rules.command()
def new(
    context: typer.Context,
    id: Annotated[str | None, typer.Argument(help="Lower-case words joined by hyphens: what is wrong.")] = None,
    for_each: Annotated[str | None, typer.Option(help="account, person, grant, role, group, seat or source.")] = None,
    match: Annotated[list[str] | None, typer.Option("--match", "-m", help="A clause; repeatable.")] = None,
    title: Annotated[str | None, typer.Option(help="One line for the alert, facts in braces.")] = None,
    severity: Annotated[str | None, typer.Option(help="low, medium, high or critical.")] = None,
    owner: Annotated[str | None, typer.Option(help="E-mail of whoever answers for it.")] = None,
    description: Annotated[str | None, typer.Option(help="Why it matters.")] = None,
    setting: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE: a default that clauses read as settings.NAME; repeatable.")
    ] = None,
    folder: FolderOption = None,
) -> None:
    """Write a new rule, as a draft, with tests that pass. On a terminal it asks for what is not given."""
    from monitor.cli.authoring import asked, write_new

    given = {
        "id": id, "for_each": for_each, "match": match, "title": title, "severity": severity, "owner": owner,
        "description": description,
    }  # fmt: skip
    path, lacking = write_new(_own_folder(context, folder), asked(given), setting or [])
    console().print(f"Written: {path}", markup=False, soft_wrap=True)
    for line in lacking:
        console(err=True).print(line, style="yellow", markup=False, soft_wrap=True)


def _own_folder(context: typer.Context, folder: Path | None) -> Path:
    """A folder of rules that may be written to: those that come with the program are not."""
    from monitor import wiring

    if folder is None and context.obj.exists():
        folder = wiring.rules_folder(config_of(context))
    if folder is None or folder == wiring.shipped("rules"):
        raise ConfigError(
            ["there is no folder of rules of your own; run `access-monitor init FOLDER`, or give --folder"]
        )
    if not folder.is_dir():
        raise ConfigError([f"--folder: there is no folder {folder}"])
    return folder


@rules.command()
def facts(
    fmt: FormatOption = Format.TABLE,
    kind: Annotated[str | None, typer.Argument(help="account, person, grant, role, group, seat or source.")] = None,
    defaults: Annotated[bool, typer.Option("--defaults", help="What a rule test starts from.")] = False,
) -> None:
    """Every fact that a rule may ask: its type, what it is, and when it is absent."""
    from monitor.decide.factsheet import when_absent

    if kind is not None and kind not in declared.KINDS:
        raise ConfigError([f"there is no kind {kind}; there are {', '.join(declared.KINDS)}"])
    kinds = declared.KINDS if kind is None else (kind,)
    if defaults:
        rows = [{"field": f"{k}.{n}", "value": str(v) if hasattr(v, "days") else v}
                for k in kinds for n, v in declared.SAMPLES[k].items()]  # fmt: skip
        show(rows, fmt, ("field", "value"), "What a rule test starts from (ages are before now)")
        return
    chosen = [f for f in declared.FACTS.values() if f.kind in (*kinds, "now")]
    rows = [
        {"fact": f.name, "type": f.type, "about": f.about, "absent": when_absent(f), "scope": f.scope} for f in chosen
    ]
    show(rows, fmt, ("fact", "type", "about", "absent"), counted(len(rows), "fact"))
