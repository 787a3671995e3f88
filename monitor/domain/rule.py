"""A rule as its file says it, after parsing. Expressions are still text here."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from monitor.domain.company import USUAL_HOURS, BusinessHours, Setting

SOURCE_OWNER = "source.owner"  # in owner_from: whom the config names for the source


class Severity(StrEnum):
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


class RuleStatus(StrEnum):
    DRAFT = "draft"
    ACTIVE = "active"
    RETIRED = "retired"


class Verdict(StrEnum):
    FINDING = "finding"
    EXEMPT = "exempt"
    NOTHING = "nothing"
    UNKNOWN = "unknown"
    ERROR = "rule error"


@dataclass(frozen=True, slots=True)
class Exemption:
    """Dated, approved leave: of one subject, or of all for whom its clauses hold."""

    subject: str  # an id or an e-mail; empty when clauses say who
    reason: str
    approved_by: str
    expires: date  # inclusive
    match: tuple[str, ...] = ()
    ticket: str | None = None
    rules: tuple[str, ...] = ()  # patterns of rule ids
    origin: str = ""  # the file that it stands in
    line: int = 0
    sources: tuple[str, ...] = ()  # names of sources; empty: all of them
    number: int | None = None  # of its row in the store, when it was approved by a button
    name: str = ""  # how people know the subject

    @property
    def id(self) -> str:
        """What it is about, and until when: another end is another exemption."""
        about = repr((self.rules, self.sources, self.subject, self.match, self.expires.isoformat()))
        return hashlib.sha256(about.encode()).hexdigest()[:12]

    @property
    def whom(self) -> str:
        return self.name or self.subject or " && ".join(self.match)

    @property
    def place(self) -> str:
        """Where it is to be found."""
        return f"{self.origin}:{self.line}" if self.number is None else f"exemption {self.number}"


@dataclass(frozen=True, slots=True)
class RuleTest:
    name: str
    expect: Verdict
    polls: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Setting] = field(default_factory=dict)
    line: int = 1  # of its polls in the file


@dataclass(frozen=True, slots=True)
class Closes:
    """When a finding ends: `fixed`, when acknowledged, or by itself `after` a time, for rules that tell of an event."""

    acknowledged: bool = False
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    id: str
    title: str
    severity: Severity
    status: RuleStatus
    owner: str
    for_each: str
    match: tuple[str, ...]
    description: str
    runbook: str
    fix_within: timedelta | None = None
    closes: Closes = Closes()
    evidence: tuple[str, ...] = ()
    controls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    exemptions: tuple[Exemption, ...] = ()
    tests: tuple[RuleTest, ...] = ()
    file: str = ""
    digest: str = ""  # over what decides: for_each, match, and the settings in force
    settings: Mapping[str, Setting] = field(default_factory=dict)  # what it may read as settings.NAME
    defaults: Mapping[str, Setting] = field(default_factory=dict)  # as its file says, whatever the config does
    hours: BusinessHours = USUAL_HOURS
    owner_from: tuple[str, ...] = ()  # facts that name the owner instead, the first that does; or SOURCE_OWNER
    clock: str | None = None  # a timestamp fact from which fix_within counts; None: from when the finding was opened
