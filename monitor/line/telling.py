"""Everything that is to be said because of one poll."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from monitor.decide import exemptions, route
from monitor.decide.address import addressed
from monitor.domain.change import Change, ChangeKind
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus, Judgement
from monitor.domain.message import Notification, Reason
from monitor.domain.observed import Subject
from monitor.domain.reading import Lane
from monitor.domain.snapshot import Snapshot
from monitor.line.doubt import Doubt
from monitor.line.judging import Judged
from monitor.line.parts import Parts, Watched
from monitor.store import aside, findings, outbox, queries, records
from monitor.store import exemptions as given_by_button
from monitor.store.engine import reading
from monitor.store.staging import Staging


def tell(
    parts: Parts, watched: Watched, staging: Staging, snapshot: Snapshot, events: Sequence[Event], judged: Judged,
    doubt: Doubt,
) -> Iterator[tuple[Notification, str | None]]:  # fmt: skip
    """Everything that is to be said because of this poll, each with the fingerprint of its finding."""
    rules, routes, now, source = parts.rules.by_id, parts.routes, staging.now, snapshot.source
    with reading(parts.engine) as connection:
        opened = (e.finding.fingerprint for e in events if e.kind is EventKind.OPENED)
        reopened = findings.seen_before(connection, opened)
        ended = [i for e in events if e.kind is EventKind.RESOLVED and (i := e.finding.id) and e.finding.silenced_until]
        untold = findings.never_told(connection, ended)
        events = [e for e in events if e.finding.id not in untold or e.kind is not EventKind.RESOLVED]
        ids = [e.finding.id for e in events if e.finding.id is not None]
        for_all = [i for e in events if e.kind in route.FOR_ALL and (i := e.finding.id)]
        heard = outbox.living(connection, for_all, parts.manners)
        events = [route.to_all_who_heard(e, heard, routes, rules) for e in events]
        living = outbox.living(connection, ids, parts.living)
    yield from route.of_events(events, rules, routes, reopened, now, parts.storm_limit)
    yield from route.of_updates(events, rules, reopened, living, now, parts.storm_limit)
    if snapshot.baseline and not watched.authority:
        for note in route.baseline(_baseline(judged.existing, events), rules, routes, source, _totals(staging), now):
            yield note, None
    if any(r.changes for r in routes):
        for note in route.of_changes(staged_changes(staging), routes, source, now):
            yield note, None
    yield from ((note, None) for note in _of_outcome(parts, staging, snapshot, doubt))
    yield from ((note, None) for note in _of_rule_errors(parts, judged, source, now))
    yield from ((note, None) for note in _of_exemptions(parts, source, now))


def _of_outcome(parts: Parts, staging: Staging, snapshot: Snapshot, doubt: Doubt) -> Iterator[Notification]:
    """How well the source could be read, when that changed. A quarantine is told once, however many polls it lasts."""
    if snapshot.lane is Lane.ONE:  # whoever asked is told
        return iter(())
    before = queries.last_outcome(parts.engine, staging.source_id, snapshot.lane)
    if doubt.acceptance is not None and doubt.why:
        return route.of_acceptance(snapshot, doubt.acceptance.by, doubt.why, parts.routes, staging.now)
    if doubt.held is None:
        return route.of_outcome(before, snapshot, parts.routes, staging.now)
    if aside.in_episode(parts.engine, staging.source_id):
        return iter(())
    return route.of_quarantine(snapshot, doubt.why, parts.routes, staging.now)


def _baseline(existing: Sequence[Finding], events: Sequence[Event]) -> list[Finding]:
    """All that is open at the end of the first whole poll, broken-off ones before it included."""
    now_open = {f.fingerprint: f for f in existing if f.baseline} | {e.finding.fingerprint: e.finding for e in events}
    return [f for f in now_open.values() if f.status is not FindingStatus.RESOLVED]


def _totals(staging: Staging) -> dict[str, int]:
    record = records.source_record(staging, "", None)
    return {"accounts": record["accounts"], "privileged": record["privileged"]}


def staged_changes(staging: Staging) -> Iterator[Change]:
    for row in staging.db.execute("SELECT * FROM changes ORDER BY rowid"):
        kind, s_kind, s_id, email, name, fieldname, before, after = row
        values = (None if v is None else msgspec.json.decode(v) for v in (before, after))
        yield Change(ChangeKind(kind), Subject(s_kind, s_id, email, name), fieldname, *values)


def _of_rule_errors(parts: Parts, judged: Judged, source: str, now: datetime) -> Iterator[Notification]:
    """A rule that fails is told once for each text of the rule set."""
    by_rule: dict[str, list[Judgement]] = {}
    for error in judged.errors:
        by_rule.setdefault(error.rule, []).append(error)
    for rule, errors in by_rule.items():
        yield from route.of_operations(
            f"rule-error:{source}:{rule}:{parts.rules.digest}",
            f"The rule {rule} fails on {len(errors)} of what it judges in {source}",
            f"Run `access-monitor rules check` and mend {parts.rules.by_id[rule].file}. Its findings stay as they are.",
            [f"{e.subject.email or e.subject.id}: {e.why}" for e in errors[:10]], parts.routes, source, now,
        )  # fmt: skip


def _of_exemptions(parts: Parts, source: str, now: datetime) -> Iterator[Notification]:
    """An exemption whose end is near is told once, whichever source is polled first."""
    with reading(parts.engine) as connection:
        stored = [s.exemption for s in given_by_button.approved(connection)]
    for each in exemptions.ending(parts.rules.rules, stored, now, parts.zone, parts.exemption_warning):
        given = each.exemption
        renew = f"Renew it in {given.place}" if given.number is None else "Ask for a new one by the button"
        yield from route.of_operations(
            f"exemption:{given.id}", f"The exemption of {given.whom} ends on {given.expires}",
            f"{renew}, or mend what it lets be: from the next day on it is told again.",
            [f"rule: {', '.join(each.rules)}", f"reason: {given.reason}", f"approved by: {given.approved_by}"]
            + ([f"ticket: {given.ticket}"] if given.ticket else []),
            parts.routes, source, now, Reason.EXEMPTION_ENDING,
        )  # fmt: skip


def tell_operator(parts: Parts, key: str, message: str, what_to_do: str, detail: Sequence[str]) -> None:
    """Something that no poll found: written to the outbox at once, and said once for a key."""
    now = parts.clock.now()
    notes = route.of_operations(key, message, what_to_do, detail, parts.routes, "access-monitor", now)
    said = addressed([(note, None) for note in notes], parts.manners, parts.zone)
    outbox.say(parts.engine, [note for note, _ in said])
