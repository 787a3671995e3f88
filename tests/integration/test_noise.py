"""What is not worth another message: rules edited, sources not seen, findings that come and go."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from monitor.decide.parse import parse_set
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
from tests.peers.watch import START

FOLDER = Path(__file__).parents[2] / "rules"
RULES = parse_set({p.name: p.read_text("utf-8") for p in FOLDER.rglob("*.toml")}, today=date(2026, 3, 1))
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
        (why,) = timely.not_seen(connection).values()
    assert "source-blind is open since" in why
    bench.poll()
    for _ in range(4):
        timely.tick(bench.parts)
        bench.clock.ahead(minutes=15)
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
