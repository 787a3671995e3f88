"""What an act makes of a finding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

from monitor.decide import exemptions
from monitor.decide.parse_exemptions import LONGEST_EXEMPTION
from monitor.decide.present import rfc3339
from monitor.decide.reconcile import acknowledged
from monitor.domain.act import Act, Click
from monitor.domain.company import BusinessHours
from monitor.domain.exemption import Standing, StoredExemption
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus, Resolution
from monitor.domain.matcher import Matcher
from monitor.domain.rule import Rule, Verdict
from monitor.domain.silence import Silence


class Ways(NamedTuple):
    """What the config says of acting."""

    zone: tzinfo
    second_approver: bool = False  # an exemption holds only when another person approves it


class Asked(NamedTuple):
    """What the form of an exemption said, as it may stand."""

    until: date
    reason: str
    ticket: str

    @property
    def words(self) -> str:
        return f"until {self.until}" + (f" ({self.ticket})" if self.ticket else "") + f": {self.reason}"


def done(
    found: Finding | None, click: Click, rule: Rule | None, waiting: StoredExemption | None, now: datetime, ways: Ways
) -> Event | str:
    """The event, or why there is none: that is said to the person. `waiting`: the exemption that somebody asked for."""
    refusal = refused(found, click)
    if refusal or found is None:
        return refusal
    does: dict[Act, Callable[[], Event | str]] = {
        Act.ACKNOWLEDGE: lambda: seen(found, rule, click.by, now),
        Act.ASSIGN: lambda: assigned(found, click),
        Act.FALSE_ALARM: lambda: false_alarm(found, click.by, click.reason, now),
        Act.EXEMPT: lambda: exempted(found, click, waiting, now, ways),
        Act.APPROVE: lambda: approved(found, click, waiting, now, ways),
        Act.REFUSE: lambda: turned_down(found, click, waiting),
    }
    return does[click.act]()


def seen(found: Finding, rule: Rule | None, by: str, now: datetime) -> Event | str:
    if found.status is FindingStatus.ACKNOWLEDGED:
        return f"{found.acknowledged_by} acknowledged it already."
    return acknowledged(found, rule, by, now)


def refused(found: Finding | None, click: Click) -> str:
    """Why nobody may do anything to this, or nothing."""
    if not click.allowed:
        return "You may not act on findings here. Ask for your user id to be added to `actors` of the receiver."
    if found is None:
        return "There is no such finding any more."
    if found.status is FindingStatus.RESOLVED:
        return f"It is over already: {found.resolution_detail or found.resolution}."
    return ""


def assigned(found: Finding, click: Click) -> Event | str:
    """Whose work it is from now on. It stays as open as it was."""
    if not click.to:
        return "Say to whom."
    if click.to == found.assigned_to:
        return f"It is assigned to {click.to} already."
    return Event(EventKind.ASSIGNED, replace(found, assigned_to=click.to), f"to {click.to}", by=click.by)


def snoozed(found: Finding, click: Click, hours: BusinessHours, now: datetime, zone: tzinfo) -> Silence | str:
    """The silence that is wanted; or why there is none. Mornings are when business hours begin."""
    if len(click.reason.strip()) < 3:
        return "Say why, in a few words."
    ends = _snoozed_until(click, hours, now, zone)
    if isinstance(ends, str):
        return ends
    if found.silenced_until is not None and ends <= found.silenced_until:
        return f"It is silenced already, until {rfc3339(found.silenced_until)}."
    matcher = Matcher(fingerprint=(found.fingerprint,))
    return Silence(matcher, click.by, click.reason.strip(), now, ends, receiver=click.receiver)


def _snoozed_until(click: Click, hours: BusinessHours, now: datetime, zone: tzinfo) -> datetime | str:
    today = now.astimezone(hours.zone).date()
    match click.lasts:
        case "1h":
            return now + timedelta(hours=1)
        case "tomorrow":
            return _morning(today + timedelta(days=1), hours)
        case "monday":
            return _morning(today + timedelta(days=7 - today.weekday()), hours)
    last = _last_day(click.until, now.astimezone(zone).date())
    return last if isinstance(last, str) else exemptions.last_moment(last, zone)


def _morning(day: date, hours: BusinessHours) -> datetime:
    return datetime.combine(day, hours.opens, hours.zone).astimezone(UTC)


def false_alarm(found: Finding, by: str, reason: str, now: datetime) -> Event | str:
    """Closed by a person while it holds: it stays closed until it stopped holding once."""
    if not reason.strip():
        return "Say why it is a false alarm."
    after = replace(
        found, status=FindingStatus.RESOLVED, resolution=Resolution.FALSE_ALARM, resolved_at=now,
        resolution_detail=f"{by}: {reason.strip()}",
    )  # fmt: skip
    return Event(EventKind.FALSE_ALARM, after, reason.strip(), by=by)


def asked_for(click: Click, today: date) -> Asked | str:
    """What the form said; or what is wrong with it. The same bounds as for exemptions of files."""
    reason = click.reason.strip()
    if len(reason) < 3:
        return "Say why it is let be, in a few words."
    until = _last_day(click.until, today)
    return until if isinstance(until, str) else Asked(until, reason, click.ticket.strip())


def _last_day(text: str, today: date) -> date | str:
    try:
        until = date.fromisoformat(text)
    except ValueError:
        return "Say until when: its last day."
    if until < today:
        return f"{until} is over already. Choose today or a later day."
    if until - today > LONGEST_EXEMPTION:
        return f"{until} is too far ahead: choose a day within a year. Then it is looked at again."
    return until


def exempted(found: Finding, click: Click, waiting: StoredExemption | None, now: datetime, ways: Ways) -> Event | str:
    """Let be, or asked to be, where a second person has to agree."""
    asked = asked_for(click, now.astimezone(ways.zone).date())
    if isinstance(asked, str):
        return asked
    if waiting is not None:
        return f"{waiting.asked_by} asked for an exemption already. It has to be approved or refused first."
    end = exemptions.last_moment(asked.until, ways.zone)
    if found.exempt_until is not None and end <= found.exempt_until:
        return f"It is exempt already, until {rfc3339(found.exempt_until)}."
    note = {"standing": Standing.ASKED.value, "by": click.by, "until": asked.until.isoformat(), "reason": asked.reason,
            "ticket": asked.ticket or None}  # fmt: skip
    if ways.second_approver:
        return Event(EventKind.EXEMPTION_ASKED, replace(found, exemption=note), asked.words, by=click.by)
    note |= {"standing": Standing.APPROVED.value}
    return Event(EventKind.EXEMPTED, _let_be(found, note, end), asked.words, by=click.by)


def approved(found: Finding, click: Click, waiting: StoredExemption | None, now: datetime, ways: Ways) -> Event | str:
    if waiting is None:
        return "Nobody asks for an exemption any more."
    if waiting.asked_by_id == click.user:
        return "You asked for this exemption yourself: another person has to approve it."
    end = exemptions.last_moment(waiting.expires, ways.zone)
    if end <= now:
        return f"It was asked for until {waiting.expires}, which is over. Refuse it, and ask anew."
    asked = Asked(waiting.expires, waiting.reason, waiting.ticket or "")
    note = {"standing": Standing.APPROVED.value, "by": f"{click.by}, asked by {waiting.asked_by}",
            "until": asked.until.isoformat(), "reason": asked.reason, "ticket": waiting.ticket}  # fmt: skip
    words = f"{asked.words} (asked for by {waiting.asked_by})"
    return Event(EventKind.EXEMPTED, _let_be(found, note, end), words, by=click.by)


def turned_down(found: Finding, click: Click, waiting: StoredExemption | None) -> Event | str:
    """By whomever may act; who asked may take it back so."""
    if waiting is None:
        return "Nobody asks for an exemption any more."
    after = replace(found, exemption=None)
    return Event(EventKind.EXEMPTION_REFUSED, after, f"asked for by {waiting.asked_by}", by=click.by)


def withdrawn(found: Finding, stored: StoredExemption, by: str) -> Event:
    """The verdict stays until a poll judges without the exemption: then it is told that it holds again."""
    detail = f"until {stored.expires}: {stored.reason}"
    return Event(EventKind.EXEMPTION_WITHDRAWN, replace(found, exemption=None), detail, by=by)


def _let_be(found: Finding, note: dict[str, str | None], end: datetime) -> Finding:
    """As the next poll will judge it. What is unknown stays that: nobody knows whether there is anything to let be."""
    if found.verdict not in (Verdict.FINDING, Verdict.EXEMPT):
        return replace(found, exemption=note)
    return replace(found, exemption=note, verdict=Verdict.EXEMPT, exempt_until=end)
