"""access-monitor rules explain, preview, backtest: what a rule says of what is recorded, and would have said."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.app import SourceOption, config_of, moment
from monitor.cli.output import Format, FormatOption, counted, show
from monitor.cli.rules import rules
from monitor.errors import ConfigError

RuleArgument = Annotated[str, typer.Argument(help="The rule's id, or a rule file.")]


@rules.command()
def explain(
    context: typer.Context,
    rule: RuleArgument,
    subject: Annotated[str, typer.Argument(help="Id or e-mail of an account; id of a role or group; a source's name.")],
    source: SourceOption = None,
    at: Annotated[str | None, typer.Option(help="As of a date or a time; now, if none is given.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Why a rule holds for a subject, or why not: every clause, its values, since when, and what was sent."""
    from monitor.cli import again, whatif

    config = config_of(context)
    chosen, when = whatif.rule_named(config, rule), moment(at, "--at")
    rows = [r for n in again.judging(config, source, chosen) if (r := whatif.explain(config, n, chosen, subject, when))]
    if not rows:
        where = f" as of {at}" if at else ""
        raise ConfigError([f"no source shows the {chosen.for_each} {subject}{where}; see `access-monitor accounts`"])
    if fmt is Format.TABLE:
        for row in rows:
            whatif.print_explained(row)
    else:
        show(rows, fmt, (), "")


@rules.command()
def history(
    context: typer.Context,
    diff: Annotated[bool, typer.Option("--diff", help="With what was edited, line by line.")] = False,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Which rule set was in force when, and how each differs from the one before it. Oldest first."""
    from monitor.cli import whatif

    rows = whatif.history(config_of(context))
    title = counted(len(rows), "rule set")
    show(rows, fmt, ("since", "until", "snapshots", "digest", "rules", "added", "removed", "edited"), title,
         "No snapshot yet, so no rule set was in force.")  # fmt: skip
    if diff and fmt is Format.TABLE:
        for row in rows:
            whatif.print_diff(row)


@rules.command()
def preview(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A rule file, new or edited.")],
    source: SourceOption = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """What a rule file would find now, beside what the rule of that id finds today. Records nothing."""
    from monitor.cli import again, whatif

    config = config_of(context)
    rule = whatif.rule_in(config, file)
    rows = [row for name in again.judging(config, source, rule) for row in whatif.previewed(config, name, rule)]
    counts = {c: sum(r["change"] == c for r in rows) for c in whatif.CHANGES}
    title = f"{rule.id}: " + ", ".join(f"{n} {c}" for c, n in counts.items())
    show(rows, fmt, ("change", "source", "verdict", "subject" if fmt is not Format.TABLE else "who", "title"), title,
         f"{rule.id} finds nothing, now as before.")  # fmt: skip


@rules.command()
def backtest(
    context: typer.Context,
    rule: RuleArgument,
    source: SourceOption = None,
    since: Annotated[str | None, typer.Option("--from", help="First day, or time.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Last day, or time.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """What a rule would have found on each stored snapshot: when it opened and closed, and how many messages.

    Over all snapshots, if no period is given.
    Sign-ins are known for the newest snapshot only; before it, rules that read them say unknown.
    """
    from monitor.cli import again, whatif
    from monitor.decide.present import plain

    config, period = config_of(context), (moment(since, "--from"), moment(until, "--to"))
    chosen = whatif.rule_named(config, rule)
    replayed = (whatif.replayed(config, name, chosen, *period) for name in again.judging(config, source, chosen))
    rows = [whatif.told(config, r) for r in replayed if r.steps]
    if not rows:
        raise ConfigError(["there is no snapshot in that time; see `access-monitor snapshots`"])
    if fmt is Format.JSON:
        sys.stdout.write(json.dumps(plain(rows), indent=2, ensure_ascii=True) + "\n")
    elif fmt is Format.CSV:
        show([f for r in rows for f in r["findings"]], fmt, (), "")
    else:
        for row in rows:
            whatif.plot(row)
