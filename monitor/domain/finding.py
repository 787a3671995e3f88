"""A rule that holds for a subject, from when it was opened to how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from monitor.domain.observed import Subject
from monitor.domain.rule import Severity, Verdict


class FindingStatus(StrEnum):
    OPEN = "open"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Resolution(StrEnum):
    FIXED = "fixed"
    GONE = "gone"
    AGED_OUT = "aged out"
    ACKNOWLEDGED = "acknowledged"
    FALSE_ALARM = "false alarm"
    EXEMPTED = "exempted"
    RULE_CHANGED = "rule changed"
    RULE_RETIRED = "rule retired"


class Evidence(NamedTuple):
    """One clause that held, and the values it saw. `clause` is empty for facts that only explain."""

    clause: str
    facts: Mapping[str, Any]


class Judgement(NamedTuple):
    """What one rule says of one subject, now."""

    rule: str
    subject: Subject
    verdict: Verdict
    evidence: tuple[Evidence, ...] = ()
    title: str = ""
    why: str = ""  # the clause that did not hold, the facts that are absent, or the error
    exempt_until: datetime | None = None
    exempted_by: tuple[str, ...] = ()  # ids of the exemptions in force, the one that ends last first
    clock: datetime | None = None  # from when fix_within counts, if the rule says so and the fact is known
    owners: tuple[str, ...] = ()  # who may answer for it, the first one first: addresses, or SOURCE_OWNER


@dataclass(frozen=True, slots=True)
class Finding:
    fingerprint: str
    rule: str
    title: str
    severity: Severity
    status: FindingStatus
    verdict: Verdict
    source: str
    subject: Subject
    owner: str
    opened_at: datetime
    due_at: datetime | None
    evidence: tuple[Evidence, ...]
    rule_digest: str
    snapshot: int  # the snapshot that the evidence was seen in
    baseline: bool = False
    resolved_at: datetime | None = None
    resolution: Resolution | None = None
    resolution_detail: str | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    exempt_until: datetime | None = None
    silenced_until: datetime | None = None
    exemption: Mapping[str, Any] | None = None  # what was asked for by a button, and who approved it
    assigned_to: str | None = None
    closes_at: datetime | None = None
    draft: bool = False
    tags: tuple[str, ...] = field(default=())
    id: int | None = None
    asked_at: datetime | None = None  # when people were asked to do something about it, most lately
    told_at: datetime | None = None  # when anything was said of it because of that, or because of time
    calm_at: datetime | None = None  # its opening or end was not told, for it flaps: when it is after all


class EventKind(StrEnum):
    OPENED = "opened"
    RESOLVED = "resolved"
    VERDICT = "verdict"  # the same finding, judged otherwise: exempt, unknown, or a finding again
    EDITED = "edited"  # its rule was edited: owner, text, draft or not
    SEVERITY_RAISED = "severity_raised"  # by an edit of its rule
    SEVERITY_LOWERED = "severity_lowered"
    ACKNOWLEDGED = "acknowledged"
    FALSE_ALARM = "false_alarm"
    ASSIGNED = "assigned"
    RECHECKED = "rechecked"  # somebody had its subject looked at
    SILENCED = "silenced"  # muted, or muted until another time
    SILENCE_ENDED = "silence_ended"
    DUE_SOON = "due_soon"
    OVERDUE = "overdue"
    REMINDED = "reminded"
    ESCALATED = "escalated"
    EXEMPTION_ASKED = "exemption_asked"  # waits for a second person
    EXEMPTED = "exempted"  # by a person, not by a file
    EXEMPTION_REFUSED = "exemption_refused"
    EXEMPTION_WITHDRAWN = "exemption_withdrawn"  # the next poll judges without it


class Event(NamedTuple):
    """A step in the life of a finding; `finding` is the state after it."""

    kind: EventKind
    finding: Finding
    detail: str | None = None
    was: Verdict | None = None  # the verdict before, when that moved
    by: str | None = None
    to: tuple[str, ...] = ()  # receivers that hear of it, instead of those of the routes
    flapping: str = ""  # what is said of an opening that was one too many

    @property
    def asks(self) -> bool:
        """Whether people are asked from now on to do something about it, who were not before."""
        again = self.was is Verdict.EXEMPT and self.finding.verdict is Verdict.FINDING
        activated = self.kind is EventKind.EDITED and self.detail is not None
        anew = self.kind in (EventKind.SILENCE_ENDED, EventKind.SEVERITY_RAISED)
        return anew or activated or (self.kind is EventKind.VERDICT and again)
