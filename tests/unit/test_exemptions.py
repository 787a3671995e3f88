"""Exemptions: how files say them, what is wrong with them, and when they end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.decide.exemptions import ending, ends, expired, listed, state
from monitor.decide.parse import parse_set
from monitor.domain.rule import Exemption
from monitor.errors import RuleErrors

TODAY = date(2026, 6, 15)
RULE = """\
id = "{id}"
title = "x"
severity = "low"
owner = "it@example.com"
for_each = "{kind}"
description = "x"
runbook = "x"
match = ['{clause}']
"""
OWN = """
[[exemptions]]
subject = "ann"
reason = "On leave"
approved_by = "head@example.com"
expires = 2026-06-20
"""
SHARED = """\
[[exemptions]]
rule        = "idle-*"
match       = [
  'account.email_domain == "partner.test"',
  'account.idle_days < settings.far',
]
reason      = "Partners"
approved_by = "head@example.com"
expires     = 2026-12-31
ticket      = "IT-1"

[[exemptions]]
rule        = ["idle-user", "a-group"]
subject     = "bob@example.test"
reason      = "Sick"
approved_by = "head@example.com"
expires     = 2026-06-14
"""


def rules(shared: str = SHARED, own: str = OWN) -> dict[str, Any]:
    settings = "[settings]\nfar = 900\n"
    idle = RULE.format(id="idle-user", kind="account", clause="account.idle_days > 9") + settings
    admin = RULE.format(id="idle-admin", kind="account", clause="account.is_admin") + settings + own
    files = {
        "rules/idle-user.toml": idle,
        "rules/idle-admin.toml": admin,
        "rules/a-group.toml": RULE.format(id="a-group", kind="group", clause="group.managers == 0"),
        "rules/exemptions.toml": shared,
    }  # fmt: skip
    return {r.id: r for r in parse_set(files, today=TODAY)}


def test_a_file_of_exemptions_is_about_the_rules_that_it_names() -> None:
    """By id or pattern, beside those in the file of the rule; each says where it stands."""
    found = {name: [(e.whom, e.ticket, e.origin, e.line) for e in r.exemptions] for name, r in rules().items()}
    whom = 'account.email_domain == "partner.test" && account.idle_days < settings.far'
    partners = (whom, "IT-1", "rules/exemptions.toml", 3)
    bob = ("bob@example.test", None, "rules/exemptions.toml", 14)
    assert found == {
        "idle-user": [partners, bob],
        "idle-admin": [("ann", None, "rules/idle-admin.toml", 13), partners],
        "a-group": [bob],
    }


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"idle-*"', '"idel-user"', "exemptions.toml:2: exemptions.0.rule: there is no rule idel-user; did you mean"),
        ('"a-group"]', '"x*"]', "exemptions.toml:13: exemptions.1.rule: there is no rule x*"),
        ('rule        = "idle-*"\n', "", "exemptions.toml:1: exemptions.0.rule: is missing; add it"),
        ('subject     = "bob@example.test"\n', "", "exemptions.1: name either a subject, or clauses in match"),
        ('subject     = "bob', 'match = ["true"]\nsubject     = "bob', "exemptions.1: name either a subject"),
        ("ticket ", "tickt ", "exemptions.toml:10: exemptions.0.tickt: is no key here; did you mean ticket?"),
        ("2026-12-31", "2028-12-31", "exemptions.toml:9: exemptions: account.email_domain"),
        ("2026-12-31", '"soon"', "exemptions.toml:9: exemptions.0.expires: is no day; write it like 2026-12-31"),
        ("account.email_domain", "account.email_doman",
         "exemptions.toml:4: exemptions: clause 1, column 1: there is no fact account.email_doman; did you mean"),
        ("settings.far", "settings.fat", "exemptions.toml:5: exemptions: clause 2, column 21: there is no settings."),
        ('"idle-*"', '"*"', "there is no fact account.email_domain in a rule for_each group"),
        ("[[exemptions]]\nrule        = [", "[[exemption]]\nrule        = [", "exemption: is no key here; did you"),
        ("[[exemptions]]", "[[exemptions]", "exemptions.toml:1:13: not valid TOML"),
    ],
)  # fmt: skip
def test_mistakes_are_named(old: str, new: str, said: str) -> None:
    """With file and line; nothing loads then."""
    with pytest.raises(RuleErrors) as caught:
        rules(SHARED.replace(old, new, 1))
    assert any(said in fault for fault in caught.value.problems), caught.value.problems


def test_a_clause_of_an_exemption_in_a_rule_is_checked() -> None:
    """As those of match are, with its line."""
    with pytest.raises(
        RuleErrors, match=r"idle-admin.toml:13: exemptions: clause 1, column 1: there is no fact account.x"
    ):
        rules(own=OWN.replace('subject = "ann"', "match = ['account.x']"))


def test_listed_once_though_it_is_about_several_rules() -> None:
    """Those that end first, first."""
    found = [(e.exemption.whom[:3], e.rules) for e in listed(list(rules().values()))]
    assert found == [
        ("bob", ("a-group", "idle-user")), ("ann", ("idle-admin",)), ("acc", ("idle-admin", "idle-user")),
    ]  # fmt: skip


def test_expired_ones_are_asked_to_be_removed() -> None:
    """They still load: the monitor must not stop because a day went by."""
    assert list(expired(list(rules().values()), TODAY)) == [
        "rules/exemptions.toml:14: exemptions: bob@example.test was exempt until 2026-06-14; remove it, "
        "or agree on a new end"
    ]
    assert list(expired(list(rules().values()), date(2026, 6, 14))) == []


NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("day", "mutes", "said"),
    [
        (date(2026, 6, 14), 0, "expired"), (date(2026, 6, 15), 1, "ends soon"), (date(2026, 6, 29), 1, "in force"),
        (date(2026, 6, 28), 0, "ends soon"), (date(2026, 6, 29), 0, "unused"), (date(2026, 6, 29), None, "in force"),
    ],
)  # fmt: skip
def test_states(day: date, mutes: int | None, said: str) -> None:
    """A day counts until its midnight."""
    assert state(Exemption("ann", "x", "x", day), mutes, NOW, UTC, 14 * DAY) == said


def test_what_ends_soon_is_told_until_it_has_ended() -> None:
    """In the zone of the config, and only of rules in force."""
    zone = ZoneInfo("Europe/Berlin")
    every = list(rules().values())
    ann = next(each for each in listed(every) if each.exemption.subject == "ann")
    end = ends(ann.exemption, zone)
    assert end == datetime(2026, 6, 20, 22, tzinfo=UTC)
    for now, told in ((end - 5 * DAY, True), (end - 5 * DAY - timedelta(seconds=1), False), (end, False)):
        assert (ann in list(ending(every, (), now, zone, 5 * DAY))) is told
