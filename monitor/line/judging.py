"""Every rule on every subject of a source, as of one poll."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from monitor.decide import quarantine as beyond
from monitor.decide.alike import Plan
from monitor.decide.compiled import Compiled, active
from monitor.decide.exemptions import of_source
from monitor.decide.facts import ABOUT_ACCESS, FACTS, KINDS, OF_PERSONS
from monitor.decide.judge import about_sight, blind_facts, judge
from monitor.decide.match import People, account_fields
from monitor.domain.finding import Finding, Judgement
from monitor.domain.limits import Moved
from monitor.domain.observed import GrantKind, Kind
from monitor.domain.reading import (
    Cause,
    Lane,
    Outcome,
    Scope,
    ScopeEnded,
)
from monitor.domain.rule import Rule, Verdict
from monitor.domain.snapshot import Snapshot
from monitor.line.parts import Parts, Watched
from monitor.line.people import people_of
from monitor.line.recheck import Recheck, recheck, size, watched_since
from monitor.store import exemptions, findings, records
from monitor.store.engine import reading
from monitor.store.idle import Idle, idle_since
from monitor.store.settled import Settled
from monitor.store.staging import Staging


@dataclass
class Judged:
    found: list[Judgement] = field(default_factory=list)
    errors: list[Judgement] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    existing: list[Finding] = field(default_factory=list)
    verdicts: int = 0
    rules: set[str] = field(default_factory=set)  # those that say something about this source
    people: People | None = None
    whole: Mapping[str, bool] = field(default_factory=dict)  # by scope
    recheck: Recheck | None = None

    def counted(self, rows: Iterator[dict[str, Any]], rules: int) -> Iterator[dict[str, Any]]:
        for row in rows:
            self.verdicts += rules
            yield row

    @property
    def unknown_percent(self) -> int | None:
        return beyond.percent(Moved(self.unknown.total(), self.verdicts)) if self.verdicts else None


def judge_all(
    parts: Parts,
    watched: Watched,
    staging: Staging,
    settled: Settled,
    snapshot: Snapshot,
    *,
    want_unknown: bool = False,
) -> Judged:
    """Every rule on every subject of the source, as of this poll; but not again where nothing can have changed."""
    judged = Judged()
    with reading(parts.engine) as connection:
        name = watched.source.name
        given = of_source(parts.rules.rules, [x.exemption for x in exemptions.approved(connection, name)], name)
    rules = rules_for(given, watched, snapshot)
    judged.rules = {r.rule.id for kind in KINDS for r in applicable(given, kind, watched)}
    judged.people = people_of(parts.engine, parts.zone, watched, staging, [r for some in rules.values() for r in some])
    judged.whole = completeness(snapshot, judged.people)
    blind = blind_facts(judged.whole)
    known = Recheck(staging) if want_unknown else recheck(watched, staging, snapshot, rules, judged.people, blind)
    with reading(parts.engine) as connection:
        judged.existing = findings.to_reconcile(connection, staging.source_id, known.findings())
    if not snapshot.outcome.applies:  # what is not judged stays as it is
        about = {r.rule.id for found in rules.values() for r in found}
        judged.existing = [f for f in judged.existing if f.rule in about]
    watch: dict[str, dict[str, set[str]]] = {}
    for finding in judged.existing:
        watch.setdefault(finding.subject.kind, {}).setdefault(finding.subject.id, set()).add(finding.rule)
    judged.recheck = known
    for kind in filter(rules.get, rules):
        if kind == Kind.SOURCE:  # last, for it is asked how well the others could be judged
            snapshot = replace(snapshot, unknown_percent=judged.unknown_percent)
        for part in filter(lambda part: part.rules, known.parts(kind, rules[kind])):
            plan = Plan(kind, part.rules, blind, parts.zone)
            found = subjects(
                kind, plan.fields, watched, staging, settled, snapshot, judged.people, part.among, known.idle
            )
            rows = found if known.leans_on(kind) else judged.counted(found, len(plan.rules))
            for judgement in judge(
                plan, rows, staging.now, watch.get(kind), want_unknown=want_unknown, undecided=part.undecided
            ):
                (judged.errors if judgement.verdict is Verdict.ERROR else judged.found).append(judgement)
            judged.unknown += plan.unknown
        if known.leans_on(kind):
            known.end()
            judged.unknown += known.unknown(kind)
            judged.verdicts += size(kind, staging, _proved(snapshot)) * len(rules[kind])
    return judged


def remembered(judged: Judged, snapshot: Snapshot) -> Callable[[Connection, int], None]:
    """What the next poll need not judge again, for the transaction that records this one."""

    def write(connection: Connection, snapshot_id: int) -> None:
        if judged.recheck is not None:
            judged.recheck.write(connection, snapshot, snapshot_id)

    return write


def rules_for(rules: Sequence[Rule], watched: Watched, snapshot: Snapshot) -> dict[str, tuple[Compiled, ...]]:
    """By kind, what this poll is judged by: of one that was not applied, only how well the source was seen."""
    if snapshot.lane.narrow:
        found = judged_in(snapshot.lane, applicable(rules, Kind.ACCOUNT, watched))
        return {Kind.ACCOUNT: found} if snapshot.outcome.applies else {}
    if not snapshot.outcome.applies:
        return {Kind.SOURCE: tuple(filter(about_sight, applicable(rules, Kind.SOURCE, watched)))}
    return {kind: applicable(rules, kind, watched) for kind in KINDS}


def applicable(rules: Sequence[Rule], kind: str, watched: Watched) -> tuple[Compiled, ...]:
    return tuple(r for r in active(rules, kind) if judged_here(r, watched))


def judged_here(compiled: Compiled, watched: Watched) -> bool:
    """Whether a rule says something about this source. An authority's own access is nobody's concern here, and where
    no authority says whose accounts these are, nothing is asked of persons: all of it would be unknown for ever.
    """
    kind = compiled.rule.for_each
    if watched.authority:
        return kind == Kind.SOURCE and not compiled.reads & ABOUT_ACCESS
    return watched.matching is not None or (kind != Kind.PERSON and not compiled.reads & OF_PERSONS)


def judged_in(lane: Lane, rules: tuple[Compiled, ...]) -> tuple[Compiled, ...]:
    """A narrow lane judges by the rules that ask for nothing but what it reads."""
    return tuple(r for r in rules if not (lane.narrow and beyond_users(r)))


def beyond_users(compiled: Compiled) -> list[str]:
    """The facts of a rule that follow from more than the account itself."""
    return sorted(name for name in compiled.reads if not {Scope.USERS}.issuperset(FACTS[name].scopes))


def completeness(snapshot: Snapshot, people: People | None = None) -> dict[str, bool]:
    """By scope, whether it is known whole."""
    scopes = {s for f in FACTS.values() for s in f.scopes} - {Scope.PERSONS}
    return {scope: snapshot.known(scope) for scope in scopes} | {Scope.PERSONS: people is not None}


def proved(snapshot: Snapshot, scope: str) -> bool:
    """Whether this very poll read the scope whole (a narrow lane, of the accounts that it is about)."""
    if scope == Scope.USERS and snapshot.lane.narrow:
        return snapshot.complete(Scope.ONE if snapshot.lane is Lane.ONE else Scope.FAST)
    return not scope or snapshot.complete(scope)


def subjects(
    kind: str,
    fields: Sequence[str],
    watched: Watched,
    staging: Staging,
    settled: Settled,
    snapshot: Snapshot,
    people: People | None = None,
    among: str | None = None,
    idle: Callable[[], Idle] | None = None,
) -> Iterator[dict[str, Any]]:
    """The records of a kind. Accounts that a broken read did not show are left out: nothing about them is proved.
    `among`: of accounts and grants, a table of the staging that says which. `idle`: of groups, by an easier way.
    """
    since = watched_since(staging, snapshot)
    if kind in (Kind.ACCOUNT, Kind.GRANT):
        whole = snapshot.complete(Scope.USERS) or staging.lane.narrow
        unseen = None if whole else staging.unseen()
        asked = people is not None and watched.matching is not None and "person" in fields
        wanted = sorted({*fields, *account_fields(watched.matching.keys)}) if asked and watched.matching else fields
        accounts = records.account_records(staging, wanted, since, unseen, records.groups_as_of(staging), among)
        accounts = people.beside(accounts) if people is not None and asked else accounts
        if kind == Kind.ACCOUNT:
            return accounts
        return records.grant_records(
            staging, accounts, _proved(snapshot), among, seats_known=snapshot.known(Scope.SEATS),
            managers=_managers(staging, fields),
        )  # fmt: skip
    if kind == Kind.PERSON:
        return people.records() if people else iter(())
    if kind in (Kind.ROLE, Kind.GROUP, Kind.SEAT):
        return _things(kind, fields, staging, settled, snapshot, idle or partial(idle_since, staging))
    record = records.source_record(staging, watched.source.name, since) | {"admin_limit": watched.admin_limit}
    return iter([record | sight(watched, snapshot)])


def _things(
    kind: str, fields: Sequence[str], staging: Staging, settled: Settled, snapshot: Snapshot, idle: Callable[[], Idle]
) -> Iterator[dict[str, Any]]:
    if kind == Kind.ROLE:
        return records.role_records(staging, settled.roles)
    if kind == Kind.SEAT:
        return records.seat_records(staging)
    # unless every account was read, nobody knows who signed in meanwhile
    known = "mostly_idle_since" in fields and snapshot.complete(Scope.USERS)
    return records.group_records(staging, idle() if known else None, _managers(staging, fields))


def _managers(staging: Staging, fields: Sequence[str]) -> dict[str, list[str]] | None:
    """By group, where a rule asks for them."""
    return records.managers_now(staging) if "manager_emails" in fields else None


def sight(watched: Watched, snapshot: Snapshot) -> dict[str, Any]:
    """How the source was read: what rules about being blind ask for."""
    broken = [s for s in snapshot.scopes if s.outcome not in (Outcome.COMPLETE, Outcome.UNREAD)]
    forbidden = [s for s in snapshot.scopes if s.cause is Cause.FORBIDDEN]
    return {
        "outcome": snapshot.outcome.value, "complete_age": snapshot.complete_age,
        "blind_after": int(watched.blind_seconds // 60), "failed_scopes": families(broken),
        "forbidden_scopes": families(forbidden), "needs_reauth": any(s.cause is Cause.CREDENTIALS for s in broken),
        "unknown_percent": snapshot.unknown_percent, "removed_percent": snapshot.removed_percent,
        "clock_skew": snapshot.proof.clock_skew, "failing_receivers": _listed(snapshot.failing_receivers),
        "refused_rules": _listed(snapshot.refused_rules),
    }  # fmt: skip


def _listed(found: Sequence[str] | None) -> list[str] | None:
    return None if found is None else list(found)


def families(scopes: Sequence[ScopeEnded]) -> list[str]:
    """Names of scopes, the many of one family as one."""
    return list(dict.fromkeys(Scope.MEMBERS if s.name.startswith(Scope.MEMBERS) else s.name for s in scopes))


def _proved(snapshot: Snapshot) -> Callable[[str, str], bool]:
    """Whether the list that a grant stands in is known whole; a role stands in its account."""
    managers, seats = snapshot.known(Scope.GROUPS), snapshot.known(Scope.SEATS)
    lists = {
        GrantKind.MANAGER: managers, GrantKind.ASSIGNED: snapshot.known(Scope.DETAILS), GrantKind.SEAT: seats,
        GrantKind.SEAT_MANAGER: seats,
    }  # fmt: skip
    broken = {s.name for s in (*snapshot.scopes, *snapshot.carried) if s.outcome is not Outcome.COMPLETE}
    members = managers and Scope.MEMBERS not in broken

    def proved(kind: str, entitlement: str) -> bool:
        if kind == GrantKind.MEMBER:
            return members and Scope.members(entitlement) not in broken
        return lists.get(GrantKind(kind), True)

    return proved
