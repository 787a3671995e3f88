"""A snapshot: what one poll saw, and its scopes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain.reading import NOT_READ, Outcome, Proof, ScopeEnded


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

    @property
    def troubles(self) -> list[str]:
        return troubles(self.scopes)


def troubles(scopes: Iterable[ScopeEnded]) -> list[str]:
    """What was not read whole, and why. What one cause broke is one line: a wrong secret breaks all scopes."""
    by_cause: dict[str, list[str]] = {}
    for scope in scopes:
        if scope.outcome not in (Outcome.COMPLETE, Outcome.UNREAD):
            cause = (scope.reason or scope.outcome.value).removeprefix(NOT_READ)
            by_cause.setdefault(cause, []).append(scope.name)
    return [f"{_some(names)}: {cause}" for cause, names in by_cause.items()]


def _some(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 5 else f"{', '.join(names[:4])} and {len(names) - 4} more"
