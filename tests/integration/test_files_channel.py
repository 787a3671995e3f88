"""Messages as files: whole or not there, and never twice."""

from __future__ import annotations

import io
import json
from email import message_from_bytes
from email.policy import default
from pathlib import Path

import pytest

from monitor.deliver.console import Console
from monitor.deliver.files import Files, Format
from monitor.deliver.render import Renderer
from monitor.deliver.samples import FINDING, sample
from monitor.domain.message import Channel, Reason, Sending

RENDERER = Renderer([Path(__file__).parents[2] / "templates"])


def test_a_message_is_one_file_that_only_its_owner_reads(tmp_path: Path) -> None:
    """The outbox id names it, and find() finds it."""
    channel: Channel = Files(tmp_path / "out", "json", RENDERER)
    note = sample(Reason.OPENED)
    assert channel.find(note) is None
    receipt = channel.send(note)
    assert receipt.sending is Sending.SENT
    assert channel.find(note) == receipt.reference
    assert Path(receipt.reference).stat().st_mode & 0o777 == 0o600
    said = json.loads(Path(receipt.reference).read_text())
    assert {k: said[k] for k in ("id", "reason", "receiver", "created_at")} == {
        "id": note.id, "reason": "opened", "receiver": "security", "created_at": "2026-11-24T02:10:00Z",
    }  # fmt: skip
    assert said["content"]["finding"]["fingerprint"] == FINDING["fingerprint"]


def test_sending_again_replaces(tmp_path: Path) -> None:
    """A second attempt leaves one file, and nothing half-written beside it."""
    channel = Files(tmp_path, "text", RENDERER)
    for _ in range(3):
        channel.send(sample(Reason.TEST))
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("format", "end"), [("json", ".json"), ("text", ".txt"), ("slack", ".slack.json"), ("email", ".eml")]
)
def test_every_format_holds_every_reason(tmp_path: Path, format: Format, end: str) -> None:
    """Also with a name that is no text at all."""
    channel = Files(tmp_path, format, RENDERER)
    for reason in Reason:
        assert channel.send(sample(reason)).reference.endswith(end)
    odd = FINDING | {"subject": FINDING["subject"] | {"name": "\ud800\x00"}}
    assert channel.send(sample(Reason.OPENED, finding=odd)).sending is Sending.SENT


def test_a_mail_file_is_a_mail(tmp_path: Path) -> None:
    """Any mail program opens it, with the list attached."""
    receipt = Files(tmp_path, "email", RENDERER).send(sample(Reason.BASELINE))
    read = message_from_bytes(Path(receipt.reference).read_bytes(), policy=default)
    assert [p.get_content_type() for p in read.walk()] == [
        "multipart/mixed", "multipart/alternative", "text/plain", "text/html", "text/csv",
    ]  # fmt: skip


def test_a_full_disk_is_told_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be written is sent later; what stands there stays whole."""
    channel, note = Files(tmp_path, "text", RENDERER), sample(Reason.TEST)
    channel.send(note)
    before = Path(channel.find(note) or "").read_text()

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("monitor.deliver.files.os.fsync", full)
    assert "No space left" in channel.send(note).detail
    assert channel.send(note).sending is Sending.LATER
    assert Path(channel.find(note) or "").read_text() == before
    assert "No space left" in (channel.check() or "")


def test_an_id_cannot_leave_the_folder(tmp_path: Path) -> None:
    """Ids are ours, and are cleaned nevertheless."""
    note = sample(Reason.TEST)
    object.__setattr__(note, "id", "../../evil")
    receipt = Files(tmp_path / "out", "text", RENDERER).send(note)
    assert Path(receipt.reference).parent == tmp_path / "out"


def test_check_says_when_the_folder_cannot_be_one(tmp_path: Path) -> None:
    """A file stands where the folder should be."""
    (tmp_path / "file").write_text("")
    assert "cannot write into" in (Files(tmp_path / "file", "json", RENDERER).check() or "")
    assert Files(tmp_path / "new", "json", RENDERER).check() is None
    assert list((tmp_path / "new").iterdir()) == []


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    """At once, and not with the first message."""
    with pytest.raises(ValueError, match="json, text, slack, email"):
        Files(tmp_path, "pdf", RENDERER)  # type: ignore[arg-type]  # what a wrong config would give


def test_a_stream_that_is_no_terminal_gets_plain_text() -> None:
    """No colours and no frames in a log file."""
    stream = io.StringIO()
    channel: Channel = Console(stream, RENDERER)
    assert channel.send(sample(Reason.OPENED)).sending is Sending.SENT
    assert stream.getvalue().startswith("▲ HIGH")
    assert "\x1b" not in stream.getvalue()
    assert channel.find(sample(Reason.OPENED)) is None
    assert channel.check() is None


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_frame_and_no_markup_of_strangers() -> None:
    """[bold] in a name is text, and so is an escape sequence."""
    odd = FINDING | {"subject": FINDING["subject"] | {"name": "[bold]Ann[/bold]\x1b]0;x\x07"}}
    for reason in (Reason.OPENED, Reason.RESOLVED, Reason.BASELINE, Reason.TEST):
        stream = Terminal()
        Console(stream, RENDERER).send(sample(reason, finding=odd) if reason is Reason.OPENED else sample(reason))
        assert "╯" in stream.getvalue()
        if reason is Reason.OPENED:
            assert "[bold]Ann[/bold]" in stream.getvalue()
            assert "\x1b]0;" not in stream.getvalue()


def test_a_closed_stream_is_told() -> None:
    """The message waits."""
    stream = io.StringIO()
    stream.close()
    assert Console(stream, RENDERER).send(sample(Reason.TEST)).sending is Sending.LATER
    assert Console(stream, RENDERER).check() == "the stream is closed"
