"""What a test asks of a source that reads a table: which accounts it showed, and how its scopes ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any

from monitor.domain.observed import Account, Activity, Grant, Group, Role
from monitor.domain.reading import (
    AccountsGone,
    AccountsRead,
    Batch,
    DetailsRead,
    GroupsRead,
    MembersRead,
    Outcome,
    Recall,
    RolesRead,
    ScopeEnded,
    SeenAccount,
)
from monitor.sources.rows import Columns

NAMES = {"id": "id", "email": "email", "name": "name", "status": "status"}


def columns(names: dict[str, str] | None = None, **how: Any) -> Columns:
    return Columns(names or NAMES, **({"zone": UTC} | how))


@dataclass
class Remembered(Recall):
    """What an earlier poll saw: a Recall, and what a batch changes in it."""

    digests: dict[bytes, str] = field(default_factory=dict)  # by digest, whose
    shown: set[str] = field(default_factory=set)

    def known(self, raw_digest: bytes) -> bool:
        if raw_digest not in self.digests:
            return False
        self.shown.add(self.digests[raw_digest])
        return True

    def missing(self, limit: int) -> tuple[list[str], int]:
        left = [i for i in self.digests.values() if i not in self.shown]
        return left[:limit], len(left)

    def privileged(self) -> list[str]:
        return []

    def recorded(self, scope: str) -> list[str]:
        return []


@dataclass
class Polled:
    """One reading, taken apart."""

    accounts: dict[str, Account] = field(default_factory=dict)
    activity: dict[str, Activity] = field(default_factory=dict)
    roles: list[Role] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    managers: list[Grant] = field(default_factory=list)
    assigned: list[Grant] = field(default_factory=list)
    members: dict[str, list[str]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    ends: dict[str, ScopeEnded] = field(default_factory=dict)

    @property
    def outcome(self) -> Outcome:
        return self.ends["users"].outcome

    @property
    def reason(self) -> str:
        return self.ends["users"].reason or ""


def _remember(recall: Remembered | None, seen: list[SeenAccount]) -> None:
    if recall is None:
        return
    ids = {s.account.id for s in seen}
    recall.shown |= ids
    kept = {d: i for d, i in recall.digests.items() if i not in ids}
    recall.digests = kept | {s.raw_digest: s.account.id for s in seen}


def polled(batches: Iterable[Batch], recall: Remembered | None = None, got: Polled | None = None) -> Polled:
    """Reads to the end. With a recall, it is what the next poll remembers; `got` is added to."""
    got = got or Polled()
    for batch in batches:
        match batch:
            case AccountsRead(seen):
                got.accounts |= {s.account.id: s.account for s in seen}
                got.activity |= {s.account.id: s.activity for s in seen}
                _remember(recall, seen)
            case AccountsGone(ids):
                got.gone += ids
            case RolesRead(roles):
                got.roles = roles
            case GroupsRead(groups, managers):
                got.groups, got.managers = groups, managers
            case DetailsRead(assigned):
                got.assigned += assigned
            case MembersRead(group, ids):
                got.members[group] = ids
            case ScopeEnded():
                got.ends[batch.name] = batch
    if recall:
        recall.shown = set()
    return got
