"""Slack through a bot, against a Slack of our own that fails as networks do: one living message a finding."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from monitor.acting import act
from monitor.decide import route
from monitor.decide.reconcile import acknowledged
from monitor.deliver.render import Renderer
from monitor.deliver.samples import ACKNOWLEDGED, FINDING, RESOLVED, sample
from monitor.deliver.slack import SlackBot
from monitor.domain.finding import Event, Finding
from monitor.domain.message import Manner, Reason
from monitor.store import outbox
from monitor.store.engine import writing
from tests.peers.outgoing import Post
from tests.peers.slack import (
    CHANNEL,
    DROP_AFTER,
    DROP_BEFORE,
    RESET,
    Fault,
    SlackPeer,
    answer,
    error,
)

ROOT = Path(__file__).parents[2]
RENDERER = Renderer([ROOT / "templates"])
SCHEMA = Draft7Validator(json.loads((ROOT / "tests/contract/slack-message.schema.json").read_text()))
REASONS = {"opened": Reason.OPENED, "resolved": Reason.RESOLVED, "updated": Reason.UPDATED, "reopened": Reason.REOPENED}
FINDINGS = {"opened": FINDING, "resolved": RESOLVED, "updated": ACKNOWLEDGED, "reopened": FINDING}


class Told:
    """What happens to one finding, told to one channel. `told("opened", "resolved")`"""

    def __init__(self, slack: SlackPeer, folder: Path, channel: str = CHANNEL) -> None:
        self.slack = slack
        self.bot = SlackBot("xoxb-1", channel, RENDERER, base_url=slack.url, timeout=5)
        self.post = Post(folder, {"slack": Manner(living=True)}, slack=self.bot)
        with writing(self.post.engine) as connection:
            for table, values in _rows().items():
                names, places = ", ".join(values), ", ".join("?" * len(values))
                connection.exec_driver_sql(f"INSERT INTO {table} ({names}) VALUES ({places})", tuple(values.values()))

    def __call__(self, *what: str) -> None:
        for name in what:
            self.write(name)
            self.deliver()

    def write(self, name: str) -> None:
        self.post.clock.ahead(minutes=1)
        content = {"finding": FINDINGS[name], "happened": f"{name} by dana@example.test"}
        now = self.post.clock.now()
        note = route.notification("slack", REASONS[name], f"f:{now}", FINDING["title"], "acme-school", now, content)
        with writing(self.post.engine) as connection:
            outbox.put(connection, [(note, 1)], None)

    def deliver(self, passes: int = 4) -> None:
        for _ in range(passes):
            self.post.deliver()
            self.post.clock.ahead(minutes=2)

    @property
    def only(self) -> dict[str, Any]:
        (message,) = self.slack.top_level()
        return message

    def thread(self) -> list[str]:
        return [m["text"] for m in self.slack.thread(self.only["ts"])]

    def lines(self) -> list[str]:
        return [t for t in self.thread() if "vidence" not in t and "What had been seen" not in t]


def _rows() -> dict[str, dict[str, Any]]:
    return {
        "sources": {"id": 1, "name": "school", "kind": "x", "reader": ""},
        "snapshots": {
            "id": 1, "source_id": 1, "changes": 0, "lane": "full", "outcome": "complete", "started_at": 0,
            "finished_at": 0,
            "accounts": 0, "roles": 0, "groups": 0, "grants": 0, "requests": 0, "pages": 0, "digest": "",
            "rules_digest": "", "version": "", "baseline": 0,
        },
        "findings": {
            "id": 1, "fingerprint": "f", "source_id": 1, "rule": "r", "title": "t", "severity": "high",
            "status": "open", "verdict": "finding", "subject_kind": "account", "subject_id": "a", "owner": "o",
            "tags": "[]", "opened_at": 0, "evidence": "[]", "rule_digest": "", "snapshot_id": 1, "baseline": 0,
            "draft": 0,
        },
    }  # fmt: skip


Make = Callable[..., Told]


@pytest.fixture
def slack() -> Iterator[SlackPeer]:
    with SlackPeer() as peer:
        yield peer


@pytest.fixture
def told(slack: SlackPeer, tmp_path: Path) -> Iterator[Told]:
    one = Told(slack, tmp_path)
    yield one
    one.post.close()


class TestOneLivingMessage:
    def test_it_is_brought_up_to_date_in_place(self, told: Told) -> None:
        """One message in the channel, whatever happens; what happened stands in its thread, in order."""
        told("opened", "updated", "resolved")
        assert told.only["text"].startswith("✓ RESOLVED")
        assert "Resolved after 3 d 4 h" in json.dumps(told.only["blocks"])
        assert [t.partition(" · ")[2] for t in told.lines()] == [
            "updated by dana@example.test", "✓ resolved (fixed) after 3 d 4 h: no longer holds: account.is_admin",
        ]  # fmt: skip
        assert told.post.statuses() == ["sent"] * 3

    def test_the_evidence_is_in_the_thread(self, told: Told) -> None:
        """The message itself stays short enough for a phone."""
        told("opened")
        assert "account.past_levels" not in json.dumps(told.only["blocks"])
        (evidence,) = told.slack.thread(told.only["ts"])
        assert "account.past_levels" in json.dumps(evidence["blocks"])

    def test_nothing_is_parsed_after_an_update(self, told: Told) -> None:
        """Slack resets parse and link_names when an update does not name them."""
        told("opened", "updated")
        assert (told.only["parse"], told.only["link_names"]) == ("none", False)

    def test_metadata_outlives_updates(self, told: Told) -> None:
        told("opened", "resolved")
        assert told.only["metadata"]["event_payload"]["outbox_id"] == told.post.rows()[0]["id"]

    def test_every_payload_is_one_of_slacks(self, told: Told) -> None:
        told("opened", "updated", "reopened", "resolved")
        for method, asked in told.slack.calls:
            if method in ("chat.postMessage", "chat.update"):
                known = {k: v for k, v in asked.items() if k not in ("ts", "reply_broadcast")}
                assert [e.message for e in SCHEMA.iter_errors(known)] == []

    def test_open_again_is_heard_in_the_channel(self, told: Told) -> None:
        told("opened", "updated", "reopened")
        assert [m.get("reply_broadcast") for m in told.slack.thread(told.only["ts"])[1:]] == [False, True]

    def test_deleted_by_a_person(self, told: Told) -> None:
        """It is posted anew, and from then on that one is kept up to date."""
        told("opened")
        told.slack.delete(told.only["ts"])
        told("updated")
        assert "acknowledged by dana@example.test" in json.dumps(told.only["blocks"])
        told("resolved")
        assert told.only["text"].startswith("✓ RESOLVED")

    def test_another_channel_in_the_config(self, told: Told) -> None:
        """Nobody looks at the old channel any more: what happens next is posted in the new one."""
        told("opened")
        with writing(told.post.engine) as connection:
            connection.exec_driver_sql("UPDATE outbox SET reference = 'C0ANOTHER1/1.2'")
        told("resolved")
        assert len(told.slack.top_level()) == 2

    def test_a_channel_by_name(self, slack: SlackPeer, tmp_path: Path) -> None:
        """Updating takes an id: the one that posting answered."""
        told = Told(slack, tmp_path, "#access")
        told("opened", "resolved")
        assert told.only["text"].startswith("✓ RESOLVED")
        told.post.close()

    def test_an_update_without_a_message_is_posted(self, told: Told) -> None:
        """The first was refused for good, say."""
        told("updated")
        assert told.only["metadata"]["event_payload"]["outbox_id"] == told.post.rows()[0]["id"]


LOST = [DROP_AFTER, DROP_BEFORE, RESET, answer(502, "<html>", "text/html"), answer(429, "", Retry_After="3"),
        error("internal_error"), error("ratelimited")]  # fmt: skip


class TestFaults:
    @pytest.mark.parametrize("fault", LOST, ids=lambda f: f"{f.kind} {f.after} {f.status} {f.body[:40]}")
    @pytest.mark.parametrize("method", ["chat.update", "chat.postMessage"])
    def test_an_update_is_made_once(self, told: Told, method: str, fault: Fault) -> None:
        """Wherever it breaks: the message is up to date, and the thread has one line of it."""
        told("opened")
        told.slack.fails(method, fault)
        told("resolved")
        assert told.only["text"].startswith("✓ RESOLVED")
        assert len(told.lines()) == 1
        assert told.post.statuses() == ["sent", "sent"]

    @pytest.mark.parametrize("fault", LOST, ids=lambda f: f"{f.kind} {f.after} {f.status} {f.body[:40]}")
    def test_a_first_message_is_posted_once(self, told: Told, fault: Fault) -> None:
        """And its evidence is in its thread, once."""
        told.slack.fails("chat.postMessage", fault)
        told("opened")
        assert len(told.thread()) == 1
        assert told.post.statuses() == ["sent"]

    def test_posted_anew_and_then_cut_off(self, told: Told) -> None:
        """The deleted message's thread cannot be asked: the channel is."""
        told("opened")
        told.slack.delete(told.only["ts"])
        told.slack.fails("chat.postMessage", DROP_AFTER)
        told("resolved")
        assert told.only["text"].startswith("✓ RESOLVED")

    def test_the_thread_takes_no_evidence(self, told: Told) -> None:
        """Then it stands in the message itself: it is never lost."""
        told.slack.messages.append({"ts": "0", "text": "talk"})
        told.bot.client.chat_postMessage = _second_fails(told.bot.client.chat_postMessage)  # type: ignore[method-assign]
        told("opened")
        told.slack.delete("0")
        assert "account.past_levels" in json.dumps(told.only["blocks"])
        assert told.thread() == []
        told("updated")
        assert "account.past_levels" in json.dumps(told.only["blocks"]), "nor is it lost by an update"

    def test_the_thread_takes_no_line(self, told: Told) -> None:
        """The update counts; the missing line is told with the attempt."""
        told("opened")
        told.slack.fails("chat.postMessage", error("restricted_action_thread_locked"))
        told("resolved")
        assert told.post.statuses() == ["sent", "sent"]
        assert "no line in the thread" in outbox.attempts(told.post.engine, told.post.rows()[1]["id"])[0]["detail"]

    def test_refused_blocks(self, told: Told) -> None:
        """The words at least are brought up to date."""
        told("opened")
        told.slack.fails("chat.update", error("invalid_blocks"))
        told("resolved")
        assert (told.only["text"][:10], told.only["blocks"]) == ("✓ RESOLVED", [])


def _second_fails(post: Callable[..., Any]) -> Callable[..., Any]:
    def posts(**asked: Any) -> Any:
        return post(**(asked | {"channel": "C0NOWHERE1"} if "thread_ts" in asked else asked))

    return posts


def test_order_is_kept(told: Told) -> None:
    """An update waits for its post."""
    told.slack.fails("chat.postMessage", answer(429, "", Retry_After="3"))
    for name in ("opened", "updated", "resolved"):
        told.write(name)
    told.deliver(8)
    assert told.only["text"].startswith("✓ RESOLVED")
    assert len(told.lines()) == 2


def test_a_crowd_goes_through_with_one_call_each(told: Told) -> None:
    """A line in the thread takes as long as a message: while many wait the evidence is in the message, and stays."""
    for name in ("opened", *["updated"] * outbox.CROWD):
        told.write(name)
    told.deliver(1)
    assert [method for method, _ in told.slack.calls[:2]] == ["chat.postMessage", "chat.update"]
    assert "account.past_levels" in json.dumps(told.only["blocks"])
    assert "acknowledged by dana@example.test" in json.dumps(told.only["blocks"])
    assert len(told.thread()) == outbox.CROWD


def test_the_last_of_a_crowd_are_folded_again(told: Told) -> None:
    for name in ("opened", *["updated"] * (outbox.CROWD - 1)):
        told.write(name)
    told.deliver(1)
    assert "account.past_levels" not in json.dumps(told.only["blocks"])


def test_an_acknowledgement_is_shown(told: Told) -> None:
    """The message says who; nobody else is sent anything, and a finding without a message gets none."""
    told("opened")
    now = told.post.clock.now()

    def seen(found: Finding | None) -> Event:
        assert found is not None
        return acknowledged(found, None, "ann@example.test", now)

    act(told.post.engine, "f", seen, {}, {"slack", "mail"}, now)
    told.deliver()
    assert "acknowledged by ann@example.test" in json.dumps(told.only["blocks"])
    assert [t.partition(" · ")[2] for t in told.thread()[-1:]] == ["acknowledged by ann@example.test"]
    assert [(r["receiver"], r["reason"]) for r in told.post.rows()] == [("slack", "opened"), ("slack", "updated")]
    act(told.post.engine, "f", lambda _found: None, {}, {"slack"}, now)
    assert len(told.post.rows()) == 2


LONG = "ann " * 120
MANY = [FINDING | {"title": f"{i} {LONG}", "reason": "opened", "at": "2026-11-24T02:10:00Z"} for i in range(340)]


@pytest.mark.parametrize("reason", [Reason.STORM, Reason.BASELINE, Reason.DIGEST])
def test_what_is_said_of_a_long_list_is_true(slack: SlackPeer, reason: Reason) -> None:
    """Twelve are shown, as it says, however long they are; all of them lie in the thread."""
    bot = SlackBot("xoxb-1", CHANNEL, RENDERER, base_url=slack.url, timeout=5)
    said: dict[str, Any] = {"changes": []} if reason is Reason.DIGEST else {}
    assert bot.send(sample(reason, findings=MANY, **said)).detail == ""
    (message,) = slack.top_level()
    texts = [b["text"]["text"] for b in message["blocks"] if b["type"] == "section" and "text" in b]
    assert sum("ann ann" in text for text in texts) == 12
    assert "12 of 340 shown" in json.dumps(message["blocks"])
    (file,) = slack.files
    assert file["thread_ts"] == message["ts"]
    assert file["data"].decode("utf-8-sig").count("\r\n") == 341


def test_a_list_that_does_not_fit_is_attached_as_well(slack: SlackPeer) -> None:
    """Ten changes would all be shown, but for their length: the message says that it was cut."""
    bot = SlackBot("xoxb-1", CHANNEL, RENDERER, base_url=slack.url, timeout=5)
    moved = sample(Reason.CHANGES).content["changes"][0] | {"before": "b" * 2000, "after": "a" * 2000}
    subject = moved["subject"] | {"name": "n" * 400, "email": "e" * 400}
    assert bot.send(sample(Reason.CHANGES, changes=[moved | {"subject": subject}] * 12)).detail == ""
    (message,) = slack.top_level()
    assert "cut here" in json.dumps(message["blocks"])
    (file,) = slack.files
    assert file["data"].decode("utf-8-sig").count("\r\n") == 13
