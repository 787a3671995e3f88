"""A poll that was cut off goes on where it was: by kill -9 in a real process, or because nobody answered any more."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.cli.clock import SystemClock
from monitor.domain.reading import Outcome
from monitor.simulator import School, SchoolServer
from monitor.store.frames import HEAD
from tests.peers.watch import CONFIG, VirtualClock, Watch, watched

USERS = 1300  # seven pages


def pages(server: SchoolServer, since: int = 0) -> list[int]:
    return [a.page for a in server.log[since:] if a.path == "/admin/api/v2/users"]


def paths(server: SchoolServer, since: int = 0) -> list[str]:
    return [a.path.removeprefix("/admin/api/v2/") for a in server.log[since:]]


def break_off(server: SchoolServer) -> None:
    """After the roles and some pages of users nobody answers any more."""
    server.faults.add("drop", "/v2/", after=7, times=None)


@pytest.mark.parametrize("first", [True, False], ids=["a first poll", "a later poll"])
def test_killed_in_the_middle_only_what_remains_is_asked_for(tmp_path: Path, first: bool) -> None:
    """The list of roles and the pages read are kept; the page read last is asked for again, to see that it fits."""
    now = SystemClock().now().timestamp
    school = School(users=USERS, now=now())
    with SchoolServer(school, clock=now, rate=None) as server:
        (tmp_path / "token").write_text(server.token)
        secret = f'token = {{ file = "{tmp_path / "token"}" }}'
        text = CONFIG.format(url=server.url, client_id=server.client_id, secret=secret, admin_limit=school.admins)
        watch = Watch(tmp_path, server, VirtualClock(), text)
        if not first:
            assert watch.command("poll").returncode == 0
        gone, new = school.holders("Course creator")[0], None
        school.remove_user(gone)
        new = school.add_user("late@school.example", "Late Comer", "Admin")
        # roles, their end, then accounts and the page's end for each page that shows something new
        step = "poll#10" if first else "poll#8"
        since = len(server.log)
        killed = watch.command("poll", env={"ACCESS_MONITOR_KILL_AT": step})
        assert killed.returncode == -9, killed.stderr
        assert set(pages(server, since)) != set(range(1, 8)) or len(pages(server, since)) < 9
        assert [p for p in tmp_path.glob(".trail-*") if p.stat().st_mode & 0o777 == 0o600]
        since = len(server.log)
        done = watch.command("poll")
        assert done.returncode == 0, done.stderr
        again = sorted(pages(server, since))
        assert again == list(range(again[0], 8))
        assert again[0] >= 3, "some pages were kept"
        assert "user-roles" not in paths(server, since)
        shown = watch.command("accounts", "--format", "json").stdout
        assert all(f'"{u["id"]}"' in shown for u in school.users())
        assert f'"{gone}"' not in shown
        assert f'"{new}"' in shown
        proof = watch.command("snapshots", "--proof", "1" if first else "2", "--format", "json").stdout
        assert f'"users": "from page {again[0]}"' in proof
        assert not list(tmp_path.glob(".trail-*"))


def test_a_network_that_broke_is_gone_on_with(tmp_path: Path) -> None:
    """The partial poll is recorded and told; the next one asks for the remaining pages and makes it whole."""
    with watched(tmp_path, users=USERS) as (school, server, watch):
        watch.poll()
        school.suspend(school.record(900)["id"])
        break_off(server)
        watch.clock.ahead(minutes=15)
        broken = watch.poll()
        assert broken.snapshot.outcome is Outcome.PARTIAL
        server.faults.clear()
        school.suspend(school.record(10)["id"])  # on the last page
        watch.clock.ahead(minutes=15)
        since = len(server.log)
        result = watch.poll()
        assert result.snapshot.outcome is Outcome.COMPLETE, result.snapshot.error
        again = sorted(pages(server, since))
        assert again == list(range(again[0], 8))
        assert again[0] >= 2
        assert result.snapshot.proof.resumed["users"] == f"from page {again[0]}"
        assert result.snapshot.proof.pages["users"] == 8, "those of both parts"
        watch.clock.ahead(minutes=15)
        after = watch.poll()
        assert (after.changes, after.snapshot.proof.resumed) == (0, {}), "nothing was missed, and it is over"


def test_it_is_begun_anew_when_it_is_too_old(tmp_path: Path) -> None:
    """resume_within, from the last page on."""
    with watched(tmp_path, users=USERS) as (_, server, watch):
        watch.poll()
        break_off(server)
        watch.poll()
        server.faults.clear()
        watch.clock.ahead(minutes=61)
        since = len(server.log)
        assert watch.poll().snapshot.outcome is Outcome.COMPLETE
        assert sorted(pages(server, since)) == list(range(1, 8))


@pytest.mark.parametrize("removed", [100, 150, 850])
def test_rows_that_moved_up_lose_nobody(tmp_path: Path, removed: int) -> None:
    """Users of the pages read are deleted meanwhile: those who slipped onto them are found by id, or by reading anew.

    A first poll knows nobody whom it could ask for.
    """
    with watched(tmp_path, users=USERS) as (school, server, watch):
        break_off(server)
        assert watch.poll().snapshot.outcome is Outcome.PARTIAL
        server.faults.clear()
        for index in school.listed(suspended=True)[:removed]:
            school.remove_user(school.record(index)["id"])
        watch.clock.ahead(minutes=15)
        result = watch.poll()
        anew = result.snapshot.proof.resumed["users"].startswith("begun anew")
        assert anew is (removed == 850)
        shown = watch.command("accounts", "--format", "json").stdout
        assert not [u["id"] for u in school.users() if f'"{u["id"]}"' not in shown]


def test_rows_that_moved_down_are_read_twice_and_lose_nobody(tmp_path: Path) -> None:
    """Somebody joined meanwhile: he is newer than the poll, and the next one shows him."""
    with watched(tmp_path, users=USERS) as (school, server, watch):
        break_off(server)
        watch.poll()
        server.faults.clear()
        before = [u["id"] for u in school.users()]
        for number in range(50):
            school.add_user(f"new{number}@school.example", "New Comer")
        watch.clock.ahead(minutes=15)
        result = watch.poll()
        assert result.snapshot.proof.resumed["users"].startswith("from page")
        shown = watch.command("accounts", "--format", "json").stdout
        assert not [who for who in before if f'"{who}"' not in shown]


@pytest.mark.parametrize("spoil", ["cut", "flip", "empty", "other settings"])
def test_what_cannot_be_trusted_is_not_taken(tmp_path: Path, spoil: str) -> None:
    """Half a frame, a changed byte, nothing at all, or read by other settings: as much as is whole, or none."""
    with watched(tmp_path, users=USERS) as (school, server, watch):
        watch.poll()
        break_off(server)
        watch.poll()
        server.faults.clear()
        [trail] = tmp_path.glob(".trail-*")
        body = bytearray(trail.read_bytes())
        if spoil == "flip":
            body[HEAD + 3] ^= 0xFF
        trail.write_bytes(body[: {"cut": -5, "empty": 0}.get(spoil, len(body))])
        if spoil == "other settings":
            config = watch.config.read_text().replace("admin_limit", 'fields = ["city"]\nadmin_limit')
            watch.config.write_text(config)
        watch.clock.ahead(minutes=15)
        result = watch.poll()
        assert result.snapshot.outcome is Outcome.COMPLETE
        assert bool(result.snapshot.proof.resumed) is (spoil == "cut")
        shown = watch.command("accounts", "--format", "json").stdout
        assert all(f'"{u["id"]}"' in shown for u in school.users())


def test_a_poll_that_reached_a_cap_is_not_gone_on_with(tmp_path: Path) -> None:
    """Else the cap would only divide what it is to stop."""
    capped = CONFIG.replace('rate = "5000/1s"', 'rate = "5000/1s"\ncaps.pages = 4')
    with watched(tmp_path, users=USERS, config=capped) as (_, server, watch):
        watch.poll()
        since = len(server.log)
        watch.clock.ahead(minutes=15)
        assert watch.poll().snapshot.proof.resumed == {}
        assert 1 in pages(server, since)
