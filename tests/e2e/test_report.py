"""The report for an auditor: its figures are those of the record, and it keeps nothing back without saying so."""

from __future__ import annotations

import html
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from monitor import wiring
from monitor.cli import reporting
from monitor.config import load
from monitor.report import page
from monitor.simulator import STAFF_STORY, Staff
from monitor.store.engine import open_engine, reading
from tests.e2e.test_staff import WITH_HR, polled
from tests.peers.watch import Watch, watched

USERS = 600
Shown = tuple[Watch, Staff, dict[str, Any], str]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A school with HR beside it, polled twice, and the report of that; what it was made of and how it reads."""
    with watched(tmp_path_factory.mktemp("report"), users=USERS, config=WITH_HR) as (school, _, watch):
        staff = Staff(school)
        polled(watch, staff)
        watch.clock.ahead(days=2)
        STAFF_STORY[0].apply(school, staff, watch.clock.now().timestamp())
        polled(watch, staff)
        config = load(watch.config)
        engine = open_engine(f"sqlite:///{watch.database}")
        with reading(engine) as connection:
            content = reporting.gather(connection, config, 30, watch.clock.now() + timedelta(minutes=1))
        engine.dispose()
        yield watch, staff, content, page.render(wiring.renderer(config).folders, content)


def test_only_targets_have_accounts(shown: Shown) -> None:
    """What HR lists is persons: they are counted as such, and have no privileges that were not reported."""
    watch, _, content, text = shown
    assert watch.counts()["accounts"] > content["accounts"]["total"] >= USERS
    assert content["accounts"]["persons"] > 0
    assert content["accounts"]["untold"] == 0
    assert [m["source"] for m in content["roles"]] == ["school"]
    assert f"{content['accounts']['persons']} persons beside them" in text


def test_every_open_finding_stands_there_with_its_evidence(shown: Shown) -> None:
    """As many as the record has, each with the clauses that held."""
    watch, _, content, text = shown
    rows = {(r["rule"], r["subject"]["id"]) for r in content["findings"]["rows"]}
    assert rows == watch.open()
    for row in content["findings"]["rows"]:
        assert row["title"] in html.unescape(text)
        assert row["evidence"]
        for each in row["evidence"]:
            assert each["clause"] == "" or each["clause"] in html.unescape(text)


def test_every_control_names_all_its_rules(shown: Shown) -> None:
    """A list that was cut would tell an auditor that a control has fewer."""
    _, _, content, text = shown
    rules = {rule for served in content["served"] for rule in served["rules"]}
    assert len(rules) > 30
    assert "characters in all" not in text
    assert all(f">{rule}" in text or f" {rule}" in text for rule in rules)


def test_drift_is_that_of_the_period(shown: Shown) -> None:
    """Of targets and authorities, each change once."""
    watch, _, content, _ = shown
    assert content["drift"]["total"] == watch.counts()["changes"] > 0
    assert sum(len(s["rows"]) for s in content["drift"]["snapshots"]) == content["drift"]["shown"]


def test_onboarding_is_counted_by_group(shown: Shown) -> None:
    """Of each group the active members, by whether they ever signed in; as the record has them."""
    watch, _, content, text = shown
    with sqlite3.connect(watch.database) as db:
        members = db.execute(
            """SELECT m.entitlement_id, a.status, y.never_signed_in FROM grants m
               JOIN accounts a ON a.account_id = m.account_id AND a.valid_to IS NULL AND a.source_id = m.source_id
               JOIN activity y ON y.account_id = m.account_id AND y.source_id = m.source_id
               WHERE m.kind = 'member' AND m.valid_to IS NULL"""
        ).fetchall()
    db.close()
    expected = Counter((g, "not begun" if never else "begun") for g, status, never in members if status == "active")
    rows = content["onboarding"]["rows"]
    assert {(r["id"], k): r[k.replace(" ", "_")] for r in rows for k in ("begun", "not begun")} == {
        (r["id"], k): expected[r["id"], k] for r in rows for k in ("begun", "not begun")
    }
    assert sum(r["members"] for r in rows) == expected.total() > 0
    shares = [r["begun"] / r["members"] for r in rows]
    assert shares == sorted(shares)
    assert "Onboarding by group" in text


def test_it_asks_nobody(shown: Shown) -> None:
    """One file, fit to be kept: no script, nothing that is fetched."""
    text = shown[-1]
    assert not re.search(r"<script|<link|<iframe|src\s*=|@import|url\(", text)
    assert "the chain holds" in text
