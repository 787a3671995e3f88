"""What differs between two snapshots, field by field."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from monitor.domain.observed import Account, Subject


class ChangeKind(StrEnum):
    CREATED = "created"
    CHANGED = "changed"
    REMOVED = "removed"


class Change(NamedTuple):
    kind: ChangeKind
    subject: Subject
    field: str | None  # None: the whole subject appeared or vanished
    before: Any = None
    after: Any = None


class History(NamedTuple):
    """What is carried from version to version of an account: dated and accumulated facts."""

    first_seen: datetime
    status_since: datetime
    level_since: datetime
    role_changed: datetime  # equals first_seen while no change was seen
    privileged_since: datetime  # since when `privileged` has the value that it has now
    reactivated: datetime  # last return from suspension; equals first_seen while none was seen
    past_levels: tuple[str, ...] = ()
    past_roles: tuple[str, ...] = ()
    past_emails: tuple[str, ...] = ()
    earlier_ids: tuple[str, ...] = ()  # other accounts that had this e-mail before


class Seen(NamedTuple):
    """Since when a field has the value that it has."""

    snapshot: int
    at: datetime


class Version(NamedTuple):
    """One state of an account: what was seen, and what is remembered of before."""

    account: Account
    privileged: bool | None
    history: History
