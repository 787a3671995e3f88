"""SCIM resources as servers send them (RFC 7643), and what they mean in our words. Pure: no I/O, no clock.

Real servers are looser than the RFC: `active` may be "False", roles may be plain strings, any attribute may be absent.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Raw, Struct

from monitor.domain.observed import Account, Grant, GrantKind, Group, Role, Status

ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
ERROR = "urn:ietf:params:scim:api:messages:2.0:Error"


class Value(Struct):
    """An element of a multi-valued attribute."""

    value: str | int | None = None
    display: str | None = None
    type: str | None = None
    primary: bool | str | None = None
    ref: str | None = msgspec.field(name="$ref", default=None)


Values = list[Value | str] | None


class Name(Struct):
    formatted: str | None = None
    givenName: str | None = None
    familyName: str | None = None


class Manager(Struct):
    value: str | int | None = None
    displayName: str | None = None


class Enterprise(Struct):
    employeeNumber: str | int | None = None
    department: str | None = None
    manager: Manager | str | None = None


class Meta(Struct):
    created: str | None = None


class User(Struct):
    id: str
    userName: str | None = None
    displayName: str | None = None
    name: Name | None = None
    title: str | None = None
    active: bool | str | None = None
    emails: Values = None
    meta: Meta | None = None
    enterprise: Enterprise | None = msgspec.field(name=ENTERPRISE, default=None)


class Held(Struct):
    """What is asked of every user at every poll, whether it changed or not."""

    id: str
    roles: Values = None
    entitlements: Values = None


class GroupRecord(Struct):
    id: str
    displayName: str | None = None
    members: Values = None
    meta: Meta | None = None


class ListResponse(Struct):
    """One page, not decoded yet. `Resources` may be absent when there are none (RFC 7644, 3.4.2)."""

    totalResults: int | None = None
    startIndex: int | None = None
    itemsPerPage: int | None = None
    Resources: list[Raw] | None = None
    nextCursor: str | None = None


class Pagination(Struct):
    cursor: bool = False


class ServiceProviderConfig(Struct):
    pagination: Pagination | None = None


class ErrorBody(Struct):
    """An error that the server itself wrote (RFC 7644, 3.12)."""

    schemas: list[str]
    detail: str | None = None
    scimType: str | None = None


decode_user = msgspec.json.Decoder(User).decode
decode_held = msgspec.json.Decoder(Held).decode
decode_group = msgspec.json.Decoder(GroupRecord).decode
decode_page = msgspec.json.Decoder(ListResponse).decode
decode_config = msgspec.json.Decoder(ServiceProviderConfig).decode
_decode_error = msgspec.json.Decoder(ErrorBody).decode
_decode_any = msgspec.json.Decoder(dict[str, Any]).decode
_canonical = msgspec.json.Encoder(order="sorted").encode


def error_in(body: bytes) -> str | None:
    """What the server's own error says, or None when somebody else answered."""
    try:
        error = _decode_error(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    if ERROR not in error.schemas:
        return None
    return ": ".join(part for part in (error.scimType, error.detail) if part) or "no detail"


def account_of(raw: Raw, levels: Mapping[str, str], kept: tuple[str, ...]) -> Account:
    """Raises ValueError when something in it cannot be what it should."""
    user, held = decode_user(raw), list(roles_of(decode_held(raw)))
    titles = sorted({role.title or role.id for role in held})
    return Account(
        user.id,
        _email(user.emails),
        user.userName or None,
        user.displayName or _name(user.name),
        _status(user.active),
        level_of(raw, levels),
        ", ".join(titles) or None,
        held[0].id if len(held) == 1 else None,
        fields=tuple(sorted(_fields(user, raw, kept))),
        created=_moment(user.meta.created) if user.meta and user.meta.created else None,
    )


def roles_of(held: Held) -> Iterator[Role]:
    for value, shown in dict(_values(held.roles)).items():
        yield Role(value, shown or value)


def assigned_of(held: Held) -> Iterator[Grant]:
    """Roles and entitlements, each as something that is held: a user may have several of both."""
    for kind, values in (("role", held.roles), ("entitlement", held.entitlements)):
        for value in dict(_values(values)):
            yield Grant(held.id, GrantKind.ASSIGNED.value, f"{kind}:{value}")


def level_of(raw: Raw, levels: Mapping[str, str]) -> str | None:
    """The first of the config's levels that a role or an entitlement gives; else nothing is known of it."""
    if not levels:
        return None
    held = decode_held(raw)
    names = {name for values in (held.roles, held.entitlements) for pair in _values(values) for name in pair}
    return next((level for name, level in levels.items() if name in names), None)


def group_of(record: GroupRecord) -> Group:
    created = _moment(record.meta.created) if record.meta and record.meta.created else None
    return Group(record.id, record.displayName, created=created)


def members_of(record: GroupRecord) -> tuple[list[str], int]:
    """Ids of the users in a group, and how many groups are in it."""
    users, nested = dict[str, None](), 0
    for member in record.members or ():
        one = Value(member) if isinstance(member, str) else member
        if (one.type or "").casefold() == "group" or "/Groups/" in (one.ref or ""):
            nested += 1
        elif one.value not in (None, ""):
            users[str(one.value)] = None
    return list(users), nested


def _values(values: Values) -> Iterator[tuple[str, str | None]]:
    """Value and display, in either shape; one without a value goes by what it shows."""
    for one in values or ():
        value, shown = (one, None) if isinstance(one, str) else (one.value, one.display)
        name = str(value) if value not in (None, "") else shown
        if name:
            yield name, shown


def _email(values: Values) -> str | None:
    """The primary one, else the first."""
    found = [Value(v) if isinstance(v, str) else v for v in values or ()]
    with_value = [v for v in found if v.value]
    chosen = next((v for v in with_value if _true(v.primary)), with_value[0] if with_value else None)
    return str(chosen.value) if chosen else None


def _name(name: Name | None) -> str | None:
    if name is None:
        return None
    return name.formatted or f"{name.givenName or ''} {name.familyName or ''}".strip() or None


def _status(active: bool | str | None) -> str | None:
    """False implies that the account was suspended (RFC 7643, 4.1.1). Absent: the server did not say."""
    if active is None:
        return None
    return Status.ACTIVE.value if _true(active) else Status.SUSPENDED.value


def _true(flag: bool | str | None) -> bool:
    """Some servers write booleans as "True" and "False"; other words are no guess of ours."""
    if isinstance(flag, str):
        if flag.casefold() not in ("true", "false"):
            raise ValueError(f"{flag[:40]!r} is neither true nor false")
        return flag.casefold() == "true"
    return bool(flag)


def _fields(user: User, raw: Raw, kept: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    extension = user.enterprise or Enterprise()
    manager = extension.manager
    if isinstance(manager, Manager):
        manager = str(manager.value) if manager.value not in (None, "") else manager.displayName
    known = {
        "employee_id": extension.employeeNumber, "department": extension.department, "title": user.title,
        "manager": manager,
    }  # fmt: skip
    yield from ((name, str(value)) for name, value in known.items() if value not in (None, ""))
    if kept:
        record = _decode_any(raw)
        inner = record.get(ENTERPRISE)
        everything = {**(inner if isinstance(inner, dict) else {}), **record}
        yield from ((name, _text(everything[name])) for name in kept if everything.get(name) not in (None, ""))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _canonical(value).decode()


def _moment(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).astimezone(UTC)
