"""The fast lane, and parts with an interval of their own: what is seen sooner, what is left alone until it is due."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from monitor.cycle import CycleResult
from monitor.domain.reading import Lane, Outcome
from monitor.errors import SourceError, StoreError
from monitor.simulator import School, SchoolServer
from monitor.sources.learnworlds_lane import FILTERS, LEVELS
from tests.peers.watch import CONFIG, Watch, watched

LANES = CONFIG.replace('rate = "5000/1s"', 'rate = "5000/1s"\nfast_every = "3m"')
SLOW = CONFIG.replace('rate = "5000/1s"', 'rate = "5000/1s"\nmembers_every = "6h"\nrole_details_every = "12h"')


def fast(watch: Watch, minutes: int = 3) -> CycleResult:
    watch.clock.ahead(minutes=minutes)
    return watch.poll(Lane.FAST)


def asked(server: SchoolServer, since: int) -> list[str]:
    return [a.path.removeprefix("/admin/api/v2/") for a in server.log[since:]]


def told(watch: Watch) -> list[tuple[str, str]]:
    return [(m["reason"], m["title"]) for m in watch.messages()]


def proof(watch: Watch, snapshot: int) -> dict[str, Any]:
    shown = watch.command("snapshots", "--proof", str(snapshot), "--format", "json")
    [found] = json.loads(shown.stdout)
    assert isinstance(found, dict)
    return found


def test_a_fast_lane_without_news_costs_five_requests_and_says_nothing(tmp_path: Path) -> None:
    """One for each filter; whom none of them names (a seat manager, a flag beside a low level) is asked for singly."""
    with watched(tmp_path, users=450, config=LANES) as (school, server, watch):
        watch.poll()
        before, messages, since = watch.counts(), told(watch), len(server.log)
        result = fast(watch)
        assert (result.snapshot.outcome, result.changes, result.events) == (Outcome.COMPLETE, 0, ())
        shown = [u for u in school.users() if not u["is_suspended"] and u["role"]["level"] not in LEVELS]
        others = [u for u in shown if u["role"]["level"] == "seat_manager" or u["is_admin"]]
        assert result.snapshot.proof.confirmed == len(others) > 0
        assert len(server.log) - since == len(FILTERS) + len(others)
        after = watch.counts()
        grown = {t: after[t] - before[t] for t in after if after[t] != before[t]}
        assert grown == {"snapshots": 1, "ledger": 1, "scopes": 1}
        fast(watch)
        assert watch.counts()["scopes"] == after["scopes"]
        assert told(watch) == messages


def test_it_waits_for_the_first_whole_poll(tmp_path: Path) -> None:
    """Before that there is nothing to compare with."""
    waits = pytest.raises(StoreError, match="waits for the first whole poll")
    with watched(tmp_path, config=LANES) as (_, _server, watch), waits:
        watch.poll(Lane.FAST)


def test_a_source_without_one_says_how_to_have_one(tmp_path: Path) -> None:
    """The command names the setting."""
    with watched(tmp_path) as (_, _server, watch):
        watch.poll()
        with pytest.raises(SourceError, match="fast_every"):
            watch.poll(Lane.FAST)
        refused = watch.command("poll", "--fast", "--source", "school")
        assert (refused.returncode, "fast_every" in refused.stderr) == (1, True), refused.stderr
        assert watch.command("poll", "--fast").returncode == 0, "nobody has one: nothing to do"


def test_what_became_of_privileged_accounts_is_told_within_minutes(tmp_path: Path) -> None:
    """A new admin, a suspended one, and one who was moved to User and kept the flag."""
    with watched(tmp_path, users=450, config=LANES) as (school, _, watch):
        watch.poll()
        admins = [u["id"] for u in school.users() if u["role"]["level"] == "admin" and not u["is_suspended"]]
        admins = [who for who in admins if who not in {subject for _, subject in watch.open()}]
        school.suspend(admins[1])
        school.change_role(admins[2], "User", keep_admin_flag=True)
        new = school.add_user("grace@school.example", "Grace New", "Admin")
        result = fast(watch)
        assert result.snapshot.outcome is Outcome.COMPLETE
        assert {
            ("suspended-still-privileged", admins[1]),
            ("admin-kept-after-role-change", admins[2]),
            ("new-privileged-account", new),
        } <= watch.open()
        moved = watch.drift(result.snapshot_id)
        assert (admins[1], "status", '"active"', '"suspended"') in moved
        assert (new, None, "null", '{"level": "admin", "privileged": true, "status": "active"}') in moved
        watch.clock.ahead(minutes=3)
        full = watch.poll()
        news = {d[1] for d in watch.drift(full.snapshot_id)}
        assert news <= {"assigned"}, "the full poll finds nothing new but the new admin's exact role"
        assert not [e for e in full.events if e.kind.value == "opened"]


def test_a_finding_closes_when_the_lane_saw_its_end(tmp_path: Path) -> None:
    """Who lost the privilege is shown by no filter, is asked for, and is done."""
    with watched(tmp_path, users=450, config=LANES) as (school, _, watch):
        who = school.holders("Admin")[0]
        watch.poll()
        school.change_role(who, "User", keep_admin_flag=True)
        fast(watch)
        assert ("admin-kept-after-role-change", who) in watch.open()
        school.set(who, is_admin=False)
        result = fast(watch)
        assert (who, "privileged", "true", "false") in watch.drift(result.snapshot_id)
        assert ("admin-kept-after-role-change", who) not in watch.open()
        [closed] = [f for f in watch.findings("resolved") if f["subject"]["id"] == who]
        assert (closed["resolution"], closed["snapshot"]) == ("fixed", 2)


def test_it_removes_nobody(tmp_path: Path) -> None:
    """A deleted admin is a 404 in the lane, and gone with the next full poll."""
    with watched(tmp_path, users=450, config=LANES) as (school, _, watch):
        who = school.holders("Admin")[0]
        watch.poll()
        school.remove_user(who)
        result = fast(watch)
        assert (result.snapshot.outcome, result.changes) == (Outcome.COMPLETE, 0)
        watch.clock.ahead(minutes=3)
        full = watch.poll()
        assert (who, None) in {(d[0], d[1]) for d in watch.drift(full.snapshot_id)}


def test_rules_that_need_more_are_left_alone(tmp_path: Path) -> None:
    """What a group, a role or the whole school is asked keeps its verdict: the lane did not look."""
    with watched(tmp_path, users=450, config=LANES) as (_, _server, watch):
        watch.poll()
        before = {(f["fingerprint"], f["verdict"]) for f in watch.findings()}
        assert {"suspended-still-in-groups", "group-without-manager"} & {f["rule"] for f in watch.findings()}
        fast(watch)
        assert {(f["fingerprint"], f["verdict"]) for f in watch.findings()} == before


@pytest.mark.parametrize("way", ["500", "forbidden", "success-false", "wrong-type"])
def test_a_broken_lane_is_told_as_what_it_is(tmp_path: Path, way: Any) -> None:
    """Once that it broke, once that it is whole again, and the full poll's outcome is its own."""
    with watched(tmp_path, users=450, config=LANES) as (school, server, watch):
        watch.poll()
        school.set(school.holders("Admin")[0], first_name="Moved")  # a record that is not known is decoded
        open_before = watch.open()
        server.faults.add(way, "/v2/users", times=None)
        broken = fast(watch)
        assert broken.snapshot.outcome in (Outcome.PARTIAL, Outcome.FAILED)
        assert watch.open() == open_before
        server.faults.clear()
        assert fast(watch).snapshot.outcome is Outcome.COMPLETE
        watch.clock.ahead(minutes=1)
        assert watch.poll().snapshot.outcome is Outcome.COMPLETE
        operations = [title for reason, title in told(watch) if reason == "operations"]
        assert len(operations) == 2
        assert operations[0].startswith("the fast lane of school could not be read")
        assert operations[1] == "the fast lane of school can be read whole again"


def test_a_filter_that_is_not_honoured_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the lane would read the whole school every three minutes."""
    with watched(tmp_path, users=450, config=LANES) as (_, server, watch):
        watch.poll()
        monkeypatch.setattr(School, "filtered", lambda _self, numbers, _role, _status: numbers)
        since = len(server.log)
        result = fast(watch)
        assert result.snapshot.outcome is Outcome.PARTIAL
        assert "not honoured" in (result.snapshot.error or "")
        assert len(server.log) - since <= 5


def test_more_vanished_than_can_be_asked_for_is_partial(tmp_path: Path) -> None:
    """The budget is confirm_limit, and those come first whom a filter showed before."""
    few = LANES.replace('fast_every = "3m"', 'fast_every = "3m"\nconfirm_limit = 1')
    with watched(tmp_path, users=450, config=few) as (school, _, watch):
        watch.poll()
        left = fast(watch)
        assert left.snapshot.outcome is Outcome.COMPLETE
        assert left.snapshot.proof.totals["left to the full poll"] > 0
        for who in [u["id"] for u in school.users() if u["role"]["level"] == "instructor"][:2]:
            school.change_role(who, "User")
        result = fast(watch)
        assert result.snapshot.outcome is Outcome.PARTIAL
        assert "2 accounts left the filters, 1 could be asked for" in (result.snapshot.error or "")
        assert result.changes > 0, "the one that was asked for is seen"


def test_a_role_that_is_new_to_us_is_read_again_by_the_full_poll(tmp_path: Path) -> None:
    """The lane knows the roles of the last full poll only."""
    with watched(tmp_path, users=450, config=LANES) as (school, _, watch):
        watch.poll()
        school.roles.append(
            {"id": "new-role", "title": "Auditor", "description": "", "access_level": "admin", "custom_role": True}
        )
        who = school.holders("Admin")[0]
        school.change_role(who, "Auditor")
        fast(watch)
        watch.clock.ahead(minutes=3)
        full = watch.poll()
        assert (who, "role_id", "null", '"new-role"') in watch.drift(full.snapshot_id)


# parts with an interval of their own


def test_members_are_read_when_they_are_due(tmp_path: Path) -> None:
    """Not before, and then again; the proof of each snapshot tells."""
    with watched(tmp_path, users=450, config=SLOW) as (_, server, watch):
        watch.poll()
        for minutes, read in ((15, False), (180, False), (180, True), (15, False)):
            watch.clock.ahead(minutes=minutes)
            since = len(server.log)
            assert watch.poll().snapshot.outcome is Outcome.COMPLETE
            assert any("user_groups/" in path for path in asked(server, since)) is read
            assert not any(path.endswith("user-role") for path in asked(server, since))


def test_what_is_not_due_stays_as_it_was_and_is_not_unknown(tmp_path: Path) -> None:
    """Findings about groups stay open with their verdict; a new one is judged on the groups as they were read."""
    with watched(tmp_path, users=450, config=SLOW) as (school, _, watch):
        watch.poll()
        findings = {
            f["fingerprint"]: f["verdict"] for f in watch.findings() if f["rule"] == "suspended-still-in-groups"
        }
        assert set(findings.values()) == {"finding"}
        title = next(g["title"] for g in school.groups.values() if school.members[g["id"]])
        member = next(
            school.record(i)["id"] for i in school.members[school.group(title)["id"]]
            if not school.record(i)["is_suspended"]
        )  # fmt: skip
        stranger = school.holders("Admin")[0]
        school.add_member(title, stranger)
        school.suspend(member)
        watch.clock.ahead(minutes=15)
        result = watch.poll()
        assert ("suspended-still-in-groups", member) in watch.open()
        assert findings.items() <= {f["fingerprint"]: f["verdict"] for f in watch.findings()}.items()
        assert not any(d[1] == "groups" for d in watch.drift(result.snapshot_id)), "nobody looked"
        watch.clock.ahead(hours=6)
        late = watch.poll()
        assert (stranger, "groups", "null", f'"{title}"') in watch.drift(late.snapshot_id)


def test_nothing_closes_by_a_part_that_was_not_read(tmp_path: Path) -> None:
    """Who left all groups is out of the finding once the members are read; who came back from suspension, at once."""
    with watched(tmp_path, users=450, config=SLOW) as (school, _, watch):
        watch.poll()
        [first, second] = (school.case(c) for c in ("suspended-still-in-groups", "suspended-still-group-manager"))
        school.add_member("Cohort 1", second)
        watch.clock.ahead(hours=7)
        watch.poll()
        for title in school.groups_of(first):
            school.remove_member(title, first)
        school.unsuspend(second)
        watch.clock.ahead(minutes=15)
        watch.poll()
        assert ("suspended-still-in-groups", first) in watch.open()
        assert ("suspended-still-in-groups", second) not in watch.open()
        watch.clock.ahead(hours=6)
        watch.poll()
        assert ("suspended-still-in-groups", first) not in watch.open()


def test_a_new_group_and_one_that_broke_off_are_read_although_not_due(tmp_path: Path) -> None:
    """Else what was never read, or not whole, would be unknown until the interval ends."""
    with watched(tmp_path, users=450, config=SLOW) as (school, server, watch):
        broken, *_ = school.groups
        server.faults.add("forbidden", f"/v2/user_groups/{broken}/users", times=None)
        watch.poll()
        server.faults.clear()
        title = school.groups[broken]["title"]
        new = dict(school.groups[broken], id="new-group", title="Another")
        school.groups["new-group"], school.members["new-group"] = new, school.members[broken][:1]
        watch.clock.ahead(minutes=15)
        since = len(server.log)
        assert watch.poll().snapshot.outcome is Outcome.COMPLETE
        read = [p for p in asked(server, since) if p.startswith("user_groups/")]
        assert sorted(set(read)) == sorted([f"user_groups/{broken}/users", "user_groups/new-group/users"]), title
        watch.clock.ahead(minutes=15)
        since = len(server.log)
        watch.poll()
        assert not [p for p in asked(server, since) if p.startswith("user_groups/")]


def test_a_group_that_is_gone_takes_its_members_along(tmp_path: Path) -> None:
    """The list of groups proves it, whatever the interval of the members is."""
    with watched(tmp_path, users=450, config=SLOW) as (school, _, watch):
        watch.poll()
        gone = next(iter(school.groups))
        del school.groups[gone], school.members[gone]
        watch.clock.ahead(minutes=15)
        watch.poll()
        shown = json.loads(watch.command("accounts", "--format", "json").stdout)
        assert not [a for a in shown if "Cohort 1" in a["groups"]]


def test_a_rule_may_ask_how_old_the_groups_are(tmp_path: Path) -> None:
    """account.groups_as_of is the poll that read them."""
    shipped = Path(__file__).parents[2] / "rules" / "deprovisioning"
    rule = (shipped / "suspended-still-in-groups.toml").read_text(encoding="utf-8")
    folder = tmp_path / "rules"
    folder.mkdir()
    text = rule.replace("suspended-still-in-groups", "old-groups").split("[[tests]]")[0]
    head, _, tail = text.partition("match = [")
    tail = tail.partition("]\n")[2]
    clause = "match = ['account.status == \"suspended\"', 'now - account.groups_as_of > duration(\"10m\")']\n"
    (folder / "old-groups.toml").write_text(head + clause + tail, encoding="utf-8")
    with watched(tmp_path, users=450, config=SLOW) as (_, _server, watch):
        watch.poll()
        assert not watch.open()
        watch.clock.ahead(minutes=15)
        watch.poll()
        assert {rule for rule, _ in watch.open()} == {"old-groups"}
