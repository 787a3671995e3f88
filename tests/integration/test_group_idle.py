"""How long most of a group have not signed in, as groups are judged by it; and who counts as a detractor."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.decide.facts import FACTS, value
from monitor.domain.observed import Activity, Group
from monitor.store import records
from monitor.store.idle import idle_since
from tests.integration.test_asof import now
from tests.integration.test_store import account
from tests.peers.little import Bench
from tests.peers.watch import START

IDLE = FACTS["group.mostly_idle_days"]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A group of five, of whom each signed in ten days longer ago than the one before."""
    made = Bench(tmp_path)
    made.school.groups["acme"] = Group("acme", "Acme")
    made.school.members["acme"] = set()
    for n in range(1, 6):
        who = f"u{n}"
        made.school.accounts[who] = account(who)
        made.school.activity[who] = Activity(START - timedelta(days=10 * n), False)
        made.school.members["acme"].add(who)
    yield made
    made.close()


def idle(bench: Bench) -> int | None:
    bench.poll()
    staging = now(bench)
    (record,) = records.group_records(staging, idle_since(staging))
    staging.close()
    found: int | None = value(IDLE, record, START)
    return found


def test_more_than_half_are_meant(bench: Bench) -> None:
    """Of five, three have been away for 30 days; of four, three for 20."""
    assert idle(bench) == 30
    bench.school.members["acme"].remove("u5")
    assert idle(bench) == 20


def test_the_suspended_do_not_count(bench: Bench) -> None:
    """They cannot sign in, and say nothing about the others."""
    bench.school.accounts["u5"] = account("u5", status="suspended")
    assert idle(bench) == 20


def test_whoever_never_signed_in_is_idle_since_creation(bench: Bench) -> None:
    """That is known; an account of which sign-ins are not reported makes it unknown."""
    for who in ("u1", "u2"):
        bench.school.accounts[who] = account(who, created=START - timedelta(days=99))
        bench.school.activity[who] = Activity(None, True)
    assert idle(bench) == 50
    bench.school.activity["u3"] = Activity(None, None)
    assert idle(bench) is None


def test_without_members_nothing_is_known(bench: Bench) -> None:
    """Nobody is no half of anything."""
    bench.school.members["acme"].clear()
    assert idle(bench) is None


def test_nobody_asked_so_nothing_is_read(bench: Bench) -> None:
    """The pass over the accounts is for rules that ask for it."""
    bench.poll()
    staging = now(bench)
    assert [r["mostly_idle_since"] for r in records.group_records(staging)] == [None]
    staging.close()


@pytest.mark.parametrize(("score", "detractor"), [(None, False), (1, True), (6, True), (7, False), (10, False)])
def test_six_is_the_last_detractor(score: int | None, detractor: bool) -> None:
    """As the net promoter score counts them."""
    assert value(FACTS["account.detractor"], {"nps_score": score}, START) is detractor
