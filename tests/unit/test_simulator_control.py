"""What a person may make happen at a simulated school that runs."""

from __future__ import annotations

from typing import Any

import pytest

from monitor.simulator import SMALLEST, STORY, Faults, School
from monitor.simulator.control import control
from monitor.simulator.faults import Fault


def asked(what: str, faults: Faults | None = None, method: str = "POST", **query: str) -> tuple[int, dict[str, Any]]:
    return control(method, f"/simulator/{what}", query, faults or Faults(), lambda: "somebody moved")


def test_the_next_part_of_the_story_happens() -> None:
    """And is told to who asked."""
    assert asked("next") == (200, {"happened": "somebody moved"})


@pytest.mark.parametrize("users", [SMALLEST, SMALLEST + 1, 777, 2000])
def test_the_story_can_happen_in_every_school_that_is_large_enough(users: int) -> None:
    """Everybody whom it is about lives there."""
    school = School(users=users, seed=1, now=1_800_000_000.0)
    for step in STORY:
        expected = step.apply(school, 1_800_000_000.0)
        assert step.title == "an ordinary day" or expected.changes


def test_a_fault_strikes_as_it_was_asked_for() -> None:
    """On that path and page, so often, after so many."""
    faults = Faults()
    status, said = asked("fault", faults, kind="429", path="users", page="3", times="2", after="1", retry_after="5")
    assert (status, said) == (200, {"happened": "429 on the next 2 requests of users"})
    assert faults.waiting == [Fault("429", "users", page=3, after=1, times=2, retry_after="5")]


def test_calm_ends_every_fault() -> None:
    """Those that have not struck yet."""
    faults = Faults()
    asked("fault", faults, kind="500")
    assert asked("calm", faults)[0] == 200
    assert faults.waiting == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({}, 'there is no fault ""; there are 429, 500, html'),
        ({"kind": "flood"}, 'there is no fault "flood"'),
        ({"kind": "500", "pages": "3"}, "there is no pages; there are kind, path"),
        ({"kind": "500", "page": "three"}, "page, times, after, seconds are numbers"),
        ({"kind": "500", "path": "("}, '"(" is no regular expression'),
    ],
)
def test_a_fault_that_there_is_not(query: dict[str, str], said: str) -> None:
    """Says what there is, and adds nothing."""
    faults = Faults()
    status, body = asked("fault", faults, **query)
    assert status == 400
    assert body["error"].startswith(said)
    assert faults.waiting == []


def test_looking_changes_nothing() -> None:
    """A browser that opens the address asks by GET."""
    assert asked("next", method="GET")[0] == 405


def test_other_addresses() -> None:
    """Say which ones there are."""
    status, body = asked("reset")
    assert (status, "/simulator/fault" in body["error"]) == (404, True)
