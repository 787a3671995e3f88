"""Silences on a watched school: what is not said, what stays counted, who is warned, and what is told at the end."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor import wiring
from monitor.cli import clock as cli_clock
from monitor.cli.app import Exit, main
from monitor.config import load
from monitor.dispatch import deliver_waiting
from monitor.domain.matcher import Matcher
from monitor.domain.silence import Silence
from monitor.line import quiet
from monitor.line.parts import Parts
from monitor.simulator import School
from monitor.store.engine import writing
from tests.peers.watch import Watch, watched

Cli = Callable[..., tuple[int, str, str]]
RULE = "suspended-*"
HOUR = timedelta(hours=1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[tuple[School, Watch]]:
    """A school that has been looked at once."""
    with watched(tmp_path, users=60) as (school, _server, watch):
        watch.poll()
        yield school, watch


def parts_of(watch: Watch) -> Parts:
    return wiring.parts(load(watch.config), watch.clock, stream=io.StringIO())


def silence(watch: Watch, hours: float = 4, **named: tuple[str, ...]) -> int:
    """Adds one from now on; returns how many findings it moved."""
    parts, now = parts_of(watch), watch.clock.now()
    matcher = Matcher(**(named or {"rule": (RULE,)}))
    with writing(parts.engine) as connection:
        wanted = Silence(matcher, "ann@example.com", "offboarding day", now, now + hours * HOUR)
        _, moved = quiet.silence(connection, parts, wanted, now)
    parts.engine.dispose()
    return moved


def tick(watch: Watch, times: int = 1) -> None:
    """As the daemon does, and two processes."""
    first, second = parts_of(watch), parts_of(watch)
    for _ in range(times):
        for parts in (first, second):
            quiet.tick(parts)
            deliver_waiting(parts)
    first.engine.dispose()
    second.engine.dispose()


def suspended_privileged(school: School) -> str:
    """A new finding of suspended-still-privileged; returns the id of its account."""
    who = next(privileged(school))
    school.suspend(who)
    return who


def privileged(school: School) -> Iterator[str]:
    return (str(u["id"]) for u in school.users() if u["role"]["level"] != "user" and not u["is_suspended"])


def said(watch: Watch) -> Counter[str]:
    return Counter(m["reason"] for m in watch.messages())


def about(watch: Watch, subject: str) -> list[str]:
    """The reasons of messages about findings of this subject that are silenced here, in order."""
    told = ((m["reason"], m["content"].get("finding")) for m in watch.messages())
    return [why for why, f in told if f and f["subject"]["id"] == subject and f["rule"].startswith("suspended-")]


def open_of(watch: Watch, subject: str) -> list[dict[str, Any]]:
    return [f for f in watch.findings() if f["subject"]["id"] == subject and f["rule"].startswith("suspended-")]


def test_what_opens_in_silence_is_counted_and_not_told(world: tuple[School, Watch]) -> None:
    """And told once when the silence ends, whoever looks and however often."""
    school, watch = world
    silence(watch)
    who = suspended_privileged(school)
    watch.poll()
    mine = open_of(watch, who)
    assert mine
    assert all(f["silenced_until"] == "2026-03-01T13:00:00Z" for f in mine)
    assert about(watch, who) == []
    watch.clock.ahead(hours=5)
    tick(watch, times=2)
    assert about(watch, who) == ["silence_ended"] * len(mine)
    assert all(f["silenced_until"] is None for f in watch.findings())


def test_what_was_told_before_is_muted_too(world: tuple[School, Watch]) -> None:
    """It is marked at once, its end is told all the same, and the silence's end then tells nothing of it."""
    school, watch = world
    who = suspended_privileged(school)
    watch.poll()
    number = len(about(watch, who))
    assert number
    assert silence(watch, subject=(who,)) >= number
    school.unsuspend(who)
    watch.poll()
    watch.clock.ahead(hours=5)
    tick(watch)
    assert sorted(about(watch, who)) == ["opened"] * number + ["resolved"] * number


def test_what_comes_and_goes_in_silence_is_not_told_at_all(world: tuple[School, Watch]) -> None:
    """An end without a beginning would only be noise."""
    school, watch = world
    silence(watch)
    who = suspended_privileged(school)
    watch.poll()
    school.unsuspend(who)
    watch.poll()
    watch.clock.ahead(hours=5)
    tick(watch)
    assert about(watch, who) == []


def test_the_author_is_warned_once_before_the_end(world: tuple[School, Watch]) -> None:
    """At three quarters of a short silence, and an hour before the end of a long one."""
    _school, watch = world
    silence(watch, hours=8)
    watch.clock.ahead(hours=6.9)
    tick(watch)
    assert said(watch)["silence_ending"] == 0
    watch.clock.ahead(hours=0.2)
    tick(watch, times=2)
    assert said(watch)["silence_ending"] == 1
    (warning,) = [m for m in watch.messages() if m["reason"] == "silence_ending"]
    assert warning["title"] == "A silence of ann@example.com ends on 2026-03-01 at 17:00 UTC"
    assert "rule suspended-*" in warning["content"]["detail"][0]


def test_a_poll_ends_a_silence_as_well(world: tuple[School, Watch]) -> None:
    """Without a daemon, `poll` is what looks at the clock."""
    school, watch = world
    silence(watch)
    who = suspended_privileged(school)
    watch.poll()
    watch.clock.ahead(hours=5)
    watch.poll()
    tick(watch)
    assert set(about(watch, who)) == {"silence_ended"}
    assert about(watch, who) == ["silence_ended"] * len(open_of(watch, who))


def test_many_are_told_as_one_when_a_silence_ends(world: tuple[School, Watch]) -> None:
    """The cap of a storm holds there, too."""
    school, watch = world
    silence(watch)
    for who in list(privileged(school))[:3]:
        school.suspend(who)
    watch.config.write_text("storm_limit = 2\n" + watch.config.read_text())
    watch.poll()
    watch.clock.ahead(hours=5)
    tick(watch)
    titles = [m["title"] for m in watch.messages() if m["reason"] == "storm"]
    assert any(
        t.startswith("3 findings of suspended-still-privileged") and "no longer silenced at once" in t for t in titles
    ), titles


def test_the_ledger_tells_it(world: tuple[School, Watch]) -> None:
    """Who, why, until when; and what it muted."""
    school, watch = world
    silence(watch)
    suspended_privileged(school)
    watch.poll()
    for hours in (3.5, 1):
        watch.clock.ahead(hours=hours)
        tick(watch)
    kinds = [r["kind"] for r in json.loads(watch.command("ledger", "--format", "json").stdout)]
    assert {"silence.added", "silence.warned", "silence.ended", "finding.silence_ended"} <= set(kinds)
    assert watch.command("ledger", "--verify").returncode == 0


# what an operator types


@pytest.fixture
def cli(world: tuple[School, Watch], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    _school, watch = world
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(cli_clock.SystemClock, "now", lambda _self: watch.clock.now())

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(watch.config), "silence", *args])
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return run


def rows(cli: Cli, *args: str) -> list[dict[str, Any]]:
    code, out, err = cli(*args, "--format", "json")
    assert code == 0, err
    found = json.loads(out)
    assert isinstance(found, list)
    return found


def test_preview_shows_what_would_be_muted_and_mutes_nothing(world: tuple[School, Watch], cli: Cli) -> None:
    """The same options as `add`, or the number of one that there is."""
    _school, watch = world
    shown = rows(cli, "preview", "--source", "school")
    assert {f["source"] for f in shown} == {"school"}
    assert all(f["silenced_until"] is None for f in watch.findings())
    assert cli("add", "--source", "school", "--for", "2h", "--reason", "r", "--by", "ann")[0] == 0
    assert {f["fingerprint"] for f in rows(cli, "preview", "1")} == {f["fingerprint"] for f in shown}
    assert cli("preview", "--rule", "orphan-*")[0] == 0


def test_a_silence_is_added_listed_and_ended(world: tuple[School, Watch], cli: Cli) -> None:
    """The listing says who, why, until when and how much it mutes; what ended is in it on request."""
    _school, watch = world
    number = len(rows(cli, "preview", "--source", "school"))
    code, out, _ = cli("add", "--source", "school", "--for", "2h", "--reason", "moving", "--by", "ann@example.com")
    assert (code, out) == (0, f"silence 1 until 2026-03-01 11:00 UTC mutes {number} open findings\n")
    (row,) = rows(cli, "list")
    assert row == {
        "id": 1, "state": "active", "mutes": number, "matcher": {"source": ["school"]}, "by": "ann@example.com",
        "reason": "moving", "starts": "2026-03-01T09:00:00Z", "ends": "2026-03-01T11:00:00Z", "receiver": None,
        "expired_by": None,
    }  # fmt: skip
    assert "source school" in cli("list")[1]
    assert sum(f["silenced_until"] is not None for f in watch.findings()) == number
    assert cli("expire", "1", "--by", "bob")[:2] == (0, "silence 1 is over\n")
    assert rows(cli, "list") == []
    assert [(r["state"], r["expired_by"]) for r in rows(cli, "list", "--all")] == [("over", "bob")]
    assert all(f["silenced_until"] is None for f in watch.findings())
    code, _, err = cli("expire", "1")
    assert (code, err) == (Exit.USAGE, "error: expire: silence 1 is over already\n")


def test_a_planned_silence_mutes_from_its_beginning_on(world: tuple[School, Watch], cli: Cli) -> None:
    """Nothing before; then by the clock alone."""
    _school, watch = world
    made = cli("add", "--source", "school", "--from", "2026-03-01T10:00:00Z", "--for", "1h", "--reason", "r")
    assert made[0] == 0
    assert rows(cli, "list")[0]["state"] == "planned"
    assert all(f["silenced_until"] is None for f in watch.findings())
    watch.clock.ahead(hours=1)
    tick(watch)
    assert {f["silenced_until"] for f in watch.findings()} == {"2026-03-01T11:00:00Z"}


REFUSED = (
    (["--for", "2h"], "say what to mute"),
    (["--rule", "suspnded-*", "--for", "2h"], "--rule: there is no rule like suspnded-*"),
    (["--source", "shool", "--for", "2h"], "--source: there is no source like shool"),
    (["--pack", "nowhere", "--for", "2h"], "--pack: there is no pack like nowhere"),
    (["--control", "CC99", "--for", "2h"], "--control: there is no control like CC99"),
    (["--fingerprint", "0000000000", "--for", "2h"], "0000000000 is of no open finding"),
    (["--fingerprint", "00", "--for", "2h"], "give at least its first 8 characters"),
    (["--source", "school"], "say until when"),
    (["--source", "school", "--for", "2 hours"], '"2 hours" is no duration; write 2h or 3d'),
    (["--source", "school", "--until", "2026-02-01"], "is not after the beginning"),
    (["--source", "school", "--for", "0s"], "is not after the beginning"),
    (["--source", "school", "--until", "soon"], '--until: "soon" is no time'),
    (["--source", "school", "--for", "2h", "--by", " "], "say why, and who"),
)


def test_what_cannot_be_meant_is_refused(cli: Cli) -> None:
    """With what to write instead, and exit code 2."""
    for args, expected in REFUSED:
        code, _, err = cli("add", *args, "--reason", "r")
        assert (code, expected in err) == (Exit.USAGE, True), (args, err)
    assert rows(cli, "list", "--all") == []


def test_there_is_no_such_silence(cli: Cli) -> None:
    """Neither to end nor to look at."""
    for command in ("expire", "preview"):
        code, _, err = cli(command, "7")
        assert (code, "there is no silence 7" in err) == (Exit.USAGE, True)
