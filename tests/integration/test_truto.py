"""What Truto may answer, oddity by oddity, over real HTTP: each is read rightly or said to be missing.

Nothing that goes wrong on the way is ever a departure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from monitor.domain.observed import Role
from monitor.domain.reading import Outcome, Scope
from tests.peers.tables import Polled, Remembered, polled
from tests.peers.truto import Connected, Privileged, connected

WAYS = ("unified", "proxy", "mcp")
USERS = "(users|list_all_learnworlds_users)$"  # the list, whichever way it is read


@pytest.fixture
def c() -> Iterator[Connected]:
    with connected(users=90) as made:
        yield made


@pytest.fixture
def big() -> Iterator[Connected]:
    """Three pages of users, the last one half full."""
    with connected(users=90) as made:
        made.truto.most = 36
        yield made


@pytest.fixture
def cohorts() -> Iterator[Connected]:
    """Two groups."""
    with connected(users=400) as made:
        yield made


def reasons(got: Polled) -> dict[str, str]:
    return {e.name: e.reason or "" for e in got.ends.values() if e.outcome not in (Outcome.COMPLETE, Outcome.UNREAD)}


def ids(c: Connected) -> set[str]:
    return {str(u["id"]) for u in c.school.users()}


def whole(c: Connected, got: Polled) -> None:
    assert reasons(got) == {}
    assert got.gone == []


# the integrated account


@pytest.mark.parametrize("api", WAYS)
@pytest.mark.parametrize(
    ("status", "advice"),
    [
        ("needs_reauth", "connect it again in Truto"),
        ("connecting", "finish it in Truto"),
        ("validation_error", "connect the school again in Truto"),
        ("post_install_error", "see its last error in Truto"),
        ("paused", "see what Truto's dashboard says of it"),
    ],
)
def test_an_account_that_is_not_active_is_no_empty_school(c: Connected, api: str, status: str, advice: str) -> None:
    """Every scope has failed, the reason says what to do, and nothing else is asked."""
    c.truto.status, c.truto.last_error = status, "401 Unauthorized"
    got = c.read(c.source(api))
    assert {e.outcome for e in got.ends.values()} == {Outcome.FAILED}
    assert {"roles", "users", "groups"} <= got.ends.keys()
    assert all(status in said and advice in said and "401 Unauthorized" in said for said in reasons(got).values())
    assert len(c.truto.log) == 1
    assert status in (c.source(api).check() or "")


def test_an_account_that_this_token_does_not_see(c: Connected) -> None:
    """Truto's own 404 is about the id in the config."""
    c.truto.account = "another"
    source = c.source()
    c.truto.account = "0d9f2c1e"
    assert "check integrated_account_id" in reasons(c.read(source))["users"]
    assert "check integrated_account_id" in (source.check() or "")


# errors: whose they are


def test_a_token_that_truto_refuses(c: Connected) -> None:
    """401 without truto_is_remote_error is about our token, and it is not shown."""
    c.truto.faults.add("own-401", times=None)
    got = c.read()
    assert all("Truto refused the API token" in said for said in reasons(got).values())
    assert c.truto.token not in str(got)
    assert "Create one in Truto's dashboard" in (c.source().check() or "")


@pytest.mark.parametrize("api", WAYS)
def test_credentials_that_learnworlds_refuses(c: Connected, api: str) -> None:
    """401 with truto_is_remote_error: the poll ends, and the next one finds the account in need of a connection."""
    c.server.faults.add("revoke", "/v2/users$")
    got = c.read(c.source(api))
    assert "LearnWorlds refused the credentials that Truto holds" in reasons(got)["users"]
    assert "connect it again in Truto" in reasons(got)["groups"]
    assert "needs_reauth" in reasons(c.read(c.source(api)))["users"]


@pytest.mark.parametrize("api", WAYS)
def test_what_learnworlds_forbids(c: Connected, api: str) -> None:
    """403 of the provider fails the scope that it concerns, and says where to look. `message` is empty."""
    c.server.faults.add("forbidden", "/v2/user-roles", times=None)
    got = c.read(c.source(api))
    assert got.ends["roles"].outcome is Outcome.FAILED
    assert "The plan of this school does not include the API." in reasons(got)["roles"]
    assert "check the school's plan" in reasons(got)["roles"]
    assert got.ends["users"].outcome is Outcome.COMPLETE
    assert got.accounts.keys() == ids(c)


def test_a_school_in_front_of_which_truto_has_nothing(c: Connected) -> None:
    """Truto's own 404 for a list fails the scope, and says that it is not the school that says so."""
    c.truto.faults.add("not-found", "/users$", times=None)
    got = c.read()
    assert "Truto answers HTTP 404" in reasons(got)["users"]
    assert got.accounts == {}


@pytest.mark.parametrize("api", WAYS)
@pytest.mark.parametrize("kind", ["429", "500", "503", "530", "html", "cut", "malformed", "drop"])
def test_what_passes_is_asked_for_again(big: Connected, api: str, kind: str) -> None:
    """Once on the second page: the poll is whole."""
    fault = big.truto.faults.add(kind, USERS, page=2)
    source = big.source(api)
    got = big.read(source)
    assert fault.fired == 1
    whole(big, got)
    assert source.proof.retries == 1
    assert got.accounts.keys() == ids(big)


def test_an_account_that_truto_blocked(c: Connected) -> None:
    """503 for good is told as that: it is no matter of connecting again."""
    c.truto.faults.add("503", "/users$", times=None)
    assert "Truto may have blocked the account" in reasons(c.read())["users"]


# limits


def test_truto_s_own_limit_is_waited_for(c: Connected) -> None:
    """429 with Retry-After: 10."""
    c.truto.faults.add("429", "/users$")
    whole(c, c.read())
    assert sum(c.clock.slept) == pytest.approx(10, abs=0.1)


@pytest.mark.parametrize("api", ["unified", "proxy"])
@pytest.mark.parametrize("reset", ["seconds", "epoch"])
def test_learnworlds_limit_is_waited_for(c: Connected, api: str, reset: Any) -> None:
    """429 of the provider, whose ratelimit-reset is a time or a number of seconds: 7 of them either way."""
    c.truto.reset = reset
    c.server.faults.add("429", "/v2/users$")
    whole(c, c.read(c.source(api)))
    assert sum(c.clock.slept) == pytest.approx(7, abs=1.1)


@pytest.mark.parametrize("api", WAYS)
def test_learnworlds_limit_without_a_word_on_how_long(c: Connected, api: str) -> None:
    """LearnWorlds documents no such header: then a time that grows."""
    c.server.faults.add("429", "/v2/users$", times=2)
    source = c.source(api)
    whole(c, c.read(source))
    assert source.proof.retries == 2


def test_retry_after_goes_before_ratelimit_reset(c: Connected) -> None:
    """Where both are said, the standard one counts."""
    c.truto.reset = "seconds"
    c.server.faults.add("429", "/v2/users$", retry_after="3")
    whole(c, c.read())
    assert sum(c.clock.slept) == pytest.approx(3, abs=0.1)


# pages


@pytest.mark.parametrize("api", WAYS)
@pytest.mark.parametrize("end", ["null", "empty", "absent"])
def test_every_kind_of_last_page(big: Connected, api: str, end: Any) -> None:
    """next_cursor null, "" or not there (and no result_count): the list is whole."""
    big.truto.end = end
    got = big.read(big.source(api))
    whole(big, got)
    assert got.accounts.keys() == ids(big)


@pytest.mark.parametrize("api", WAYS)
def test_an_empty_page_with_a_cursor_is_no_end(big: Connected, api: str) -> None:
    """Three in a row, and then the records."""
    big.truto.faults.add("empty", USERS, page=2, times=3)
    got = big.read(big.source(api))
    whole(big, got)
    assert got.accounts.keys() == ids(big)


@pytest.mark.parametrize("api", WAYS)
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("empty", "21 empty pages in a row"),
        ("round", "its cursor was given before"),
        ("repeat", "it repeats an earlier page"),
        ("partial", "is_partial_response"),
    ],
)
def test_a_list_that_does_not_end_well_is_partial(big: Connected, api: str, kind: str, said: str) -> None:
    """What was read counts, nobody is gone, and the poll comes to an end."""
    big.read(big.source(api))
    leaver = big.school.holders("User")[0]
    big.school.remove_user(leaver)
    big.truto.faults.add(kind, USERS, page=2, times=None)
    got = big.read(big.source(api))
    assert got.ends["users"].outcome is Outcome.PARTIAL
    assert said in reasons(got)["users"]
    assert got.gone == []


@pytest.mark.parametrize("api", WAYS)
def test_a_list_that_ends_early_removes_nobody(big: Connected, api: str) -> None:
    """Half a page and no cursor: whoever is missing is asked for, one by one, up to the limit."""
    big.read(big.source(api))
    big.truto.faults.add("short", USERS, page=3)
    source = big.source(api)
    got = big.read(source)
    whole(big, got)
    assert source.proof.confirmed == 9
    big.truto.faults.add("short", USERS, page=1)
    got = big.read(big.source(api, confirm_limit=40))
    assert got.ends["users"].outcome is Outcome.PARTIAL
    assert "72 accounts were not on any page, 40 could be confirmed" in reasons(got)["users"]
    assert got.gone == []


@pytest.mark.parametrize("api", ["proxy", "mcp"])
def test_native_pages_may_come_with_their_meta(big: Connected, api: str) -> None:
    """`result` as {data, meta}: the cursor still leads on."""
    big.truto.proxy_shape = "data"
    got = big.read(big.source(api))
    whole(big, got)
    assert got.accounts.keys() == ids(big)


def test_meta_that_speaks_of_more_pages_than_there_were_cursors(big: Connected) -> None:
    """A mapping that forgets the cursor: the first page is not the school."""
    big.truto.proxy_shape = "data"
    big.truto.faults.add("short", "/users$")
    got = big.read(big.source("proxy"))
    assert got.ends["users"].outcome is Outcome.PARTIAL
    assert "LearnWorlds has 3 pages, and Truto gave no cursor after page 1" in reasons(got)["users"]


@pytest.mark.parametrize("api", ["unified", "proxy"])
def test_an_answer_without_records(c: Connected, api: str) -> None:
    """200, and no result: nobody is in there, and nobody has left."""
    c.read(c.source(api))
    c.truto.faults.add("no-result", USERS, times=None)
    got = c.read(c.source(api))
    assert got.ends["users"].outcome is Outcome.FAILED
    assert "answered 200 without records" in reasons(got)["users"]


@pytest.mark.parametrize("api", WAYS)
def test_a_record_that_cannot_be_understood_is_named(c: Connected, api: str) -> None:
    """The others are read."""
    c.truto.faults.add("wrong-type", USERS)
    got = c.read(c.source(api))
    assert got.ends["users"].outcome is Outcome.PARTIAL
    assert "record 1" in reasons(got)["users"]
    assert len(got.accounts) == len(ids(c)) - 1


# who is gone


@pytest.mark.parametrize("api", WAYS)
def test_who_is_gone_is_asked_for_by_id(c: Connected, api: str) -> None:
    """A witness is found, the leaver is not: LearnWorlds' own 404 says gone."""
    c.read(c.source(api))
    leaver = c.school.holders("User")[0]
    c.school.remove_user(leaver)
    source = c.source(api)
    got = c.read(source)
    assert reasons(got) == {}
    assert got.gone == [leaver]
    assert source.proof.confirmed == 1
    assert source.proof.pages["confirm"] == 1, "the witness; a refusal is no page"


@pytest.mark.parametrize("api", ["unified", "proxy"])
def test_truto_s_own_404_is_no_departure(c: Connected, api: str) -> None:
    """It is about the token or the route, even where the witness was found."""
    c.read(c.source(api))
    leaver = c.school.holders("User")[0]
    c.school.remove_user(leaver)
    c.truto.faults.add("not-found", f"/users/{leaver}$", times=None)
    got = c.read(c.source(api))
    assert got.gone == []
    assert got.ends["users"].outcome is Outcome.PARTIAL


@pytest.mark.parametrize("api", WAYS)
@pytest.mark.parametrize("custom", [None, 403])
def test_somebody_who_was_suspended_is_not_gone_where_truto_hides_them(
    c: Connected, api: str, custom: int | None
) -> None:
    """Truto does not hand the flag on: LearnWorlds is asked itself, or else nobody counts as gone."""
    hide(c)
    c.read(c.source(api))
    away = c.school.holders("User")[0]
    c.school.suspend(away)
    c.truto.custom_refused = custom
    got = c.read(c.source(api))
    assert got.gone == []
    if custom is None:
        assert reasons(got) == {}
        assert got.accounts[away].status == "suspended"
    else:
        assert "it may be suspended and hidden" in reasons(got)["users"]


@pytest.mark.parametrize("api", WAYS)
def test_where_truto_hides_the_suspended_who_left_is_gone_all_the_same(c: Connected, api: str) -> None:
    """LearnWorlds itself, asked through /custom/ with its own flag, does not find them."""
    hide(c)
    c.read(c.source(api))
    leaver = c.school.holders("User")[0]
    c.school.remove_user(leaver)
    assert c.read(c.source(api)).gone == [leaver]


def hide(c: Connected) -> None:
    """Nobody is suspended in the school, and Truto shows nobody who is."""
    for user in list(c.school.users()):
        if user["is_suspended"]:
            c.school.unsuspend(user["id"])
    c.truto.hears_suspended = False


# members


@pytest.mark.parametrize("api", WAYS)
@pytest.mark.parametrize("status", [403, 404, 405])
def test_members_that_truto_may_not_read_are_one_unread_scope(cohorts: Connected, api: str, status: int) -> None:
    """Said once, with the reason; no fault for each group, and the poll is whole. `check` says what follows."""
    cohorts.truto.custom_refused = status
    got = cohorts.read(cohorts.source(api))
    whole(cohorts, got)
    [end] = [e for e in got.ends.values() if e.name.startswith("members/")]
    assert (end.name, end.outcome) == ("members/", Outcome.UNREAD)
    assert f"HTTP {status}" in (end.reason or "")
    assert "set members = false" in (cohorts.source(api).check() or "")


def test_members_that_could_be_read_before_are_missing(big: Connected, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is a fault: what was watched is watched no more."""
    monkeypatch.setattr(big.recall, "recorded", lambda scope: ["g"] if scope == Scope.MEMBERS else [])
    big.truto.custom_refused = 403
    got = big.read()
    assert got.ends["members/"].outcome is Outcome.FAILED


def test_a_group_that_goes_while_members_are_read_is_one_fault(cohorts: Connected) -> None:
    """The second of two groups: its own scope, and no other."""
    second = list(cohorts.school.groups)[1]
    cohorts.truto.faults.add("not-found", f"/custom/.*{second}", times=None)
    got = cohorts.read()
    assert set(reasons(got)) == {f"members/{second}"}


def test_members_that_are_not_wanted_are_unread(big: Connected) -> None:
    """members = false."""
    got = big.read(big.source(read_members=False))
    assert got.ends["members/"].outcome is Outcome.UNREAD
    assert big.asked("/custom/") == 0


# roles


@pytest.mark.parametrize(
    ("api", "roles", "by"), [("unified", "id", "id"), ("unified", "level", "name"), ("proxy", "level", "name")]
)
def test_the_proof_says_by_what_roles_were_found(c: Connected, api: str, roles: Any, by: str) -> None:
    """Of every record that was read anew; at the next poll that is nobody."""
    c.truto.roles = roles
    source = c.source(api)
    got = c.read(source)
    assert source.proof.matched == {by: len(ids(c))}
    assert all(a.role_id for a in got.accounts.values())
    again = c.source(api)
    c.read(again)
    assert again.proof.matched == {}


def test_accounts_without_roles_and_without_remote_data(c: Connected) -> None:
    """roles []: nothing is said of the role, so whether they are privileged is unknown."""
    c.truto.roles, c.truto.remote_data = "none", False
    got = c.read()
    assert {(a.level, a.role, a.role_id, a.is_admin) for a in got.accounts.values()} == {(None, None, None, None)}
    assert {a.status for a in got.accounts.values()} == {"active", "suspended"}


def test_while_roles_cannot_be_read_accounts_are_read_anew(c: Connected) -> None:
    """Their role has no id yet, so the next poll must not take the record for known."""
    c.truto.faults.add("forbidden", "/roles$")
    assert {a.role_id for a in c.read().accounts.values()} == {None}
    assert None not in {a.role_id for a in c.read().accounts.values()}


# MCP


@pytest.mark.parametrize("events", [False, True])
@pytest.mark.parametrize(
    "names",
    [
        {"cursor": "cursor", "limit": "per_page", "suspended": "includeSuspended", "id": "user_id"},
        {"cursor": "Next-Cursor", "limit": "items_per_page", "suspended": "INCLUDE_SUSPENDED", "id": "ID"},
        {"cursor": "page_token", "suspended": "with_suspended", "id": "id"},
    ],
)
def test_tools_name_their_arguments_as_they_like(big: Connected, events: bool, names: dict[str, str]) -> None:
    """Found in the tools' own schemas; answers are JSON or a stream of events."""
    big.truto.arguments, big.truto.events = names, events
    big.read(big.source("mcp"))
    leaver = big.school.holders("User")[0]
    big.school.remove_user(leaver)
    got = big.read(big.source("mcp"))
    assert reasons(got) == {}
    assert got.gone == [leaver]


def test_a_tool_that_is_missing_is_a_scope_that_failed(c: Connected) -> None:
    """Named, also by `check`; what the other tools read counts."""
    c.truto.tools_missing = {"list_all_learnworlds_groups"}
    got = c.read(c.source("mcp"))
    assert set(reasons(got)) == {"groups"}
    assert "no tool list_all_learnworlds_groups" in reasons(got)["groups"]
    assert got.accounts.keys() == ids(c)
    assert "lacks list_all_learnworlds_groups" in (c.source("mcp").check() or "")


def test_without_the_tool_for_one_user_nobody_is_gone(c: Connected) -> None:
    """There is nothing to confirm it by. With a suspended witness seen, the tool would be the only way."""
    c.truto.tools_missing = {"get_single_learnworlds_user_by_id"}
    c.read(c.source("mcp"))
    c.school.remove_user(c.school.holders("User")[0])
    got = c.read(c.source("mcp"))
    assert got.gone == []
    assert "no tool get_single_learnworlds_user_by_id" in reasons(got)["users"]


def test_a_tool_that_cannot_go_on_is_partial(big: Connected) -> None:
    """There is a cursor, and no argument takes it."""
    del big.truto.arguments["cursor"]
    got = big.read(big.source("mcp"))
    assert "no argument asks for the next page" in reasons(got)["users"]
    assert got.ends["users"].outcome is Outcome.PARTIAL


def test_a_tool_that_cannot_show_the_suspended_is_not_believed(c: Connected) -> None:
    """No argument asks for them, and none was shown: some may be missing."""
    hide(c)
    del c.truto.arguments["suspended"]
    got = c.read(c.source("mcp"))
    assert got.ends["users"].outcome is Outcome.PARTIAL
    assert "nothing tells Truto to show suspended users" in reasons(got)["users"]


def test_an_mcp_server_that_wants_the_token_too(c: Connected) -> None:
    """require_api_token_auth: with the token it answers, without it says so."""
    c.truto.mcp_needs_token = True
    whole(c, c.read(c.source("mcp")))
    assert "Truto refused the API token" in reasons(c.read(c.source("mcp", alone=True)))["users"]


@pytest.mark.parametrize("kind", ["html", "not-found", "drop", "malformed"])
def test_the_address_of_the_mcp_server_is_told_to_nobody(c: Connected, kind: str) -> None:
    """It is a secret: neither messages nor the proof hold it."""
    c.truto.faults.add(kind, "/tool/", times=None)
    source = c.source("mcp", alone=True)
    got = c.read(source)
    said = str(reasons(got)) + str(source.proof.as_dict()) + str(source.check())
    assert reasons(got)
    assert c.truto.mcp_token not in said


# the simulator itself


def test_batch_says_which_resource_failed(big: Connected) -> None:
    """It follows the pages, and an error of one resource leaves it short: why this program does not use it."""
    big.server.faults.add("500", "/v2/users$", after=1)
    body = {"integrated_account_id": big.truto.account, "resources": [
        {"resource": f"user-directory/{r}", "method": "list"} for r in ("users", "roles")]}  # fmt: skip
    answer = httpx.post(
        f"{big.truto.url}/batch-request", json=body, headers={"Authorization": f"Bearer {big.truto.token}"}
    ).json()
    assert len(answer["result"]["user-directory/roles"]) == len(big.school.roles)
    assert len(answer["result"]["user-directory/users"]) < len(ids(big))
    assert answer["errors"]["user-directory/users"][0]["truto_is_remote_error"] is True
    assert answer["errors"]["user-directory/roles"] == []


def test_capabilities_name_the_resources(c: Connected) -> None:
    """Unified and proxy, for this account."""
    headers = {"Authorization": f"Bearer {c.truto.token}"}
    found = httpx.get(f"{c.truto.url}/integrated-account/{c.truto.account}/capabilities", headers=headers).json()
    assert {r["resource"] for r in found["proxy"]} == {r["resource"] for r in found["unified"]}
    assert found["account"]["status"] == "active"
    listed = httpx.get(f"{c.truto.url}/integrated-account", headers=headers).json()
    assert [a["id"] for a in listed["result"]] == [c.truto.account]


def test_an_error_of_the_provider_is_marked(c: Connected) -> None:
    """As Truto documents it: the flag, the provider's own body, an insight in the unified API, an empty message."""
    c.server.faults.add("500", "/v2/users$")
    answer = httpx.get(
        f"{c.truto.url}/unified/user-directory/users", params={"integrated_account_id": c.truto.account},
        headers={"Authorization": f"Bearer {c.truto.token}"},
    )  # fmt: skip
    said = answer.json()
    assert (answer.status_code, said["truto_is_remote_error"], said["message"]) == (500, True, "")
    assert said["raw_response"] == {"error": "Server Error"}
    assert "remote_error" in said["truto_error_insight"]


# check


@pytest.mark.parametrize("api", WAYS)
def test_a_connection_that_is_right_has_no_faults(c: Connected, api: str) -> None:
    """And it takes a few requests."""
    assert c.source(api).check() is None
    assert len(c.truto.log) <= 10


def test_nobody_answers(c: Connected) -> None:
    """An address where nothing listens."""
    source = c.source()
    source._url = "http://127.0.0.1:1"
    assert "cannot connect to 127.0.0.1" in (source.check() or "")


def test_the_proof_says_how_it_was_read(c: Connected) -> None:
    """Endpoint, filters, and what came."""
    source = c.source("proxy")
    c.read(source)
    proof = source.proof.as_dict()
    assert proof["endpoint"] == f"{c.truto.url}/proxy"
    assert proof["filters"] == {"remote_query[include_suspended]": "true"}
    assert proof["records"]["users"] == len(ids(c))
    assert msgspec.json.encode(proof)


# lists that end early, of what has no total


@pytest.mark.parametrize("api", WAYS)
def test_a_group_that_is_not_on_the_list_is_asked_for(cohorts: Connected, api: str, remembered: Any) -> None:
    """Half the list and no cursor: the other half is there all the same, with its managers and members."""
    first = cohorts.read(cohorts.source(api))
    remembered(first)
    cohorts.truto.faults.add("short", "groups$", times=None)
    got = cohorts.read(cohorts.source(api))
    assert reasons(got) == {}
    assert {g.id for g in got.groups} == set(cohorts.school.groups)
    assert sorted(got.managers) == sorted(first.managers)
    assert got.members.keys() == first.members.keys()


@pytest.mark.parametrize("api", WAYS)
def test_a_group_that_is_gone_is_gone(cohorts: Connected, api: str, remembered: Any) -> None:
    """LearnWorlds' own 404 for it, after another one was found by its id."""
    remembered(cohorts.read(cohorts.source(api)))
    gone = next(iter(cohorts.school.groups))
    del cohorts.school.groups[gone], cohorts.school.members[gone]
    got = cohorts.read(cohorts.source(api))
    assert reasons(got) == {}
    assert gone not in {g.id for g in got.groups}


def test_a_group_of_which_nobody_knows(cohorts: Connected, remembered: Any) -> None:
    """Truto's own 404 is no word about the group: the groups are not whole."""
    remembered(cohorts.read())
    gone = next(iter(cohorts.school.groups))
    del cohorts.school.groups[gone], cohorts.school.members[gone]
    cohorts.truto.faults.add("not-found", f"/groups/{gone}$", times=None)
    assert set(reasons(cohorts.read())) == {"groups"}


@pytest.mark.parametrize("custom", [None, 403])
def test_a_role_that_is_not_on_the_list_is_looked_for(c: Connected, custom: int | None, remembered: Any) -> None:
    """On LearnWorlds' own list, where that is allowed, else on the list once more."""
    c.truto.custom_refused = custom
    remembered(c.read())
    c.truto.faults.add("short", "/roles$")
    got = c.read()
    assert got.ends["roles"].outcome is Outcome.PARTIAL
    assert "4 roles are there, and were not on the list" in reasons(got)["roles"]


@pytest.mark.parametrize("custom", [None, 403])
def test_a_role_that_is_gone_is_gone(c: Connected, custom: int | None, remembered: Any) -> None:
    """Neither list has it."""
    c.truto.custom_refused = custom
    remembered(c.read())
    gone = c.school.roles.pop()
    got = c.read()
    whole(c, got)
    assert gone["id"] not in {r.id for r in got.roles}


@pytest.fixture
def remembered(monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the store would say of roles and groups after a poll."""

    def remember(got: Polled) -> None:
        known = {Scope.ROLES: [r.id for r in got.roles], Scope.GROUPS: [g.id for g in got.groups],
                 Scope.MEMBERS: list(got.members)}  # fmt: skip
        monkeypatch.setattr(Privileged, "recorded", lambda self, scope: known[scope])

    return remember


class Roles(Remembered):
    """What earlier polls recorded of roles, and nothing else."""

    def __init__(self, got: Polled) -> None:
        super().__init__()
        self.got = got

    def known_roles(self) -> list[Role]:
        return self.got.roles


@pytest.mark.parametrize("api", WAYS)
def test_one_account_alone_reads_as_on_its_page(c: Connected, api: str) -> None:
    """A recheck must not see changes where there are none; one that is gone is shown by nothing, and counts as zero."""
    listed = c.read(c.source(api))
    who = c.school.holders("Admin")[0]
    one = c.source(api).one_account(who)
    got = polled(one.read(Roles(listed)))
    assert got.accounts == {who: listed.accounts[who]}
    assert (got.ends[Scope.ONE].outcome, one.proof.records[Scope.ONE]) == (Outcome.COMPLETE, 1)
    c.school.remove_user(who)
    assert polled(one.read(Roles(listed))).gone == []
    assert one.proof.records[Scope.ONE] == 0
