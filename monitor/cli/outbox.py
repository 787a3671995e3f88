"""access-monitor outbox ...: what waits, was sent or refused; why, and when next; once more, by hand."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.app import app, config_of, person
from monitor.cli.output import Format, FormatOption, clean, console, harmless, show
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from monitor.domain.message import Notification

outbox = typer.Typer(invoke_without_command=True)
app.add_typer(outbox, name="outbox")

_KEYS = (
    "id", "receiver", "address", "reason", "status", "attempts", "created_at", "due_at", "sent_at", "error",
    "reference", "title",
)  # fmt: skip
_STATUSES = ("pending", "sending", "uncertain", "collected", "sent", "dead")
ReceiverOption = Annotated[str | None, typer.Option("--receiver", "-r", help="Only this receiver.")]
ByOption = Annotated[str | None, typer.Option("--by", help="Who does it; your login name if not given.")]


@outbox.callback()
def list_(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    everything: Annotated[bool, typer.Option("--all", help="Sent ones as well.")] = False,
    receiver: ReceiverOption = None,
    status: Annotated[
        list[str] | None, typer.Option(help="pending, sending, uncertain, collected, sent or dead; repeatable.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first N.", min=1)] = None,
) -> None:
    """Messages that wait or were refused: why, and when they are tried next."""
    if context.invoked_subcommand is not None:
        return
    from monitor.store import outbox as store

    unknown = set(status or ()) - set(_STATUSES)
    if unknown:
        raise ConfigError([f"--status: there is no status {', '.join(sorted(unknown))}"])
    wanted = status or (() if everything else store.UNSENT)
    rows = [_row(r) for r in store.listing(_engine(context), wanted, receiver, limit=limit)]
    columns = ("id", "receiver", "title", "status", "error", "due_at", "attempts", "reason")
    flat = [r | {"id": r["id"][:8], "receiver": f"{r['receiver']} {r['address'] or ''}".strip()} for r in rows]
    show(flat if fmt is Format.TABLE else rows, fmt, columns, "Outbox", "Nothing waits: all is sent.")
    troubled = [r for r in _receivers(context) if r["state"] != "ok"] if fmt is Format.TABLE else []
    if troubled:
        show(troubled, fmt, _SHOWN, "Receivers in trouble")


_SHOWN = ("receiver", "state", "failures", "until", "waiting", "dead", "sent_at", "error")


@outbox.command("receivers")
def receivers_(context: typer.Context, fmt: FormatOption = Format.TABLE) -> None:
    """Whether each receiver is well: what waits for it, since when it fails, and when it is tried again."""
    show(_receivers(context), fmt, _SHOWN, "Receivers", "There are no receivers.")


def _receivers(context: typer.Context) -> list[dict[str, Any]]:
    from monitor.cli.clock import SystemClock
    from monitor.decide import breaker
    from monitor.domain.message import Health
    from monitor.store import outbox as store

    engine, now = _engine(context), SystemClock().now()
    known, counts = store.health(engine), store.counts(engine)
    names = dict.fromkeys([r.name for r in config_of(context).receivers] + sorted(counts))
    rows = []
    for name in names:
        health, waiting = known.get(name, Health()), counts.get(name, {})
        rows.append({
            "receiver": name, "state": breaker.state(health, now), "failures": health.failures,
            "until": health.open_until, "disabled_at": health.disabled_at, "sent_at": health.sent_at,
            "waiting": sum(n for s, n in waiting.items() if s != "dead"), "dead": waiting.get("dead", 0),
            "error": health.error,
        })  # fmt: skip
    return rows


@outbox.command()
def retry(
    context: typer.Context,
    message: Annotated[str | None, typer.Argument(help="One message: its id, or the beginning of it.")] = None,
    receiver: ReceiverOption = None,
    dead: Annotated[bool, typer.Option("--dead", help="Refused ones only.")] = False,
    by: ByOption = None,
) -> None:
    """Try messages again now, those that were refused as well. The daemon sends them, or the next poll."""
    from monitor.cli.clock import SystemClock
    from monitor.store import outbox as store

    if message is None and receiver is None and not dead:
        raise ConfigError(["retry: say which: an id, --receiver NAME or --dead"])
    engine = _engine(context)
    which = [store.OUTBOX.c.id == _one(engine, message)["id"]] if message else []
    which += [store.OUTBOX.c.receiver == receiver] if receiver else []
    which += [store.OUTBOX.c.status == "dead"] if dead else []
    chosen = store.retry(engine, which, person(by), SystemClock().now())
    console().print(f"{len(chosen)} message{'' if len(chosen) == 1 else 's'} to be tried again", markup=False)
    off = sorted(
        {r["receiver"] for r in _receivers(context) if r["state"] == "disabled"} & {r["receiver"] for r in chosen}
    )
    for name in off:
        console(err=True).print(
            f"{name} is switched off; first run `access-monitor outbox enable {name}`", markup=False, style="yellow"
        )


@outbox.command()
def enable(
    context: typer.Context,
    receiver: Annotated[str, typer.Argument(help="Name of the receiver.")],
    by: ByOption = None,
) -> None:
    """Switch a receiver on again that asked for nothing more (HTTP 410); what waits for it is sent."""
    from monitor.cli.clock import SystemClock
    from monitor.store import outbox as store

    names = [r.name for r in config_of(context).receivers]
    if receiver not in names:
        raise ConfigError([f"enable: there is no receiver {receiver}; there are {', '.join(names)}"])
    done = store.enable(_engine(context), receiver, person(by), SystemClock().now())
    console().print(f"{receiver} is switched on" if done else f"{receiver} was not switched off", markup=False)


@outbox.command("show")
def show_(
    context: typer.Context,
    message: Annotated[str, typer.Argument(help="Its id, or the beginning of it.")],
    slack: Annotated[bool, typer.Option("--slack", help="As Slack gets it: JSON.")] = False,
    html: Annotated[bool, typer.Option("--html", help="As a mail shows it: an HTML page.")] = False,
    email: Annotated[bool, typer.Option("--email", help="As a whole mail: .eml.")] = False,
) -> None:
    """One message as it reads, and every attempt to send it."""
    from monitor import wiring
    from monitor.store import outbox as store

    engine = _engine(context)
    row = _one(engine, message)
    note = _notification(row)
    renderer = wiring.renderer(config_of(context))
    if slack:
        sys.stdout.write(json.dumps(renderer.slack(note), indent=2, ensure_ascii=True) + "\n")
    elif html:
        sys.stdout.write(renderer.html(note))
    elif email:
        sys.stdout.write(_mail(context, note))
    else:
        sys.stdout.write(harmless(renderer.text(note)) + "\n")
        show([_row(row)], Format.TABLE, ("receiver", "address", "reason", "status", "due_at", "error"), "Message")
        tried = store.attempts(engine, row["id"])
        show(
            tried, Format.TABLE, ("attempt", "started_at", "finished_at", "outcome", "detail"), "Attempts",
            "Not tried yet.",
        )  # fmt: skip


def _mail(context: typer.Context, note: Notification) -> str:
    from monitor import wiring
    from monitor.cli.previews import letter

    config = config_of(context)
    return letter(config, note, wiring.renderer(config)).decode("ascii", "replace")


def _engine(context: typer.Context) -> Engine:
    from monitor import wiring

    return wiring.database(config_of(context), must_exist=True)


def _one(engine: Engine, beginning: str) -> dict[str, Any]:
    from monitor.store import outbox as store

    found = store.listing(engine, beginning=beginning, limit=2) if len(beginning) >= 4 else []
    if len(beginning) < 4:
        raise ConfigError(["id: give at least its first 4 characters"])
    if not found:
        raise ConfigError([f"id: there is no message {clean(beginning)}; see `access-monitor outbox --all`"])
    if len(found) > 1:
        raise ConfigError([f"id: {clean(beginning)} is the beginning of several; give more of it"])
    return found[0]


def _row(row: dict[str, Any]) -> dict[str, Any]:
    said = row | {"address": row["lane"].partition(" ")[2] or None, "title": row["content"].get("title")}
    return {k: said[k] for k in _KEYS}


def _notification(row: dict[str, Any]) -> Notification:
    from types import SimpleNamespace

    from monitor.store import outbox as store

    return store.notification_of(SimpleNamespace(**row))
