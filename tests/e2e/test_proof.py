"""The proof of what was seen: the same for every source that is read over HTTP."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from monitor.config import load
from monitor.domain.reading import Outcome, Proof
from monitor.simulator.loopback import Asked, Reply
from monitor.store import queries
from monitor.store.engine import open_engine
from tests.hostile.worlds import LISTS, USERS, World, world
from tests.peers.watch import CONFIG, watched

FIRST = {
    "learnworlds": ("page 1", "page 3"), "scim": ("from 1", "from 401"),
    "unified": ("the beginning", "cursor "), "proxy": ("the beginning", "cursor "), "mcp": ("the beginning", "cursor "),
}  # fmt: skip
COUNTS = ("learnworlds", "scim")  # those whose source says how many users there are


def last_snapshot(it: World) -> dict[str, Any]:
    engine = open_engine(load(it.config).database_url)
    try:
        return queries.snapshots(engine)[-1]
    finally:
        engine.dispose()


@pytest.mark.parametrize("source", LISTS)
def test_the_proof_says_where_a_list_began_and_ended(source: str, tmp_path: Path) -> None:
    """And what the source itself counted at both ends; it is in the row of the snapshot."""
    with world(source, tmp_path) as it:
        it.poll()
        row = last_snapshot(it)
    proof, (first, last) = row["proof"], FIRST[source]
    assert (proof["first"]["users"], proof["last"]["users"].startswith(last)) == (first, True)
    assert proof["records"]["users"] == USERS
    counted = (USERS, USERS) if source in COUNTS else (None, None)
    assert (proof.get("totals", {}).get("users"), proof.get("totals_at_end", {}).get("users")) == counted
    assert re.fullmatch("[0-9a-f]{64}", row["digest"])


@pytest.mark.parametrize("source", COUNTS)
def test_alike_answers_have_a_digest_alike(source: str, tmp_path: Path) -> None:
    """In whatever order they came: several are asked for at once. One byte more, and it is another.

    (Truto makes its cursors anew each time, so its answers are never alike.)
    """
    digests = []
    with world(source, tmp_path) as it:
        for poll in range(3):
            if poll == 2:
                it.school.set(it.school.holders("Admin")[0], nps_score=3, username="renamed", email="r@school.example")
            assert it.poll().snapshot.outcome is Outcome.COMPLETE
            digests.append(last_snapshot(it)["digest"])
    assert digests[0] == digests[1] != digests[2]


def test_the_total_moves_while_the_list_is_read(tmp_path: Path) -> None:
    """Somebody joins: the count at the end is one more than at the start."""
    with watched(tmp_path, users=450, config=CONFIG) as (school, server, watch):
        answer = server.answer
        joined: list[str] = []

        def and_somebody_joins(asked: Asked, headers: Any, body: bytes) -> Reply | None:
            if asked.path.endswith("/users") and asked.query.get("page") == "2" and not joined:
                joined.append(school.add_user("late@school.example", "Late Comer"))
            return answer(asked, headers, body)

        server.answer = and_somebody_joins  # type: ignore[method-assign]
        proof = watch.poll().snapshot.proof
    assert joined
    assert (proof.totals["users"], proof.totals_at_end["users"]) in ((450, 451), (451, 451))


def test_every_key_of_the_proof_is_documented() -> None:
    """docs/audit.md says what it means; the root digest is a column of its own."""
    text = (Path(__file__).parents[2] / "docs" / "audit.md").read_text(encoding="utf-8")
    told = text.partition("<!-- proof -->")[2].partition("<!-- /proof -->")[0]
    documented = {
        name for row in re.findall(r"^\| (`.+?) \|", told, re.MULTILINE) for name in re.findall("`(.+?)`", row)
    }
    assert documented == {f.name for f in fields(Proof)} - {"root_digest"}
