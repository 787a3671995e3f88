"""access-monitor templates ...: whether they work, and how they read."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.cli.app import Exit, app, config_of
from monitor.cli.output import clean, console, harmless
from monitor.domain.message import Reason
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.config import Config, ReceiverConfig
    from monitor.domain.message import Notification

templates = typer.Typer(no_args_is_help=True, help="The templates: whether they work, and how messages read.")
app.add_typer(templates, name="templates")


class Look(StrEnum):
    TEXT = "text"
    JSON = "json"
    HTML = "html"


@templates.command("check")
def check_(context: typer.Context) -> None:
    """Render every template with every kind of message. Faults name file and line; then it exits with 1."""
    from monitor import wiring

    renderer = wiring.renderer(config_of(context))
    faults = renderer.check()
    for fault in faults:
        console(err=True).print(clean(fault), style="red", soft_wrap=True)
    if faults:
        raise typer.Exit(Exit.FAILED)
    console().print("Every template renders every kind of message.")


@templates.command()
def preview(
    context: typer.Context,
    what: Annotated[
        str, typer.Argument(help="A kind of message (opened, resolved, baseline, ...), or a finding's fingerprint.")
    ],
    receiver: Annotated[str | None, typer.Option("--receiver", "-r", help="As this receiver would send it.")] = None,
    look: Annotated[Look, typer.Option("--as", help="text in the terminal, json as it is sent, or an html page.")] = (
        Look.TEXT
    ),
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Write it into this file.")] = None,
) -> None:
    """Show how a message reads, without sending it: a made-up one of a kind, or that about a finding as it is now."""
    from monitor import wiring
    from monitor.cli.previews import as_json, as_page

    config = config_of(context)
    chosen = _receiver(config, receiver)
    note, renderer = _message(config, what, chosen.name), wiring.renderer(config)
    if look is Look.JSON:
        text = json.dumps(as_json(chosen, note, renderer), indent=2, ensure_ascii=True) + "\n"
    elif look is Look.HTML:
        text = as_page(config, chosen, note, renderer)
    else:
        text = harmless(f"{renderer.subject(note)}\n\n{renderer.text(note)}")
    _put(text, output)
    for _, fault in renderer.faults():
        console(err=True).print(f"{clean(fault)}: shown by the shipped template", style="yellow", soft_wrap=True)


def _put(text: str, output: Path | None) -> None:
    if output is None:
        sys.stdout.write(text)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError([f"--output: cannot write {output}: {error.strerror}"]) from error
    console().print(f"Written: {output}", markup=False)


def _receiver(config: Config, name: str | None) -> ReceiverConfig:
    found = next((r for r in config.receivers if name in (None, r.name)), None)
    if found is None:
        raise ConfigError([f"--receiver: there is no {name}; there are {', '.join(r.name for r in config.receivers)}"])
    return found


def _message(config: Config, what: str, receiver: str) -> Notification:
    from dataclasses import replace

    from monitor.deliver.samples import sample

    if what in {r.value for r in Reason}:
        return replace(sample(Reason(what)), receiver=receiver)
    return _of_finding(config, what, receiver)


def _of_finding(config: Config, fingerprint: str, receiver: str) -> Notification:
    from monitor import wiring
    from monitor.cli.clock import SystemClock
    from monitor.decide import present, route
    from monitor.domain.finding import FindingStatus
    from monitor.store import findings as store
    from monitor.store.engine import reading

    kinds = ", ".join(Reason)
    if len(fingerprint) < 8:
        raise ConfigError(
            [f"{clean(fingerprint)}: is neither a kind of message ({kinds}) nor a fingerprint of 8 or more"]
        )
    now = SystemClock().now()
    with reading(wiring.database(config, must_exist=True)) as connection:
        found = store.load(connection, store.FINDINGS.c.fingerprint.startswith(fingerprint, autoescape=True))
    if not found:
        raise ConfigError([f"there is no finding {clean(fingerprint)}; see `access-monitor findings`"])
    latest = found[-1]
    reason = Reason.RESOLVED if latest.status is FindingStatus.RESOLVED else Reason.OPENED
    rules = wiring.rule_set(config, now.date()).by_id
    content = {"finding": present.told(latest, rules.get(latest.rule))}
    return route.notification(receiver, reason, f"preview:{fingerprint}", latest.title, latest.source, now, content)
