"""Commands by which people act: acknowledge a finding, make a place to start from."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.app import app, config_of, person
from monitor.cli.output import clean, console
from monitor.errors import ConfigError


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
    from monitor.cli.acknowledging import acknowledge_finding

    found = acknowledge_finding(config_of(context), fingerprint, person(by))
    console().print(f"{found.status.value}: {clean(found.title)}")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Where to write; made if it is not there.")] = Path(),
) -> None:
    """Write a config, the rules and the templates into a folder, ready to be edited. Nothing is overwritten."""
    from monitor import wiring

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
