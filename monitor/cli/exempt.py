"""access-monitor exemptions: who is let be, by whom, until when, and what that mutes now; in files and by buttons."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.app import app, config_of, person
from monitor.cli.output import Format, FormatOption, clean, console, counted, show
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.config import Config
    from monitor.domain.exemption import StoredExemption
    from monitor.domain.finding import Judgement
    from monitor.domain.rule import Exemption

COLUMNS = ("state", "rules", "whom", "reason", "approved_by", "ticket", "ends", "mutes", "origin")
exemptions = typer.Typer(invoke_without_command=True)
app.add_typer(exemptions, name="exemptions")


@exemptions.callback()
def list_(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: Annotated[str | None, typer.Option("--source", "-s", help="What they mute in this source alone.")] = None,
) -> None:
    """Every exemption, with what it mutes now and when it ends; expired and unused ones are marked.

    Those of files, and those that people gave by a button in Slack.
    """
    if context.invoked_subcommand is not None:
        return
    rows = list(_rows(config_of(context), source))
    if fmt is Format.TABLE:
        rows = [row | {"mutes": None if row["mutes"] is None else len(row["mutes"])} for row in rows]
    show(rows, fmt, COLUMNS, counted(len(rows), "exemption"), "No exemptions: nobody is let be.")


@exemptions.command()
def export(context: typer.Context) -> None:
    """Print what was given by buttons and is in force as TOML that fits rules/exemptions.toml.

    Once it stands there, withdraw it here: it counts as the same leave either way.
    """
    from monitor import wiring
    from monitor.cli.clock import SystemClock
    from monitor.decide.exemptions import ends
    from monitor.decide.export import as_toml
    from monitor.domain.exemption import Standing

    config, now = config_of(context), SystemClock().now()
    known = wiring.rule_set(config, now.date()).by_id
    given = [s for s in _stored(config) if s.standing is Standing.APPROVED and now < ends(s.exemption, config.zone)]
    for stored in given:
        if stored.rule not in known:
            left_out = f"exemption {stored.number} is left out: there is no rule {clean(stored.rule)} any more"
            console(err=True).print(left_out, markup=False, style="yellow")
    sys.stdout.write(as_toml(s for s in given if s.rule in known))


@exemptions.command()
def withdraw(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="Of the exemption, as `access-monitor exemptions` shows it.", min=1)],
    by: Annotated[str | None, typer.Option("--by", help="Who does it; your login name if not given.")] = None,
) -> None:
    """End an exemption that was given, or asked for, by a button. What it let be is told at the next poll."""
    from monitor import wiring
    from monitor.acting import withdraw as end
    from monitor.cli.clock import SystemClock

    config, now = config_of(context), SystemClock().now()
    engine = wiring.database(config, must_exist=True)
    rules = wiring.rule_set(config, now.date()).by_id
    ended = end(engine, number, person(by), rules, wiring.living(config), now)
    if ended is None:
        raise ConfigError([f"number: there is no exemption {number} in force; see `access-monitor exemptions`"])
    console().print(f"withdrawn: {ended.rule} for {clean(ended.subject.email or ended.subject.id)}", markup=False)


def _rows(config: Config, source: str | None) -> Iterator[dict[str, Any]]:
    from monitor import wiring
    from monitor.cli.clock import SystemClock
    from monitor.decide.exemptions import listed, state
    from monitor.domain.exemption import Standing

    now = SystemClock().now()
    muted, stored = _muted(config, source), {s.number: s for s in _stored(config)}
    shown = [s.exemption for s in stored.values() if s.standing not in (Standing.REFUSED, Standing.WITHDRAWN)]
    for each in listed(wiring.rule_set(config, now.date()).rules, shown):
        given = each.exemption
        row = stored.get(given.number or 0)
        mine = None if muted is None else muted.get(given.id, [])
        said = state(given, None if mine is None else len(mine), now, config.zone, config.exemption_warning)
        asked = row is not None and row.standing is not Standing.APPROVED and said != "expired"
        yield _row(given, each.rules, row.standing.value if row and asked else said, mine, config)


def _row(
    given: Exemption, rules: tuple[str, ...], said: str, mine: list[tuple[str, Judgement]] | None, config: Config
) -> dict[str, Any]:
    from monitor.decide.exemptions import ends
    from monitor.decide.present import subject

    return {
        "id": given.id, "number": given.number, "state": said, "rules": list(rules),
        "whom": given.whom, "subject": given.subject or None, "match": list(given.match),
        "sources": list(given.sources),
        "reason": given.reason, "approved_by": given.approved_by, "ticket": given.ticket,
        "expires": given.expires.isoformat(), "ends": ends(given, config.zone), "origin": given.place,
        "mutes": None if mine is None else [
            {"rule": j.rule, "source": name, "title": j.title, "subject": subject(j.subject)} for name, j in mine
        ],
    }  # fmt: skip


def _stored(config: Config) -> list[StoredExemption]:
    from monitor import wiring
    from monitor.store import exemptions as store
    from monitor.store.engine import reading

    if not wiring.recorded(config):
        return []
    with reading(wiring.database(config)) as connection:
        return store.load(connection)


def _muted(config: Config, source: str | None) -> dict[str, list[tuple[str, Judgement]]] | None:
    """What each exemption mutes, judged as of the latest snapshots; None while nothing is recorded."""
    from monitor import wiring
    from monitor.cli.again import judged_now
    from monitor.domain.rule import Verdict

    if not wiring.recorded(config):
        return None
    found: dict[str, list[tuple[str, Judgement]]] = {}
    for snapshot, judged in judged_now(config, source):
        for judgement in judged.found:
            for given in judgement.exempted_by if judgement.verdict is Verdict.EXEMPT else ():
                found.setdefault(given, []).append((snapshot.source, judgement))
    return found
