"""LearnWorlds' records as the API sends them, and what they mean in our words. Pure: no I/O, no clock.

Shapes: the OpenAPI description of API v2. Where real answers were seen to differ from it, these are the looser.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from monitor.domain.observed import Account, Activity, Grant, GrantKind, Group, Role, Seats, Status

KEPT_FIELDS = ("company",)

# PHP writes an empty map as [], so what should be an object may be a list.
Fields = dict[str, Any] | list[Any] | None
RoleIds = Mapping[tuple[str | None, str | None] | str, str]

_from_timestamp = datetime.fromtimestamp
_canonical = msgspec.json.Encoder(order="sorted").encode


LONGEST_COMMENT = 500  # characters: more is for the school's own pages


class UserRole(Struct, gc=False):
    level: str | None = None
    name: str | None = None


class User(Struct, gc=False):
    """Only what we use; msgspec skips the rest. No key but `id` is sure to be there."""

    id: str
    email: str | None = None
    username: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    is_admin: bool | None = None
    is_instructor: bool | None = None
    is_reporter: bool | None = None
    is_affiliate: bool | None = None
    is_suspended: bool | None = None
    role: UserRole | None = None
    created: float | None = None
    last_login: float | UnsetType | None = UNSET
    tags: list[str] | None = None
    fields: Fields = None
    utms: Fields = None
    nps_score: int | None = None
    nps_comment: str | None = None


class RoleRecord(Struct):
    id: str
    title: str | None = None
    description: str | None = None
    access_level: str | None = None
    custom_role: bool | None = None


class Manager(Struct):
    id: str


class Products(Struct):
    courses: list[str] | None = None


class GroupRecord(Struct):
    id: str
    title: str | None = None
    description: str | None = None
    max_number_of_users: int | None = None
    products: Products | list[Any] | None = None
    enroll_users_on_courses: bool | None = None
    group_managers: list[Manager] | None = None
    tags: list[str] | None = None
    created: float | None = None


class SeatRecord(Struct):
    """A seat offering."""

    id: str
    title: str | None = None
    description: str | None = None
    products: Products | list[Any] | None = None
    number_of_seats: int | None = None
    available_seats: int | None = None
    max_number_of_users: int | None = None
    seat_managers: list[Manager] | None = None
    tags: list[str] | None = None
    created: float | None = None


class Member(Struct):
    id: str


class Event(Struct):
    """Something that a user did."""

    user: Member
    created: float


class AssignedCourse(Struct):
    course_id: str


class UserRoleDetail(Struct):
    """ "The response may vary depending on role": any key may be absent, but not all that say whose detail it is."""

    id: str | None = None
    role_id: str | None = None
    user_role: Member | None = None
    assigned_courses: list[AssignedCourse] | None = None
    assigned_user_group_ids: list[str] | None = None
    assigned_seat_offering_ids: list[str] | None = None
    assigned_segment_id: str | None = None


class Meta(Struct):
    """`totalItems` is no proof of anything: the API calls it the number of items in this page (API v2)."""

    totalPages: int
    page: int | None = None
    totalItems: int | None = None
    itemsPerPage: int | None = None


class Page(Struct):
    """One page of records, not decoded yet: most of them are, byte for byte, what they were at the last poll."""

    data: list[Raw] | None = None
    meta: Meta | None = None
    success: bool | None = None
    errors: Any = None
    error: Any = None


decode_user = msgspec.json.Decoder(User).decode
decode_role = msgspec.json.Decoder(RoleRecord).decode
decode_group = msgspec.json.Decoder(GroupRecord).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_seats = msgspec.json.Decoder(SeatRecord).decode
decode_member = msgspec.json.Decoder(Member).decode
decode_detail = msgspec.json.Decoder(UserRoleDetail).decode
decode_page = msgspec.json.Decoder(Page | list[Raw]).decode


def account_of(user: User, role_ids: RoleIds, kept: Collection[str] = KEPT_FIELDS) -> Account:
    """Raises ValueError or OverflowError when a time cannot be one."""
    role, fields, tags, suspended, created = user.role, user.fields, user.tags, user.is_suspended, user.created
    level, title = (None, None) if role is None else (role.level, role.name)
    return Account(
        user.id,
        user.email or None,
        user.username or None,
        _name(user.first_name, user.last_name),
        None if suspended is None else _SUSPENDED if suspended else _ACTIVE,
        level,
        title,
        None if title is None else role_ids.get((title, level)) or role_ids.get(title),
        user.is_admin,
        user.is_instructor,
        user.is_reporter,
        user.is_affiliate,
        None if tags is None else tuple(sorted(tags)),
        None if fields is None else _fields(fields, kept),
        None if created is None else _from_timestamp(created, UTC),
    )


def activity_of(user: User) -> Activity:
    """`last_login` null: never signed in. The key absent: the source did not say."""
    last, utms = user.last_login, user.utms
    if last is UNSET:
        when, never = None, None
    else:
        when, never = (None, True) if last is None else (_from_timestamp(last, UTC), False)
    said = (user.nps_comment or "").strip()[:LONGEST_COMMENT] or None
    return Activity(when, never, user.nps_score, _campaign(utms) if utms else None, said)


_ACTIVE, _SUSPENDED = Status.ACTIVE.value, Status.SUSPENDED.value


def _name(first: str | None, last: str | None) -> str | None:
    """In username mode the first name is "" and the last name repeats the username (API v2, User)."""
    return f"{first or ''} {last or ''}".strip() or None


def _fields(fields: dict[str, Any] | list[Any], kept: Collection[str]) -> tuple[tuple[str, str], ...]:
    """Custom fields (cf_...) and those that the config wants to keep; null says nothing."""
    if isinstance(fields, list):
        return ()
    found = [
        (key, value if type(value) is str else _text(value))
        for key, value in fields.items()
        if value is not None and (key in kept or key.startswith("cf_"))
    ]
    found.sort()
    return tuple(found)


def _text(value: Any) -> str:
    """A checkbox may come as a boolean (webhook sample); lists and objects are not documented, and kept as JSON."""
    return _canonical(value).decode() if isinstance(value, list | dict) else str(value)


def _campaign(utms: dict[str, Any] | list[Any]) -> str | None:
    if isinstance(utms, list):
        return None
    found = {key: value for key, value in utms.items() if value is not None}
    return _canonical(found).decode() if found else None


def role_ids(roles: Iterable[Role]) -> RoleIds:
    """How a user's role, which has no id (API v2, User), is found again: by title and level, else by an only title."""
    by_both: dict[tuple[str | None, str | None] | str, set[str]] = {}
    for role in roles:
        if role.title is not None:
            by_both.setdefault((role.title, role.access_level), set()).add(role.id)
            by_both.setdefault(role.title, set()).add(role.id)
    return {key: ids.copy().pop() for key, ids in by_both.items() if len(ids) == 1}


def role_of(record: RoleRecord) -> Role:
    return Role(record.id, record.title, record.description, record.access_level, record.custom_role)


def group_of(record: GroupRecord) -> Group:
    products, tags, created = record.products, record.tags, record.created
    courses = products.courses if isinstance(products, Products) else None
    return Group(
        record.id,
        record.title,
        record.description,
        record.max_number_of_users,
        None if courses is None else tuple(sorted(courses)),
        None if tags is None else tuple(sorted(tags)),
        record.enroll_users_on_courses,
        None if created is None else _from_timestamp(created, UTC),
    )


def seats_of(record: SeatRecord) -> tuple[Seats, list[Grant]]:
    """A seat offering, and who manages it."""
    courses = record.products.courses if isinstance(record.products, Products) else None
    seats = Seats(
        record.id, record.title, record.description, record.number_of_seats, record.available_seats,
        record.max_number_of_users, None if courses is None else tuple(sorted(courses)),
        None if record.tags is None else tuple(sorted(record.tags)),
        None if record.created is None else _from_timestamp(record.created, UTC),
    )  # fmt: skip
    managers = dict.fromkeys(m.id for m in record.seat_managers or () if m.id)
    return seats, [Grant(account_id, GrantKind.SEAT_MANAGER.value, record.id) for account_id in managers]


def managers_of(record: GroupRecord) -> list[Grant]:
    found = dict.fromkeys(m.id for m in record.group_managers or () if m.id)
    return [Grant(account_id, GrantKind.MANAGER.value, record.id) for account_id in found]


def assigned_of(account_id: str, detail: UserRoleDetail) -> list[Grant]:
    """The exact role, and what it was narrowed to. Raises ValueError for an answer that tells of nobody."""
    if not (detail.id or detail.role_id or detail.user_role):
        raise ValueError("the answer names neither the user nor a role")
    return [Grant(account_id, GrantKind.ASSIGNED.value, what) for what in dict.fromkeys(_assigned(detail))]


def _assigned(detail: UserRoleDetail) -> Iterator[str]:
    role = detail.role_id or (detail.user_role.id if detail.user_role else None)
    if role:
        yield f"role:{role}"
    yield from (f"course:{c.course_id}" for c in detail.assigned_courses or ())
    yield from (f"group:{i}" for i in detail.assigned_user_group_ids or ())
    yield from (f"seat:{i}" for i in detail.assigned_seat_offering_ids or ())
    if detail.assigned_segment_id:
        yield f"segment:{detail.assigned_segment_id}"
