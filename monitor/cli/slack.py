"""access-monitor slack ...: whether the app in Slack can do what is asked of it."""

from __future__ import annotations

from typing import Annotated

import typer

from monitor.cli.app import Exit, app, config_of
from monitor.cli.output import Format, FormatOption, show
from monitor.errors import ConfigError

slack = typer.Typer(no_args_is_help=True, help="The app in Slack.")
app.add_typer(slack, name="slack")


@slack.command("check")
def check_(
    context: typer.Context,
    receiver: Annotated[str | None, typer.Argument(help="Only this receiver.")] = None,
    fmt: FormatOption = Format.TABLE,
) -> None:
    """Token, scopes and channel of each Slack receiver; posts a message, reads it back and deletes it."""
    from monitor import wiring
    from monitor.deliver.slack_check import steps

    config = config_of(context)
    bots = {n: b for n, b in wiring.slack_bots(config).items() if receiver in (None, n)}
    if not bots:
        named = f"called {receiver}" if receiver else 'of kind = "slack"'
        raise ConfigError([f"receivers: there is none {named} that posts to Slack with a token"], str(config.path))
    rows = [{"receiver": name, **step._asdict()} for name, bot in bots.items() for step in steps(*bot)]
    show(rows, fmt, ("receiver", "what", "ok", "detail"), "Slack")
    if not all(r["ok"] for r in rows):
        raise typer.Exit(Exit.FAILED)
