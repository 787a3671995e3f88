"""What is said, to whom and why; and how an attempt to say it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol


class Reason(StrEnum):
    """Why a notification is sent now."""

    OPENED = "opened"
    REOPENED = "reopened"
    RESOLVED = "resolved"
    BASELINE = "baseline"
    CHANGES = "changes"
    OPERATIONS = "operations"  # the monitor itself has something to say: blind source, broken rules
    TEST = "test"
    STORM = "storm"  # one rule found, or lost, more at once than anybody would read one by one


class Route(NamedTuple):
    """Which findings and changes go to which receivers. An empty tuple matches everything."""

    to: tuple[str, ...]
    severity: tuple[str, ...] = ()
    rule: tuple[str, ...] = ()  # shell-style patterns
    source: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()  # names of plain changes; such a route takes changes, not findings


@dataclass(frozen=True, slots=True)
class Notification:
    """One message to one receiver, as it stands in the outbox.

    `content` is all that a template may read: plain JSON values, frozen when the finding was recorded.
    `key` is what makes two notifications the same: a second one with the same key is never written.
    """

    id: str
    receiver: str
    reason: Reason
    key: str
    content: Mapping[str, Any]
    created_at: datetime
    finding_id: int | None = None
    first_attempt_at: datetime | None = None
    attempts: int = 0


class Sending(StrEnum):
    """How an attempt ended, by what can be done about it."""

    SENT = "sent"
    REJECTED = "rejected"  # permanent: sending again cannot help
    LATER = "later"  # certainly not accepted: safe to send again
    UNCERTAIN = "uncertain"  # perhaps accepted: check first where the channel lets us
    PAUSED = "paused"  # credentials or permission: everything for this receiver waits for the operator


@dataclass(frozen=True, slots=True)
class Receipt:
    sending: Sending
    detail: str = ""
    reference: str = ""  # what the other side calls the message: a Slack ts, an SMTP reply, a file name
    retry_after: float | None = None  # seconds, when the other side said so


class Channel(Protocol):
    """A way to reach people. One file in deliver/ each."""

    def send(self, notification: Notification) -> Receipt:
        """Never raises for what the other side does: the receipt says it."""
        ...

    def find(self, notification: Notification) -> str | None:
        """After an uncertain attempt: the reference of the message if the other side has it, else None."""
        ...

    def check(self) -> str | None:
        """What is wrong with this receiver and what to do, or None. Sends nothing."""
        ...
