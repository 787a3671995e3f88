"""What counts as privileged, and what counts as a change of access."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.access import access_digest, privileged
from monitor.domain.observed import Account, Activity
from monitor.sources.learnworlds_records import account_of, decode_user

USER = Account("ann", level="user", role="User", is_admin=False, is_instructor=False, is_reporter=False)
SIGNS: list[tuple[dict[str, Any], bool | None]] = [
    ({}, False),
    ({"is_admin": True}, True),
    ({"is_instructor": True}, True),
    ({"is_reporter": True}, True),
    ({"level": "admin"}, True),
    ({"level": "license_reporter"}, True),
    ({"level": "a level of tomorrow"}, True),
    ({"role": "Auditor"}, True),
    ({"role": "auditor"}, False),
    ({"is_affiliate": True}, False),
    # not reported: no sign is no proof, but one sign is enough
    ({"level": None}, None),
    ({"is_admin": None}, None),
    ({"is_instructor": None}, None),
    ({"is_reporter": None}, None),
    ({"role": None}, False),
    ({"level": None, "is_reporter": True}, True),
    ({"is_admin": None, "level": "admin"}, True),
    ({"is_admin": None, "role": "Auditor"}, True),
]


@pytest.mark.parametrize(("signs", "expected"), SIGNS, ids=str)
def test_any_one_sign_suffices(signs: dict[str, Any], expected: bool | None) -> None:
    """A flag, a level other than user, or a role on the config's list; unknown when none shows and one was not told."""
    assert privileged(USER._replace(**signs), {"Auditor"}) is expected


_flags = st.none() | st.booleans()


@given(_flags, _flags, _flags, st.none() | st.sampled_from(["user", "admin"]))
def test_signs_only_ever_add_up(admin: bool | None, instructor: bool | None, reporter: bool | None, level: Any) -> None:
    """Privileged if any sign is there, not privileged only if every sign is known to be missing."""
    signs = [admin, instructor, reporter, None if level is None else level != "user"]
    account = Account("ann", level=level, is_admin=admin, is_instructor=instructor, is_reporter=reporter)
    assert privileged(account) is (True if True in signs else None if None in signs else False)


def test_a_system_without_flags_has_none_to_miss() -> None:
    """There a known level says all; an unknown one still says nothing."""
    assert privileged(Account("a", level="user"), has_flags=False) is False
    assert privileged(Account("a", level="admin"), has_flags=False) is True
    assert privileged(Account("a"), has_flags=False) is None
    assert privileged(Account("a", level="user")) is None


def test_activity_is_no_part_of_an_account() -> None:
    """Sign-ins, answers and campaigns lie apart: they cannot move the digest, and so make no version."""
    assert not set(Activity._fields) & set(Account._fields)
    assert len(access_digest(USER)) == 16


MOVED: dict[str, Any] = {
    "id": "bob", "email": "a@example.test", "username": "ann", "name": "Ann", "status": "suspended", "level": "admin",
    "role": "Admin", "role_id": "r1", "is_admin": True, "is_instructor": True, "is_reporter": True,
    "is_affiliate": True, "tags": ("a",), "fields": (("cf_team", "x"),), "created": datetime(2026, 1, 1, tzinfo=UTC),
}  # fmt: skip


def as_sent(**said: Any) -> bytes:
    """The digest of an account that LearnWorlds sends as this JSON."""
    user: dict[str, Any] = {"id": "ann", "tags": ["b", "a"], "fields": {"cf_b": "2", "cf_a": "1"}, "is_admin": False}
    return access_digest(account_of(decode_user(json.dumps(user | said).encode()), {}))


def test_the_order_in_which_it_was_sent_does_not_count() -> None:
    """An API may list tags and fields otherwise each time: that is no change."""
    assert as_sent(tags=["a", "b"]) == as_sent(fields={"cf_a": "1", "cf_b": "2"}) == as_sent()
    assert as_sent(tags=["a", "c"]) != as_sent()
    assert as_sent(fields={"cf_a": "2", "cf_b": "1"}) != as_sent()


def test_signing_in_does_not_count() -> None:
    """Nor what campaign brought somebody, nor an answer, nor a field that nobody asked to keep."""
    moved = {"last_login": 1767225600.0, "utms": {"utm_source": "x"}, "nps_score": 9, "email_verified": True}
    assert as_sent(**moved) == as_sent()
    assert as_sent(fields={"cf_a": "1", "cf_b": "2", "bio": "new"}) == as_sent()
    assert as_sent(is_admin=True) != as_sent()


def test_every_field_moves_the_digest() -> None:
    """What is not told differs from every value, also from an empty one."""
    assert set(MOVED) == set(Account._fields)
    changed = [USER._replace(**{name: value}) for name, value in MOVED.items()]
    others = [
        USER._replace(tags=()),
        USER._replace(fields=()),
        USER._replace(email=""),
        USER._replace(is_affiliate=False),
    ]
    assert len({access_digest(a) for a in [USER, *changed, *others]}) == 1 + len(changed) + len(others)


def test_values_do_not_run_into_each_other() -> None:
    """The same text in the next field, or split otherwise, is another account."""
    assert access_digest(USER._replace(email="x")) != access_digest(USER._replace(username="x"))
    assert access_digest(USER._replace(tags=("a", "b"))) != access_digest(USER._replace(tags=("a,b",)))


def test_the_digest_is_the_same_tomorrow() -> None:
    """It stands in the database: another value would make every account a new version."""
    assert access_digest(Account(**MOVED)).hex() == "54102201daacbcd181cbfebe082b90ba"


def test_the_digest_follows_the_moment_and_not_its_zone() -> None:
    """Accounts carry UTC; the same moment told in UTC is the same account."""
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    again = noon.astimezone(timezone(timedelta(hours=2))).astimezone(UTC)
    assert access_digest(USER._replace(created=noon)) == access_digest(USER._replace(created=again))
