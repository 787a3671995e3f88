"""The demo and the simulated school: the main job from end to end, with nothing faked in between but the school itself,
which is a real HTTP server on loopback.
"""

from __future__ import annotations

import email
import email.policy
import json
import os
import re
import shlex
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rich.panel import Panel
from rich.table import Table

from monitor import wiring
from monitor.cli import logs
from monitor.cli.clock import SystemClock
from monitor.cli.drift import TOLD, told
from monitor.cli.output import Format, clean, console, counted, said, severity, show
from monitor.cli.progress import progress
from monitor.config import load
from monitor.cycle import CycleResult, run_cycle
from monitor.deliver.preview import page
from monitor.dispatch import deliver_waiting
from monitor.domain.finding import EventKind
from monitor.domain.reading import Clock
from monitor.errors import ConfigError
from monitor.line.parts import Parts
from monitor.simulator import SMALLEST, STAFF_STORY, STORY, School, SchoolServer, Staff, Step, TrutoServer
from monitor.simulator.staff import GROUP, TEAM
from monitor.store import queries

MARK = ".made-by-access-monitor-demo"
TOKEN = "ACCESS_MONITOR_DEMO_TOKEN"  # noqa: S105  # the name of a variable
A_STEP = 1.8  # days between two polls of the story, which ends now
CONFIG = """# Written by the demo. The school at this address lived only while the demo ran.

[[sources]]
name = "school"
kind = "learnworlds"
url = "{url}"
client_id = "{client_id}"
token = {{ env = "{token}" }}
rate = "500/1s"            # the simulated school on loopback allows more than LearnWorlds does
admin_limit = {admin_limit}
blind_after = "7d"         # the story looks every other day only
confirm_limit = 10000      # so that even half a school that is missing is asked for one by one

[[sources]]                # who works here: accounts are matched to these persons by their addresses
name = "hr"
kind = "file"
use = "authority"
path = "hr.csv"

[sources.columns]          # our names, and what HR calls the columns
id = "Number"
email = "Mail"
name = "Name"
status = "State"
department = "Department"
title = "Title"
ends = "Last day"

[[expectations]]           # what goes with which job
department = ["{team}"]
groups = ["{group}"]

[[receivers]]
name = "slack"             # what would be posted, as files: a real one has kind = "slack"
kind = "files"
format = "slack"
path = "messages/slack"

[[receivers]]
name = "mailbox"           # what would be mailed, as files: a real one has kind = "email"
kind = "files"
format = "email"
path = "messages/mail"

[[routes]]                 # somebody was suspended or left: what hangs on the account can be revoked
changes = ["suspended", "left"]
to = ["slack"]

[[routes]]
severity = ["high", "critical"]
to = ["slack", "mailbox"]

[[routes]]
to = ["slack"]
"""


@dataclass
class StoryClock:
    """Days pass between the polls of the story; within one, time runs as it does."""

    ahead: timedelta = timedelta(days=-A_STEP * (len(STORY) + len(STAFF_STORY)))
    real: Clock = field(default_factory=SystemClock)

    def now(self) -> datetime:
        return self.real.now() + self.ahead

    def sleep(self, seconds: float) -> None:
        self.real.sleep(seconds)

    def monotonic(self) -> float:
        return self.real.monotonic()


def serve(users: int, port: int, seed: int, rate: str, *, truto: bool = False) -> None:
    """Runs the simulated school until Ctrl-C, with Truto in front of it if that is wanted."""
    allowed = None if rate == "off" else _rate(rate)
    school = School(users=users, seed=seed, now=time.time())
    steps = iter(STORY if users >= SMALLEST else ())

    def following() -> str:
        step = next(steps, None)
        if step is None:
            return "the story is over" if users >= SMALLEST else f"nothing: the story needs {SMALLEST} users"
        step.apply(school, time.time())
        return " ".join((step.title + ":", *step.sentences))

    with (
        SchoolServer(school, clock=time.time, port=port, rate=allowed, on_next=following) as server,
        _in_front_of(server, port and port + 1) if truto else nullcontext(),
    ):
        console().print(
            f"A school of {users} users answers at {server.url}\n"
            f'  client_id = "{server.client_id}"\n  client secret {server.client_secret}\n'
            f"  ready token {server.token}\n"
            f"Let something happen there: {_next(server.url, users)}\n"
            f"Let it fail once:           curl -X POST '{server.url}/simulator/fault?kind=500&path=users'\n"
            "Stop it with Ctrl-C.", markup=False, soft_wrap=True,
        )  # fmt: skip
        stop = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stop.set())
        stop.wait()


def _next(url: str, users: int) -> str:
    return f"curl -X POST {url}/simulator/next" if users >= SMALLEST else f"the story needs --users {SMALLEST} or more"


@contextmanager
def _in_front_of(server: SchoolServer, port: int) -> Iterator[None]:
    with TrutoServer(server, port=port) as truto:
        console().print(
            f'The same school through Truto; put this into the config:\n\n'
            f'  [[sources]]\n  name = "school-through-truto"\n  kind = "truto"\n  url = "{truto.url}"\n'
            f'  token = {{ env = "TRUTO_TOKEN" }}\n  integrated_account_id = "{truto.account}"\n\n'
            f'and api = "proxy", or api = "mcp" with mcp_url = {{ env = "TRUTO_MCP_URL" }}. Before:\n\n'
            f"  export TRUTO_TOKEN={truto.token}\n  export TRUTO_MCP_URL={truto.mcp_url}\n",
            markup=False, soft_wrap=True,
        )  # fmt: skip
        yield


def _rate(text: str) -> tuple[int, float]:
    match = re.fullmatch(r"(\d+)/(\d+)s", text)
    if not match:
        raise ConfigError([f'--rate: "{text}" is no rate; write 30/10s, or off'])
    return int(match[1]), float(match[2])


def play(folder: Path, users: int, pause: float) -> None:
    folder = _fresh(folder)
    clock, out = StoryClock(), console()
    logs.set_up("text", quiet=True)
    school = School(users=users, seed=1, now=clock.now().timestamp())
    with SchoolServer(school, clock=lambda: clock.now().timestamp(), rate=None) as server:
        os.environ[TOKEN] = server.token
        config = folder / "config.toml"
        config.write_text(
            CONFIG.format(
                url=server.url,
                client_id=server.client_id,
                token=TOKEN,
                admin_limit=school.admins,
                team=TEAM,
                group=GROUP,
            ),
            encoding="utf-8",
        )
        staff = Staff(school)
        out.print(
            f"\n[bold]A simulated school[/] of {users:,} users answers at {server.url}, in LearnWorlds' wire format."
        )
        stage = _Stage(folder, config, clock, pause, staff)
        stage.show(
            "Day 0: the first look", ["Nobody has looked before, so this is the baseline: one message, not dozens."]
        )
        for step in (*STORY, *STAFF_STORY):
            clock.ahead += timedelta(days=A_STEP)
            if isinstance(step, Step):
                step.apply(school, clock.now().timestamp())
            else:
                step.apply(school, staff, clock.now().timestamp())
            stage.show(f"Day {stage.day}: {step.title}", step.sentences)
    _ending(folder, stage)


def _fresh(folder: Path) -> Path:
    """An empty folder: one that an earlier demo made is emptied, any other one is left alone."""
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()) and not (folder / MARK).exists():
        raise ConfigError([f"--folder: {folder} is not empty and was not made by a demo; name another"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARK).touch()
    return folder


class _Stage:
    """One poll after another, shown to a person."""

    def __init__(self, folder: Path, config: Path, clock: StoryClock, pause: float, staff: Staff) -> None:
        self.folder, self.config, self.clock, self.pause, self.staff = folder, config, clock, pause, staff
        self.began = clock.ahead
        self.shown: set[Path] = set()

    @property
    def day(self) -> int:
        return (self.clock.ahead - self.began).days

    def show(self, title: str, sentences: Sequence[str]) -> None:
        out = console()
        out.rule(f"[bold]{clean(title)}", align="left")
        for sentence in sentences:
            out.print(f"  [dim]•[/] {clean(sentence)}")
        with progress() as bars:
            parts = wiring.parts(load(self.config), self.clock, stream=sys.stdout, progress=bars)
            self.staff.export(self.folder / "hr.csv")
            hr, result = run_cycle(parts, "hr"), run_cycle(parts, "school")
            deliver_waiting(parts)
        if hr.changes or hr.snapshot.baseline:
            _line(hr)
        _line(result)
        _drift(parts, hr)
        _drift(parts, result)
        _findings(result)
        self._messages()
        time.sleep(self.pause)

    def _messages(self) -> None:
        new = [p for p in sorted((self.folder / "messages").rglob("*.*"), key=lambda p: (p.stat().st_mtime_ns, p.name))
               if p not in self.shown]  # fmt: skip
        self.shown |= set(new)
        slack = [p for p in new if p.suffix == ".json"]
        mails = [p for p in new if p.suffix == ".eml"]
        for path in slack[:3]:
            console().print(_slack_panel(path))
        for path in mails[:1]:
            console().print(_mail_panel(path))
        if len(new) > len(slack[:3]) + len(mails[:1]):
            parts = f"{len(slack)} in Slack, {counted(len(mails), 'mail')}"
            console().print(f"  [dim]... {counted(len(new), 'message')} in all: {parts}[/]")


def _line(result: CycleResult) -> None:
    proof, found = result.snapshot.proof, sum(e.kind is EventKind.OPENED for e in result.events)
    resolved = sum(e.kind is EventKind.RESOLVED for e in result.events)
    took = (result.snapshot.finished_at - result.snapshot.started_at).total_seconds()
    console().print(
        f"  [bold]poll[/] {result.snapshot.source}: {counted(proof.requests, 'request')},"
        f" {counted(sum(proof.pages.values()), 'page')},"
        f" {took:.1f} s"
        f" → [bold]snapshot[/] {result.snapshot_id} {result.snapshot.outcome.value}"
        f" → [bold]drift[/] {counted(result.changes, 'change')} → [bold]judge[/] {found} found,"
        f" {resolved} proved fixed"
        f" → [bold]route[/] {counted(result.notifications, 'message')} → [bold]record[/] → [bold]deliver[/]"
    )


def _drift(parts: Parts, result: CycleResult) -> None:
    rows = list(queries.drift(parts.engine, snapshot=result.snapshot_id))
    if not rows:
        return
    names = queries.entitlement_titles(parts.engine)
    told_rows = [told(r, names) for r in rows[:14]]
    show(told_rows, Format.TABLE, TOLD[:4], f"Drift: {counted(len(rows), 'change')}", least=4)
    if len(rows) > 14:
        console().print(f"  [dim]... and {len(rows) - 14} more[/]")


def _findings(result: CycleResult) -> None:
    if result.snapshot.baseline:
        return
    for event in result.events:
        found = event.finding
        if event.kind is EventKind.OPENED:
            console().print(f"  {severity(found.severity.value)} [bold]{clean(found.title)}[/]")
            for evidence in found.evidence:
                facts = ", ".join(f"{name} = {said(value) or 'none'}" for name, value in evidence.facts.items())
                console().print(f"      [green]✓[/] {clean(evidence.clause or 'also')}  [dim]{clean(facts)}[/]")
        elif event.kind is EventKind.RESOLVED and found.resolved_at:
            open_for = found.resolved_at - found.opened_at
            console().print(
                f"  [green]✓ {found.resolution}[/] after {open_for.days} d {open_for.seconds // 3600} h:"
                f" {clean(found.title)} [dim]({clean(found.resolution_detail)})[/]"
            )


def _slack_panel(path: Path) -> Panel:
    payload = json.loads(path.read_text(encoding="utf-8"))
    payload = payload.get("payload", payload)
    lines = []
    for block in payload.get("blocks", []):
        texts = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
        for text in texts:
            if isinstance(text, dict) and isinstance(text.get("text"), str):
                bold = block["type"] == "header"
                lines.append(f"[bold]{_mrkdwn(text['text'])}[/]" if bold else _mrkdwn(text["text"]))
    return Panel("\n".join(lines)[:2500], title="Slack", title_align="left", border_style="magenta", width=100)


def _mrkdwn(text: str) -> str:
    safe = "\n".join(clean(line) for line in text.splitlines())
    safe = re.sub(r"(?<!\w)\*([^*\n]+)\*(?!\w)", r"[bold]\1[/]", safe)
    return safe.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _mail_panel(path: Path) -> Panel:
    mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
    body = mail.get_body(("plain",))
    text = body.get_content() if body else ""
    lines = [clean(line) for line in text.splitlines()][:18]
    head = f"[bold]{clean(mail['Subject'])}[/]\n[dim]to {clean(mail['To'])}[/]\n\n"
    return Panel(head + "\n".join(lines), title="Mailbox", title_align="left", border_style="cyan", width=100)


def _ending(folder: Path, stage: _Stage) -> None:
    from monitor.cli.reporting import write

    config = load(stage.config)
    write(config, folder / "report.html", 30, datetime.now(UTC))
    messages = folder / "messages"
    payloads = [json.loads(p.read_text(encoding="utf-8")) for p in _by_age(messages / "slack", "*.json")]
    mails = [p.read_bytes() for p in _by_age(messages / "mail", "*.eml")]
    (folder / "messages.html").write_text(page(payloads, mails), encoding="utf-8")
    shown = Path(os.path.relpath(folder)) if folder.is_relative_to(Path.cwd()) else folder
    command = f"{_program()} --config {shlex.quote(str(shown / 'config.toml'))}"
    out = console()
    out.rule("[bold]What there is now", align="left")
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, what in (
        ("messages.html", "every message, as Slack and the mailbox show it: open it in a browser"),
        ("report.html", "the report for an auditor: open it in a browser"),
        ("access-monitor.sqlite", "the database: snapshots, versions, findings, outbox, ledger"),
        ("messages/", f"{counted(len(payloads), 'Slack message')} and {counted(len(mails), 'mail')} as files"),
        ("config.toml", "the config that the demo ran with"),
    ):
        table.add_row(f"  {clean(shown / name)}", f"[dim]{what}[/]")
    out.print(table)
    out.print("\n[bold]What to type next[/]")
    for line in (
        f"{command} findings",
        f"{command} findings --format json",
        f"{command} accounts --privileged",
        f"{command} match --result unmatched",
        f"{command} drift",
        f"{command} snapshots --proof 2",
        f"{command} ledger --verify",
        f"{_program()} rules test",
        f"{_program()} init {shlex.quote(str(shown / 'my-school'))}",
    ):
        out.print(f"  {line}", markup=False, soft_wrap=True)


def _by_age(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern), key=lambda p: (p.stat().st_mtime_ns, p.name))


def _program() -> str:
    """How the reader can call this program: by the path that was used, if it is not on the PATH."""
    if shutil.which("access-monitor"):
        return "access-monitor"
    mine = Path(sys.argv[0])
    return shlex.quote(os.path.relpath(mine) if mine.is_absolute() else str(mine))
