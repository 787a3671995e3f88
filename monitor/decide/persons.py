"""What an authority's record says of a person: dates, whether it is still there, and what access the config expects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time, tzinfo
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

from monitor.domain.person import Needed, Person

# Keys of an account's fields that say something of a person. Dates: 2026-03-31, or RFC 3339.
WELL_KNOWN = ("employee_id", "department", "title", "manager", "starts", "ends", "ended_recorded")
HERE = ("active", "invited")


class Expectation(NamedTuple):
    """What persons with such a title in such a department may hold, and must be in. Empty patterns match everybody."""

    titles: tuple[str, ...] = ()
    departments: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def holds(self, title: str | None, department: str | None) -> bool | None:
        """None: it cannot be said, because what it asks for was not reported."""
        found = {_like(title, self.titles), _like(department, self.departments)}
        return False if False in found else None if None in found else True


def _like(text: str | None, patterns: Sequence[str]) -> bool | None:
    if not patterns:
        return True
    return None if text is None else any(fnmatchcase(text.casefold().strip(), p.casefold()) for p in patterns)


class Expected(NamedTuple):
    levels: tuple[str, ...] | None
    groups: tuple[str, ...] | None
    earlier: tuple[str, ...] | None


def expected(
    title: str | None, department: str | None, previous: Iterable[str], expectations: Sequence[Expectation]
) -> Expected:
    """What all expectations together ask of a person; None where one of them cannot be decided."""
    now = [(e, e.holds(title, department)) for e in expectations]
    levels, groups = (_all(now, what) for what in (lambda e: e.levels, lambda e: e.groups))
    of_departments = [e for e in expectations if e.departments]
    before = [(e, e.holds(title, old)) for old in previous for e in of_departments]
    earlier = _all(before, lambda e: e.groups)
    if earlier is not None:
        earlier = None if groups is None and earlier else tuple(g for g in earlier if g not in (groups or ()))
    return Expected(levels, groups, earlier)


def _all(
    found: Iterable[tuple[Expectation, bool | None]], what: Callable[[Expectation], tuple[str, ...]]
) -> tuple[str, ...] | None:
    asked = [(what(e), holds) for e, holds in found if what(e)]
    if any(holds is None for _, holds in asked):
        return None
    return tuple(dict.fromkeys(one for many, holds in asked if holds for one in many))


@lru_cache(maxsize=8192)
def day(text: str, zone: tzinfo, *, end: bool = False) -> datetime | None:
    """A date as its first moment, or its last second, in the zone; RFC 3339 as it stands. None: it is neither."""
    try:
        if len(text) == len("2026-03-31"):
            of_day = time(23, 59, 59) if end else time()
            return datetime.combine(date.fromisoformat(text), of_day, zone).astimezone(UTC)
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


Access = tuple[tuple[str, ...] | None, tuple[Needed, ...] | None, tuple[Needed, ...] | None]


class Reader:
    """Records of one authority as persons of one target."""

    def __init__(
        self, authority: str, zone: tzinfo, expectations: Sequence[Expectation], groups: Mapping[str, frozenset[str]]
    ) -> None:
        """`groups`: ids in the target by title."""
        self._authority, self._zone, self._expectations, self._groups = authority, zone, expectations, groups
        self._expected: dict[tuple[str | None, str | None, tuple[str, ...]], Access] = {}
        self.says_status = self.says_ends = False  # of anybody at all, so far

    def person(self, row: Mapping[str, Any], previous: tuple[str, ...], changed: datetime) -> Person:
        """A row as it is recorded, with the departments before the present one."""
        said, status = row["fields"] or {}, row["status"]
        department, title, ends = said.get("department"), said.get("title"), said.get("ends")
        ended = self._day(ends, end=True)
        self.says_status, self.says_ends = self.says_status or status is not None, self.says_ends or bool(ends)
        levels, required, earlier = self._access(title, department, previous)
        return Person(
            row["id"], self._authority, row["email"], row["name"] or row["username"], status, department, title,
            said.get("manager"), self._day(said.get("starts")), ended, self._day(said.get("ended_recorded")),
            None if row["tags"] is None else tuple(row["tags"]), previous, changed, levels, required, earlier,
            silent=bool(ends) and ended is None,
        )  # fmt: skip

    def _day(self, text: str | None, *, end: bool = False) -> datetime | None:
        return None if not text else day(text, self._zone, end=end)

    def _access(self, title: str | None, department: str | None, previous: tuple[str, ...]) -> Access:
        """Few combinations there are, and many persons."""
        mark = (title, department, previous)
        if mark not in self._expected:
            levels, groups, earlier = expected(title, department, previous, self._expectations)
            self._expected[mark] = (levels, self._needed(groups), self._needed(earlier))
        return self._expected[mark]

    def _needed(self, names: tuple[str, ...] | None) -> tuple[Needed, ...] | None:
        if names is None:
            return None
        return tuple(Needed(n, self._groups.get(n, frozenset()) | {n}) for n in names)


def active(now: datetime, person: Person) -> bool | None:
    """Whether the authority says that the person is there: not ended, and not in another status than active."""
    if person.ended is not None and now > person.ended:
        return False
    if person.status is not None and person.status not in HERE:
        return False
    return None if person.silent else True


def moved(
    previous: tuple[str, ...], changed: datetime | None, old: str | None, new: str | None, at: datetime
) -> tuple[tuple[str, ...], datetime | None]:
    """The earlier departments and the time of the last move, carried on. Not being told is no move."""
    if old is None or new is None or old == new:
        return previous, changed
    return (previous if old in previous else (*previous, old)), at
