"""A person: a record of an authority, and how accounts of a target are matched to it."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple


class Needed(NamedTuple):
    """A group that somebody should be in, as the config writes it, and the ids that it has in the target."""

    name: str
    ids: frozenset[str]

    def held(self, groups: frozenset[str]) -> bool:
        return not self.ids.isdisjoint(groups)


class Person(NamedTuple):
    key: str  # the authority's own id
    authority: str
    email: str | None = None
    name: str | None = None
    status: str | None = None
    department: str | None = None
    title: str | None = None
    manager: str | None = None
    starts: datetime | None = None
    ended: datetime | None = None  # the end of the last working day, planned ones included
    ended_recorded: datetime | None = None
    tags: tuple[str, ...] | None = None
    previous_departments: tuple[str, ...] = ()
    department_changed: datetime | None = None
    allowed_levels: tuple[str, ...] | None = ()  # empty: the config says nothing of such a person; None: cannot be said
    required_groups: tuple[Needed, ...] | None = ()
    earlier_groups: tuple[Needed, ...] | None = ()  # what earlier departments needed, and the present one does not
    silent: bool = False  # nothing says whether the person is still there


class Match(NamedTuple):
    """Whose an account is. Several persons are nobody: no one may choose between them."""

    person: Person | None = None
    by: str | None = None  # the key that matched, as the config writes it, or "alias"
    several: tuple[str, ...] = ()  # keys of the persons between whom nothing decides
    accounts: tuple[str, ...] | None = ()  # ids of all accounts of the person in this target
    unsure: bool = False  # nobody was found among persons who are not all of them: it cannot be said whose it is
