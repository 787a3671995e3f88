"""Truto and SCIM have what a school's own API has: a plan, caps, one rate for all, and polls that go on."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from monitor.config import load
from monitor.cycle import CycleResult
from monitor.domain.finding import FindingStatus
from monitor.domain.reading import Cause, Outcome, ScopeEnded
from monitor.line.poll import costs
from monitor.store.frames import whole_frames
from monitor.wiring import parts as built
from tests.hostile.proxy import Strike
from tests.hostile.worlds import LISTS, World, world

WAYS = ("unified", "proxy", "mcp", "scim")


def lists(it: World, since: int = 0) -> int:
    """How often the list of users was asked for."""
    return sum(bool(re.search(r"/(users|Users)$", a.path)) or a.path.startswith("/mcp/") for a in it.proxy.log[since:])


def set_in(it: World, line: str) -> None:
    it.config.write_text(it.config.read_text().replace('name = "school"', f'name = "school"\n{line}', 1))


@pytest.mark.parametrize("source", WAYS)
def test_the_plan_is_what_the_next_poll_asks_for(source: str, tmp_path: Path) -> None:
    """By what is recorded, before anybody is asked."""
    with world(source, tmp_path) as it:
        it.poll()
        parts = built(load(it.config), it.clock, stream=io.StringIO())
        [cost] = costs(parts, "school")
        parts.engine.dispose()
        since = len(it.proxy.log)
        it.poll()
        assert cost.total == len(it.proxy.log) - since


@pytest.mark.parametrize("source", WAYS)
@pytest.mark.parametrize("cap", ["pages = 3", "records = 250"])
def test_a_cap_ends_the_poll_as_partial(source: str, cap: str, tmp_path: Path) -> None:
    """It says which, and nobody is gone."""
    with world(source, tmp_path) as it:
        it.poll()
        here = it.recorded()
        set_in(it, f"caps.{cap}")
        result = it.poll()
        assert result.snapshot.outcome is Outcome.PARTIAL
        assert f"caps.{cap.split(maxsplit=1)[0]}: one poll may take" in (result.snapshot.error or "")
        assert it.recorded() == here


@pytest.mark.parametrize("source", WAYS)
def test_one_rate_for_all_that_ask_the_same_system(source: str, tmp_path: Path) -> None:
    """Two sources of one system share a file: together they are no faster than one alone may be."""
    with world(source, tmp_path) as it:
        text = it.config.read_text().replace('rate = "5000/1s"', 'rate = "2/10s"', 1)
        table = text.partition("[[receivers]]")[0]
        it.config.write_text(table.replace('name = "school"', 'name = "twin"', 1) + text)
        parts = built(load(it.config), it.clock, stream=io.StringIO())
        gates = [parts.watched[name].source._gate for name in ("school", "twin")]  # type: ignore[attr-defined]
        began = it.clock.monotonic()
        for number in range(6):
            gates[number % 2].wait()
        parts.engine.dispose()
        assert it.clock.monotonic() - began >= 20


@pytest.mark.parametrize("source", WAYS)
@pytest.mark.parametrize("first", [True, False], ids=["a first poll", "a later poll"])
def test_a_poll_that_was_cut_off_goes_on(source: str, first: bool, tmp_path: Path) -> None:
    """From the page that was read last; in the end everybody is known, and what moved meanwhile as well."""
    with world(source, tmp_path) as it:
        if not first:
            it.poll()
        who = it.school.holders("Admin")[0]
        it.school.change_role(who, "User")
        it.proxy.strikes = [Strike("drop", LISTS[source], 2, None)]
        broken = it.poll()
        assert broken.snapshot.outcome is Outcome.PARTIAL
        it.proxy.strikes = []
        since = len(it.proxy.log)
        result = it.poll()
        assert result.snapshot.outcome is Outcome.COMPLETE, result.snapshot.error
        resumed = result.snapshot.proof.resumed
        assert not resumed["users"].startswith("begun anew"), resumed
        alone = lists(it, since)
        assert it.recorded() == it.here()
        since = len(it.proxy.log)
        after = it.poll()
        assert (after.changes, after.snapshot.proof.resumed) == (0, {})
        assert alone < lists(it, since), "some pages were not asked for again"
        assert result.snapshot.proof.records["users"] >= len(it.here())


def test_scim_keeps_what_users_hold_over_the_cut(tmp_path: Path) -> None:
    """Roles and assigned grants follow from users of both parts: none of them ends."""
    with world("scim", tmp_path) as it:
        it.poll()
        it.proxy.strikes = [Strike("drop", LISTS["scim"], 4, None)]
        it.poll()
        it.proxy.strikes = []
        assert it.poll().changes == 0


@pytest.mark.parametrize("source", ["unified", "proxy"])
def test_a_cursor_that_is_not_valid_any_more(source: str, tmp_path: Path) -> None:
    """Users are begun anew, and the proof says so."""
    with world(source, tmp_path) as it:
        it.proxy.strikes = [Strike("drop", LISTS[source], 2, None)]
        it.poll()
        [trail] = tmp_path.glob(".trail-*")
        assert len(list(whole_frames(trail))) > 3
        it.proxy.strikes = [Strike("refused", LISTS[source], 0, 1)]
        result = it.poll()
        assert result.snapshot.outcome is Outcome.COMPLETE, result.snapshot.error
        assert result.snapshot.proof.resumed["users"].startswith("begun anew")
        assert it.recorded() == it.here()


def broken(result: CycleResult) -> list[ScopeEnded]:
    """But for what the config says not to read."""
    return [s for s in result.snapshot.scopes if s.outcome is not Outcome.UNREAD]


def _reauth(it: World, status: str) -> None:
    it.truto.status, it.truto.last_error = status, "401 Unauthorized"


@pytest.mark.parametrize("source", ["unified", "proxy", "mcp"])
@pytest.mark.parametrize("status", ["needs_reauth", "validation_error"])
def test_an_account_to_be_connected_again_is_a_finding(source: str, status: str, tmp_path: Path) -> None:
    """End to end: the cause is told as credentials, the rule opens, nobody is gone, and it closes when it is mended."""
    with world(source, tmp_path) as it:
        it.poll()
        before = it.recorded()
        _reauth(it, status)
        result = it.poll()
        assert result.snapshot.outcome is Outcome.FAILED
        assert {s.cause for s in broken(result)} == {Cause.CREDENTIALS}
        assert it.recorded() == before
        found = [f for f in it.findings() if f.rule == "source-needs-reauth"]
        assert [f.status for f in found] == [FindingStatus.OPEN]
        it.revive()
        assert it.poll().snapshot.outcome is Outcome.COMPLETE
        found = [f for f in it.findings() if f.rule == "source-needs-reauth"]
        assert [f.status for f in found] == [FindingStatus.RESOLVED]


def test_one_that_is_only_being_connected_is_none(tmp_path: Path) -> None:
    """Nobody's credentials are wrong then."""
    with world("unified", tmp_path) as it:
        it.poll()
        _reauth(it, "connecting")
        result = it.poll()
        assert {s.cause for s in broken(result)} == {None}
        assert "source-needs-reauth" not in {f.rule for f in it.findings()}
