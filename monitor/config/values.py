"""How single values are written in the config: one way each, and an error that says which."""

from __future__ import annotations

import re
from datetime import time, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainValidator

from monitor.domain import schedule

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGE = re.compile(r"([0-9]{1,6})([smhd])")
_SPAN = re.compile(r"((?:[01][0-9]|2[0-3]):[0-5][0-9])-((?:[01][0-9]|2[0-3]):[0-5][0-9])")
_PER = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5}[smhd])")


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _duration(text: Any) -> Any:
    """ "15m" as a timedelta. pydantic would take numbers and ISO durations, too: here there is one way to write it."""
    if isinstance(text, timedelta):
        return text
    found = _AGE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('must be a duration: a number and s, m, h or d, like "15m"')
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _rate(text: Any) -> Any:
    """ "30/10s": requests and seconds."""
    if isinstance(text, tuple):
        return text
    found = _PER.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('must be a rate: requests and a time, like "30/10s"')
    return int(found[1]), _duration(found[2]).total_seconds()


def _address(text: Any) -> Any:
    if isinstance(text, str) and not re.fullmatch(r"https?://[^/\s?#@]+/?", text):
        raise ValueError('must be an address without a path or a password, like "https://yourschool.learnworlds.com"')
    return text


def _service(text: Any) -> Any:
    if isinstance(text, str) and not re.fullmatch(r"https?://[^/\s?#@]+(/[^\s?#]*)?", text):
        raise ValueError('must be an address without a password or a query, like "https://idp.example.com/scim/v2"')
    return text


def _name(text: Any) -> Any:
    if isinstance(text, str) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", text):
        raise ValueError("must be letters, digits, dots, hyphens and underscores, 63 at most")
    return text


def _span(text: Any) -> Any:
    """ "09:00-17:00": from and to, within one day."""
    if isinstance(text, tuple):
        return text
    found = _SPAN.fullmatch(text) if isinstance(text, str) else None
    if found is None or found[1] >= found[2]:
        raise ValueError('must be hours of one day, like "09:00-17:00"')
    return time.fromisoformat(found[1]), time.fromisoformat(found[2])


def known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError('is no time zone; write it like "Europe/Berlin"') from error
    return name


_WHEN = re.compile(rf"(?:daily|weekly ({'|'.join(schedule.DAYS)})) ([01][0-9]|2[0-3]):([0-5][0-9])")


def _schedule(text: Any) -> Any:
    """ "daily 08:00" or "weekly mon 08:00"."""
    found = _WHEN.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('must be a time that comes back, like "daily 08:00" or "weekly mon 08:00"')
    return schedule.Schedule(int(found[2]), int(found[3]), schedule.DAYS.index(found[1]) if found[1] else None)


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Rate = Annotated[tuple[int, float], BeforeValidator(_rate)]
Span = Annotated[tuple[time, time], BeforeValidator(_span)]
Schedule = Annotated[schedule.Schedule, PlainValidator(_schedule)]
Name = Annotated[str, BeforeValidator(_name)]
Address = Annotated[str, BeforeValidator(_address)]
Service = Annotated[str, BeforeValidator(_service)]
Bool = Annotated[bool, Field(strict=True)]  # not 1 or "yes": there is one way to write it
Int = Annotated[int, Field(strict=True)]
