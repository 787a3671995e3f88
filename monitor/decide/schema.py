"""JSON Schema of rule files, made from the models that check them: editors complete and check while one types."""

from __future__ import annotations

import json
from typing import Any

from monitor.decide.controls import FRAMEWORKS
from monitor.decide.facts import FACTS
from monitor.decide.form import RuleForm

RULE_FILE = "rule.schema.json"
_AGE = r"^\d+[smhd]( ago)?$"


def rule_schema() -> dict[str, Any]:
    schema = {"$schema": "http://json-schema.org/draft-07/schema#"} | RuleForm.model_json_schema()
    schema["title"] = "A rule of access-monitor"
    keys = schema["properties"]
    keys["fix_within"] = {"type": "string", "pattern": r"^\d{1,5}[smhd]$"} | _about(keys["fix_within"])
    keys["closes"]["pattern"] = r"^(fixed|acknowledged|after \d{1,5}[smhd])$"
    keys["evidence"]["items"] = {"type": "string", "anyOf": [{"enum": sorted(FACTS)}, {"type": "string"}]}
    keys["controls"] = {"type": "object", "additionalProperties": False, "properties": _controls()} | _about(
        keys["controls"]
    )
    polls = schema["$defs"]["RuleTestForm"]["properties"]["polls"]
    polls["items"] = {"type": "object", "properties": _poll()}
    return schema


def _about(key: dict[str, Any]) -> dict[str, Any]:
    return {"description": key["description"]}


def _controls() -> dict[str, Any]:
    return {name: {"type": "array", "items": {"enum": list(known)}} for name, known in FRAMEWORKS.items()}


def _poll() -> dict[str, Any]:
    """What is the same in every poll; the fields differ by what the rule is for each of."""
    return {
        "at": {"type": "string", "pattern": _AGE, "description": 'How long ago, like "10d ago".'},
        "absent": {"type": "array", "items": {"type": "string"}, "description": "Fields that were not reported."},
        "exists": {"type": "boolean", "description": "false: this poll did not show the subject."},
    }


def text(schema: dict[str, Any]) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
