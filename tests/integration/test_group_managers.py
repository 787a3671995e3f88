"""Whoever manages a group can be told of its findings: their addresses as facts, and as owners."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.decide.parse import parse_rule
from monitor.domain.observed import Group
from monitor.domain.reading import Scope
from monitor.line.parts import RuleSet
from monitor.store import records
from tests.integration.test_asof import now
from tests.integration.test_store import account
from tests.peers.little import Bench
from tests.peers.watch import START

RULE = """
id = "held"
title = "{account.id} holds {grant.entitlement}"
severity = "low"
owner = "it@example.test"
owner_from = ["grant.manager_emails"]
for_each = "grant"
description = "x"
runbook = "x"
match = ['grant.kind == "member"']
"""
BOTH = ("group_manager_emails", "groups")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """ann is a member of two groups; bo manages one of them, and joined by cy later."""
    made = Bench(tmp_path)
    for who in ("ann", "bo", "cy"):
        made.school.accounts[who] = account(who, email=f"{who}@example.test")
    for group in ("g1", "g2"):
        made.school.groups[group] = Group(group, group)
        made.school.members[group] = {"ann"}
    made.school.managers = {("cy", "g1")}
    made.poll()
    made.school.managers |= {("bo", "g1"), ("bo", "g2")}
    made.poll()
    yield made
    made.close()


def managers(bench: Bench) -> dict[str, list[str]]:
    staging = now(bench)
    found = records.managers_now(staging)
    staging.close()
    return found


def test_who_has_managed_it_longest_comes_first(bench: Bench) -> None:
    """Those who cannot sign in are left out, and so is an address that is not reported."""
    assert managers(bench) == {"g1": ["cy@example.test", "bo@example.test"], "g2": ["bo@example.test"]}
    bench.school.accounts["cy"] = account("cy", email="cy@example.test", status="suspended")
    bench.school.accounts["bo"] = account("bo", email=None)
    bench.poll()
    assert managers(bench) == {}


def test_of_an_account_and_of_what_it_holds(bench: Bench) -> None:
    """Each address once; nothing is read unless a rule asks."""
    staging = now(bench)
    accounts = {a["id"]: a for a in records.account_records(staging, BOTH, None)}
    assert accounts["ann"]["group_manager_emails"] == ["cy@example.test", "bo@example.test"]
    assert accounts["bo"]["group_manager_emails"] == []
    held = records.grant_records(
        staging, iter([accounts["ann"]]), lambda _kind, _what: True, managers=records.managers_now(staging)
    )
    assert {r["entitlement"]: r["manager_emails"] for r in held} == managers(bench) | {"user": []}
    assert [r["manager_emails"] for r in records.group_records(staging)] == [None, None]
    staging.close()


def owners(bench: Bench) -> set[str]:
    return {r[0] for r in bench.rows("SELECT owner FROM findings WHERE status != 'resolved'")}


def test_the_owner_is_who_manages_it_now(bench: Bench) -> None:
    """Although nothing of the members moved; and while the groups are not read, nobody else becomes the owner."""
    rule = parse_rule(RULE, "held.toml", today=START.date())
    bench.parts = replace(bench.parts, rules=RuleSet((rule,), "one"))
    bench.poll()
    assert owners(bench) == {"cy@example.test", "bo@example.test"}
    bench.poll(Scope.GROUPS, hidden={"g1"})
    assert owners(bench) == {"cy@example.test", "bo@example.test"}
    bench.school.managers.discard(("cy", "g1"))
    bench.poll()
    assert owners(bench) == {"bo@example.test"}
    bench.school.accounts["bo"] = account("bo", email="bo.dahl@example.test")
    bench.poll()
    assert owners(bench) == {"bo.dahl@example.test"}
