"""Drift: what differs between what is remembered and what was seen, and what is carried on.

Pure: the store hands in the remembered version and the seen record, rule tests hand in their timelines.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from monitor.domain.change import Change, ChangeKind, History, Version
from monitor.domain.observed import Account, Group, Kind, Role, Seats, Subject

# Fields of an account whose difference is drift, in the order in which it is told.
ACCOUNT_FIELDS = (
    "status", "level", "role", "role_id", "is_admin", "is_instructor", "is_reporter", "is_affiliate",
    "email", "username", "name", "tags", "fields", "created",
)  # fmt: skip


def born(at: datetime, earlier_ids: tuple[str, ...] = ()) -> History:
    """The history of an account that is seen for the first time."""
    return History(at, at, at, at, at, at, earlier_ids=earlier_ids)


def advance(before: Version | None, seen: Account, privileged: bool | None, at: datetime) -> Version:
    """The next version: `seen`, with the dated and accumulated facts carried on.

    A value that is not reported moves no date and joins no list: not being told is no change.
    """
    if before is None:
        return Version(seen, privileged, born(at))
    old, was = before.account, before.history
    level_moved = _moved(old.level, seen.level)
    role_moved = level_moved or _moved(old.role, seen.role)
    back = old.status == "suspended" and seen.status == "active"
    return Version(
        seen,
        privileged,
        was._replace(
            status_since=at if _moved(old.status, seen.status) else was.status_since,
            level_since=at if level_moved else was.level_since,
            role_changed=at if role_moved else was.role_changed,
            privileged_since=at if _moved(before.privileged, privileged) else was.privileged_since,
            reactivated=at if back else was.reactivated,
            past_levels=_past(was.past_levels, old.level, seen.level),
            past_roles=_past(was.past_roles, old.role, seen.role),
            past_emails=_past(was.past_emails, folded(old.email), folded(seen.email)),
        ),
    )


def folded(email: str | None) -> str | None:
    return None if email is None else email.strip().casefold()


def _moved(old: Any, new: Any) -> bool:
    return old is not None and new is not None and old != new


def _past(past: tuple[str, ...], old: str | None, new: str | None) -> tuple[str, ...]:
    return (*past, old) if old is not None and new is not None and old != new and old not in past else past


def account_subject(account: Account, kind: Kind = Kind.ACCOUNT) -> Subject:
    return Subject(kind, account.id, account.email, account.name or account.username)


def account_changes(before: Version | None, after: Version, kind: Kind = Kind.ACCOUNT) -> Iterator[Change]:
    """One change a field; a new account is one change that carries what it came with.

    `kind`: PERSON for the records of an authority, whose extra fields are told one by one.
    """
    subject = account_subject(after.account, kind)
    if kind is Kind.PERSON:
        yield from _person_changes(subject, before, after)
        return
    if before is None:
        came_with = {"status": after.account.status, "level": after.account.level, "privileged": after.privileged}
        yield Change(ChangeKind.CREATED, subject, None, None, came_with)
        return
    for field in ACCOUNT_FIELDS:
        old, new = getattr(before.account, field), getattr(after.account, field)
        if old != new and not (field == "role_id" and before.account.role != after.account.role):
            yield Change(ChangeKind.CHANGED, subject, field, plain(old), plain(new))
    if before.privileged != after.privileged:
        yield Change(ChangeKind.CHANGED, subject, "privileged", before.privileged, after.privileged)


def _person_changes(subject: Subject, before: Version | None, after: Version) -> Iterator[Change]:
    """What an authority says of a person, field by field, those that it names itself (department, ends) included."""
    new = _person_fields(after.account)
    if before is None:
        yield Change(ChangeKind.CREATED, subject, None, None, new)
        return
    old = _person_fields(before.account)
    for field in dict.fromkeys((*old, *new)):
        if old.get(field) != new.get(field):
            yield Change(ChangeKind.CHANGED, subject, field, plain(old.get(field)), plain(new.get(field)))


def _person_fields(account: Account) -> dict[str, Any]:
    own = {f: plain(getattr(account, f)) for f in ACCOUNT_FIELDS if f != "fields"}
    return {f: v for f, v in own.items() if v is not None} | dict(account.fields or ())


def plain(value: Any) -> Any:
    """A value as JSON has it: pairs become an object, tuples lists, times RFC 3339."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


MOVES_WITH_MEMBERS = "available"  # of a seat offering: who takes a seat is told as the account's own change


def thing_changes(
    kind: Kind, before: Role | Group | Seats | None, after: Role | Group | Seats | None
) -> Iterator[Change]:
    """Changes of a role, a group or a seat offering."""
    thing = after or before
    assert thing is not None
    subject = Subject(kind, thing.id, None, thing.title)
    if before is None or after is None:
        whole = {k: plain(v) for k, v in thing._asdict().items() if v is not None and k != "id"}
        made = before is None
        yield Change(ChangeKind.CREATED if made else ChangeKind.REMOVED, subject, None,
                     None if made else whole, whole if made else None)  # fmt: skip
        return
    for field in after._fields:
        old, new = getattr(before, field), getattr(after, field)
        if old != new and field != MOVES_WITH_MEMBERS:
            yield Change(ChangeKind.CHANGED, subject, field, plain(old), plain(new))


LEVELS = ("user", "license_reporter", "reporter", "seat_manager", "instructor", "admin")


def widened(before: Any, after: Any) -> bool:
    """Whether an access level went up. A level that we do not know counts as up: better one message too many."""
    if after not in LEVELS or before not in LEVELS:
        return bool(before != after)
    return LEVELS.index(after) > LEVELS.index(before)


def names_of(change: Change) -> tuple[str, ...]:
    """What a route's `changes = [...]` may call this change."""
    kind, field = change.subject.kind, change.field
    if kind == Kind.ACCOUNT:
        return _account_names(change)
    if kind == Kind.PERSON:
        return _person_names(change)
    if kind == Kind.ROLE and field == "access_level":
        return ("role_widened" if widened(change.before, change.after) else "role_narrowed", "role_edited")
    if kind == Kind.ROLE:
        return ("role_edited",)
    if field == "managers":
        of = "seat_" if kind == Kind.SEAT else ""
        return (f"{of}manager_added" if change.before is None else f"{of}manager_removed",)
    return (f"{kind}_{change.kind}",)


def _account_names(change: Change) -> tuple[str, ...]:
    field, before, after = change.field, change.before, change.after
    if change.kind is ChangeKind.CREATED:
        return ("joined", "privileged_granted") if after and after.get("privileged") else ("joined",)
    if change.kind is ChangeKind.REMOVED:
        return ("left",)
    if field in ("status", "privileged"):
        return _moved_to(field, before, after)
    if field in ("level", "role"):
        return ("role_changed",)
    if field in ("groups", "seats"):
        return (f"{field[:-1]}_{'joined' if before is None else 'left'}",)
    return {"email": ("email_changed",), "is_admin": ("flag_changed",)}.get(field or "", ())


_OF_PERSONS = {
    "status": "person_status_changed", "email": "person_email_changed",
    **{field: f"{field}_changed" for field in ("department", "title", "manager", "starts", "ends")},
}  # fmt: skip


def _person_names(change: Change) -> tuple[str, ...]:
    if change.kind is not ChangeKind.CHANGED:
        return ("person_joined",) if change.kind is ChangeKind.CREATED else ("person_left",)
    return (_OF_PERSONS[change.field],) if change.field in _OF_PERSONS else ()


def _moved_to(field: str, before: Any, after: Any) -> tuple[str, ...]:
    if field == "status":
        name = "suspended" if after == "suspended" else "reactivated" if before == "suspended" else "status_changed"
        return (name,)
    return ("privileged_granted",) if after else ("privileged_removed",) if after is False else ()


CHANGE_NAMES = (
    "joined", "left", "suspended", "reactivated", "status_changed", "privileged_granted", "privileged_removed",
    "role_changed", "flag_changed", "email_changed", "group_joined", "group_left", "manager_added", "manager_removed",
    "role_widened", "role_narrowed", "role_edited", "group_created", "group_removed", "group_changed",
    "seat_joined", "seat_left", "seat_manager_added", "seat_manager_removed", "seat_created", "seat_removed",
    "seat_changed",
    "person_joined", "person_left", *_OF_PERSONS.values(),
)  # fmt: skip


def advance_role(
    before: tuple[Role, datetime, tuple[str, ...], datetime] | None, seen: Role, at: datetime
) -> tuple[datetime, tuple[str, ...], datetime]:
    """When the role last changed in what bears on access, its earlier access levels, and when its description did."""
    if before is None:
        return at, (), at
    old, changed, past, described = before
    moved = any(_moved(getattr(old, f), getattr(seen, f)) for f in ("access_level", "title", "description"))
    described = at if _moved(old.description, seen.description) else described
    return at if moved else changed, _past(past, old.access_level, seen.access_level), described
