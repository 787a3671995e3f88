"""How much one poll may change before a person has to say that it is true."""

from __future__ import annotations

from typing import NamedTuple


class Limit(NamedTuple):
    """The most that may be moved in one poll. It holds for sources that have at least `minimum` of the thing."""

    share: float  # of what is recorded, 0 to 1
    number: int | None = None
    minimum: int = 0


class Moved(NamedTuple):
    """How many of what is recorded a poll would move."""

    many: int
    of: int


class Exceeded(NamedTuple):
    limit: str  # its name in the config
    moved: Moved
    allowed: Limit
