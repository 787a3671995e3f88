"""One message for findings that have something in common: what opened within its window, and what becomes of it."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from monitor.decide import present
from monitor.decide.address import readdressed
from monitor.decide.route import IDS, notification
from monitor.domain.finding import Finding, FindingStatus
from monitor.domain.message import Group, Notification, Reason
from monitor.domain.rule import Rule, Severity

LATELY = timedelta(days=7)


def told_together(
    collected: Sequence[Notification], found: Sequence[Finding], told: Collection[int], rules: Mapping[str, Rule],
    now: datetime,
) -> Notification:  # fmt: skip
    """What is said because of what was collected. `found`: all of the group, as they are now; `told`: those that were
    told before. Of a group of one it is what was collected: that says more than a list.
    """
    newest, group = collected[-1], collected[-1].group
    assert group is not None
    found = _lately(found, {n.finding_id for n in collected}, now)
    of = {"id": group.id, "by": dict(group.by), "first": not told}
    if len(found) == len(collected) == 1:
        key = f"group:{group.id}:{newest.key}"
        content = {**newest.content, "group": of}
        return replace(
            newest, id=str(uuid.uuid5(IDS, key)), key=key, content=content, collected=False, due_at=None,
            created_at=now, finding_id=None,
        )  # fmt: skip
    new = [f for f in found if f.id not in told]
    reason = Reason.NEW_IN_GROUP if told and new else Reason.GROUP
    sources = ", ".join(sorted({f.source for f in found}))
    content = {"group": of, "news": [_news(n) for n in collected], **_listed(found, new, rules)}
    key = f"group:{group.id}:{newest.id}"
    note = notification(newest.receiver, reason, key, title(group, found), sources, now, content)
    return replace(readdressed(note, newest.receiver, newest.address), group=group)


def _lately(found: Sequence[Finding], news: Collection[int | None], now: datetime) -> list[Finding]:
    """A group may go on for years: without what has been over for long, and was told to be."""
    return [f for f in found if f.resolved_at is None or f.resolved_at > now - LATELY or f.id in news]


def _listed(found: Sequence[Finding], new: Sequence[Finding], rules: Mapping[str, Rule]) -> dict[str, Any]:
    """What is open comes first, the worst of it at the top."""
    in_order = sorted(found, key=lambda f: (_over(f), -f.severity.rank, f.title))
    counts = Counter(f.severity for f in found if not _over(f))
    of_one = {f.rule for f in found}
    rule = rules.get(next(iter(of_one))) if len(of_one) == 1 else None
    return {
        "findings": [_line(f) | {"new": f in new} for f in in_order],
        "counts": {s.value: counts[s] for s in reversed(Severity) if counts[s]},
        "open": counts.total(), "over": len(found) - counts.total(),
        "owners": list(dict.fromkeys(f.owner for f in in_order if f.owner)),
        "due_at": present.rfc3339(min((f.due_at for f in found if f.due_at and not _over(f)), default=None)),
        "since": present.rfc3339(min(f.opened_at for f in found)),
        "description": rule.description if rule else "", "runbook": rule.runbook if rule else "",
    }  # fmt: skip


def _line(found: Finding) -> dict[str, Any]:
    said = present.told(found, None)
    return {name: value for name, value in said.items() if name not in ("description", "runbook", "controls")}


def _news(note: Notification) -> dict[str, Any]:
    """One line of the group's history."""
    found = note.content["finding"]
    kept = ("fingerprint", "title", "severity", "resolution", "open_for")
    return {
        "reason": note.reason.value, "at": note.content["at"], "happened": note.content.get("happened", ""),
        **{name: found.get(name) for name in kept},
    }  # fmt: skip


def _over(found: Finding) -> bool:
    return found.status is FindingStatus.RESOLVED


def title(group: Group, found: Sequence[Finding]) -> str:
    """How many there are, what they have in common, and how many of them are over; of one alone, what it says."""
    by, number, over = dict(group.by), len(found), sum(map(_over, found))
    if number == 1:
        return found[0].title
    words = [
        f"{number} {by['severity']} findings" if "severity" in by else f"{number} findings",
        *_in_common(by, found),
    ]
    state = "" if not over else ", all over" if over == number else f": {number - over} open, {over} over"
    return " ".join(words) + state


def _in_common(by: Mapping[str, str], found: Sequence[Finding]) -> list[str]:
    about, sources = found[0].subject, {f.source for f in found}
    said = {
        "rule": f"of {by.get('rule')}", "pack": f"of the folder {by.get('pack') or 'rules'}",
        "subject": f"about {about.email or about.name or about.id}",
        "owner": f"for {by['owner']}" if by.get("owner") else "without an owner",
    }  # fmt: skip
    return [said[name] for name in said if name in by] + ([f"in {found[0].source}"] if len(sources) == 1 else [])
