"""[business_hours]: when people work here, for rules that ask in_business_hours() and business_days()."""

from __future__ import annotations

from datetime import time
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from monitor.config.values import Bool, Span, Strict, known_zone

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class BusinessHoursConfig(Strict):
    zone: str | None = None
    days: Annotated[list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], Field(min_length=1)] = [
        "mon", "tue", "wed", "thu", "fri",
    ]  # fmt: skip
    hours: Span = (time(9), time(17))
    country: str | None = None
    region: str | None = None
    deadlines: Bool = False
    reminders: Bool = True

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, name: str | None) -> str | None:
        return name if name is None else known_zone(name)

    @model_validator(mode="after")
    def _known_holidays(self) -> BusinessHoursConfig:
        if self.country is None:
            if self.region is not None:
                raise ValueError("region needs a country, too")
            return self
        import holidays  # loads the calendars of all countries: only who names one waits for it

        regions = holidays.list_supported_countries()
        if self.country not in regions:
            raise ValueError('there are no holidays of this country; write its two letters, like country = "DE"')
        if self.region is not None and self.region not in regions[self.country]:
            raise ValueError(f"there is no such region; there are {', '.join(regions[self.country]) or 'none'}")
        return self

    @property
    def day_numbers(self) -> tuple[int, ...]:
        """Monday is 0."""
        return tuple(sorted({DAYS.index(day) for day in self.days}))
