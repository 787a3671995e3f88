"""The event logs of a school: when people last did something of their own. Nothing else of them is kept.

Read by time, since they have an order: from the last poll that read them whole until now, so that no page shifts.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

from msgspec import Raw

from monitor.domain.reading import ActiveRead, Batch, Scope
from monitor.sources.answer import Ask
from monitor.sources.learnworlds_pages import SchoolPolling
from monitor.sources.learnworlds_records import decode_event
from monitor.sources.scopes import Part, decoded

EVENT_LOGS = "/v2/event-logs"
PER_PAGE = 50  # API v2
ACTIVITIES = ("login", "visit_course")  # what nobody does for somebody else; the API takes one at a time
LATE = timedelta(minutes=10)  # an event may be written after it happened


def read_events(polling: SchoolPolling, now: datetime, first: timedelta, part: Part) -> Iterator[Batch]:
    """`first`: how far back the first reading looks."""
    until = polling.recall.read_until(Scope.EVENTS)
    since = now - first if until is None else until - LATE
    for activity in ACTIVITIES:
        ask = partial(_page, activity, int(since.timestamp()), int(now.timestamp()) + 1)
        for number, data, _ in polling.pages(part, Scope.EVENTS, ask, PER_PAGE, called=f"activity={activity}"):
            polling.count(Scope.EVENTS, len(data))
            latest: dict[str, datetime] = {}
            for account_id, at in decoded(data, _event, part, f"event logs, page {number}"):
                latest[account_id] = max(at, latest.get(account_id, at))
            if latest:
                yield ActiveRead(latest)


def _event(raw: Raw) -> tuple[str, datetime]:
    event = decode_event(raw)
    return event.user.id, datetime.fromtimestamp(event.created, UTC)


def _page(activity: str, since: int, until: int, number: int) -> Ask:
    asked: dict[str, str | int] = {"activity": activity, "created_after": since, "created_before": until}
    return Ask(EVENT_LOGS, {**asked, "sort": "asc", "page": number})
