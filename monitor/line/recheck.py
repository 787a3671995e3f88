"""Which accounts and grants of a poll are judged again: those that changed, and those whose time has come.

Everything is judged when what decides beside them differs from the last time: the rules, a setting, what is known
whole, a role, an authority's record. Whom an exemption lets be is judged at every poll, for it ends.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from monitor import __version__
from monitor.decide.compiled import Compiled
from monitor.decide.facts import FACTS, OF_MANAGERS, optional
from monitor.decide.match import People
from monitor.decide.recheck import Boundary, boundaries, decisive
from monitor.domain.observed import Kind
from monitor.domain.reading import Lane, Outcome, Scope
from monitor.domain.snapshot import Snapshot
from monitor.line.parts import Watched
from monitor.store import judged, records
from monitor.store.idle import Idle, idle_since, remembered, text
from monitor.store.judged import TOUCHED, Undecided, Window
from monitor.store.staging import Staging

REMEMBERED = (Kind.ACCOUNT, Kind.GRANT)  # of the other kinds there are few, or they move with every account


class Part(NamedTuple):
    """Rules that are judged together, on the same subjects."""

    rules: tuple[Compiled, ...]
    among: str | None = None  # None: on all there are
    undecided: Undecided | None = None


@dataclass
class Recheck:
    """How far this poll can lean on the last one. `context` None: not at all, nor the next one on it."""

    staging: Staging
    context: str | None = None
    afresh: bool = True  # everything is judged
    restless: frozenset[str] = frozenset()  # ids of rules that are judged on everybody at every poll
    _kept: list[Undecided] = field(default_factory=list)
    _idle: Idle | None = None

    def parts(self, kind: str, rules: tuple[Compiled, ...]) -> Iterator[Part]:
        if not self.leans_on(kind):
            yield Part(rules)
            return
        undecided = Undecided(self.staging, Kind(kind))
        self._kept.append(undecided)
        quiet = tuple(r for r in rules if r.rule.id not in self.restless)
        yield Part(quiet, None if self.afresh else TOUCHED, undecided)
        yield Part(tuple(r for r in rules if r.rule.id in self.restless))

    def leans_on(self, kind: str) -> bool:
        return self.context is not None and kind in REMEMBERED

    def idle(self) -> Idle:
        """Since when most of each group have been idle."""
        leans = self.context is not None and not self.afresh
        self._idle = idle_since(self.staging, remembered(self.staging) if leans else None)
        return self._idle

    def findings(self) -> list[int] | None:
        """Ids of the findings that this poll may move; None: of all."""
        return None if self.context is None or self.afresh else judged.affected(self.staging, self.restless)

    def unknown(self, kind: str) -> Counter[str]:
        """Of subjects that are not judged again."""
        return Counter() if self.afresh else judged.unknown_of_others(self.staging, Kind(kind))

    def end(self) -> None:
        """All of a kind was judged."""
        for undecided in self._kept:
            undecided.end()

    def write(self, connection: Connection, snapshot: Snapshot, snapshot_id: int) -> None:
        """Into the transaction that records this poll."""
        source = self.staging.source_id
        judged.leave_out_gone(connection, source)
        if self.context is not None:
            idle = None if self._idle is None else text(self._idle)
            judged.remember(
                connection, source, self.context, self.staging.now, snapshot_id, afresh=self.afresh, idle=idle
            )
        elif snapshot.lane is Lane.FULL and snapshot.outcome.applies:
            judged.forget(connection, source)


def recheck(
    watched: Watched, staging: Staging, snapshot: Snapshot, rules: Mapping[str, tuple[Compiled, ...]],
    people: People | None, blind: Iterable[str],
) -> Recheck:  # fmt: skip
    """Only a full poll that saw every account, and judges them, is remembered. A fast lane leaves the memory as it is:
    what it recorded is judged again by the next full poll.
    """
    ours = [r for kind in REMEMBERED for r in rules.get(kind, ())]
    whole = snapshot.lane is Lane.FULL and snapshot.outcome.applies and snapshot.complete(Scope.USERS)
    if staging.path is None or not whole or not ours:
        return Recheck(staging)
    found = {r.rule.id: boundaries(r) for r in ours}
    restless = frozenset(i for i, mine in found.items() if mine is None)
    passing = frozenset().union(*(mine for mine in found.values() if mine is not None))
    context = _context(watched, staging, snapshot, ours, people, blind)
    since = judged.standing(staging)
    afresh = since is None or since.context != context or _passed(people, passing, since.at, staging.now)
    if since is not None and not afresh:
        judged.touch(staging, since, _windows(passing))
    return Recheck(staging, context, afresh, restless)


def _windows(passing: Iterable[Boundary]) -> Iterator[Window]:
    for fact, after in passing:
        if not fact.startswith("person."):
            for name, _ in map(optional, FACTS[fact].fields):
                if name != "never_signed_in":
                    yield Window({"grant_since": "since"}.get(name, name), after)


def _passed(people: People | None, passing: Iterable[Boundary], before: datetime, now: datetime) -> bool:
    """Whether somebody's day has come since, or time has gone backwards: then all is judged."""
    if now < before:
        return True
    ours = [(fact.removeprefix("person."), after) for fact, after in passing if fact.startswith("person.")]
    persons = (p for index in people.indexes for p in index.persons.values()) if people and ours else ()
    return any(
        at is not None and before <= at + after <= now
        for person in persons for at, after in ((getattr(person, name), after) for name, after in ours)
    )  # fmt: skip


def _context(
    watched: Watched, staging: Staging, snapshot: Snapshot, rules: Sequence[Compiled], people: People | None,
    blind: Iterable[str],
) -> str:  # fmt: skip
    """Digest of all that verdicts on accounts and grants depend on, beside the accounts and grants themselves."""
    read = frozenset().union(*map(decisive, rules))
    texts = [replace(r.rule, tests=()) for r in rules]
    decides: list[object] = [__version__, texts, watched_since(staging, snapshot), sorted(blind)]
    if "account.role_access_level" in read:
        decides.append(sorted(records.role_levels(staging).items()))
    if any(OF_MANAGERS & (r.reads | r.shown) for r in rules):
        decides.append(sorted(records.managers_now(staging).items()))
    if any(r.rule.for_each == Kind.GRANT for r in rules):
        broken = {s.name for s in (*snapshot.scopes, *snapshot.carried) if s.outcome is not Outcome.COMPLETE}
        decides += [sorted(records.held_titles(staging).items()), sorted(broken)]
        decides += [snapshot.known(scope) for scope in (Scope.GROUPS, Scope.DETAILS, Scope.SEATS)]
    if people is not None:
        titles = sorted((i, v.group.title) for i, v in records.groups_now(staging).items())
        decides += [people.mark, watched.matching, titles]
    return hashlib.sha256(repr(decides).encode()).hexdigest()


def watched_since(staging: Staging, snapshot: Snapshot) -> datetime | None:
    return records.watched_since(staging) or (staging.at if snapshot.outcome is Outcome.COMPLETE else None)


def size(kind: str, staging: Staging, proved: Callable[[str, str], bool]) -> int:
    return judged.size(staging, Kind(kind), proved)
