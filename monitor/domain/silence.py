"""A muting by somebody, for a reason, until an end. What it mutes stays open and is counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from monitor.domain.matcher import Matcher


class SilenceState(StrEnum):
    PLANNED = "planned"
    ACTIVE = "active"
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Silence:
    matcher: Matcher
    by: str
    reason: str
    starts: datetime
    ends: datetime
    receiver: str = ""  # in which it was made, and where its author is warned; empty: by a command
    state: SilenceState = SilenceState.PLANNED
    expired_by: str | None = None  # who ended it before its time
    warned_at: datetime | None = None
    id: int | None = None
