"""Commands by which people act: acknowledge a finding, make a place to start from."""

from __future__ import annotations

import getpass
import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from monitor import wiring
from monitor.cli.app import app, config_of
from monitor.cli.clock import SystemClock
from monitor.cli.output import clean, console
from monitor.decide.reconcile import acknowledged
from monitor.domain.finding import Finding, FindingStatus
from monitor.errors import ConfigError
from monitor.store import findings as store
from monitor.store import queries
from monitor.store.engine import reading, writing


@app.command()
def acknowledge(
    context: typer.Context,
    fingerprint: Annotated[str, typer.Argument(help="Of the finding, or its first characters (8 or more).")],
    by: Annotated[str | None, typer.Option(help="Who has seen it; your login name if not given.")] = None,
) -> None:
    """Say that somebody has seen a finding and takes care of it.

    It stays open work until a poll proves that it is fixed; only findings of rules that tell of an event
    (closes = "acknowledged" or "after 14d") are done with this.
    """
    config, now = config_of(context), SystemClock().now()
    engine = wiring.database(config, must_exist=True)
    rules = wiring.rule_set(config, now.date()).by_id
    with reading(engine) as connection:
        found = _one(
            store.load(connection, store.FINDINGS.c.fingerprint.startswith(fingerprint, autoescape=True)), fingerprint
        )
    event = acknowledged(found, rules.get(found.rule), by or getpass.getuser(), now)
    source_id = queries.source_id(engine, found.source, "")
    with writing(engine) as connection:
        store.apply(connection, [event], source_id, found.snapshot, now)
    console().print(f"{event.finding.status.value}: {clean(found.title)}")


def _one(found: list[Finding], fingerprint: str) -> Finding:
    if len(fingerprint) < 8:
        raise ConfigError(["fingerprint: give at least its first 8 characters"])
    waiting = [f for f in found if f.status is not FindingStatus.RESOLVED]
    if not waiting:
        done = " (it is resolved)" if found else ""
        raise ConfigError([f"fingerprint: there is no open finding {fingerprint}{done}; see `access-monitor findings`"])
    if len({f.fingerprint for f in waiting}) > 1:
        raise ConfigError([f"fingerprint: {fingerprint} is the beginning of {len(waiting)} findings; give more of it"])
    return waiting[0]


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if it is not there.")] = Path(),
) -> None:
    """Write a config, the rules and the templates into a folder, ready to be edited. Nothing is overwritten."""
    targets = {"config.toml": "config.example.toml", "rules": "rules", "templates": "templates"}
    there = [name for name in targets if (folder / name).exists()]
    if there:
        raise ConfigError([f"{folder / name} is there already; nothing was written" for name in there])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, origin in targets.items():
            _copy(wiring.shipped(origin), folder / name)
    except (OSError, shutil.Error) as error:
        raise ConfigError([f"{folder}: cannot be written to: {getattr(error, 'strerror', None) or error}"]) from error
    console().print(
        f"Written: {folder / 'config.toml'}, {folder / 'rules'}/, {folder / 'templates'}/\n"
        f"Next: name your school in {folder / 'config.toml'}, set the secret it asks for, then\n"
        f"  access-monitor --config {shlex.quote(str(folder / 'config.toml'))} check", markup=False, soft_wrap=True,
    )  # fmt: skip


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)
