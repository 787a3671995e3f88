"""Rules about single grants, from end to end: each is found, proved over, and not judged on what was not read."""

from __future__ import annotations

from pathlib import Path

from monitor.simulator import SMALLEST
from tests.peers.watch import Watch, watched

RULE = """\
id = "{id}"
title = "{{account.email}} has {{grant.title}} since {{grant.since_days}} days"
severity = "low"
owner = "it@example.com"
for_each = "grant"
description = "A grant."
runbook = "1. Ask."
match = [{match}]
"""


def rules(watch: Watch, **matches: str) -> None:
    folder = watch.folder / "rules"
    folder.mkdir()
    for name, match in matches.items():
        (folder / f"{name}.toml").write_text(RULE.format(id=name, match=match), encoding="utf-8")


def test_grants_are_found_one_by_one_and_proved_over(tmp_path: Path) -> None:
    """A suspended manager of a group, a member, a role: the finding ends as the grant or the account does."""
    with watched(tmp_path, users=SMALLEST) as (school, _, watch):
        suspended = "'account.status == \"suspended\"'"
        rules(watch, manages=f"'grant.kind == \"manager\"', {suspended}",
              belongs=f"'grant.kind == \"member\"', {suspended}",
              roles="'grant.kind == \"role\"', 'grant.title == \"User group manager\"'",
              left="'grant.kind == \"member\"', 'size(account.past_groups) > 0'")  # fmt: skip
        watch.poll()
        managers = {school.get(who)["email"] for who in school.holders("User group manager")}
        assert {f["subject"]["email"] for f in watch.findings() if f["rule"] == "roles"} == managers
        assert not [f for f in watch.findings() if f["rule"] == "left"]
        who = next(m for m in sorted(managers) if school.managed_by(m))
        title = school.managed_by(who)[0]
        school.suspend(who)
        watch.clock.ahead(days=2)
        watch.poll()
        mine = [f for f in watch.findings() if f["subject"]["email"] == who and f["rule"] == "manages"]
        assert len(mine) == len(school.managed_by(who))
        assert f"{who} has {title} since 2 days" in {f["title"] for f in mine}
        assert {f["subject"]["kind"] for f in mine} == {"grant"}
        school.remove_managers(title)
        watch.clock.ahead(days=1)
        watch.poll()
        ended = [f for f in watch.findings("resolved") if f["rule"] == "manages"]
        assert (f"{who} has {title} since 2 days", "gone") in {(f["title"], f["resolution"]) for f in ended}
        member = next(f["subject"]["email"] for f in watch.findings() if f["rule"] == "belongs")
        before = len([f for f in watch.findings() if f["subject"]["email"] == member])
        school.remove_user(member)
        watch.clock.ahead(days=1)
        watch.poll()
        assert [f for f in watch.findings() if f["subject"]["email"] == member] == []
        gone = [f for f in watch.findings("resolved") if f["subject"]["email"] == member]
        assert (len(gone), {f["resolution"] for f in gone}) == (before, {"gone"})


def test_a_list_that_was_not_read_neither_accuses_nor_acquits(tmp_path: Path) -> None:
    """Memberships of a group whose members could not be read are not judged, and their findings stay."""
    with watched(tmp_path, users=SMALLEST) as (school, server, watch):
        rules(watch, belongs="'grant.kind == \"member\"', 'account.status == \"suspended\"'")
        watch.poll()
        opened = watch.open()
        assert opened
        group = next(iter(school.groups))
        server.faults.add("500", f"/user_groups/{group}/users", times=None)
        watch.clock.ahead(days=1)
        result = watch.poll()
        assert result.snapshot.outcome.value == "partial"
        assert watch.open() == opened
