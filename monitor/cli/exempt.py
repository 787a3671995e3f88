"""access-monitor exemptions: who is let be, by whom, until when, and what that mutes now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.app import app, config_of
from monitor.cli.output import Format, FormatOption, show

if TYPE_CHECKING:
    from monitor.config import Config
    from monitor.domain.finding import Judgement

COLUMNS = ("state", "rules", "whom", "reason", "approved_by", "ticket", "ends", "mutes", "origin")


@app.command()
def exemptions(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: Annotated[str | None, typer.Option("--source", "-s", help="What they mute in this source alone.")] = None,
) -> None:
    """Every exemption, with what it mutes now and when it ends; expired and unused ones are marked."""
    rows = list(_rows(config_of(context), source))
    if fmt is Format.TABLE:
        rows = [row | {"mutes": None if row["mutes"] is None else len(row["mutes"])} for row in rows]
    show(rows, fmt, COLUMNS, f"{len(rows)} exemptions", "No exemptions: nobody is let be.")


def _rows(config: Config, source: str | None) -> Iterator[dict[str, Any]]:
    from monitor import wiring
    from monitor.cli.clock import SystemClock
    from monitor.decide.exemptions import ends, listed, state
    from monitor.decide.present import subject

    now = SystemClock().now()
    muted = _muted(config, source)
    for each in listed(wiring.rule_set(config, now.date()).rules):
        given = each.exemption
        mine = None if muted is None else muted.get(given.id, [])
        said = state(given, None if mine is None else len(mine), now, config.zone, config.exemption_warning)
        yield {
            "id": given.id, "state": said, "rules": list(each.rules), "whom": given.whom,
            "subject": given.subject or None, "match": list(given.match), "reason": given.reason,
            "approved_by": given.approved_by, "ticket": given.ticket, "expires": given.expires.isoformat(),
            "ends": ends(given, config.zone), "origin": f"{given.origin}:{given.line}",
            "mutes": None if mine is None else [
                {"rule": j.rule, "source": name, "title": j.title, "subject": subject(j.subject)} for name, j in mine
            ],
        }  # fmt: skip


def _muted(config: Config, source: str | None) -> dict[str, list[tuple[str, Judgement]]] | None:
    """What each exemption mutes, judged as of the latest snapshots; None while nothing is recorded."""
    from monitor import wiring
    from monitor.cli.again import judged_now
    from monitor.domain.rule import Verdict

    if not wiring.recorded(config):
        return None
    found: dict[str, list[tuple[str, Judgement]]] = {}
    for name, judged in judged_now(config, source):
        for judgement in judged.found:
            for given in judgement.exempted_by if judgement.verdict is Verdict.EXEMPT else ():
                found.setdefault(given, []).append((name, judgement))
    return found
