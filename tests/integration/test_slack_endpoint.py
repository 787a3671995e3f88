"""Slack's signed requests, over real HTTP: what is signed acts once, and nothing else is even looked at."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from slack_sdk.signature import SignatureVerifier

from monitor.acts.desk import Desk
from monitor.acts.endpoint import LARGEST, PATH, App, Endpoint, Now
from monitor.acts.payload import BLOCK
from monitor.config import load
from monitor.domain.finding import FindingStatus
from monitor.errors import ConfigError, StoreError
from monitor.wiring import channels
from tests.integration.test_slack_buttons import (
    ACTORS,
    ANN,
    APP_TOKEN,
    EVE,
    RECEIVER,
    ROUTES,
    SETTINGS,
    Buttons,
    wait_for,
)
from tests.peers.slack import CHANNEL, SlackPeer
from tests.peers.watch import VirtualClock

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"


class House:
    """Buttons whose presses come in over HTTP."""

    def __init__(self, buttons: Buttons, patience: float = 2.5) -> None:
        self.buttons, self.clock = buttons, buttons.post.clock
        now: Any = Now(lambda: self.clock.now().timestamp())
        desk = buttons.socket.desk
        other = App(SignatureVerifier("another app's", now), Desk(desk._web, {}))
        self.endpoint = Endpoint("127.0.0.1", 0, [other, App(SignatureVerifier(SECRET, now), desk)], patience)
        self.endpoint.start(buttons.handle)

    def press(self, act: str = "acknowledge", user: str = ANN, ts: str = "1.1") -> bytes:
        action = {"block_id": f"{BLOCK}slack", "action_id": act, "value": "f", "action_ts": ts}
        return form({
            "type": "block_actions", "user": {"id": user, "username": user[2:5].lower()}, "trigger_id": "t",
            "channel": {"id": CHANNEL}, "actions": [action],
        })  # fmt: skip

    def signed(self, body: bytes, secret: str = SECRET, late: int = 0) -> dict[str, str]:
        stamp = str(int(self.clock.now().timestamp()) - late)
        digest = hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
        return {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": f"v0={digest}"}

    def send(self, body: bytes, headers: dict[str, str] | None = None, path: str = PATH) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.endpoint.port, timeout=10)
        try:
            headers = self.signed(body) if headers is None else headers
            connection.request("POST", path, body, {"Content-Type": "application/x-www-form-urlencoded", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


def form(payload: Any) -> bytes:
    return urlencode({"payload": json.dumps(payload)}).encode()


@pytest.fixture
def slack() -> Iterator[SlackPeer]:
    with SlackPeer() as peer:
        yield peer


@pytest.fixture
def house(slack: SlackPeer, tmp_path: Path) -> Iterator[House]:
    buttons = Buttons(slack, tmp_path)
    buttons("opened")
    one = House(buttons)
    yield one
    one.endpoint.stop()
    buttons.close()


def status(house: House) -> FindingStatus:
    return FindingStatus(house.buttons.finding().status)


def test_what_is_signed_is_done(house: House) -> None:
    """By the same act as over the socket."""
    assert house.send(house.press()) == (200, b"")
    assert status(house) is FindingStatus.ACKNOWLEDGED
    assert [b["by"] for b in house.buttons.record("finding.acknowledged")] == [f"ann ({ANN})"]


def test_a_form_that_is_refused_stays_open(house: House) -> None:
    """What is wrong with it is the answer."""
    view = {"id": "V1", "callback_id": BLOCK, "state": {"values": {"reason": {"reason": {"value": " "}}}},
            "private_metadata": json.dumps({"act": "false_alarm", "fingerprint": "f", "receiver": "slack",
                                            "channel": CHANNEL})}  # fmt: skip
    code, body = house.send(form({"type": "view_submission", "user": {"id": ANN, "name": "ann"}, "view": view}))
    assert (code, json.loads(body)) == (
        200, {"response_action": "errors", "errors": {"reason": "Say why it is a false alarm."}},
    )  # fmt: skip


NOT_SLACKS: dict[str, Any] = {
    "no signature": lambda _h, _b: {},
    "another secret": lambda h, b: h.signed(b, "wrong"),
    "another app's secret": lambda h, b: h.signed(b + b" "),
    "five minutes old": lambda h, b: h.signed(b, late=301),
    "from the future": lambda h, b: h.signed(b, late=-301),
    "a time that is none": lambda h, b: h.signed(b) | {"X-Slack-Request-Timestamp": "soon"},
    "a time without end": lambda h, b: h.signed(b) | {"X-Slack-Request-Timestamp": "9" * 4000},
    "another time": lambda h, b: h.signed(b) | {"X-Slack-Request-Timestamp": h.signed(b, late=9)[STAMP]},
    "not ASCII": lambda h, b: h.signed(b) | {"X-Slack-Signature": "v0=\xe4"},
}
STAMP = "X-Slack-Request-Timestamp"


@pytest.mark.parametrize("name", NOT_SLACKS)
def test_what_is_not_slacks(house: House, name: str) -> None:
    """Refused, and nothing of it is read, told or recorded."""
    body = house.press()
    code, said = house.send(body, NOT_SLACKS[name](house, body))
    assert (code, said) == (401, b"")
    assert status(house) is FindingStatus.OPEN
    assert house.buttons.record("act.refused") == []
    assert house.buttons.slack.whispers == []


def test_just_in_time(house: House) -> None:
    body = house.press()
    assert house.send(body, house.signed(body, late=299))[0] == 200
    assert status(house) is FindingStatus.ACKNOWLEDGED


def test_the_same_request_again_acts_once(house: House) -> None:
    """A replay within the five minutes is answered well, opens no form and whispers nothing."""
    for act, user in (("acknowledge", EVE), ("false_alarm", ANN)):
        body = house.press(act, user)
        headers = house.signed(body)
        assert [house.send(body, headers)[0] for _ in range(3)] == [200, 200, 200]
    wait_for(house.buttons.slack.whispers)
    assert len(house.buttons.slack.views) == 1
    assert len(house.buttons.slack.whispers) == 1


def test_also_after_a_restart(house: House) -> None:
    """What was seen before stands in the database."""
    body = house.press("acknowledge")
    headers = house.signed(body)
    house.send(body, headers)
    again = House(house.buttons)
    assert again.send(body, headers)[0] == 200
    again.endpoint.stop()
    assert len(house.buttons.record("finding.acknowledged")) == 1
    assert house.buttons.slack.whispers == []


def test_who_may_not(house: House) -> None:
    assert house.send(house.press(user=EVE))[0] == 200
    assert [b["by"] for b in house.buttons.record("act.refused")] == [f"eve ({EVE})"]


def test_what_cannot_be_written_is_no_success(house: House) -> None:
    """And may come again, with the same signature."""
    body = house.press()
    headers = house.signed(body)
    house.buttons.broken = StoreError("the disk is full")
    assert house.send(body, headers)[0] == 500
    house.buttons.broken = None
    assert house.send(body, headers)[0] == 200
    assert status(house) is FindingStatus.ACKNOWLEDGED


def test_it_answers_in_time(house: House) -> None:
    """Slack waits for three seconds; what takes longer is finished all the same."""
    may_go_on, done = threading.Event(), threading.Event()
    slow = House(house.buttons, patience=0.2)
    real = house.buttons.handle

    def handle(click: Any) -> str:
        assert may_go_on.wait(10)
        said = real(click)
        done.set()
        return said

    house.buttons.socket.desk.hears(handle)
    try:
        assert slow.send(slow.press())[0] == 503
        may_go_on.set()
        assert done.wait(10)
        assert status(house) is FindingStatus.ACKNOWLEDGED
    finally:
        may_go_on.set()
        slow.endpoint.stop()


@pytest.mark.parametrize("body", [b"", b"payload", b"payload=%7B", b"other=1", b"payload=\xff", b"payload=%5B%5D"])
def test_what_is_signed_and_means_nothing(house: House, body: bytes) -> None:
    """No error of ours, whatever it is."""
    assert house.send(body)[0] in (200, 400, 401)
    assert status(house) is FindingStatus.OPEN


def test_too_large(house: House) -> None:
    """Refused by what it says of its length, before it is read."""
    assert house.send(b"x", {"Content-Length": str(LARGEST + 1)})[0] == 413


@pytest.mark.parametrize("length", ["", "-1", "many", "\u0663"])
def test_a_length_that_is_none(house: House, length: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", house.endpoint.port, timeout=10)
    connection.putrequest("POST", PATH)
    connection.putheader("Content-Length", length.encode())
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()


def test_elsewhere(house: House) -> None:
    body = house.press()
    assert house.send(body, path="/")[0] == 404
    connection = http.client.HTTPConnection("127.0.0.1", house.endpoint.port, timeout=10)
    connection.request("GET", PATH)
    assert connection.getresponse().status == 501
    connection.close()


def test_an_address_that_is_taken(house: House) -> None:
    """Said with the setting's name."""
    with pytest.raises(ConfigError, match="slack_endpoint: cannot listen on"):
        Endpoint("127.0.0.1", house.endpoint.port, []).start(lambda _c: "")


SIGNED = 'signing_secret = { env = "SLACK_SIGNING_SECRET" }\n'
ADDRESS = 'slack_endpoint = "127.0.0.1:8765"\n'


@pytest.mark.parametrize(
    ("top", "receiver", "said"),
    [
        ("", SIGNED + ACTORS, "needs slack_endpoint"), (ADDRESS, APP_TOKEN + ACTORS, "needs a receiver"),
        (ADDRESS, SIGNED, "belong together"), (ADDRESS.replace("8765", "87654"), SIGNED + ACTORS, "no port"),
        (ADDRESS.replace(":8765", ""), SIGNED + ACTORS, "slack_endpoint"),
    ],
)  # fmt: skip
def test_half_of_the_settings(tmp_path: Path, top: str, receiver: str, said: str) -> None:
    (tmp_path / "config.toml").write_text(top + SETTINGS + RECEIVER.replace("NAME", "one") + receiver + ROUTES)
    with pytest.raises(ConfigError, match=said):
        load(tmp_path / "config.toml")


def test_wired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address for all apps; with an app token beside it, the socket as well."""
    for name in ("SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET"):
        monkeypatch.setenv(name, name)
    one, two = RECEIVER.replace("NAME", "one") + SIGNED + ACTORS, RECEIVER.replace("NAME", "two") + SIGNED + ACTORS
    (tmp_path / "config.toml").write_text(ADDRESS + SETTINGS + one + two + ROUTES)
    (inbox,) = channels.inboxes(load(tmp_path / "config.toml"), VirtualClock())
    assert isinstance(inbox, Endpoint)
    assert [app.desk.actors for app in inbox._apps] == [{"one": [ANN], "two": [ANN]}]
