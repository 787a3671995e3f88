"""What each poll saw, with its proof, and the ledger of all that was seen, decided and sent."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.app import Exit, SourceOption, app, config_of, database
from monitor.cli.output import Format, FormatOption, console, show
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine


@app.command()
def snapshots(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: SourceOption = None,
    limit: Annotated[int | None, typer.Option(help="Only the newest N.")] = None,
    proof: Annotated[int | None, typer.Option(help="The proof and the scopes of one snapshot.")] = None,
    pages: Annotated[int | None, typer.Option(help="The raw pages of one snapshot.")] = None,
    page: Annotated[int | None, typer.Option(help="With --pages: print the body of this page.")] = None,
    verify: Annotated[int | None, typer.Option(help="Check the raw pages of one snapshot against the ledger.")] = None,
) -> None:
    """What each poll saw: outcome, counts, and the proof."""
    from monitor.cli import pages as raw
    from monitor.store import queries

    engine = database(config_of(context))
    if page is not None and pages is None:
        raise ConfigError(["--page: say of which snapshot, with --pages ID"])
    if proof is not None:
        _proof(engine, proof, fmt)
    elif pages is not None:
        raw.list_pages(config_of(context), engine, pages, page, fmt)
    elif verify is not None:
        raw.verify(config_of(context), engine, verify)
    else:
        _all_of(queries.snapshots(engine, source, limit), fmt)


def _all_of(rows: list[dict[str, Any]], fmt: Format) -> None:
    keys = (
        "id", "source", "lane", "outcome", "started_at", "finished_at", "accounts", "roles", "groups", "grants",
        "requests", "pages", "digest", "error",
    )  # fmt: skip
    columns = (
        "id", "source", "lane", "outcome", "started_at", "error", "accounts", "grants", "groups", "roles", "requests",
    )  # fmt: skip
    show(
        ({k: r[k] for k in keys} for r in rows),
        fmt,
        columns,
        "Snapshots",
        "No snapshots yet: run `access-monitor poll`.",
    )


def _proof(engine: Engine, snapshot_id: int, fmt: Format) -> None:
    from monitor.store import queries

    found = queries.snapshots(engine, only=snapshot_id)
    if not found:
        raise ConfigError([f"--proof: there is no snapshot {snapshot_id}"])
    scopes = queries.scopes_of(engine, snapshot_id)
    if fmt is Format.TABLE:
        show(({"what": k, "value": v} for k, v in found[0].items() if k != "proof"), fmt, ("what", "value"), "Snapshot")
        show(({"what": k, "value": v} for k, v in (found[0]["proof"] or {}).items()), fmt, ("what", "value"), "Proof")
        show(scopes, fmt, ("name", "outcome", "reason", "valid_from"), "Scopes")
    else:
        show([{**found[0], "scopes": scopes}], fmt, (), "")


@app.command("ledger")
def ledger_(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    verify: Annotated[bool, typer.Option("--verify", help="Check the chain of hashes instead of printing.")] = False,
) -> None:
    """The append-only record of what was seen, decided and sent."""
    from monitor.store import ledger, queries
    from monitor.store.engine import reading

    engine = database(config_of(context))
    if not verify:
        show(queries.ledger_rows(engine), fmt, ("sequence", "time", "kind", "body"), "Ledger")
        return
    with reading(engine) as connection:
        broken = list(ledger.verify(connection))
        head = connection.exec_driver_sql("SELECT sequence, hash FROM ledger ORDER BY sequence DESC LIMIT 1").first()
    for fault in broken:
        console(err=True).print(f"row {fault.sequence}: {fault.what}", style="red")
    if broken:
        raise typer.Exit(Exit.FAILED)
    sequence, digest = head or (0, "")
    sys.stdout.write(f"{sequence} rows, the chain holds; head {digest}\n")
