"""What opens and what is over because of one poll."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from monitor.decide.compiled import compiled_once
from monitor.decide.judge import about_sight, may_close
from monitor.decide.match import People
from monitor.decide.reconcile import reconcile
from monitor.domain.finding import Event, EventKind, Finding
from monitor.domain.observed import Kind
from monitor.domain.reading import (
    Scope,
)
from monitor.domain.snapshot import Snapshot
from monitor.line.judging import Judged, proved
from monitor.line.parts import Parts, Watched
from monitor.store import records
from monitor.store.settled import Settled
from monitor.store.staging import Staging


def find(
    parts: Parts, watched: Watched, staging: Staging, settled: Settled, snapshot: Snapshot, judged: Judged
) -> Iterator[Event]:
    """What opens and what is over. A poll of which nothing was applied says nothing but how blind we are.

    A finding closes when all that its rule reads is known whole, and this poll read what no longer holds.
    """
    known, people = judged.whole, judged.people
    read = {scope: known[scope] if scope == Scope.PERSONS else proved(snapshot, scope) for scope in known}
    whole = {scope: known[scope] or read[scope] for scope in known}
    removed = set(settled.removed) | not_listed(judged.existing, people) if snapshot.outcome.applies else set()
    if snapshot.outcome.applies and any(f.subject.kind == Kind.GRANT for f in judged.existing):
        removed |= set(records.ended_grants(staging))
    rules = {i: r for i, r in parts.rules.by_id.items() if i in judged.rules}
    events = reconcile(
        judged.existing, judged.found, rules, removed,
        lambda rule, judgement: may_close(rule, whole, judgement.why, read),
        source=snapshot.source, now=staging.now, baseline=staging.quiet, source_owner=watched.owner,
    )  # fmt: skip
    return (_no_baseline(parts, e) if e.finding.baseline else e for e in events)


def not_listed(existing: Sequence[Finding], people: People | None) -> set[tuple[str, str]]:
    """Persons with findings whom no authority lists any more."""
    about = {f.subject.id for f in existing if f.subject.kind == Kind.PERSON} if people is not None else set()
    return {(Kind.PERSON.value, key) for key in about if people is not None and key not in people}


def _no_baseline(parts: Parts, event: Event) -> Event:
    """That we are blind was not there before we looked, and is told also before the first whole poll."""
    rule = parts.rules.by_id.get(event.finding.rule)
    if event.kind is not EventKind.OPENED or rule is None or not about_sight(compiled_once(rule)):
        return event
    return event._replace(finding=replace(event.finding, baseline=False))
