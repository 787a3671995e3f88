"""JSON Schema of rule files, made from the models that check them: editors complete and check while one types."""

from __future__ import annotations

import json
from typing import Any

from monitor.decide.controls import FRAMEWORKS
from monitor.decide.facts import FACTS
from monitor.decide.form import ExemptionsForm, Form, RuleForm
from monitor.decide.settings import NAME

RULE_FILE, EXEMPTIONS_FILE = "rule.schema.json", "exemptions.schema.json"
_AGE = r"^\d+[smhd]( ago)?$"


_WORDS = {"type": "string"}
_ONE_OR_SEVERAL = {"anyOf": [_WORDS, {"type": "array", "items": _WORDS, "minItems": 1}]}


def rule_schema() -> dict[str, Any]:
    schema = _schema(RuleForm, "A rule of access-monitor")
    keys = schema["properties"]
    keys["fix_within"] = {"type": "string", "pattern": r"^\d{1,5}[smhd]$"} | _about(keys["fix_within"])
    keys["closes"]["pattern"] = r"^(fixed|acknowledged|after \d{1,5}[smhd])$"
    keys["evidence"]["items"] = {"type": "string", "anyOf": [{"enum": sorted(FACTS)}, _WORDS]}
    keys["controls"] = {"type": "object", "additionalProperties": False, "properties": _controls()} | _about(
        keys["controls"]
    )
    test = schema["$defs"]["RuleTestForm"]["properties"]
    test["polls"]["items"] = {"type": "object", "properties": _poll()}
    for settings in (keys["settings"], test["settings"]):
        settings["propertyNames"] = {"pattern": f"^{NAME.pattern}$"}
    _subject_or_match(schema["$defs"]["ExemptionForm"])
    return schema


def exemptions_schema() -> dict[str, Any]:
    schema = _schema(ExemptionsForm, "Exemptions from rules of access-monitor")
    exemption = schema["$defs"]["SharedExemptionForm"]
    exemption["properties"]["rule"] = _ONE_OR_SEVERAL | _about(exemption["properties"]["rule"])
    _subject_or_match(exemption)
    return schema


def _schema(form: type[Form], title: str) -> dict[str, Any]:
    return {"$schema": "http://json-schema.org/draft-07/schema#"} | form.model_json_schema() | {"title": title}


def _subject_or_match(exemption: dict[str, Any]) -> None:
    """TOML has no null: what is optional is left out."""
    for key in ("subject", "ticket"):
        exemption["properties"][key] = _WORDS | _about(exemption["properties"][key])
    exemption["properties"]["source"] = _ONE_OR_SEVERAL | _about(exemption["properties"]["source"])
    exemption["oneOf"] = [{"required": ["subject"]}, {"required": ["match"]}]


def _about(key: dict[str, Any]) -> dict[str, Any]:
    return {"description": key["description"]}


def _controls() -> dict[str, Any]:
    return {name: {"type": "array", "items": {"enum": list(known)}} for name, known in FRAMEWORKS.items()}


def _poll() -> dict[str, Any]:
    """What is the same in every poll; the fields differ by what the rule is for each of."""
    return {
        "at": {"type": "string", "pattern": _AGE, "description": 'How long ago, like "10d ago".'},
        "absent": {"type": "array", "items": {"type": "string"}, "description": "Fields that were not reported."},
        "person": {
            "description": 'What the authority says of the holder: a table, "none" or "ambiguous".',
            "anyOf": [{"type": "object"}, {"enum": ["none", "ambiguous"]}],
        },
        "exists": {"type": "boolean", "description": "false: this poll did not show the subject."},
    }


def text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
