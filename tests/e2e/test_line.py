"""The line from end to end: a school of 2,000 users over HTTP, a real database, real files as messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monitor.domain.reading import Outcome
from monitor.simulator import SMALLEST, STORY
from tests.peers.watch import watched


@pytest.mark.parametrize("users", [SMALLEST, 2000])
def test_the_story_comes_true(tmp_path: Path, users: int) -> None:
    """Each planted problem is found once, each change is drift, each repair resolves at the poll that saw it."""
    with watched(tmp_path, users=users) as (school, _, watch):
        planted = {(rule, who) for rule, ids in school.planted.items() for who in ids}
        first = watch.poll()
        assert first.snapshot.outcome is Outcome.COMPLETE
        assert first.changes == 0
        assert watch.open() == planted
        assert [m["reason"] for m in watch.messages()] == ["baseline"]
        is_open, told = set(planted), 1
        for step in STORY:
            watch.clock.ahead(days=1.8)
            expected = step.apply(school, watch.clock.now().timestamp())
            result = watch.poll()
            drift = watch.drift(result.snapshot_id)
            for subject, field, before, after in expected.changes:
                assert any(
                    (s, f) == (subject, field) and _fits(b, before) and _fits(a, after) for s, f, b, a in drift
                ), f"{step.title}: {subject} {field} {before} -> {after} is not in {drift}"
            is_open = (is_open | expected.opened) - expected.resolved
            assert watch.open() == is_open, step.title
            told += len(expected.opened) + len(expected.resolved)
            assert len(watch.messages()) == told, step.title
        for finding in watch.findings(None):
            assert finding["evidence"], finding
        resolved = watch.findings("resolved")
        assert {f["resolution"] for f in resolved} == {"fixed"}
        assert all(f["resolved_at"] and f["snapshot"] for f in resolved)
        prints = [f["fingerprint"] for f in watch.findings(None)]
        assert len(prints) == len(set(prints))


def _fits(found: str, expected: Any) -> bool:
    return expected is ... or json.loads(found) == expected


def test_an_unchanged_poll_writes_one_snapshot_and_one_ledger_row(tmp_path: Path) -> None:
    """Nothing else, under 2 kB, and nothing is sent."""
    with watched(tmp_path, users=2000) as (_, _, watch):
        watch.poll()
        before, messages = watch.counts(), watch.messages()
        watch.clock.ahead(minutes=15)
        result = watch.poll()
        after = watch.counts()
        grown = {t: after[t] - before[t] for t in after if after[t] != before[t]}
        assert grown == {"snapshots": 1, "ledger": 1}
        assert (result.changes, result.notifications) == (0, 0)
        assert watch.messages() == messages


def test_sign_ins_make_no_drift_and_no_version(tmp_path: Path) -> None:
    """A poll in which only sign-in times moved writes what an unchanged one writes."""
    with watched(tmp_path, users=2000) as (school, _, watch):
        watch.poll()
        before = watch.counts()
        watch.clock.ahead(minutes=15)
        assert school.sign_in_some(0.2, watch.clock.now().timestamp()) > 300
        result = watch.poll()
        after = watch.counts()
        assert {t: after[t] - before[t] for t in after if after[t] != before[t]} == {"snapshots": 1, "ledger": 1}
        assert result.changes == 0
        who = next(u for u in school.users() if u["last_login"] and u["last_login"] > 1772355600)
        [row] = json.loads(watch.command("accounts", who["id"], "--format", "json").stdout)
        assert row["last_login"].startswith("2026-03-01T09:15")


def test_the_secret_of_the_client_is_enough(tmp_path: Path) -> None:
    """A token is fetched, and fetched again when it has expired between two polls."""
    with watched(tmp_path, users=50, secret='client_secret = { env = "LW_SECRET" }', token_lifetime=60) as parts:
        _, server, watch = parts
        for _ in range(2):
            assert watch.poll().snapshot.outcome is Outcome.COMPLETE
            watch.clock.ahead(minutes=15)
        assert sum(a.path.endswith("/oauth2/access_token") for a in server.log) == 2


def test_members_as_the_newer_description_has_them(tmp_path: Path) -> None:
    """{data, meta} instead of a bare array gives the same grants."""
    seen = []
    for shape in ("array", "data"):
        (tmp_path / shape).mkdir()
        with watched(tmp_path / shape, users=1000, members_shape=shape) as (_, _, watch):
            watch.poll()
            seen.append(watch.counts()["grants"])
    assert seen[0] == seen[1] > 300
