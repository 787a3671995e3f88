"""Whose an account is: keys in their order, aliases, and nothing guessed."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.match import Index, Matching, People, indexed, match_key
from monitor.domain.person import Match

THEN = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = (match_key("employee_id:cf_number"), match_key("email"))


def row(key: str, email: str | None = None, **fields: str) -> dict[str, Any]:
    """A person as it is recorded."""
    return {
        "id": key, "email": email, "username": None, "name": None, "status": "active", "tags": None, "fields": fields,
        "first_seen": THEN,
    }  # fmt: skip


def index(*rows: dict[str, Any], aliases: Mapping[str, str] | None = None, keys: Any = KEYS) -> Index:
    return indexed("hr", rows, (), Matching((), keys, aliases or {}), {}, UTC)


def account(id_: str = "a1", email: str | None = None, **fields: str) -> dict[str, Any]:
    return {"id": id_, "email": email, "fields": fields}


def said(match: Match) -> tuple[str | None, str | None, tuple[str, ...]]:
    return match.person.key if match.person else None, match.by, match.several


ANN, BOB = row("1", "Ann@example.test", employee_id="100"), row("2", "bob@example.test", employee_id="200")
TWIN = row("3", "ann@example.test ")
CASES: list[tuple[str, dict[str, Any], tuple[str | None, str | None, tuple[str, ...]]]] = [
    ("by the first key", account(cf_number="100"), ("1", "employee_id:cf_number", ())),
    ("by the second", account(email="BOB@Example.Test"), ("2", "email", ())),
    ("by both: the first is named", account(email="ann@example.test", cf_number="100"),
     ("1", "employee_id:cf_number", ())),
    ("spaces around do not count", account(cf_number=" 100 "), ("1", "employee_id:cf_number", ())),
    ("the keys disagree", account(email="bob@example.test", cf_number="100"), (None, None, ("1", "2"))),
    ("the first finds nobody", account(email="bob@example.test", cf_number="999"), ("2", "email", ())),
    ("nobody", account(email="cleo@example.test"), (None, None, ())),
    ("nothing to go by", account(), (None, None, ())),
    ("an empty number matches nobody", account(cf_number=" "), (None, None, ())),
    ("a number is not an address", account(email="100"), (None, None, ())),
]  # fmt: skip


@pytest.mark.parametrize(("how", "about", "expected"), CASES, ids=[c[0] for c in CASES])
def test_keys(how: str, about: dict[str, Any], expected: Any) -> None:
    """All keys are asked, in the order of the config."""
    assert said(index(ANN, BOB).match(about)) == expected


def test_numbers_are_compared_as_they_are_written() -> None:
    """Only e-mail addresses are folded: 0100 and 100 may be two people."""
    assert said(index(row("1", employee_id="0100")).match(account(cf_number="100"))) == (None, None, ())
    assert said(index(row("1", employee_id="E1")).match(account(cf_number="e1"))) == (None, None, ())


def test_two_persons_with_one_address_are_ambiguous() -> None:
    """Whichever came first: order decides nothing."""
    for some in ((ANN, TWIN), (TWIN, ANN)):
        person, by, several = said(index(*some).match(account(email="ann@example.test")))
        assert (person, by, set(several)) == (None, None, {"1", "3"})


def test_a_number_settles_nothing_against_two_of_one_address() -> None:
    """The number says one of two, and the address both: that is a contradiction as well."""
    assert said(index(ANN, TWIN).match(account(email="ann@example.test", cf_number="100")))[2] == ("1", "3")


@pytest.mark.parametrize("alias", ["a1", "bob@example.test"])
@pytest.mark.parametrize("fields", [{}, {"cf_number": "100"}])
def test_an_alias_is_the_operators_own_word(alias: str, fields: dict[str, str]) -> None:
    """By the id of the account or its address, it settles whom the keys left open, and whom they got wrong."""
    about = account("a1", "BOB@example.test", **fields)
    assert said(index(ANN, BOB, row("9"), aliases={alias: "9"}).match(about)) == ("9", "alias", ())


def test_an_alias_that_says_the_same_is_not_named() -> None:
    """The key that matched is the better evidence."""
    assert said(index(BOB, aliases={"a1": "2"}).match(account("a1", "bob@example.test")))[1] == "email"


def test_an_alias_to_nobody_changes_nothing() -> None:
    """A person that the authority does not have cannot hold an account."""
    assert said(index(BOB, aliases={"a1": "77"}).match(account("a1", "bob@example.test"))) == ("2", "email", ())


def test_why() -> None:
    """What `access-monitor match` says of each key."""
    found = index(ANN, BOB)
    assert list(found.why(account(email="bob@example.test", cf_number="100"))) == [
        "employee_id:cf_number: 100 is 1", "email: bob@example.test is 2",
    ]  # fmt: skip
    assert list(found.why(account(email="x@y"))) == [
        "employee_id:cf_number: the account has no cf_number", "email: nobody has x@y",
    ]  # fmt: skip


def test_the_first_authority_decides_and_each_knows_its_accounts() -> None:
    """HR and an identity provider may both have Ann: one account, two records, no contradiction."""
    hr, idp = index(ANN), indexed("idp", [row("guid", "ann@example.test")], (), Matching((), KEYS), {}, UTC)
    people = People([hr, idp])
    people.hold([account("a1", "ann@example.test")])
    assert said(people.of(account("a1", "ann@example.test")))[0] == "1"
    assert {r["id"]: r["person"].accounts for r in people.records()} == {"1": ("a1",), "guid": ("a1",)}


def test_a_person_between_others_is_doubtful() -> None:
    """Who may have an account is not without one."""
    people = People([index(ANN, TWIN, BOB)])
    people.hold([account("a1", "ann@example.test")])
    assert {r["id"]: bool(r["person"].several) for r in people.records()} == {"1": True, "3": True, "2": False}


_values = st.sampled_from(["1", "2", "3", " 1", "", "A"])


@given(
    st.lists(st.tuples(st.sampled_from("123"), _values, _values), max_size=6, unique_by=lambda r: r[0]),
    st.tuples(_values, _values),
    st.none() | st.sampled_from("1234"),
)
def test_no_match_is_guessed(people: list[tuple[str, str, str]], has: tuple[str, str], alias: str | None) -> None:
    """A person comes out only when every key that names anybody names that one alone, or the alias does."""
    found = index(*(row(k, email, employee_id=n) for k, email, n in people), aliases={"a1": alias} if alias else {})
    match = found.match(account("a1", has[0], cf_number=has[1]))
    by_email = {k for k, email, _ in people if email.strip() and email.strip().casefold() == has[0].strip().casefold()}
    by_number = {k for k, _, n in people if n.strip() and n.strip() == has[1].strip()}
    named = by_email | by_number
    if alias in {k for k, _, _ in people}:
        assert match.person
        assert match.person.key == alias
    elif len(named) == 1:
        assert match.person
        assert {match.person.key} == named
    else:
        assert match.person is None
        assert set(match.several) == named


@pytest.mark.long
def test_a_hundred_thousand_against_a_hundred_thousand() -> None:
    """In seconds: a poll of a large school must not wait for it."""
    rows = [row(str(i), f"user{i}@example.test", employee_id=f"E{i}", department=f"D{i % 50}") for i in range(100_000)]
    begun = time.process_time()
    people = People([index(*rows)])
    people.hold(account(f"a{i}", f"User{i}@example.test", cf_number=f"E{i}") for i in range(100_000))
    matched = sum(people.of(account(f"a{i}", f"user{i}@example.test")).person is not None for i in range(100_000))
    assert matched == 100_000
    assert time.process_time() - begun < 5
