"""The complete list behind a message that shows only its first lines, as CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from monitor.deliver.clean import one_line
from monitor.domain.message import Notification, Reason

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_FINDINGS = (Reason.BASELINE, Reason.STORM, Reason.DIGEST, Reason.GROUP, Reason.NEW_IN_GROUP)  # messages that list them
_FINDING = (
    "severity", "title", "source", "subject_kind", "subject_id", "email", "name", "rule", "owner",
    "opened_at", "due_at", "evidence", "fingerprint",
)  # fmt: skip
_CHANGE = (
    "snapshot", "source", "names", "kind", "subject_kind", "subject_id", "email", "name", "field", "before", "after",
)  # fmt: skip


class Attachment(NamedTuple):
    name: str
    data: bytes


def rows(notification: Notification) -> int:
    """How many lines the list of a message has."""
    return len(_listed(notification))


def attachment(notification: Notification) -> Attachment | None:
    """The list as CSV, or None for a message without one."""
    listed = _listed(notification)
    if not listed:
        return None
    of_findings = notification.reason in _FINDINGS
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_FINDING if of_findings else _CHANGE)
    writer.writerows((_finding if of_findings else _change)(item) for item in listed)
    return Attachment(_name(notification), out.getvalue().encode("utf-8-sig"))  # the mark is what Excel knows UTF-8 by


def _listed(notification: Notification) -> list[Mapping[str, Any]]:
    content = notification.content
    if notification.reason in _FINDINGS:
        return list(content["findings"])
    return list(content["changes"]) if notification.reason is Reason.CHANGES else []


def _name(notification: Notification) -> str:
    what = "findings" if notification.reason in _FINDINGS else "changes"
    source = re.sub(r"[^A-Za-z0-9_-]+", "-", str(notification.content["source"])).strip("-")[:60]
    return f"{what}-{source or 'source'}-{notification.created_at:%Y-%m-%d}.csv"


def _finding(found: Mapping[str, Any]) -> list[Any]:
    evidence = "; ".join(f"{k}={_value(v)}" for e in found.get("evidence", ()) for k, v in e["facts"].items())
    values = {**found, **_subject(found["subject"]), "evidence": evidence}
    return [cell(values.get(column)) for column in _FINDING]


def _change(moved: Mapping[str, Any]) -> list[Any]:
    values = {**moved, **_subject(moved["subject"]), "names": ", ".join(moved["names"])}
    return [cell(values.get(column)) for column in _CHANGE]


def _subject(about: Mapping[str, Any]) -> dict[str, Any]:
    return {"subject_kind": about["kind"], "subject_id": about["id"], "email": about["email"], "name": about["name"]}


def _value(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def cell(value: Any) -> Any:
    """A value as a spreadsheet may see it: a text that it would run as a formula gets an apostrophe."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    text = _value(value)
    safe = one_line(text)
    return f"'{safe}" if text.startswith(_FORMULA) or safe.startswith(_FORMULA) else safe
