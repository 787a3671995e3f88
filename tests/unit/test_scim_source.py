"""SCIM: what a user means in our words, every page of a list, and what is never taken for a departure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.domain.observed import Account
from monitor.domain.reading import Outcome, Scope
from monitor.sources.scim import Scim
from monitor.sources.scim_records import account_of
from tests.peers.scim import (
    BASE,
    ENTERPRISE,
    TOKEN,
    Fault,
    Json,
    LittleScim,
    RealScim,
    error,
    people,
    real_scim,
)
from tests.peers.tables import Polled, Remembered, polled
from tests.peers.watch import VirtualClock


def source(server: LittleScim, **how: Any) -> Scim:
    return Scim("idp", BASE, TOKEN, clock=VirtualClock(), transport=server.transport, **({"rate": (1000, 1.0)} | how))


def read(server: LittleScim, recall: Remembered | None = None, **how: Any) -> Polled:
    return polled(source(server, **how).read(recall or Remembered()), recall)


def account(levels: dict[str, str] | None = None, kept: tuple[str, ...] = (), **record: Any) -> Account:
    return account_of(msgspec.Raw(msgspec.json.encode({"id": "1", **record})), levels or {}, kept)


# a real server


@pytest.fixture(scope="module", params=["index", "cursor"])
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealScim, str]]:
    """Both ways of paging of scim2-server."""
    folder: Path = tmp_path_factory.mktemp("scim")
    with real_scim(folder, cursor=request.param == "cursor") as server:
        yield server, request.param


def test_a_real_server(real: tuple[RealScim, str]) -> None:
    """Users on several pages, an enterprise extension, roles, a group; then one leaves and one is suspended."""
    server, paging = real
    boss = server.user("boss", displayName="The Boss", roles=[{"value": "adm", "display": "Administrator"}])
    ann = server.user(
        "ann", emails=[{"value": "a@home.test"}, {"value": "ann@x.test", "primary": True}], active=True, title="Rep",
        **{ENTERPRISE: {"employeeNumber": "17", "department": "Sales", "manager": {"value": boss}}},
    )  # fmt: skip
    others = [server.user(f"other{n}") for n in range(8)]
    group, empty = server.group("Staff", [boss, ann]), server.group("Nobody", [])
    recall, scim = Remembered(), Scim("idp", server.url, TOKEN, clock=VirtualClock(), count=3, levels={"adm": "admin"})
    assert scim.check() is None
    got = polled(scim.read(recall), recall)
    assert {e.outcome for e in got.ends.values()} == {Outcome.COMPLETE}
    assert got.accounts.keys() == {boss, ann, *others}
    assert scim.proof.pages["users"] == 4
    person, chief = got.accounts[ann], got.accounts[boss]
    assert (person.username, person.email, person.status) == ("ann", "ann@x.test", "active")
    assert dict(person.fields or ()) == {"employee_id": "17", "department": "Sales", "title": "Rep", "manager": boss}
    assert person.created is not None
    assert (chief.name, chief.level, chief.role, chief.role_id) == ("The Boss", "admin", "Administrator", "adm")
    assert {k: sorted(v) for k, v in got.members.items()} == {group: sorted([boss, ann]), empty: []}
    server.delete("Users", others[0])
    server.patch(ann, active=False)
    got = polled(scim.read(recall), recall)
    assert (got.outcome, got.gone) == (Outcome.COMPLETE, [others[0]])
    assert {i: a.status for i, a in got.accounts.items()} == {ann: "suspended"}
    assert scim.proof.filters == {"paging": paging}
    wrong = Scim("idp", server.url, "not-the-token", clock=VirtualClock())
    assert "make a new one there" in str(wrong.check())
    assert "not-the-token" not in str(wrong.check())


# what a user means


def test_the_whole_of_a_user() -> None:
    """Every attribute that we know, from the core and from the enterprise extension."""
    got = account(
        {"Administrator": "admin"}, ("userType", "costCenter", "nothere"), userName="ann", displayName="Ann Lee",
        emails=[{"value": "a@x.test"}, {"value": "b@x.test", "primary": "True"}], active="False", title="Rep",
        userType="Employee", meta={"created": "2026-01-01T01:00:00+01:00"}, roles=[{"value": "r1", "display": "Boss"}],
        entitlements=["Administrator"],
        **{ENTERPRISE: {"employeeNumber": 17, "department": "Sales", "costCenter": "9",
                        "manager": {"displayName": "Jo"}}},
    )  # fmt: skip
    assert got == Account(
        "1", "b@x.test", "ann", "Ann Lee", "suspended", "admin", "Boss", "r1", created=datetime(2026, 1, 1, tzinfo=UTC),
        fields=(("costCenter", "9"), ("department", "Sales"), ("employee_id", "17"), ("manager", "Jo"),
                ("title", "Rep"), ("userType", "Employee")),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("active", "status"),
    [(True, "active"), (False, "suspended"), ("True", "active"), ("false", "suspended"), (None, None)],
)
def test_active_as_boolean_and_as_text(active: bool | str | None, status: str | None) -> None:
    """Some servers write "False"; absent is not said, which is neither."""
    assert account(active=active).status == status
    assert account().status is None


@pytest.mark.parametrize(
    ("roles", "title", "role_id"),
    [
        (["admin"], "admin", "admin"),
        ([{"value": "1", "display": "Admin"}], "Admin", "1"),
        ([{"display": "Admin"}], "Admin", "Admin"),
        ([{"value": "2"}, "1"], "1, 2", None),
        ([{"value": "1"}, {"value": "1"}], "1", "1"),
        ([{"type": "x"}, ""], None, None),
        ([], None, None),
        (None, None, None),
    ],
)
def test_roles_in_both_shapes(roles: Any, title: str | None, role_id: str | None) -> None:
    """Objects and plain texts; of several, all are named and none is *the* role."""
    got = account(roles=roles)
    assert (got.role, got.role_id) == (title, role_id)


def test_the_first_level_that_is_held_counts() -> None:
    """In the order of the config, whatever the order of the server; without one it is not known."""
    levels = {"Boss": "admin", "Writer": "instructor"}
    assert account(levels, roles=["Writer", "Boss"]).level == "admin"
    assert account(levels, entitlements=[{"value": "9", "display": "Writer"}]).level == "instructor"
    assert account(levels, roles=["Reader"]).level is None


@pytest.mark.parametrize(
    "wrong", [{"active": "perhaps"}, {"id": 5}, {"roles": 5}, {"meta": {"created": "soon"}}, {"id": ""}]
)  # fmt: skip
def test_a_user_with_a_fault_is_named(wrong: Json) -> None:
    """The others count; nobody is gone, and the scopes that follow from users are no more whole than they are."""
    recall = Remembered()
    read(LittleScim(people(3)), recall)
    server = LittleScim([*people(2)[:1], {**people(2)[1], **wrong}])
    got = read(server, recall)
    assert got.outcome is Outcome.PARTIAL
    assert got.reason.startswith("users page 1, record 2: ")
    assert got.gone == []
    assert got.ends["roles"].outcome is got.ends["role_details"].outcome is Outcome.PARTIAL


# pages


@settings(deadline=None, max_examples=60)
@given(
    users=st.integers(0, 30), size=st.integers(1, 12), most=st.integers(1, 12), by_cursor=st.booleans()
)  # fmt: skip
def test_every_user_is_read_once(users: int, size: int, most: int, by_cursor: bool) -> None:
    """Whatever number a page is asked for or holds, and also when there are none: then Resources are absent."""
    server = LittleScim(people(users), most=most, by_cursor=by_cursor)
    got = read(server, count=size)
    assert {e.outcome for e in got.ends.values()} == {Outcome.COMPLETE}
    assert list(got.accounts) == [u["id"] for u in people(users)]
    assert len([a for a in server.asked if a.startswith("/Users")]) == max(1, -(-users // min(size, most)))
    assert any("cursor=" in a for a in server.asked) is by_cursor


def at_request(number: int, then: Callable[[], httpx.Response | None], path: str = "/v2/Users") -> Fault:
    """Something happens at the n-th request for a path."""
    requests = count(1)

    def fault(request: httpx.Request) -> httpx.Response | None:
        return then() if request.url.path == path and next(requests) == number else None

    return fault


def test_a_user_that_slips_through_is_asked_for() -> None:
    """Somebody leaves while pages are read: a row moves to a page that was read already. It is not gone."""
    server, recall = LittleScim(people(6)), Remembered()
    read(server, recall, count=2)
    server.faults = [at_request(2, lambda: server.users.__delitem__(0))]
    got = read(server, recall, count=2)
    assert (got.outcome, got.gone) == (Outcome.COMPLETE, [])
    assert "/Users/u3" in server.asked


def test_a_new_user_shifts_rows() -> None:
    """The same user on two pages is one user; the proof counts it, and both totals. The new one is seen next time."""
    server = LittleScim(people(4))
    scim = source(server, count=2)
    server.faults = [at_request(2, lambda: server.users.insert(0, {"id": "u0"}))]
    got = polled(scim.read(Remembered()))
    assert got.accounts.keys() == {"u1", "u2", "u3", "u4"}
    assert (scim.proof.duplicates, scim.proof.totals["users"], scim.proof.totals_at_end["users"]) == (1, 4, 5)
    assert got.outcome is Outcome.COMPLETE


def test_fewer_users_than_the_server_counts() -> None:
    """A list that ends early is not whole."""
    server = LittleScim(people(4))
    server.faults = [at_request(2, lambda: httpx.Response(200, json={"totalResults": 4}))]
    got = read(server, count=2)
    assert (got.outcome, got.reason) == (Outcome.PARTIAL, "the server counts 4 users and showed 2")


def endless(by_cursor: bool, data: list[Json]) -> Fault:
    """A server that gives the same page for ever, or makes cursors that lead nowhere."""
    cursors = count(1)

    def fault(request: httpx.Request) -> httpx.Response | None:
        if request.url.path != "/v2/Users":
            return None
        more: Json = {"nextCursor": str(next(cursors))} if by_cursor else {}
        return httpx.Response(200, json={"totalResults": 99, "Resources": data, **more})

    return fault


# What a server does, and how the scope ends. Everybody else stays.
FAULTS: list[tuple[str, Fault, str]] = [
    ("the same page for ever", endless(False, people(2)), "users page 2: it repeats records"),
    ("cursors and the same page", endless(True, people(2)), "users page 2: it repeats records"),
    ("cursors that lead nowhere", endless(True, []), "the server repeats its cursors, or they lead nowhere"),
    ("a count with nothing behind it", lambda r: httpx.Response(200, json={"totalResults": 9}), "showed 0"),
    ("no count", lambda r: httpx.Response(200, json={"Resources": people(1)}), "without totalResults"),
    ("another index", lambda r: httpx.Response(200, json={"totalResults": 9, "startIndex": 5, "Resources": people(1)}),
     "the answer begins at 5"),
    ("an error of its own", lambda r: error(400, "the count is too large"), "HTTP 400: the count is too large"),
    ("a proxy", lambda r: httpx.Response(404, html="<h1>Not found</h1>"), "an answer that is no SCIM error"),
    ("a fault of its own", lambda r: error(500, "oh no"), "HTTP 500: oh no (tried 5 times)"),
    ("HTML", lambda r: httpx.Response(200, html="<h1>Sign in</h1>"), "something else than JSON: Sign in"),
    ("a list", lambda r: httpx.Response(200, json=[]), "another shape"),
    ("a refused token", lambda r: error(401, "no"), "make a new one there"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "fault", "said"), FAULTS, ids=[f[0] for f in FAULTS])
def test_a_broken_list_is_no_departure(name: str, fault: Fault, said: str) -> None:
    """It ends, says why, and nobody is gone."""
    recall, server = Remembered(), LittleScim(people(5))
    read(server, recall)
    server.by_cursor = "cursors" in name
    server.faults = [lambda r: fault(r) if r.url.path == "/v2/Users" else None]
    got = read(server, recall)
    assert got.outcome in (Outcome.PARTIAL, Outcome.FAILED)
    assert said in got.reason
    assert got.gone == []
    assert TOKEN not in str(got.ends)


def test_a_cursor_that_expired() -> None:
    """RFC 9865: told as the server says it; what was read counts."""
    server = LittleScim(people(6), by_cursor=True)
    server.faults = [at_request(2, lambda: error(400, "the cursor has expired"))]
    got = read(server, count=2)
    assert (got.outcome, list(got.accounts)) == (Outcome.PARTIAL, ["u1", "u2"])
    assert "the cursor has expired" in got.reason


def test_the_server_says_when_to_come_back() -> None:
    """429 with Retry-After: the same page is asked for again, and nothing is lost."""
    server, clock = LittleScim(people(3)), VirtualClock()
    server.faults = [at_request(1, lambda: error(429, "slow down", **{"Retry-After": "7"}))]
    scim = Scim("idp", BASE, TOKEN, clock=clock, transport=server.transport)
    assert polled(scim.read(Remembered())).outcome is Outcome.COMPLETE
    assert (scim.proof.retries, clock.elapsed >= 7) == (1, True)


@pytest.mark.parametrize(
    ("answer", "outcome", "gone"),
    [
        (lambda r: None, Outcome.COMPLETE, ["u3"]),
        (lambda r: httpx.Response(404, html="<h1>Not found</h1>"), Outcome.PARTIAL, []),
        (lambda r: httpx.Response(404, json={"error": "no route"}), Outcome.PARTIAL, []),
        (lambda r: error(403, "not allowed"), Outcome.PARTIAL, []),
        (lambda r: httpx.Response(200, json={"id": "u9"}), Outcome.PARTIAL, []),
    ],
    ids=["the server's own 404", "a proxy's 404", "a 404 of something else", "403", "another user"],
)
def test_only_the_servers_own_404_means_gone(answer: Fault, outcome: Outcome, gone: list[str]) -> None:
    """Everything else says nothing about the user."""
    recall, server = Remembered(), LittleScim(people(3))
    read(server, recall)
    server.users.pop()
    server.faults = [lambda r: answer(r) if r.url.path == "/v2/Users/u3" else None]
    got = read(server, recall)
    assert (got.outcome, got.gone) == (outcome, gone)


def test_a_server_that_knows_nobody_by_id_proves_nothing() -> None:
    """A user that a page has just shown is asked for first."""
    recall, server = Remembered(), LittleScim(people(3))
    read(server, recall)
    server.users.pop()
    server.faults = [lambda r: error(404, "not found") if r.url.path.startswith("/v2/Users/") else None]
    got = read(server, recall)
    assert (got.outcome, got.gone) == (Outcome.PARTIAL, [])


# groups


def test_groups_and_their_members() -> None:
    """In both shapes; groups inside groups are counted; where a list leaves members out, the group is asked for."""
    server = LittleScim(people(2), [
        {"id": "g1", "displayName": "One", "members": [{"value": "u1", "type": "User"}, "u2", {"value": "u1"}]},
        {"id": "g2", "displayName": "Two", "members": [{"value": "g1", "type": "Group"},
                                                       {"value": "g1", "$ref": BASE + "/Groups/g1"}]},
        {"id": "g3", "displayName": "Three"},
    ])  # fmt: skip
    full = {"id": "g3", "members": [{"value": "u2"}]}
    server.faults = [lambda r: httpx.Response(200, json=full) if r.url.path == "/v2/Groups/g3" else None]
    scim = source(server)
    got = polled(scim.read(Remembered()))
    assert got.members == {"g1": ["u1", "u2"], "g2": [], "g3": ["u2"]}
    assert [(g.id, g.title) for g in got.groups] == [("g1", "One"), ("g2", "Two"), ("g3", "Three")]
    assert scim.proof.records["nested groups"] == 2
    assert not any(a.startswith("/Groups") for a in source_asks(read_groups=False))


def source_asks(**how: Any) -> list[str]:
    server = LittleScim(people(1))
    read(server, **how)
    return server.asked


def test_a_group_that_cannot_be_read_keeps_its_members() -> None:
    """Its scope is broken; the others are whole."""
    server = LittleScim(people(1), [{"id": "g1"}, {"id": "g2", "members": []}])
    server.faults = [lambda r: error(403, "not allowed") if r.url.path == "/v2/Groups/g1" else None]
    got = read(server)
    assert (got.members, got.ends["groups"].outcome) == ({"g2": []}, Outcome.COMPLETE)
    assert got.ends["members/g1"].outcome is Outcome.PARTIAL


def test_what_is_held_is_told_also_of_users_that_did_not_change() -> None:
    """Roles and entitlements are compared as a whole, so every poll tells all of them."""
    server, recall = LittleScim([{"id": "u1", "roles": ["r"], "entitlements": [{"value": "e"}]}]), Remembered()
    for changed in (1, 0):
        got = read(server, recall)
        assert len(got.accounts) == changed
        assert [(g.account_id, g.entitlement_id) for g in got.assigned] == [("u1", "role:r"), ("u1", "entitlement:e")]
        assert [r.id for r in got.roles] == ["r"]


def test_one_user_alone_reads_as_on_its_page() -> None:
    """One request; a user whom the server does not have is shown by nothing, and gone by nothing."""
    server = LittleScim(people(3))
    whole = read(server)
    since, one = len(server.asked), source(server).one_account("u2")
    got = polled(one.read(Remembered()))
    assert (got.accounts, list(got.ends)) == ({"u2": whole.accounts["u2"]}, [Scope.ONE])
    assert server.asked[since:] == ["/Users/u2"]
    server.users = [u for u in server.users if u["id"] != "u2"]
    got = polled(one.read(Remembered()))
    assert (got.accounts, got.gone, one.proof.records[Scope.ONE]) == ({}, [], 0)
