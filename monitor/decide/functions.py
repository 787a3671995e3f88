"""The named functions that clauses may call, beside those of CEL: each declared once, with what it is for.

They are plain Python and cost about 5 microseconds a call. Whatever one raises makes the clause a rule error.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

from monitor.domain.company import BusinessHours

LONGEST_SPAN = 100 * 366  # days: no holiday is looked up for more


@dataclass(frozen=True, slots=True)
class Function:
    name: str
    takes: tuple[str, ...]
    gives: str
    about: str
    example: str  # a clause of a rule for_each account
    make: Callable[[BusinessHours], Callable[..., Any]]

    @property
    def signature(self) -> str:
        return f"{self.name}({', '.join(self.takes)})"


def in_domain(email: str, domains: list[str]) -> bool:
    mine = email.rpartition("@")[2].casefold()
    theirs = [d.casefold().removeprefix("@") for d in domains]
    return any(mine == d or mine.endswith(f".{d}") for d in theirs if d)


def normalised(text: str) -> str:
    """ "José  ÁLVAREZ" and "jose alvarez" are one name."""
    plain = (c for c in unicodedata.normalize("NFKD", text.casefold()) if not unicodedata.combining(c))
    return " ".join("".join(plain).split())


def in_business_hours(hours: BusinessHours, moment: datetime) -> bool:
    local = moment.astimezone(hours.zone)
    return is_business_day(hours, local.date()) and hours.opens <= local.time() < hours.closes


def business_days(hours: BusinessHours, start: datetime, end: datetime) -> int:
    """Business days after the day of `start`, up to and with the day of `end`; negative when it lies before."""
    if end < start:
        return -business_days(hours, end, start)
    first, last = (t.astimezone(hours.zone).date() for t in (start, end))
    span = (last - first).days
    if span > LONGEST_SPAN:
        raise ValueError(f"{span} days lie between; business_days counts over a hundred years at most")
    weeks, rest = divmod(span, 7)
    after = [(first + timedelta(days=n)).weekday() for n in range(1, rest + 1)]
    return weeks * len(hours.days) + sum(d in hours.days for d in after) - _holidays_between(hours, first, last)


def is_business_day(hours: BusinessHours, day: date) -> bool:
    return day.weekday() in hours.days and day not in _holidays(hours, day.year)


def _holidays_between(hours: BusinessHours, first: date, last: date) -> int:
    years = range(first.year, last.year + 1) if hours.country else ()
    return sum(first < d <= last and d.weekday() in hours.days for y in years for d in _holidays(hours, y))


@lru_cache(maxsize=1024)
def _holidays(hours: BusinessHours, year: int) -> frozenset[date]:
    if hours.country is None:
        return frozenset()
    import holidays  # loads the calendars of all countries: only who names one waits for it

    return frozenset(holidays.country_holidays(hours.country, subdiv=hours.region, years=year))


FUNCTIONS = (
    Function("days", ("int",), "duration", "A number of days as a duration.",
             "now - account.created > days(90)", lambda _h: lambda n: timedelta(days=n)),
    Function("hours", ("int",), "duration", "A number of hours as a duration.",
             "now - account.privileged_since < hours(36)", lambda _h: lambda n: timedelta(hours=n)),
    Function("in_domain", ("string", "list(string)"), "bool",
             "The address lies in one of the domains or below one of them, in upper or lower case.",
             '!in_domain(account.email, ["example.com", "partner.example"])', lambda _h: in_domain),
    Function("lower", ("string",), "string", "The text in lower case, in any script.",
             'lower(account.role) == "übungsleiter"', lambda _h: str.lower),
    Function("normalised", ("string",), "string",
             "The text without case, accents and repeated spaces: to compare names of people.",
             "normalised(account.name) == normalised(account.username)", lambda _h: normalised),
    Function("in_business_hours", ("timestamp",), "bool",
             "The moment lies on a business day, within business hours: see `[business_hours]` of the config.",
             "!in_business_hours(account.privileged_since)",
             lambda hours: lambda moment: in_business_hours(hours, moment)),
    Function("business_days", ("timestamp", "timestamp"), "int",
             "Business days after the day of the first moment, up to and with the day of the second.",
             "business_days(account.created, now) > 5",
             lambda hours: lambda start, end: business_days(hours, start, end)),
)  # fmt: skip


def rows() -> Iterator[tuple[str, str, str, str]]:
    """Signature, result, meaning and example, as docs/rules.md shows them."""
    return ((f.signature, f.gives, f.about, f.example) for f in FUNCTIONS)
