"""How often Slack's methods are called, and what follows when that was too often."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slack_sdk.errors import SlackApiError

from monitor.config import load
from monitor.deliver.slack_errors import classify, retry_after
from monitor.deliver.slack_http import Web
from monitor.deliver.slack_pace import LONGEST, PER_CHANNEL, SPACING, MethodGate, NotYet
from monitor.domain.message import Sending
from monitor.wiring import channels, renderer
from tests.peers.slack import CHANNEL, SlackPeer, answer
from tests.peers.watch import VirtualClock

CALLS = st.lists(st.tuples(st.sampled_from([*SPACING, "auth.test"]), st.sampled_from(["C1", "C2"])), max_size=40)


@given(CALLS)
def test_no_method_is_called_more_often_than_it_may(calls: list[tuple[str, str]]) -> None:
    """By channel where Slack counts so; methods do not wait for each other."""
    clock = VirtualClock()
    gate, at = MethodGate(clock), dict[tuple[str, str], float]()
    for method, channel in calls:
        try:
            gate.wait(method, channel)
        except NotYet:
            continue
        key = (method, channel if method in PER_CHANNEL else "")
        assert clock.monotonic() - at.get(key, -99.0) >= SPACING.get(method, 0.0) - 1e-9
        at[key] = clock.monotonic()


def test_channels_do_not_wait_for_each_other() -> None:
    clock = VirtualClock()
    gate = MethodGate(clock)
    for channel in ("C1", "C2", "C3"):
        gate.wait("chat.postMessage", channel)
    assert clock.slept == []
    gate.wait("chat.postMessage", "C1")
    assert clock.slept == [1.0]


def test_what_slack_asked_for_holds_for_all_of_the_app() -> None:
    """A short time is waited for; a long one is the outbox's, and takes no place in the line."""
    clock = VirtualClock()
    gate = MethodGate(clock)
    gate.refused("chat.postMessage", LONGEST + 10)
    with pytest.raises(NotYet) as refused:
        gate.wait("chat.postMessage", "C2")
    receipt = classify(refused.value)
    assert (receipt.sending, receipt.retry_after) == (Sending.LATER, LONGEST + 10)
    gate.wait("chat.update", "C2")
    assert clock.slept == []
    clock.ahead(seconds=11)
    gate.wait("chat.postMessage", "C2")
    assert clock.slept == [LONGEST - 1]


def test_a_429_is_kept_by_whoever_has_the_same_token() -> None:
    """The other receiver waits as long as Slack asked the first one to."""
    clock = VirtualClock()
    with SlackPeer() as slack:
        one, two = (Web("xoxb-1", base_url=slack.url, retry_handlers=[]) for _ in range(2))
        one.proxy = two.proxy = None
        one.gate = two.gate = MethodGate(clock)
        slack.fails("chat.postMessage", answer(429, "", Retry_After="7"))
        with pytest.raises(SlackApiError):
            one.chat_postMessage(channel=CHANNEL, text="x")
        two.chat_postMessage(channel=CHANNEL, text="y")
        assert clock.elapsed == pytest.approx(7.0)
        assert [m["text"] for m in slack.messages] == ["y"]


@pytest.mark.parametrize("after", ["7", ["7"], "Wed, 21 Oct 2026 07:28:07 GMT"])
def test_seconds_or_a_time(after: Any) -> None:
    """A time is held against the answer's own."""
    assert retry_after({"Retry-After": after, "Date": "Wed, 21 Oct 2026 07:28:00 GMT"}) == 7.0


@pytest.mark.parametrize("given_after", ["", "soon", "-5", "nan", "1e9", "9" * 400, None, ["x"]])
def test_a_time_that_is_none(given_after: Any) -> None:
    assert retry_after({"Retry-After": given_after}) is None


def test_receivers_of_one_app_share_a_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONE", "xoxb-1")
    monkeypatch.setenv("TWO", "xoxb-2")
    source = '[[sources]]\nname = "s"\nkind = "file"\npath = "p.csv"\ncolumns = { id = "id" }\n'
    receivers = "".join(
        f'[[receivers]]\nname = "{n}"\nkind = "slack"\ntoken = {{ env = "{env}" }}\nchannel = "C0123456789"\n'
        for n, env in (("a", "ONE"), ("b", "ONE"), ("c", "TWO"))
    )
    (tmp_path / "config.toml").write_text(f'{source}{receivers}[[routes]]\nto = ["a", "b", "c"]\n')
    config, gates = load(tmp_path / "config.toml"), channels.Gates(VirtualClock())
    bots: list[Any] = [
        gates.paced(channels.slack_bot(config, r, "r", renderer(config)))  # type: ignore[arg-type]
        for r in config.receivers
    ]
    a, b, c = (bot.client.gate for bot in bots)
    assert a is b
    assert a is not c
