"""Findings: what opens, what goes on, and what is proved to be over.

Nothing closes because it was not seen: a finding ends when its subject was read whole and a clause no longer holds,
when its subject is gone, or when its rule is. Unknown verdicts and rule errors close nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from monitor.decide.hours import later
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus, Judgement, Resolution
from monitor.domain.observed import Subject
from monitor.domain.rule import SOURCE_OWNER, Rule, RuleStatus, Verdict

ACTIVATED = "its rule is no draft any longer"


class _Where(NamedTuple):
    source: str
    owner: str | None  # whom the config names for it
    baseline: bool  # nobody had looked before


def fingerprint(rule: str, source: str, subject: Subject) -> str:
    """What makes two findings the same: rule, source and subject, and nothing that may move."""
    return hashlib.sha256("\0".join((rule, source, subject.kind, subject.id)).encode()).hexdigest()[:32]


def holds_on(finding: Finding) -> bool:
    """Closed by a person while its clauses held: it stays closed until they stop holding once."""
    return finding.status is FindingStatus.RESOLVED


def reconcile(
    existing: Iterable[Finding],
    judgements: Iterable[Judgement],
    rules: Mapping[str, Rule],
    removed: Iterable[tuple[str, str]],
    may_close: Callable[[Rule, Judgement], bool],
    *,
    source: str,
    now: datetime,
    baseline: bool,
    source_owner: str | None = None,
) -> Iterator[Event]:
    """Yields what happens to findings. `existing`: all that are unresolved, and those of `holds_on`.

    `removed`: (kind, id) of subjects that vanished from a scope that was read whole.
    """
    known, where = {f.fingerprint: f for f in existing}, _Where(source, source_owner, baseline)
    for judgement in judgements:
        mark = fingerprint(judgement.rule, source, judgement.subject)
        old, rule = known.pop(mark, None), rules[judgement.rule]
        if judgement.verdict in (Verdict.FINDING, Verdict.EXEMPT):
            yield from _held(old, judgement, rule, mark, where, now)
        elif old is not None:
            yield from _not_held(old, judgement, rule, may_close, now)
    gone = set(removed)
    for old in known.values():
        yield from _not_judged(old, rules.get(old.rule), gone, now)


def _held(
    old: Finding | None, judgement: Judgement, rule: Rule, mark: str, where: _Where, now: datetime
) -> Iterator[Event]:
    if old is None:
        yield Event(EventKind.OPENED, _opened(judgement, rule, mark, where, now))
    elif holds_on(old):
        return
    else:
        after = replace(
            old, verdict=judgement.verdict, exempt_until=judgement.exempt_until, severity=rule.severity,
            owner=_owner(judgement, rule, where, old.owner), draft=_draft(rule), rule_digest=rule.digest,
            due_at=_due(rule, judgement.clock) if judgement.clock else old.due_at,
        )  # fmt: skip
        if old.draft and not after.draft and after.verdict is Verdict.FINDING:
            yield Event(EventKind.EDITED, after, ACTIVATED)
        elif (old.verdict, old.exempt_until) != (after.verdict, after.exempt_until):
            yield Event(EventKind.VERDICT, after, judgement.why or None, was=_was(old))
            if _known_and_told(old) and after.verdict is Verdict.FINDING and after.severity is not old.severity:
                yield _regraded(old, after)
        elif after.severity is not old.severity:
            yield _regraded(old, after)
        elif after != old:
            yield Event(EventKind.EDITED, after)


def _known_and_told(old: Finding) -> bool:
    """Whether the end of being unknown is not told by itself."""
    return _was(old) is not Verdict.EXEMPT


def _regraded(old: Finding, after: Finding) -> Event:
    raised = after.severity.rank > old.severity.rank
    kind, how = (EventKind.SEVERITY_RAISED, "raised") if raised else (EventKind.SEVERITY_LOWERED, "lowered")
    return Event(kind, after, f"severity {how} from {old.severity.value} to {after.severity.value}")


def _was(old: Finding) -> Verdict:
    """The verdict before it was unknown, if that was exempt: then nobody has been told of the finding."""
    return Verdict.EXEMPT if old.exempt_until is not None else old.verdict


def _due(rule: Rule, since: datetime) -> datetime | None:
    """Counted from the rule's clock: a leaver is due from the last working day on, whenever we learnt of it."""
    if not rule.fix_within:
        return None
    return later(rule.hours, since, rule.fix_within) if rule.hours.deadlines else since + rule.fix_within


def _draft(rule: Rule) -> bool:
    return rule.status is RuleStatus.DRAFT


def _owner(judgement: Judgement, rule: Rule, where: _Where, otherwise: str) -> str:
    """The first who is named; `otherwise`: while an authority does not say it, nobody else becomes the owner."""
    named = ((where.owner or "") if name == SOURCE_OWNER else name for name in judgement.owners)
    return next(filter(None, named), otherwise if rule.owner_from else rule.owner)


def _opened(judgement: Judgement, rule: Rule, mark: str, where: _Where, now: datetime) -> Finding:
    return Finding(
        fingerprint=mark,
        rule=rule.id,
        title=judgement.title,
        severity=rule.severity,
        status=FindingStatus.OPEN,
        verdict=judgement.verdict,
        source=where.source,
        subject=judgement.subject,
        owner=_owner(judgement, rule, where, rule.owner),
        opened_at=now,
        due_at=_due(rule, judgement.clock or now),
        closes_at=now + rule.closes.after if rule.closes.after else None,
        evidence=judgement.evidence,
        rule_digest=rule.digest,
        snapshot=0,
        baseline=where.baseline,
        exempt_until=judgement.exempt_until,
        draft=_draft(rule),
        tags=rule.tags,
    )


def _not_held(
    old: Finding, judgement: Judgement, rule: Rule, may_close: Callable[[Rule, Judgement], bool], now: datetime
) -> Iterator[Event]:
    if judgement.verdict is Verdict.NOTHING:
        if not may_close(rule, judgement):
            return
        if holds_on(old):
            yield Event(EventKind.VERDICT, replace(old, verdict=Verdict.NOTHING), was=old.verdict)
        else:
            yield _resolved(old, *_how(old, judgement, rule, now), now)
    elif judgement.verdict is Verdict.UNKNOWN and old.verdict is not Verdict.UNKNOWN and not holds_on(old):
        yield Event(EventKind.VERDICT, replace(old, verdict=Verdict.UNKNOWN), judgement.why, was=old.verdict)


def _how(old: Finding, judgement: Judgement, rule: Rule, now: datetime) -> tuple[Resolution, str]:
    if old.rule_digest != rule.digest:
        return Resolution.RULE_CHANGED, f"{rule.id} was edited, and this does not hold by its new text"
    if rule.closes.after is not None and old.closes_at is not None and now >= old.closes_at:
        return Resolution.AGED_OUT, f"an event of {old.opened_at:%Y-%m-%d}: told, and old enough"
    return Resolution.FIXED, f"no longer holds: {judgement.why}"


def _not_judged(old: Finding, rule: Rule | None, gone: set[tuple[str, str]], now: datetime) -> Iterator[Event]:
    if holds_on(old):
        if rule is None or rule.for_each != old.subject.kind or (old.subject.kind, old.subject.id) in gone:
            yield Event(EventKind.VERDICT, replace(old, verdict=Verdict.NOTHING), was=old.verdict)
    elif rule is None or rule.status is RuleStatus.RETIRED:
        yield _resolved(old, Resolution.RULE_RETIRED, f"{old.rule} is no longer in force", now)
    elif (old.subject.kind, old.subject.id) in gone:
        yield _resolved(old, Resolution.GONE, f"the {old.subject.kind} no longer exists", now)
    elif rule.for_each != old.subject.kind:
        detail = f"{rule.id} was edited, and is about each {rule.for_each} now"
        yield _resolved(old, Resolution.RULE_CHANGED, detail, now)


def _resolved(old: Finding, how: Resolution, detail: str, now: datetime) -> Event:
    after = replace(
        old, status=FindingStatus.RESOLVED, verdict=Verdict.NOTHING, resolution=how, resolution_detail=detail,
        resolved_at=now,
    )  # fmt: skip
    return Event(EventKind.RESOLVED, after, detail, was=_was(old))


def acknowledged(old: Finding, rule: Rule | None, by: str, now: datetime) -> Event:
    """Somebody has seen it. Rules that tell of an event are done with that; other findings stay open work."""
    if rule is not None and rule.closes.acknowledged:
        after = replace(
            old, status=FindingStatus.RESOLVED, resolution=Resolution.ACKNOWLEDGED, resolved_at=now,
            resolution_detail=f"acknowledged by {by}", acknowledged_at=now, acknowledged_by=by,
        )  # fmt: skip
    else:
        after = replace(old, status=FindingStatus.ACKNOWLEDGED, acknowledged_at=now, acknowledged_by=by)
    return Event(EventKind.ACKNOWLEDGED, after, by=by)
