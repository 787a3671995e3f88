"""Commands that start something: the daemon, one poll, a check of everything, the simulated school, the demo."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from monitor.cli.app import Exit, app, config_of
from monitor.cli.output import Format, FormatOption, console, show
from monitor.errors import ConfigError


@app.command()
def run(context: typer.Context) -> None:
    """Watch: poll every source on its interval and send what there is to say, until SIGTERM.

    SIGHUP reloads config and rules, all or nothing. Under systemd use deploy/access-monitor.service.
    """
    from monitor.cli.polling import watch

    watch(lambda: config_of(context))


@app.command()
def poll(
    context: typer.Context,
    source: Annotated[str | None, typer.Option("--source", "-s", help="Only this source.")] = None,
    beyond: Annotated[
        bool, typer.Option("--beyond-limits", help="Believe what it shows, however much it changes; needs --by.")
    ] = False,
    by: Annotated[str | None, typer.Option("--by", help="Who answers for --beyond-limits.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Only the fast lanes: who is privileged or suspended.")] = False,
) -> None:
    """Poll once, judge, record, send what there is to say, and stop.

    Exits with 4 when a poll was partial or quarantined, with 1 when one failed.
    """
    from monitor.cli.polling import poll_once
    from monitor.domain.reading import Lane

    if beyond is not bool(by and by.strip()):
        raise ConfigError(["--beyond-limits and --by NAME go together: somebody has to answer for it"])
    raise typer.Exit(poll_once(config_of(context), source, by, Lane.FAST if fast else Lane.FULL))


@app.command()
def check(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask sources and receivers.")] = False,
) -> None:
    """Config, rules, templates, database, and whether every source and receiver can be reached; with what to do."""
    from monitor.cli import logs
    from monitor.cli.checking import checks

    config = config_of(context)
    logs.set_up(config.log)
    rows = list(checks(config, offline))
    show(rows, fmt, ("what", "ok", "detail"), "Checks")
    if not all(r["ok"] for r in rows):
        raise typer.Exit(Exit.FAILED)


@app.command("send-test")
def send_test(
    context: typer.Context,
    receiver: Annotated[str | None, typer.Argument(help="Only this receiver.")] = None,
) -> None:
    """Send a marked test message to every receiver, through the outbox, as a real one would go."""
    from monitor.cli import logs
    from monitor.cli.sending import send_marked
    from monitor.domain.message import Reason

    config = config_of(context)
    logs.set_up(config.log)
    rows = send_marked(config, Reason.TEST, receiver)
    show(rows, Format.TABLE, ("receiver", "status", "error", "reference"), "Test messages")
    if any(r["status"] != "sent" for r in rows):
        raise typer.Exit(Exit.FAILED)


@app.command()
def drill(context: typer.Context) -> None:
    """Send a marked alert to every receiver now, as the setting `drill` does on a schedule, and record its receipts."""
    from monitor.cli import logs
    from monitor.cli.sending import send_marked
    from monitor.domain.message import Reason

    config = config_of(context)
    logs.set_up(config.log)
    rows = send_marked(config, Reason.DRILL)
    show(rows, Format.TABLE, ("receiver", "status", "error", "reference"), "Drill")
    if any(r["status"] != "sent" for r in rows):
        raise typer.Exit(Exit.FAILED)


@app.command()
def plan(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: Annotated[str | None, typer.Option("--source", "-s", help="Only this source.")] = None,
) -> None:
    """What the next polls will cost: requests by scope, and minutes at the rate that is allowed. Asks nobody."""
    from monitor.cli.planning import rows

    show(
        rows(config_of(context), source), fmt,
        ("source", "lane", "scope", "due", "requests", "minutes", "every_minutes"), "Plan",
        "No source here can say what a poll of it costs.",
    )  # fmt: skip


@app.command()
def report(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
    days: Annotated[int, typer.Option(help="How many days of drift.", min=1, max=3660)] = 30,
) -> None:
    """Write one static HTML page for an auditor: findings, privileged accounts, roles, drift, sources."""
    from monitor.cli.clock import SystemClock
    from monitor.cli.reporting import write

    config = config_of(context)
    write(config, output, days, SystemClock().now())
    console().print(f"Written: {output}", markup=False)


@app.command()
def simulate(
    users: Annotated[int, typer.Option(help="How many users the school has.", min=1)] = 2000,
    port: Annotated[int, typer.Option(help="0 takes any free port.", min=0, max=65535)] = 8787,
    seed: Annotated[int, typer.Option(help="The same seed gives the same school.")] = 1,
    rate: Annotated[str, typer.Option(help="Requests allowed, like LearnWorlds' 30/10s; off for none.")] = "30/10s",
    truto: Annotated[bool, typer.Option("--truto", help="Put a simulated Truto in front of it as well.")] = False,
) -> None:
    """Start a simulated LearnWorlds school on loopback, to try everything without an account.

    It tells where it is and how to get in. curl -X POST .../simulator/next lets the next part of a story happen there,
    .../simulator/fault?kind=500 lets the next request fail.
    """
    from monitor.cli.demo import serve

    serve(users, port, seed, rate, truto=truto)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where database, messages and report go.")] = Path("demo"),
    users: Annotated[int, typer.Option(help="How many users the school has.", min=600)] = 2000,
    fast: Annotated[bool, typer.Option("--fast", help="Without pauses for reading.")] = False,
) -> None:
    """Watch the main job: a simulated school changes between polls, and the right people are told."""
    from monitor.cli.demo import play

    play(folder, users, pause=0.0 if fast or not sys.stdout.isatty() else 1.5)
