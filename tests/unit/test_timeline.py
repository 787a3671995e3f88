"""The tests in rule files: what a poll may say, and what the timeline works out from it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from monitor.decide import facts
from monitor.decide.timeline import COMPUTED, NOW, play, run_test
from monitor.domain.rule import Rule, RuleStatus, RuleTest, Severity, Verdict


def ago(days: int) -> Any:
    return NOW - timedelta(days=days)


def last(*polls: Mapping[str, Any], kind: str = "account") -> dict[str, Any]:
    """The record after the last of these polls."""
    record, now = play(kind, polls)
    assert record is not None
    assert now == NOW
    return record


def fact(name: str, *polls: Mapping[str, Any]) -> Any:
    """A fact's value after the last of these polls, or None when it is absent."""
    declared = facts.FACTS[name]
    return facts.value(declared, last(*polls, kind=declared.kind), NOW)


def run(*polls: Mapping[str, Any], match: tuple[str, ...] = ("account.is_admin",), expect: Verdict) -> str | None:
    """None when the test passes, else what it says."""
    rule = Rule(
        "some-rule", "wrong", Severity.HIGH, RuleStatus.ACTIVE, "it@example.com", match[0].partition(".")[0], match,
        "Wrong.", "1. Mend it.", evidence=("account.role",),
    )  # fmt: skip
    result = run_test(rule, RuleTest("a test", expect, polls))
    assert (result.rule, result.test) == ("some-rule", "a test")
    return None if result.passed else result.message


# What a poll says


def test_what_is_not_set_comes_from_the_sample() -> None:
    """A test names what matters to it; ages become times before now."""
    record = last({"level": "admin"})
    assert (record["level"], record["email"], record["is_admin"]) == ("admin", "dana@example.test", False)
    assert (record["created"], record["last_login"]) == (ago(400), ago(1))
    assert record["fields"] == {"cf_department": "Sales"}


def test_a_poll_goes_on_from_the_one_before() -> None:
    """Each names only what changed."""
    record = last({"at": "9d ago", "level": "admin", "is_admin": True}, {"at": "1d ago", "level": "user"})
    assert (record["level"], record["is_admin"]) == ("user", True)


@pytest.mark.parametrize(
    ("at", "days"), [("10d ago", 10), ("10d", 10), ("48h ago", 2), ("1440m", 1), ("86400s ago", 1), ("0d ago", 0)]
)
def test_spellings_of_at(at: str, days: int) -> None:
    """A number and a unit, with or without "ago"."""
    assert last({"at": at})["first_seen"] == ago(days)


def test_without_at_a_poll_is_now() -> None:
    """The shortest test is one poll, of now."""
    assert last({})["first_seen"] == NOW


@pytest.mark.parametrize("at", ["yesterday", "10", "10 d", "-1d ago", "1w ago", "10d  ago", "10d before", "", 10, None])
def test_what_is_no_age(at: Any) -> None:
    """It fails the test, with the poll and the way to write it."""
    assert run({}, {"at": at}, expect=Verdict.NOTHING) == f'poll 2: at: "{at}" is no age; write it like "10d ago"'


def test_what_is_absent_is_absent_in_that_poll_alone() -> None:
    """The next one has it again, as it was."""
    assert last({"absent": ["is_admin", "email"]})["is_admin"] is None
    assert last({"at": "2d ago", "is_admin": True, "absent": ["is_admin"]}, {"at": "1d ago"})["is_admin"] is True
    assert run({"absent": ["is_admin"]}, expect=Verdict.UNKNOWN) is None


def test_role_access_level_follows_the_level_unless_set() -> None:
    """Most roles give the level that the account has."""
    assert last({"level": "admin"})["role_access_level"] == "admin"
    assert last({"level": "admin", "role_access_level": "user"})["role_access_level"] == "user"
    assert last({"absent": ["role_access_level"]})["role_access_level"] is None


@pytest.mark.parametrize("name", sorted(COMPUTED))
def test_what_is_computed_cannot_be_set(name: str) -> None:
    """It comes from the polls; a test that could set it would prove nothing about them."""
    kind = "role" if name in ("changed", "past_access_levels", "description_changed") else "account"
    said = f"poll 1: {name} is computed from the polls and cannot be set"
    for poll in ({name: "x"}, {"absent": [name]}):
        assert (run(poll, match=(f'{kind}.id == ""',), expect=Verdict.NOTHING) or "").startswith(said)


def test_all_that_is_computed_is_listed() -> None:
    """Every fact about accounts can be set, or is refused as computed."""
    names = {f.name.partition(".")[2] for f in facts.ACCOUNT} - {"role_access_level"}
    assert names - facts.SAMPLE_ACCOUNT.keys() <= COMPUTED


FAULTS: list[tuple[tuple[dict[str, Any], ...], str]] = [
    (({"levle": "admin"},), "poll 1: levle is no field of an account; did you mean level?"),
    (({"account.level": "admin"},), "poll 1: account.level is no field of an account; write level"),
    (({"department": "x"},), "poll 1: department is no field of an account; there are absent, at, created, email,"),
    (({}, {"absent": ["levle"]}), "poll 2: levle is no field of an account; did you mean level?"),
    (({"privileged": True},), "poll 1: privileged is computed from the polls and cannot be set; set is_admin or level"),
    (({"is_admin": 1},), "poll 1: is_admin is 1; write true or false"),
    (({"tags": [1]},), "poll 1: tags is [1]; write something like"),
    (({"fields": {"cf_a": 1}},), "poll 1: fields is {'cf_a': 1}; write something like"),
    (({"groups": "g1"},), "poll 1: groups is 'g1'; write something like [\"g1\"]"),
    (({"status": "gone"},), "poll 1: status is 'gone'; there are active, suspended, invited, deactivated"),
    (({"at": "999999d ago"},), 'poll 1: at: "999999d" is no duration'),
    (({"person": {"stat": "active"}},), "poll 1: person: stat is no field of a person; did you mean status?"),
    (({"level": True},), 'poll 1: level is True; write something like "user"'),
    (({"nps_score": True},), "poll 1: nps_score is True; write something like 8"),
    (({"tags": "a"},), "poll 1: tags is 'a'; write something like [\"sample\"]"),
    (({"created": "2026-01-01"},), 'poll 1: created: "2026-01-01" is no age; write it like "10d ago"'),
    (({"absent": "email"},), 'poll 1: absent is a list of fields, like ["email"]'),
    (({"absent": ["id"]},), "poll 1: id cannot be absent; for a poll that does not show it write exists = false"),
    (({"exists": "no"},), "poll 1: exists must be true or false"),
    (({"at": "1d ago"}, {"at": "2d ago"}), "poll 2: at lies before the poll above it"),
    (({"at": "1d ago"}, {"at": "0d ago", "exists": False}), "the last poll has no subject to judge"),
]


@pytest.mark.parametrize(("polls", "said"), FAULTS, ids=[f[1][:50] for f in FAULTS])
def test_faults_of_a_test_fail_it(polls: tuple[dict[str, Any], ...], said: str) -> None:
    """Nothing is guessed: the poll and the key are named."""
    assert (run(*polls, expect=Verdict.NOTHING) or "").startswith(said)


def test_a_failing_test_shows_what_the_clauses_saw() -> None:
    """Expected and got, the reason, and how each clause came out on which values."""
    said = run({}, match=('account.level == "user"', "account.is_admin"), expect=Verdict.FINDING)
    assert said == (
        "expected finding, got nothing (account.is_admin)\n"
        "  holds: account.level == \"user\"   with account.level = 'user'\n"
        "  does not hold: account.is_admin   with account.is_admin = False\n"
        "  evidence: account.role = 'User'"
    )
    assert run({"is_admin": True}, expect=Verdict.UNKNOWN) == (
        "expected unknown, got finding\n  holds: account.is_admin   with account.is_admin = True\n"
        "  evidence: account.role = 'User'"
    )


# What the timeline works out

STORY = (
    {"at": "90d ago", "level": "admin", "role": "Admin", "is_admin": True},
    {"at": "60d ago", "level": "instructor", "role": "Teacher"},
    {"at": "30d ago", "status": "suspended", "is_admin": False},
    {"at": "20d ago", "status": "active"},
    {"at": "10d ago", "level": "user", "role": "User", "email": "Dana@new.test"},
    {"at": "1d ago"},
)
HISTORY = [
    ("first_seen", ago(90)), ("role_changed", ago(10)), ("level_since", ago(10)), ("status_since", ago(20)),
    ("reactivated", ago(20)), ("privileged_since", ago(10)), ("past_levels", ["admin", "instructor"]),
    ("past_roles", ["Admin", "Teacher"]), ("past_emails", ["dana@example.test"]), ("earlier_ids", []),
    ("email_domain", "new.test"), ("privileged", False), ("new", False), ("age_days", 400), ("roles", ["User"]),
]  # fmt: skip


@pytest.mark.parametrize(("name", "expected"), HISTORY)
def test_dated_and_accumulated_facts(name: str, expected: Any) -> None:
    """Each moves at the poll that saw its change, and stays there through later ones."""
    assert fact(f"account.{name}", *STORY) == expected


def test_several_roles_are_told_apart() -> None:
    """A source that lets one hold several joins their titles; a single one may have a comma in its title."""
    assert fact("account.roles", {"role": "Admin, Teacher", "absent": ["role_id"]}) == ["Admin", "Teacher"]
    assert fact("account.roles", {"role": "Admin, EMEA"}) == ["Admin, EMEA"]
    assert fact("account.roles", {"absent": ["role"]}) is None


def test_while_nothing_changed_dates_are_first_seen() -> None:
    """Not yet is known, and is not absent."""
    polls = ({"at": "9d ago"}, {"at": "1d ago"})
    for name in ("role_changed", "level_since", "status_since", "reactivated", "privileged_since"):
        assert fact(f"account.{name}", *polls) == ago(9)
    assert fact("account.past_levels", *polls) == []


def test_a_gap_in_what_is_told_is_no_change() -> None:
    """A poll that did not report the level moves no date and joins no list."""
    polls = ({"at": "9d ago"}, {"at": "5d ago", "absent": ["level", "role"]}, {"at": "1d ago"})
    assert fact("account.role_changed", *polls) == ago(9)
    assert fact("account.past_levels", *polls) == []


def test_an_account_that_is_away_for_a_while_keeps_its_history() -> None:
    """The same id is the same account; one that appears after the first poll is new."""
    assert fact("account.first_seen", {"at": "9d ago"}, {"at": "5d ago", "exists": False}, {"at": "1d ago"}) == ago(9)
    assert fact("account.new", {"at": "9d ago", "exists": False}, {"at": "5d ago"}) is True
    assert fact("account.first_seen", {"at": "9d ago", "exists": False}, {"at": "5d ago"}) == ago(5)


def test_a_re_created_account_knows_its_earlier_ids() -> None:
    """The same e-mail under a new id; its history begins anew."""
    polls = ({"at": "9d ago", "id": "old"}, {"at": "2d ago", "id": "new", "email": "DANA@example.test"})
    assert fact("account.earlier_ids", *polls) == ["old"]
    assert fact("account.first_seen", *polls) == ago(2)
    assert fact("account.earlier_ids", polls[0], {"at": "2d ago", "id": "new", "email": "eve@example.test"}) == []


IDLE = [
    ("91 days", {"last_login": "91d ago"}, 91, False),
    ("whole days only", {"last_login": "47h ago"}, 1, False),
    ("today", {"last_login": "0d ago"}, 0, False),
    ("never, since its creation", {"last_login": "never", "created": "30d ago"}, 30, True),
    ("never, and creation unknown", {"last_login": "never", "absent": ["created"]}, None, True),
    ("not told", {"absent": ["last_login", "never_signed_in"]}, None, None),
    ("the time not told", {"absent": ["last_login"]}, None, False),
]  # fmt: skip


@pytest.mark.parametrize(("said", "days", "never"), [i[1:] for i in IDLE], ids=[i[0] for i in IDLE])
def test_idle_days(said: dict[str, Any], days: int | None, never: bool | None) -> None:
    """From the last sign-in; from creation only when there surely was none."""
    assert (fact("account.idle_days", said), fact("account.never_signed_in", said)) == (days, never)


def test_a_sign_in_ends_never() -> None:
    """What was never before is a sign-in now."""
    polls = ({"at": "9d ago", "last_login": "never"}, {"at": "1d ago", "last_login": "2d ago"})
    assert (fact("account.never_signed_in", *polls), fact("account.idle_days", *polls)) == (False, 2)


def test_roles_have_a_history_too() -> None:
    """When a role changed, and what its access level was before."""
    polls = (
        {"at": "9d ago", "access_level": "user"},
        {"at": "5d ago", "access_level": "instructor"},
        {"at": "1d ago", "holders": 7},
    )
    record = last(*polls, kind="role")
    assert (record["first_seen"], record["changed"]) == (ago(9), ago(5))
    assert (record["past_access_levels"], record["holders"]) == (["user"], 7)


def test_groups_and_sources() -> None:
    """They know when they were first seen, and since when their source is watched."""
    group = last({"at": "9d ago", "exists": False}, {"at": "5d ago", "managers": 0}, kind="group")
    assert (group["first_seen"], group["managers"]) == (ago(5), 0)
    assert fact("source.watched_since", {"at": "9d ago"}, {"at": "1d ago", "admins": 9}) == ago(9)
    with pytest.raises(ValueError, match="level is no field of a group"):
        play("group", ({"level": "x"},))


# Grants


MEMBER = {"grant_kind": "member", "entitlement": "g1", "entitlement_title": "Cohort"}


def test_a_grant_is_held_since_the_first_poll_that_showed_it() -> None:
    """Without a break, and through polls that did not show its account."""
    polls: list[dict[str, Any]] = [{"at": "30d ago", **MEMBER}, {"at": "20d ago", "exists": False}, {"at": "10d ago"}]
    record = last(*polls, kind="grant")
    assert (record["grant_since"], record["grant_id"]) == (ago(30), "5ea173beca205e67b47f4552 member g1")
    assert last({"at": "30d ago", **MEMBER, "held": False}, {"at": "9d ago", "held": True}, kind="grant")[
        "grant_since"
    ] == ago(9)
    assert last(polls[0], {"at": "9d ago", "entitlement": "g2"}, kind="grant")["grant_since"] == ago(9)


def test_a_grant_that_ended_is_no_subject() -> None:
    """There is nothing to judge."""
    assert play("grant", ({"at": "3d ago", **MEMBER}, {"at": "1d ago", "held": False}))[0] is None


def test_past_groups() -> None:
    """Those that it left, and not those that it is in again."""
    polls = (
        {"at": "9d ago", "groups": ["a", "b"]},
        {"at": "8d ago", "groups": ["c"]},
        {"at": "1d ago", "groups": ["b"]},
    )
    assert fact("account.past_groups", *polls) == ["a", "c"]
