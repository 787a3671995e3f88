"""What an operator types about messages and templates, on a real config, database and files."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor import wiring
from monitor.cli.app import Exit, main
from monitor.cli.clock import SystemClock
from monitor.config import load
from monitor.decide import route
from monitor.deliver.samples import FINDING
from monitor.dispatch import deliver_waiting
from monitor.domain.message import Health, Notification, Reason, Receipt, Sending
from monitor.errors import ConfigError
from monitor.store import outbox
from tests.peers import fresh
from tests.peers.hook import Say, hook
from tests.peers.watch import START

CONFIG = """
[[sources]]
name = "school"
kind = "learnworlds"
url = "https://school.example.com"
client_id = "1"
token = {{ env = "LW_TOKEN" }}

[[receivers]]
name = "out"
kind = "files"
path = "./messages"

[[receivers]]
name = "hook"
kind = "webhook"
url = "{url}"
allow_private = true
fallback = "out"

[[receivers]]
name = "tickets"
kind = "webhook"
url = {{ env = "JIRA_URL" }}
format = "template"
template = "jira"
values = {{ project = "SEC" }}

[[receivers]]
name = "slack"
kind = "slack"
token = {{ env = "SLACK_TOKEN" }}
channel = "C0123456789"

[[receivers]]
name = "mail"
kind = "email"
host = "127.0.0.1"
tls = "none"
from = "alerts@example.test"
to = ["ann@example.test", "bob@example.test"]

[[routes]]
to = ["out"]
"""
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A config, and a database with nothing in it."""
    for name in ("LW_TOKEN", "SLACK_TOKEN"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("COLUMNS", "200")  # tables that are not folded
    monkeypatch.setenv("JIRA_URL", "https://acme.example")
    (tmp_path / "config.toml").write_text(CONFIG.format(url="http://127.0.0.1:9/"))
    fresh.database(tmp_path / "access-monitor.sqlite")
    return tmp_path


@pytest.fixture
def cli(folder: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()  # what was logged before
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(folder / "config.toml"), *args])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


def written(folder: Path, receiver: str, title: str, reason: Reason = Reason.OPENED) -> Notification:
    engine = wiring.database(load(folder / "config.toml"))
    content = {"finding": FINDING} if reason is Reason.OPENED else {}
    note = route.notification(receiver, reason, title, title, "school", START, content)
    outbox.say(engine, [note])
    engine.dispose()
    return note


def delivered(folder: Path) -> None:
    parts = wiring.parts(load(folder / "config.toml"), SystemClock(), stream=io.StringIO())
    deliver_waiting(parts)
    parts.engine.dispose()


def rows(cli: Cli, *args: str) -> list[dict[str, object]]:
    code, out, err = cli("outbox", *args, "--format", "json")
    assert code == 0, err
    found = json.loads(out)
    assert isinstance(found, list)
    return found


def test_what_waits_is_listed(cli: Cli, folder: Path) -> None:
    """By receiver and status; ids are shown shortened, and whole to programs."""
    notes = [written(folder, r, f"to {r}") for r in ("out", "hook")]
    assert [r["id"] for r in rows(cli)] == [n.id for n in notes]
    assert [r["receiver"] for r in rows(cli, "--receiver", "hook")] == ["hook"]
    assert rows(cli, "--status", "dead") == []
    assert len(rows(cli, "--limit", "1")) == 1
    _, out, _ = cli("outbox")
    assert "to hook" in " ".join(out.split())
    assert cli("outbox", "--status", "lost")[0] == Exit.USAGE
    header, first, *_ = cli("outbox", "--format", "csv")[1].splitlines()
    assert (header.split(",")[:2], first.split(",")[0]) == (["id", "receiver"], notes[0].id)


def test_a_refused_message_is_shown_and_sent_again(cli: Cli, folder: Path) -> None:
    """Dead, with why; the fallback has it; by its id's beginning it goes once more."""
    with hook(None, Say(422, b"no such field")) as peer:
        (folder / "config.toml").write_text(CONFIG.format(url=peer.url))
        note = written(folder, "hook", "refused")
        delivered(folder)
        (dead,) = rows(cli, "--status", "dead")
        assert dead["error"] == "HTTP 422: no such field"
        assert cli("check", "--offline")[0] == 0
        out = [json.loads(p.read_text()) for p in (folder / "messages").glob("*.json")]
        assert sorted(m["title"] for m in out) == ["hook refuses messages", "refused"]
        assert next(m for m in out if m["title"] == "refused")["content"]["refused_by"] == "hook"
        code, said, _ = cli("outbox", "show", note.id[:8])
        assert (code, "HTTP 422" in " ".join(said.split())) == (0, True)
        assert cli("outbox", "retry", note.id[:8], "--by", "ann")[1] == "1 message to be tried again\n"
        delivered(folder)
    assert rows(cli) == []
    assert len(peer.got) == 2
    assert peer.got[0].headers["webhook-id"] == peer.got[1].headers["webhook-id"] == note.id


@pytest.mark.parametrize(
    ("option", "begins"), [("--slack", "{"), ("--html", "<!DOCTYPE html>"), ("--email", "From: "), (None, "▲ HIGH")]
)
def test_a_message_is_rendered_as_each_channel_has_it(cli: Cli, folder: Path, option: str | None, begins: str) -> None:
    """From what stands in the outbox, whoever the receiver is."""
    note = written(folder, "mail", FINDING["title"])
    code, out, err = cli("outbox", "show", note.id, *([option] if option else []))
    assert (code, err) == (0, "")
    assert out.lower().startswith(begins.lower())
    assert FINDING["subject"]["email"] in out.replace("=\r\n", "").replace("=\n", "")


@pytest.mark.parametrize(
    ("args", "fault"),
    [
        (["show", "abc"], "first 4"), (["show", "ffffffff"], "there is no message"), (["retry"], "say which"),
        (["retry", "ffffffff"], "there is no message"), (["enable", "fax"], "there is no receiver fax"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_clear_error(cli: Cli, args: list[str], fault: str) -> None:
    """With what to do, and no traceback."""
    code, out, err = cli("outbox", *args)
    assert (code, out) == (Exit.USAGE, "")
    assert fault in err
    assert len(err.splitlines()) == 1


def test_a_receiver_that_wants_nothing_more(cli: Cli, folder: Path) -> None:
    """Shown as disabled; a retry says that it is off; `enable` switches it on, and what waits goes out."""
    with hook(None, Say(410)) as peer:
        (folder / "config.toml").write_text(CONFIG.format(url=peer.url))
        written(folder, "hook", "one")
        delivered(folder)
        states = {r["receiver"]: r["state"] for r in rows(cli, "receivers")}
        assert states == {"out": "ok", "hook": "disabled", "tickets": "ok", "slack": "ok", "mail": "ok"}
        assert "Receivers in trouble" in cli("outbox")[1]
        assert "outbox enable hook" in " ".join(cli("outbox", "retry", "--receiver", "hook")[2].split())
        delivered(folder)
        assert len(peer.got) == 1
        assert cli("outbox", "enable", "hook")[1] == "hook is switched on\n"
        assert cli("outbox", "enable", "hook")[1] == "hook was not switched off\n"
        delivered(folder)
        assert len(peer.got) == 2


def test_check_tells_of_receivers_in_trouble(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A breaker that is open, and a message that was refused, fail the check."""
    monkeypatch.setattr("monitor.sources.http.Reader._sleep", lambda *_: None)  # nobody answers, however often asked
    engine = wiring.database(load(folder / "config.toml"))
    written(folder, "hook", "one")
    claimed = outbox.claim(engine, "hook", "me", "t", START, alone=True)
    assert claimed is not None
    known = Health(failures=5, open_until=SystemClock().now().replace(year=2099), error="no answer")
    outbox.settle(engine, claimed, Receipt(Sending.REJECTED, "no"), START, START, known)
    engine.dispose()
    code, out, _ = cli("check", "--format", "json")
    told = {r["what"]: r for r in json.loads(out)}
    assert code == Exit.FAILED
    assert "1 message" in told["outbox"]["detail"]
    assert told["delivery hook"]["ok"] is False
    assert "no answer" in told["delivery hook"]["detail"]


class TestTemplates:
    def test_those_that_are_shipped_work(self, cli: Cli) -> None:
        """With every kind of message."""
        assert cli("templates", "check") == (0, "Every template renders every kind of message.\n", "")

    def test_a_broken_one_is_named_with_its_line(self, cli: Cli, folder: Path) -> None:
        """And the shipped one takes its place."""
        mine = folder / "templates" / "text"
        mine.mkdir(parents=True)
        (mine / "finding.txt.j2").write_text("{{ title }}\n{{ finding.nosuch }}\n")
        code, _, err = cli("templates", "check")
        assert code == Exit.FAILED
        assert "templates/text/finding.txt.j2:2" in err
        assert "nosuch" in err
        code, out, err = cli("templates", "preview", "opened")
        assert (code, "What to do" in out, "shown by the shipped template" in " ".join(err.split())) == (0, True, True)

    def test_a_broken_one_holds_nothing_back_and_is_told_once(self, cli: Cli, folder: Path) -> None:
        """The message goes out in the shipped words, and the operator hears of it once for each text."""
        mine = folder / "templates" / "text"
        mine.mkdir(parents=True)
        (mine / "finding.txt.j2").write_text("{{ finding.nosuch }}")
        written(folder, "out", "one")
        for _ in range(3):
            delivered(folder)
        told = sorted(json.loads(p.read_text())["title"] for p in (folder / "messages").glob("*.json"))
        assert told == ["A template does not work; the shipped one is used in its place", "one"]
        (mine / "finding.txt.j2").write_text("{{ finding.nosuch_either }}")
        delivered(folder)
        assert len(list((folder / "messages").glob("*.json"))) == 3

    @pytest.mark.parametrize("receiver", ["out", "hook", "tickets", "slack", "mail"])
    @pytest.mark.parametrize("look", ["text", "json", "html"])
    def test_every_kind_has_a_preview_for_every_receiver(
        self, cli: Cli, folder: Path, receiver: str, look: str
    ) -> None:
        """In the terminal, as it is sent, and as a page."""
        for reason in (Reason.OPENED, Reason.BASELINE, Reason.DIGEST):
            code, out, err = cli("templates", "preview", reason.value, "--receiver", receiver, "--as", look)
            assert (code, err) == (0, "")
            assert out
            if look == "json":
                json.loads(out)
        target = folder / "page.html"
        assert cli("templates", "preview", "opened", "-r", receiver, "--as", look, "-o", str(target))[0] == 0
        assert target.stat().st_size > 100

    def test_what_cannot_be_previewed(self, cli: Cli) -> None:
        """Neither a kind nor a finding, or for nobody."""
        assert "neither a kind of message" in cli("templates", "preview", "fax")[2]
        assert "there is no finding" in cli("templates", "preview", "0123456789abcdef")[2]
        assert "there is no nobody" in cli("templates", "preview", "opened", "-r", "nobody")[2]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('fallback = "hook"', "receivers[1].fallback: there is no other receiver hook"),
        ('fallback = "fax"', "receivers[1].fallback: there is no other receiver fax"),
        ('rate = "fast"', "receivers[1].rate: must be a rate"),
        ('template = "jira"', "receivers[1]: format = \"template\" and `template` belong together"),
        ('values = { a = "b" }', "receivers[1]: values and secrets are read by a template only"),
        ('signing_keys = ["whsec_x"]', "receivers[1].signing_keys[0]: a secret must not stand in the config"),
    ],
)  # fmt: skip
def test_settings_of_receivers_that_cannot_be(folder: Path, text: str, fault: str) -> None:
    """Named by their key."""
    path = folder / "config.toml"
    path.write_text(CONFIG.format(url="https://x.test/").replace('fallback = "out"', text))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('to = "owner"', 'to = "owner" stands alone and needs `fallback`'),
        ('to = ["owner", "a@x.test"]\nfallback = "out"', "stands alone"),
        ('to = "a@x.test"\ndigest = "hourly"', 'must be a time that comes back, like "daily 08:00"'),
    ],
)
def test_settings_of_mail_that_cannot_be(folder: Path, text: str, fault: str) -> None:
    """With what to write instead."""
    path = folder / "config.toml"
    path.write_text(CONFIG.format(url="https://x.test/").replace('to = ["ann@example.test", "bob@example.test"]', text))
    with pytest.raises(ConfigError, match=r"receivers\[4\]") as caught:
        load(path)
    assert fault in str(caught.value)
