"""What a poll changes, as settling finds it: what recording will write besides what lies in the staging file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from monitor.domain.change import Change, Version
from monitor.domain.observed import Account, Kind, Role
from monitor.domain.reading import Outcome, ScopeEnded
from monitor.store.staging import Staging
from monitor.store.tables import json_text
from monitor.store.things import GroupVersion, RoleVersion, SeatsVersion


class Drift(Protocol):
    """The decisions, handed in by the line so that this edge imports none."""

    def advance(self, before: Version | None, seen: Account, privileged: bool | None, at: datetime) -> Version: ...
    def account_changes(self, before: Version | None, after: Version, kind: Kind) -> Iterator[Change]: ...
    def thing_changes(self, kind: Kind, before: Any, after: Any) -> Iterator[Change]: ...
    def advance_role(self, before: Any, seen: Role, at: datetime) -> tuple[datetime, tuple[str, ...], datetime]: ...


@dataclass
class Settled:
    """What recording will write besides what lies in the staging file."""

    roles: list[RoleVersion] = field(default_factory=list)
    ended_roles: list[str] = field(default_factory=list)
    groups: list[GroupVersion] = field(default_factory=list)
    ended_groups: list[str] = field(default_factory=list)
    seats: list[SeatsVersion] = field(default_factory=list)
    ended_seats: list[str] = field(default_factory=list)
    scopes: list[tuple[ScopeEnded, str | None]] = field(default_factory=list)
    ended_scopes: list[str] = field(default_factory=list)
    removed: set[tuple[str, str]] = field(default_factory=set)  # (kind, id) of what vanished from a whole scope


def whole(staging: Staging, scope: str) -> bool:
    ended = staging.scopes.get(scope)
    return ended is not None and ended.outcome is Outcome.COMPLETE


def write_changes(staging: Staging, changes: Iterable[Change]) -> None:
    if staging.quiet:
        return
    rows = [
        (c.kind.value, str(c.subject.kind), c.subject.id, c.subject.email, c.subject.name, c.field,
         None if c.before is None else json_text(c.before), None if c.after is None else json_text(c.after))
        for c in changes
    ]  # fmt: skip
    staging.db.executemany("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
