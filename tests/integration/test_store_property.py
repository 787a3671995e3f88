"""Any history of a school, with any reads broken: what is remembered equals a model that is too plain to be wrong."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.domain.observed import Account, Activity, Group, Role
from monitor.domain.reading import Outcome, Scope
from tests.peers.little import Bench, Breaks, Key, School
from tests.peers.watch import START

IDS, ROLES, GROUPS = ("ann", "bob", "cid", "dan"), ("user", "admin"), ("g1", "g2")
SCOPES = (Scope.USERS, Scope.ROLES, Scope.GROUPS, Scope.DETAILS, *map(Scope.members, GROUPS))
FIELDS = ("status", "level", "role", "role_id", "is_admin", "email", "name", "tags", "fields")


@st.composite
def accounts(draw: st.DrawFn, name: str) -> Account:
    """Few values for each field, so that things return to what they were."""
    role = draw(st.sampled_from([*ROLES, None]))
    return Account(
        name, draw(st.sampled_from([f"{name}@example.com", "shared@example.com", None])), name,
        draw(st.sampled_from([name, "Other"])), draw(st.sampled_from(["active", "suspended", None])),
        draw(st.sampled_from(["user", "admin"])), role, role, draw(st.sampled_from([True, False, None])),
        False, False, False, draw(st.sampled_from([(), ("x",), None])),
        draw(st.sampled_from([(("department", "sales"),), None])), START,
    )  # fmt: skip


def subsets(things: Any) -> st.SearchStrategy[set[Any]]:
    return st.sets(st.sampled_from(things))


@st.composite
def schools(draw: st.DrawFn) -> School:
    """A state of the school that does not contradict itself: only who exists is a member or a manager."""
    here = sorted(draw(subsets(IDS)))
    groups = sorted(draw(subsets(GROUPS)))
    pairs = [(a, g) for a in here for g in groups]
    members = draw(subsets(pairs)) if pairs else set()
    role_ids = sorted(draw(subsets(ROLES)))
    return School(
        accounts={i: draw(accounts(i)) for i in here},
        activity={i: Activity(START, False, draw(st.sampled_from([None, 7]))) for i in here},
        roles={r: Role(r, r, None, draw(st.sampled_from(["user", "instructor"]))) for r in role_ids},
        groups={g: Group(g, draw(st.sampled_from([g, "Renamed"]))) for g in groups},
        managers=draw(subsets(pairs)) if pairs else set(),
        members={g: {a for a, of in members if of == g} for g in groups},
        assigned=draw(subsets([(a, "course:c") for a in here])) if here else set(),
    )


_BREAKS = st.builds(
    Breaks,
    st.one_of(st.just(set[str]()), subsets(SCOPES)),
    subsets((*IDS, *ROLES, *GROUPS)),
    st.sampled_from([Outcome.PARTIAL, Outcome.FAILED]),
)
HISTORIES = st.lists(st.tuples(schools(), _BREAKS), min_size=1, max_size=7)


@dataclass
class Model:
    """What ought to be remembered: plain dictionaries."""

    accounts: dict[str, Account] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    grants: set[Key] = field(default_factory=set)

    def after(self, school: School, breaks: Breaks) -> Model:
        """The next state, by the rule that a broken scope adds and takes nothing but what it showed."""

        def hidden(scope: str) -> set[str]:
            return breaks.hidden if scope in breaks.scopes else set()

        shown = {i: a for i, a in school.accounts.items() if i not in hidden(Scope.USERS)}
        roles = {i: r for i, r in school.roles.items() if i not in hidden(Scope.ROLES)}
        groups = {i: g for i, g in school.groups.items() if i not in hidden(Scope.GROUPS)}
        after = Model(
            shown if Scope.USERS not in breaks.scopes else self.accounts | shown,
            roles if Scope.ROLES not in breaks.scopes else self.roles | roles,
            groups if Scope.GROUPS not in breaks.scopes else self.groups | groups,
        )
        after.grants = self._grants(school, breaks, after, groups)
        return after

    def _grants(self, school: School, breaks: Breaks, after: Model, groups: dict[str, Group]) -> set[Key]:
        now = school.grants()

        def read(key: Key) -> bool:
            """Whether this poll proves what holds of this grant."""
            _, kind, what = key
            if kind == "member":
                return Scope.members(what) not in breaks.scopes and what in groups
            return {"manager": Scope.GROUPS, "assigned": Scope.DETAILS}[kind] not in breaks.scopes

        kept = {k for k in self.grants if k[1] != "role" and not read(k)}
        held = kept | {k for k in now if k[1] != "role" and read(k)}
        left = self.accounts.keys() - after.accounts.keys()
        gone = set(GROUPS) - after.groups.keys() if Scope.GROUPS not in breaks.scopes else set()
        held = {k for k in held if k[0] not in left and not (k[1] in ("member", "manager") and k[2] in gone)}
        return held | {(a.id, "role", a.role_id) for a in after.accounts.values() if a.role_id}


def remembered(bench: Bench, at: int | None = None) -> Model:
    """The same from the database: now, or as of a snapshot."""
    valid = "valid_to IS NULL" if at is None else f"valid_from <= {at} AND (valid_to IS NULL OR valid_to > {at})"
    loads = json.loads

    def account(r: Any) -> Account:
        flags = [None if x is None else bool(x) for x in r[8:12]]
        tags = None if r[12] is None else tuple(loads(r[12]))
        fields = None if r[13] is None else tuple(loads(r[13]).items())
        return Account._make([*r[:8], *flags, tags, fields, START])

    names = ", ".join(("account_id", *Account._fields[1:]))
    found = Model(grants=set(bench.rows(f"SELECT account_id, kind, entitlement_id FROM grants WHERE {valid}")))
    rows = {
        "accounts": bench.rows(f"SELECT {names} FROM accounts WHERE {valid}"),
        "roles": bench.rows(f"SELECT role_id, title, description, access_level FROM roles WHERE {valid}"),
        "groups": bench.rows(f"SELECT group_id, title FROM groups WHERE {valid}"),
    }
    found.accounts = {r[0]: account(r) for r in rows["accounts"]}
    found.roles = {r[0]: Role(*r) for r in rows["roles"]}
    found.groups = {r[0]: Group(*r) for r in rows["groups"]}
    assert {t: len(r) for t, r in rows.items()} == {
        "accounts": len(found.accounts), "roles": len(found.roles), "groups": len(found.groups)
    }, "two versions in force at once"  # fmt: skip
    return found


def differences(before: Model, after: Model) -> set[tuple[str, str, str, str | None]]:
    """(kind, subject kind, subject id, field) of what a person would say had changed."""
    found: set[tuple[str, str, str, str | None]] = set()
    for kind, old, new in (
        ("account", before.accounts, after.accounts), ("role", before.roles, after.roles),
        ("group", before.groups, after.groups),
    ):  # fmt: skip
        was, now = dict[str, Any](old), dict[str, Any](new)  # one type for the three
        found |= {("created", kind, i, None) for i in now.keys() - was.keys()}
        found |= {("removed", kind, i, None) for i in was.keys() - now.keys()}
        for i in was.keys() & now.keys():
            fields = FIELDS if kind == "account" else now[i]._fields
            found |= {("changed", kind, i, f) for f in fields if getattr(was[i], f) != getattr(now[i], f)}
    return found


def expected_changes(before: Model, after: Model) -> set[tuple[str, str, str, str | None]]:
    """Differences, without the two that are told as part of another; memberships beside them."""
    found = differences(before, after)
    found -= {(k, s, i, "role_id") for k, s, i, f in found if f == "role"}
    found |= {("changed", "account", i, "privileged") for i in before.accounts.keys() & after.accounts.keys()
              if _privileged(before.accounts[i]) != _privileged(after.accounts[i])}  # fmt: skip
    for account, kind, what in before.grants ^ after.grants:
        # a group that lost its manager is told of the group, also when the manager's account vanished; what an account
        # held that no read had shown is told when it ends, since its end is not
        vanished = account in before.accounts.keys() - after.accounts.keys()
        here = kind == "manager" or not vanished
        if kind != "role" and here and what in after.groups | {"course:c": None}:
            subject = ("group", what) if kind == "manager" else ("account", account)
            found.add(("changed", *subject, {"manager": "managers", "member": "groups"}.get(kind, kind)))
    return found


def _privileged(account: Account) -> bool | None:
    if account.is_admin or account.level != "user":
        return True
    return None if account.is_admin is None else False


def check(history: list[tuple[School, Breaks]]) -> None:
    """Polls the history, and compares after every poll and, as of every poll, at the end."""
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        try:
            _check(bench, history)
        finally:
            bench.close()


def _check(bench: Bench, history: list[tuple[School, Breaks]]) -> None:
    models, baseline = [Model()], False
    for school, breaks in history:
        bench.source.school = school
        result = bench.poll(*breaks.scopes, hidden=breaks.hidden, outcome=breaks.outcome)
        before, after = models[-1], models[-1].after(school, breaks)
        models.append(after)
        assert remembered(bench) == after
        told = {c[:4] for c in bench.changes(result.snapshot_id)}
        if not baseline:
            assert told == set()
        elif not breaks.harm(school):
            # what a vanished account or group held is told by its vanishing alone
            assert _without_gone(told, before, after) == _without_gone(expected_changes(before, after), before, after)
        else:
            assert {c for c in told if c[0] == "removed"} <= expected_changes(before, after)
        baseline = baseline or not breaks.harm(school)
    for snapshot, model in enumerate(models[1:], start=1):
        assert remembered(bench, snapshot) == model


def _without_gone(told: set[Any], before: Model, after: Model) -> set[Any]:
    gone = {*before.accounts, *before.groups} - {*after.accounts, *after.groups}
    return {c for c in told if c[2] not in gone or c[3] is None}


_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=_SLOW)
@given(HISTORIES)
def test_any_history_is_remembered_as_it_was(history: list[tuple[School, Breaks]]) -> None:
    """Open versions equal the model after each poll, changes equal a plain comparison, and so does every date."""
    check(history)


@pytest.mark.long
@pytest.mark.parametrize("part", range(6))
@settings(max_examples=500, deadline=None, database=None, suppress_health_check=_SLOW)
@given(st.lists(st.tuples(schools(), _BREAKS), min_size=3, max_size=12))
def test_any_long_history_is_remembered_as_it_was(part: int, history: list[tuple[School, Breaks]]) -> None:
    """The same, longer and with chance: 3,000 histories, in parts that can be tried side by side."""
    check(history)
