"""What people press in Slack, through a real WebSocket: done once, by those who may, and shown by the message."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from slack_sdk.models.views import View
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from monitor.acting import clicked
from monitor.acts.desk import Desk
from monitor.acts.payload import BLOCK, FORMS, Press, form, pressed
from monitor.acts.socket import Socket
from monitor.config import load
from monitor.deliver.slack_http import Web
from monitor.deliver.wording import Mention, mention
from monitor.domain.act import Act, Click
from monitor.domain.finding import Event, EventKind, FindingStatus, Resolution
from monitor.domain.rule import Verdict
from monitor.errors import ConfigError, StoreError
from monitor.store import exemptions, findings, ledger
from monitor.store.engine import reading, writing
from monitor.wiring import channels
from tests.integration.test_slack import SCHEMA, Told
from tests.peers.slack import CHANNEL, SlackPeer, error
from tests.peers.watch import VirtualClock

ANN, BOB, EVE = "U0ANN00001", "U0BOB00001", "U0EVE00001"
MARK = "f"
ALWAYS = ["assign", "recheck", "snooze", "false_alarm", "history"]  # offered while a finding is open


class Buttons(Told):
    """The same with buttons. `buttons.press("acknowledge", ANN)`"""

    def __init__(self, slack: SlackPeer, folder: Path, actors: tuple[str, ...] = (ANN,), wired: bool = False) -> None:
        super().__init__(slack, folder)
        self.bot.buttons = "slack"
        web = Web("xoxb-1", base_url=slack.url, timeout=5, retry_handlers=[])
        web.proxy = None
        self.socket = Socket("xapp-1", web, Desk(web, {"slack": actors}), loopback=True)
        self.broken: Exception | None = None
        self.refusals: list[dict[str, str]] = []  # what forms said
        self.wired = wired
        if wired:
            self.socket.start(self.handle)
        else:
            self.socket.desk.hears(self.handle)

    def handle(self, click: Click) -> str:
        if self.broken is not None:
            raise self.broken
        return clicked(self.post.parts, click)

    def press(
        self, act: str, user: str, envelope: str = "e1", ts: str = "1.1", acked: bool = True, block: str = "slack",
        **more: Any,
    ) -> None:  # fmt: skip
        action = {"block_id": f"{BLOCK}{block}", "action_id": act, "value": MARK, "action_ts": ts} | more
        self._send(envelope, {
            "type": "block_actions", "user": {"id": user, "username": user[2:5].lower()}, "trigger_id": "t",
            "channel": {"id": CHANNEL}, "actions": [action],
        }, acked)  # fmt: skip

    def submit(
        self, reason: str | None, user: str = ANN, envelope: str = "e2", until: str | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Fills in the form that was opened last."""
        values: dict[str, Any] = {"reason": {"reason": {"value": reason}}} | (more or {})
        if until is not None:
            values |= {"until": {"until": {"selected_date": until}}, "ticket": {"ticket": {"value": "IT-12"}}}
        view = self.slack.views[-1] | {"id": f"V{len(self.slack.views)}", "state": {"values": values}}
        user_of = {"id": user, "username": user[2:5].lower()}
        self._send(envelope, {"type": "view_submission", "user": user_of, "view": view}, True)

    def _send(self, envelope: str, payload: dict[str, Any], acked: bool) -> None:
        if not self.wired:
            self.socket.came(_Acks(self), SocketModeRequest("interactive", envelope, payload))
        else:
            self.slack.envelope(envelope, payload)
        if acked:
            assert self.slack.acks.get(timeout=10) == envelope
        else:
            with pytest.raises(queue.Empty):
                self.slack.acks.get(timeout=0.3)

    def close(self) -> None:
        if self.wired:
            self.socket.stop()
        self.post.close()

    def finding(self) -> Any:
        with reading(self.post.engine) as connection:
            return findings.load(connection)[0]

    def record(self, kind: str) -> list[dict[str, Any]]:
        with reading(self.post.engine) as connection:
            rows = connection.exec_driver_sql("SELECT body FROM ledger WHERE kind = ?", (kind,)).fetchall()
        return [json.loads(r[0]) for r in rows]


@pytest.fixture
def slack() -> Iterator[SlackPeer]:
    with SlackPeer() as peer:
        yield peer


class _Acks:
    """The connection, without one."""

    def __init__(self, buttons: Buttons) -> None:
        self.buttons = buttons

    def send_socket_mode_response(self, response: SocketModeResponse) -> None:
        self.buttons.slack.acks.put(response.envelope_id)
        if response.payload is not None:
            self.buttons.refusals.append(response.payload["errors"])


@pytest.fixture
def wired(slack: SlackPeer, tmp_path: Path) -> Iterator[Buttons]:
    """Over a WebSocket, with the SDK's client: closing that takes it seconds."""
    one = Buttons(slack, tmp_path, wired=True)
    yield one
    one.close()


@pytest.fixture
def buttons(slack: SlackPeer, tmp_path: Path) -> Iterator[Buttons]:
    one = Buttons(slack, tmp_path)
    yield one
    one.close()


def actions(message: dict[str, Any]) -> list[str]:
    return [e["action_id"] for b in message["blocks"] if b["type"] == "actions" for e in b["elements"]]


def test_acknowledged(wired: Buttons) -> None:
    """The message says by whom, and offers it no more; the record has the name."""
    buttons = wired
    buttons("opened")
    assert actions(buttons.only) == ["acknowledge", "exempt", *ALWAYS]
    buttons.press("acknowledge", ANN)
    buttons.deliver()
    assert buttons.finding().status is FindingStatus.ACKNOWLEDGED
    assert f"acknowledged by ann ({ANN})" in json.dumps(buttons.only["blocks"])
    assert actions(buttons.only) == ["exempt", *ALWAYS]
    assert [b["by"] for b in buttons.record("finding.acknowledged")] == [f"ann ({ANN})"]
    assert [e.message for e in SCHEMA.iter_errors({k: buttons.only[k] for k in ("channel", "text", "blocks")})] == []


def test_a_false_alarm_has_a_reason(buttons: Buttons) -> None:
    """Asked for in a form; the finding closes, and the message has no buttons any more."""
    buttons("opened")
    buttons.press("false_alarm", ANN)
    wait_for(buttons.slack.views)
    buttons.submit("A test account")
    buttons.deliver()
    found = buttons.finding()
    assert (found.resolution, found.resolution_detail) == (Resolution.FALSE_ALARM, f"ann ({ANN}): A test account")
    assert buttons.only["text"].startswith("✓ RESOLVED")
    assert actions(buttons.only) == []


def test_the_menu_of_a_line_in_a_list(buttons: Buttons) -> None:
    """As Slack tells of it: what was chosen, in a block that is named by the receiver and the finding."""
    buttons("opened")
    buttons.press(
        "more",
        ANN,
        block=f"slack {MARK}",
        selected_option={"value": f"acknowledge {MARK}"},
        type="overflow",
        value=None,
    )
    assert buttons.finding().status is FindingStatus.ACKNOWLEDGED
    assert buttons.finding().acknowledged_by == f"ann ({ANN})"


def wait_for(items: list[Any]) -> None:
    import threading

    for _ in range(200):
        if items:
            return
        threading.Event().wait(0.05)
    raise AssertionError("nothing came")


def test_a_reason_of_blanks(buttons: Buttons) -> None:
    buttons("opened")
    buttons.press("false_alarm", ANN)
    wait_for(buttons.slack.views)
    buttons.submit(None)
    assert buttons.finding().status is FindingStatus.OPEN
    assert buttons.refusals == [{"reason": "Say why it is a false alarm."}]
    buttons.submit("A test account", envelope="e3")
    assert buttons.finding().resolution is Resolution.FALSE_ALARM, "the same form, filled in once more"


class TestExempt:
    def ask(self, buttons: Buttons, until: str = "2026-03-31", user: str = ANN, envelope: str = "e2") -> None:
        buttons.press("exempt", user, f"p-{envelope}", envelope)
        wait_for(buttons.slack.views)
        buttons.submit("Hands over the school", user, envelope, until)

    def stored(self, buttons: Buttons) -> list[tuple[str, str]]:
        with reading(buttons.post.engine) as connection:
            return [(s.standing.value, s.exemption.approved_by) for s in exemptions.load(connection)]

    def test_it_is_let_be(self, buttons: Buttons) -> None:
        """Until the end of its last day; the message says who let it be and why, and the record holds all of it."""
        buttons("opened")
        self.ask(buttons)
        buttons.deliver()
        found = buttons.finding()
        assert (found.status, found.verdict, found.exempt_until) == (
            FindingStatus.OPEN, Verdict.EXEMPT, datetime(2026, 4, 1, tzinfo=UTC),
        )  # fmt: skip
        said = json.dumps(buttons.only["blocks"], ensure_ascii=False)
        assert "exempt until 1 Apr 2026" in said
        assert f"ann ({ANN}) (IT-12): Hands over the school" in said
        assert actions(buttons.only) == ["acknowledge", *ALWAYS]
        (row,) = buttons.record("exemption.approved")
        assert (row["until"], row["ticket"], row["by"]) == ("2026-03-31", "IT-12", f"ann ({ANN})")
        assert [r["by"] for r in buttons.record("finding.exempted")] == [f"ann ({ANN})"]

    @pytest.mark.parametrize(
        ("until", "said"), [("2026-02-28", "over already"), ("2027-03-03", "within a year"), ("soon", "until when")]
    )
    def test_a_date_that_cannot_be(self, buttons: Buttons, until: str, said: str) -> None:
        """Said in the form, which stays open: filled in once more, it is done."""
        buttons("opened")
        self.ask(buttons, until)
        assert said in buttons.refusals[0]["until"]
        assert buttons.finding().exemption is None
        buttons.submit("Hands over the school", ANN, "e3", "2026-03-31")
        assert self.stored(buttons) == [("approved", f"ann ({ANN})")]

    def test_a_second_person_has_to_agree(self, slack: SlackPeer, tmp_path: Path) -> None:
        """Whoever asked cannot approve; until somebody does, the finding is as open as it was, and says who asks."""
        buttons = Buttons(slack, tmp_path, (ANN, BOB))
        buttons.post.replace(second_approver=True)
        buttons("opened")
        self.ask(buttons)
        buttons.deliver()
        assert buttons.finding().verdict is Verdict.FINDING
        assert f"ann ({ANN}) asks for an exemption until 2026-03-31" in json.dumps(buttons.only["blocks"])
        assert actions(buttons.only) == ["acknowledge", "approve", "refuse", *ALWAYS]
        buttons.press("approve", ANN, "e3", "3.3")
        assert "another person" in slack.whispers[-1][1]
        self.ask(buttons, user=BOB, envelope="e4")
        assert "asked for an exemption already" in buttons.refusals[-1]["until"]
        assert buttons.finding().verdict is Verdict.FINDING
        buttons.press("approve", BOB, "e5", "5.5")
        buttons.deliver()
        assert buttons.finding().verdict is Verdict.EXEMPT
        both = f"bob ({BOB}), asked by ann ({ANN})"
        assert self.stored(buttons) == [("approved", both)]
        assert both in json.dumps(buttons.only["blocks"])
        buttons.close()

    def test_refused(self, slack: SlackPeer, tmp_path: Path) -> None:
        """It may be asked for again; who may not act at all can do none of it."""
        buttons = Buttons(slack, tmp_path, (ANN, BOB))
        buttons.post.replace(second_approver=True)
        buttons("opened")
        self.ask(buttons)
        buttons.press("approve", EVE, "e3", "3.3")
        assert self.stored(buttons)[0][0] == "asked"
        buttons.press("refuse", BOB, "e4", "4.4")
        self.ask(buttons, "2026-04-30", envelope="e5")
        buttons.press("approve", BOB, "e6", "6.6")
        assert [standing for standing, _ in self.stored(buttons)] == ["refused", "approved"]
        assert [b["by"] for b in buttons.record("exemption.refused")] == [f"bob ({BOB})"]
        buttons.close()

    def test_it_lapses_with_its_finding(self, slack: SlackPeer, tmp_path: Path) -> None:
        """There is nothing to approve any more; the record says that nobody answered."""
        buttons = Buttons(slack, tmp_path, (ANN, BOB))
        buttons.post.replace(second_approver=True)
        buttons("opened")
        self.ask(buttons)
        buttons.press("false_alarm", ANN, "p3", "e3")
        wait_for(buttons.slack.views[1:])
        buttons.submit("A test account", ANN, "e3")
        assert [standing for standing, _ in self.stored(buttons)] == ["lapsed"]
        assert [b["by"] for b in buttons.record("exemption.lapsed")] == ["access-monitor"]
        buttons.close()

    def test_a_poll_that_began_before_does_not_undo_it(self, buttons: Buttons) -> None:
        """The poll took the finding up before somebody acknowledged it, and writes afterwards what it judged."""
        buttons("opened")
        before = buttons.finding()
        buttons.press("acknowledge", ANN)
        edited = Event(EventKind.EDITED, replace(before, owner="another@example.test"))
        with writing(buttons.post.engine) as connection:
            findings.apply(connection, [edited], 1, 1, buttons.post.clock.now())
        found = buttons.finding()
        assert (found.owner, found.status) == ("another@example.test", FindingStatus.ACKNOWLEDGED)


class TestAssign:
    def assign(self, buttons: Buttons, to: str = BOB) -> None:
        buttons.press("assign", ANN)
        wait_for(buttons.slack.views)
        buttons.submit(None, more={"to": {"to": {"selected_user": to}}})

    def test_to_somebody(self, buttons: Buttons) -> None:
        """Kept by name and id; the message names the person, and the thread calls them."""
        buttons("opened")
        self.assign(buttons)
        buttons.deliver()
        assert buttons.finding().assigned_to == f"bob ({BOB})"
        assert f"*Assigned to:* <@{BOB}>" in json.dumps(buttons.only["blocks"])
        assert f"assigned by ann ({ANN}): to bob ({BOB}) · <@{BOB}>" in buttons.lines()[-1]
        assert [r["detail"] for r in buttons.record("finding.assigned")] == [f"to bob ({BOB})"]

    def test_without_the_scope_for_names(self, buttons: Buttons) -> None:
        buttons("opened")
        buttons.slack.fails("users.info", error("missing_scope"))
        self.assign(buttons)
        assert buttons.finding().assigned_to == BOB

    def test_to_nobody(self, buttons: Buttons) -> None:
        buttons("opened")
        self.assign(buttons, "")
        assert buttons.refusals == [{"to": "Say to whom."}]

    @pytest.mark.parametrize(
        ("person", "shown"),
        [("<!channel>", "<!channel>"), ("x> (U0BOB00001)", "<@U0BOB00001>"), ("(U0B>)", "(U0B>)"), ("U1", "U1")],
    )
    def test_only_an_id_is_a_mention(self, person: str, shown: str) -> None:
        """What is no id of a person is text, and is escaped as that."""
        assert (mention(person), isinstance(mention(person), Mention)) == (shown, "<@" in shown)


class TestSnooze:
    """The clock stands at Sunday, 1 March 2026."""

    def snooze(self, buttons: Buttons, lasts: str, until: str = "") -> None:
        buttons.press("snooze", ANN)
        wait_for(buttons.slack.views)
        more = {"lasts": {"lasts": {"selected_option": {"value": lasts}}}}
        buttons.submit("Is being looked at", until=until, more=more)

    @pytest.mark.parametrize(
        ("lasts", "until", "ends"),
        [
            ("tomorrow", "", datetime(2026, 3, 2, 9, tzinfo=UTC)), ("monday", "", datetime(2026, 3, 2, 9, tzinfo=UTC)),
            ("date", "2026-03-04", datetime(2026, 3, 5, tzinfo=UTC)),
        ],
    )  # fmt: skip
    def test_until(self, buttons: Buttons, lasts: str, until: str, ends: datetime) -> None:
        """A silence of this finding alone, whose author and reason are known; the message says until when."""
        buttons("opened")
        self.snooze(buttons, lasts, until)
        buttons.deliver()
        found = buttons.finding()
        assert (found.status, found.silenced_until) == (FindingStatus.OPEN, ends)
        assert f"silenced until {ends.day} Mar 2026" in json.dumps(buttons.only["blocks"])
        (row,) = buttons.record("silence.added")
        assert (row["by"], row["reason"], row["matcher"]) == (
            f"ann ({ANN})", "Is being looked at", {"fingerprint": [MARK]},
        )  # fmt: skip

    def test_for_an_hour(self, buttons: Buttons) -> None:
        buttons("opened")
        now = buttons.post.clock.now()
        self.snooze(buttons, "1h")
        assert buttons.finding().silenced_until == now + timedelta(hours=1)

    def test_longer_already(self, buttons: Buttons) -> None:
        """A shorter one would end before the longer one does."""
        buttons("opened")
        self.snooze(buttons, "date", "2026-03-04")
        self.snooze_again(buttons)
        assert "silenced already" in buttons.refusals[0]["lasts"]

    def snooze_again(self, buttons: Buttons) -> None:
        buttons.press("snooze", ANN, "e7", "7.7")
        more = {"lasts": {"lasts": {"selected_option": {"value": "1h"}}}}
        buttons.submit("Is being looked at", envelope="e8", until="", more=more)

    def test_a_day_that_is_none(self, buttons: Buttons) -> None:
        buttons("opened")
        self.snooze(buttons, "date")
        assert buttons.refusals == [{"lasts": "Say until when: its last day."}]
        assert buttons.finding().silenced_until is None


@pytest.mark.parametrize("act", FORMS)
def test_every_form_is_one_of_slacks(act: Act) -> None:
    press = Press(act, "f" * 32, "r" * 63, ANN, "ann", CHANNEL, "k")
    View(**form(press)).validate_json()
    assert len(form(press)["private_metadata"]) < 3000


@pytest.mark.parametrize("again", [{"ts": "2.2"}, {"envelope": "e9"}, {}], ids=["envelope", "action", "both"])
def test_delivered_again_it_acts_once(buttons: Buttons, again: dict[str, Any]) -> None:
    """By its envelope, or by who pressed what when."""
    buttons("opened")
    buttons.press("acknowledge", ANN)
    buttons.press("acknowledge", ANN, **again)
    assert len(buttons.record("finding.acknowledged")) == 1
    assert buttons.slack.whispers == []


def test_who_may_not(buttons: Buttons) -> None:
    """Nothing happens but an answer and a row in the record."""
    buttons("opened")
    for act in ("acknowledge", "history"):
        buttons.press(act, EVE, envelope=f"e-{act}")
    wait_for(buttons.slack.whispers)
    assert buttons.finding().status is FindingStatus.OPEN
    assert {b["by"] for b in buttons.record("act.refused")} == {f"eve ({EVE})"}
    assert buttons.slack.whispers[0][0] == EVE


def test_who_may_by_a_group(slack: SlackPeer, tmp_path: Path) -> None:
    slack.groups["S0SECURITY"] = [ANN]
    one = Buttons(slack, tmp_path, ("S0SECURITY",))
    one("opened")
    slack.fails("usergroups.users.list", error("missing_scope"))
    one.press("acknowledge", ANN)
    assert one.finding().status is FindingStatus.OPEN, "nobody may while the group is not known"
    one.press("acknowledge", ANN, "e2", "2.2")
    assert one.finding().status is FindingStatus.ACKNOWLEDGED
    one.close()


def test_what_cannot_be_written_is_not_acknowledged(wired: Buttons) -> None:
    """Slack delivers it again, and then it is done."""
    buttons = wired
    buttons("opened")
    buttons.broken = StoreError("the disk is full")
    buttons.press("acknowledge", ANN, acked=False)
    buttons.broken = None
    buttons.press("acknowledge", ANN)
    assert buttons.finding().status is FindingStatus.ACKNOWLEDGED


def test_history(buttons: Buttons) -> None:
    """For the one who asks, and nobody else."""
    buttons("opened")
    buttons.press("acknowledge", ANN)
    buttons.press("history", ANN, "e2", "2.2")
    wait_for(buttons.slack.whispers)
    assert buttons.slack.whispers[0][0] == ANN
    assert f"acknowledged by ann ({ANN})" in buttons.slack.whispers[0][1]


def test_it_is_over_already(buttons: Buttons) -> None:
    """Two people at once: the second one hears who was first."""
    buttons("opened")
    buttons.press("acknowledge", ANN)
    buttons.press("acknowledge", ANN, "e2", "2.2")
    wait_for(buttons.slack.whispers)
    assert "acknowledged it already" in buttons.slack.whispers[0][1]


STRANGE: list[Any] = [
    None, [], {}, {"type": "block_actions"}, {"type": "block_actions", "actions": []},
    {"type": "view_submission", "view": {"callback_id": BLOCK, "private_metadata": "{"}},
    {"type": "block_actions", "actions": [{"block_id": f"{BLOCK}x", "action_id": "delete", "value": "f"}]},
    {"type": "block_actions", "actions": [{"block_id": "another", "action_id": "acknowledge", "value": "f"}]},
]  # fmt: skip


@pytest.mark.parametrize("payload", STRANGE, ids=repr)
def test_what_is_none_of_ours(payload: Any) -> None:
    assert pressed(payload) is None


def test_the_chain_holds(buttons: Buttons) -> None:
    buttons("opened")
    buttons.press("acknowledge", ANN)
    with reading(buttons.post.engine) as connection:
        assert list(ledger.verify(connection)) == []


SETTINGS = """
[[sources]]
name = "school"
kind = "file"
path = "people.csv"
columns = { id = "id", email = "email" }
"""
RECEIVER = """
[[receivers]]
name = "NAME"
kind = "slack"
token = { env = "SLACK_BOT_TOKEN" }
channel = "C0MONITOR1"
"""
ROUTES = '\n[[routes]]\nto = ["one"]\n'
APP_TOKEN, ACTORS = 'app_token = { env = "SLACK_APP_TOKEN" }\n', 'actors = ["U0ANN00001"]\n'


@pytest.mark.parametrize("half", [APP_TOKEN, ACTORS, APP_TOKEN + 'actors = ["ann"]\n'])
def test_half_of_the_settings(tmp_path: Path, half: str) -> None:
    """Buttons that nobody may press, or that nobody hears, are a mistake in the config."""
    (tmp_path / "config.toml").write_text(SETTINGS + RECEIVER + half + ROUTES)
    with pytest.raises(ConfigError, match="actors"):
        load(tmp_path / "config.toml")


def test_one_connection_an_app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each connection gets a part of the presses: two of one app would each know half of the receivers."""
    monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-1")
    monkeypatch.setenv("SLACK_APP_TOKEN", "xapp-1")
    two = RECEIVER.replace("NAME", "one") + APP_TOKEN + ACTORS + RECEIVER.replace("NAME", "two") + APP_TOKEN + ACTORS
    (tmp_path / "config.toml").write_text(SETTINGS + two + RECEIVER.replace("NAME", "three") + ROUTES)
    (inbox,) = channels.inboxes(load(tmp_path / "config.toml"), VirtualClock())
    assert isinstance(inbox, Socket)
    assert inbox.desk.actors == {"one": [ANN], "two": [ANN]}
