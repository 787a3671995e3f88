"""Who hears what, and what exactly is said: notifications from what happened in a cycle."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from monitor.decide import present
from monitor.decide.drift import names_of
from monitor.decide.fits import misses, shared
from monitor.decide.hours import opening
from monitor.decide.reconcile import ACTIVATED
from monitor.domain.change import Change
from monitor.domain.finding import Event, EventKind, Finding
from monitor.domain.message import ALONE, Group, Notification, Reason, Route
from monitor.domain.reading import Lane, Outcome
from monitor.domain.rule import Rule, Severity, Verdict
from monitor.domain.silence import Silence
from monitor.domain.snapshot import Snapshot

IDS = uuid.UUID("6d1f9c0e-4f8e-4f0b-9d43-1c1d35d0a7ce")  # ours: ids are derived from keys, so that they are stable


_AT_ONCE = {
    Reason.SILENCE_ENDED: "no longer silenced", Reason.DUE_SOON: "due soon", Reason.REMINDER: "still open",
    Reason.ESCALATED: "not acknowledged in time", Reason.SEVERITY_RAISED: "raised in severity",
    Reason.FLAPPING: "flapping",
}  # fmt: skip
# Steps that are no news of the subject: why they are told, if they are; the message says what happened.
WHY_NOW = {
    EventKind.SILENCE_ENDED: Reason.SILENCE_ENDED, EventKind.DUE_SOON: Reason.DUE_SOON,
    EventKind.OVERDUE: Reason.OVERDUE, EventKind.REMINDED: Reason.REMINDER, EventKind.ESCALATED: Reason.ESCALATED,
    EventKind.SEVERITY_RAISED: Reason.SEVERITY_RAISED,
}  # fmt: skip


# What may wait for others like it. What comes after is told where the finding was told first.
MAY_WAIT = (Reason.OPENED, Reason.REOPENED, Reason.SILENCE_ENDED)
FOR_ALL = (EventKind.RESOLVED, EventKind.SEVERITY_RAISED)  # told to all who heard of the finding


class Step(NamedTuple):
    """What one route says of a finding: it takes it, or why it does not."""

    number: int
    route: Route
    why_not: tuple[str, ...]


def passage(found: Finding, routes: Sequence[Route], rule: Rule | None = None) -> Iterator[Step]:
    """Route by route: the first that matches takes it, and those after it only while it says `continue`."""
    taken = 0
    for number, route in enumerate(routes, 1):
        if route.changes:
            yield Step(number, route, ("it takes changes, not findings",))
        elif taken:
            yield Step(number, route, (f"route {taken} took it, and does not continue",))
        else:
            step = Step(number, route, tuple(misses(route.matcher, found, rule)))
            taken = number if not step.why_not and not route.go_on else 0
            yield step


def receivers(found: Finding, routes: Sequence[Route], rule: Rule | None = None) -> tuple[str, ...]:
    """Who hears of it, each once."""
    taking = (step.route.to for step in passage(found, routes, rule) if not step.why_not)
    return tuple(dict.fromkeys(name for to in taking for name in to))


def groups(found: Finding, routes: Sequence[Route], rule: Rule | None, now: datetime) -> dict[str, Group]:
    """By receiver, with what else it is told, and how long it waits: as the first route says that names it. What is
    critical waits for nothing.
    """
    taking = [step.route for step in passage(found, routes, rule) if not step.why_not]
    by_receiver = {name: route for route in reversed(taking) for name in route.to}
    waits = found.severity is not Severity.CRITICAL
    made = {name: _group(found, rule, route, now) for name, route in by_receiver.items() if waits}
    return {name: group for name, group in made.items() if group is not None}


def _group(found: Finding, rule: Rule | None, route: Route, now: datetime) -> Group | None:
    """What only waits for business hours is a group of its own."""
    if route.group_by:
        told_at = now + route.group_wait
        wait = (opening(route.hours, told_at) if route.hours else told_at) - now
        return Group(shared(found, rule, route.group_by), wait)
    wait = opening(route.hours, now) - now if route.hours else timedelta()
    return Group(((ALONE, found.fingerprint),), wait) if wait else None


def hearers(event: Event, routes: Sequence[Route], rules: Mapping[str, Rule]) -> tuple[str, ...]:
    return event.to or receivers(event.finding, routes, rules.get(event.finding.rule))


def to_all_who_heard(
    event: Event, heard: Mapping[int, Sequence[str]], routes: Sequence[Route], rules: Mapping[str, Rule]
) -> Event:
    """Whoever was called in while it was open hears of its end as well, and that it is graver than was told.
    `heard`: receivers by finding.
    """
    if event.kind not in FOR_ALL:
        return event
    everyone = (*hearers(event, routes, rules), *heard.get(event.finding.id or 0, ()))
    return event._replace(to=tuple(dict.fromkeys(everyone)))


def everyone_last(routes: Sequence[Route]) -> tuple[str, ...]:
    """Receivers of the route that matches all: they also hear what the monitor says of itself."""
    return next((r.to for r in reversed(routes) if not r.changes), ())


def notification(
    receiver: str, reason: Reason, key: str, title: str, source: str, now: datetime, content: Mapping[str, Any]
) -> Notification:
    whole_key = f"{key}:{reason.value}:{receiver}"
    said = {"reason": reason.value, "title": title, "at": present.rfc3339(now), "source": source, **content}
    return Notification(str(uuid.uuid5(IDS, whole_key)), receiver, reason, whole_key, said, now)


def of_events(
    events: Iterable[Event], rules: Mapping[str, Rule], routes: Sequence[Route], reopened: frozenset[str],
    now: datetime, storm_limit: int | None = None,
) -> Iterator[tuple[Notification, str | None]]:  # fmt: skip
    """Notifications about single findings, with the fingerprint each belongs to. When one rule has more than
    `storm_limit` to say for one reason, that is one message with the list."""
    told, storms = _told(events, reopened, storm_limit)
    for event, reason in told:
        found = event.finding
        if _kind(event, reason) in storms:
            continue
        content: dict[str, Any] = {"finding": present.told(found, rules.get(found.rule))}
        if event.kind in WHY_NOW or reason is Reason.FLAPPING:
            content["happened"] = event.flapping or happened(event)
        key = f"finding:{found.fingerprint}:{present.rfc3339(found.opened_at)}:{present.rfc3339(now)}"
        together = groups(found, routes, rules.get(found.rule), now) if reason in MAY_WAIT else {}
        for receiver in hearers(event, routes, rules):
            note = notification(receiver, reason, key, found.title, found.source, now, content)
            yield replace(note, group=together.get(receiver)), found.fingerprint
    for source, rule, reason in sorted(storms):
        held = [event for event, why_told in told if _kind(event, why_told) == (source, rule, reason)]
        yield from ((note, None) for note in _storm(reason, held, rules, routes, now))


def _told(
    events: Iterable[Event], reopened: frozenset[str], storm_limit: int | None
) -> tuple[list[tuple[Event, Reason]], set[tuple[str, str, Reason]]]:
    """What is told and why; and the sources, rules and reasons of which there is too much to be told one by one."""
    told = [(event, reason) for event in events if (reason := why(event, reopened)) is not None]
    counts = Counter(_kind(event, reason) for event, reason in told)
    return told, {key for key, number in counts.items() if storm_limit is not None and number > storm_limit}


def _kind(event: Event, reason: Reason) -> tuple[str, str, Reason]:
    return event.finding.source, event.finding.rule, reason


def _storm(
    reason: Reason, held: Sequence[Event], rules: Mapping[str, Rule], routes: Sequence[Route], now: datetime
) -> Iterator[Notification]:
    source, rule = held[0].finding.source, held[0].finding.rule
    said = rules.get(rule)
    for receiver, findings in _by_receiver((e.finding, hearers(e, routes, rules)) for e in held).items():
        title = f"{len(findings)} findings of {rule} {_AT_ONCE.get(reason, reason.value)} at once in {source}"
        content = {
            "rule": rule, "why": reason.value, "description": said.description if said else "",
            "runbook": said.runbook if said else "", **_list(findings),
        }  # fmt: skip
        key = f"storm:{source}:{rule}:{reason.value}:{present.rfc3339(now)}"
        yield notification(receiver, Reason.STORM, key, title, source, now, content)


def _by_receiver(found: Iterable[tuple[Finding, Sequence[str]]]) -> dict[str, list[Finding]]:
    """The gravest first."""
    by_receiver: dict[str, list[Finding]] = {}
    for finding, hear in sorted(found, key=lambda f: (-f[0].severity.rank, f[0].rule, f[0].title)):
        for receiver in hear:
            by_receiver.setdefault(receiver, []).append(finding)
    return by_receiver


def _list(findings: Sequence[Finding]) -> dict[str, Any]:
    counts = Counter(f.severity.value for f in findings)
    return {
        "findings": [present.finding(f) for f in findings],
        "counts": {s.value: counts[s.value] for s in reversed(Severity) if counts[s.value]},
    }


def why(event: Event, reopened: frozenset[str]) -> Reason | None:
    """Why this event is told, or None when it is not."""
    found = event.finding
    if found.draft or (found.baseline and event.kind is EventKind.OPENED):
        return None
    if found.calm_at is not None and event.kind in (EventKind.OPENED, EventKind.RESOLVED):
        return None
    if event.kind is EventKind.RESOLVED:
        return None if event.was is Verdict.EXEMPT else Reason.RESOLVED
    return _why_it_holds(event, reopened) if found.silenced_until is None else None


def _why_it_holds(event: Event, reopened: frozenset[str]) -> Reason | None:
    found = event.finding
    if event.kind in WHY_NOW:
        return None if found.verdict is Verdict.EXEMPT else WHY_NOW[event.kind]
    if event.kind is EventKind.OPENED and found.verdict is Verdict.FINDING:
        again = Reason.FLAPPING if event.flapping else Reason.REOPENED
        return again if found.fingerprint in reopened else Reason.OPENED
    if event.kind is EventKind.EDITED and event.detail == ACTIVATED:
        return Reason.OPENED
    if event.kind is EventKind.VERDICT and event.was is Verdict.EXEMPT and found.verdict is Verdict.FINDING:
        return Reason.REOPENED
    return None


def of_updates(
    events: Sequence[Event], rules: Mapping[str, Rule], reopened: frozenset[str], living: Mapping[int, Sequence[str]],
    now: datetime, storm_limit: int | None = None,
) -> Iterator[tuple[Notification, str | None]]:  # fmt: skip
    """What messages that are kept up to date show although it is not told, or told as one of many.

    `living`: their receivers, by finding.
    """
    _, storms = _told(events, reopened, storm_limit)
    for event in events:
        found, reason = event.finding, why(event, reopened)
        one_of_many = reason is not None and _kind(event, reason) in storms
        if found.id is None or not ((moved(event) and reason is None) or one_of_many):
            continue
        key = (
            f"finding:{found.fingerprint}:{present.rfc3339(found.opened_at)}:{present.rfc3339(now)}:{event.kind.value}"
        )
        content = {"finding": present.told(found, rules.get(found.rule)), "happened": happened(event)}
        for receiver in living.get(found.id, ()):
            yield (
                notification(receiver, Reason.UPDATED, key, found.title, found.source, now, content),
                found.fingerprint,
            )


def moved(event: Event) -> bool:
    """Whether a message about the finding would read otherwise after this."""
    if event.finding.draft or event.kind is EventKind.OPENED:
        return False
    exempt = event.finding.verdict is Verdict.EXEMPT or event.was is Verdict.EXEMPT
    return exempt if event.kind is EventKind.VERDICT else event.kind is not EventKind.EDITED


def happened(event: Event) -> str:
    """One line of a finding's history."""
    found, by = event.finding, f" by {event.by}" if event.by else ""
    if event.kind is EventKind.RESOLVED:
        return f"{found.resolution or 'over'}: {found.resolution_detail or 'no longer holds'}"
    if event.kind in (EventKind.SILENCED, EventKind.SEVERITY_LOWERED) or event.kind in WHY_NOW:
        return event.detail or event.kind.value
    if event.kind is EventKind.VERDICT:
        until = f" until {found.exempt_until:%Y-%m-%d}" if found.exempt_until else ""
        return f"exempt{until}" + (f": {event.detail}" if event.detail else "")
    return f"{event.kind.value.replace('_', ' ')}{by}" + (f": {event.detail}" if event.detail else "")


def held_back(found: Finding) -> str | None:
    """Why nothing is said of a finding now, or None."""
    if found.draft:
        return "its rule is a draft"
    if found.verdict is Verdict.EXEMPT:
        return "exempt"
    if found.silenced_until is not None:
        return f"silenced until {found.silenced_until:%Y-%m-%d %H:%M} UTC; see `access-monitor silence list`"
    return None


def told(found: Finding, *, in_silence: bool = False) -> str:
    """Whether a finding was told, and if not, why: in words. `in_silence`: nothing was said as it began."""
    held = held_back(found if in_silence else replace(found, silenced_until=None))
    if held is not None:
        return f"not told: {held}"
    if in_silence and found.silenced_until is None:
        return "not told when it opened: it was flapping"
    return "told in the baseline message" if found.baseline else "told when it opened"


def baseline(
    found: Sequence[Finding], rules: Mapping[str, Rule], routes: Sequence[Route], source: str,
    totals: Mapping[str, int], now: datetime,
) -> Iterator[Notification]:  # fmt: skip
    """One message a receiver about all that was there before we looked. None at all is worth saying, too."""
    told = [f for f in found if not f.draft and f.verdict is Verdict.FINDING and f.silenced_until is None]
    by_receiver = {r: list[Finding]() for r in everyone_last(routes)} | _by_receiver(
        (f, receivers(f, routes, rules.get(f.rule))) for f in told
    )
    for receiver, findings in by_receiver.items():
        content = {**_list(findings), **totals}
        title = _existed(len(findings), len(told), source)
        yield notification(receiver, Reason.BASELINE, f"baseline:{source}", title, source, now, content)


def _existed(number: int, of: int, source: str) -> str:
    """A receiver that hears of a part is told that it is one."""
    if number == of:
        return f"{number} finding{'' if number == 1 else 's'} existed in {source} before we looked"
    return f"{number} of the {of} findings that existed in {source} before we looked"


def of_changes(
    changes: Iterable[Change], routes: Sequence[Route], source: str, now: datetime
) -> Iterator[Notification]:
    """One message a receiver and poll about the plain changes that its route asks for."""
    wanting = [r for r in routes if r.changes and (not r.source or source in r.source)]
    by_receiver: dict[str, list[Change]] = {}
    for change in changes if wanting else ():
        names = set(names_of(change))
        route = next((r for r in wanting if names & set(r.changes)), None)
        for receiver in route.to if route else ():
            by_receiver.setdefault(receiver, []).append(change)
    for receiver, moved in by_receiver.items():
        title = f"{len(moved)} change{'' if len(moved) == 1 else 's'} in {source}"
        content = {"changes": [present.change(c, source) for c in moved]}
        yield notification(
            receiver, Reason.CHANGES, f"changes:{source}:{present.rfc3339(now)}", title, source, now, content
        )


def of_operations(
    key: str, message: str, what_to_do: str, detail: Sequence[str], routes: Sequence[Route], source: str, now: datetime,
    reason: Reason = Reason.OPERATIONS,
) -> Iterator[Notification]:  # fmt: skip
    yield from to_receivers(everyone_last(routes), key, message, what_to_do, detail, source, now, reason)


def to_receivers(
    receivers: Iterable[str], key: str, message: str, what_to_do: str, detail: Sequence[str], source: str,
    now: datetime, reason: Reason = Reason.OPERATIONS,
) -> Iterator[Notification]:  # fmt: skip
    """What the monitor says of itself, to these receivers."""
    content = {"message": message, "what_to_do": what_to_do, "detail": list(detail)}
    for receiver in receivers:
        yield notification(receiver, reason, key, message, source, now, content)


def of_silence(silence: Silence, mutes: int, receivers: Iterable[str], now: datetime) -> Iterator[Notification]:
    """The warning before its end, to its author where he has an address."""
    message = f"A silence of {silence.by} ends on {silence.ends:%Y-%m-%d at %H:%M} UTC"
    content = {
        "message": message, "owner": silence.by,
        "what_to_do": "Nothing, if that is right: what is open then is told. To mute it for longer: `access-monitor "
        "silence add`.",
        "detail": [f"silence {silence.id}: {silence.matcher}", f"reason: {silence.reason}",
                   f"open findings that it mutes now: {mutes}"],
    }  # fmt: skip
    for receiver in receivers:
        key = f"silence:{silence.id}"
        yield notification(receiver, Reason.SILENCE_ENDING, key, message, "access-monitor", now, content)


_NOT_WHOLE = {
    Outcome.FAILED: "read: the poll failed",
    Outcome.PARTIAL: "read whole: the poll was partial",
    Outcome.QUARANTINED: "believed: the poll is quarantined",
}


def of_outcome(
    before: str | None, snapshot: Snapshot, routes: Sequence[Route], now: datetime
) -> Iterator[Notification]:
    """Said once when a source can no longer be read whole, and once when it can again."""
    if (before or Outcome.COMPLETE.value) == snapshot.outcome.value:
        return
    source, fast = snapshot.source, snapshot.lane is Lane.FAST
    name = f"the fast lane of {source}" if fast else source
    key = f"outcome:{source}:{'fast:' if fast else ''}{present.rfc3339(snapshot.started_at)}"
    if snapshot.outcome.value == "complete":
        yield from of_operations(key, f"{name} can be read whole again", "Nothing.", (), routes, source, now)
        return
    yield from of_operations(
        key, f"{name} could not be {_NOT_WHOLE[snapshot.outcome]}",
        "Findings of what was not read stay as they were. Run `access-monitor check` to see whether it can be reached.",
        snapshot.troubles[:20], routes, source, now,
    )  # fmt: skip


def of_quarantine(
    snapshot: Snapshot, why: Sequence[str], routes: Sequence[Route], now: datetime
) -> Iterator[Notification]:
    """Said once, when a source first shows what is too unlikely to be believed."""
    yield from of_operations(
        f"quarantine:{snapshot.source}:{present.rfc3339(snapshot.started_at)}",
        f"A poll of {snapshot.source} is quarantined: it would have changed more than its limits allow",
        "Nothing of it was applied, and later polls like it are quarantined without a message. "
        "Run `access-monitor quarantine list`, and `access-monitor quarantine show SNAPSHOT` for what would have "
        "changed. If it is true: `access-monitor quarantine accept SNAPSHOT --by NAME`; if not, mend the source, and "
        "`access-monitor quarantine reject SNAPSHOT --by NAME`.",
        why[:20], routes, snapshot.source, now,
    )  # fmt: skip


def of_acceptance(
    snapshot: Snapshot, by: str, why: Sequence[str], routes: Sequence[Route], now: datetime
) -> Iterator[Notification]:
    yield from of_operations(
        f"accepted:{snapshot.source}:{present.rfc3339(now)}",
        f"The quarantine of {snapshot.source} is over: {by} accepted what it showed",
        "Nothing.", why[:20], routes, snapshot.source, now,
    )  # fmt: skip
