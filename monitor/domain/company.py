"""What this company is, as its config says it and as rules may ask: settings and business hours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, time, tzinfo
from typing import Any, NamedTuple


class Setting(NamedTuple):
    type: str  # as facts write theirs: "int", "list(string)" ...
    value: Any


@dataclass(frozen=True, slots=True)
class BusinessHours:
    zone: tzinfo = UTC
    days: tuple[int, ...] = (0, 1, 2, 3, 4)  # Monday is 0
    opens: time = time(9)
    closes: time = time(17)
    country: str | None = None  # whose public holidays are no business days
    region: str | None = None
    deadlines: bool = False  # the days of fix_within are business days
    reminders: bool = True  # what time alone brings waits for business hours, unless it is critical


USUAL_HOURS = BusinessHours()


@dataclass(frozen=True, slots=True)
class Company:
    settings: Mapping[str, Setting] = field(default_factory=dict)
    hours: BusinessHours = USUAL_HOURS


ANY_COMPANY = Company()  # without a config
