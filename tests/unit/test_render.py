"""What is said, in each format, and that no name of a stranger can break out of it."""

from __future__ import annotations

import csv
import io
import json
import re
from email import message_from_bytes
from email.policy import default
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import slackblocks
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator
from slack_sdk.models.blocks import Block

from monitor.deliver.attachment import attachment, cell
from monitor.deliver.clean import header
from monitor.deliver.letter import Envelope, compose, message_id, thread
from monitor.deliver.preview import page
from monitor.deliver.render import Renderer
from monitor.deliver.samples import FINDING, RESOLVED, sample, samples
from monitor.deliver.wording import FILTERS, Lines, change, duration, moment, steps, value
from monitor.domain.message import KEPT_UP_TO_DATE, Notification, Reason
from monitor.errors import TemplateFault

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "templates"
RENDERER = Renderer([TEMPLATES])
ENVELOPE = Envelope("Access monitor <alerts@example.test>", "it-security@example.test", "example.test")
HOSTILE = "<!channel> {{7*7}} <script>\r\nBcc: x@evil.test"
SCHEMA = Draft7Validator(json.loads((ROOT / "tests/contract/slack-message.schema.json").read_text()))
HEADERS = [
    "Auto-Submitted", "Content-Type", "Date", "From", "List-Id", "MIME-Version", "Message-ID", "Subject", "To",
    "X-Auto-Response-Suppress",
]  # fmt: skip
FIRST = (Reason.OPENED, Reason.REOPENED, Reason.FLAPPING, Reason.GROUP)
LATER = [r for r in KEPT_UP_TO_DATE if r not in FIRST]  # these answer an earlier mail


def hostile(reason: Reason, text: str) -> Notification:
    """A sample in which every word that a stranger may choose is `text`."""
    plain = sample(reason).content

    def poisoned(item: Any, key: str = "") -> Any:
        if isinstance(item, dict):
            return {k: poisoned(v, k) for k, v in item.items()}
        if isinstance(item, list):
            return [poisoned(v, key) for v in item]
        return text if isinstance(item, str) and key not in _OURS else item

    return sample(reason, **poisoned({k: v for k, v in plain.items() if k != "reason"}))


_OURS = {
    "reason", "at", "severity", "status", "verdict", "opened_at", "resolved_at", "due_at", "source", "fingerprint",
    "kind",
}  # fmt: skip


def strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [s for v in value.values() for s in strings(v)]
    if isinstance(value, list):
        return [s for v in value for s in strings(v)]
    return [value] if isinstance(value, str) else []


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, tuple(name for name, _ in attrs)))


def tags(html: str) -> list[tuple[str, tuple[str, ...]]]:
    parser = Tags()
    parser.feed(html)
    return parser.seen


class TestTemplates:
    def test_every_shipped_template_renders_every_sample(self) -> None:
        """The check that an operator may run finds nothing wrong with what we ship."""
        assert RENDERER.check() == []

    def test_a_template_of_the_user_overrides_ours(self, tmp_path: Path) -> None:
        """The first folder wins, file by file."""
        mine = tmp_path / "mine"
        (mine / "text").mkdir(parents=True)
        (mine / "text" / "test.txt.j2").write_text("hello from {{ source }}\n")
        renderer = Renderer([mine, TEMPLATES])
        assert renderer.text(sample(Reason.TEST)) == "hello from acme-school\n"
        assert "Who" in renderer.text(sample(Reason.OPENED))

    @pytest.mark.parametrize(
        ("name", "text", "fault"),
        [
            ("slack/test.json.j2", '{"text": "x"\n}}\n{{ nme }}', r"mine/slack/test.json.j2:3: .*'nme' is undefined"),
            ("text/test.txt.j2", "one\n{% if %}\n", r"mine/text/test.txt.j2:2: "),
            (
                "slack/test.json.j2",
                '{"text": "x",\n "blocks": [}',
                r"mine/slack/test.json.j2: renders no JSON: .*line 2",
            ),
            ("slack/test.json.j2", "[1]", r"mine/slack/test.json.j2: must be a JSON object"),
            ("email/test.html.j2", "{{ source.__class__ }}", r"mine/email/test.html.j2:1: SecurityError"),
            ("text/test.txt.j2", "{{ 'a' * 1000000000 }}", r"mine/text/test.txt.j2:1: SecurityError"),
            (
                "text/test.txt.j2",
                "{% include 'text/none.j2' %}",
                r"mine/text/test.txt.j2:1: there is no template text/none.j2",
            ),
            ("email/test.html.j2", "{{ source | safe }}", r"mine/email/test.html.j2:1: No filter named 'safe'"),
            ("text/test.txt.j2", "{% for i in range(12000) %}{{ 'x' * 99 }}{% endfor %}", r"is the most"),
        ],
    )
    def test_a_broken_template_is_named_with_its_line(self, tmp_path: Path, name: str, text: str, fault: str) -> None:
        """The check says where, what, and never raises."""
        file = tmp_path / "mine" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)
        found = Renderer([tmp_path / "mine", TEMPLATES]).check()
        assert len(found) == 1
        assert re.search(fault, found[0])

    def test_a_broken_template_raises_a_fault_when_it_is_used(self, tmp_path: Path) -> None:
        """What a channel gets is our error, never one of the library's."""
        (tmp_path / "text").mkdir()
        (tmp_path / "text" / "test.txt.j2").write_text("{{ 1 / 0 }}")
        with pytest.raises(TemplateFault, match="ZeroDivisionError"):
            Renderer([tmp_path]).text(sample(Reason.TEST))


class TestWords:
    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3600, "1 h"), (273600, "3 d 4 h"), (86400 * 3 + 60, "3 d"),
            (-60, "1 min"),
        ],
    )  # fmt: skip
    def test_durations_have_the_two_largest_units(self, seconds: float, text: str) -> None:
        """Readable at a glance."""
        assert duration(seconds) == text

    @pytest.mark.parametrize(
        ("fact", "text"),
        [
            (None, "not reported"), (True, "yes"), (False, "no"), ([], "none"), (["a", None], "a, not reported"),
            ("", "empty"),
            ("2026-11-24T02:10:00Z", "24 Nov 2026 02:10 UTC"), (3, "3"), ({"a": 1}, "a: 1"), ("2026-", "2026-"),
        ],
    )  # fmt: skip
    def test_facts_read_as_people_say_them(self, fact: Any, text: str) -> None:
        """Absent is said, times are times, and lists are words."""
        assert value(fact) == text

    def test_a_time_without_a_zone_is_left_as_it_is(self) -> None:
        """We do not guess what it means."""
        assert moment("2026-11-24T02:10:00") is None

    def test_continued_lines_of_a_runbook_flow(self) -> None:
        """A phone breaks lines by itself."""
        assert steps("1. do this\n   and that\n2. then\n\nend") == "1. do this and that\n2. then\n\nend"

    def test_changes_are_said_of_their_subject(self) -> None:
        """Known names have words; others are shown as they are called."""
        assert change({"names": ["suspended"], "kind": "changed"}) == "was suspended"
        assert change({"names": ["odd_name"], "kind": "changed"}) == "odd name"
        assert change({"names": [], "kind": "removed"}) == "was removed"

    def test_every_filter_is_used_by_a_template(self) -> None:
        """What no template says is not kept."""
        text = "".join(p.read_text() for p in TEMPLATES.rglob("*.j2") if p.parent.name in ("slack", "email", "text"))
        assert {name for name in FILTERS if not re.search(rf"\|\s*{name}\b", text)} <= {"lines"}

    def test_a_baseline_says_how_much_is_not_shown(self) -> None:
        """Nobody takes the first lines for the whole."""
        note = sample(Reason.BASELINE)
        assert "12 of 31 shown. The complete list is attached as CSV." in RENDERER.text(note, attached=True)
        assert "access-monitor findings" in RENDERER.text(note)

    def test_a_resolved_message_says_how_and_how_long(self) -> None:
        """Which clause stopped holding, and how long it had been open."""
        text = RENDERER.text(sample(Reason.RESOLVED))
        assert "fixed after 3 d 4 h: no longer holds: account.is_admin" in text

    def test_overdue_is_said(self) -> None:
        """A reminder after the date does not say that time is left."""
        late = FINDING | {"due_at": "2026-11-23T02:10:00Z", "opened_at": "2026-11-20T02:10:00Z"}
        assert "1 d overdue" in RENDERER.text(sample(Reason.REOPENED, finding=late))


class TestSlack:
    @pytest.mark.parametrize("note", list(samples()), ids=lambda n: n.reason.value)
    def test_payloads_are_what_slack_takes(self, note: Notification) -> None:
        """Slack's own types and two independent validators agree."""
        payload = RENDERER.slack(note)
        faults = [e.message for e in SCHEMA.iter_errors({"channel": "C0000000", **payload})]
        assert faults == []
        for block in payload["blocks"]:
            slackblocks.blocks.Block.from_dict(block)
            parsed = Block.parse(block)
            assert parsed is not None
            assert parsed.to_dict()["type"] == block["type"]

    @settings(max_examples=60, deadline=None)
    @given(text=st.text(max_size=200), reason=st.sampled_from(list(Reason)))
    @example(text=HOSTILE, reason=Reason.OPENED)
    @example(text='\\u003c!channel\\u003e", "x": "', reason=Reason.OPENED)
    @example(text="\ud800\u202egnp.exe\u2028\x1b[31m\x00", reason=Reason.BASELINE)
    @example(text="&" * 3000, reason=Reason.CHANGES)
    def test_no_name_breaks_out(self, text: str, reason: Reason) -> None:
        """Whatever people are called, the payload keeps its shape and mentions nobody."""
        payload = RENDERER.slack(hostile(reason, text))
        assert [e.message for e in SCHEMA.iter_errors({"channel": "C0000000", **payload})] == []
        for said in strings(payload):
            assert "<" not in said
            assert ">" not in said
            assert not re.search(r"&(?!amp;|lt;|gt;)", said)
            assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", said)
        json.dumps(payload).encode()


class TestHtml:
    @settings(max_examples=60, deadline=None)
    @given(text=st.text(max_size=200), reason=st.sampled_from(list(Reason)))
    @example(text=HOSTILE, reason=Reason.OPENED)
    @example(text='"><img src=x onerror=alert(1)>', reason=Reason.BASELINE)
    @example(text="</style><script>", reason=Reason.RESOLVED)
    def test_no_name_becomes_markup(self, text: str, reason: Reason) -> None:
        """The elements of the page are those of a page with harmless names; less where a text is empty."""
        assert set(tags(RENDERER.html(hostile(reason, text)))) <= set(tags(RENDERER.html(hostile(reason, "harmless"))))

    @pytest.mark.parametrize("note", list(samples()), ids=lambda n: n.reason.value)
    def test_a_page_loads_nothing(self, note: Notification) -> None:
        """No image, no font, no style sheet: opening a mail tells nobody."""
        html = RENDERER.html(note)
        assert not re.search(r"(?i)src=|<link|@import|url\(|http", html)
        assert '<html lang="en"' in html
        assert "prefers-color-scheme: dark" in html


class TestText:
    @settings(max_examples=60, deadline=None)
    @given(text=st.text(max_size=200), reason=st.sampled_from(list(Reason)))
    @example(text="\x1b]0;title\x07\x1b[2J\x9b31m evil\r\nOwner   nobody", reason=Reason.OPENED)
    @example(text="0\u20280", reason=Reason.OPENED)
    def test_no_name_reaches_a_terminal_raw(self, text: str, reason: Reason) -> None:
        """No escape sequence, and no line that a name begins."""
        said = RENDERER.text(hostile(reason, text))
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", said)
        said.encode()

    def test_a_value_stays_on_its_line(self) -> None:
        """A name cannot write a line of its own."""
        bad = FINDING | {"subject": FINDING["subject"] | {"name": "x\r\n  Owner   nobody"}}
        assert "\n  Owner   nobody" not in RENDERER.text(sample(Reason.OPENED, finding=bad))

    def test_a_rules_own_lines_are_kept(self) -> None:
        """Runbooks are written by the user, line by line."""
        assert "\n  2. If not" in RENDERER.text(sample(Reason.OPENED))
        assert isinstance(FILTERS["lines"]("a\nb"), Lines)


class TestMail:
    @settings(max_examples=60, deadline=None)
    @given(text=st.text(max_size=200), reason=st.sampled_from(list(Reason)))
    @example(text=HOSTILE, reason=Reason.OPENED)
    @example(text="=?utf-8?q?hi=0d=0aBcc:_evil@x?=", reason=Reason.OPENED)
    @example(text="=?utf-8?q?a?==?utf-8?b?DQpCY2M6IGV2aWxAeA==?=", reason=Reason.RESOLVED)
    @example(text="x" * 5000, reason=Reason.OPERATIONS)
    def test_no_name_makes_a_header(self, text: str, reason: Reason) -> None:
        """The headers are those of a mail with harmless names, and it goes to whom it should."""
        read = message_from_bytes(compose(hostile(reason, text), RENDERER, ENVELOPE), policy=default)
        expected = HEADERS + (["In-Reply-To", "References"] if reason in LATER else [])
        assert sorted(read.keys()) == sorted(expected)
        assert read["To"] == "it-security@example.test"
        assert "\n" not in read["Subject"]

    def test_the_encoded_word_hole_is_closed_by_us(self) -> None:
        """Some Pythons decode such a subject into a raw Bcc line (CVE-2024-6923): it never gets there."""
        assert "=?" not in header("=?utf-8?q?hi=0d=0aBcc:_evil@x?=")
        assert len(header("x" * 999)) == 150

    def test_a_thread_hangs_together(self) -> None:
        """The first mail of a finding has an id made from the finding; later ones refer to it."""
        opened, over = (
            sample(Reason.OPENED),
            sample(Reason.RESOLVED, finding=RESOLVED | {"opened_at": FINDING["opened_at"]}),
        )
        read = message_from_bytes(compose(over, RENDERER, ENVELOPE), policy=default)
        assert read["In-Reply-To"] == message_id(opened, "example.test") == thread(over, "example.test")
        assert read["References"] == read["In-Reply-To"]
        assert read["Message-ID"] == f"<{over.id}@example.test>"

    def test_a_finding_that_is_told_again_has_an_id_of_its_own(self) -> None:
        """Two mails with one id would be taken for copies, and one of them hidden."""
        again = sample(Reason.REOPENED, at="2026-11-25T00:00:00Z")
        assert message_id(again, "example.test") != message_id(sample(Reason.OPENED), "example.test")

    def test_ids_stay_short_enough_for_one_line(self) -> None:
        """A folded id would break the thread."""
        data = compose(
            sample(Reason.RESOLVED), RENDERER, ENVELOPE._replace(domain="a-very-long-department.example.test")
        )
        lines = [line for line in data.decode().split("\r\n") if line.startswith(("References:", "Message-ID:"))]
        assert len(lines) == 2
        assert all(line.endswith(">") and len(line) <= 78 for line in lines)

    def test_a_mail_is_the_same_for_every_attempt(self) -> None:
        """Boundaries and dates come from the notification."""
        note = sample(Reason.BASELINE)
        assert compose(note, RENDERER, ENVELOPE) == compose(note, RENDERER, ENVELOPE)


class TestList:
    def test_the_whole_list_is_attached(self) -> None:
        """Every finding is a row, also those that the message does not show."""
        listed = attachment(sample(Reason.BASELINE))
        assert listed is not None
        assert listed.name == "findings-acme-school-2026-11-24.csv"
        rows = list(csv.DictReader(io.StringIO(listed.data.decode("utf-8-sig"))))
        assert len(rows) == len(sample(Reason.BASELINE).content["findings"])
        assert rows[0]["severity"] == "critical"
        assert attachment(sample(Reason.OPENED)) is None

    def test_changes_are_a_list_too(self) -> None:
        """Before and after, in columns."""
        listed = attachment(sample(Reason.CHANGES))
        assert listed is not None
        assert "suspended,changed,account" in listed.data.decode("utf-8-sig")

    @pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "\n=1", "  =1", "＝1"])
    def test_formulas_are_defused(self, text: str) -> None:
        """A spreadsheet shows them and does not run them."""
        assert cell(text).startswith("'")

    @given(st.text())
    def test_no_cell_begins_a_formula(self, text: str) -> None:
        """Whatever the text, and also after leading blanks are gone."""
        assert not re.match(r"\s*[=+\-@]", cell(text))

    def test_numbers_stay_numbers(self) -> None:
        """A negative number is no formula."""
        assert cell(-3) == -3


def test_the_preview_shows_messages_and_runs_nothing() -> None:
    """Names are shown as text, mails stand in frames without rights, and nothing is loaded."""
    note = hostile(Reason.OPENED, HOSTILE)
    html = page([RENDERER.slack(note)], [compose(note, RENDERER, ENVELOPE)])
    assert "<script>" not in html
    assert "&lt;!channel&gt;" in html
    assert 'sandbox=""' in html
    assert not re.search(r"(?:src|href)=\"?http", html)


@pytest.mark.parametrize("reason", [Reason.OVERDUE, Reason.REMINDER, Reason.DUE_SOON, Reason.ESCALATED])
def test_bad_news_is_not_told_as_good_news(reason: Reason) -> None:
    """Green is for what is over; and the time that is told is the one of the finding."""
    said = RENDERER.html(sample(reason))
    assert "#edf5f1" not in said
    assert ("overdue)" in said) is (reason in (Reason.OVERDUE, Reason.REMINDER))
    assert "2026-11-" not in RENDERER.slack(sample(reason))["blocks"][1]["text"]["text"]
