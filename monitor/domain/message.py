"""What is said, to whom and why; and how an attempt to say it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple, Protocol

from monitor.domain.company import BusinessHours
from monitor.domain.matcher import Matcher
from monitor.domain.schedule import Schedule


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
    DIGEST = "digest"  # what a receiver with a digest collected
    DRILL = "drill"  # a test on a schedule, whose receipt stands in the record
    UPDATED = "updated"  # something moved that only a message which is kept up to date should show
    SILENCE_ENDED = "silence_ended"  # a finding was muted, and is still open
    SILENCE_ENDING = "silence_ending"  # the author of a silence is warned of its end
    DUE_SOON = "due_soon"  # half of the time to fix it is over, or most of it
    OVERDUE = "overdue"
    REMINDER = "reminder"
    ESCALATED = "escalated"  # nobody acknowledged it in time: another receiver hears of it, too
    EXEMPTION_ENDING = "exemption_ending"  # whom it lets be is told again from its end on
    SEVERITY_RAISED = "severity_raised"  # its rule was edited: it is graver than what was told
    FLAPPING = "flapping"  # it opened once more, too often to be told each time from now on
    GROUP = "group"  # what one route collects: findings with something in common, and what becomes of them
    NEW_IN_GROUP = "new_in_group"  # a finding joins a group that was told already


# Reasons of messages about one finding.
ABOUT_A_FINDING = (
    Reason.OPENED, Reason.REOPENED, Reason.RESOLVED, Reason.UPDATED, Reason.SILENCE_ENDED, Reason.DUE_SOON,
    Reason.OVERDUE, Reason.REMINDER, Reason.ESCALATED, Reason.SEVERITY_RAISED, Reason.FLAPPING,
)  # fmt: skip


# And those of messages that may be one which is kept up to date.
KEPT_UP_TO_DATE = (*ABOUT_A_FINDING, Reason.GROUP, Reason.NEW_IN_GROUP)


class Escalation(NamedTuple):
    """Who hears of a finding as well that nobody acknowledges in time."""

    after: timedelta
    to: tuple[str, ...]


ALONE = "finding"  # what the key of a group is called that is one finding, and waits for nothing but business hours


class Group(NamedTuple):
    """What findings that are told together have in common: names and values."""

    by: tuple[tuple[str, str], ...]
    wait: timedelta = timedelta()  # how long the first one waits for others
    id: str = ""  # given when the first one is written; when all are over, the next one begins another group


class Route(NamedTuple):
    """Which findings and changes go to which receivers. An empty tuple matches everything, as in a matcher."""

    to: tuple[str, ...]
    severity: tuple[str, ...] = ()
    rule: tuple[str, ...] = ()  # shell-style patterns
    source: tuple[str, ...] = ()
    tag: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()  # names of plain changes; such a route takes changes, not findings
    pack: tuple[str, ...] = ()
    owner: tuple[str, ...] = ()
    control: tuple[str, ...] = ()
    subject: tuple[str, ...] = ()
    go_on: bool = False  # later routes may take the finding as well
    escalate: tuple[Escalation, ...] = ()
    group_by: tuple[str, ...] = ()  # findings with the same values are told together
    group_wait: timedelta = timedelta(minutes=5)
    hours: BusinessHours | None = None  # what opens outside of them waits for them

    @property
    def matcher(self) -> Matcher:
        return Matcher(
            self.severity, self.rule, self.pack, self.source, self.tag, self.owner, self.control, self.subject
        )


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
    address: str = ""  # one of several that the receiver has; empty: the receiver's own
    due_at: datetime | None = None  # not to be sent before
    collected: bool = False  # to be told by the receiver's next digest
    group: Group | None = None  # with whom it is told, or the group that it tells of
    earlier: str = ""  # what the other side calls the first message about the same finding, in the same lane
    latest: str = ""  # and the newest one: the same, where one message is kept up to date
    crowded: bool = False  # many more wait behind it in its lane

    @property
    def lane(self) -> str:
        """Where order is kept: a receiver, or one address of it. Neither holds a blank."""
        return f"{self.receiver} {self.address}".strip()


class Sending(StrEnum):
    """How an attempt ended, by what can be done about it."""

    SENT = "sent"
    REJECTED = "rejected"  # permanent: sending again cannot help
    LATER = "later"  # certainly not accepted: safe to send again
    UNCERTAIN = "uncertain"  # perhaps accepted: check first where the channel lets us
    PAUSED = "paused"  # credentials or permission: everything for this receiver waits for the operator
    DISABLED = "disabled"  # the other side wants nothing more: the receiver is off until somebody switches it on


@dataclass(frozen=True, slots=True)
class Receipt:
    sending: Sending
    detail: str = ""
    reference: str = ""  # what the other side calls the message: a Slack ts, an SMTP reply, a file name
    retry_after: float | None = None  # seconds, when the other side said so
    ours: bool = False  # failed here, before the other side was asked: no sign of its health


class Manner(NamedTuple):
    """How a receiver is sent to, beside the channel itself."""

    rate: tuple[int, float] | None = None  # messages and seconds
    fallback: str | None = None  # who gets what this receiver refuses
    to: tuple[str, ...] = ()  # addresses, each with messages of its own
    owners: bool = False  # each finding goes to its owner's address
    digest: Schedule | None = None
    living: bool = False  # one message a finding, kept up to date: such a receiver hears of updates, too


class Health(NamedTuple):
    """What is known of a receiver from how attempts ended. It outlives a restart."""

    failures: int = 0  # in a row
    open_until: datetime | None = None  # the breaker: nothing is tried before
    not_before: datetime | None = None  # the rate, or what the other side asked for
    disabled_at: datetime | None = None
    error: str | None = None
    sent_at: datetime | None = None  # the last success

    def waits_until(self) -> datetime | None:
        return max((t for t in (self.open_until, self.not_before) if t is not None), default=None)


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
