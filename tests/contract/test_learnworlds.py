"""The simulated school and our reading of a school, both held against LearnWorlds' own description of its API.

The description stands outside this repository; without it these tests are skipped, and say so. ACCESS_MONITOR_CONTRACTS
names the folder that holds learnworlds-openapi.yaml.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml
from jsonschema import Draft202012Validator

from monitor.domain.observed import GrantKind, Role
from monitor.simulator import School, SchoolServer
from monitor.sources import learnworlds_records as records
from monitor.sources.learnworlds_events import ACTIVITIES
from tests.peers.watch import START

FOLDER = Path(os.environ.get("ACCESS_MONITOR_CONTRACTS", Path(__file__).parents[3] / "shared" / "contracts"))
FILE = FOLDER / "learnworlds-openapi.yaml"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason=f"skipped: LearnWorlds' API description is not at {FILE}")


@pytest.fixture(scope="module")
def description() -> dict[str, Any]:
    found = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


@pytest.fixture(scope="module")
def school() -> Iterator[tuple[School, httpx.Client]]:
    made = School(users=450, now=START.timestamp())
    with SchoolServer(made, clock=START.timestamp, rate=None) as server:
        headers = {"Lw-Client": server.client_id, "Authorization": f"Bearer {server.token}"}
        with httpx.Client(base_url=server.url + "/admin/api", headers=headers) as client:
            yield made, client


def _faults(description: dict[str, Any], path: str, status: str, answer: Any) -> list[str]:
    """What does not fit the documented answer to GET `path`."""
    schema = description["paths"][path]["get"]["responses"][status]["content"]["application/json"]["schema"]
    whole = {"components": description["components"], **schema}
    found = Draft202012Validator(whole).iter_errors(answer)
    return [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in found]


def test_every_answer_fits_the_description(description: dict[str, Any], school: tuple[School, httpx.Client]) -> None:
    """Users, one user, roles, groups, members, and the details of every role that somebody holds."""
    made, client = school
    made.do(made.holders("Admin")[0], "login", START.timestamp() - 60)
    holders = [made.holders(str(r["title"]))[0] for r in made.roles if made.holders(str(r["title"]))]
    group, seats = next(iter(made.groups)), next(iter(made.seats))
    asked = [
        ("/v2/users", "/v2/users?include_suspended=true&items_per_page=200&page=2"),
        ("/v2/user-roles", "/v2/user-roles"),
        ("/v2/user_groups", "/v2/user_groups"),
        ("/v2/user_groups/{id}", f"/v2/user_groups/{group}"),
        ("/v2/user_groups/{id}/users", f"/v2/user_groups/{group}/users"),
        ("/v2/event-logs", "/v2/event-logs?activity=login&sort=asc"),
        ("/v2/seats", "/v2/seats"),
        ("/v2/seats/{id}", f"/v2/seats/{seats}"),
        ("/v2/seats/{id}/users", f"/v2/seats/{seats}/users"),
        *(("/v2/users/{id}", f"/v2/users/{who}?include_suspended=true") for who in holders),
        *(("/v2/users/{id}/user-role", f"/v2/users/{who}/user-role") for who in holders),
    ]
    for path, url in asked:
        answer = client.get(url)
        assert answer.status_code == 200
        assert _faults(description, path, "200", answer.json()) == [], url


def test_the_check_can_fail(description: dict[str, Any]) -> None:
    """A user whose flag is a text is found."""
    wrong = {"data": [{"id": 7, "is_admin": "yes"}], "meta": {"page": 1}}
    assert len(_faults(description, "/v2/users", "200", wrong)) >= 2


def test_a_page_past_the_end_is_the_last_one_again(school: tuple[School, httpx.Client]) -> None:
    """As the description says of every list."""
    _, client = school
    last, past = (client.get("/v2/users", params={"page": n, "items_per_page": 200}).json() for n in (3, 9))
    assert last == past
    assert last["meta"]["totalPages"] == 3


def test_suspended_users_are_hidden_unless_asked_for(school: tuple[School, httpx.Client]) -> None:
    """In the list, and by id."""
    made, client = school
    who = made.case("suspended")
    shown = client.get("/v2/users", params={"items_per_page": 200, "include_suspended": "true"}).json()["meta"]
    hidden = client.get("/v2/users", params={"items_per_page": 200}).json()["meta"]
    assert shown["totalItems"] > hidden["totalItems"]
    assert client.get(f"/v2/users/{who}").status_code == 404
    assert client.get(f"/v2/users/{who}", params={"include_suspended": "true"}).status_code == 200


@pytest.mark.parametrize("body", ["form data", "json", "fields"])
def test_the_token_call_takes_what_clients_send(body: str) -> None:
    """Three encodings are in use; without Lw-Client none of them works."""
    with SchoolServer(School(users=1), clock=START.timestamp) as server:
        asked = {"client_id": server.client_id, "client_secret": server.client_secret,
                 "grant_type": "client_credentials"}  # fmt: skip
        how: dict[str, Any] = {
            "form data": {"data": {"data": msgspec.json.encode(asked).decode()}},
            "json": {"json": asked},
            "fields": {"data": asked},
        }[body]
        url = server.url + "/admin/api/oauth2/access_token"
        good = httpx.post(url, headers={"Lw-Client": server.client_id}, **how)
        assert good.status_code == 200
        assert good.json()["tokenData"]["access_token"]
        assert httpx.post(url, **how).status_code == 400


def _samples(node: Any, wanted: str) -> Iterator[dict[str, Any]]:
    """Sample records anywhere in the description that have such a key."""
    if isinstance(node, dict):
        if isinstance(node.get("id"), str) and wanted in node and not isinstance(node[wanted], dict):
            yield node
        for value in node.values():
            yield from _samples(value, wanted)
    elif isinstance(node, list):
        for value in node:
            yield from _samples(value, wanted)


def test_every_sample_of_a_user_is_understood(description: dict[str, Any]) -> None:
    """Also where the samples differ from the schema: keys missing, numbers whole, lists for empty objects."""
    found = list(_samples(description, "is_admin"))
    assert len(found) >= 5
    for sample in found:
        user = records.decode_user(msgspec.json.encode(sample))
        account = records.account_of(user, {})
        assert account.id == sample["id"]
        assert account.is_admin is sample["is_admin"]
        assert (account.status is None) == ("is_suspended" not in sample)
        activity = records.activity_of(user)
        assert (activity.never_signed_in is None) == ("last_login" not in sample)


def test_every_sample_of_a_role_is_understood(description: dict[str, Any]) -> None:
    """Predefined and custom ones."""
    found = list(_samples(description, "access_level"))
    assert found
    roles = [records.role_of(records.decode_role(msgspec.json.encode(s))) for s in found]
    assert all(isinstance(r, Role) and r.access_level for r in roles)


def test_every_sample_of_a_group_is_understood(description: dict[str, Any]) -> None:
    """With and without managers."""
    found = [s for s in _samples(description, "enroll_users_on_courses") if "title" in s]
    assert found
    for sample in found:
        record = records.decode_group(msgspec.json.encode(sample))
        assert records.group_of(record).title == sample["title"]
        assert all(g.kind == GrantKind.MANAGER for g in records.managers_of(record))


def test_every_sample_of_a_seat_offering_is_understood(description: dict[str, Any]) -> None:
    """What was bought is in each of them; how many seats are left only in the schema."""
    schema = description["components"]["schemas"]["SeatResponse"]
    found = [*schema["x-examples"].values(), *schema["examples"]]
    assert len(found) == 2
    for sample in found:
        seats, managers = records.seats_of(records.decode_seats(msgspec.json.encode(sample)))
        assert (seats.id, seats.purchased) == (sample["id"], sample["number_of_seats"])
        assert [g.account_id for g in managers] == [m["id"] for m in sample["seat_managers"]]
        assert all(g.kind == GrantKind.SEAT_MANAGER for g in managers)
    assert "available_seats" in schema["properties"]


def test_every_sample_of_an_event_is_understood(description: dict[str, Any]) -> None:
    """And what is asked for is something that the API knows."""
    schema = description["components"]["schemas"]["EventLog"]
    assert schema["examples"]
    for sample in schema["examples"]:
        event = records.decode_event(msgspec.json.encode(sample))
        assert (event.user.id, event.created) == (sample["user"]["id"], sample["created"])
    assert set(ACTIVITIES) <= set(schema["properties"]["activity"]["enum"])


def test_every_sample_of_a_role_detail_is_understood(description: dict[str, Any]) -> None:
    """Whatever it names is a grant."""
    schema = description["components"]["schemas"]["UserRoleUserResponse"]
    found = [*schema.get("x-examples", {}).values(), *schema.get("examples", ())]
    assert found
    for sample in found:
        grants = records.assigned_of("somebody", records.decode_detail(msgspec.json.encode(sample)))
        assert f"role:{sample['role_id']}" in {g.entitlement_id for g in grants}
        assert len(grants) > len(sample.get("assigned_courses") or ())
