"""One message that tells what was collected for somebody."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from monitor.decide import route
from monitor.decide.address import readdressed
from monitor.domain.message import Notification, Reason
from monitor.domain.rule import Severity

_LONG = ("description", "runbook", "controls")  # what the first message about a finding says; a list need not


def digest(collected: Sequence[Notification], now: datetime) -> Notification:
    """All of one lane, what is worst first; what is over comes last. Of a finding the newest that was said of it."""
    first = collected[0]
    newest = {n.content["finding"]["fingerprint"]: n for n in collected if "finding" in n.content}
    findings = sorted(map(_short, newest.values()), key=_worst_first)
    changes = [c for n in collected for c in n.content.get("changes", ())]
    opened = Counter(f["severity"] for f in findings if f["reason"] != Reason.RESOLVED)
    content: dict[str, Any] = {
        "findings": findings, "changes": changes,
        "counts": {s.value: opened[s.value] for s in reversed(Severity) if opened[s.value]},
        "resolved": sum(f["reason"] == Reason.RESOLVED for f in findings),
        "since": first.content["at"],
    }  # fmt: skip
    sources = sorted({str(n.content["source"]) for n in collected})
    title = _title(opened.total(), int(content["resolved"]), len(changes))
    note = route.notification(
        first.receiver, Reason.DIGEST, f"digest:{first.id}", title, ", ".join(sources), now, content
    )
    return readdressed(note, first.receiver, first.address)


def _short(note: Notification) -> dict[str, Any]:
    found = {k: v for k, v in note.content["finding"].items() if k not in _LONG}
    return found | {"reason": note.reason.value, "at": note.content["at"]}


def _worst_first(found: dict[str, Any]) -> tuple[bool, int, str]:
    return found["reason"] == Reason.RESOLVED, -Severity(found["severity"]).rank, str(found["title"])


def _title(opened: int, resolved: int, changes: int) -> str:
    named = ((opened, "open", "open"), (resolved, "resolved", "resolved"), (changes, "change", "changes"))
    return "Digest: " + ", ".join(f"{n} {one if n == 1 else many}" for n, one, many in named if n)
