"""Everything a source sends is written by strangers: one user is named to break whatever shows the name."""

from __future__ import annotations

import csv
import email
import email.policy
import html.parser
import io
import json
from typing import Any

import pytest

from tests.peers.watch import CONFIG, Watch, watched

NAME = "<!channel> {{7*7}} <script>alert(1)</script>\r\nBcc: evil@example.test\x1b]0;owned\x07\u202e=HYPERLINK(1)"
MAIL = "=cmd|'/c calc'!a1<!here>{{7*7}}@example.test"
FORMATS = """
[[receivers]]
name = "slack"
kind = "files"
format = "slack"
path = "./slack"

[[receivers]]
name = "mail"
kind = "files"
format = "email"
path = "./mail"

[[receivers]]
name = "text"
kind = "files"
format = "text"
path = "./text"

[[routes]]
changes = ["joined", "left", "suspended", "role_changed", "group_joined", "role_edited"]
to = ["out", "slack", "mail", "text"]
"""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Everything that can be said of such a user, a role and a group of that name: found, changed, resolved."""
    config = CONFIG.replace("[[routes]]", FORMATS + "\n[[routes]]").replace(
        'to = ["out"]', 'to = ["out", "slack", "mail", "text"]'
    )
    folder = tmp_path_factory.mktemp("hostile")
    with watched(folder, users=450, config=config) as (school, _, watch):
        school._role("Support lead")["title"] = NAME
        who = school.add_user(MAIL, "x", "Admin", first_name=NAME, last_name=NAME, username=NAME, tags=[NAME])
        school.set(who, role={"level": "admin", "name": NAME})
        watch.poll()
        for change in (
            lambda: school.change_role(who, "User", keep_admin_flag=True),
            lambda: school.suspend(who),
            lambda: school.group("Cohort 1").update(title=NAME, managers=[]),
            lambda: school.add_member(NAME, who),
            lambda: school.set(who, is_admin=False),
            lambda: school.recreate_user(who, watch.clock.now().timestamp()),
        ):
            watch.clock.ahead(days=1)
            change()
            watch.poll()
        yield watch


def test_no_message_mentions_everybody(told: Watch) -> None:
    """Slack's three characters are escaped wherever the name stands, so nothing is a mention or a link."""
    payloads = [json.loads(p.read_text()) for p in (told.folder / "slack").glob("*.json")]
    assert len(payloads) >= 6
    for payload in payloads:
        for text in _strings(payload):
            assert "<!" not in text
            assert "<script" not in text
            assert "\u202e" not in text
    assert any("&lt;!channel&gt;" in t for p in payloads for t in _strings(p))
    assert not any("49" in t and "{{" not in t and "channel" in t for p in payloads for t in _strings(p))


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [s for v in value.values() for s in _strings(v)]
    if isinstance(value, list):
        return [s for v in value for s in _strings(v)]
    return [value] if isinstance(value, str) else []


class _Tags(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)


def test_no_mail_gets_a_header_or_a_script(told: Watch) -> None:
    """Parsed back: one recipient, no Bcc, no tag of a stranger."""
    mails = [p.read_bytes() for p in (told.folder / "mail").glob("*.eml")]
    assert len(mails) >= 6
    for raw in mails:
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        assert mail["Bcc"] is None
        assert not mail.defects
        body = mail.get_body(("html",))
        assert body is not None
        tags = _Tags()
        tags.feed(body.get_content())
        assert "script" not in tags.tags


def test_no_page_gets_a_tag(told: Watch) -> None:
    """The report."""
    done = told.command("report", "--output", str(told.folder / "report.html"))
    assert done.returncode == 0, done.stderr
    text = (told.folder / "report.html").read_text()
    tags = _Tags()
    tags.feed(text)
    assert "script" not in tags.tags
    assert "&lt;!channel&gt;" in text


@pytest.mark.parametrize("listing", ["findings", "drift", "accounts", "snapshots", "outbox", "ledger"])
def test_no_terminal_gets_an_escape_sequence(told: Watch, listing: str) -> None:
    """Nor an override of the direction; json and csv hold the name and are still json and csv."""
    arguments = [listing, "--all"] if listing in ("findings", "outbox") else [listing]
    shown = told.command(*arguments, env={"FORCE_COLOR": "1", "COLUMNS": "200"})
    assert shown.returncode == 0, shown.stderr
    assert "\x1b]" not in shown.stdout
    assert "\u202e" not in shown.stdout
    json.loads(told.command(*arguments, "--format", "json").stdout)
    rows = list(csv.reader(io.StringIO(told.command(*arguments, "--format", "csv").stdout)))
    assert len({len(r) for r in rows}) == 1
    assert not [c for r in rows for c in r if c[:1] in "=@" and c]


def test_the_name_is_kept_as_it_is(told: Watch) -> None:
    """Harmless where it is shown, true where it is kept."""
    [account] = json.loads(told.command("accounts", MAIL, "--format", "json").stdout)
    assert account["email"] == MAIL
    assert "{{7*7}}" in account["name"]
