"""What every command shares: the option --config, errors in one line each, and exit codes.

0 done; 1 a poll, check or rule test failed; 2 the command line or the config is wrong; 3 `findings --fail-on` found
one; 4 the poll was partial or quarantined.

Modules that declare commands import what is slow (the database, rules, edges) where a command uses it: `--help`,
`--version` and completion of a shell ask for none of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor import __version__
from monitor.errors import ConfigError, MonitorError, RuleErrors

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from monitor.config import Config


class Exit(IntEnum):
    DONE = 0
    FAILED = 1
    USAGE = 2
    FOUND = 3
    PARTIAL = 4


SourceOption = Annotated[str | None, typer.Option("--source", "-s", help="Only this source.")]
app = typer.Typer(
    name="access-monitor",
    help="Watches who can do what in your applications, remembers it, "
    "and tells the right people when it should not be so.\n\n"
    "Start with: access-monitor init FOLDER, then access-monitor check, then access-monitor run.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 done, 1 a poll, check or rule test failed, 2 the command line or the config is wrong, "
    "3 findings --fail-on found one, 4 the poll was partial or quarantined.",
)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"access-monitor {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    config: Annotated[
        Path, typer.Option("--config", "-c", envvar="ACCESS_MONITOR_CONFIG", help="The config file.")
    ] = Path("config.toml"),
    _v: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    context.obj = config


def config_of(context: typer.Context) -> Config:
    from monitor.config import load

    return load(context.obj)


def person(by: str | None) -> str:
    """Who does what is done: as said, or the login name. Raises ConfigError where there is none, as in a container."""
    import getpass

    try:
        return by or getpass.getuser()
    except (KeyError, OSError) as error:
        raise ConfigError(["--by: say who you are; there is no login name here"]) from error


def database(config: Config) -> Engine:
    """What is recorded so far; there must be something."""
    from monitor import wiring

    return wiring.database(config, must_exist=True)


def moment(text: str | None, option: str, *, end: bool = True) -> datetime | None:
    """A date or a time on the command line: 2026-03-01, or RFC 3339. A date means its end (or beginning), in UTC."""
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError([f'{option}: "{text}" is no time; write 2026-03-01 or 2026-03-01T12:00:00Z']) from error
    if len(text) == len("2026-03-01") and end:
        when = when.replace(hour=23, minute=59, second=59, microsecond=999_999)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def register() -> None:
    """Every module of commands registers its own when it is imported."""
    from monitor.cli import (  # noqa: F401
        accounts,
        act,
        drift,
        exempt,
        findings,
        hindsight,
        outbox,
        quarantine,
        routes,
        rules,
        silence,
        slack,
        snapshots,
        start,
        templates,
    )  # fmt: skip


def main(args: Sequence[str] | None = None) -> None:
    """The entry point: our errors as one line each on stderr, and the exit code."""
    register()
    try:
        app(args=None if args is None else list(args), prog_name="access-monitor")
    except MonitorError as error:
        _say(error)
        sys.exit(Exit.USAGE if isinstance(error, ConfigError) else Exit.FAILED)
    except BrokenPipeError:  # the reader went away: `access-monitor findings | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.DONE)


def _say(error: MonitorError) -> None:
    from rich.console import Console

    from monitor.cli.output import harmless

    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    for line in map(harmless, str(error).splitlines()):
        console.print(line if line.startswith(" ") else f"error: {line}", markup=False, style="red")
    if isinstance(error, (ConfigError, RuleErrors)) and len(error.problems) > 1:
        console.print(f"{len(error.problems)} problems", style="red")
