"""Being blind is a finding: judged at polls that failed, at polls that are doubted, and when no poll gets to an end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from monitor.cycle import record_failure
from monitor.daemon import Daemon
from monitor.domain.message import Channel, Route
from monitor.domain.observed import Account, Activity
from monitor.domain.reading import AccountsRead, Batch, Cause, Lane, Outcome, Proof, Recall, Scope, ScopeEnded
from monitor.domain.rule import Rule
from monitor.line.parts import RuleSet
from tests.integration.test_quarantine import LIMITS, account, lose
from tests.peers.little import NAME, Bench
from tests.peers.shipped import RULES
from tests.peers.watch import START, watched


class Silent:
    """A channel that is never asked for anything here."""


HOUR = 4  # polls: the default of blind_after is four intervals of a quarter of an hour


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Ten accounts, the shipped rules, one receiver; not polled yet."""
    made = Bench(tmp_path, routes=(Route(("out",)),))
    made.parts = replace(
        made.parts,
        rules=RuleSet(tuple(RULES), "shipped"),
        watched={NAME: replace(made.parts.watched[NAME], limits=LIMITS, admin_limit=5)},
    )
    made.school.accounts |= {f"u{n}": account(f"u{n}") for n in range(10)}
    made.school.activity |= {n: Activity(START, False) for n in made.school.accounts}
    yield made
    made.close()


def findings(bench: Bench, status: str = "open") -> dict[str, str]:
    return dict(bench.rows("SELECT rule, title FROM findings WHERE status = ?", status))


def told(bench: Bench, reason: str) -> list[str]:
    return [r[0] for r in bench.rows("SELECT json_extract(content, '$.title') FROM outbox WHERE reason = ?", reason)]


EVERYTHING = (Scope.USERS, Scope.ROLES, Scope.GROUPS, Scope.DETAILS)


def test_after_an_hour_of_failures_the_source_is_blind(bench: Bench) -> None:
    """Not before; told once, and resolved by the next whole poll."""
    bench.poll()
    hidden = set(bench.school.accounts)
    for _ in range(HOUR):
        assert bench.poll(*EVERYTHING, hidden=hidden, outcome=Outcome.FAILED).snapshot.outcome is Outcome.FAILED
        assert findings(bench) == {}
    bench.poll(*EVERYTHING, hidden=hidden, outcome=Outcome.FAILED)
    bench.poll(*EVERYTHING, hidden=hidden, outcome=Outcome.FAILED)
    assert findings(bench) == {"source-blind": "little has not been read whole for 75 minutes"}
    assert told(bench, "opened") == ["little has not been read whole for 75 minutes"]
    assert bench.poll().snapshot.outcome is Outcome.COMPLETE
    assert findings(bench) == {}
    assert set(findings(bench, "resolved")) == {"source-blind"}


@pytest.mark.parametrize("blind_after", [1800.0, None])
def test_a_partial_or_doubted_poll_is_not_sight(bench: Bench, blind_after: float | None) -> None:
    """Half an hour is allowed by the config, an hour by default; a quarantine counts as a partial poll does."""
    bench.parts = replace(bench.parts, watched={NAME: replace(bench.parts.watched[NAME], blind_after=blind_after)})
    bench.poll()
    lose(bench, "u0", "u1", "u2")
    assert bench.poll().snapshot.outcome is Outcome.QUARANTINED
    assert bench.poll(Scope.ROLES).snapshot.outcome is Outcome.QUARANTINED
    bench.poll()
    assert ("source-blind" in findings(bench)) is (blind_after is not None)


def test_it_is_told_before_the_first_whole_poll(bench: Bench) -> None:
    """Other findings wait for the baseline; that nothing was seen yet does not."""
    for _ in range(HOUR + 2):
        bench.poll(Scope.ROLES)
    assert "source-blind" in findings(bench)
    assert told(bench, "opened") == [findings(bench)["source-blind"]]


def test_a_failed_poll_leaves_other_findings_alone(bench: Bench) -> None:
    """A rule about administrators is not unknown, not closed and not touched, though it is about the source, too."""
    for n in range(6):
        bench.school.accounts[f"u{n}"] = account(f"u{n}", level="admin", role="Admin", is_admin=True)
    bench.poll()
    before = bench.rows("SELECT * FROM findings ORDER BY id")
    assert "too-many-admins" in findings(bench)
    for _ in range(2):
        bench.poll(*EVERYTHING, hidden=set(bench.school.accounts), outcome=Outcome.FAILED)
    assert bench.rows("SELECT * FROM findings ORDER BY id") == before


class Refusing:
    """A source that refuses: everything, or one part."""

    def __init__(self, bench: Bench, cause: Cause, *scopes: str) -> None:
        self.name, self.proof, self._source, self._cause, self._scopes = NAME, Proof(), bench.source, cause, scopes

    def read(self, recall: Recall) -> Iterator[Batch]:
        for batch in self._source.read(recall):
            if isinstance(batch, ScopeEnded) and batch.name in self._scopes:
                yield ScopeEnded(batch.name, Outcome.FAILED, "refused", self._cause)
            elif not (isinstance(batch, AccountsRead) and Scope.USERS in self._scopes):
                yield batch


@pytest.mark.parametrize(
    ("cause", "scopes", "rule"),
    [
        (Cause.CREDENTIALS, EVERYTHING, "source-needs-reauth"),
        (Cause.FORBIDDEN, (Scope.ROLES,), "source-forbidden"),
    ],
)
def test_what_is_refused_is_a_finding_at_once(bench: Bench, cause: Cause, scopes: tuple[str, ...], rule: str) -> None:
    """Closed again by the poll that is let in."""
    bench.poll()
    seeing = bench.parts.watched[NAME]
    bench.parts = replace(bench.parts, watched={NAME: replace(seeing, source=Refusing(bench, cause, *scopes))})
    bench.poll()
    assert set(findings(bench)) == {rule}
    bench.parts = replace(bench.parts, watched={NAME: seeing})
    bench.poll()
    assert findings(bench) == {}


def test_verdicts_that_are_unknown_for_many_are_a_finding(bench: Bench) -> None:
    """The source stops to report what most rules ask; it goes on to be read whole."""
    bench.poll()
    assert findings(bench) == {}
    for n, known in list(bench.school.accounts.items()):
        bench.school.accounts[n] = Account(n, known.email)
        bench.school.activity[n] = Activity()
    bench.parts = replace(bench.parts, watched={NAME: replace(bench.parts.watched[NAME], limits={})})
    bench.poll()
    assert set(findings(bench)) == {"too-many-unknown"}


# when no poll gets to an end


class Broken:
    """A source with an error in it."""

    def __init__(self, bench: Bench) -> None:
        self.name, self.proof = NAME, bench.source.proof

    def read(self, _recall: Recall) -> Iterator[Batch]:
        raise TypeError("an error in the program")


def test_a_poll_that_raises_is_recorded_as_failed_by_the_daemon(bench: Bench) -> None:
    """Before, it left no trace but in the log; now the source counts as blind in time."""
    bench.poll()
    seeing = bench.parts.watched[NAME]
    bench.parts = replace(bench.parts, watched={NAME: replace(seeing, source=Broken(bench))})
    daemon = Daemon(bench.parts, lambda: bench.parts, lambda: "")
    daemon._stop.set()  # it does not wait after a failure
    for _ in range(HOUR + 2):
        daemon._poll(NAME, Lane.FULL)
        bench.clock.ahead(minutes=15)
    outcomes = bench.rows("SELECT outcome, error FROM snapshots WHERE id > 1")
    assert set(outcomes) == {("failed", "users: an error in the program, which the log tells: TypeError")}
    assert set(findings(bench)) == {"source-blind"}


def test_while_a_poll_hangs_failures_are_recorded_beside_it(bench: Bench) -> None:
    """Once in each blind_after, and without touching what the hanging poll has staged."""
    bench.poll()

    class Hanging:
        def done(self) -> bool:
            return False

    daemon = Daemon(bench.parts, lambda: bench.parts, lambda: "")
    daemon._running[NAME, Lane.FULL] = Hanging()  # type: ignore[assignment]
    daemon._began[NAME, Lane.FULL] = bench.clock.now()
    for _ in range(12):
        daemon.tick()
        bench.clock.ahead(minutes=15)
    rows = bench.rows("SELECT error FROM snapshots WHERE id > 1")
    assert rows == [("users: a poll was begun and does not end",)] * 2
    assert set(findings(bench)) == {"source-blind"}


def test_a_poll_that_has_just_begun_does_not_hang(bench: Bench) -> None:
    """However long ago the last one was: the service stood still over the weekend."""
    bench.poll()
    bench.clock.ahead(days=3)
    daemon = Daemon(bench.parts, lambda: bench.parts, lambda: "")
    daemon.tick()
    daemon._running[NAME, Lane.FULL].result()
    assert bench.rows("SELECT outcome FROM snapshots") == [("complete",), ("complete",)]


def test_what_fails_beside_the_polls_is_logged_and_stops_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The heartbeat after a poll, and a look at what is due: the next tick polls again."""
    daemon = Daemon(bench.parts, lambda: bench.parts, lambda: "")
    with monkeypatch.context() as broken:
        for place in ("dispatch.queries.outcome_now", "daemon.queries.last_started"):
            broken.setattr(f"monitor.{place}", lambda *_: 1 / 0)
        daemon._poll(NAME, Lane.FULL)
        daemon.tick()
    said = capsys.readouterr().out
    assert "the heartbeat could not be told" in said
    assert "no poll could be begun" in said
    assert daemon._running == {}
    bench.clock.ahead(minutes=20)
    daemon.tick()
    daemon._running[NAME, Lane.FULL].result()
    assert len(bench.rows("SELECT id FROM snapshots")) == 2


def test_a_recorded_failure_takes_nothing_away(bench: Bench) -> None:
    """It is a snapshot row, a scope row and a ledger row."""
    bench.poll()
    before = bench.rows("SELECT * FROM accounts ORDER BY pk")
    assert record_failure(bench.parts, NAME, "no room").snapshot.outcome is Outcome.FAILED
    assert bench.rows("SELECT * FROM accounts ORDER BY pk") == before
    assert bench.poll().changes == 0


def test_all_shipped_integrity_rules_read_nothing_but_sight() -> None:
    """Else they would not be judged when they are needed."""
    from monitor.decide.compiled import compile_rule
    from monitor.decide.judge import about_sight

    ours: list[Rule] = [r for r in RULES if "integrity" in r.tags]
    assert len(ours) == 7
    assert all(about_sight(compile_rule(r)) for r in ours)


def test_a_receiver_that_fails_is_a_finding_until_it_works_again(bench: Bench) -> None:
    """A breaker that is open, or a message that was given up; what the config no longer has does not count."""
    bench.poll()
    with bench.engine.begin() as connection:
        broken = "INSERT INTO receivers (name, failures, open_until) VALUES ('out', 5, 1), ('old', 5, 1)"
        connection.exec_driver_sql(broken)
    bench.poll()
    assert findings(bench) == {}, "the config has no such receiver"
    bench.parts = replace(bench.parts, channels={"out": cast("Channel", Silent())})
    bench.poll()
    assert findings(bench) == {"receiver-failing": "Messages do not arrive: out"}
    with bench.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE receivers SET open_until = NULL, failures = 0")
        connection.exec_driver_sql("UPDATE outbox SET status = 'dead'")
    bench.poll()
    assert findings(bench) == {"receiver-failing": "Messages do not arrive: out"}
    bench.clock.ahead(days=8)
    bench.poll()
    assert "receiver-failing" not in findings(bench)


def test_rules_that_are_not_taken_over_are_a_finding(bench: Bench) -> None:
    """As long as the older set is in force; judged also while nothing can be read."""
    bench.poll()
    bench.parts = replace(bench.parts, refused_rules=("leavers.toml:12: match: account.admin is no fact",))
    bench.poll(*EVERYTHING, hidden=set(bench.school.accounts), outcome=Outcome.FAILED)
    assert set(findings(bench)) == {"rules-not-loading"}
    bench.parts = replace(bench.parts, refused_rules=())
    bench.poll()
    assert findings(bench) == {}


def test_the_clock_of_the_source_is_compared_with_ours(tmp_path: Path) -> None:
    """By the Date of its answers; the difference stands in the proof."""
    with watched(tmp_path) as (_, server, watch):
        assert watch.poll().snapshot.proof.clock_skew == 0
        right = server.clock
        server.clock = lambda: right() + 300
        watch.clock.ahead(minutes=15)
        assert watch.poll().snapshot.proof.clock_skew == 300
        [told] = [f for f in watch.findings() if f["rule"] == "clock-skew"]
        assert told["title"] == "The clocks of school and of the monitor are 300 seconds apart"
        server.clock = right
        watch.clock.ahead(minutes=15)
        watch.poll()
        assert "clock-skew" not in {f["rule"] for f in watch.findings()}
