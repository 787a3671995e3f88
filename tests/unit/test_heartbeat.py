"""The dead-man's switch: told after a whole cycle, told of a broken one, and never in the way."""

from __future__ import annotations

import pytest

from monitor.cli.clock import SystemClock
from monitor.deliver.guard import Guard
from monitor.deliver.heartbeat import Heartbeat
from tests.peers.hook import Say, hook

INSIDE = Guard(SystemClock().monotonic, allow_private=True, timeout=5.0)


def test_good_and_bad_news_go_to_two_addresses() -> None:
    """As healthchecks.io has it; the reason stands in the body."""
    with hook() as peer:
        heart = Heartbeat(f"http://127.0.0.1:{peer.port}/ping/uuid?rid=1", INSIDE)
        assert heart.beat(None) is None
        assert heart.beat("school: partial") is None
    assert [(g.method, g.path, g.body) for g in peer.got] == [
        ("POST", "/ping/uuid?rid=1", b""), ("POST", "/ping/uuid/fail?rid=1", b"school: partial"),
    ]  # fmt: skip


def test_what_goes_wrong_is_said_without_the_address() -> None:
    """The address is a secret."""
    with hook(None, Say(404)) as peer:
        heart = Heartbeat(f"http://127.0.0.1:{peer.port}/secret", INSIDE)
        assert heart.beat(None) == "HTTP 404"
    assert "secret" not in (heart.beat(None) or "")
    guarded = Heartbeat("https://127.0.0.1:9/secret", Guard(SystemClock().monotonic))
    said = guarded.beat(None) or ""
    assert "allow_private" in said
    assert "secret" not in said


@pytest.mark.parametrize("url", ["", "ftp://x.test/", "https://", "http://x.test/"])
def test_an_address_that_is_none(url: str) -> None:
    """Refused at the start."""
    with pytest.raises(ValueError, match="https://"):
        Heartbeat(url, Guard(SystemClock().monotonic))
