"""The named functions of clauses: what each gives, at its edges, and what it costs."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.clause_check import sample
from monitor.decide.expressions import Clause
from monitor.decide.facts import readable
from monitor.decide.functions import (
    FUNCTIONS,
    business_days,
    in_business_hours,
    in_domain,
    is_business_day,
    normalised,
)
from monitor.domain.company import USUAL_HOURS, BusinessHours

BERLIN = BusinessHours(zone=ZoneInfo("Europe/Berlin"), country="DE", region="BE")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("email", "domains", "inside"),
    [
        ("ann@example.com", ["example.com"], True),
        ("ann@Example.COM", ["@EXAMPLE.com"], True),
        ("ann@mail.example.com", ["example.com"], True),
        ("ann@notexample.com", ["example.com"], False),
        ("ann@example.com.evil.test", ["example.com"], False),
        ('"a@example.com"@evil.test', ["example.com"], False),
        ("ann@example.com", [], False),
        ("ann@example.com", [""], False),
        ("ann", ["example.com"], False),
        ("ann@b.test", ["a.test", "b.test"], True),
    ],
)
def test_in_domain(email: str, domains: list[str], inside: bool) -> None:
    """The last part of the address decides, at a dot: a stranger may choose everything else."""
    assert in_domain(email, domains) is inside


@pytest.mark.parametrize(
    ("text", "plain"),
    [("José  ÁLVAREZ ", "jose alvarez"), ("Straße", "strasse"), ("\uff21nn", "ann"), ("Ann\u200bLee", "ann\u200blee")],
)
def test_normalised(text: str, plain: str) -> None:
    """Case, accents, width and spaces do not make another person."""
    assert normalised(text) == plain


@pytest.mark.parametrize(
    ("moment", "hours", "inside"),
    [
        ("2026-06-15T09:00", USUAL_HOURS, True),  # a Monday
        ("2026-06-15T08:59", USUAL_HOURS, False),
        ("2026-06-15T16:59", USUAL_HOURS, True),
        ("2026-06-15T17:00", USUAL_HOURS, False),
        ("2026-06-14T12:00", USUAL_HOURS, False),  # a Sunday
        ("2026-06-15T07:30", BERLIN, True),  # half past nine there, in summer
        ("2026-12-15T07:30", BERLIN, False),  # half past eight, in winter
        ("2026-12-25T12:00", BERLIN, False),  # Christmas, a Friday
        ("2026-12-25T12:00", USUAL_HOURS, True),
        ("2027-03-08T12:00", BERLIN, False),  # Women's day is a holiday in Berlin
        ("2027-03-08T12:00", BusinessHours(country="DE"), True),  # and not in all of Germany
    ],
)
def test_in_business_hours(moment: str, hours: BusinessHours, inside: bool) -> None:
    """The day and the hour are those of the zone; holidays are those of country and region."""
    assert in_business_hours(hours, utc(moment)) is inside


@pytest.mark.parametrize(
    ("start", "end", "hours", "days"),
    [
        ("2026-06-15T10:00", "2026-06-15T23:00", USUAL_HOURS, 0),
        ("2026-06-15T10:00", "2026-06-16T00:00", USUAL_HOURS, 1),
        ("2026-06-12T10:00", "2026-06-14T10:00", USUAL_HOURS, 0),  # Friday to Sunday
        ("2026-06-12T10:00", "2026-06-15T10:00", USUAL_HOURS, 1),
        ("2026-06-15T10:00", "2026-06-12T10:00", USUAL_HOURS, -1),
        ("2026-12-23T10:00", "2026-12-28T10:00", BERLIN, 2),  # Thursday and Monday: Friday is Christmas
        ("2026-06-15T21:00", "2026-06-15T23:00", BERLIN, 1),  # midnight lies between, there
    ],
)
def test_business_days(start: str, end: str, hours: BusinessHours, days: int) -> None:
    """The first day does not count, the last one does."""
    assert business_days(hours, utc(start), utc(end)) == days


@given(st.integers(0, 3000), st.integers(0, 900), st.sampled_from([USUAL_HOURS, BERLIN]))
def test_business_days_are_those_that_one_counts(first: int, span: int, hours: BusinessHours) -> None:
    """Day by day, over weekends, holidays and years."""
    start = datetime(2020, 1, 1, 12, tzinfo=UTC) + timedelta(days=first)
    counted = sum(is_business_day(hours, (start + timedelta(days=n)).date()) for n in range(1, span + 1))
    assert business_days(hours, start, start + timedelta(days=span)) == counted


def test_a_span_without_measure_is_refused() -> None:
    """A source may say that an account was made in the year 1: that must cost nothing."""
    with pytest.raises(ValueError, match="a hundred years at most"):
        business_days(BERLIN, datetime(1, 1, 2, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC))
    assert is_business_day(BERLIN, date(2026, 6, 15))


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.name)
def test_a_call_costs_microseconds(function: object) -> None:
    """Of the processor; the best of some rounds, so that a busy machine does not decide."""
    clause = Clause(getattr(function, "example"), "account", hours=BERLIN)  # noqa: B009
    data = sample("account", readable("account"))
    clause.holds(data)
    best = min(_seconds(clause, data) for _ in range(5))
    assert best < 200e-6


def _seconds(clause: Clause, data: dict[str, object]) -> float:
    start = time.process_time()
    for _ in range(200):
        clause.holds(data)
    return (time.process_time() - start) / 200
