"""What is not worth another message: rules edited, sources not seen, findings that come and go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.decide.deadlines import Tempo
from monitor.decide.flapping import Limit
from monitor.domain.message import Manner, Route
from monitor.domain.observed import Activity
from monitor.domain.reading import Outcome
from monitor.domain.rule import Severity
from monitor.line import timely
from monitor.line.parts import RuleSet
from monitor.store.engine import reading
from tests.integration.test_blindness import EVERYTHING
from tests.integration.test_quarantine import account
from tests.peers.little import Bench
from tests.peers.shipped import RULES
from tests.peers.watch import START

RULE = "suspended-still-privileged"
ROUTES = (Route(("on-call",), severity=("critical",)), Route(("desk",)))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """Ten accounts, one rule, two receivers; looked at once."""
    made = Bench(tmp_path, routes=ROUTES)
    made.school.accounts |= {f"u{n}": account(f"u{n}") for n in range(10)}
    made.school.activity |= {n: Activity(START, False) for n in made.school.accounts}
    made.parts = replace(made.parts, manners={"on-call": Manner(), "desk": Manner()})
    judge_by(made)
    made.poll()
    yield made
    made.close()


def judge_by(bench: Bench, **edit: Any) -> None:
    """The rule, edited like this, and those that tell of blindness."""
    rules = [replace(r, digest=repr(edit), **edit) if r.id == RULE else r for r in RULES]
    kept = tuple(r for r in rules if r.id in (RULE, "source-blind", "source-needs-reauth"))
    bench.parts = replace(bench.parts, rules=RuleSet(kept, repr(edit)))


def wrong(bench: Bench, *who: str) -> None:
    """These are suspended administrators from now on, and nobody else is."""
    for name in bench.school.accounts:
        more: dict[str, Any] = {"level": "admin", "role": "Admin", "is_admin": True, "status": "suspended"}
        bench.school.accounts[name] = account(name, **(more if name in who else {}))


def said(bench: Bench, rule: str = RULE) -> list[tuple[str, str]]:
    """(receiver, reason) of what was told of that rule, in order, but for the baseline."""
    about = "coalesce(json_extract(content, '$.finding.rule'), json_extract(content, '$.rule'))"
    return bench.rows(f"SELECT receiver, reason FROM outbox WHERE {about} = ? ORDER BY created_at, rowid", rule)


def test_a_rule_becomes_graver(bench: Bench) -> None:
    """Whoever heard of the finding and whoever hears of such findings is told once; of less, nobody."""
    wrong(bench, "u1")
    bench.poll()
    judge_by(bench, severity=Severity.CRITICAL)
    bench.poll()
    bench.poll()
    assert said(bench) == [("desk", "opened"), ("on-call", "severity_raised"), ("desk", "severity_raised")]
    judge_by(bench, severity=Severity.LOW)
    bench.poll()
    assert len(said(bench)) == 3
    assert bench.rows("SELECT severity FROM findings WHERE status = 'open'") == [("low",)]
    (lowered,) = bench.rows("SELECT body FROM ledger WHERE kind = 'finding.severity_lowered'")
    assert "severity lowered from critical to low" in lowered[0]


def test_many_become_graver_at_once(bench: Bench) -> None:
    """One message a receiver."""
    bench.parts = replace(bench.parts, storm_limit=2)
    wrong(bench, "u1", "u2", "u3")
    bench.poll()
    judge_by(bench, severity=Severity.CRITICAL)
    bench.poll()
    assert said(bench) == [("desk", "storm"), ("on-call", "storm")]


def go_blind(bench: Bench, days: int) -> None:
    """Every poll fails until `source-blind` is open, and then nobody mends it for some days."""
    for _ in range(6):
        bench.poll(*EVERYTHING, hidden=set(bench.school.accounts), outcome=Outcome.FAILED)
    for _ in range(days):
        bench.clock.ahead(days=1)
        timely.tick(bench.parts)


def test_while_the_source_is_blind_its_findings_wait(bench: Bench) -> None:
    """What was due meanwhile is told as its newest step when the source is seen again; of the blindness all is told."""
    wrong(bench, "u1")
    bench.poll()
    go_blind(bench, days=9)
    assert said(bench) == [("desk", "opened")]
    assert [reason for _, reason in said(bench, "source-blind")][:3] == ["opened", "overdue", "reminder"]
    with reading(bench.engine) as connection:
        (why,) = timely.not_seen(connection, bench.parts.watched).values()
    assert "source-blind is open since" in why
    bench.poll()
    for _ in range(4):
        timely.tick(bench.parts)
        bench.clock.ahead(minutes=15)
    assert said(bench) == [("desk", "opened"), ("desk", "reminder")]


def test_what_is_open_of_a_source_that_was_taken_out_is_told_on(bench: Bench) -> None:
    """Its last poll failed, and there will be no other."""
    wrong(bench, "u1")
    bench.poll()
    bench.poll(*EVERYTHING, hidden=set(bench.school.accounts), outcome=Outcome.FAILED)
    bench.parts = replace(bench.parts, sources=("another",))
    bench.clock.ahead(days=9)
    timely.tick(bench.parts)
    assert said(bench) == [("desk", "opened"), ("desk", "reminder")]


def test_what_was_mended_meanwhile_is_never_overdue(bench: Bench) -> None:
    """Only its end is told."""
    wrong(bench, "u1")
    bench.poll()
    go_blind(bench, days=9)
    wrong(bench)
    bench.poll()
    bench.clock.ahead(minutes=15)
    timely.tick(bench.parts)
    assert said(bench) == [("desk", "opened"), ("desk", "resolved")]


def comes_and_goes(bench: Bench, *who: str, times: int) -> None:
    bench.parts = replace(bench.parts, flapping=Limit(2, timedelta(days=7)))
    for _ in range(times):
        wrong(bench, *who)
        bench.poll()
        wrong(bench)
        bench.poll()


def pass_by(bench: Bench, days: int) -> None:
    for _ in range(days):
        bench.clock.ahead(days=1)
        timely.tick(bench.parts)


FLAPPED = ["opened", "resolved", "reopened", "resolved", "flapping"]


def test_what_comes_and_goes_is_told_once_and_when_it_is_calm(bench: Bench) -> None:
    """Its end is told after a week in which nothing moved, once; then it is a finding like any other."""
    comes_and_goes(bench, "u1", times=5)
    assert [reason for _, reason in said(bench)] == FLAPPED
    assert bench.rows(
        "SELECT count(*) FROM ledger WHERE kind = 'finding.opened' AND body LIKE '%not told: opened%'"
    ) == [(2,)]
    pass_by(bench, days=6)
    assert [reason for _, reason in said(bench)] == FLAPPED
    pass_by(bench, days=3)
    assert [reason for _, reason in said(bench)] == [*FLAPPED, "resolved"]
    wrong(bench, "u1")
    bench.poll()
    assert [reason for _, reason in said(bench)] == [*FLAPPED, "resolved", "reopened"]
    assert bench.rows("SELECT id FROM findings WHERE calm_at IS NOT NULL AND status = 'resolved'") == []


def test_what_was_told_as_flapping_and_stays_away_is_told_to_be_over(bench: Bench) -> None:
    """Counted from its end on."""
    comes_and_goes(bench, "u1", times=2)
    wrong(bench, "u1")
    bench.poll()
    bench.clock.ahead(days=3)
    wrong(bench)
    bench.poll()
    pass_by(bench, days=6)
    assert [reason for _, reason in said(bench)] == FLAPPED
    pass_by(bench, days=2)
    assert [reason for _, reason in said(bench)] == [*FLAPPED, "resolved"]


def test_nobody_says_that_it_is_over_while_nobody_looks(bench: Bench) -> None:
    """It may have come back: only when the source is seen again it is told."""
    comes_and_goes(bench, "u1", times=3)
    go_blind(bench, days=9)
    assert [reason for _, reason in said(bench)] == FLAPPED
    bench.poll()
    timely.tick(bench.parts)
    assert [reason for _, reason in said(bench)] == [*FLAPPED, "resolved"]


def test_what_flapped_and_stays_open_is_told_when_it_is_calm(bench: Bench) -> None:
    """Also where nothing else would remind of it."""
    judge_by(bench, fix_within=None)
    bench.parts = replace(bench.parts, tempo=Tempo(remind=timedelta()))
    comes_and_goes(bench, "u1", times=3)
    wrong(bench, "u1")
    bench.poll()
    pass_by(bench, days=6)
    assert [reason for _, reason in said(bench)] == FLAPPED
    pass_by(bench, days=9)
    assert [reason for _, reason in said(bench)] == [*FLAPPED, "reminder"]
    wrong(bench)
    bench.poll()
    assert [reason for _, reason in said(bench)] == [*FLAPPED, "reminder", "resolved"]


def test_what_came_back_is_not_told_to_be_over(bench: Bench) -> None:
    """An end that was not told is no news any more when the finding is open again."""
    comes_and_goes(bench, "u1", times=3)
    bench.clock.ahead(days=6)
    wrong(bench, "u1")
    bench.poll()
    pass_by(bench, days=5)
    assert [reason for _, reason in said(bench)][:5] == FLAPPED
    assert "resolved" not in [reason for _, reason in said(bench)][5:]
