"""Webhooks: signed so that others can verify it, and what each answer means; by libraries that we did not write."""

from __future__ import annotations

import base64
import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from jsonschema import Draft202012Validator
from standardwebhooks import Webhook as Standard
from standardwebhooks import WebhookVerificationError
from svix.webhooks import Webhook as Svix
from svix.webhooks import WebhookVerificationError as SvixError

from monitor.cli.clock import SystemClock
from monitor.deliver.guard import Guard
from monitor.deliver.render import Renderer
from monitor.deliver.samples import FINDING, RESOLVED, sample, samples
from monitor.deliver.webhook import Format, Webhook
from monitor.domain.message import Channel, Notification, Reason, Sending
from monitor.errors import TemplateFault
from tests.peers.hook import Say, hook

CLOCK = SystemClock()
TEMPLATES = Path(__file__).parents[2] / "templates"
RENDERER = Renderer([TEMPLATES])
OLD, NEW = (f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}" for _ in range(2))


def webhook(url: str, format: Format = "json", **how: Any) -> Webhook:
    guard = Guard(CLOCK.monotonic, allow_private=True, timeout=5.0)
    return Webhook(url, format, how.pop("renderer", RENDERER), guard, how.pop("now", CLOCK.now), **how)


class TestSignature:
    def test_others_verify_it(self) -> None:
        """Every kind of message, by two libraries, with either key while one is being replaced."""
        with hook() as peer:
            channel: Channel = webhook(peer.url, signing_keys=[NEW, OLD])
            for note in samples():
                assert channel.send(note).sending is Sending.SENT
            assert len(peer.got) > 10
            for got in peer.got:
                for key in (NEW, OLD):
                    assert Standard(key).verify(got.body, got.headers) == got.json
                    Svix(key).verify(got.body, got.headers)  # raises unless it holds

    def test_what_was_changed_on_the_way_is_found(self) -> None:
        """Body, id or key."""
        with hook() as peer:
            webhook(peer.url, signing_keys=[NEW]).send(sample(Reason.TEST))
        got = peer.got[0]
        for body, headers, key in (
            (got.body + b" ", got.headers, NEW),
            (got.body, got.headers | {"webhook-id": "x"}, NEW),
            (got.body, got.headers, OLD),
        ):
            with pytest.raises(WebhookVerificationError):
                Standard(key).verify(body, headers)
            with pytest.raises(SvixError):
                Svix(key).verify(body, headers)

    def test_an_attempt_keeps_the_id_and_has_its_own_time(self) -> None:
        """The other side tells a second copy by the id."""
        times = [datetime(2026, 3, 1, 9, tzinfo=UTC) + timedelta(minutes=i) for i in range(2)]
        with hook(None, Say(503), Say()) as peer:
            channel = webhook(peer.url, signing_keys=[NEW], now=lambda: times.pop(0))
            note = sample(Reason.OPENED)
            assert [channel.send(note).sending for _ in range(2)] == [Sending.UNCERTAIN, Sending.SENT]
        first, second = (g.headers for g in peer.got)
        assert first["webhook-id"] == second["webhook-id"] == note.id
        assert int(second["webhook-timestamp"]) - int(first["webhook-timestamp"]) == 60
        assert peer.got[0].body == peer.got[1].body

    @pytest.mark.parametrize("key", ["", "whsec_", "whsec_short", "whsec_" + "A" * 200, "whsec_!!!!" + "A" * 40])
    def test_a_key_that_is_none_is_refused_at_the_start(self, key: str) -> None:
        """With how to make one, and without the key."""
        with pytest.raises(ValueError, match="openssl rand -base64 32"):
            webhook("http://127.0.0.1:9/", signing_keys=[key])


MEANS: list[tuple[Say, Sending, float | None]] = [
    (Say(200), Sending.SENT, None), (Say(202), Sending.SENT, None), (Say(204, b""), Sending.SENT, None),
    (Say(301, headers={"Location": "http://127.0.0.1:1/"}), Sending.PAUSED, None),
    (Say(304, b""), Sending.PAUSED, None),
    (Say(400), Sending.REJECTED, None), (Say(401), Sending.PAUSED, None), (Say(403), Sending.PAUSED, None),
    (Say(404), Sending.PAUSED, None), (Say(408), Sending.LATER, None), (Say(410), Sending.DISABLED, None),
    (Say(413), Sending.REJECTED, None), (Say(422), Sending.REJECTED, None),
    (Say(429, headers={"Retry-After": "30"}), Sending.LATER, 30.0),
    (Say(500), Sending.UNCERTAIN, None), (Say(502), Sending.UNCERTAIN, None),
    (Say(503, headers={"Retry-After": "9"}), Sending.UNCERTAIN, 9.0), (Say(drop=True), Sending.UNCERTAIN, None),
]  # fmt: skip


@pytest.mark.parametrize(("say", "sending", "after"), MEANS, ids=lambda v: str(getattr(v, "status", v)))
def test_what_an_answer_means(say: Say, sending: Sending, after: float | None) -> None:
    """Only 2xx is success, and each other one says what can be done."""
    with hook(None, say) as peer:
        receipt = webhook(peer.url).send(sample(Reason.TEST))
    assert (receipt.sending, receipt.retry_after) == (sending, after)
    assert receipt.sending is Sending.SENT or receipt.detail


def test_nobody_there_is_certainly_not_sent() -> None:
    """A closed port, a private address, a name that does not exist."""
    assert webhook("http://127.0.0.1:9/").send(sample(Reason.TEST)).sending is Sending.LATER
    shut = Webhook("https://127.0.0.1:9/", "json", RENDERER, Guard(CLOCK.monotonic), CLOCK.now)
    receipt = shut.send(sample(Reason.TEST))
    assert (receipt.sending, "allow_private" in receipt.detail) == (Sending.PAUSED, True)
    assert "allow_private" in (shut.check() or "")


@pytest.mark.parametrize(
    ("how", "fault"),
    [
        ({"url": "ftp://x.test/"}, "https://"), ({"url": "https://u:p@x.test/"}, "password"),
        ({"url": "https://x.test/ a"}, "blanks"), ({"headers": {"Host": "x"}}, "Host cannot be set"),
        ({"headers": {"webhook-id": "x"}}, "cannot be set"), ({"headers": {"X-A": "a\r\nb: c"}}, "one line"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_refused(how: dict[str, Any], fault: str) -> None:
    """At the start, and not with the first message."""
    with pytest.raises(ValueError, match=fault):
        webhook(how.pop("url", "https://x.test/"), **how)


def test_plain_http_is_for_inside() -> None:
    """Nothing goes to the Internet in clear."""
    with pytest.raises(ValueError, match="plain http"):
        Webhook("http://x.test/", "json", RENDERER, Guard(CLOCK.monotonic), CLOCK.now)


def test_a_body_says_what_it_is_first() -> None:
    """type, timestamp, data."""
    with hook() as peer:
        channel = webhook(peer.url)
        for reason in Reason:
            channel.send(sample(reason))
        types = [g.json["type"] for g in peer.got]
    assert types[:4] == ["finding.opened", "finding.reopened", "finding.resolved", "baseline"]
    assert peer.got[0].json["data"]["finding"] == FINDING
    assert peer.got[0].json["timestamp"] == "2026-11-24T02:10:00Z"
    assert peer.got[0].headers["content-type"] == "application/json"


def test_cloud_events_are_read_by_the_sdk() -> None:
    """In structured mode, each kind of message; the id is the outbox id."""
    with hook() as peer:
        channel = webhook(peer.url, "cloudevents")
        for note in samples():
            channel.send(note)
            got = peer.got[-1]
            event = from_http_event(HTTPMessage(got.headers, got.body))
            assert (event.get_id(), event.get_specversion()) == (note.id, "1.0")
            assert event.get_type().startswith("access-monitor.")
            assert event.get_time() == note.created_at
            assert event.get_data() == dict(note.content)


# shipped templates, against the shapes that their makers document

PAGERDUTY = Draft202012Validator({
    "type": "object", "required": ["routing_key", "event_action", "dedup_key"], "additionalProperties": False,
    "properties": {
        "routing_key": {"type": "string", "minLength": 32, "maxLength": 32},
        "event_action": {"enum": ["trigger", "acknowledge", "resolve"]},
        "dedup_key": {"type": "string", "minLength": 1, "maxLength": 255}, "client": {"type": "string"},
        "payload": {
            "type": "object", "required": ["summary", "source", "severity"], "additionalProperties": False,
            "properties": {
                "summary": {"type": "string", "minLength": 1, "maxLength": 1024},
                "source": {"type": "string", "minLength": 1},
                "severity": {"enum": ["critical", "error", "warning", "info"]},
                "timestamp": {"type": "string", "format": "date-time"}, "component": {"type": "string"},
                "group": {"type": "string"}, "class": {"type": "string"}, "custom_details": {"type": "object"},
            },
        },
    },
    "if": {"properties": {"event_action": {"const": "trigger"}}}, "then": {"required": ["payload"]},
})  # fmt: skip
_INLINE = {
    "type": "object", "required": ["type", "text"], "additionalProperties": False,
    "properties": {
        "type": {"const": "TextRun"}, "text": {"type": "string"}, "isSubtle": {"type": "boolean"},
        "size": {"enum": ["Small", "Default", "Medium", "Large", "ExtraLarge"]},
        "weight": {"enum": ["Lighter", "Default", "Bolder"]},
        "color": {"enum": ["Default", "Dark", "Light", "Accent", "Good", "Warning", "Attention"]},
    },
}  # fmt: skip
TEAMS = Draft202012Validator({
    "type": "object", "required": ["type", "attachments"], "additionalProperties": False,
    "properties": {
        "type": {"const": "message"},
        "attachments": {"type": "array", "minItems": 1, "maxItems": 1, "items": {
            "type": "object", "required": ["contentType", "content"],
            "properties": {
                "contentType": {"const": "application/vnd.microsoft.card.adaptive"}, "contentUrl": {"type": "null"},
                "content": {
                    "type": "object", "required": ["type", "version", "body"],
                    "properties": {
                        "type": {"const": "AdaptiveCard"}, "version": {"enum": ["1.2", "1.3", "1.4", "1.5"]},
                        "body": {"type": "array", "minItems": 1, "items": {
                            "type": "object", "required": ["type", "inlines"], "additionalProperties": False,
                            "properties": {
                                "type": {"const": "RichTextBlock"}, "spacing": {"enum": ["None", "Small", "Medium"]},
                                "inlines": {"type": "array", "items": _INLINE},
                            },
                        }},
                    },
                },
            },
        }},
    },
})  # fmt: skip
_DOC = {
    "type": "object", "required": ["type", "version", "content"], "additionalProperties": False,
    "properties": {
        "type": {"const": "doc"}, "version": {"const": 1},
        "content": {"type": "array", "items": {
            "type": "object", "required": ["type", "content"], "additionalProperties": False,
            "properties": {"type": {"const": "paragraph"}, "content": {"type": "array", "items": {
                "type": "object", "required": ["type", "text"], "additionalProperties": False,
                "properties": {"type": {"const": "text"}, "text": {"type": "string", "minLength": 1}},
            }}},
        }},
    },
}  # fmt: skip
_NAMED = {"type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": {"type": "string"}}
JIRA = {
    "/rest/api/3/issue": Draft202012Validator({
        "type": "object", "required": ["fields"], "additionalProperties": False,
        "properties": {"fields": {
            "type": "object", "required": ["project", "issuetype", "summary"], "additionalProperties": False,
            "properties": {
                "project": _NAMED, "issuetype": _NAMED, "description": _DOC,
                "summary": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": r"^[^\n]*$"},
                "labels": {"type": "array", "items": {"type": "string", "pattern": r"^\S+$"}},
            },
        }},
    }),
    "/rest/api/3/issue/SEC-7/comment": Draft202012Validator(
        {"type": "object", "required": ["body"], "additionalProperties": False, "properties": {"body": _DOC}}
    ),
    "/rest/api/3/issue/SEC-7/transitions": Draft202012Validator({
        "type": "object", "required": ["transition"], "additionalProperties": False,
        "properties": {"transition": _NAMED, "update": {"type": "object"}},
    }),
}  # fmt: skip
HOSTILE = FINDING | {
    "subject": FINDING["subject"] | {"name": '"}]}, {"x": [Evil](http://evil.test) \x00\u202e\ud800 <at>all</at>'},
}


def of(reason: Reason, **content: Any) -> Notification:
    return sample(reason, **content)


def test_pagerduty() -> None:
    """A finding triggers and resolves under its fingerprint; what is no finding pages nobody for a list."""
    with hook() as peer:
        channel = webhook(peer.url, "template", template="pagerduty", secrets={"routing_key": "k" * 32})
        for note in [*samples(), of(Reason.OPENED, finding=HOSTILE, title=HOSTILE["subject"]["name"])]:
            assert channel.send(note).sending is Sending.SENT
        for got in peer.got:
            PAGERDUTY.validate(got.json)
        opened, resolved = (
            next(g.json for g in peer.got if g.json["event_action"] == a) for a in ("trigger", "resolve")
        )
        assert opened["dedup_key"] == resolved["dedup_key"] == FINDING["fingerprint"]
        assert opened["payload"]["severity"] == "error"
        before = len(peer.got)
        for reason in (Reason.BASELINE, Reason.CHANGES, Reason.DIGEST):
            assert "says nothing" in channel.send(sample(reason)).detail
        assert len(peer.got) == before


OVER = {"counts": {}, "open": 0, "over": 7, "due_at": None}


def test_a_group_is_one_incident() -> None:
    """Under its own name, until all of it is over: also where one finding alone was told first."""
    alone = {"group": sample(Reason.GROUP).content["group"]}
    with hook() as peer:
        channel = webhook(peer.url, "template", template="pagerduty", secrets={"routing_key": "k" * 32})
        for note in (of(Reason.OPENED, **alone), of(Reason.NEW_IN_GROUP), of(Reason.GROUP, **OVER)):
            assert channel.send(note).sending is Sending.SENT
        assert [g.json["event_action"] for g in peer.got] == ["trigger", "trigger", "resolve"]
        assert {g.json["dedup_key"] for g in peer.got} == {alone["group"]["id"]}


def test_a_group_is_one_issue() -> None:
    """Comments while anything of it is open; then it is closed."""
    with hook(None, Say(201), Say(204, b"")) as peer:
        channel = webhook(
            peer.url.removesuffix("/hook"), "template", template="jira", headers={"Authorization": "Basic eA=="},
            values={"project": "SEC", "done_transition": "31"},
        )  # fmt: skip
        for note in (of(Reason.NEW_IN_GROUP), of(Reason.GROUP, **OVER)):
            assert channel.send(replace(note, earlier="SEC-7")).sending is Sending.SENT
        assert [g.path.rpartition("/")[2] for g in peer.got] == ["comment", "transitions"]


def test_teams() -> None:
    """A card whose texts no client takes for Markdown, below the 28 kB that Teams takes."""
    with hook() as peer:
        channel = webhook(peer.url, "template", template="teams")
        for note in [*samples(), of(Reason.OPENED, finding=HOSTILE, title=HOSTILE["subject"]["name"])]:
            assert channel.send(note).sending is Sending.SENT
        for got in peer.got:
            TEAMS.validate(got.json)
            assert len(got.body) < 28_000


def test_jira() -> None:
    """An issue, whose key is remembered; a comment; and a transition that closes it, when the config names one."""
    with hook(None, Say(201, b'{"id":"1","key":"SEC-7"}'), Say(201), Say(204, b""), Say(201)) as peer:
        url = peer.url.removesuffix("/hook")
        channel = webhook(
            url, "template", template="jira", values={"project": "SEC", "done_transition": "31"},
            headers={"Authorization": "Basic eA=="},
        )  # fmt: skip
        created = channel.send(sample(Reason.OPENED))
        assert created.reference == "SEC-7"
        assert channel.send(replace(sample(Reason.REOPENED), earlier="SEC-7")).sending is Sending.SENT
        assert channel.send(replace(sample(Reason.RESOLVED), earlier="SEC-7")).sending is Sending.SENT
        plain = replace(channel, values={"project": "SEC"})
        assert plain.send(replace(sample(Reason.RESOLVED), earlier="SEC-7")).sending is Sending.SENT
        assert "says nothing" in channel.send(sample(Reason.RESOLVED)).detail, "no issue was made of it"
        assert [g.path.rpartition("/")[2] for g in peer.got] == ["issue", "comment", "transitions", "comment"]
        assert peer.got[0].json["fields"]["issuetype"] == {"name": "Task"}
        assert peer.got[2].json["transition"] == {"id": "31"}
        for note in [*samples(), of(Reason.OPENED, finding=HOSTILE, title=HOSTILE["subject"]["name"])]:
            channel.send(note)
        for got in peer.got:
            JIRA[got.path].validate(got.json)
            assert got.headers["authorization"] == "Basic eA=="
        assert RESOLVED["resolution"] in json.dumps(peer.got[2].json)


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    """It renders a body, a request, or nothing; a path may not lead elsewhere."""
    folder = tmp_path / "webhook"
    folder.mkdir()
    (folder / "mine.json.j2").write_text('{"who": "{{ secrets.key }}", "title": "{{ title }}"}')
    (folder / "bad.json.j2").write_text('{"path": "../{{ title }}", "body": {}}')
    (folder / "worse.json.j2").write_text('{"path": "/x", "body": {}, "method": "DELETE"}')
    renderer = Renderer([tmp_path, TEMPLATES], RENDERER)
    with hook() as peer:
        channel = webhook(peer.url, "template", template="mine", secrets={"key": 'a"b'}, renderer=renderer)
        channel.send(sample(Reason.TEST))
        assert peer.got[0].json == {"who": 'a"b', "title": "A test message"}
        for name in ("bad", "worse", "absent"):
            with pytest.raises(TemplateFault, match=name):
                replace(channel, template=name).send(sample(Reason.TEST))
        assert len(peer.got) == 1
