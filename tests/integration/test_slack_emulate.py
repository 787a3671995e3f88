"""Against a Slack that nobody here wrote: `emulate` 0.12.2 from npm, which keeps messages, threads and metadata.

It needs Node 22 or newer and is not installed by default. tests/contract/README.md says how to have it.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
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
EMULATE = Path(os.environ.get("EMULATE", ROOT / "node_modules" / ".bin" / "emulate"))
NODE = os.environ.get("NODE") or shutil.which("node") or ""
RENDERER = Renderer([ROOT / "templates"])


def lacking() -> str:
    """What is missing to run it, or nothing."""
    if not NODE:
        return "there is no node"
    said = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=False).stdout
    number = re.match(r"v(\d+)", said)
    if number is None or int(number[1]) < 22:
        return f"node is {said.strip() or 'unknown'}; 22 or newer is needed"
    return "" if EMULATE.exists() else f"there is no {EMULATE}: npm install --no-save emulate@0.12.2"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    why = lacking()
    if why:
        pytest.skip(why)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [NODE, str(EMULATE.resolve()), "--service", "slack", "--port", str(port)]
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
