"""Who has which access, today or at any date, and whose the accounts are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.app import SourceOption, app, config_of, database, moment
from monitor.cli.output import Format, FormatOption, show
from monitor.errors import ConfigError

if TYPE_CHECKING:
    pass


@app.command()
def accounts(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: SourceOption = None,
    privileged: Annotated[bool | None, typer.Option("--privileged/--ordinary", help="Only these.")] = None,
    at: Annotated[str | None, typer.Option(help="As it was at this date or time: who was admin on 2026-03-01?")] = None,
    account: Annotated[str | None, typer.Argument(help="One account, by id or e-mail.")] = None,
) -> None:
    """Accounts with their access, today or at any date since watching began."""
    from monitor.store import queries

    engine = database(config_of(context))
    rows = queries.accounts(engine, source, privileged, moment(at, "--at"), account)
    keys = (
        "source", "id", "email", "name", "status", "level", "role", "privileged", "is_admin", "is_instructor",
        "created", "last_login", "groups", "first_seen", "status_since",
    )  # fmt: skip
    columns = ("email", "status", "role", "privileged", "last_login", "level", "is_admin", "groups", "name", "source")
    show(({k: r[k] for k in keys} for r in rows), fmt, columns, "Accounts", _no_accounts(at, account))


def _no_accounts(at: str | None, account: str | None) -> str:
    then = f" as of {at}; `access-monitor snapshots` says since when there is a record" if at else ""
    return f"No such account is recorded{then}." if account else f"No accounts are recorded{then}."


@app.command()
def match(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: SourceOption = None,
    result: Annotated[str | None, typer.Option(help="Only matched, unmatched, ambiguous or unsure.")] = None,
) -> None:
    """Whose the accounts are: matched to a person of an authority, to none, or to several; and why."""
    from monitor.cli.matching import RESULTS, matches

    if result is not None and result not in RESULTS:
        raise ConfigError([f"--result: there is no {result}; there are {', '.join(RESULTS)}"])
    rows = list(matches(config_of(context), source))
    counts = ", ".join(f"{sum(r['result'] == kind for r in rows)} {kind}" for kind in RESULTS)
    columns = ("result", "email", "account", "by", "person", "name", "why", "source")
    show((r for r in rows if result in (None, r["result"])), fmt, columns, counts, f"Nothing of that kind: {counts}.")
