"""A time that comes back: daily or weekly, on the clock of a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Schedule(NamedTuple):
    hour: int
    minute: int
    day: int | None = None  # 0 is Monday; None: every day

    def last(self, now: datetime, zone: tzinfo) -> datetime:
        """The latest time that is not after `now`, in UTC."""
        here = now.astimezone(zone)
        back = 0 if self.day is None else (here.weekday() - self.day) % 7
        found = self._on(here, -back, zone)
        return found if found <= now else self._on(here, -back - (1 if self.day is None else 7), zone)

    def next(self, now: datetime, zone: tzinfo) -> datetime:
        """The first time that is after `now`, in UTC."""
        here = now.astimezone(zone)
        ahead = 0 if self.day is None else (self.day - here.weekday()) % 7
        found = self._on(here, ahead, zone)
        return found if found > now else self._on(here, ahead + (1 if self.day is None else 7), zone)

    def _on(self, here: datetime, days: int, zone: tzinfo) -> datetime:
        date = here.date() + timedelta(days=days)
        return datetime(date.year, date.month, date.day, self.hour, self.minute, tzinfo=zone).astimezone(UTC)

    def __str__(self) -> str:
        when = f"{self.hour:02}:{self.minute:02}"
        return f"daily {when}" if self.day is None else f"weekly {DAYS[self.day]} {when}"
