"""Exemptions from end to end: they mute, they are warned of once before they end, and then the finding is told."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

from monitor import wiring
from monitor.acting import clicked
from monitor.cli.clock import SystemClock
from monitor.config import load
from monitor.domain.act import Act, Click
from monitor.simulator import SMALLEST
from tests.peers.watch import CONFIG, Watch, watched

RULE = """\
id = "is-an-admin"
title = "{account.email} is an admin"
severity = "low"
owner = "it@example.com"
for_each = "account"
description = "An admin."
runbook = "1. Ask."
match = ["account.is_admin"]
"""
SHARED = """\
[[exemptions]]
rule = "is-an-*"
subject = "{email}"
reason = "Hands over the school"
approved_by = "head@example.com"
expires = {soon}
ticket = "IT-12"

[[exemptions]]
rule = ["is-an-admin"]
match = ['account.id != "{id}"']
reason = "All others"
approved_by = "head@example.com"
expires = {far}

[[exemptions]]
rule = "is-an-admin"
subject = "nobody@example.com"
reason = "Has left"
approved_by = "head@example.com"
expires = {far}
"""


def test_an_exemption_is_warned_of_once_and_ends_with_its_day(tmp_path: Path) -> None:
    """In the time zone of the config: a day ends in Lagos at 23:00 UTC, all the year round."""
    config = 'time_zone = "Africa/Lagos"\nexemption_warning = "5d"\n' + CONFIG
    began = datetime.combine(SystemClock().now().date() - timedelta(days=12), time(9), UTC)  # what is listed is by now
    soon, far = (began.date() + timedelta(days=n) for n in (9, 330))
    with watched(tmp_path, users=SMALLEST, config=config) as (_, _, watch):
        watch.clock.ahead(seconds=(began - watch.clock.now()).total_seconds())
        rules = tmp_path / "rules"
        rules.mkdir()
        (rules / "is-an-admin.toml").write_text(RULE, encoding="utf-8")
        watch.poll()
        first, *others = (f["subject"] for f in watch.findings())
        shared = SHARED.format(id=first["id"], email=first["email"], soon=soon, far=far)
        (rules / "exemptions.toml").write_text(shared, encoding="utf-8")
        watch.poll()
        assert {f["verdict"] for f in watch.findings()} == {"exempt"}
        assert sorted(m["reason"] for m in watch.messages()) == ["baseline"]
        watch.clock.ahead(days=5)  # four days before its last one
        for _ in range(3):
            watch.poll()
            watch.clock.ahead(hours=1)
        (warning,) = (m for m in watch.messages() if m["reason"] == "exemption_ending")
        assert sorted(m["reason"] for m in watch.messages()) == ["baseline", "exemption_ending"]
        assert warning["title"] == f"The exemption of {first['email']} ends on {soon}"
        assert "rules/exemptions.toml:3" in warning["content"]["what_to_do"]
        assert "ticket: IT-12" in warning["content"]["detail"]
        watch.clock.ahead(days=4, hours=10, minutes=59)  # 22:59 UTC of the last day
        watch.poll()
        assert len(watch.messages()) == 2
        watch.clock.ahead(minutes=1)
        watch.poll()
        assert sorted(m["reason"] for m in watch.messages()) == ["baseline", "exemption_ending", "reopened"]
        (told,) = (m for m in watch.messages() if m["reason"] == "reopened")
        assert told["content"]["finding"]["subject"]["id"] == first["id"]

        listed = watch.command("exemptions", "--format", "json")
        assert listed.returncode == 0, listed.stderr
        rows = {row["reason"]: row for row in json.loads(listed.stdout)}
        assert {reason: row["state"] for reason, row in rows.items()} == {
            "Hands over the school": "expired", "Has left": "unused", "All others": "in force",
        }  # fmt: skip
        assert rows["All others"]["mutes"][0]["rule"] == "is-an-admin"
        assert {m["subject"]["id"] for m in rows["All others"]["mutes"]} == {who["id"] for who in others}
        assert rows["Hands over the school"]["ends"] == f"{soon}T23:00:00Z"
        assert "unused" in watch.command("exemptions").stdout


def test_an_exemption_by_a_button_is_one_like_those_of_files(tmp_path: Path) -> None:
    """Judged, warned of and listed alike, only in its own source; exported it fits the file; withdrawn it is over."""
    config = 'exemption_warning = "5d"\n' + CONFIG
    with watched(tmp_path, users=SMALLEST, config=config) as (_, _, watch):
        watch.clock.ahead(seconds=(SystemClock().now() - watch.clock.now()).total_seconds())  # commands take no other
        last = watch.clock.now().date() + timedelta(days=20)
        rules = tmp_path / "rules"
        rules.mkdir()
        (rules / "is-an-admin.toml").write_text(RULE, encoding="utf-8")
        watch.poll()
        first, *others = watch.findings()
        press(watch, first["fingerprint"], until=last.isoformat())
        assert watch.poll().events == (), "the poll judges as the button did"
        assert {f["fingerprint"]: f["verdict"] for f in watch.findings()} == {
            first["fingerprint"]: "exempt", **{f["fingerprint"]: "finding" for f in others},
        }  # fmt: skip
        (row,) = json.loads(watch.command("exemptions", "--format", "json").stdout)
        assert (row["state"], row["origin"], row["whom"]) == ("in force", "exemption 1", first["subject"]["email"])
        assert [m["subject"]["id"] for m in row["mutes"]] == [first["subject"]["id"]]

        (rules / "exemptions.toml").write_text(watch.command("exemptions", "export").stdout, encoding="utf-8")
        watch.command("exemptions", "withdraw", "1", "--by", "ann")
        assert watch.poll().events == (), "now the file says the same"
        (rules / "exemptions.toml").unlink()
        watch.poll()
        assert [m["reason"] for m in watch.messages()][-1] == "reopened"

        watch.clock.ahead(minutes=1)
        press(watch, first["fingerprint"], until=last.isoformat())
        watch.clock.ahead(days=16)
        watch.poll()
        assert watch.messages()[-1]["title"] == f"The exemption of {first['subject']['email']} ends on {last}"
        watch.clock.ahead(days=5)
        watch.poll()
        assert watch.messages()[-1]["reason"] == "reopened"


def press(watch: Watch, fingerprint: str, until: str) -> None:
    parts = wiring.parts(load(watch.config), watch.clock, stream=io.StringIO())
    key = f"{watch.clock.now()}"
    said = clicked(
        parts, Click(Act.EXEMPT, fingerprint, "out", "ann (U1)", (key,), True, "Hands over", user="U1", until=until)
    )
    parts.engine.dispose()
    assert said == ""
