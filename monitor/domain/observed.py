"""What a source was seen to contain, in our words. `None` always means: the source did not say."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


class Status(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"
    INVITED = "invited"
    DEACTIVATED = "deactivated"


class Kind(StrEnum):
    """What a rule, a finding or a change is about."""

    ACCOUNT = "account"
    GRANT = "grant"
    ROLE = "role"
    GROUP = "group"
    SEAT = "seat"  # a seat offering: seats that a customer bought
    PERSON = "person"
    SOURCE = "source"


class GrantKind(StrEnum):
    """How an account holds an entitlement."""

    ROLE = "role"  # the entitlement is a role's id
    MEMBER = "member"  # a group's id
    MANAGER = "manager"  # a group's id
    SEAT = "seat"  # a seat offering's id: the account may take one of its seats
    SEAT_MANAGER = "seat_manager"  # a seat offering's id: the account hands its seats out
    ASSIGNED = "assigned"  # what a role was narrowed to: "course:ID", "group:ID", "seat:ID", "segment:ID"


class Subject(NamedTuple):
    """Whom or what a change or a finding is about; `email` and `name` are for reading, `id` identifies."""

    kind: str
    id: str
    email: str | None = None
    name: str | None = None


class Account(NamedTuple):
    """A login in a target, with the fields that bear on access. Times are aware, in UTC."""

    id: str
    email: str | None = None
    username: str | None = None
    name: str | None = None
    status: str | None = None
    level: str | None = None
    role: str | None = None
    role_id: str | None = None
    is_admin: bool | None = None
    is_instructor: bool | None = None
    is_reporter: bool | None = None
    is_affiliate: bool | None = None
    tags: tuple[str, ...] | None = None
    fields: tuple[tuple[str, str], ...] | None = None
    created: datetime | None = None


class Activity(NamedTuple):
    """What moves without access changing. Kept apart from versions: sign-ins must not make history rows."""

    last_login: datetime | None = None
    never_signed_in: bool | None = None  # True: the source said null; None: it said nothing
    nps_score: int | None = None
    utms: str | None = None  # canonical JSON of the campaign fields that are set
    nps_comment: str | None = None


class Role(NamedTuple):
    id: str
    title: str | None = None
    description: str | None = None
    access_level: str | None = None
    custom: bool | None = None


class Group(NamedTuple):
    id: str
    title: str | None = None
    description: str | None = None
    max_members: int | None = None
    courses: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    enrolls: bool | None = None
    created: datetime | None = None


class Seats(NamedTuple):
    """A seat offering."""

    id: str
    title: str | None = None
    description: str | None = None
    purchased: int | None = None
    available: int | None = None
    max_members: int | None = None
    courses: tuple[str, ...] | None = None
    tags: tuple[str, ...] | None = None
    created: datetime | None = None


class Grant(NamedTuple):
    """The fact that an account holds an entitlement."""

    account_id: str
    kind: str
    entitlement_id: str


def grant_id(account_id: str, kind: str, entitlement_id: str) -> str:
    """What identifies a grant as a subject: the first space ends the account's id, whatever that holds."""
    return f"{account_id.replace('%', '%25').replace(' ', '%20')} {kind} {entitlement_id}"


def holder(grant: str) -> str:
    """The account of a grant's id."""
    return grant.partition(" ")[0].replace("%20", " ").replace("%25", "%")
