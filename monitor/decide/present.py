"""Findings, changes and accounts as the JSON that other programs read, and that templates get."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from monitor.decide.drift import names_of
from monitor.domain.change import Change
from monitor.domain.finding import Finding
from monitor.domain.observed import Subject
from monitor.domain.rule import Rule


def rfc3339(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, (list, tuple)) else value


def subject(about: Subject) -> dict[str, Any]:
    return {"kind": str(about.kind), "id": about.id, "email": about.email, "name": about.name}


def finding(found: Finding) -> dict[str, Any]:
    return {
        "fingerprint": found.fingerprint,
        "rule": found.rule,
        "title": found.title,
        "severity": found.severity.value,
        "status": found.status.value,
        "verdict": found.verdict.value,
        "exempt_until": rfc3339(found.exempt_until),
        "silenced_until": rfc3339(found.silenced_until),
        "exemption": None if found.exemption is None else dict(found.exemption),
        "assigned_to": found.assigned_to,
        "source": found.source,
        "subject": subject(found.subject),
        "opened_at": rfc3339(found.opened_at),
        "resolved_at": rfc3339(found.resolved_at),
        "resolution": found.resolution.value if found.resolution else None,
        "resolution_detail": found.resolution_detail,
        "acknowledged_at": rfc3339(found.acknowledged_at),
        "acknowledged_by": found.acknowledged_by,
        "owner": found.owner,
        "due_at": rfc3339(found.due_at),
        "evidence": [{"clause": e.clause, "facts": plain(dict(e.facts))} for e in found.evidence],
        "snapshot": found.snapshot,
        "baseline": found.baseline,
        "draft": found.draft,
        "tags": list(found.tags),
    }


def told(found: Finding, rule: Rule | None) -> dict[str, Any]:
    """A finding with what its rule says of it: what a message about it may use."""
    said = finding(found) | {
        "description": rule.description if rule else "",
        "runbook": rule.runbook if rule else "",
        "controls": {k: list(v) for k, v in rule.controls.items()} if rule else {},
    }
    if found.resolved_at is not None:
        said["open_for"] = (found.resolved_at - found.opened_at).total_seconds()
    return said


def change(moved: Change, source: str, snapshot: int | None = None) -> dict[str, Any]:
    return {
        "snapshot": snapshot,
        "source": source,
        "kind": moved.kind.value,
        "subject": subject(moved.subject),
        "field": moved.field,
        "before": plain(moved.before),
        "after": plain(moved.after),
        "names": list(names_of(moved)),
    }
