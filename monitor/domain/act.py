"""What a person does to a finding by a button, and where that comes in."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import NamedTuple, Protocol


class Act(StrEnum):
    ACKNOWLEDGE = "acknowledge"
    EXEMPT = "exempt"
    APPROVE = "approve"  # of an exemption that another person asked for
    REFUSE = "refuse"
    ASSIGN = "assign"
    SNOOZE = "snooze"
    RECHECK = "recheck"
    FALSE_ALARM = "false_alarm"
    HISTORY = "history"


class Click(NamedTuple):
    """One act of one person. `keys`: whichever of them was seen before makes it the same act, delivered again."""

    act: Act
    fingerprint: str
    receiver: str
    by: str
    keys: tuple[str, ...]
    allowed: bool = False  # whether the config lets this person act
    reason: str = ""
    user: str = ""  # the person's id, which does not change with the name
    until: str = ""  # a date, as the form gave it
    ticket: str = ""
    lasts: str = ""  # how long, of what the form offers
    to: str = ""  # another person


class Inbox(Protocol):
    """Where acts come in. `handle` says what the person is to read, or nothing; what it raises is not acknowledged."""

    def start(self, handle: Callable[[Click], str]) -> None: ...

    def stop(self) -> None: ...
