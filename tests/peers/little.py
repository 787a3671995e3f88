"""A school in memory and a database that watches it: for tests of what is remembered, without a wire in between."""

from __future__ import annotations

import copy
import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.cycle import CycleResult, run_cycle
from monitor.domain.message import Channel, Route
from monitor.domain.observed import Account, Activity, Grant, GrantKind, Group, Role
from monitor.domain.reading import (
    AccountsGone,
    AccountsRead,
    Batch,
    DetailsRead,
    GroupsRead,
    MembersRead,
    Outcome,
    Proof,
    Recall,
    RolesRead,
    Scope,
    ScopeEnded,
    SeenAccount,
)
from monitor.line.parts import Parts, RuleSet, Watched
from monitor.store.engine import open_engine
from tests.peers import fresh
from tests.peers.watch import VirtualClock

NAME = "little"
Key = tuple[str, str, str]  # account, kind, entitlement


@dataclass
class School:
    """What is there now."""

    accounts: dict[str, Account] = field(default_factory=dict)
    activity: dict[str, Activity] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    managers: set[tuple[str, str]] = field(default_factory=set)  # account, group
    members: dict[str, set[str]] = field(default_factory=dict)
    assigned: set[tuple[str, str]] = field(default_factory=set)

    def grants(self) -> set[Key]:
        held = {(a.id, "role", a.role_id) for a in self.accounts.values() if a.role_id}
        held |= {(a, "manager", g) for a, g in self.managers}
        held |= {(a, "member", g) for g, ids in self.members.items() for a in ids}
        return held | {(a, "assigned", what) for a, what in self.assigned}

    def copy(self) -> School:
        return copy.deepcopy(self)


@dataclass
class Breaks:
    """What the next poll does not see. A broken scope shows nothing that it hides, and ends partial."""

    scopes: set[str] = field(default_factory=set)
    hidden: set[str] = field(default_factory=set)  # ids of accounts, roles and groups
    outcome: Outcome = Outcome.PARTIAL

    def harm(self, school: School) -> bool:
        """Whether anything is missed by it: members of a group that is not there are not asked for."""
        return any(
            s.removeprefix(Scope.MEMBERS) in school.groups or not s.startswith(Scope.MEMBERS) for s in self.scopes
        )


class MemorySource:
    """Reads a School as a real source does: skips what it knows, and asks one by one for what no page showed."""

    def __init__(self, school: School, name: str = NAME) -> None:
        self.name, self.school, self.breaks, self.proof = name, school, Breaks(), Proof()
        self.confirmed: list[str] = []

    def read(self, recall: Recall) -> Iterator[Batch]:
        self.proof = Proof(endpoint="memory", requests=1, pages={"users": 1})
        yield from self._accounts(recall)
        yield from self._things()
        for group_id, ids in self.school.members.items():
            if group_id in self.school.groups and group_id not in self._hidden(Scope.GROUPS):
                yield from self._whole(Scope.members(group_id), MembersRead(group_id, sorted(ids)))
        assigned = [Grant(a, GrantKind.ASSIGNED, what) for a, what in sorted(self.school.assigned)]
        yield from self._whole(Scope.DETAILS, DetailsRead(assigned))

    def _accounts(self, recall: Recall) -> Iterator[Batch]:
        hidden, seen = self._hidden(Scope.USERS), list[SeenAccount]()
        for account in self.school.accounts.values():
            activity = self.school.activity.get(account.id, Activity())
            digest = hashlib.sha256(repr((account, activity)).encode()).digest()[:16]
            if account.id not in hidden and not recall.known(digest):
                seen.append(SeenAccount(account, activity, digest))
        yield AccountsRead(seen)
        if Scope.USERS not in self.breaks.scopes:
            self.confirmed, _ = recall.missing(10_000)
            yield AccountsGone([i for i in self.confirmed if i not in self.school.accounts])
        yield self._ended(Scope.USERS)

    def _things(self) -> Iterator[Batch]:
        roles, groups = self._hidden(Scope.ROLES), self._hidden(Scope.GROUPS)
        yield RolesRead([r for r in self.school.roles.values() if r.id not in roles])
        yield self._ended(Scope.ROLES)
        managers = [Grant(a, GrantKind.MANAGER, g) for a, g in sorted(self.school.managers)]
        shown = [g for g in self.school.groups.values() if g.id not in groups]
        yield GroupsRead(shown, [m for m in managers if m.entitlement_id not in groups])
        yield self._ended(Scope.GROUPS)

    def _whole(self, scope: str, batch: Batch) -> Iterator[Batch]:
        if scope not in self.breaks.scopes:
            yield batch
        yield self._ended(scope)

    def _hidden(self, scope: str) -> set[str]:
        return self.breaks.hidden if scope in self.breaks.scopes else set()

    def _ended(self, scope: str) -> ScopeEnded:
        broken = scope in self.breaks.scopes
        return ScopeEnded(scope, self.breaks.outcome, "cut off") if broken else ScopeEnded(scope, Outcome.COMPLETE)


class Bench:
    """A school, its source and a database on disk. `bench.school.accounts[...] = ...; bench.poll()`."""

    def __init__(
        self, folder: Path, routes: tuple[Route, ...] = (), channels: dict[str, Channel] | None = None
    ) -> None:
        self.school, self.clock, self.path = School(), VirtualClock(), folder / "access-monitor.sqlite"
        self.source = MemorySource(self.school)
        fresh.database(self.path)
        self.engine = open_engine(f"sqlite:///{self.path}")
        self.parts = Parts(
            self.engine, self.clock, RuleSet((), "none"), routes, channels or {},
            {NAME: Watched(self.source, "memory", 900.0, "reader")}, folder,
        )  # fmt: skip

    def poll(self, *broken: str, hidden: set[str] | None = None, outcome: Outcome = Outcome.PARTIAL) -> CycleResult:
        """One poll in which these scopes are cut off; a quarter of an hour passes."""
        self.source.breaks = Breaks(set(broken), hidden or set(), outcome)
        result = run_cycle(self.parts, NAME)
        self.clock.ahead(minutes=15)
        return result

    def rows(self, sql: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute(sql, values).fetchall()

    def counts(self) -> dict[str, int]:
        tables = [r[0] for r in self.rows("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {t: self.rows(f'SELECT count(*) FROM "{t}"')[0][0] for t in tables}

    def changes(self, snapshot: int) -> list[tuple[str, str, str, str | None, str | None, str | None]]:
        """(kind, subject kind, subject id, field, before, after), the values as JSON."""
        return self.rows(
            """SELECT kind, subject_kind, subject_id, field, before, after FROM changes
               WHERE snapshot_id = ? ORDER BY id""",
            snapshot,
        )

    def close(self) -> None:
        self.engine.dispose()
