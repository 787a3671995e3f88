"""One message of each reason and format, as it is read. `GOLDEN=write pytest` on this file renews them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor.deliver.letter import Envelope, compose
from monitor.deliver.render import Renderer
from monitor.deliver.samples import sample
from monitor.domain.message import Notification, Reason

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
RENDERER = Renderer([ROOT / "templates"])
ENVELOPE = Envelope("Access monitor <alerts@example.test>", "it-security@example.test", "example.test")

FORMATS: dict[str, Callable[[Notification], str]] = {
    "txt": lambda n: f"{RENDERER.subject(n)}\n\n{RENDERER.text(n)}",
    "html": lambda n: RENDERER.html(n, attached=n.reason is Reason.BASELINE),
    "slack.json": lambda n: json.dumps(RENDERER.slack(n), indent=2, ensure_ascii=False) + "\n",
    "eml": lambda n: compose(n, RENDERER, ENVELOPE).decode("ascii").replace("\r\n", "\n"),
}


@pytest.mark.parametrize("end", FORMATS)
@pytest.mark.parametrize("reason", Reason)
def test_a_message_reads_as_it_did(reason: Reason, end: str) -> None:
    """A change of words is seen in review, and is meant."""
    file = GOLDEN / f"{reason.value}.{end}"
    said = FORMATS[end](sample(reason))
    if os.environ.get("GOLDEN") == "write":
        file.write_text(said)
    assert file.read_text() == said


@pytest.mark.parametrize("reason", [Reason.OPENED, Reason.REOPENED, Reason.RESOLVED, Reason.UPDATED])
def test_a_living_message_reads_as_it_did(reason: Reason) -> None:
    """The message in the channel, and what stands in its thread."""
    note, file = sample(reason), GOLDEN / f"{reason.value}.living.json"
    shown = {"message": RENDERER.slack(note, folded=True, buttons="security")}
    thread = {part: RENDERER.slack_thread(part, note) for part in ("evidence", "history")}
    said = json.dumps(shown | thread, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("GOLDEN") == "write":
        file.write_text(said)
    assert file.read_text() == said
