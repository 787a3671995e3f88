"""Truto's unified records: LearnWorlds' own is read first, Truto's reading of it fills gaps, and null says nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from monitor.domain.observed import Account, Grant, Group, Role
from monitor.errors import AuthError, SourceError
from monitor.sources.answer import Ask, Refused
from monitor.sources.truto_api import TrutoToken, one_of, page_of
from monitor.sources.truto_mcp import Tool, rpc_result
from monitor.sources.truto_records import LEVELS, RoleList, unified_account, unified_group, unified_role

ADMIN = Role("r1", "Admin", None, "admin", False)
USER = Role("r2", "User", None, "user", False)
LEAD = Role("r3", "Support lead", None, "admin", True)
REPORTER = Role("r4", "Reporter", None, "reporter", False)
ROLES = RoleList([ADMIN, USER, LEAD, REPORTER])
OWN = {"id": "a", "email": "own@x.test", "is_admin": True, "is_suspended": False,
       "role": {"level": "admin", "name": "Admin"}, "created": 1587639230.083278, "last_login": None}  # fmt: skip


def raw(**record: Any) -> Raw:
    return Raw(msgspec.json.encode({"id": "a", **record}))


def account(**record: Any) -> Account:
    return unified_account(raw(**record), ROLES, ())[0]


def matched(**record: Any) -> tuple[str | None, str | None]:
    found, _, by = unified_account(raw(**record), ROLES, ())
    return found.role_id, by


# whose word counts


def test_learnworlds_own_record_goes_before_what_truto_made_of_it() -> None:
    """A mapping that calls a suspended admin an active user changes nothing."""
    own = {**OWN, "is_suspended": True}
    found = account(status="active", emails=[{"email": "other@x.test"}], roles=[{"name": "User"}], remote_data=own)
    assert (found.status, found.email, found.level, found.role, found.role_id) == (
        "suspended", "own@x.test", "admin", "Admin", "r1",
    )  # fmt: skip


def test_what_the_own_record_leaves_out_is_filled() -> None:
    """Field by field."""
    own = {"id": "a", "is_admin": False}
    found = account(
        status="inactive", name="Ann Bo", username="ann", emails=[{"email": "x@x.test"}],
        roles=[{"id": "r2", "name": "User"}], created_at="2023-06-16T09:21:21.000Z", remote_data=own,
    )  # fmt: skip
    assert found == Account(
        "a", "x@x.test", "ann", "Ann Bo", "suspended", "user", "User", "r2", False,
        created=datetime(2023, 6, 16, 9, 21, 21, tzinfo=UTC),
    )  # fmt: skip


def test_a_record_of_somebody_else_is_refused() -> None:
    """Two ids in one record: neither is believed."""
    with pytest.raises(ValueError, match="remote_data is of another user, 'b', than 'a'"):
        account(remote_data={**OWN, "id": "b"})
    with pytest.raises(ValueError, match="remote_data is of another record"):
        unified_group(raw(remote_data={"id": "b"}))


@pytest.mark.parametrize("remote", [None, {}])
def test_without_an_own_record_flags_are_not_reported(remote: Any) -> None:
    """Absent, and not false: whether it is privileged then depends on the level alone."""
    found = account(remote_data=remote, roles=[{"id": "admin", "name": "Admin"}])
    assert (found.is_admin, found.is_instructor, found.is_reporter, found.tags) == (None, None, None, None)
    assert found.level == "admin"


@pytest.mark.parametrize(
    ("said", "meant"),
    [("active", "active"), ("inactive", "suspended"), ("Suspended", "suspended"), ("invited", "invited"),
     ("deleted", "deactivated"), ("on_hold", None), ("", None), (None, None)],
)  # fmt: skip
def test_a_status_that_nobody_knows_is_not_reported(said: str | None, meant: str | None) -> None:
    """Truto hands on what it cannot map."""
    assert account(status=said).status == meant


def test_addresses() -> None:
    """The primary one, else the first."""
    two = [{"email": "a@x.test"}, {"email": "b@x.test", "is_primary": True}]
    assert account(emails=two).email == "b@x.test"
    assert account(emails=[{"email": None}, *two[:1]]).email == "a@x.test"
    assert account(emails=[]).email is account(emails=None).email is None


@pytest.mark.parametrize("text", ["2024-09-10T12:00:00.000Z", "2024-09-10 12:00:00", "2024-09-10T14:00:00+02:00"])
def test_both_ways_to_write_a_time(text: str) -> None:
    """Truto's documents use two; the one without a zone is UTC."""
    _, activity, _ = unified_account(raw(created_at=text, last_login_at=text), ROLES, ())
    assert activity.last_login == account(created_at=text).created == datetime(2024, 9, 10, 12, tzinfo=UTC)
    assert activity.never_signed_in is False


def test_a_time_that_is_none() -> None:
    """Refused, and the record is named."""
    with pytest.raises(ValueError, match="yesterday"):
        account(created_at="yesterday")


def test_only_the_own_record_says_never() -> None:
    """A unified null may as well be a field that is not mapped."""
    assert unified_account(raw(last_login_at=None), ROLES, ())[1].never_signed_in is None
    assert unified_account(raw(last_login_at=None, remote_data=OWN), ROLES, ())[1].never_signed_in is True


# roles


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"roles": [{"id": "r3", "name": "Admin"}]}, ("r3", "id")),
        ({"roles": [{"id": "admin", "name": "Support lead"}]}, ("r3", "name")),
        ({"roles": [{"id": "Reporter"}]}, ("r4", "name")),
        ({"roles": [{"id": "reporter"}]}, ("r4", "level")),
        ({"roles": [{"id": "admin"}]}, (None, "nothing")),  # two roles have that level
        ({"roles": [{"name": "Renamed"}]}, (None, "nothing")),
        ({"roles": []}, (None, None)),
        ({"roles": None}, (None, None)),
        ({"remote_data": OWN}, ("r1", "name")),
        ({"remote_data": OWN, "roles": [{"id": "r1"}]}, ("r1", "id")),
        ({"remote_data": {"id": "a", "role": {"level": "reporter"}}}, ("r4", "level")),
        ({"remote_data": {"id": "a", "role": {"level": "reporter", "name": "Renamed"}}}, (None, "nothing")),
    ],
)
def test_a_role_is_found_by_id_then_name_then_level(record: dict[str, Any], found: tuple[Any, Any]) -> None:
    """And by a level only where there is no name: another name is another role."""
    assert matched(**record) == found


def test_of_several_roles_the_one_that_is_more_than_a_learner_s() -> None:
    """Whichever comes first."""
    for refs in ([{"id": "r2"}, {"id": "r3"}], [{"id": "r3"}, {"id": "r2"}]):
        assert account(roles=refs).role == "Support lead"


def test_a_role_and_a_group_without_their_own_record() -> None:
    """What Truto says, and no managers: nobody knows them."""
    assert unified_role(raw(label="Lead", type="admin")) == Role("a", "Lead", None, "admin", None)
    assert unified_role(raw(name="Lead", type="something")).access_level is None
    group, managers = unified_group(raw(name="Acme", created_at="2024-09-10 12:00:00"))
    assert group == Group("a", "Acme", created=datetime(2024, 9, 10, 12, tzinfo=UTC))
    assert managers is None


def test_a_group_s_own_record_may_leave_out_what_stands_above_it() -> None:
    """Its id and title stand in the unified record alone."""
    group, managers = unified_group(raw(name="Acme", remote_data={"group_managers": [{"id": "m"}], "tags": ["x"]}))
    assert (group.id, group.title, group.tags) == ("a", "Acme", ("x",))
    assert managers == [Grant("m", "manager", "a")]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.sampled_from(["r1", "admin", "active"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = ["name", "emails", "status", "roles", "created_at", "last_login_at", "remote_data", "username"]


@given(st.dictionaries(st.sampled_from(FIELDS), json_values))
def test_no_record_breaks_more_than_itself(record: dict[str, Any]) -> None:
    """Either an account of that very id, or an error that the reading counts as one record's."""
    try:
        found, _, by = unified_account(raw(**record), ROLES, ())
    except (ValueError, OverflowError, OSError):
        return
    assert found.id == "a"
    assert by in {None, "id", "name", "level", "nothing"}
    assert found.status in {None, "active", "suspended", "invited", "deactivated"}
    assert "remote_data" in record or found.level is None or found.level in LEVELS


# envelopes


@pytest.mark.parametrize(
    ("body", "count", "cursor", "fault"),
    [
        (b'{"result":[{"id":"a"}],"next_cursor":"x"}', 1, "x", None),
        (b'{"result":[{"id":"a"}],"next_cursor":7}', 1, "7", None),
        (b'{"result":[]}', 0, None, None),
        (b'[{"id":"a"}]', 1, None, None),
        (b'{"data":[{"id":"a"}],"meta":{"page":1,"totalPages":1}}', 1, None, None),
        (b'{"result":{"data":[],"meta":{"page":1,"totalPages":3}}}', 0, None, "LearnWorlds has 3 pages"),
        (b'{"result":{"data":[],"meta":{"page":3,"totalPages":3}}}', 0, None, None),
        (b'{"result":[],"is_partial_response":true}', 0, None, "is_partial_response"),
    ],
)
def test_every_shape_of_a_list(body: bytes, count: int, cursor: str | None, fault: str | None) -> None:
    """Arrays, LearnWorlds' own envelope, and no envelope at all."""
    page = page_of(body)
    assert (len(page.records), page.cursor) == (count, cursor)
    assert (page.fault is None) if fault is None else (fault in (page.fault or ""))


def test_pages_by_number() -> None:
    """Where a tool takes a page and no cursor, `meta` leads on."""
    body = b'{"data":[{"id":"a"}],"meta":{"page":2,"totalPages":3}}'
    assert page_of(body, numbered=True).cursor == "3"


@pytest.mark.parametrize("body", [b"{}", b'{"result":{}}', b'{"data":[],"success":false}'])
def test_an_answer_without_records_is_no_empty_list(body: bytes) -> None:
    """However it is wrapped."""
    with pytest.raises(SourceError, match="without records"):
        page_of(body)


def test_one_record_bare_or_wrapped() -> None:
    """A record whose own field is called `data` is not unwrapped."""
    assert one_of(b'{"id":"a","data":{}}') == b'{"id":"a","data":{}}'
    assert one_of(b'{"result":{"id":"a"}}') == b'{"id":"a"}'


# errors


def explained(status: int, body: Any, path: str = "/unified/x", **how: Any) -> SourceError | None:
    token = TrutoToken("hunter2", "https://x/mcp/hunter3")
    return token.explain(Ask(path, **how), status, body if isinstance(body, bytes) else msgspec.json.encode(body), None)


REMOTE = {"truto_is_remote_error": True, "message": "", "raw_response": {"error": "its own words"}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "gone", "retry", "said"),
    [
        (401, {"message": "bad"}, AuthError, None, False, "Create one in Truto's dashboard"),
        (401, REMOTE, AuthError, None, False, "connect it again in Truto"),
        (403, REMOTE, Refused, False, False, "check the school's plan"),
        (403, {"message": "no"}, Refused, False, False, "check what it is allowed to in Truto"),
        (404, REMOTE, Refused, True, False, "its own words"),
        (404, {"statusCode": 404, "message": "no"}, Refused, False, False, "check integrated_account_id"),
        (429, REMOTE, Refused, False, True, "the same API client"),
        (429, {"message": "slow down"}, Refused, False, True, "the same token"),
        (500, REMOTE, Refused, False, True, "LearnWorlds, through Truto,"),
        (503, {"message": "blocked"}, Refused, False, True, "blocked the account"),
    ],
)
def test_whose_error_it_is(status: int, body: Any, kind: type, gone: bool | None, retry: bool, said: str) -> None:
    """Truto's own or LearnWorlds', told apart by truto_is_remote_error alone."""
    error = explained(status, body)
    assert error is not None
    assert isinstance(error, kind)
    assert said in str(error)
    assert error.retry is retry
    assert gone is None or (isinstance(error, Refused) and error.gone is gone)


def test_a_custom_path_hands_on_learnworlds_own_answer() -> None:
    """Without Truto's statusCode it is LearnWorlds that speaks; with it, Truto."""
    bare = explained(404, {"error": "Users not found"}, "/custom/v2/user_groups/g/users")
    assert isinstance(bare, Refused)
    assert bare.gone
    assert "Users not found" in (bare.said or "")
    own = explained(404, {"statusCode": 404, "message": "Not Found"}, "/custom/v2/users/a")
    assert isinstance(own, Refused)
    assert not own.gone


def test_secrets_are_in_no_message() -> None:
    """Whatever Truto repeats."""
    error = explained(500, {"message": "bad token hunter2 at https://x/mcp/hunter3"})
    assert "hunter2" not in str(error)
    assert "hunter3" not in str(error)


def test_a_gateway_s_page_is_no_word_of_truto_s() -> None:
    """Then it counts as what any HTTP answer of that status is."""
    assert explained(404, b"<html>404</html>") is None


# MCP


def tool(properties: dict[str, Any], required: tuple[str, ...] = ()) -> Tool:
    return Tool("t", {"properties": properties, "required": list(required)})


@pytest.mark.parametrize(
    ("schema", "value", "sent"),
    [
        ({"type": "string"}, 200, "200"),
        ({"type": "integer"}, 200, 200),
        ({"type": ["integer", "null"], "maximum": 50}, 200, 50),
        ({}, 200, 200),
        ({"type": "boolean"}, True, True),
        ({"type": "string"}, True, "true"),
        ({"type": "integer"}, "3", 3),
        ({"type": "string"}, "3", "3"),
        (True, 200, 200),
    ],
)
def test_an_argument_in_the_type_that_the_tool_wants(schema: Any, value: Any, sent: Any) -> None:
    """A schema may say nothing at all."""
    assert tool({"x": schema}).fitting("x", value) == sent


def test_a_tool_without_a_schema_takes_nothing() -> None:
    """And asks for nothing."""
    assert Tool("t").argument(("id",)) is None
    assert Tool("t", {"properties": []}).required == set()


@pytest.mark.parametrize(
    "body",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"x":1}}',
        b'event: message\ndata: {"method":"ping"}\n\ndata: {"jsonrpc":"2.0",\ndata: "result":{"x":1}}\n\n',
        b': hello\r\n\r\ndata: {"result":{"x":1}}\r\n\r\n',
    ],
)
def test_an_answer_as_json_or_as_a_stream(body: bytes) -> None:
    """Notes and comments before it are passed over; data may go over several lines."""
    assert rpc_result(body) == {"x": 1}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error":{"code":-32601,"message":"no such method"}}', "error -32601: no such method"),
        (b'{"jsonrpc":"2.0"}', "without a result"),
        (b"data: \n\n", "truncated"),
        (b"", "without a result"),
    ],
)
def test_an_answer_that_is_none(body: bytes, said: str) -> None:
    """Of the protocol's own errors, which one."""
    with pytest.raises((SourceError, msgspec.DecodeError), match=said):
        rpc_result(body)
