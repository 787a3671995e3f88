"""What an authority's record says of a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monitor.decide.match import Matching, indexed
from monitor.decide.persons import Expectation, active, day, expected
from monitor.domain.person import Person

NOW = datetime(2026, 3, 31, 21, 30, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "end", "moment"),
    [
        ("2026-03-31", True, datetime(2026, 3, 31, 21, 59, 59, tzinfo=UTC)),
        ("2026-03-31", False, datetime(2026, 3, 30, 22, 0, tzinfo=UTC)),
        ("2026-01-31", True, datetime(2026, 1, 31, 22, 59, 59, tzinfo=UTC)),  # winter
        ("2026-03-31T12:00:00Z", True, datetime(2026, 3, 31, 12, 0, tzinfo=UTC)),
        ("2026-03-31T12:00:00", True, datetime(2026, 3, 31, 10, 0, tzinfo=UTC)),
        ("soon", True, None),
        ("31.03.2026", True, None),
        ("0001-01-01", False, None),  # before the first moment that UTC can write
    ],
)
def test_days(text: str, end: bool, moment: datetime | None) -> None:
    """A last working day ends when it ends where the people are."""
    assert day(text, BERLIN, end=end) == moment


def person(status: str | None, others: str | None = None, **fields: str) -> Person:
    """A person of an authority that says `others` of somebody else, as it is read."""
    rows: list[dict[str, Any]] = [
        {"id": key, "email": None, "username": None, "name": None, "status": s, "tags": None, "fields": f,
         "first_seen": NOW}
        for key, s, f in (("1", status, fields), ("2", others, {"ends": "2026-01-01"} if others == "" else {}))
    ]  # fmt: skip
    rows[1]["status"] = others or None
    return indexed("hr", rows, (), Matching(()), {}, BERLIN).persons["1"]


@pytest.mark.parametrize(
    ("one", "there"),
    [
        (person("active"), True),
        (person("invited"), True),
        (person("suspended"), False),
        (person("deactivated"), False),
        (person("active", ends="2026-03-31"), True),  # until midnight in Berlin, which is in half an hour
        (person("active", ends="2026-03-30"), False),
        (person("deactivated", ends="2027-01-01"), False),
        (person("active", ends="soon"), None),  # an end that nobody can read
        (person("deactivated", ends="soon"), False),
        (person(None), None),  # the authority reports neither status nor end of anybody
        (person(None, others="active"), None),  # it reports the status of others
        (person(None, others=""), True),  # it reports ends, and none for this one
        (person(None, ends="2026-03-01"), False),
    ],
)
def test_active(one: Person, there: bool | None) -> None:
    """Not to be told is not to be gone, and not to be there either."""
    assert active(NOW, one) is there


ANY = Expectation((), (), (), ("Safety",))
SALES = Expectation((), ("sales*",), ("user",), ("Sellers", "CRM"))
LEAD = Expectation(("team lead",), ("sales*",), ("instructor",), ())
SUPPORT = Expectation((), ("Support",), ("user", "reporter"), ("Helpers", "CRM"))
ALL = (ANY, SALES, LEAD, SUPPORT)


@pytest.mark.parametrize(
    ("title", "department", "previous", "levels", "groups", "earlier"),
    [
        ("Rep", "Sales EMEA", (), ("user",), ("Safety", "Sellers", "CRM"), ()),
        ("Team Lead", "SALES", (), ("user", "instructor"), ("Safety", "Sellers", "CRM"), ()),
        ("Cook", "Kitchen", (), (), ("Safety",), ()),
        ("Rep", "Support", ("Sales",), ("user", "reporter"), ("Safety", "Helpers", "CRM"), ("Sellers",)),
        (None, "Sales", (), None, ("Safety", "Sellers", "CRM"), ()),  # whether a team lead, nobody can say
        (None, None, (), None, None, ()),
        ("Rep", None, ("Sales",), None, None, None),
    ],
)
def test_expectations(
    title: str | None, department: str | None, previous: tuple[str, ...], levels: Any, groups: Any, earlier: Any
) -> None:
    """They add up; what cannot be decided is unknown, and nothing is known to be nothing."""
    assert expected(title, department, previous, ALL) == (levels, groups, earlier)


def test_without_expectations_nothing_is_expected() -> None:
    """That is known, also of persons without title and department."""
    assert expected(None, None, ("Sales",), ()) == ((), (), ())


def test_departments_before() -> None:
    """Accumulated over the versions; one that is not reported in between moves nothing."""
    steps = ["Sales", None, "Sales", "Support", "Finance", "Support"]
    earlier = [("1", {} if d is None else {"department": d}, NOW + timedelta(days=n)) for n, d in enumerate(steps)]
    row = {"id": "1", "email": None, "username": None, "name": None, "status": None, "tags": None,
           "fields": {"department": "Support"}, "first_seen": NOW}  # fmt: skip
    found = indexed("hr", [row], earlier, Matching(()), {}, UTC).persons["1"]
    assert (found.previous_departments, found.department_changed) == (
        ("Sales", "Support", "Finance"), NOW + timedelta(days=5),
    )  # fmt: skip
