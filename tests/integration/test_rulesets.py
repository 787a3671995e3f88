"""Rule sets are kept with their texts, and the history says which was in force when."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from monitor.decide.rulediff import set_diff
from monitor.line.parts import RuleSet
from monitor.store import rulesets
from tests.peers.little import Bench

OLD, NEW = {"rules/a.toml": "x = 1\ny = 2", "rules/b.toml": "z"}, {"rules/a.toml": "x = 1\ny = 3", "rules/c.toml": "z"}


def test_the_history_of_sets(tmp_path: Path) -> None:
    """A set is kept once, however often it is in force; one that comes back stands there again."""
    bench = Bench(tmp_path)
    for digest, files in (("one", OLD), ("one", OLD), ("two", NEW), ("one", OLD)):
        bench.parts = replace(bench.parts, rules=RuleSet((), digest, files))
        bench.poll()
    found = rulesets.history(bench.engine)
    assert [(f.digest, f.first, f.snapshots) for f in found] == [("one", 1, 2), ("two", 3, 1), ("one", 4, 1)]
    assert [f.files for f in found] == [OLD, NEW, OLD]
    assert rulesets.latest(bench.engine) == ("one", OLD)
    assert bench.counts()["rule_sets"] == 2
    assert [r[0] for r in bench.rows("SELECT kind FROM ledger WHERE kind = 'rules.kept'")] == ["rules.kept"] * 2
    bench.close()


def test_how_two_sets_differ() -> None:
    """File by file, and line by line."""
    moved = set_diff(OLD, NEW)
    assert (moved.added, moved.removed, moved.edited) == (("rules/c.toml",), ("rules/b.toml",), ("rules/a.toml",))
    assert "-y = 2\n+y = 3" in moved.text
    assert set_diff(OLD, OLD).text == ""


@pytest.mark.parametrize("files", [{}, {"a": ""}])
def test_a_set_without_texts_is_not_kept(tmp_path: Path, files: dict[str, str]) -> None:
    """Then the history knows the digest and nothing more."""
    bench = Bench(tmp_path)
    bench.parts = replace(bench.parts, rules=RuleSet((), "bare", files))
    bench.poll()
    assert rulesets.history(bench.engine)[0].files == (files or None)
    bench.close()
