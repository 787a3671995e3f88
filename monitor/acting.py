"""What a person does to a finding, from wherever: one transaction with the record of it and what shows it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime
from functools import partial

from sqlalchemy import Connection, Engine

from monitor import looking
from monitor.decide import acts, route
from monitor.decide.present import rfc3339
from monitor.domain.act import Act, Click
from monitor.domain.company import USUAL_HOURS
from monitor.domain.exemption import Standing, StoredExemption
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus
from monitor.domain.rule import Rule
from monitor.domain.silence import Silence
from monitor.line import quiet
from monitor.line.parts import Parts
from monitor.store import exemptions, findings, outbox
from monitor.store.engine import writing


def act(
    engine: Engine, fingerprint: str, decide: Callable[[Finding | None], Event | None], rules: Mapping[str, Rule],
    living: Collection[str], now: datetime,
) -> Event | None:  # fmt: skip
    """Does what `decide` makes of the newest finding of this fingerprint, as it is when nobody else can move it.

    `living`: receivers that keep one message a finding up to date.
    """
    with writing(engine) as connection:
        event = decide(_newest(connection, fingerprint))
        if event is not None:
            _do(connection, event, rules, living, now)
    return event


def withdraw(
    engine: Engine, number: int, by: str, rules: Mapping[str, Rule], living: Collection[str], now: datetime
) -> StoredExemption | None:
    """Ends an exemption that was approved, or asked for, by a button. None when there is none in force.

    A finding that it lets be stays exempt until the next poll judges without it, and is told then.
    """
    with writing(engine) as connection:
        found = exemptions.load(connection, exemptions.EXEMPTIONS.c.id == number)
        if not found or found[0].standing not in (Standing.ASKED, Standing.APPROVED):
            return None
        exemptions.withdraw(connection, found[0], by, now)
        finding = _newest(connection, found[0].fingerprint)
        if finding is not None and finding.status is not FindingStatus.RESOLVED:
            _do(connection, acts.withdrawn(finding, found[0], by), rules, living, now)
    return found[0]


def clicked(parts: Parts, click: Click, later: Callable[[Callable[[], None]], None] = lambda work: work()) -> str:
    """Does what somebody pressed, once, however often it comes in. Returns what the person is to read, or nothing.

    `later`: has done what takes longer than the person waits. Raises StoreError when it could not be written down:
    then nothing was done.
    """
    said, found = _written(parts, click)
    if click.act is Act.RECHECK and found is not None and not said:
        later(partial(rechecked, parts, found, click.by))
    return said


def _written(parts: Parts, click: Click) -> tuple[str, Finding | None]:
    """What the person is to read; and the finding, unless this came in before."""
    now = parts.clock.now()
    with writing(parts.engine) as connection:
        if not findings.first_time(connection, click.keys, now):
            return "", None
        found = _newest(connection, click.fingerprint)
        if click.act is Act.HISTORY and click.allowed and found is not None:
            return _history(connection, found), found
        done = _decided(connection, parts, found, click, now)
        if isinstance(done, Event):
            _do(connection, done, parts.rules.by_id, parts.living, now)
        elif isinstance(done, Silence):
            quiet.silence(connection, parts, done, now)
        if not isinstance(done, str) or (done == "" and click.act is Act.RECHECK):
            return "", found
        said = {"act": click.act.value, "by": click.by, "fingerprint": click.fingerprint, "why": done}
        findings.refused(connection, said, now)
        return done, found


def rechecked(parts: Parts, found: Finding, by: str) -> None:
    """Has the account of a finding looked at, and tells what came of it in the thread. What closes it says so."""
    problem = looking.look(parts, found)

    def decide(newest: Finding | None) -> Event | None:
        if newest is None or newest.id != found.id or newest.status is FindingStatus.RESOLVED:
            return None
        return Event(EventKind.RECHECKED, newest, problem or looking.said(newest), by=by)

    act(parts.engine, found.fingerprint, decide, parts.rules.by_id, parts.living, parts.clock.now())


def _decided(
    connection: Connection, parts: Parts, found: Finding | None, click: Click, now: datetime
) -> Event | Silence | str:
    waiting = exemptions.asked(connection, found.id) if found else None
    rule = parts.rules.by_id.get(found.rule) if found else None
    if click.act in (Act.SNOOZE, Act.RECHECK):
        hours, refusal = rule.hours if rule else USUAL_HOURS, acts.refused(found, click)
        if refusal or not found or click.act is Act.RECHECK:
            return refusal
        return acts.snoozed(found, click, hours, now, parts.zone)
    ways = acts.Ways(parts.zone, parts.second_approver)
    event = acts.done(found, click, rule, waiting, now, ways)
    if isinstance(event, Event):
        _exemption(connection, event, click, waiting, now)
    return event


def _exemption(
    connection: Connection, event: Event, click: Click, waiting: StoredExemption | None, now: datetime
) -> None:
    """The row of the exemption that an act is about."""
    if event.kind is EventKind.EXEMPTION_REFUSED and waiting is not None:
        exemptions.refuse(connection, waiting, click.by, now)
    elif event.kind is EventKind.EXEMPTED and waiting is not None:
        exemptions.approve(connection, waiting, click.by, now)
    elif event.kind in (EventKind.EXEMPTED, EventKind.EXEMPTION_ASKED):
        said = event.finding.exemption or {}
        exemptions.add(
            connection, event.finding, date.fromisoformat(said["until"]), said["reason"], said["ticket"] or "",
            (click.by, click.user), approved=event.kind is EventKind.EXEMPTED, now=now,
        )  # fmt: skip


def _newest(connection: Connection, fingerprint: str) -> Finding | None:
    found = findings.load(connection, findings.FINDINGS.c.fingerprint == fingerprint)
    return found[-1] if found else None


def _do(
    connection: Connection, event: Event, rules: Mapping[str, Rule], living: Collection[str], now: datetime
) -> None:
    assert event.finding.id is not None
    findings.move(connection, event, now)
    exemptions.lapse(connection, now)
    told = outbox.living(connection, [event.finding.id], living)
    shown = route.of_updates([event], rules, frozenset(), told, now)
    outbox.put(connection, [(note, event.finding.id) for note, _ in shown], None)


def _history(connection: Connection, found: Finding) -> str:
    assert found.id is not None
    return "\n".join(
        f"{rfc3339(e['time'])} {e['kind'].replace('_', ' ')}" + (f" by {e['by']}" if e["by"] else "")
        + (f": {e['detail']['detail']}" if (e["detail"] or {}).get("detail") else "")
        for e in findings.history(connection, found.id)[-20:]
    )  # fmt: skip
