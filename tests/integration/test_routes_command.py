"""`access-monitor routes test`: where findings go, told without sending anything."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor import wiring
from monitor.cli.app import Exit, main
from monitor.cli.clock import SystemClock
from monitor.config import load
from monitor.config.hours import DAYS
from tests.docs.test_docs import fill

CONFIG = """
[[sources]]
name = "school"
kind = "learnworlds"
url = "https://school.example.com"
client_id = "1"
token = { env = "LW_TOKEN" }

[[receivers]]
name = "out"
kind = "files"
path = "./messages"

[[receivers]]
name = "desk"
kind = "console"

[[receivers]]
name = "owners"
kind = "email"
host = "127.0.0.1"
tls = "none"
from = "alerts@example.test"
to = "owner"
digest = "daily 08:00"
fallback = "out"

[[routes]]
pack = ["deprovisioning"]
continue = true
to = ["owners"]

[[routes]]
severity = ["high"]
to = ["desk", "owners"]

[[routes]]
changes = ["suspended"]
to = ["desk"]

[[routes]]
to = ["out"]
"""
Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "config.toml").write_text(CONFIG)

    def run(*args: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--config", str(tmp_path / "config.toml"), "routes", "test", *args])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def recorded(tmp_path: Path, cli: Cli) -> Cli:
    """With one open finding, `f`, of a rule that is gone."""
    engine = wiring.database(load(tmp_path / "config.toml"))
    fill(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE findings SET fingerprint = 'f0f0f0f0f0f0'")
    engine.dispose()
    return cli


def row(cli: Cli, *args: str) -> dict[str, Any]:
    code, out, err = cli(*args, "--format", "json")
    assert code == 0, err
    (found,) = json.loads(out)
    assert isinstance(found, dict)
    return found


def test_a_made_up_finding_goes_where_a_real_one_would(cli: Cli) -> None:
    """Without a database; through `continue`, to the owner's own address, into his digest."""
    found = row(cli, "--rule", "suspended-still-privileged", "--severity", "high", "--owner", "Eve@example.com")
    assert found["to"] == ["owners eve@example.com in its digest", "desk"]
    assert [(s["route"], s["takes"]) for s in found["routes"]] == [(1, True), (2, True), (3, False), (4, False)]
    assert [s["why"] for s in found["routes"]] == [
        ["fits: pack deprovisioning; later routes may take it as well"], ["fits: severity high"],
        ["it takes changes, not findings"], ["route 2 took it, and does not continue"],
    ]  # fmt: skip
    assert found["held_back"] is None


def test_why_a_route_does_not_take_it(cli: Cli) -> None:
    """Value against value; what is critical does not wait for a digest, and an owner without address has a fallback."""
    found = row(cli, "--rule", "dormant-account", "--severity", "critical", "--owner", "the desk")
    assert [s["why"] for s in found["routes"]][1] == ["severity is critical, not high"]
    assert found["to"] == ["out"]
    elsewhere = row(cli, "--rule", "too-many-admins", "--severity", "low")
    assert elsewhere["routes"][0]["why"] == ["pack is drift, not deprovisioning"]
    assert elsewhere["to"] == ["out"]


def test_what_is_told_together_waits(cli: Cli, tmp_path: Path) -> None:
    """With what it has in common with others, and how long; a digest waits longer, and what is critical not at all."""
    (tmp_path / "config.toml").write_text(f'{CONFIG}group_by = ["rule", "owner"]\ngroup_wait = "10m"\n')
    asked = ("--rule", "dormant-account", "--owner", "")
    together = "out in a group (rule dormant-account, owner none), 10 min after the first of it"
    assert row(cli, *asked, "--severity", "low")["to"] == [together]
    assert row(cli, *asked, "--severity", "critical")["to"] == ["out"]


def test_what_waits_for_business_hours(cli: Cli, tmp_path: Path) -> None:
    """They begin in two days or more, whenever this runs."""
    day = DAYS[(SystemClock().now() + timedelta(days=3)).weekday()]
    hours = f'[business_hours]\nzone = "UTC"\ndays = ["{day}"]\n'
    (tmp_path / "config.toml").write_text(f"{hours}{CONFIG}in_business_hours = true\n")
    asked = ("--rule", "dormant-account", "--owner", "")
    (waits,) = row(cli, *asked, "--severity", "low")["to"]
    assert re.fullmatch(r"out when business hours begin, in [23] d( \d+ h)?", waits)
    assert row(cli, *asked, "--severity", "critical")["to"] == ["out"]


def test_a_person_reads_it_as_a_table(cli: Cli) -> None:
    """And the sum of it in one sentence."""
    code, out, _ = cli("--rule", "too-many-admins", "--severity", "high", "--owner", "eve@example.com")
    assert code == 0
    assert "severity high" in out
    assert "It goes to desk, owners eve@example.com in its digest." in out


def test_what_waits_for_a_source_to_be_seen(recorded: Cli, tmp_path: Path) -> None:
    """It goes where it goes; what time alone brings does not, and the command says why."""
    engine = wiring.database(load(tmp_path / "config.toml"))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE snapshots SET outcome = 'failed'")
    engine.dispose()
    assert "its last poll failed" in row(recorded)["waits"]
    _, out, _ = recorded("f0f0f0f0")
    assert "But reminders, deadlines and escalation wait until" in out


def test_a_finding_that_there_is_and_all_of_them(recorded: Cli) -> None:
    """One by the beginning of its fingerprint; without one, each open finding in a row."""
    assert row(recorded, "f0f0f0f0")["to"] == ["desk", "out"]  # its owner has no address
    assert row(recorded)["fingerprint"] == "f0f0f0f0f0f0"
    assert row(recorded)["waits"] is None
    code, out, _ = recorded()
    assert (code, "1 finding" in out, "desk, out" in out) == (0, True, True)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--severity", "high"], "--rule: say of which rule"),
        (["--rule", "no-such"], "there is no rule no-such"),
        (["--rule", "dormant-account", "--source", "elsewhere"], "there is no source elsewhere"),
        (["f0f0f0f0", "--rule", "dormant-account"], "say either which finding"),
        (["f0"], "give at least its first 8 characters"),
        (["00000000"], "there is no open finding 00000000"),
    ],
)
def test_what_cannot_be_meant_is_refused(recorded: Cli, args: list[str], said: str) -> None:
    """With what to write instead, and exit code 2."""
    code, _, err = recorded(*args)
    assert (code, said in err) == (Exit.USAGE, True), err
