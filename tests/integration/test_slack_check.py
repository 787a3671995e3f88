"""Connecting a workspace, with everything that goes wrong at the first try: each says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from monitor.cli.app import app, register
from monitor.deliver.slack_check import SCOPES
from tests.peers.slack import CHANNEL, NEEDS, SlackPeer, answer, error

ROOT = Path(__file__).parents[2]
MANIFEST = yaml.safe_load((ROOT / "deploy/slack-app.yaml").read_text())
CONFIG = """
[[sources]]
name = "school"
kind = "file"
path = "people.csv"
columns = {{ id = "id", email = "email" }}

[[receivers]]
name = "security"
kind = "slack"
token = {{ env = "SLACK_BOT_TOKEN" }}
channel = "{channel}"
base_url = "{url}"
{more}

[[routes]]
to = ["security"]
"""
register()


class Workspace:
    """A workspace with the app installed. `workspace.check()` gives what is not so: {"what": "detail"}"""

    def __init__(self, slack: SlackPeer, folder: Path) -> None:
        self.slack, self.config = slack, folder / "config.toml"
        slack.token, slack.scopes = "xoxb-right", set(SCOPES)

    def check(self, channel: str = CHANNEL, more: str = "") -> dict[str, str]:
        self.config.write_text(CONFIG.format(channel=channel, url=self.slack.url, more=more))
        result = CliRunner().invoke(app, ["--config", str(self.config), "slack", "check", "--format", "json"])
        self.rows = [json.loads(line) for line in result.output.splitlines()] if result.output[0] == "{" else (
            json.loads(result.output)
        )  # fmt: skip
        wrong = {r["what"]: r["detail"] for r in self.rows if not r["ok"]}
        assert result.exit_code == (1 if wrong else 0)
        return wrong


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-right")
    with SlackPeer() as slack:
        yield Workspace(slack, tmp_path)


def test_all_is_well(workspace: Workspace) -> None:
    """Nothing stays in the channel."""
    assert workspace.check() == {}
    assert [r["what"] for r in workspace.rows] == ["token", *(f"scope {s}" for s in SCOPES), "channel", "message"]
    assert workspace.slack.messages == []


def test_a_wrong_token(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-wrong")
    wrong = workspace.check()
    assert list(wrong) == ["token"]
    assert "install the app again" in wrong["token"]
    assert "xoxb-wrong" not in json.dumps(workspace.rows)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("xapp-1-A0-1-abc", "belongs into `app_token`"),
        ("xoxp-1-2", "a person's token"),
        ("8f742231b10e8888abcd99yyyzzz85a5", "no bot's token"),
        ("https://hooks.slack.com/services/T0/B0/x", 'kind = "slack_webhook"'),
    ],
)
def test_another_token_than_the_bots(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, token: str, said: str
) -> None:
    """By how it begins, once Slack has refused it; and where the right one is."""
    monkeypatch.setenv("SLACK_BOT_TOKEN", token)
    wrong = workspace.check()
    assert said in wrong["token"]
    assert "xoxb-...) of OAuth & Permissions" in wrong["token"]
    assert token not in json.dumps(workspace.rows)


def test_the_apps_own_token(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """What hears buttons is tried as well, when it is there."""
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-1")
    buttons = 'app_token = { env = "SLACK_APP_TOKEN" }\nactors = ["U0123456789"]'
    workspace.slack.token = None
    assert workspace.check(more=buttons) == {}
    assert "app_token" in [r["what"] for r in workspace.rows]
    workspace.slack.fails("apps.connections.open", error("not_allowed_token_type"))
    monkeypatch.setenv("SLACK_APP_TOKEN", "xoxb-right")
    assert "no app-level token" in workspace.check(more=buttons)["app_token"]


def test_a_link_instead_of_a_channel(workspace: Workspace) -> None:
    """Said before anything is asked."""
    workspace.config.write_text(
        CONFIG.format(channel="https://acme.slack.com/archives/C0MONITOR1", url=workspace.slack.url, more="")
    )
    result = CliRunner().invoke(app, ["--config", str(workspace.config), "slack", "check"])
    assert "it is at the end of its link" in result.output + str(result.exception)


def test_a_persons_token(workspace: Workspace) -> None:
    workspace.slack.fails("auth.test", answer(200, {"ok": True, "user": "ann", "team": "acme"}))
    assert "Bot User OAuth Token" in workspace.check()["token"]


@pytest.mark.parametrize("scope", SCOPES)
def test_a_missing_scope(workspace: Workspace, scope: str) -> None:
    assert workspace.slack.scopes is not None
    workspace.slack.scopes.remove(scope)
    assert "install the app again" in workspace.check()[f"scope {scope}"]


def test_no_scope_to_read(workspace: Workspace) -> None:
    assert workspace.slack.scopes is not None
    workspace.slack.scopes -= {"channels:history", "groups:history"}
    assert "cannot be read back" in workspace.check()["message"]
    assert workspace.slack.messages == []


def test_no_scope_to_post(workspace: Workspace) -> None:
    workspace.slack.scopes = {"channels:read"}
    assert "add the scope chat:write" in workspace.check()["message"]


def test_a_channel_that_the_bot_is_not_in(workspace: Workspace) -> None:
    workspace.slack.member = False
    assert workspace.check() == {"channel": f"the app is not in {CHANNEL}: invite it with /invite"}


def test_a_channel_that_is_not_there(workspace: Workspace) -> None:
    assert "invite the app if it is private" in workspace.check("C0NOWHERE1")["channel"]
    assert "check its name" in workspace.check("#nowhere")["channel"]


def test_an_archived_channel(workspace: Workspace) -> None:
    workspace.slack.archived = True
    assert "unarchive it" in workspace.check()["channel"]


def test_a_test_message_is_tried_at_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also after a refusal: whoever sends one has mended something. Until then it says why it waits."""
    workspace.check()
    send = ["--config", str(workspace.config), "send-test", "security"]
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-wrong")
    for _ in range(2):
        refused = CliRunner().invoke(app, send, env={"COLUMNS": "300"})
        assert (refused.exit_code, refused.stdout.count("invalid_auth") >= 1) == (1, True)
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-right")
    assert CliRunner().invoke(app, send).exit_code == 0
    assert len(workspace.slack.messages) == 3


def test_a_refused_test_is_over(workspace: Workspace) -> None:
    """It is told where it was asked for, and `check` does not complain of it ever after."""
    workspace.check()
    workspace.slack.member = False
    refused = CliRunner().invoke(app, ["--config", str(workspace.config), "send-test"], env={"COLUMNS": "300"})
    assert (refused.exit_code, "invite it with /invite" in refused.stdout) == (1, True)
    workspace.slack.member = True
    result = CliRunner().invoke(app, ["--config", str(workspace.config), "check", "--format", "json"])
    assert "messages refused" not in result.output
    assert "message refused" not in result.output


def test_the_bot_may_not_post(workspace: Workspace) -> None:
    """`check`, which sends nothing, says so by the scopes that each answer names."""
    assert workspace.slack.scopes is not None
    workspace.slack.scopes.remove("chat:write")
    workspace.check()
    result = CliRunner().invoke(app, ["--config", str(workspace.config), "check", "--format", "json"])
    assert "add the scope chat:write" in result.output


def test_metadata_that_does_not_come_back(workspace: Workspace) -> None:
    workspace.slack.shows_metadata = False
    assert "metadata.message:read" in workspace.check()["message"]


def test_slack_cannot_be_reached(workspace: Workspace) -> None:
    workspace.slack.fails("auth.test", answer(502, "<html>", "text/html"))
    assert "502" in workspace.check()["token"]
    workspace.slack.fails("chat.postMessage", error("is_archived"))
    assert "archived" in workspace.check()["message"]


class TestManifest:
    def test_its_scopes_are_those_that_are_checked(self) -> None:
        assert MANIFEST["oauth_config"]["scopes"] == {"bot": list(SCOPES)}

    def test_no_scope_is_asked_for_in_vain(self) -> None:
        """Each allows something that the code does, and what the code does is allowed, but for messages to a person."""
        assert {s for needed in NEEDS.values() for s in needed} == {*SCOPES, "im:write"}

    def test_no_inbound_port_is_asked_for(self) -> None:
        said: dict[str, Any] = MANIFEST["settings"]
        assert said["interactivity"] == {"is_enabled": True}, "no request_url"
        assert said["socket_mode_enabled"] is True
