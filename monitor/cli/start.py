"""Commands that start something: the daemon, one poll, a check of everything, the simulated school, the demo."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from monitor import wiring
from monitor.cli import logs
from monitor.cli.app import Exit, app, config_of
from monitor.cli.clock import SystemClock
from monitor.cli.output import Format, FormatOption, console, show
from monitor.config import Config
from monitor.cycle import CycleResult, Parts, deliver_waiting, run_cycle
from monitor.decide import route
from monitor.decide.timeline import run_tests
from monitor.domain.message import Notification, Reason, Sending
from monitor.domain.reading import Outcome
from monitor.errors import ConfigError, MonitorError
from monitor.store import outbox
from monitor.store.engine import writing


class Bars:
    """Progress of a poll: bars on a terminal. Elsewhere the log line at the end says it."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars, self._tasks = bars, dict[str, TaskID]()

    def __call__(self, what: str, done: int, of: int | None) -> None:
        if self._bars is None:
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=of)
        self._bars.update(self._tasks[what], completed=done, total=of)


@contextmanager
def progress() -> Iterator[Bars]:
    if not sys.stderr.isatty():
        yield Bars(None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(err=True), transient=True) as bars:
        yield Bars(bars)


@app.command()
def run(context: typer.Context) -> None:
    """Watch: poll every source on its interval and send what there is to say, until SIGTERM.

    SIGHUP reloads config and rules, all or nothing. Under systemd use deploy/access-monitor.service.
    """
    from monitor.daemon import Daemon

    config = config_of(context)
    logs.set_up(config.log)
    clock = SystemClock()
    engine = wiring.database(config)

    def build() -> Parts:
        return wiring.parts(config_of(context), clock, stream=sys.stdout, engine=engine)

    Daemon(wiring.parts(config, clock, stream=sys.stdout, engine=engine), build).run()


@app.command()
def poll(
    context: typer.Context,
    source: Annotated[str | None, typer.Option("--source", "-s", help="Only this source.")] = None,
) -> None:
    """Poll once, judge, record, send what there is to say, and stop.

    Exits with 4 when a poll was partial or quarantined, with 1 when one failed.
    """
    config = config_of(context)
    logs.set_up(config.log)
    with progress() as bars:
        parts = wiring.parts(config, SystemClock(), stream=sys.stdout, progress=bars, only=source)
        results = [run_cycle(parts, name) for name in parts.watched]
    ended = deliver_waiting(parts)
    for result in results:
        _summary(result)
    unsent = sum(n for how, n in ended.items() if how != Sending.SENT.value)
    if unsent:
        console(err=True).print(
            f"{unsent} messages could not be sent and wait; see `access-monitor outbox`", style="yellow"
        )
    raise typer.Exit(_code(results))


def _code(results: list[CycleResult]) -> Exit:
    outcomes = {r.snapshot.outcome for r in results}
    if Outcome.FAILED in outcomes:
        return Exit.FAILED
    return Exit.PARTIAL if outcomes & {Outcome.PARTIAL, Outcome.QUARANTINED} else Exit.DONE


def _summary(result: CycleResult) -> None:
    snapshot = result.snapshot
    said = [
        f"snapshot {result.snapshot_id} of {snapshot.source} is {snapshot.outcome.value}",
        f"{snapshot.proof.requests} requests",
        f"{result.changes} changes",
        f"{sum(e.kind.value == 'opened' for e in result.events)} findings opened",
        f"{sum(e.kind.value == 'resolved' for e in result.events)} resolved",
        f"{result.notifications} messages",
    ]
    if result.unknown:
        said.append(f"{sum(result.unknown.values())} verdicts unknown")
    console().print("; ".join(said), markup=False)
    if snapshot.error:
        console(err=True).print(f"  {snapshot.error}", style="yellow", markup=False)


@app.command()
def check(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    offline: Annotated[bool, typer.Option("--offline", help="Do not ask sources and receivers.")] = False,
) -> None:
    """Config, rules, templates, database, and whether every source and receiver can be reached; with what to do."""
    config = config_of(context)
    logs.set_up(config.log)
    rows = list(_checks(config, offline))
    show(rows, fmt, ("what", "ok", "detail"), "Checks")
    if not all(r["ok"] for r in rows):
        raise typer.Exit(Exit.FAILED)


def _checks(config: Config, offline: bool) -> Iterator[dict[str, Any]]:
    clock = SystemClock()
    yield _row("config", None, str(config.path))
    try:
        rules = wiring.rule_set(config, clock.now().date())
        failing = [f"{t.rule}: {t.test}" for r in rules.rules for t in run_tests(r) if not t.passed]
        yield _row("rules", "; ".join(failing) or None, f"{len(rules.rules)} rules, set {rules.digest[:16]}")
    except MonitorError as error:
        yield _row("rules", str(error))
    try:
        faults = wiring.renderer(config).check()
        yield _row("templates", "; ".join(faults) or None, "all render")
        engine = wiring.database(config)
        yield _row("database", None, config.database_url)
        parts = wiring.parts(config, clock, stream=sys.stdout, engine=engine)
    except MonitorError as error:
        yield _row("parts", str(error))
        return
    if offline:
        return
    for name, watched in parts.watched.items():
        probe = getattr(watched.source, "check", None)
        yield _row(f"source {name}", probe() if probe else None, "answers")
    for name, channel in parts.channels.items():
        yield _row(f"receiver {name}", channel.check(), "can be reached")
    dead = outbox.listing(parts.engine, ("dead",))
    yield _row(
        "outbox", f"{len(dead)} messages were refused; see `access-monitor outbox`" if dead else None, "nothing refused"
    )


def _row(what: str, problem: str | None, detail: str = "") -> dict[str, Any]:
    return {"what": what, "ok": problem is None, "detail": problem or detail}


@app.command("send-test")
def send_test(
    context: typer.Context,
    receiver: Annotated[str | None, typer.Argument(help="Only this receiver.")] = None,
) -> None:
    """Send a marked test message to every receiver, through the outbox, as a real one would go."""
    config, clock = config_of(context), SystemClock()
    logs.set_up(config.log)
    parts = wiring.parts(config, clock, stream=sys.stdout)
    if receiver is not None and receiver not in parts.channels:
        raise ConfigError([f"there is no receiver {receiver}; there are {', '.join(parts.channels)}"])
    now, mark = clock.now(), uuid.uuid4().hex
    notes = [
        route.notification(name, Reason.TEST, f"test:{mark}", f"Test message to {name}", "access-monitor", now, {})
        for name in parts.channels
        if receiver in (None, name)
    ]
    with writing(parts.engine) as connection:
        outbox.put(connection, [(n, None) for n in notes], None)
    deliver_waiting(parts)
    ids: dict[str, Notification] = {n.id: n for n in notes}
    rows = [r for r in outbox.listing(parts.engine) if r["id"] in ids]
    show(rows, Format.TABLE, ("receiver", "status", "error", "reference"), "Test messages")
    if any(r["status"] != "sent" for r in rows):
        raise typer.Exit(Exit.FAILED)


@app.command()
def report(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
    days: Annotated[int, typer.Option(help="How many days of drift.", min=1, max=3660)] = 30,
) -> None:
    """Write one static HTML page for an auditor: findings, privileged accounts, roles, drift, sources."""
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
) -> None:
    """Start a simulated LearnWorlds school on loopback, to try everything without an account."""
    from monitor.cli.demo import serve

    serve(users, port, seed, rate)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where database, messages and report go.")] = Path("demo"),
    users: Annotated[int, typer.Option(help="How many users the school has.", min=50)] = 2000,
    fast: Annotated[bool, typer.Option("--fast", help="Without pauses for reading.")] = False,
) -> None:
    """Watch the main job: a simulated school changes between polls, and the right people are told."""
    from monitor.cli.demo import play

    play(folder, users, pause=0.0 if fast or not sys.stdout.isatty() else 1.5)
