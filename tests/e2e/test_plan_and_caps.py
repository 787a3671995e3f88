"""What a poll will cost is said before it starts; what it may take at the most ends it as partial."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.plan import Cost, expected, too_slow
from monitor.domain.reading import Lane, Outcome, Sizes
from monitor.sources.learnworlds_cost import requests
from tests.peers.watch import CONFIG, watched

PLANNED = CONFIG.replace('rate = "5000/1s"', 'rate = "5000/1s"\nfast_every = "3m"\nmembers_every = "6h"')


def test_the_plan_is_what_the_next_poll_asks_for(tmp_path: Path) -> None:
    """By what is recorded and what earlier polls asked for; a part that is not due is shown and not counted."""
    with watched(tmp_path, users=450, config=PLANNED) as (_, server, watch):
        before = json.loads(watch.command("plan", "--format", "json").stdout)
        assert {r["scope"]: r["requests"] for r in before if r["lane"] == "full"}["roles"] == 1, "of nothing, the least"
        assert not server.log, "nobody is asked"
        assert watch.command("poll").returncode == 0
        asked = len(server.log)
        plan = json.loads(watch.command("plan", "--format", "json", "--source", "school").stdout)
        full = {r["scope"]: r for r in plan if r["lane"] == "full"}
        assert sum(r["requests"] for scope, r in full.items() if scope != "all that is due") == asked
        assert (full["members"]["due"], full["users"]["due"]) == (False, True)
        assert full["all that is due"]["requests"] == asked - full["members"]["requests"]
        assert full["users"]["every_minutes"] == 15
        since = len(server.log)
        done = watch.command("poll")
        assert len(server.log) - since == full["all that is due"]["requests"]
        assert f"requests={full['all that is due']['requests']}" in done.stderr, "and the log says so when it begins"
        fast = next(r["requests"] for r in plan if r["lane"] == "fast")
        since = len(server.log)
        watch.command("poll", "--fast")
        assert len(server.log) - since == fast


def test_check_warns_of_polls_that_cannot_keep_their_interval(tmp_path: Path) -> None:
    """It is no fault, and nothing fails: but somebody should know."""
    tight = CONFIG.replace('rate = "5000/1s"', 'rate = "5/1s"\nevery = "4s"')
    with watched(tmp_path, users=450, config=tight) as (_, _server, watch):
        watch.poll()
        checked = watch.command("check", "--format", "json")
        [row] = [r for r in json.loads(checked.stdout) if r["what"] == "source school"]
        assert (row["ok"], "warning: a poll takes about" in row["detail"]) == (True, True)


COSTS = st.builds(
    Cost, st.just("s"), st.sampled_from(list(Lane)), st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**6)),
    st.frozensets(st.sampled_from("abc")), st.floats(0.1, 100), st.floats(1, 1e5),
)  # fmt: skip


@given(st.lists(COSTS, min_size=1, max_size=3))
def test_a_plan_that_is_not_too_slow_fits(costs: list[Cost]) -> None:
    """Each poll within its interval, and all together within the rate."""
    fits = all(c.seconds(c.worst) <= c.every for c in costs) and sum(c.seconds(c.worst) / c.every for c in costs) <= 1
    assert (too_slow(costs) is None) is fits


@given(st.integers(0, 10**6), st.lists(st.integers(0, 500), max_size=20), st.integers(0, 1000))
def test_the_cost_grows_with_the_school(accounts: int, groups: list[int], privileged: int) -> None:
    """Never less than one request for a list, and one for each privileged account."""
    cost = requests(
        Sizes(accounts, privileged, groups=tuple(groups)), Lane.FULL, members=True, details=True, confirm_limit=200
    )
    assert cost["users"] * 200 >= accounts
    assert cost["members"] >= len(groups)
    assert cost["members"] * 20 >= sum(groups)
    assert cost["role_details"] == privileged
    assert expected(cost, {"users": 7})["users"] == 7


# caps


@pytest.mark.parametrize(
    ("cap", "scope"),
    [("pages = 3", "users"), ("records = 300", "users"), ("megabytes = 1", "members"), ('time = "1s"', "users")],
)
def test_a_cap_ends_the_scope_as_partial(tmp_path: Path, cap: str, scope: str) -> None:
    """It says which cap it was; nothing more is asked for, nobody is gone, and a later poll is whole."""
    name = cap.partition(" ")[0]
    slow = "2/1s" if name == "time" else "5000/1s"
    capped = CONFIG.replace('rate = "5000/1s"', f'rate = "{slow}"\ncaps.{cap}')
    with watched(tmp_path, users=900, config=CONFIG) as (school, server, watch):
        watch.poll()
        accounts = watch.counts()["accounts"]
        config = watch.config.read_text()
        watch.config.write_text(capped.format(
            url=server.url, client_id=server.client_id, secret='token = { env = "LW_TOKEN" }', admin_limit=school.admins
        ))  # fmt: skip
        watch.clock.ahead(minutes=15)
        result = watch.poll()
        assert result.snapshot.outcome is Outcome.PARTIAL
        assert f"caps.{name}: one poll may take" in (result.snapshot.error or "")
        by_name = {s.name.partition("/")[0]: s.outcome for s in result.snapshot.scopes if s.outcome is Outcome.PARTIAL}
        assert by_name == {scope: Outcome.PARTIAL}
        assert (result.changes, watch.counts()["accounts"]) == (0, accounts)
        watch.config.write_text(config)
        watch.clock.ahead(minutes=15)
        assert watch.poll().snapshot.outcome is Outcome.COMPLETE
