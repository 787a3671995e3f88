"""Whether a Slack app can do all that is asked of it; what is not so says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from monitor.deliver.slack import SlackBot, scopes
from monitor.deliver.slack_errors import classify, code_of

# What each is for; deploy/slack-app.yaml asks for these and no others.
SCOPES = {
    "chat:write": "posting",
    "channels:history": "looking whether a message arrived, in public channels",
    "groups:history": "looking whether a message arrived, in private channels",
    "channels:read": "a channel's name, and whether the app is in it",
    "groups:read": "the same of private channels",
    "usergroups:read": "who may press buttons, when `actors` names a user group",
    "users:read": "the name of the person to whom a finding is assigned; without it the id",
    "files:write": "the whole list of a long message as CSV",
}
_SCOPE_ADVICE = "add it under OAuth & Permissions (or take deploy/slack-app.yaml) and install the app again"
_EVENT = "access_monitor_check"


class Step(NamedTuple):
    what: str
    ok: bool
    detail: str


def steps(bot: SlackBot, app_token: str = "") -> Iterator[Step]:
    """Token, scopes, the app's own token if it hears buttons, channel, and a message that is posted, read back and
    deleted. Ends at what all else needs.
    """
    token, given = _token(bot)
    yield token
    if not token.ok:
        return
    yield from _scopes(given)
    if app_token:
        yield _buttons(bot, app_token)
    problem = bot.channel_problem()
    yield Step("channel", problem is None, problem or f"{bot.channel} can be seen")
    if problem is None:
        yield _message(bot)


def _token(bot: SlackBot) -> tuple[Step, frozenset[str] | None]:
    try:
        said = bot.client.auth_test()
    except Exception as error:  # whatever it is, the operator reads it
        return Step("token", False, bot.refused(error)), None
    given = scopes(said)
    if not said.get("bot_id"):
        advice = "this is no bot's token: take the Bot User OAuth Token (xoxb-...) of OAuth & Permissions"
        return Step("token", False, advice), given
    return Step("token", True, f"{said.get('user') or said['bot_id']} in {said.get('team')}"), given


def _scopes(given: frozenset[str] | None) -> Iterator[Step]:
    for scope, purpose in SCOPES.items() if given is not None else ():
        there = scope in (given or ())
        yield Step(f"scope {scope}", there, purpose if there else f"missing, for {purpose}: {_SCOPE_ADVICE}")


def _buttons(bot: SlackBot, app_token: str) -> Step:
    try:
        bot.client.apps_connections_open(app_token=app_token)
    except Exception as error:  # whatever it is, the operator reads it
        where = "take one of Basic Information, App-Level Tokens, with the scope connections:write (xapp-...)"
        detail = "this is no app-level token" if not app_token.startswith("xapp-") else classify(error).detail
        return Step("app_token", False, f"no button would be heard: {detail}: {where}")
    return Step("app_token", True, "buttons can be heard over Socket Mode")


def _message(bot: SlackBot) -> Step:
    text = "access-monitor looks whether it can post here and find what it posted. This goes away by itself."
    metadata = {"event_type": _EVENT, "event_payload": {"check": True}}
    try:
        posted = bot.client.chat_postMessage(channel=bot.channel, text=text, metadata=metadata, parse="none")
    except Exception as error:  # whatever it is, the operator reads it
        invited = ": invite the app with /invite" if code_of(error) == "channel_not_found" else ""
        return Step("message", False, f"nothing can be posted: {classify(error).detail}{invited}")
    where, ts = str(posted["channel"]), str(posted["ts"])
    try:
        return _read_back(bot, where, ts)
    except Exception as error:  # whatever it is, the operator reads it
        return Step("message", False, f"posted, but cannot be read back: {classify(error).detail}")
    finally:
        try:
            bot.client.chat_delete(channel=where, ts=ts)
        except Exception:  # noqa: S110 - it says of itself what it is
            pass


def _read_back(bot: SlackBot, where: str, ts: str) -> Step:
    asked = {"channel": where, "latest": ts, "oldest": ts, "inclusive": True, "include_all_metadata": True, "limit": 1}
    found = bot.client.api_call("conversations.history", params=asked).get("messages") or [{}]
    if (found[0].get("metadata") or {}).get("event_type") == _EVENT:
        return Step("message", True, "posted, read back by its metadata, and deleted")
    return Step(
        "message", False, "posted, but its metadata does not come back, so a second copy is possible after an "
        "uncertain attempt: add the scope metadata.message:read and install the app again",
    )  # fmt: skip
