"""What counts as privileged, and the digest that says whether an account's access changed."""

from __future__ import annotations

import hashlib
from collections.abc import Collection

import msgspec

from monitor.domain.observed import Account

_encode = msgspec.msgpack.Encoder().encode


def privileged(account: Account, privileged_roles: Collection[str] = (), *, has_flags: bool = True) -> bool | None:
    """Any one sign of privilege suffices, since they can disagree. None: no sign, and one was not reported.

    `has_flags`: the system knows such flags, so one that is absent was not reported; in others there is none to miss.
    """
    flags = (account.is_admin, account.is_instructor, account.is_reporter) if has_flags else ()
    if True in flags or (account.level is not None and account.level != "user"):
        return True
    if account.role is not None and account.role in privileged_roles:
        return True
    return None if account.level is None or None in flags else False


def access_digest(account: Account) -> bytes:
    """16 bytes over every field that makes a version: all of the account. Sign-ins are not part of it."""
    return hashlib.sha256(_encode(account)).digest()[:16]
