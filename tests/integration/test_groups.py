"""Findings that are told together: through the real line, outbox and dispatch, to a Slack of our own and to mail."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, time, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from monitor.acting import act
from monitor.cli.whatif import together as together_with
from monitor.decide.reconcile import acknowledged
from monitor.deliver.letter import message_id, thread
from monitor.deliver.render import Renderer
from monitor.deliver.slack import SlackBot
from monitor.dispatch import deliver_waiting
from monitor.domain.company import BusinessHours
from monitor.domain.finding import Event, Finding
from monitor.domain.message import Manner, Notification, Reason, Receipt, Route, Sending
from monitor.domain.observed import Activity
from monitor.domain.rule import Severity
from monitor.line import timely
from monitor.line.parts import RuleSet
from monitor.store import findings, ledger, outbox
from monitor.store.engine import reading, writing
from tests.integration.test_noise import RULE, wrong
from tests.integration.test_quarantine import account
from tests.integration.test_random_delivery import Flaky, Killed
from tests.integration.test_slack import SCHEMA
from tests.peers.little import Bench
from tests.peers.outgoing import FULL, Scripted
from tests.peers.shipped import RULES
from tests.peers.slack import CHANNEL, DROP_AFTER, SlackPeer
from tests.peers.watch import START

RENDERER = Renderer([Path(__file__).parents[2] / "templates"])
SEVEN = tuple(f"u{n}" for n in range(7))
WAIT = timedelta(minutes=5)


@pytest.fixture
def slack() -> Iterator[SlackPeer]:
    with SlackPeer() as peer:
        yield peer


@pytest.fixture
def mail() -> Scripted:
    return Scripted()


@pytest.fixture
def bench(tmp_path: Path, slack: SlackPeer, mail: Scripted) -> Iterator[Bench]:
    """Twenty accounts, one rule, a channel and a mailbox that hear of its findings together; looked at once."""
    bot = SlackBot("xoxb-1", CHANNEL, RENDERER, base_url=slack.url, timeout=5)
    made = Bench(tmp_path, channels={"slack": bot, "mail": mail})
    made.school.accounts |= {f"u{n}": account(f"u{n}") for n in range(20)}
    made.school.activity |= {n: Activity(START, False) for n in made.school.accounts}
    manners = {"slack": Manner(living=True), "mail": Manner()}
    made.parts = replace(made.parts, manners=manners)
    judge(made, Severity.HIGH)
    together(made)
    made.poll()
    deliver(made)
    slack.messages.clear()
    mail.got.clear()
    yield made
    made.close()


def judge(bench: Bench, severity: Severity) -> None:
    rules = tuple(replace(r, severity=severity, digest=severity.value) for r in RULES if r.id == RULE)
    bench.parts = replace(bench.parts, rules=RuleSet(rules, severity.value))


def together(bench: Bench, *by: str) -> None:
    route = Route(("slack", "mail"), group_by=by or ("rule",), group_wait=WAIT)
    bench.parts = replace(bench.parts, routes=(route,))


def deliver(bench: Bench, minutes: int = 0) -> None:
    """So long after the last poll: everything that is due, with what comes of it."""
    bench.clock.ahead(minutes=minutes)
    for _ in range(3):
        deliver_waiting(bench.parts, FULL)
        bench.clock.ahead(seconds=5)


def poll(bench: Bench, *who: str) -> None:
    """One poll after which these are wrong and nobody else; no time passes."""
    wrong(bench, *who)
    before = bench.clock.elapsed
    bench.poll()
    bench.clock.elapsed = before + 1


def texts(slack: SlackPeer) -> list[str]:
    return [m["text"] for m in slack.top_level()]


def lines(slack: SlackPeer) -> list[list[str]]:
    """What stands in the thread of the only message, without its times."""
    (message,) = slack.top_level()
    return [m["text"].split("\n")[1:] for m in slack.thread(message["ts"])]


def test_what_opens_within_the_window_is_one_message(bench: Bench, slack: SlackPeer, mail: Scripted) -> None:
    """Four, and three more two minutes later: nothing before the window ends, then one message each."""
    poll(bench, *SEVEN[:4])
    deliver(bench, minutes=2)
    poll(bench, *SEVEN)
    deliver(bench, minutes=2)
    assert (texts(slack), mail.got) == ([], [])
    until = {together_with(r) for r in outbox.of_finding(bench.engine, 1)}
    assert until == {"waits in a group until 2026-03-01 09:20 UTC"}
    deliver(bench, minutes=1)
    assert all((together_with(r) or "").startswith("told by message ") for r in outbox.of_finding(bench.engine, 1))
    assert texts(slack) == [f"▲ HIGH · 7 findings of {RULE} in little"]
    assert [(n.reason, len(n.content["findings"])) for n in mail.got] == [(Reason.GROUP, 7)]
    assert bench.rows("SELECT DISTINCT status FROM outbox WHERE finding_id IS NOT NULL") == [("sent",)]


def test_what_becomes_of_them_is_one_living_message(bench: Bench, slack: SlackPeer, mail: Scripted) -> None:
    """Resolved, acknowledged, one more, all over: the message is brought up to date, the thread has its history."""
    judge(bench, Severity.MEDIUM)
    poll(bench, *SEVEN)
    deliver(bench, minutes=6)
    poll(bench, *SEVEN[:4])
    deliver(bench)
    assert texts(slack) == [f"● MEDIUM · 7 findings of {RULE} in little: 4 open, 3 over"]
    assert [len(several) for several in lines(slack)] == [3]
    poll(bench, *SEVEN[:4], "u9")
    deliver(bench, minutes=6)
    assert texts(slack) == [f"● MEDIUM · 8 findings of {RULE} in little: 5 open, 3 over"]
    poll(bench)
    deliver(bench)
    assert texts(slack) == [f"✓ RESOLVED · 8 findings of {RULE} in little, all over"]
    assert [n.reason for n in mail.got] == [Reason.GROUP, Reason.GROUP, Reason.NEW_IN_GROUP, Reason.GROUP]
    (root,) = {thread(n, "example.test") for n in mail.got}
    assert [message_id(n, "example.test") == root for n in mail.got] == [True, False, False, False]
    loud = [bool(m.get("reply_broadcast")) for m in slack.thread(slack.top_level()[0]["ts"])]
    assert loud == [False, True, False], "what is new has no message of its own"


def test_the_next_one_after_all_are_over_begins_another(bench: Bench, slack: SlackPeer) -> None:
    poll(bench, *SEVEN)
    deliver(bench, minutes=6)
    poll(bench)
    deliver(bench)
    poll(bench, "u8", "u9")
    deliver(bench, minutes=6)
    assert texts(slack) == [
        f"✓ RESOLVED · 7 findings of {RULE} in little, all over", f"▲ HIGH · 2 findings of {RULE} in little",
    ]  # fmt: skip


def test_one_alone_reads_as_a_finding_until_another_joins(bench: Bench, slack: SlackPeer, mail: Scripted) -> None:
    """With its evidence; then the same message lists both."""
    poll(bench, "u1")
    deliver(bench, minutes=6)
    assert [n.reason for n in mail.got] == [Reason.OPENED]
    (alone,) = texts(slack)
    assert "findings" not in alone
    poll(bench, "u1", "u2")
    deliver(bench, minutes=6)
    assert texts(slack) == [f"▲ HIGH · 2 findings of {RULE} in little"]
    assert [n.reason for n in mail.got] == [Reason.OPENED, Reason.NEW_IN_GROUP]
    assert len({thread(n, "example.test") for n in mail.got}) == 1


def test_what_is_over_before_it_was_told_is_told_as_that(bench: Bench, slack: SlackPeer, mail: Scripted) -> None:
    """In the order in which it happened."""
    poll(bench, *SEVEN)
    poll(bench, *SEVEN[:5])
    deliver(bench, minutes=1)
    assert texts(slack) == []
    deliver(bench, minutes=5)
    assert texts(slack) == [f"▲ HIGH · 7 findings of {RULE} in little: 5 open, 2 over"]
    assert [n["reason"] for n in mail.got[0].content["news"]] == ["opened"] * 7 + ["resolved"] * 2


def test_what_is_critical_waits_for_nothing(bench: Bench, slack: SlackPeer) -> None:
    """Each has a message of its own, at once."""
    judge(bench, Severity.CRITICAL)
    poll(bench, "u1", "u2")
    deliver(bench)
    assert len(texts(slack)) == 2
    assert all(t.startswith("◆ CRITICAL") for t in texts(slack))


def test_what_becomes_critical_takes_its_group_along(bench: Bench, slack: SlackPeer) -> None:
    """It was not told yet: it is now, with those that wait beside it."""
    poll(bench, "u1", "u2")
    judge(bench, Severity.CRITICAL)
    poll(bench, "u1", "u2")
    deliver(bench)
    assert texts(slack) == [f"◆ CRITICAL · 2 findings of {RULE} in little"]


def test_groups_have_their_own_messages(bench: Bench, slack: SlackPeer) -> None:
    """By whom it is about: one each, which then reads as a finding."""
    together(bench, "subject")
    poll(bench, "u1", "u2", "u3")
    deliver(bench, minutes=6)
    assert len(texts(slack)) == 3


def test_what_opens_at_night_waits_for_the_morning(bench: Bench, slack: SlackPeer) -> None:
    """Each has its own message then; what is over by then says so, and what is critical came at once."""
    hours = BusinessHours(UTC, opens=time(9), closes=time(17), days=tuple(range(7)))
    bench.parts = replace(bench.parts, routes=(Route(("slack", "mail"), hours=hours),))
    bench.clock.ahead(hours=12)
    poll(bench, "u1", "u2", "u3")
    deliver(bench)
    poll(bench, "u1", "u2")
    deliver(bench, minutes=60)
    assert texts(slack) == []
    deliver(bench, minutes=11 * 60)
    assert len(texts(slack)) == 3
    assert ["still privileged" in t for t in texts(slack) if t.startswith("✓")] == [True]
    poll(bench)
    deliver(bench)
    assert len(texts(slack)) == 3
    assert all(t.startswith("✓ RESOLVED") for t in texts(slack))


def test_a_killed_sender_posts_it_once(bench: Bench, slack: SlackPeer) -> None:
    """The message went out, the answer did not come back, and the lease ran out: another sender asks first."""
    poll(bench, *SEVEN)
    bench.clock.ahead(minutes=6)
    slack.fails("chat.postMessage", DROP_AFTER)
    deliver_waiting(bench.parts, FULL)
    with writing(bench.engine) as connection:
        connection.exec_driver_sql(
            "UPDATE outbox SET status = 'sending', lease_until = 0, lease_owner = 'killed' WHERE status = 'uncertain'"
        )
    deliver(bench, minutes=6)
    assert texts(slack) == [f"▲ HIGH · 7 findings of {RULE} in little"]
    poll(bench)
    deliver(bench)
    assert texts(slack) == [f"✓ RESOLVED · 7 findings of {RULE} in little, all over"]


def test_a_crash_before_the_message_is_written_loses_nothing(
    bench: Bench, slack: SlackPeer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gathering is one transaction: until it ends, everything stands as collected."""
    poll(bench, *SEVEN)
    bench.clock.ahead(minutes=6)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            deliver_waiting(bench.parts, FULL)
    assert bench.rows("SELECT count(*) FROM outbox WHERE status = 'collected' AND digest_id IS NULL") == [(14,)]
    deliver(bench)
    assert len(texts(slack)) == 1


def test_a_refused_group_message_goes_to_the_fallback(bench: Bench, slack: SlackPeer, mail: Scripted) -> None:
    """Once, with all that it tells; what comes later goes on as before."""
    bench.parts = replace(bench.parts, manners={**bench.parts.manners, "mail": Manner(fallback="slack")})
    poll(bench, *SEVEN)
    mail.script = [Receipt(Sending.REJECTED, "no such mailbox")]
    deliver(bench, minutes=6)
    deliver(bench, minutes=1)
    of_group = [t for t in texts(slack) if "7 findings" in t]
    assert len(of_group) == 2, "its own, and the one that mail refused"
    assert bench.rows("SELECT DISTINCT status FROM outbox WHERE receiver = 'mail' AND group_id IS NOT NULL") == [
        ("dead",)
    ]


def test_an_acknowledgement_shows_in_the_group(bench: Bench, slack: SlackPeer) -> None:
    poll(bench, "u1", "u2")
    deliver(bench, minutes=6)
    with reading(bench.engine) as connection:
        found = findings.unresolved(connection)[0]
    now, rules = bench.clock.now(), bench.parts.rules.by_id

    def seen(finding: Finding | None) -> Event | None:
        return acknowledged(finding, None, "dana@example.test", now) if finding else None

    act(bench.engine, found.fingerprint, seen, rules, bench.parts.living, now)
    deliver(bench)
    (message,) = slack.top_level()
    assert "acknowledged by dana@example.test" in str(message["blocks"])
    assert lines(slack) == [[f"{found.title}: acknowledged by dana@example.test"]]


def test_each_line_that_is_open_has_a_menu(bench: Bench, slack: SlackPeer) -> None:
    """Where somebody hears what is chosen; five entries at most, as Slack allows."""
    channels = {**bench.parts.channels, "slack": SlackBot("xoxb-1", CHANNEL, RENDERER, slack.url, 5, buttons="slack")}
    bench.parts = replace(bench.parts, channels=channels)
    poll(bench, "u1", "u2", "u3")
    deliver(bench, minutes=6)
    poll(bench, "u1", "u2")
    deliver(bench)
    (message,) = slack.top_level()
    menus = {b["block_id"]: b["accessory"]["options"] for b in message["blocks"] if "accessory" in b}
    assert [len(options) for options in menus.values()] == [5, 5]
    assert all(o["value"].split(" ")[1] == mark.split(" ")[1] for mark, several in menus.items() for o in several)
    assert list(SCHEMA.iter_errors({"channel": CHANNEL, "text": message["text"], "blocks": message["blocks"]})) == []


def test_reminders_of_a_group_are_one_line_each_in_one_message(bench: Bench, slack: SlackPeer, mail: Scripted) -> None:
    """Seven that fall due at the same time are one mail, not seven."""
    poll(bench, *SEVEN)
    deliver(bench, minutes=6)
    mail.got.clear()
    for _ in range(40):
        bench.clock.ahead(days=1)
        timely.tick(bench.parts)
        deliver(bench)
        if mail.got:
            break
    assert [n.reason for n in mail.got] == [Reason.GROUP]
    assert len(mail.got[0].content["news"]) == 7
    assert len(slack.top_level()) == 1


def test_what_was_told_alone_stays_alone(bench: Bench, slack: SlackPeer) -> None:
    """A route that is given `group_by` later moves no finding that has a message already."""
    bench.parts = replace(bench.parts, routes=(Route(("slack", "mail")),))
    poll(bench, "u1")
    deliver(bench)
    together(bench)
    poll(bench, "u2", "u3")
    deliver(bench, minutes=6)
    assert [("findings" in t) for t in texts(slack)] == [False, True]
    with reading(bench.engine) as connection:
        assert len(findings.unresolved(connection)) == 2


def lives(bench: Bench, receiver: Flaky, seed: int, polls: int) -> None:
    """Accounts go wrong and right at random, the receiver fails, and the program is killed at any step."""
    chance = random.Random(seed)
    bench.parts = replace(bench.parts, channels={"slack": receiver, "mail": Scripted()})

    def killed(_step: str) -> None:
        if chance.random() < 0.05:
            raise Killed

    for n in range(polls):
        bench.parts = replace(bench.parts, at=lambda _step: None)
        poll(bench, *chance.sample(sorted(bench.school.accounts), chance.choice((0, 2, 5, 8))))
        for life in range(3):
            bench.clock.ahead(seconds=chance.choice((20, 200, 700)))
            bench.parts = replace(bench.parts, at=killed, owner=f"life {n} {life}")
            with suppress(Killed):
                deliver_waiting(bench.parts, FULL)
    bench.parts = replace(bench.parts, at=lambda _step: None)
    for _ in range(500):
        bench.clock.ahead(minutes=16)
        with suppress(Killed):
            deliver_waiting(bench.parts, FULL)
        if not bench.rows("SELECT 1 FROM outbox WHERE receiver = 'slack' AND status <> 'sent' LIMIT 1"):
            return
    raise AssertionError("not everything was said")


def faults(bench: Bench, got: list[Notification]) -> Iterator[str]:
    """What the messages do not say, or say twice."""
    yield from (f"{i} came {n} times" for i, n in Counter(n.id for n in got).items() if n > 1)
    news, last = list[tuple[str, str]](), dict[str, str]()
    for note in got:
        about = [note.content["finding"]] if "finding" in note.content else note.content.get("findings", [])
        happened = note.content.get("news", [{**f, "reason": note.reason} for f in about])
        news += [(n["fingerprint"], n["reason"]) for n in happened]
        last |= {f"{f['fingerprint']} {f['opened_at']}": f["status"] for f in about}
    said_open = {mark.split(" ")[0] for mark, status in last.items() if status == "open"}
    is_open = {mark for (mark,) in bench.rows("SELECT fingerprint FROM findings WHERE status = 'open'")}
    if said_open != is_open:
        yield f"told to be open: {said_open}; open: {is_open}"
    for mark, reasons in _by_mark(news).items():
        if any(a == b for a, b in pairwise(reasons)):
            yield f"{mark}: {reasons}"


def _by_mark(news: list[tuple[str, str]]) -> dict[str, list[str]]:
    """By finding, whether it opened or ended, in the order of saying."""
    found: dict[str, list[str]] = defaultdict(list)
    for mark, reason in news:
        found[mark].append("ended" if reason == Reason.RESOLVED else "opened")
    return found


@pytest.mark.parametrize("seed", [1])
def test_whatever_happens_each_finding_is_told_once(bench: Bench, seed: int) -> None:
    """A slice of it."""
    receiver = Flaky(random.Random(seed), asked=True)
    lives(bench, receiver, seed, polls=5)
    assert list(faults(bench, receiver.got)) == []
    assert {n.reason for n in receiver.got} >= {Reason.GROUP, Reason.NEW_IN_GROUP}


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 5))
def test_whatever_happens_each_finding_is_told_once_at_length(bench: Bench, seed: int) -> None:
    receiver = Flaky(random.Random(seed), asked=True)
    lives(bench, receiver, seed, polls=40)
    assert list(faults(bench, receiver.got)) == []
