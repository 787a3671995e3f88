"""A rule as its file says it, after parsing. Expressions are still text here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum
from typing import Any


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
    subject: str
    reason: str
    approved_by: str
    expires: date  # inclusive


@dataclass(frozen=True, slots=True)
class RuleTest:
    name: str
    expect: Verdict
    polls: tuple[Mapping[str, Any], ...]
    settings: Mapping[str, Any] = field(default_factory=dict)


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
    digest: str = ""  # over what decides: for_each and match
