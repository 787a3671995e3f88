"""Drift: what is told as a change, what is carried on from version to version, and what moves nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.access import access_digest, privileged
from monitor.decide.drift import (
    ACCOUNT_FIELDS,
    CHANGE_NAMES,
    LEVELS,
    account_changes,
    advance,
    advance_role,
    names_of,
    plain,
    thing_changes,
    widened,
)  # fmt: skip
from monitor.domain.change import Change, ChangeKind, Version
from monitor.domain.observed import Account, Group, Kind, Role, Subject

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ANN = Account("ann", "ann@example.test", "ann", "Ann", "active", "user", "User", "r1", False, False, False, False)

_words = st.none() | st.sampled_from(["a", "b", "c"])
_flags = st.none() | st.booleans()
accounts = st.builds(
    Account,
    id=st.just("ann"),
    email=st.none() | st.sampled_from(["ann@example.test", "Ann@Example.test", "ann@new.test"]),
    username=_words,
    name=_words,
    status=st.none() | st.sampled_from(["active", "suspended", "invited"]),
    level=st.none() | st.sampled_from(LEVELS),
    role=_words,
    role_id=_words,
    is_admin=_flags,
    is_instructor=_flags,
    is_reporter=_flags,
    is_affiliate=_flags,
    tags=st.none() | st.lists(st.sampled_from("xyz"), max_size=2).map(tuple),
    fields=st.none()
    | st.dictionaries(st.sampled_from("kl"), st.text(max_size=2), min_size=1).map(lambda d: tuple(sorted(d.items()))),
    created=st.none() | st.datetimes(timezones=st.just(UTC)),
)


def seen(*states: Account) -> list[Version]:
    """The versions that come of these states, one a day."""
    versions: list[Version] = []
    for day, state in enumerate(states):
        before = versions[-1] if versions else None
        versions.append(advance(before, state, privileged(state), START + day * DAY))
    return versions


def changed(before: Account, after: Account) -> list[tuple[str | None, Any, Any]]:
    old, new = seen(before, after)
    return [(c.field, c.before, c.after) for c in account_changes(old, new)]


def test_what_is_seen_first_has_every_date_now() -> None:
    """While no change was seen, each date equals first_seen, and no list holds anything."""
    (version,) = seen(ANN)
    assert set(version.history[:6]) == {START}
    assert version.history[6:] == ((), (), (), ())


def test_a_new_account_is_one_change() -> None:
    """It carries what it came with, so that a privileged one can be told at once."""
    (version,) = seen(ANN._replace(level="admin"))
    (change,) = account_changes(None, version)
    assert (change.kind, change.field) == (ChangeKind.CREATED, None)
    assert change.after == {"status": "active", "level": "admin", "privileged": True}
    assert names_of(change) == ("joined", "privileged_granted")


@pytest.mark.parametrize(
    ("after", "moved"),
    [
        ({"status": "suspended"}, {"status_since"}),
        ({"level": "reporter"}, {"level_since", "role_changed", "privileged_since", "past_levels"}),
        ({"role": "Helper"}, {"role_changed", "past_roles"}),
        ({"is_admin": True}, {"privileged_since"}),
        ({"email": "ann@new.test"}, {"past_emails"}),
        ({"email": "ANN@example.test"}, set()),
        ({"name": "Anna", "tags": ("x",), "username": "a"}, set()),
        ({"role_id": "r2"}, set()),
        ({"status": None, "level": None, "role": None, "email": None, "is_admin": None}, set()),
    ],
)
def test_which_dates_and_lists_a_change_moves(after: dict[str, Any], moved: set[str]) -> None:
    """Each date and list goes with its own field, and with nothing else."""
    old, new = seen(ANN, ANN._replace(**after))
    assert {f for f in new.history._fields if getattr(new.history, f) != getattr(old.history, f)} == moved


def test_a_return_from_suspension_is_dated() -> None:
    """Only from suspended to active: an invitation that is accepted is no return."""
    back = seen(ANN, ANN._replace(status="suspended"), ANN)[-1]
    accepted = seen(ANN._replace(status="invited"), ANN)[-1]
    assert back.history.reactivated == START + 2 * DAY
    assert accepted.history.reactivated == START


def test_a_change_and_back_is_remembered() -> None:
    """What was held once stays on the list, once, however often it came back."""
    last = seen(*[ANN._replace(level=level) for level in ("user", "admin", "user", "admin", "user")])[-1]
    assert last.history.past_levels == ("user", "admin")


def test_other_changes_do_not_move_the_date_of_the_role() -> None:
    """A second, unrelated change must not hide when the role changed."""
    states = (ANN, ANN._replace(role="Helper"), ANN._replace(role="Helper", name="Anna", status="suspended"))
    assert seen(*states)[-1].history.role_changed == START + DAY


@given(accounts)
def test_what_did_not_change_is_no_change(account: Account) -> None:
    """Seeing the same again yields no change, no moved date and the same digest."""
    old, new = seen(account, account)
    assert new == old
    assert list(account_changes(old, new)) == []
    assert access_digest(old.account) == access_digest(new.account)


@given(accounts, accounts)
def test_a_digest_differs_with_any_field(before: Account, after: Account) -> None:
    """A version is written just when some field differs."""
    assert (access_digest(before) == access_digest(after)) == (before == after)


@given(accounts, st.sets(st.sampled_from(Account._fields[1:])))
def test_a_value_that_is_not_reported_moves_no_date(account: Account, gone: set[str]) -> None:
    """Being told less is no change of role, status or privilege, and joins no list."""
    old, less = seen(account, account._replace(**dict.fromkeys(gone)))  # type: ignore[arg-type]  # which fields, only the test run knows
    if less.privileged == old.privileged or less.privileged is None:
        assert less.history == old.history
    assert less.history._replace(privileged_since=START) == old.history


@given(st.lists(accounts, min_size=1, max_size=8))
def test_past_lists_hold_nothing_twice_and_nothing_absent(states: list[Account]) -> None:
    """They only grow, hold each value once, and only values that were reported."""
    versions = seen(*states)
    for old, new in pairwise(versions):
        for name in ("past_levels", "past_roles", "past_emails"):
            before, after = getattr(old.history, name), getattr(new.history, name)
            assert after[: len(before)] == before
            assert len(set(after)) == len(after)
            assert None not in after


@given(st.lists(accounts, min_size=1, max_size=8))
def test_dates_never_run_backwards(states: list[Account]) -> None:
    """Every date lies between the first snapshot and this one, and never before what it was."""
    versions = seen(*states)
    for day, version in enumerate(versions):
        was = versions[day - 1] if day else version
        for old, new in zip(was.history[:6], version.history[:6], strict=True):
            assert START <= old <= new <= START + day * DAY


@given(st.lists(accounts, min_size=2, max_size=8))
def test_changes_replay_to_what_was_seen(states: list[Account]) -> None:
    """From the first state and the changes alone, every later state comes out: a role's id goes with its title."""
    versions = seen(*states)
    told = [f for f in ACCOUNT_FIELDS if f != "role_id"]
    now = {f: plain(getattr(states[0], f)) for f in told} | {"privileged": versions[0].privileged}
    for old, new in pairwise(versions):
        for change in account_changes(old, new):
            assert change.field is not None
            if change.field != "role_id":
                assert now[change.field] == change.before
                now[change.field] = change.after
        assert now == {f: plain(getattr(new.account, f)) for f in told} | {"privileged": new.privileged}


def test_changes_are_told_field_by_field() -> None:
    """Before and after of each field, in a fixed order, and privilege last since it follows from the others."""
    assert changed(ANN, ANN._replace(name="Anna", level="admin", status="suspended", tags=("x",))) == [
        ("status", "active", "suspended"),
        ("level", "user", "admin"),
        ("name", "Ann", "Anna"),
        ("tags", None, ["x"]),
        ("privileged", False, True),
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (START, "2026-01-01T00:00:00Z"),
        ((("k", "v"),), {"k": "v"}),
        (("x", "y"), ["x", "y"]),
        ((), []),
        (None, None),
        (True, True),
    ],
)
def test_values_are_told_as_json_has_them(value: Any, shown: Any) -> None:
    """What is stored of a change can be read by any program."""
    assert plain(value) == shown


@pytest.mark.parametrize(
    ("flags", "level", "role", "answer"),
    [
        ((False, False, False), "user", "User", False),
        ((True, False, False), "user", "User", True),
        ((None, True, None), None, None, True),
        ((False, False, False), "instructor", "x", True),
        ((False, False, False), "user", "Payroll", True),
        ((False, None, False), "user", "User", None),
        ((False, False, False), None, "User", None),
        ((None, None, None), "admin", None, True),
    ],
)
def test_privileged(flags: tuple[bool | None, ...], level: str | None, role: str | None, answer: bool | None) -> None:
    """Any sign suffices; without one, a sign that was not reported leaves it open."""
    account = Account("a", level=level, role=role, is_admin=flags[0], is_instructor=flags[1], is_reporter=flags[2])
    assert privileged(account, {"Payroll"}) is answer


def test_roles_and_groups_appear_change_and_vanish() -> None:
    """One change for a whole thing, one a field for an edit."""
    role = Role("r", "Helper", "Helps", "user", True)
    assert [c.kind for c in thing_changes(Kind.ROLE, None, role)] == [ChangeKind.CREATED]
    assert [c.kind for c in thing_changes(Kind.ROLE, role, None)] == [ChangeKind.REMOVED]
    assert list(thing_changes(Kind.ROLE, role, role)) == []
    (edit,) = thing_changes(Kind.ROLE, role, role._replace(access_level="admin"))
    assert (edit.field, edit.before, edit.after) == ("access_level", "user", "admin")
    group = Group("g", "Cohort", courses=("c1",))
    (moved,) = thing_changes(Kind.GROUP, group, group._replace(courses=("c1", "c2")))
    assert (moved.before, moved.after) == (["c1"], ["c1", "c2"])


@pytest.mark.parametrize(
    ("before", "after", "up"),
    [
        ("user", "admin", True),
        ("admin", "user", False),
        ("admin", "admin", False),
        ("instructor", "seat_manager", False),
        ("user", "owner", True),
        ("owner", "user", True),
        (None, "user", True),
    ],
)
def test_widened(before: str | None, after: str | None, up: bool) -> None:
    """A level that nobody knows counts as more: better one message too many."""
    assert widened(before, after) is up


def test_a_role_remembers_its_access_levels() -> None:
    """Its date moves with level, title and description, and not with what is not reported."""
    role = Role("r", "Helper", "Helps", "user", True)
    first = (role, *advance_role(None, role, START))
    wide = role._replace(access_level="admin")
    second = (wide, *advance_role(first, wide, START + DAY))
    silent = wide._replace(access_level=None, description=None, custom=False)
    assert first[1:] == (START, (), START)
    assert second[1:] == (START + DAY, ("user",), START)
    assert advance_role(second, silent, START + 2 * DAY) == second[1:]
    told = wide._replace(description="Helps with payments")
    assert advance_role(second, told, START + 2 * DAY) == (START + 2 * DAY, ("user",), START + 2 * DAY)


ACCOUNT, ROLE, GROUP, PERSON = (Subject(k, "x") for k in (Kind.ACCOUNT, Kind.ROLE, Kind.GROUP, Kind.PERSON))


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (Change(ChangeKind.CREATED, ACCOUNT, None, None, {"privileged": False}), ("joined",)),
        (Change(ChangeKind.REMOVED, ACCOUNT, None), ("left",)),
        (Change(ChangeKind.CHANGED, ACCOUNT, "status", "active", "suspended"), ("suspended",)),
        (Change(ChangeKind.CHANGED, ACCOUNT, "status", "suspended", "active"), ("reactivated",)),
        (Change(ChangeKind.CHANGED, ACCOUNT, "status", "invited", "active"), ("status_changed",)),
        (Change(ChangeKind.CHANGED, ACCOUNT, "privileged", False, True), ("privileged_granted",)),
        (Change(ChangeKind.CHANGED, ACCOUNT, "privileged", True, False), ("privileged_removed",)),
        (Change(ChangeKind.CHANGED, ACCOUNT, "privileged", True, None), ()),
        (Change(ChangeKind.CHANGED, ACCOUNT, "level", "user", "admin"), ("role_changed",)),
        (Change(ChangeKind.CHANGED, ACCOUNT, "is_admin", False, True), ("flag_changed",)),
        (Change(ChangeKind.CHANGED, ACCOUNT, "email", "a", "b"), ("email_changed",)),
        (Change(ChangeKind.CHANGED, ACCOUNT, "groups", None, "g"), ("group_joined",)),
        (Change(ChangeKind.CHANGED, ACCOUNT, "groups", "g", None), ("group_left",)),
        (Change(ChangeKind.CHANGED, ACCOUNT, "name", "a", "b"), ()),
        (Change(ChangeKind.CHANGED, ROLE, "access_level", "user", "admin"), ("role_widened", "role_edited")),
        (Change(ChangeKind.CHANGED, ROLE, "access_level", "admin", "user"), ("role_narrowed", "role_edited")),
        (Change(ChangeKind.CHANGED, ROLE, "title", "a", "b"), ("role_edited",)),
        (Change(ChangeKind.CHANGED, GROUP, "managers", None, "ann"), ("manager_added",)),
        (Change(ChangeKind.CHANGED, GROUP, "managers", "ann", None), ("manager_removed",)),
        (Change(ChangeKind.CREATED, GROUP, None), ("group_created",)),
        (Change(ChangeKind.REMOVED, GROUP, None), ("group_removed",)),
        (Change(ChangeKind.CHANGED, GROUP, "courses", [], ["c"]), ("group_changed",)),
        (Change(ChangeKind.CREATED, PERSON, None, None, {"status": "active"}), ("person_joined",)),
        (Change(ChangeKind.REMOVED, PERSON, None), ("person_left",)),
        (Change(ChangeKind.CHANGED, PERSON, "status", "active", "deactivated"), ("person_status_changed",)),
        (Change(ChangeKind.CHANGED, PERSON, "email", "a", "b"), ("person_email_changed",)),
        (Change(ChangeKind.CHANGED, PERSON, "department", "a", "b"), ("department_changed",)),
        (Change(ChangeKind.CHANGED, PERSON, "ends", None, "2026-03-31"), ("ends_changed",)),
        (Change(ChangeKind.CHANGED, PERSON, "cost_center", "a", "b"), ()),
    ],
)
def test_names_of_changes(change: Change, names: tuple[str, ...]) -> None:
    """What a route may ask for; every name is on the list that the config is checked against."""
    assert names_of(change) == names
    assert set(names) <= set(CHANGE_NAMES)


def test_what_an_authority_says_of_a_person_is_told_field_by_field() -> None:
    """The department that moved, not the map that it lies in."""
    fields = (("department", "Sales"), ("title", "Rep"))
    old = Account("1", "ann@example.test", name="Ann", status="active", fields=fields)
    new = old._replace(name="Ann Bee", fields=(("department", "Support"), ("ends", "2026-03-31"), ("title", "Rep")))
    before = advance(None, old, None, START)
    moved = account_changes(before, advance(before, new, None, START + DAY), Kind.PERSON)
    assert [(c.subject.kind, c.field, c.before, c.after) for c in moved] == [
        (Kind.PERSON, "name", "Ann", "Ann Bee"),
        (Kind.PERSON, "department", "Sales", "Support"),
        (Kind.PERSON, "ends", None, "2026-03-31"),
    ]


def test_a_new_person_is_one_change() -> None:
    """It carries all that is known of the person."""
    seen = Account("1", "ann@example.test", status="active", fields=(("department", "Sales"),))
    (change,) = account_changes(None, advance(None, seen, None, START), Kind.PERSON)
    assert change.after == {"status": "active", "email": "ann@example.test", "department": "Sales"}
