"""Commands about polls that were too unlikely to be believed: what waits, what it would change, and a person's word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.app import Exit, app, config_of
from monitor.cli.output import Format, FormatOption, clean, console, show

if TYPE_CHECKING:
    from monitor.config import Config

quarantine = typer.Typer(no_args_is_help=True, help="Polls that would have changed more than their limits allow.")
app.add_typer(quarantine, name="quarantine")

SnapshotArgument = Annotated[int | None, typer.Argument(help="Its number; not needed while only one waits.")]
By = Annotated[str, typer.Option("--by", help="Who decides: it stands in the ledger.")]


@quarantine.command("list")
def list_(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: Annotated[str | None, typer.Option("--source", "-s", help="Only this source.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Decided ones as well.")] = False,
) -> None:
    """What waits to be accepted or rejected, and why it was not believed."""
    from monitor import wiring
    from monitor.store import aside

    rows = aside.listing(wiring.database(config_of(context), must_exist=True), source)
    keys = ("source", "status", "started_at", "why", "decided_at", "decided_by", "applied_as")
    shown = (
        {"snapshot": r["snapshot_id"], **{k: r[k] for k in keys}}
        for r in rows
        if everything or r["status"] == "waiting"
    )
    columns = ("snapshot", *keys) if everything else ("snapshot", "source", "started_at", "why")
    show(shown, fmt, columns, "Quarantine", "Nothing waits in quarantine.")


@quarantine.command("show")
def show_(context: typer.Context, snapshot: SnapshotArgument = None, fmt: FormatOption = Format.TABLE) -> None:
    """Exactly what a quarantined snapshot would have changed, as `drift` shows what did change."""
    from monitor import wiring
    from monitor.cli.drift import show_changes
    from monitor.store import aside

    config = config_of(context)
    _, found = _waiting(config, snapshot)
    rows = aside.would_change(found.file, found.snapshot, found.source)
    if fmt is Format.TABLE:
        console().print(f"Snapshot {found.snapshot} of {clean(found.source)}: {clean(found.why)}")
    show_changes(wiring.database(config, must_exist=True), rows, fmt, "Would change", "Nothing.")


@quarantine.command()
def accept(context: typer.Context, by: By, snapshot: SnapshotArgument = None) -> None:
    """Say that it is true: that very snapshot is applied as it was seen, judged and told.

    The messages are sent by `run`, or by the next `poll`.
    """
    from dataclasses import replace
    from io import StringIO

    from monitor import wiring
    from monitor.cli import logs
    from monitor.cli.clock import SystemClock
    from monitor.cycle import accept as apply

    config = config_of(context)
    engine, found = _waiting(config, snapshot)
    name = _named(by)
    logs.set_up(config.log)
    parts = wiring.parts(config, SystemClock(), stream=StringIO(), only=found.source, engine=engine, unread=True)
    result = apply(replace(parts, channels={}), found.source, found.snapshot, name)
    console().print(
        f"snapshot {found.snapshot} of {clean(found.source)} is applied as snapshot {result.snapshot_id}: "
        f"{result.changes} changes; {result.notifications} messages"
    )


@quarantine.command()
def reject(context: typer.Context, by: By, snapshot: SnapshotArgument = None) -> None:
    """Say that it is not true: what was seen is thrown away. The next poll is compared with the last good one."""
    from monitor import wiring
    from monitor.cli.clock import SystemClock
    from monitor.cycle import reject as refuse

    config = config_of(context)
    engine, found = _waiting(config, snapshot)
    refuse(engine, SystemClock(), wiring.staging_folder(config), found.source, found.snapshot, _named(by))
    console().print(f"snapshot {found.snapshot} of {clean(found.source)} is rejected")


def _named(by: str) -> str:
    from monitor.errors import ConfigError

    if not by.strip():
        raise ConfigError(["--by: say who decides"])
    return by.strip()


class _Waiting:
    """A snapshot that waits, and where it lies."""

    def __init__(self, row: dict[str, Any], folder: Path) -> None:
        from monitor.line.turns import source_mark
        from monitor.store.aside import kept_file

        self.snapshot, self.source, self.why = int(row["snapshot_id"]), str(row["source"]), str(row["why"])
        self.file = kept_file(folder, source_mark(self.source), self.snapshot)


def _waiting(config: Config, snapshot: int | None) -> tuple[Any, _Waiting]:
    """The one that is meant. Raises StoreError for one that does not wait, ConfigError when several do."""
    from monitor import wiring
    from monitor.errors import ConfigError
    from monitor.store import aside

    engine = wiring.database(config, must_exist=True)
    rows = {r["snapshot_id"]: r for r in aside.listing(engine) if r["status"] == "waiting"}
    if snapshot is None:
        if not rows:
            console().print("Nothing waits in quarantine.")
            raise typer.Exit(Exit.DONE)
        if len(rows) > 1:
            raise ConfigError([f"SNAPSHOT: {len(rows)} wait: {', '.join(map(str, rows))}; say which"])
        snapshot = next(iter(rows))
    if snapshot not in rows:
        aside.refuse_decided(engine, snapshot)
    return engine, _Waiting(rows[snapshot], wiring.staging_folder(config))
