"""What `access-monitor snapshots` does with raw pages: list them, print one, check them against the ledger."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import typer

from monitor.cli.app import Exit
from monitor.cli.output import Format, clean, console, show
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from monitor.config import Config


def list_pages(config: Config, engine: Engine, snapshot: int, number: int | None, fmt: Format) -> None:
    """All pages of a snapshot, or the body of one as it came."""
    from monitor import wiring
    from monitor.store import pages

    found = pages.opened(engine, wiring.staging_folder(config), snapshot)
    if number is None:
        rows = ({"page": p.number, "asked": p.asked, "bytes": p.size, "digest": p.digest, "fault": p.fault}
                for p in pages.listed(found.path))  # fmt: skip
        show(rows, fmt, ("page", "asked", "bytes", "digest", "fault"), f"Raw pages of snapshot {snapshot}")
        return
    body = pages.body_of(found.path, number)
    if body is None:
        raise ConfigError([f"--page: there is no body of page {number} of snapshot {snapshot}; see --pages {snapshot}"])
    sys.stdout.buffer.write(body)


def verify(config: Config, engine: Engine, snapshot: int) -> None:
    """Says ok, or which page differs; then the command fails."""
    from monitor import wiring
    from monitor.store import pages

    found = pages.opened(engine, wiring.staging_folder(config), snapshot)
    result = pages.verify(engine, found)
    for fault in result.faults:
        console(err=True).print(clean(fault), style="red", soft_wrap=True)
    if result.faults:
        raise typer.Exit(Exit.FAILED)
    sys.stdout.write(f"ok: {result.pages} pages, root digest {result.root} as in row {result.row} of the ledger\n")
