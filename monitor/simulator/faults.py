"""What can go wrong on the way, on demand."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

Kind = Literal[
    "429",  # too many requests, with Retry-After if that is given
    "500",
    "html",  # a proxy's page
    "cut",  # the connection ends in the middle of the body
    "malformed",  # whole, but no JSON
    "slow",  # answers after `seconds`
    "drop",  # the connection ends without an answer
    "expire-token",  # every token given out so far is refused; the client's secret gets a new one
    "revoke",  # every token is refused, and the secret too
    "forbidden",
    "success-false",  # an error sent with status 200
    "wrong-type",  # a record whose `created` is no time
    "insert",  # somebody signs up before the page is answered: rows move down
    "half",  # whole and well answered, but every second user is missing, on lists and when asked for by id
    "delete",  # somebody is deleted before the page is answered: rows move up
]


@dataclass
class Fault:
    """One kind of trouble on requests whose path matches `path` (and whose page is `page`), after the first `after`.

    `times` None: for ever.
    """

    kind: str
    path: str = ""
    page: int | None = None
    after: int = 0
    times: int | None = 1
    retry_after: str | None = None
    seconds: float = 0.0
    fired: int = 0

    def strikes(self, path: str, page: int) -> bool:
        if not re.search(self.path, path) or self.page not in (None, page):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        if self.times is not None and self.fired >= self.times:
            return False
        self.fired += 1
        return True


@dataclass
class Faults:
    waiting: list[Fault] = field(default_factory=list)
    kinds: tuple[str, ...] = get_args(Kind)

    def add(self, kind: str, path: str = "", **how: object) -> Fault:
        if kind not in self.kinds:
            raise ValueError(f"there is no fault {kind}")
        self.waiting.append(Fault(kind, path, **how))  # type: ignore[arg-type]  # the dataclass names its own errors
        return self.waiting[-1]

    def take(self, path: str, page: int) -> Fault | None:
        return next((f for f in self.waiting if f.strikes(path, page)), None)

    def clear(self) -> None:
        self.waiting.clear()
