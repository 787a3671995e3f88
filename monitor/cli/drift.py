"""What changed between snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.app import SourceOption, app, config_of, database, moment
from monitor.cli.output import Format, FormatOption, show

if TYPE_CHECKING:
    from sqlalchemy import Engine


@app.command()
def drift(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: SourceOption = None,
    snapshot: Annotated[int | None, typer.Option(help="Only what this snapshot showed.")] = None,
    since: Annotated[str | None, typer.Option(help="From this date or time on.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this date or time.")] = None,
) -> None:
    """What changed between snapshots, field by field, before and after."""
    from monitor.store import queries

    engine = database(config_of(context))
    rows = queries.drift(engine, source, snapshot, moment(since, "--since", end=False), moment(until, "--until"))
    show_changes(engine, rows, fmt, "Drift", "No drift: nothing changed since the first whole snapshot.")


def show_changes(engine: Engine, rows: Iterable[dict[str, Any]], fmt: Format, title: str, empty: str) -> None:
    """People read titles, programs ids."""
    from monitor.store import queries

    if fmt is Format.TABLE:
        names = queries.entitlement_titles(engine)
        show([told(r, names) for r in rows], fmt, TOLD, title, empty, least=4)
    else:
        show(map(_change, rows), fmt, (), "")


TOLD = ("who", "what", "before", "after", "snapshot")


def told(row: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A change as a person reads it: `names` gives the titles of what is told by its id."""
    who = row["subject_email"] or row["subject_name"] or row["subject_id"]
    before, after = (names.get(v, v) if isinstance(v, str) else v for v in (row["before"], row["after"]))
    return {
        "who": who if row["subject_kind"] == "account" else f"{row['subject_kind']} {who}",
        "what": row["field"] or row["kind"], "before": before, "after": after, "snapshot": row["snapshot_id"],
    }  # fmt: skip


def _change(row: dict[str, Any]) -> dict[str, Any]:
    about = {
        "kind": row["subject_kind"],
        "id": row["subject_id"],
        "email": row["subject_email"],
        "name": row["subject_name"],
    }
    kept = {k: row[k] for k in ("snapshot_id", "source", "kind", "field", "before", "after")}
    return {
        "snapshot": kept["snapshot_id"], "source": kept["source"], "kind": kept["kind"],
        "subject": about,
        "field": kept["field"], "before": kept["before"], "after": kept["after"],
    }  # fmt: skip
