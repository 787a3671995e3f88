"""Settings: declared in rule files with defaults, overridden by the config, typed in clauses."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor import wiring
from monitor.config import load
from monitor.decide.alike import Plan
from monitor.decide.compiled import compile_rule
from monitor.decide.judge import judge
from monitor.decide.parse import parse_rule, parse_set, set_digest
from monitor.decide.settings import declared, setting, unread
from monitor.decide.timeline import NOW, run_tests
from monitor.domain.company import ANY_COMPANY, Company, Setting
from monitor.domain.rule import Verdict
from monitor.errors import ConfigError, RuleErrors

TODAY = date(2026, 6, 15)
RULE = """\
id = "idle"
title = "{account.email} is idle for more than {settings.idle_limit} days"
severity = "low"
owner = "it@example.com"
for_each = "account"
description = "Idle."
runbook = "1. Ask."
match = ["account.idle_days > settings.idle_limit", "!in_domain(account.email, settings.staff)"]

[settings]
idle_limit = 90
staff = ["example.com"]

[[tests]]
name = "idle"
expect = "finding"
polls = [ { last_login = "91d ago" } ]
[[tests]]
name = "idle, by another limit"
expect = "nothing"
settings = { idle_limit = 91 }
polls = [ { last_login = "91d ago" } ]
"""


def rule(text: str = RULE, **given: Any) -> Any:
    return parse_rule(text, "rules/idle.toml", today=TODAY, company=company(**given))


def company(**given: Any) -> Company:
    return Company({name: setting(value) for name, value in given.items()})


def faults(text: str, **given: Any) -> list[str]:
    with pytest.raises(RuleErrors) as caught:
        rule(text, **given)
    return caught.value.problems


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (True, "bool"), (90, "int"), ("text", "string"), ("14d", "duration"), ("14 days", "string"),
        ([], "list(string)"),
        (["a"], "list(string)"), ([1], "list(int)"), ({}, "map(string, string)"), ({"a": "b"}, "map(string, string)"),
        ({"a": 1}, "map(string, int)"), ({"a": ["b"]}, "map(string, list(string))"),
    ],
)  # fmt: skip
def test_types_follow_from_values(raw: Any, kind: str) -> None:
    """As TOML writes them; a text that is a duration is one."""
    assert setting(raw).type == kind


@pytest.mark.parametrize("raw", [1.5, date(2026, 1, 1), ["a", 1], [True], {"a": {"b": "c"}}, {"a": [1]}, [["a"]]])
def test_what_is_no_setting(raw: Any) -> None:
    """Anything else is refused, with what there is."""
    with pytest.raises(ValueError, match="must be one of: true or false, a whole number"):
        setting(raw)


@pytest.mark.parametrize("name", ["Days", "1day", "with-hyphen", "ä", "", "x" * 61])
def test_names_of_settings(name: str) -> None:
    """A clause must be able to write them."""
    assert dict(declared({name: 1}))[name] == "must be lower-case letters, digits and underscores, like dormant_days"


def test_the_config_overrides_the_rule() -> None:
    """The finding, its title and its evidence show the value that decided."""
    record = {"id": "a", "email": "a@other.test", "last_login": NOW - timedelta(days=60), "created": None,
              "last_active": None, "never_signed_in": False}  # fmt: skip
    assert not list(judge(Plan("account", (compile_rule(rule()),), frozenset()), [record], NOW))
    mine = compile_rule(rule(idle_limit=30))
    (said,) = judge(Plan("account", (mine,), frozenset()), [record], NOW)
    assert (said.verdict, said.title) == (Verdict.FINDING, "a@other.test is idle for more than 30 days")
    assert said.evidence[0].facts == {"account.idle_days": 60, "settings.idle_limit": 30}


def test_tests_do_not_depend_on_the_config() -> None:
    """They run with the defaults of the file, or with what they say themselves."""
    assert [r.passed for r in run_tests(rule(idle_limit=10_000, staff=["example.test"]))] == [True, True]


def test_another_limit_is_another_decision() -> None:
    """Findings that no longer hold then close as `rule changed`; settings that a rule does not read move nothing."""
    assert rule().digest == rule(elsewhere=1).digest != rule(idle_limit=30).digest
    files = {"rules/idle.toml": RULE}
    assert set_digest(files) == set_digest(files, ANY_COMPANY) != set_digest(files, company(idle_limit=30))


def test_a_setting_of_the_config_alone_may_be_read() -> None:
    """Whoever writes rules for one company need not give a default."""
    assert rule(RULE.replace('settings.idle_limit"', 'settings.grace"'), grace=5).settings["grace"] == Setting("int", 5)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("days > settings.idle_limit", "days > settings.idle_limt",
         "rules/idle.toml:8: clause 1, column 21: there is no settings.idle_limt; did you mean settings.idle_limit?"),
        ("days > settings.idle_limit", "days > settings.xyz",
         "clause 1, column 21: there is no settings.xyz; give it a default below [settings] of this file, or a value"),
        ("days > settings.idle_limit", "days > settings.staff", "> cannot be applied to (int, list(string))"),
        ("{settings.idle_limit}", "{settings.idle_limits}",
         "rules/idle.toml:2: title: there is no settings.idle_limits; did you mean settings.idle_limit?"),
        ("idle_limit = 90", "idle_limit = 9.5",
         "rules/idle.toml:11: settings.idle_limit: must be one of: true or false"),
        ("idle_limit = 90", "Idle = 90", "settings.Idle: must be lower-case letters"),
        ("{ idle_limit = 91 }", '{ idle_limit = "x" }',
         "rules/idle.toml:21: tests.1.settings.idle_limit: must be a whole number"),
        ("{ idle_limit = 91 }", "{ idle_limt = 91 }",
         "tests.1.settings: there is no setting idle_limt; did you mean idle_limit?"),
    ],
)  # fmt: skip
def test_mistakes_are_named(old: str, new: str, said: str) -> None:
    """With line and nearest name."""
    assert any(said in fault for fault in faults(RULE.replace(old, new))), faults(RULE.replace(old, new))


def test_a_setting_of_another_type_is_refused() -> None:
    """The config's text is not taken for the rule's number; an empty list is a list of whatever the rule has."""
    assert faults(RULE, idle_limit="90d") == [
        'the config\'s settings.idle_limit is a duration like "14d"; rules/idle.toml needs a whole number'
    ]
    assert rule(
        RULE.replace('["example.com"]', "[1]").replace("in_domain(account.email, ", "(1 in "), staff=[]
    ).settings["staff"] == Setting("list(int)", [])


def test_one_setting_has_one_default() -> None:
    """Two rules that disagree would make nonsense of the config's documentation."""
    other = RULE.replace('"idle"\n', '"other"\n').replace("idle_limit = 90", "idle_limit = 91")
    with pytest.raises(
        RuleErrors, match=r"rules/other.toml: settings.idle_limit has another default in rules/idle.toml"
    ):
        parse_set({"rules/idle.toml": RULE, "rules/other.toml": other}, today=TODAY)


def test_settings_that_nobody_reads_are_told() -> None:
    """A misspelt setting changes nothing, and that should be seen."""
    assert list(unread(["idle_limit", "idle_limits", "colour"], [rule()])) == [
        "settings.idle_limits is read by no rule; did you mean idle_limit?", "settings.colour is read by no rule",
    ]  # fmt: skip


CONFIG = """\
time_zone = "Europe/Berlin"
{more}
[[sources]]
name = "school"
kind = "learnworlds"
url = "http://127.0.0.1:8787"
client_id = "c1"
token = {{ env = "LW_TOKEN" }}
[[receivers]]
name = "out"
kind = "files"
path = "./messages"
[[routes]]
to = ["out"]
"""


def configured(folder: Path, more: str) -> Company:
    (folder / "config.toml").write_text(CONFIG.format(more=more), encoding="utf-8")
    return wiring.company(load(folder / "config.toml"))


def test_the_company_of_a_config(tmp_path: Path) -> None:
    """Settings with their types; hours in the zone of the config unless they have one of their own."""
    said = configured(tmp_path, '[settings]\nseats = { Acme = 5 }\n[business_hours]\ndays = ["sat"]\ncountry = "DE"')
    assert said.settings == {"seats": Setting("map(string, int)", {"Acme": 5})}
    assert (str(said.hours.zone), said.hours.days, said.hours.country) == ("Europe/Berlin", (5,), "DE")
    assert str(configured(tmp_path, '[business_hours]\nzone = "UTC"').hours.zone) == "UTC"
    with pytest.raises(ConfigError, match=r"config.toml: settings.limit: must be one of"):
        configured(tmp_path, "[settings]\nlimit = 1.5")
