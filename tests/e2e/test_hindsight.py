"""Asking a rule about what is recorded: explain, preview, backtest, on a school that went through its story."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.cli.app import main
from monitor.simulator import STORY
from tests.peers.watch import Watch, watched

KEPT = "admin-kept-after-role-change"


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """Day 0 is the baseline; then one step a day."""
    with watched(tmp_path_factory.mktemp("story"), users=450) as (school, _, watch):
        watch.poll()
        for step in STORY:
            watch.clock.ahead(days=1)
            step.apply(school, watch.clock.now().timestamp())
            watch.poll()
        yield watch


def ask(watch: Watch, capsys: pytest.CaptureFixture[str], *words: str) -> Any:
    main(["--config", str(watch.config), "rules", *words, "--format", "json"])
    return json.loads(capsys.readouterr().out)


def of_rule(watch: Watch, rule: str) -> dict[str, Any]:
    return next(f for f in watch.findings(None) if f["rule"] == rule)


@pytest.fixture(autouse=True)
def _no_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """`main` ends with sys.exit only when something is wrong."""
    import typer.main

    invoke = typer.main.Typer.__call__
    monkeypatch.setattr(typer.main.Typer, "__call__", lambda self, **how: invoke(self, standalone_mode=False, **how))


def test_a_backtest_finds_what_was_found(story: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    """The rule in force, over all snapshots: the same findings, opened and resolved at the same polls."""
    for rule in (KEPT, "suspended-still-privileged", "group-without-manager"):
        (told,) = ask(story, capsys, "backtest", rule)
        real = {(f["fingerprint"], f["opened_at"], f["resolved_at"]) for f in story.findings(None) if f["rule"] == rule}
        assert {(f["fingerprint"], f["opened_at"], f["resolved_at"]) for f in told["findings"]} == real
        assert told["open"] == sum(end is None for _, _, end in real)
        said = [m for m in story.messages() if m["content"].get("finding", {}).get("rule") == rule]
        assert told["messages"] == len(said)


def test_a_backtest_of_a_period(story: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    """What held before the period began is told as such, and makes no message."""
    found = of_rule(story, KEPT)
    (told,) = ask(story, capsys, "backtest", KEPT, "--from", found["opened_at"])
    assert [f["before_the_period"] for f in told["findings"]] == [True]
    assert told["snapshots"][0]["at"] == found["opened_at"]


def test_explain_says_why_and_since_when(story: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    """As of the day it was found: every clause with its value, the snapshot that it dates from, and the messages."""
    found = of_rule(story, KEPT)
    (told,) = ask(story, capsys, "explain", KEPT, found["subject"]["email"].upper(), "--at", found["opened_at"][:10])
    facts = {f["name"]: f for c in told["clauses"] for f in c["facts"]}
    assert told["verdict"] == "finding"
    assert [c["holds"] for c in told["clauses"]] == [True, True, True]
    assert facts["account.is_admin"]["snapshot"] == 1
    assert facts["account.level"]["snapshot"] == found["snapshot"]
    assert told["history"][0]["messages"][0]["status"] == "sent"
    (today,) = ask(story, capsys, "explain", KEPT, found["subject"]["id"])
    assert today["verdict"] == "nothing"
    assert today["why"] == "account.is_admin"


def test_preview_compares_with_today(story: Watch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """An edited rule: what would be added and removed, and nothing is recorded."""
    before = story.counts()
    text = Path("rules/deprovisioning/dormant-account.toml").read_text()
    days = next(line for line in text.splitlines() if "idle_days >" in line)
    edited = tmp_path / "dormant-account.toml"
    edited.write_text(text.replace(days, days.replace(days.split("> ")[1].split("'")[0], "5")))
    rows = ask(story, capsys, "preview", str(edited))
    changes = [r["change"] for r in rows]
    assert changes.count("added") > changes.count("unchanged")
    edited.write_text(text.replace(days, days.replace(days.split("> ")[1].split("'")[0], "5000")))
    assert {r["change"] for r in ask(story, capsys, "preview", str(edited))} <= {"removed"}
    assert story.counts() == before


def test_nobody_of_that_name(story: Watch, capsys: pytest.CaptureFixture[str]) -> None:
    """A clear sentence and exit code 2."""
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(story.config), "rules", "explain", KEPT, "nobody@example.com"])
    assert ended.value.code == 2
    assert "no source shows the account nobody@example.com" in capsys.readouterr().err
