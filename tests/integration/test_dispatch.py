"""The outbox at work: order, breakers, rates, fallbacks and digests, on a real database and a clock of our own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.deliver.samples import FINDING, RESOLVED
from monitor.dispatch import beat, deliver_to, drill_if_due, marked_messages, receivers_due
from monitor.domain.message import Manner, Reason, Receipt, Route, Sending
from monitor.domain.schedule import Schedule
from monitor.errors import TemplateFault
from monitor.line.parts import Watched
from monitor.store import ledger, outbox
from monitor.store.engine import reading, writing
from tests.peers.outgoing import FULL, Post, Scripted, Slow
from tests.peers.watch import START

LATER, UNCERTAIN = Receipt(Sending.LATER, "busy"), Receipt(Sending.UNCERTAIN, "no answer")
REFUSED, GONE = Receipt(Sending.REJECTED, "no such mailbox"), Receipt(Sending.DISABLED, "HTTP 410")
Make = Callable[..., Post]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Outboxes with the receivers that a test names."""
    made: list[Post] = []

    def post(manners: dict[str, Manner] | None = None, **channels: Any) -> Post:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(Post(folder, manners, **channels))
        return made[-1]

    yield post
    for one in made:
        one.close()


def finding(owner: str = "ann@example.test", severity: str = "high", **more: Any) -> dict[str, Any]:
    return {"finding": FINDING | {"owner": owner, "severity": severity, **more}, "at": "2026-03-01T09:00:00Z"}


class TestOrder:
    def test_the_head_of_a_lane_goes_first(self, make: Make) -> None:
        """What cannot be sent yet keeps its place: "resolved" never overtakes "new"."""
        slack = Scripted([LATER])
        post = make(slack=slack)
        post.write("slack", "new", "resolved")
        post.deliver()
        assert (slack.titles(), post.statuses()) == (["new"], ["pending", "pending"])
        post.clock.ahead(minutes=1)
        post.deliver()
        assert slack.titles() == ["new", "new", "resolved"]
        assert post.statuses() == ["sent", "sent"]

    def test_a_slow_receiver_delays_no_other(self, make: Make) -> None:
        """The mail server hangs in the middle of a mail; Slack has its messages meanwhile."""
        mail, slack = Slow(), Scripted()
        post = make(mail=mail, slack=slack)
        post.write("mail", "m")
        post.write("slack", "s1", "s2")
        told = threading.Event()
        slack.before = lambda note: told.set() if note.content["title"] == "s2" else None
        sending = threading.Thread(target=post.deliver)
        sending.start()
        try:
            assert mail.began.wait(10)
            assert told.wait(10)
            assert mail.got == []
        finally:
            mail.may_end.set()
            sending.join()
        assert post.statuses() == ["sent", "sent", "sent"]

    def test_each_address_is_a_lane(self, make: Make) -> None:
        """A mailbox that is full holds up nobody else's mail."""
        mail = Scripted([LATER])
        post = make({"mail": Manner(to=("a@x.test", "b@x.test"))}, mail=mail)
        post.write("mail", "one", "two")
        post.deliver()
        assert [(n.address, n.content["title"]) for n in mail.got] == [
            ("a@x.test", "one"), ("b@x.test", "one"), ("b@x.test", "two"),
        ]  # fmt: skip
        assert len({n.id for n in mail.got}) == 3

    def test_an_uncertain_one_is_asked_for_first(self, make: Make) -> None:
        """Found there: sent, and not said twice."""
        slack = Scripted([UNCERTAIN])
        post = make(slack=slack)
        (note,) = post.write("slack", "new")
        post.deliver()
        slack.found[note.id] = "ts1"
        post.clock.ahead(minutes=1)
        post.deliver()
        assert (slack.titles(), slack.asked) == (["new"], [note.id])
        assert post.rows()[0]["reference"] == "ts1"

    def test_the_first_name_of_a_finding_is_remembered(self, make: Make) -> None:
        """A later message about the same finding knows what the other side called the first one."""
        jira = Scripted([Receipt(Sending.SENT, reference="SEC-1"), Receipt(Sending.SENT, reference="SEC-1/comment")])
        post = make(jira=jira)
        with writing(post.engine) as connection:
            for table, values in _finding_rows().items():
                connection.exec_driver_sql(
                    f"INSERT INTO {table} ({', '.join(values)}) VALUES ({', '.join('?' * len(values))})",
                    tuple(values.values()),
                )
            for i, title in enumerate(("new", "note", "over")):
                (note,) = _notes(post, "jira", title)
                outbox.put(connection, [(note, 1)], None)
                assert i >= 0
        post.deliver()
        assert [n.earlier for n in jira.got] == ["", "SEC-1", "SEC-1"]


def _notes(post: Post, receiver: str, title: str) -> list[Any]:
    from monitor.decide import route

    return [route.notification(receiver, Reason.OPENED, title, title, "school", post.clock.now(), {})]


def _finding_rows() -> dict[str, dict[str, Any]]:
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


class TestTrouble:
    def test_five_failures_open_the_breaker(self, make: Make) -> None:
        """Then nothing is tried for a minute, then one message is; its failure opens it for longer. None is lost."""
        slack, mail = Scripted([UNCERTAIN] * 6), Scripted()
        post = make({"slack": Manner(fallback="mail")}, slack=slack, mail=mail)
        post.write("slack", "one", "two")
        for _ in range(5):
            post.deliver()
            post.clock.ahead(seconds=70)
        known = outbox.health(post.engine)["slack"]
        assert (len(slack.got), known.failures) == (5, 5)
        assert known.open_until is not None
        assert mail.titles() == ["slack cannot be reached"], "said once, to the fallback"
        post.clock.elapsed = (known.open_until - START).total_seconds() - 10
        assert receivers_due(post.parts) == []
        post.clock.ahead(seconds=60)
        post.deliver()
        assert len(slack.got) == 6, "one probe"
        post.clock.ahead(minutes=20)
        post.deliver()
        assert slack.titles()[-2:] == ["one", "two"]
        assert outbox.health(post.engine)["slack"].failures == 0
        assert mail.titles() == ["slack cannot be reached"]

    def test_credentials_that_are_refused_stop_all_lanes(self, make: Make) -> None:
        """One address fails to log in: the others would, too."""
        mail = Scripted([Receipt(Sending.PAUSED, "log-in refused")])
        post = make({"mail": Manner(to=("a@x.test", "b@x.test"))}, mail=mail)
        post.write("mail", "one")
        post.deliver()
        assert len(mail.got) == 1
        post.clock.ahead(minutes=6)
        post.deliver()
        assert len(mail.got) == 3

    def test_the_other_side_names_the_time(self, make: Make) -> None:
        """Retry-After holds for the whole receiver, and is no failure."""
        hook = Scripted([Receipt(Sending.LATER, "HTTP 429", retry_after=120.0)])
        post = make({"hook": Manner(to=("a@x.test", "b@x.test"))}, hook=hook)
        post.write("hook", "one")
        post.deliver()
        post.clock.ahead(seconds=110)
        post.deliver()
        assert (len(hook.got), outbox.health(post.engine)["hook"].failures) == (1, 0)
        post.clock.ahead(seconds=11)
        post.deliver()
        assert len(hook.got) == 3

    def test_messages_are_spread_by_the_rate(self, make: Make) -> None:
        """One a second and channel, across passes."""
        slack = Scripted()
        times: list[datetime] = []
        post = make({"slack": Manner(rate=(1, 1.0))}, slack=slack)
        slack.before = lambda _note: times.append(post.clock.now())
        post.write("slack", *"abcde")
        post.deliver(replace(FULL, most=2))
        post.deliver()
        assert [b - a for a, b in pairwise(times)] == [timedelta(seconds=1)] * 4

    def test_a_refused_message_goes_to_the_fallback(self, make: Make) -> None:
        """Marked, once; and somebody hears of it once a day, however many there are."""
        slack, mail = Scripted([REFUSED] * 3), Scripted()
        post = make({"slack": Manner(fallback="mail")}, slack=slack, mail=mail)
        post.write("slack", "one", "two", "three")
        assert post.deliver() == {"rejected": 3, "sent": 4}
        assert sorted(mail.titles()) == ["one", "slack refuses messages", "three", "two"]
        assert {n.content.get("refused_by") for n in mail.got if n.reason is Reason.OPENED} == {"slack"}
        assert [r["status"] for r in post.rows() if r["receiver"] == "slack"] == ["dead"] * 3

    def test_what_the_fallback_has_already_is_not_sent_to_it_again(self, make: Make) -> None:
        """The route named both."""
        slack, mail = Scripted([REFUSED]), Scripted()
        post = make({"slack": Manner(fallback="mail")}, slack=slack, mail=mail)
        (note,) = _notes(post, "slack", "one")
        (same,) = _notes(post, "mail", "one")
        outbox.say(post.engine, [note, same])
        post.deliver()
        assert sorted(mail.titles()) == ["one", "slack refuses messages"]

    def test_two_that_refuse_and_name_each_other_end(self, make: Make) -> None:
        """A circle of fallbacks is walked once."""
        a, b = Scripted([REFUSED] * 20), Scripted([REFUSED] * 20)
        post = make({"a": Manner(fallback="b"), "b": Manner(fallback="a")}, a=a, b=b)
        post.write("a", "one")
        for _ in range(5):
            post.deliver()
        assert (a.titles().count("one"), b.titles().count("one")) == (1, 1)
        assert set(post.statuses()) == {"dead"}

    def test_without_a_fallback_the_others_are_told(self, make: Make) -> None:
        """Who hears what the monitor says of itself, but for the one that refuses."""
        slack, mail = Scripted([REFUSED]), Scripted()
        post = make(slack=slack, mail=mail)
        post.write("slack", "one")
        post.deliver()
        assert mail.titles() == ["slack refuses messages"]
        assert mail.got[0].reason is Reason.OPERATIONS

    def test_410_switches_a_receiver_off_until_somebody_switches_it_on(self, make: Make) -> None:
        """Its messages wait; a retry by hand is not enough."""
        hook, mail = Scripted([GONE]), Scripted()
        post = make(hook=hook, mail=mail)
        post.write("hook", "one", "two")
        post.deliver()
        assert mail.titles() == ["hook asked for nothing more, and is switched off"]
        outbox.retry(post.engine, [], "ann", post.clock.now())
        post.clock.ahead(days=9)
        post.deliver()
        assert (len(hook.got), outbox.counts(post.engine)) == (1, {"hook": {"pending": 2}})
        assert outbox.enable(post.engine, "hook", "ann", post.clock.now())
        assert not outbox.enable(post.engine, "hook", "ann", post.clock.now())
        post.deliver()
        assert hook.titles() == ["one", "one", "two"]

    def test_dead_ones_can_be_sent_again(self, make: Make) -> None:
        """All, one receiver's, or one; and the record says who did it."""
        slack = Scripted([REFUSED, REFUSED])
        post = make(slack=slack)
        post.write("slack", "one", "two")
        post.deliver()
        assert post.statuses() == ["dead", "dead"]
        dead = outbox.OUTBOX.c.status == "dead"
        assert len(outbox.retry(post.engine, [dead], "ann", post.clock.now())) == 2
        post.deliver()
        assert post.statuses() == ["sent", "sent"]
        with reading(post.engine) as connection:
            assert list(ledger.verify(connection)) == []
            kinds = connection.exec_driver_sql("SELECT kind, body FROM ledger WHERE kind = 'notification.retry'").all()
        assert '"by":"ann"' in kinds[0][1].replace(" ", "")

    def test_a_template_that_fails_is_no_fault_of_the_receiver(self, make: Make) -> None:
        """The message waits, the breaker stays closed."""
        slack = Scripted([TemplateFault("slack/finding.json.j2:3: x")] * 8)
        post = make(slack=slack)
        post.write("slack", "one")
        for _ in range(8):
            post.deliver()
            post.clock.ahead(minutes=20)
        assert (
            outbox.health(post.engine).get("slack", None) is None or outbox.health(post.engine)["slack"].failures == 0
        )
        post.deliver()
        assert post.statuses() == ["sent"]

    def test_broken_templates_are_told_once(self, make: Make) -> None:
        """Once for each text of the template."""
        post = make(mail=(mail := Scripted()))
        post.replace(template_faults=lambda: [("digest1", "slack/finding.json.j2:3: unexpected end")])
        for _ in range(3):
            post.deliver()
        assert len(mail.got) == 1
        assert mail.got[0].content["detail"] == ["slack/finding.json.j2:3: unexpected end"]

    def test_two_processes_do_not_send_to_one_receiver(self, make: Make) -> None:
        """The second one leaves it alone."""
        slack = Slow()
        post = make(slack=slack)
        post.write("slack", "one")
        sending = threading.Thread(target=post.deliver)
        sending.start()
        try:
            assert slack.began.wait(10)
            assert deliver_to(post.parts, "slack", replace(FULL, patience=0.0)) == {}
        finally:
            slack.may_end.set()
            sending.join()
        assert slack.titles() == ["one"]


class TestOwners:
    def test_each_finding_goes_to_its_owner(self, make: Make) -> None:
        """What has no owner with an address goes to the fallback."""
        owners, team = Scripted(), Scripted()
        post = make({"owners": Manner(owners=True, fallback="team")}, owners=owners, team=team)
        post.write("owners", "a", **finding("Ann@example.test"))
        post.write("owners", "b", **finding("the help desk"))
        post.write("owners", "c", reason=Reason.OPERATIONS)
        post.deliver()
        assert [(n.address, n.content["title"]) for n in owners.got] == [("ann@example.test", "a")]
        assert team.titles() == ["b", "c"]

    def test_a_baseline_is_split_by_owner(self, make: Make) -> None:
        """Nobody reads what is not his."""
        owners, team = Scripted(), Scripted()
        post = make({"owners": Manner(owners=True, fallback="team")}, owners=owners, team=team)
        found = [FINDING | {"owner": f"{n}@x.test"} for n in ("ann", "bob", "ann")]
        post.write(
            "owners", "3 findings", reason=Reason.BASELINE, findings=found, counts={"high": 3}, accounts=1, privileged=1
        )
        post.deliver()
        told = {n.address: (n.content["title"], n.content["counts"], len(n.content["findings"])) for n in owners.got}
        assert told == {
            "ann@x.test": ("2 findings of yours existed in school before we looked", {"high": 2}, 2),
            "bob@x.test": ("1 finding of yours existed in school before we looked", {"high": 1}, 1),
        }
        assert team.got == []


class TestDigest:
    DAILY = Manner(digest=Schedule(8, 0), to=("a@x.test",))

    def test_it_is_one_message_that_lists_all(self, make: Make) -> None:
        """At its time, worst first, what is over last; the rows count as sent when it is."""
        mail = Scripted()
        post = make({"mail": self.DAILY}, mail=mail)
        post.write("mail", "low one", **finding(severity="low", title="low one", fingerprint="low"))
        post.write("mail", "high one", **finding(title="high one", fingerprint="high"))
        post.write("mail", "over", reason=Reason.RESOLVED, finding=RESOLVED | {"title": "over"})
        post.deliver()
        assert (mail.got, post.statuses()) == ([], ["collected"] * 3)
        post.clock.elapsed = 23 * 3600 - 1  # START is 09:00
        post.deliver()
        assert mail.got == []
        post.clock.ahead(seconds=2)
        post.deliver()
        (digest,) = mail.got
        assert [f["title"] for f in digest.content["findings"]] == ["high one", "low one", "over"]
        assert digest.content["title"] == "Digest: 2 open, 1 resolved"
        assert post.statuses() == ["sent"] * 4
        post.clock.ahead(days=1)
        assert post.deliver() == {}, "an empty day makes no mail"

    def test_it_lists_a_finding_once(self, make: Make) -> None:
        """As it is by then, however much was said of it meanwhile."""
        mail = Scripted()
        post = make({"mail": self.DAILY}, mail=mail)
        post.write("mail", "one", **finding())
        post.write("mail", "one", reason=Reason.DUE_SOON, **finding())
        post.write("mail", "one", reason=Reason.RESOLVED, finding=RESOLVED)
        post.write("mail", "another", reason=Reason.RESOLVED, finding=RESOLVED | {"fingerprint": "another"})
        post.clock.ahead(days=1)
        post.deliver()
        assert [(f["fingerprint"], f["reason"]) for f in mail.got[0].content["findings"]] == [
            (RESOLVED["fingerprint"], "resolved"), ("another", "resolved"),
        ]  # fmt: skip
        assert mail.titles() == ["Digest: 2 resolved"]

    def test_what_is_critical_does_not_wait(self, make: Make) -> None:
        """Nor what the monitor says of itself."""
        mail = Scripted()
        post = make({"mail": self.DAILY}, mail=mail)
        post.write("mail", "now", **finding(severity="critical"))
        post.write("mail", "blind", reason=Reason.OPERATIONS)
        post.deliver()
        assert mail.titles() == ["now", "blind"]

    def test_owners_have_digests_of_their_own(self, make: Make) -> None:
        """One a person."""
        mail, team = Scripted(), Scripted()
        post = make({"mail": Manner(owners=True, fallback="team", digest=Schedule(8, 0))}, mail=mail, team=team)
        for i, owner in enumerate(("ann", "bob", "ann")):
            post.write("mail", f"of {owner}", **finding(f"{owner}@x.test", fingerprint=str(i)))
        post.clock.ahead(days=1)
        post.deliver()
        assert {n.address: len(n.content["findings"]) for n in mail.got} == {"ann@x.test": 2, "bob@x.test": 1}

    def test_a_digest_that_fails_keeps_what_it_tells(self, make: Make) -> None:
        """Refused: its rows are dead with it; sent again: they are sent with it. Nothing is told in a second digest."""
        mail = Scripted([LATER, REFUSED])
        post = make({"mail": self.DAILY}, mail=mail)
        post.write("mail", "one", **finding())
        post.clock.ahead(days=1)
        post.deliver()
        assert post.statuses() == ["collected", "pending"]
        post.clock.ahead(days=2)
        post.deliver()
        assert post.statuses()[:2] == ["dead", "dead"]
        outbox.retry(post.engine, [outbox.OUTBOX.c.reason == "digest"], "ann", post.clock.now())
        assert post.statuses()[:2] == ["collected", "pending"]
        post.deliver()
        assert post.statuses()[:2] == ["sent", "sent"]


class TestDrill:
    def test_it_comes_on_its_schedule_and_once(self, make: Make) -> None:
        """However often the program starts; its receipts stand in the record."""
        slack, mail = Scripted(), Scripted()
        post = make(slack=slack, mail=mail)
        post.replace(drill=Schedule(9, 30))
        post.clock.ahead(minutes=20)
        for _ in range(3):
            drill_if_due(post.parts)
        post.deliver()
        before = len(slack.got)
        post.clock.ahead(minutes=20)
        for _ in range(3):
            drill_if_due(post.parts)
            post.deliver()
        assert (len(slack.got) - before, slack.got[-1].reason) == (1, Reason.DRILL)
        with reading(post.engine) as connection:
            bodies = (
                connection.exec_driver_sql("SELECT body FROM ledger WHERE kind = 'notification.delivery'")
                .scalars()
                .all()
            )
        assert len([b for b in bodies if "ok" in b]) == len(slack.got) + len(mail.got)

    def test_by_hand(self, make: Make) -> None:
        """To each receiver, each time."""
        post = make(slack=(slack := Scripted()))
        for i in range(2):
            marked_messages(post.parts, Reason.DRILL, f"drill:{i}", ["slack"], post.clock.now())
        post.deliver()
        assert slack.titles() == ["Drill to slack"] * 2


class TestBeat:
    def test_good_news_only_while_every_source_is_whole(self, make: Make) -> None:
        """A broken source says so; one that is well does not speak for it."""
        told: list[str | None] = []

        def switch(failed: str | None) -> str | None:
            told.append(failed)
            return None

        post = make(slack=Scripted())
        watched: Any = {"a": Watched.__new__(Watched), "b": Watched.__new__(Watched)}
        post.replace(beat=switch, watched=watched)
        self._snapshot(post, 1, "a", "complete")
        beat(post.parts, "a")
        assert told == [], "b was never polled"
        self._snapshot(post, 2, "b", "complete")
        beat(post.parts, "b")
        self._snapshot(post, 2, "b", "failed")
        beat(post.parts, "b")
        beat(post.parts, "a")
        beat(post.parts, "a", failed="StoreError")
        assert told == [None, "b: failed", "a: StoreError"]

    @staticmethod
    def _snapshot(post: Post, source: int, name: str, outcome: str) -> None:
        rows = _finding_rows()
        snapshot = {k: v for k, v in rows["snapshots"].items() if k != "id"} | {"source_id": source, "outcome": outcome}
        with writing(post.engine) as connection:
            connection.exec_driver_sql(
                "INSERT OR IGNORE INTO sources (id, name, kind, reader) VALUES (?, ?, 'x', '')", (source, name)
            )
            marks = ", ".join("?" * len(snapshot))
            connection.exec_driver_sql(
                f"INSERT INTO snapshots ({', '.join(snapshot)}) VALUES ({marks})", tuple(snapshot.values())
            )


BERLIN = ZoneInfo("Europe/Berlin")


def utc(month: int, day: int, hour: int) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


WHEN: list[tuple[Schedule, datetime, Any, datetime, datetime]] = [
    (Schedule(8, 0), utc(3, 1, 9), UTC, utc(3, 1, 8), utc(3, 2, 8)),
    (Schedule(8, 0), utc(3, 1, 8), UTC, utc(3, 1, 8), utc(3, 2, 8)),
    (Schedule(8, 0, 0), utc(3, 1, 9), UTC, utc(2, 23, 8), utc(3, 2, 8)),
    (Schedule(8, 0), utc(3, 28, 23), BERLIN, utc(3, 28, 7), utc(3, 29, 6)),
]


@pytest.mark.parametrize(("schedule", "now", "zone", "last", "coming"), WHEN)
def test_a_schedule(schedule: Schedule, now: datetime, zone: Any, last: datetime, coming: datetime) -> None:
    """On the clock of the time zone, also across the change to summer time."""
    assert (schedule.last(now, zone), schedule.next(now, zone)) == (last, coming)


def test_routes_of_nobody_tell_nobody(make: Make) -> None:
    """A refusal with no one else to tell is in the outbox, and the pass ends."""
    post = make(slack=Scripted([REFUSED]))
    post.replace(routes=(Route(("slack",)),))
    post.write("slack", "one")
    assert post.deliver() == {"rejected": 1}
