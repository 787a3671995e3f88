"""Rule files: what is right is read as written, and every mistake is named with file, line and what to do."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest

from monitor.decide.form import duration
from monitor.decide.parse import parse_rule, parse_set, set_digest
from monitor.domain.rule import Closes, RuleStatus, Severity, Verdict
from monitor.errors import RuleErrors

TODAY = date(2026, 6, 15)
FILE = "rules/people/idle-admin.toml"
GOOD = """\
id         = "idle-admin"
title      = "{account.email} is idle"
severity   = "high"
owner      = "it@example.com"
fix_within = "2d"
for_each   = "account"
closes     = "fixed"
description = "account.is_admin is not enough. See below."
runbook = \"\"\"
1. Ask.
\"\"\"
match = [
  'account.is_admin && account.idle_days > 9',
  'account.is_admin',
  'account.idle_days > 90',
]
evidence = [
  'account.role',
]

[controls]
soc2 = ["CC6.3"]

[[exemptions]]
subject     = "ann@example.com"
reason      = "On leave"
approved_by = "head@example.com"
expires     = 2026-12-31

[[tests]]
name   = "first"
expect = "finding"
polls  = [ { at = "1d ago", is_admin = true, last_login = "91d ago" } ]

[[tests]]
name   = "second"
expect = "nothing"
polls  = [ { at = "1d ago" } ]
"""


def test_an_owner_may_come_from_facts() -> None:
    """Of the person or the subject; from the source as well."""
    text = GOOD.replace(
        "fix_within =", 'owner_from = ["person.manager", "account.email", "source.owner"]\nfix_within ='
    )
    assert parse_rule(text, FILE, today=TODAY).owner_from == ("person.manager", "account.email", "source.owner")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("person.manger", "owner_from: there is no fact person.manger; did you mean person.manager?"),
        ("account.is_admin", "owner_from: account.is_admin is bool; an owner is named by a text"),
    ],
)
def test_an_owner_that_no_fact_names(name: str, said: str) -> None:
    """With file and line."""
    text = GOOD.replace("fix_within =", f'owner_from = ["{name}"]\nfix_within =')
    with pytest.raises(RuleErrors) as caught:
        parse_rule(text, FILE, today=TODAY)
    assert any(said in p and p.startswith(f"{FILE}:5:") for p in caught.value.problems), caught.value.problems


# What is written instead of what; the line that is named; what the message says.
MISTAKES = [
    # TOML itself
    ('severity   = "high"', "severity   = high", 3, "not valid TOML"),
    ('title      = "{', 'id = "twice"\ntitle = "{', 2, "not valid TOML: Cannot overwrite a value"),
    ('polls  = [ { at = "1d ago" } ]\n', 'polls  = [ { at = "1d ago" }', 38, "not valid TOML: Unclosed array"),
    ('severity   = "high"', 'severity   = "high', 3, "a text does not end: a quote is missing"),
    ('severity   = "high"', "severity   = True", 3, "true and false are written small"),
    ('severity   = "high"', 'severity   : "high"', 3, "write key = value"),
    ('1. Ask.\n"""', "1. Ask.\n", 9, "a text does not end"),
    ("'account.role',\n]", "'account.role',\n", 21, "the list above is not closed: a ] is missing"),
    ("> 9',\n", "> 9'\n", 14, "a comma is missing before this, or a ] behind the list"),
    ('{ at = "1d ago" } ]', '{ at = "1d ago", } ]', 38, "a table in braces stands on one line, without a comma behind"),
    ("2026-12-31", "2026-13-31", 28, "a day is written like 2026-12-31"),
    ("{account.email} is", "\\account is", 2, "a backslash is written twice"),
    ('[[tests]]\nname   = "second"', '[tests]\nname   = "second"', 35, "written in double brackets each time"),
    # keys
    ('severity   = "high"\n', "", 1, "severity: is missing; add it"),
    ("severity ", "severty ", 3, "severty: is no key here; did you mean severity?"),
    ("owner      =", "colour = 1\nowner      =", 4, "colour: is no key here; there are id, title, severity"),
    ('reason      = "On leave"\n', "", 24, "exemptions.0.reason: is missing; add it"),
    ("approved_by", "aproved_by", 27, "exemptions.0.aproved_by: is no key here; did you mean approved_by?"),
    ('name   = "second"', 'nam    = "second"', 36, "tests.1.nam: is no key here; did you mean name?"),
    ('[[tests]]\nname   = "second"', '[[test]]\nname   = "second"', 35, "test: is no key here; did you mean tests?"),
    # values
    ('"{account.email} is idle"', "5", 2, "title: must be a text in quotes"),
    ('"2d"', "2", 5, 'fix_within: must be a text in quotes, like "2d"'),
    ('"2d"', '"0d"', 5, 'fix_within: "0d" is no time to mend anything'),
    ('"it@example.com"', '"IT"', 4, 'owner: "IT" is no e-mail address; write one, and no more'),
    ('"it@example.com"', '"it@example.com, bob@example.com"', 4, "is no e-mail address; write one, and no more"),
    ('"it@example.com"', '["it@example.com"]', 4, 'owner: must be a text in quotes, like "it@example.com"'),
    ("evidence = [\n  'account.role',\n]", "evidence = 'account.role'", 17, "must be a list in brackets, like ['acc"),
    ('["CC6.3"]', '"CC6.3"', 22, 'controls.soc2: must be a list in brackets, like ["CC6.3"]'),
    ("[controls]\nsoc2 = [", "controls = [", 21, "controls: must be a table, like"),
    (
        '[ { at = "1d ago" } ]',
        '{ at = "1d ago" }',
        38,
        'polls: must be a list in brackets, like [ { at = "10d ago" } ]',
    ),
    ('[ { at = "1d ago" } ]', '[ "1d ago" ]', 38, "tests.1.polls.0: must be a table in braces"),
    (
        "{account.email} is",
        "{ account.email } is",
        2,
        '" account.email " is no name of a fact; write nothing but the name',
    ),
    ("{account.email}", "{email}", 2, "title: there is no fact email; did you mean account.email?"),
    ("{account.email}", "{role.title}", 2, "there is no fact role.title in a rule for_each account; it may read"),
    ("{account.email}", "{account.fields.cf_a}", 2, "is a part of a fact; only whole ones are shown"),
    ('"{account.email} is idle"', f'"{"x" * 201}"', 2, "title: is too long; 200 characters are the most"),
    ('"fixed"', '"after 0d"', 7, '"after 0d" is no way to close'),
    ('"CC6.3"', '"cc6.3"', 22, "there is no control cc6.3; did you mean CC6.3?"),
    ('soc2 = ["CC6.3"]', 'iso27001 = ["A.9.2.1"]', 22, "three numbers are those of 2013"),
    ('"On leave"', '"   "', 26, "exemptions.0.reason: is empty or too short; say a little more"),
    (
        '"ann@example.com"',
        '"*@example.com"',
        24,
        "a subject is one id or one e-mail; for several write clauses in match",
    ),
    ("2026-12-31", "2026-12-31T08:00:00", 28, "exemptions.0.expires: is no day; write it like 2026-12-31"),
    ('"idle-admin"', '"Idle Admin"', 1, "id: must be lower-case words joined by hyphens, like dormant-account"),
    ('"idle-admin"', '"idle-boss"', 1, 'id: "idle-boss" is unlike the file name; call the file idle-boss.toml'),
    ('"{account.email} is idle"', '""', 2, "title: is empty or too short; say a little more"),
    ('"high"', '"hihg"', 3, "severity: must be one of low, medium, high, critical; did you mean high?"),
    ('"2d"', '"two days"', 5, 'fix_within: "two days" is no duration: write a number and s, m, h or d, like "90d"'),
    ('"account"', '"human"', 6, "for_each: must be one of account, person, grant, role, group, seat, source"),
    ('"fixed"', '"soon"', 7, 'closes: "soon" is no way to close; write "fixed", "acknowledged" or "after 14d"'),
    ('"fixed"', '"after 14"', 7, 'closes: "14" is no duration: write a number'),
    ("1. Ask.", "", 9, "runbook: an active rule needs one: what should the reader do?"),
    ("'account.is_admin',", "5,", 12, "match.1: must be a text in quotes"),
    ("{account.email}", "{account.emial}", 2, "title: there is no fact account.emial; did you mean account.email?"),
    ("{account.email}", "{account.email", 2, 'title: a brace has no partner; a fact is written like "{account.email}"'),
    ("'account.role'", "'account.rol'", 18, "evidence: there is no fact account.rol; did you mean account.role?"),
    ('"CC6.3"', '"CC63"', 22, "controls.soc2: there is no control CC63; did you mean CC6.3?"),
    ('"CC6.3"', '"CC6.9"', 22, "controls.soc2: there is no control CC6.9; there are CC6.1 to CC6.8"),
    ("soc2 =", "soc3 =", 22, "controls.soc3: unknown framework; known: soc2, iso27001, nist, cis"),
    ("2026-12-31", "2027-06-17", 28, "exemptions: ann@example.com is exempt until 2027-06-17; a year at most, until"),
    ('"On leave"', '""', 26, "exemptions.0.reason: is empty or too short; say a little more"),
    ("2026-12-31", '"whenever"', 28, "exemptions.0.expires: is no day; write it like 2026-12-31"),
    (
        '"nothing"',
        '"nothin"',
        37,
        "tests.1.expect: must be one of finding, nothing, unknown, exempt; did you mean nothing?",
    ),
    ('[ { at = "1d ago" } ]', "[]", 38, "tests.1.polls: is empty; write at least one"),
]

# A clause; the column that is named; what the message says.
CLAUSES = [
    ("account.idle_dayz > 90", 1, "there is no fact account.idle_dayz; did you mean account.idle_days?"),
    ("account.is_admin && account.levle == 'x'", 21, "there is no fact account.levle; did you mean account.level?"),
    ("person.activ", 1, "there is no fact person.activ; did you mean person.active?"),
    (
        'role.title == "x"',
        1,
        "there is no fact role.title in a rule for_each account; it may read account.*, person.* and now",
    ),
    ("account.level == admin", 18, 'there is no fact admin; a text needs quotes, like "admin"'),
    ("size(account) > 0", 6, "account is no fact by itself; ask for one of its facts, like account.id"),
    ('account.idle_days > "90"', 19, "> cannot be applied to (int, string); both sides must be of one type"),
    ("account.idle_days > 90.5", 19, "> cannot be applied to (int, double); write a whole number"),
    ("now - account.created > 90", 23, "> cannot be applied to (duration, int); write days as days(90)"),
    ("account.created > 90", 17, "> cannot be applied to (timestamp, int); for days since then write now -"),
    ("now - account.created > days(90) && account.is_admn", 37, "did you mean account.is_admin?"),
    ('account.tags.contains("x")', 22, 'for a list write "x" in account.tags'),
    ('account.level = "admin"', 15, "= is not written so here; write =="),
    ("account.is_admin and account.privileged", 18, "and is not written so here; write &&"),
    ("account.is_admin or account.privileged", 18, "or is not written so here; write ||"),
    ("account.idle_days > 90d", 23, "a number takes no unit; write days(90)"),
    ("account.is_admin &&", 20, "the clause ends too early; complete it"),
    ("account.idle_days", 1, "a clause must be true or false; this one is int: compare it with something"),
    ("account.tags.map(t, t)", 1, "a clause must be true or false; this one is list"),
    ("has(account.email)", 1, "has() does not work on facts; ask a named fact"),
    ('now - account.created > duration("90d")', 25, "no such duration; write days(90)"),
    ('account.created < timestamp("May")', 19, 'no such time; write timestamp("2026-03-01T00:00:00Z")'),
    ('account.email.matches("(")', 14, "not a regular expression"),
    ('account.past_levels[7] == "admin"', 20, 'the list can be shorter; write "x" in account.past_levels'),
    ("1 / 0 == 1", 3, "divides by zero"),
    # names
    ("is_admin", 1, "there is no fact is_admin; did you mean account.is_admin?"),
    ("account.days_idle > 9", 1, "did you mean account.idle_days?"),
    ("account.age > 9", 1, "did you mean account.age_days?"),
    ("account.admin", 1, "did you mean account.is_admin?"),
    ('account.department == "Sales"', 1, "did you mean person.department?"),
    ("account.suspended", 1, 'did you mean account.status == "suspended"?'),
    ('account.cf_team == "x"', 1, "a custom field is asked like account.fields.cf_team"),
    ("account.is_owner", 1, "there is no fact account.is_owner; `access-monitor rules facts` lists them"),
    ("account.is_admin == True", 21, "there is no fact True; write true"),
    ("today > account.created", 1, "there is no fact today; write now"),
    ("now() > account.created", 1, "now is a fact, not a function; write now"),
    # functions
    ("len(account.tags) > 0", 1, "there is no function len; did you mean size(account.tags)?"),
    ('account.name.startswith("x")', 24, 'did you mean account.name.startsWith("x")?'),
    ('startsWith(account.name, "x")', 1, 'startsWith is written like account.name.startsWith("x")'),
    ('account.tags.any(t, t == "x")', 18, 'no function any; did you mean account.tags.exists(t, t == "x")?'),
    ('account.tags.exists(t == "x")', 21, "exists needs a name for each item first"),
    ('account.tags.exists(t, x == "x")', 24, "there is no fact x"),
    ("in_business_hour(now)", 1, "did you mean in_business_hours(timestamp)?"),
    ("frobnicate(now)", 1, "there is no function frobnicate; see docs/rules.md"),
    ('in_domain(account.email, "x.test")', 10, "write in_domain(string, list(string)), like !in_domain(account.email"),
    ("account.tags.length > 0", 13, "a list has no parts with names; write size(account.tags)"),
    ("account.created.year > 3", 16, "a timestamp has no parts with names; write now.getFullYear()"),
    # types
    ("account.last_login > days(90)", 20, "a moment and a length: write now - account.last_login > days(90)"),
    ('account.last_login < "2026-01-01"', 20, 'write timestamp("2026-03-01T00:00:00Z")'),
    ('account.level in "admin"', 15, 'behind in stands a list, like ["admin"]'),
    ('!"x" in account.tags', 1, 'write !("x" in account.tags)'),
    ("3 < account.age_days < 9", 22, "write 3 < account.age_days && account.age_days < 9"),
    ("dyn(account.level) > 3", 1, "two types are mixed"),
    # signs
    ("not account.is_admin", 5, "not is not written so here; write !"),
    ('"x" not in account.tags', 5, 'write !("x" in account.tags)'),
    ('account.name =~ "x"', 14, 'write account.name.matches("a.*")'),
    ("account.idle_days <> 9", 20, "write !="),
    ("account.idle_days => 9", 19, "write >="),
    ("account.idle_days > 1_000", 22, "a number is written without _"),
    ("account.name == \u201cx\u201d", 17, "a text needs straight quotes"),
    ('account.name == "x', 17, 'the text "x does not end; a quote is missing'),
    (r'account.name.matches("\d")', 22, "a backslash in a text is written twice"),
    ("(account.is_admin", 18, "a ) is missing"),
    ("account.is_admin)", 17, "this ) closes nothing; remove it"),
    ("account.is_admin;", 17, "; ends no clause"),
    ("if account.is_admin", 1, "if is no word of a clause; write a ? b : c"),
    ("account.idle_days > 99999999999999999999", 21, "the number is too large"),
    # what can never be meant
    ("account.last_login == null", 1, "no fact is ever null; where the source did not say, the clause is unknown"),
    ("3 > 2", 1, "the clause reads no fact: it is always true"),
    ("", 1, "the clause is empty"),
    (f'account.name == "{"x" * 1000}"', 1, "the clause has 1018 characters; 1000 are allowed. Split it into several"),
]


def faults(text: str, file: str = FILE) -> list[str]:
    with pytest.raises(RuleErrors) as caught:
        parse_rule(text, file, today=TODAY)
    return caught.value.problems


def test_a_good_file_is_read_as_written() -> None:
    """Everything in the file is in the rule, in our types."""
    rule = parse_rule(GOOD, FILE, today=TODAY)
    assert (rule.id, rule.severity, rule.status, rule.for_each) == (
        "idle-admin", Severity.HIGH, RuleStatus.ACTIVE, "account",
    )  # fmt: skip
    assert rule.match == (
        "account.is_admin && account.idle_days > 9", "account.is_admin", "account.idle_days > 90",
    )  # fmt: skip
    assert (rule.fix_within, rule.closes, rule.runbook) == (timedelta(days=2), Closes(), "1. Ask.")
    assert [(e.subject, e.expires) for e in rule.exemptions] == [("ann@example.com", date(2026, 12, 31))]
    assert [(t.name, t.expect) for t in rule.tests] == [("first", Verdict.FINDING), ("second", Verdict.NOTHING)]
    assert (rule.controls, rule.evidence, rule.file) == ({"soc2": ("CC6.3",)}, ("account.role",), FILE)


@pytest.mark.parametrize(("old", "new", "line", "said"), MISTAKES, ids=[m[3][:50] for m in MISTAKES])
def test_every_mistake_is_named_with_its_place(old: str, new: str, line: int, said: str) -> None:
    """File and line come first, then the key, then what is wrong and what to write instead."""
    assert GOOD.count(old) >= 1
    found = faults(GOOD.replace(old, new, 1) if "is_admin'," not in old else GOOD.replace("  " + old, "  " + new))
    assert any(re.match(rf"{re.escape(FILE)}:{line}(:\d+)?: ", p) and said in p for p in found), found


@pytest.mark.parametrize(("clause", "column", "said"), CLAUSES, ids=[c[0][:40] for c in CLAUSES])
def test_every_faulty_clause_is_named_with_its_place(clause: str, column: int, said: str) -> None:
    """Line of the file, number of the clause and column in it; and what to write instead."""
    quotes = "'''" if "'" in clause else "'"
    (found,) = faults(GOOD.replace("'account.idle_days > 90'", quotes + clause + quotes))
    assert found.startswith(f"{FILE}:15: clause 3, column {column}: ")
    assert said in found


def test_a_wrong_name_is_underlined() -> None:
    """The clause is shown with a caret below the start of the name, also behind days(n)."""
    clause = "now - account.created > days(90) && account.is_admn"
    (found,) = faults(GOOD.replace("account.idle_days > 90", clause))
    assert found.splitlines()[1:] == [f"    {clause}", " " * (4 + clause.index("account.is_admn")) + "^"]


def test_a_misspelt_key_is_one_mistake() -> None:
    """It is not told as missing as well."""
    assert len(faults(GOOD.replace("severity ", "severty "))) == 1
    assert len(faults(GOOD.replace("approved_by", "aproved_by"))) == 1


def test_all_faults_of_a_file_are_named_at_once() -> None:
    """Nobody should have to start the check five times."""
    wrong = GOOD.replace("account.idle_days > 90", "account.idle_dayz > 90").replace("CC6.3", "CC63")
    assert len(faults(wrong.replace("2026-12-31", "2030-12-31"))) == 3
    # a key that cannot be read hides no others
    assert (
        len(faults(wrong.replace("2026-12-31", "2030-12-31").replace('"high"', '"hihg"').replace("owner ", "owmer ")))
        == 5
    )


def test_a_clause_is_found_by_its_own_line() -> None:
    """The text of a clause may also stand in the description, or in another clause above."""
    (found,) = faults(GOOD.replace("\n  'account.is_admin',", "\n  'account.is_admi',"))
    assert found.startswith(f"{FILE}:14: clause 2, column 1: ")


def test_a_draft_needs_no_runbook() -> None:
    """One may try a rule before knowing what to do about its findings."""
    draft = GOOD.replace('severity   = "high"', 'severity   = "high"\nstatus = "draft"').replace("1. Ask.", "")
    assert parse_rule(draft, FILE, today=TODAY).status is RuleStatus.DRAFT


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("fixed", Closes()),
        ("acknowledged", Closes(acknowledged=True)),
        ("after 14d", Closes(acknowledged=True, after=timedelta(days=14))),
        ("after 36h", Closes(acknowledged=True, after=timedelta(hours=36))),
    ],
)
def test_closes(text: str, meant: Closes) -> None:
    """A finding ends fixed, acknowledged, or by itself after a time."""
    assert parse_rule(GOOD.replace('"fixed"', f'"{text}"'), FILE, today=TODAY).closes == meant


@pytest.mark.parametrize("control", ["CC6.3", "A1.2", "C1.1", "PI1.4", "P4.2"])
def test_controls_of_soc2(control: str) -> None:
    """All five categories of the trust services criteria are known."""
    assert parse_rule(GOOD.replace("CC6.3", control), FILE, today=TODAY).controls == {"soc2": (control,)}


def test_an_exemption_may_last_a_year_and_may_have_expired() -> None:
    """366 days are allowed; one that expired stays in the file as a record."""
    for day in ("2027-06-16", "2020-01-01"):
        assert parse_rule(GOOD.replace("2026-12-31", day), FILE, today=TODAY).exemptions


def test_a_text_that_looks_like_a_function_stays_a_text() -> None:
    """days(n) becomes a literal, but not between quotes; and has( may be part of a name."""
    text = GOOD.replace("account.idle_days > 90", 'account.name != "has(days(3))" && now - account.created > days(3)')
    assert parse_rule(text, FILE, today=TODAY).match[2].startswith("account.name")


def test_a_missing_map_key_is_no_fault() -> None:
    """The sample has one custom field; a rule may ask for any."""
    text = GOOD.replace("account.idle_days > 90", 'account.fields.cost_centre == "4711"')
    assert parse_rule(text, FILE, today=TODAY)


@pytest.mark.parametrize(
    ("text", "meant"),
    [("90d", timedelta(days=90)), ("12h", timedelta(hours=12)), (" 5m ", timedelta(minutes=5)), ("0s", timedelta())],
)
def test_durations(text: str, meant: timedelta) -> None:
    """A number and a unit."""
    assert duration(text) == meant


@pytest.mark.parametrize("text", ["", "d", "90", "90 d", "-1d", "1.5d", "1w", "1d2h", "999999d"])
def test_what_is_no_duration(text: str) -> None:
    """Anything else is refused, with an example."""
    with pytest.raises(ValueError, match='like "90d"'):
        duration(text)


def test_a_set_is_read_whole_or_not_at_all() -> None:
    """The faults of all files are told together; good files beside them do not load."""
    files = {
        FILE: GOOD,
        "rules/a.toml": "id = 1",
        "rules/b.toml": GOOD.replace("idle-admin", "b").replace('"2d"', '"x"'),
    }
    with pytest.raises(RuleErrors) as caught:
        parse_set(files, today=TODAY)
    assert {p.split(":")[0] for p in caught.value.problems} == {"rules/a.toml", "rules/b.toml"}
    assert [r.id for r in parse_set({FILE: GOOD}, today=TODAY)] == ["idle-admin"]


def test_a_setting_that_nothing_reads_is_a_mistake() -> None:
    """It is misspelt, or a key of the rule that stands below a table, where TOML takes it for a part of that."""
    lost = GOOD.replace("[controls]", '[settings]\nlimit = 3\nevidence = ["account.role"]\n[controls]')
    with pytest.raises(RuleErrors) as caught:
        parse_set({FILE: lost.replace("account.idle_days > 90", "account.idle_days > settings.limit")}, today=TODAY)
    assert caught.value.problems == [
        f"{FILE}:23: settings.evidence: no clause reads it; the key evidence of the rule stands above the first [table]"
    ]


def test_a_setting_that_is_faulty_is_one_mistake() -> None:
    """The clause that reads it is not blamed as well."""
    text = GOOD.replace("[controls]", "[settings]\nlimit = 1.5\n[controls]")
    (found,) = faults(text.replace("account.idle_days > 90", "account.idle_days > settings.limit"))
    assert found.startswith(f"{FILE}:22: settings.limit: must be one of: true or false, a whole number")


def test_an_empty_file_is_one_mistake() -> None:
    """Somebody's editor has just begun to write it, or somebody forgot to."""
    assert faults("# to do\n") == [f"{FILE}:1: is empty; `access-monitor rules new` writes a rule to start from"]


def test_a_faulty_rule_hides_no_fault_of_the_exemptions() -> None:
    """Which rules there are is not known, but the file itself is looked at."""
    files = {FILE: GOOD.replace('"high"', '"x"'), "rules/exemptions.toml": "[[exemptions]]\nrule = 'x'\nuntil = 3\n"}
    with pytest.raises(RuleErrors) as caught:
        parse_set(files, today=TODAY)
    assert any(
        p.startswith("rules/exemptions.toml:3: exemptions.0.until: is no key here") for p in caught.value.problems
    )


def test_an_id_belongs_to_one_file() -> None:
    """The same file name in two folders would make two rules with one fingerprint."""
    with pytest.raises(RuleErrors, match=r"b/idle-admin\.toml:1: id: idle-admin is also the id of a/idle-admin\.toml"):
        parse_set({"a/idle-admin.toml": GOOD, "b/idle-admin.toml": GOOD}, today=TODAY)


def test_digests_say_what_was_decided_by() -> None:
    """The rule's digest moves with its clauses and not with its words; the set's digest moves with any byte."""
    rule = parse_rule(GOOD, FILE, today=TODAY)
    words, clauses = GOOD.replace("1. Ask.", "1. Ask twice."), GOOD.replace("> 90", "> 91")
    assert parse_rule(words, FILE, today=TODAY).digest == rule.digest
    assert parse_rule(clauses, FILE, today=TODAY).digest != rule.digest
    assert set_digest({FILE: words}) != set_digest({FILE: GOOD})
