"""docs/rules.md says what is true: its table, its examples and the errors that it shows are made by the program."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from monitor.decide import clause_check, facts, factsheet, form, functions, parse, timeline
from monitor.decide.expressions import Clause
from monitor.domain.company import Setting
from monitor.domain.rule import Rule, RuleTest, Verdict
from monitor.errors import RuleErrors

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
TODAY = date(2026, 6, 15)
FILE = "rules/contractor-idle-and-privileged.toml"

# What is written instead of what, in the example of the document.
MISTAKES = (
    ("'account.idle_days > 30'", "'account.idle_dayz > 30'"),
    ("'account.idle_days > 30'", "'account.idle_days > \"30\"'"),
    ("'account.idle_days > 30'", "'now - account.last_login > duration(\"30d\")'"),
    ("'account.privileged'", "'account.privileged and account.is_admin'"),
    ("'account.privileged'", "'account.level = \"admin\"'"),
    ("'account.privileged'", "'account.level == admin'"),
    ("'account.privileged'", "'account.fields'"),
    ("'account.privileged'", "'has(account.last_login)'"),
    ("'account.privileged'", "'role.access_level == \"admin\"'"),
    ('"high"', '"hihg"'),
    ('fix_within = "3d"', 'fix_within = "3 days"'),
    ("severity   =", "severty    ="),
    ("{account.email}", "{account.mail}"),
    ('["A.5.18"]', '["5.18"]'),
    ("2026-10-31", "2028-10-31"),
    ('expect = "unknown"', 'expect = "unkown"'),
)

# A clause for each function of the library that the document names.
OF_CEL = (
    'account.name.contains("a")', 'account.name.startsWith("a")', 'account.name.endsWith("a")',
    'account.name.matches("a+")', 'account.email.split("@")[0] == ""', 'account.name.trim() == ""',
    'account.name.substring(1) == ""', 'account.name.indexOf("a") == 1', 'account.name.lastIndexOf("a") == 1',
    'account.name.charAt(0) == "D"', 'account.name.lowerAscii() == ""', 'account.name.upperAscii() == ""',
    'account.name.reverse() == ""', 'account.name.replace("a", "b") == ""', 'account.tags.join(",") == ""',
    '"%s".format([account.name]) == ""', 'account.tags.first().orValue("") == ""',
    'account.tags.last().orValue("") == ""', "account.tags.sort() == account.tags",
    "account.tags.sortBy(t, size(t)) == account.tags", "account.tags.distinct() == account.tags",
    "account.tags.reverse() == account.tags", "account.tags.slice(0, 1) == account.tags",
    "[account.tags].flatten() == account.tags", "sets.contains(account.tags, account.groups)",
    "sets.intersects(account.tags, account.groups)", "sets.equivalent(account.tags, account.groups)",
    'account.tags.exists(x, x == "")', 'account.tags.all(x, x == "")', 'account.tags.exists_one(x, x == "")',
    'account.tags.filter(x, x == "") == []', 'account.tags.map(x, x + "a") == []',
    'account.fields[?"cf_team"].orValue("none") == ""', "account.tags[?0].hasValue()",
    'account.tags[?0].optMap(x, x + "a").orValue("") == ""', "now - account.created > days(1) + hours(1)",
    'now - account.created > duration("36h")', "(now - account.created).getHours() > 1",
    'now > timestamp("2026-03-01T00:00:00Z")', "now.getFullYear() == 2026", "now.getMonth() == 0",
    "now.getDayOfWeek() == 1", 'now.getHours("Europe/Berlin") == 1',
)  # fmt: skip

# Polls with a fault.
FAULTY_POLLS: tuple[dict[str, object], ...] = (
    {"at": "ten days ago"},
    {"at": "10d ago", "privileged": True},
    {"at": "10d ago", "department": "Sales"},
    {"at": "10d ago", "is_admin": "yes"},
)


def between(marker: str) -> str:
    found = re.search(rf"<!-- {marker} -->\n(.*?)<!-- /{marker} -->", DOC, re.DOTALL)
    assert found, f"docs/rules.md lacks <!-- {marker} --> ... <!-- /{marker} -->"
    return found[1]


def example() -> str:
    return between("example").removeprefix("```toml\n").rpartition("```")[0]


def rule() -> Rule:
    return parse.parse_rule(example(), FILE, today=TODAY)


def mistakes() -> str:
    return "\n".join(_mistake(old, new) for old, new in MISTAKES)


def _mistake(old: str, new: str) -> str:
    right, wrong = example(), example().replace(old, new, 1)
    with pytest.raises(RuleErrors) as caught:
        parse.parse_rule(wrong, FILE, today=TODAY)
    line = next(w for r, w in zip(right.splitlines(), wrong.splitlines(), strict=True) if w != r)
    return f"```toml\n{line.strip()}\n```\n\n```text\n{caught.value}\n```\n"


def faulty_polls() -> str:
    lines = []
    for poll in FAULTY_POLLS:
        result = timeline.run_test(rule(), RuleTest("faulty", Verdict.NOTHING, (poll,)))
        assert not result.passed
        lines.append(result.message)
    return "```text\n" + "\n".join(lines) + "\n```\n"


def failing() -> str:
    polls = ({"at": "60d ago", "level": "instructor", "tags": ["contractor"], "last_login": "30d ago"},)
    result = timeline.run_test(replace(rule(), exemptions=()), RuleTest("failing", Verdict.FINDING, polls))
    return f"```text\n{result.message}\n```\n"


def generated() -> dict[str, str]:
    table = ["| function | gives | meaning | example |", "| --- | --- | --- | --- |"]
    table += [f"| `{call}` | {gives} | {about} | `{example}` |" for call, gives, about, example in functions.rows()]
    made = {
        "functions": "\n".join(table),
        "facts": factsheet.markdown(),
        "mistakes": mistakes(),
        "polls": faulty_polls(),
        "failing": failing(),
    }
    made["samples"] = "\n".join(f"```toml\n# {kind}\n{factsheet.sample(kind)}```\n" for kind in facts.KINDS)
    return {marker: text.strip() for marker, text in made.items()}


@pytest.mark.parametrize("marker", ["functions", "facts", "mistakes", "polls", "failing", "samples"])
def test_generated_parts_are_fresh(marker: str) -> None:
    """The table of facts and the messages are the program's; `python -m tests.docs.test_rules_doc` renews them."""
    assert between(marker).strip() == generated()[marker]


def test_the_example_is_a_rule_whose_tests_pass() -> None:
    """Whoever copies the example has a working rule."""
    results = timeline.run_tests(rule())
    assert [r.message for r in results if not r.passed] == []
    assert {t.expect for t in rule().tests} == {Verdict.FINDING, Verdict.NOTHING, Verdict.UNKNOWN}


def test_every_shown_clause_compiles() -> None:
    """Each clause in the table of clauses can be used as it stands, and is true or false on the sample."""
    written = [
        c for line in between("clauses").splitlines()[2:] for c in re.findall(r"`([^`]+)`", line.split(" | ")[1])
    ]
    written += [f.example for f in functions.FUNCTIONS]
    assert len(written) >= 20
    known = {"dormant_days": Setting("int", 180)}
    for text in written:
        assert Clause(text, "account", known).holds(clause_check.sample("account", facts.readable("account"))) in (
            True,
            False,
        )


def test_the_example_of_settings_is_taken() -> None:
    """In the rule above, it loads: the clauses read what they declare."""
    block = between("settings").removeprefix("```toml\n").rpartition("```")[0]
    match, _, settings = block.partition("\n\n")
    text = re.sub(r"^match = \[.*?^\]$", match, example(), flags=re.DOTALL | re.MULTILINE)
    said = parse.parse_rule(text.replace("[controls]", f"{settings}\n[controls]", 1), FILE, today=TODAY)
    assert {name: s.value for name, s in said.settings.items()} == {
        "dormant_days": 180,
        "staff_domains": ["example.com"],
    }


FUNCTIONS_OF_CEL = DOC.split("<!-- /functions -->")[1].split("**No clause")[0]


def test_every_function_of_the_library_that_is_named_exists() -> None:
    """The table of what CEL itself offers, word by word: each compiles on something."""
    tried = {
        "in": '"a" in account.tags', "size": "size(account.tags) > 0", "[0]": 'account.tags[0] == "sample"',
    }  # fmt: skip
    for name in re.findall(r"`(\w+)(?:\([^`]*\))?`", FUNCTIONS_OF_CEL):
        assert name in tried or any(name in clause for clause in OF_CEL), name
    for clause in (*tried.values(), *OF_CEL):
        Clause(clause, "account").holds(clause_check.sample("account", facts.readable("account")))


@pytest.mark.parametrize("model", [form.RuleForm, form.RuleTestForm, form.SharedExemptionForm])
def test_every_key_is_described(model: type[form.Form]) -> None:
    """There is a row for every key that a rule file may have, and the schema says the same of it to an editor."""
    assert [key for key in model.model_fields if f"\n| `{key}` |" not in DOC] == []


def test_every_key_of_a_poll_is_described() -> None:
    """There is a row for every word that is special in a poll."""
    assert [key for key in timeline.CONTROL_KEYS if f"\n| `{key}` |" not in DOC] == []


def test_the_limit_of_the_source_is_said() -> None:
    """Nobody should believe that a rule sees the permissions inside a role."""
    assert "not the permissions inside it" in DOC


def test_the_shipped_rules_are_listed_by_folder() -> None:
    """Every folder has its README of two lines and its row, and every rule stands in the row of its folder."""
    shipped: dict[str, set[str]] = {}
    for path in (ROOT / "rules").glob("*/*.toml"):
        shipped.setdefault(path.parent.name, set()).add(path.stem)
    rows = [line.split("|")[1:4] for line in between("packs").splitlines()[2:]]
    assert {name.strip(" `"): set(re.findall(r"`([^`]+)`", rules)) for name, _, rules in rows} == shipped
    assert [f for f in shipped if len((ROOT / "rules" / f / "README.md").read_text("utf-8").splitlines()) != 2] == []


def _renew() -> None:
    text = DOC
    for marker, made in generated().items():
        text = re.sub(
            rf"(?<=<!-- {marker} -->\n).*?(?=<!-- /{marker} -->)",
            (made + "\n").replace("\\", r"\\"),
            text,
            flags=re.DOTALL,
        )
    (ROOT / "docs" / "rules.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    _renew()
