"""The schema that editors use: it is the one that the models make, and takes what the program takes."""

from __future__ import annotations

import re
import tomllib
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from monitor.decide import controls, schema

ROOT = Path(__file__).parents[2] / "rules"
FILES = sorted(p for p in ROOT.rglob("*.toml") if p.name != "exemptions.toml")


def as_json(value: Any) -> Any:
    """As an editor sees a TOML file: dates are texts."""
    if isinstance(value, dict):
        return {k: as_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [as_json(v) for v in value]
    return value.isoformat() if isinstance(value, date) else value


def faults(rule: dict[str, Any]) -> list[str]:
    checker = jsonschema.Draft7Validator(schema.rule_schema())
    return [f"{list(e.path)}: {e.message}" for e in checker.iter_errors(as_json(rule))]


def test_the_shipped_schema_is_the_generated_one() -> None:
    """`access-monitor rules schema > rules/rule.schema.json` renews it; `... schema exemptions` the other."""
    for name, made in ((schema.RULE_FILE, schema.rule_schema()), (schema.EXEMPTIONS_FILE, schema.exemptions_schema())):
        assert (ROOT / name).read_text(encoding="utf-8") == schema.text(made)
        jsonschema.Draft7Validator.check_schema(made)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_shipped_rule_names_the_schema_and_keeps_to_it(path: Path) -> None:
    """The comment in its first line leads an editor to the schema, whatever folder the rule lies in."""
    text = path.read_text(encoding="utf-8")
    named = re.match(r"#:schema (\S+)\n", text)
    assert named, "begin the file with #:schema ./rule.schema.json"
    assert (path.parent / named[1]).resolve() == ROOT / schema.RULE_FILE
    assert faults(tomllib.loads(text)) == []


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("severity", "hihg", "'hihg' is not one of"),
        ("fix_within", "3 days", "does not match"),
        ("closes", "soon", "does not match"),
        ("id", "No Id", "does not match"),
        ("match", [], "should be non-empty"),
        ("colour", 1, "'colour' was unexpected"),
        ("controls", {"soc2": ["CC6.9"]}, "'CC6.9' is not one of"),
        ("controls", {"sox": []}, "'sox' was unexpected"),
        ("exemptions", [{"subject": "ann", "reason": "On leave"}], "'approved_by' is a required property"),
        ("tests", [{"name": "x", "expect": "unkown", "polls": [{}]}], "'unkown' is not one of"),
        ("tests", [{"name": "x", "expect": "nothing", "polls": [{"at": "yesterday"}]}], "does not match"),
    ],
)  # fmt: skip
def test_an_editor_marks_mistakes(key: str, value: Any, said: str) -> None:
    """Those that can be seen in one key, before the program reads the file."""
    rule = tomllib.loads(FILES[0].read_text(encoding="utf-8")) | {key: value}
    found = faults(rule)
    assert any(said in fault for fault in found), found


LEAVE = {"reason": "On leave", "approved_by": "head@example.com", "expires": date(2026, 12, 31)}


@pytest.mark.parametrize(
    ("exemption", "right"),
    [
        ({"rule": "a-rule", "subject": "ann"}, True),
        ({"rule": ["a-rule", "other-*"], "match": ["account.is_admin"], "ticket": "IT-1"}, True),
        ({"subject": "ann"}, False),
        ({"rule": "a-rule"}, False),
        ({"rule": "a-rule", "subject": "ann", "match": ["true"]}, False),
        ({"rule": "a-rule", "subject": "ann", "until": 1}, False),
    ],
)
def test_an_editor_knows_exemptions(exemption: dict[str, Any], right: bool) -> None:
    """As the program does: a subject or clauses, and the rule that it is about."""
    checker = jsonschema.Draft7Validator(schema.exemptions_schema())
    assert checker.is_valid(as_json({"exemptions": [LEAVE | exemption]})) is right


@pytest.mark.parametrize(
    ("framework", "known", "number", "unknown"),
    [
        ("soc2", {"CC1.1", "CC6.8", "CC9.2", "A1.3", "C1.2", "PI1.5", "P6.7", "P8.1"}, 61, {"CC6.9", "A1.4", "CC10.1"}),
        ("iso27001", {"A.5.1", "A.5.37", "A.6.8", "A.7.14", "A.8.34"}, 93, {"A.5.38", "A.9.1", "5.18"}),
        ("nist", {"AC-2", "AC-2(3)", "AU-6(9)", "IA-5(1)", "PS-4(2)"}, None, {"AC-13", "AC-2(10)", "AC-26", "ac-2"}),
        ("cis", {"5", "5.3", "18.5", "6.8"}, 18 + 153, {"19", "5.7", "0.1"}),
    ],
)  # fmt: skip
def test_controls_are_those_of_the_frameworks(
    framework: str, known: set[str], number: int | None, unknown: set[str]
) -> None:
    """As many as were published, the first and the last of each part, and none beyond."""
    every = controls.FRAMEWORKS[framework]
    assert known <= set(every)
    assert not unknown & set(every)
    assert len(set(every)) == len(every) == (number or len(every))
    assert [controls.fault(framework, c) for c in sorted(known)] == [None] * len(known)
    assert all("there is no control" in str(controls.fault(framework, c)) for c in unknown)
