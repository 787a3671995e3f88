"""What an act makes of a finding."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from monitor.decide.reconcile import acknowledged
from monitor.domain.act import Act, Click
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus, Resolution
from monitor.domain.rule import Rule


def done(found: Finding | None, click: Click, rule: Rule | None, now: datetime) -> Event | str:
    """The event, or why there is none: that is said to the person."""
    if not click.allowed:
        return "You may not act on findings here. Ask for your user id to be added to `actors` of the receiver."
    if found is None:
        return "There is no such finding any more."
    if found.status is FindingStatus.RESOLVED:
        return f"It is over already: {found.resolution_detail or found.resolution}."
    if click.act is Act.FALSE_ALARM:
        return false_alarm(found, click.by, click.reason, now)
    if found.status is FindingStatus.ACKNOWLEDGED:
        return f"{found.acknowledged_by} acknowledged it already."
    return acknowledged(found, rule, click.by, now)


def false_alarm(found: Finding, by: str, reason: str, now: datetime) -> Event | str:
    """Closed by a person while it holds: it stays closed until it stopped holding once."""
    if not reason.strip():
        return "Say why it is a false alarm."
    after = replace(
        found, status=FindingStatus.RESOLVED, resolution=Resolution.FALSE_ALARM, resolved_at=now,
        resolution_detail=f"{by}: {reason.strip()}",
    )  # fmt: skip
    return Event(EventKind.FALSE_ALARM, after, reason.strip(), by=by)
