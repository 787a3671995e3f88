"""Persons: an authority is polled by the same line, and what it says bears on the accounts of a target."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from monitor.decide.parse import parse_set
from tests.peers.staff import HR, Staff, person

RULES = Path(__file__).parents[2] / "rules"
SHIPPED = parse_set({str(p): p.read_text("utf-8") for p in RULES.rglob("*.toml")}, today=date(2026, 6, 15))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Staff]:
    made = Staff(tmp_path, SHIPPED)
    yield made
    made.close()


def test_an_authority_is_remembered_as_persons(bench: Staff) -> None:
    """The same line and the same tables; in drift it is a person whose department moved."""
    bench.hires(person("1", "ann@example.test", department="Sales"), person("2", "bob@example.test"))
    assert bench.poll_hr().snapshot.baseline
    bench.hires(person("1", "ann@example.test", department="Support"), person("3", "cleo@example.test"))
    del bench.hr.accounts["2"]
    second = bench.poll_hr()
    told = [(k, kind, who, field) for k, kind, who, field, _, _ in bench.changes(second.snapshot_id)]
    assert sorted(told) == [
        ("changed", "person", "1", "department"), ("created", "person", "3", None), ("removed", "person", "2", None),
    ]  # fmt: skip
    assert json.loads(bench.changes(second.snapshot_id)[1][5] or "") == "Support"


def test_no_rule_about_access_is_judged_on_an_authority(bench: Staff) -> None:
    """An identity provider's administrators are not the school's; nor is anything about them unknown."""
    bench.hires(person("1", "ann@example.test", status="suspended")._replace(is_admin=True, level="admin"))
    result = bench.poll_hr()
    assert (result.events, dict(result.unknown)) == ((), {})
    assert bench.rows("SELECT privileged FROM accounts") == [(None,)]
    assert bench.rows("SELECT name FROM sources") == [(HR,)]
