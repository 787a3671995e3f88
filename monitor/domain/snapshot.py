"""A snapshot: what one poll saw, and its scopes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from monitor.domain.reading import NOT_READ, Lane, Outcome, Proof, Scope, ScopeEnded


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
    complete_age: int = 0  # minutes since the last whole poll began; since the first poll, while there is none
    removed_percent: int = 0  # accounts gone, or that would be if the poll were believed
    unknown_percent: int | None = None  # of the verdicts on accounts, roles and groups; None: nothing was judged
    totals: Totals = field(default_factory=Totals)
    lane: Lane = Lane.FULL
    failing_receivers: tuple[str, ...] | None = None  # None: nobody looked
    refused_rules: tuple[str, ...] | None = None  # faults of rule files that were not taken over
    carried: tuple[ScopeEnded, ...] = ()  # what this poll was not to read, with the outcome of the poll that did

    def complete(self, scope: str) -> bool:
        """Whether this poll read every scope of this name (or, with a trailing slash, of this family) whole."""
        left_out = scope.endswith("/") and any(s.name.startswith(scope) for s in self.carried)
        return not left_out and _whole(scope, self.scopes)

    def known(self, scope: str) -> bool:
        """Whether it is known whole: read by this poll, or not due and whole when it was read."""
        return _whole(scope, (*self.scopes, *self.carried))

    @property
    def known_scopes(self) -> tuple[ScopeEnded, ...]:
        """Of every part, how well it is known: read by this poll, or by the one that read it last."""
        return (*self.scopes, *self.carried)

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


def _whole(scope: str, scopes: tuple[ScopeEnded, ...]) -> bool:
    family = scope.endswith("/")
    found = [s for s in scopes if s.name == scope or (family and s.name.startswith(scope))]
    if family and not _whole(Scope.GROUPS, scopes):
        return False  # without the list of groups nobody can say that all members were read
    return all(s.outcome is Outcome.COMPLETE for s in found) and (bool(found) or family)
