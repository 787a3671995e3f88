"""Business time: when what may wait is said, and when a deadline in business days is."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from monitor.decide.functions import in_business_hours, is_business_day
from monitor.domain.company import BusinessHours

LONGEST_CLOSURE = 366  # days without a business day, after which a calendar is not believed


def opening(hours: BusinessHours, at: datetime) -> datetime:
    """This moment when it lies in business hours, else when they begin next."""
    if in_business_hours(hours, at):
        return at
    local = at.astimezone(hours.zone)
    today = local.time() < hours.opens and is_business_day(hours, local.date())
    day = local.date() if today else next_day(hours, local.date())
    return datetime.combine(day, hours.opens, hours.zone).astimezone(at.tzinfo)


def next_day(hours: BusinessHours, day: date) -> date:
    """The first business day after this one."""
    after = (day + timedelta(days=n) for n in range(1, LONGEST_CLOSURE))
    return next((d for d in after if is_business_day(hours, d)), day + timedelta(days=1))


def later(hours: BusinessHours, start: datetime, span: timedelta) -> datetime:
    """`span` after `start`, where each whole day of it is a business day; the clock of the zone stays the same."""
    local = start.astimezone(hours.zone)
    day = local.date()
    for _ in range(span.days):
        day = next_day(hours, day)
    end = datetime.combine(day, local.time(), hours.zone).astimezone(start.tzinfo) + span % timedelta(days=1)
    here = end.astimezone(hours.zone)
    if not is_business_day(hours, here.date()):
        end = datetime.combine(next_day(hours, here.date()), here.time(), hours.zone).astimezone(start.tzinfo)
    return end
