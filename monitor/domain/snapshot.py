"""A snapshot: what one poll saw, and its scopes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain.reading import Outcome, Proof, ScopeEnded


@dataclass(frozen=True, slots=True)
class Totals:
    accounts: int = 0
    roles: int = 0
    groups: int = 0
    grants: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    source: str
    outcome: Outcome
    started_at: datetime
    finished_at: datetime
    scopes: tuple[ScopeEnded, ...]
    proof: Proof
    baseline: bool = False  # the first complete one of its source
    error: str | None = None
    totals: Totals = field(default_factory=Totals)

    def complete(self, scope: str) -> bool:
        """Whether every scope of this name (or, with a trailing slash, of this family) was read whole."""
        found = [s for s in self.scopes if s.name == scope or (scope.endswith("/") and s.name.startswith(scope))]
        if scope.endswith("/") and not self.complete("groups"):
            return False  # without the list of groups nobody can say that all members were read
        return all(s.outcome is Outcome.COMPLETE for s in found) and (bool(found) or scope.endswith("/"))
