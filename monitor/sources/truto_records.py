"""Truto's unified records, and what they mean in our words. Pure: no I/O, no clock.

`remote_data` is LearnWorlds' own record and is read first: the unified fields are Truto's reading of it, and what they
are mapped from can be changed for each customer. Any unified key may be absent or null, and null says nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

import msgspec
from msgspec import Raw, Struct

from monitor.domain.observed import Account, Activity, Grant, Group, Role, Status
from monitor.sources.learnworlds_records import (
    RoleIds,
    User,
    account_of,
    activity_of,
    decode_group,
    decode_role,
    decode_user,
    group_of,
    managers_of,
    role_ids,
    role_of,
)

LEVELS = frozenset({"admin", "instructor", "reporter", "seat_manager", "license_reporter", "user"})  # API v2, User
# LearnWorlds knows one way to be inactive. What Truto cannot map it hands on as it is.
STATUSES = {
    "active": Status.ACTIVE,
    "inactive": Status.SUSPENDED,
    "suspended": Status.SUSPENDED,
    "invited": Status.INVITED,
    "created": Status.INVITED,
    "deleted": Status.DEACTIVATED,
}
NO_RECORD = Raw()


class Email(Struct, gc=False):
    email: str | None = None
    is_primary: bool | None = None


class RoleRef(Struct, gc=False):
    id: str | None = None
    name: str | None = None


class UnifiedUser(Struct):
    id: str
    name: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    username: str | None = None
    emails: list[Email] | None = None
    status: str | None = None
    roles: list[RoleRef] | None = None
    created_at: str | None = None
    last_login_at: str | None = None
    remote_data: Raw = NO_RECORD


class UnifiedRole(Struct):
    id: str
    name: str | None = None
    label: str | None = None
    description: str | None = None
    type: str | None = None
    remote_data: Raw = NO_RECORD


class UnifiedGroup(Struct):
    id: str
    name: str | None = None
    description: str | None = None
    created_at: str | None = None
    remote_data: Raw = NO_RECORD


class Envelope(Struct):
    """What both APIs wrap a list in. `result_count` is not asked: it is absent as often as not."""

    result: Raw = NO_RECORD
    next_cursor: str | int | None = None
    is_partial_response: bool | None = None


class IntegratedAccount(Struct):
    status: str | None = None
    last_error: Any = None


_unified_user = msgspec.json.Decoder(UnifiedUser).decode
_unified_role = msgspec.json.Decoder(UnifiedRole).decode
_unified_group = msgspec.json.Decoder(UnifiedGroup).decode
decode_envelope = msgspec.json.Decoder(Envelope).decode
decode_integrated = msgspec.json.Decoder(IntegratedAccount).decode


class Match(NamedTuple):
    """Which role of the list an account has, and by what it was found: id, name, level, or nothing."""

    role: Role | None
    by: str


class RoleList:
    """The roles of the school, to find those of the accounts in: a user's own record names no id (API v2, User)."""

    def __init__(self, roles: Iterable[Role]) -> None:
        self.by_id = {r.id: r for r in roles}
        self.by_name: RoleIds = role_ids(self.by_id.values())
        levels: dict[str | None, list[Role]] = {}
        for role in self.by_id.values():
            levels.setdefault(role.access_level, []).append(role)
        self._by_level = {level: found[0] for level, found in levels.items() if len(found) == 1}

    def find(self, role_id: str | None, name: str | None, level: str | None) -> Match:
        """By level only where there is no name: a name that is not on the list is another role."""
        if role_id in self.by_id:
            return Match(self.by_id[role_id], "id")
        if name is not None:
            found = self.by_name.get((name, level)) or self.by_name.get(name)
            return Match(self.by_id[found], "name") if found else Match(None, "nothing")
        found_role = self._by_level.get(level or role_id)
        return Match(found_role, "level") if found_role else Match(None, "nothing")


class Held(NamedTuple):
    """What a record says of its role, and by what the role was found on the list; `by` None: it says nothing."""

    level: str | None = None
    role: str | None = None
    role_id: str | None = None
    by: str | None = None


def native_account(user: User, roles: RoleList, kept: Collection[str]) -> tuple[Account, str | None]:
    """LearnWorlds' own record, and by what its role was found; None where it names no role."""
    account = account_of(user, roles.by_name, kept)
    if user.role is None:
        return account, None
    match = roles.find(None, account.role, account.level)
    return account._replace(role_id=match.role.id if match.role else None), match.by


def unified_account(raw: Raw, roles: RoleList, kept: Collection[str]) -> tuple[Account, Activity, str | None]:
    """The account, its activity, and by what its role was found. Raises ValueError for what cannot be understood."""
    unified = _unified_user(raw)
    held, fallback = _held(unified, roles), _fallback(unified)
    if not _is_record(unified.remote_data):
        return _with(fallback, held), _activity(unified), held.by
    user = decode_user(unified.remote_data)
    if user.id != unified.id:
        raise ValueError(f"remote_data is of another user, {user.id!r}, than {unified.id!r}")
    account, by = native_account(user, roles, kept)
    if by is None:
        account, by = _with(account, held), held.by
    elif held.by == "id":  # LearnWorlds' list of users names no role by its id, so here Truto says more
        account, by = account._replace(role_id=held.role_id), held.by
    return _filled(account, fallback), activity_of(user), by


def unified_role(raw: Raw) -> Role:
    unified = _unified_role(raw)
    level = unified.type if unified.type in LEVELS else None
    fallback = Role(unified.id, unified.name or unified.label, unified.description, level)
    if not _is_record(unified.remote_data):
        return fallback
    return _filled(role_of(decode_role(_with_id(unified.remote_data, unified.id))), fallback)


def unified_group(raw: Raw) -> tuple[Group, list[Grant] | None]:
    """Managers None: LearnWorlds' own record is missing, and nothing else tells who they are."""
    unified = _unified_group(raw)
    fallback = Group(unified.id, unified.name, unified.description, created=_time(unified.created_at))
    if not _is_record(unified.remote_data):
        return fallback, None
    group, managers = native_group(_with_id(unified.remote_data, unified.id))
    return _filled(group, fallback), managers


def native_group(raw: Raw) -> tuple[Group, list[Grant]]:
    record = decode_group(raw)
    return group_of(record), managers_of(record)


def _with_id(raw: Raw, record_id: str) -> Raw:
    """`remote_data` may leave out what the unified record says already; of another record it must not be."""
    found = {"id": record_id} | msgspec.json.decode(raw)
    if found["id"] != record_id:
        raise ValueError(f"remote_data is of another record, {found['id']!r}, than {record_id!r}")
    return Raw(msgspec.json.encode(found))


def _is_record(raw: Raw) -> bool:
    return len(raw) > 2 and bytes(raw)[:1] == b"{"


T = TypeVar("T", Account, Role, Group)


def _filled(seen: T, fallback: T) -> T:
    """What LearnWorlds' own record leaves out, as Truto says it."""
    if None not in seen:
        return seen
    return type(seen)._make(a if a is not None else b for a, b in zip(seen, fallback, strict=True))


def _fallback(unified: UnifiedUser) -> Account:
    name = f"{unified.first_name or ''} {unified.last_name or ''}".strip() or unified.name
    status = STATUSES.get((unified.status or "").strip().lower())
    return Account(
        unified.id, _address(unified.emails), unified.username or None, name or None,
        status.value if status else None, created=_time(unified.created_at),
    )  # fmt: skip


def _address(emails: list[Email] | None) -> str | None:
    found = sorted((e for e in emails or () if e.email), key=lambda e: not e.is_primary)
    return found[0].email if found else None


def _held(unified: UnifiedUser, roles: RoleList) -> Held:
    """A user of LearnWorlds has one role; of several, the one that is more than a learner's."""
    found = [_meant(ref, roles) for ref in unified.roles or () if ref.id or ref.name]
    return min(found, key=lambda held: held.level == "user", default=Held())


def _meant(ref: RoleRef, roles: RoleList) -> Held:
    """`roles[].id` may be an id, a level or a title: no description of Truto's mapping says which."""
    level = ref.id if ref.id in LEVELS else None
    role, by = roles.find(ref.id, ref.name or (None if level else ref.id), level)
    if role is None:
        return Held(level, ref.name, None, by)
    return Held(level or role.access_level, role.title, role.id, by)


def _with(account: Account, held: Held) -> Account:
    return account._replace(level=held.level, role=held.role, role_id=held.role_id)


def _activity(unified: UnifiedUser) -> Activity:
    """A null here may as well be a field that is not mapped, so it does not say "never"."""
    when = _time(unified.last_login_at)
    return Activity(when, None if when is None else False)


def _time(text: str | None) -> datetime | None:
    """ISO 8601 as 2023-06-16T09:21:21.000Z, or as 2024-09-10 12:00:00, which is meant as UTC."""
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
