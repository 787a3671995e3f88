"""What a poll of a source yields, and the proof of how much it saw."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple, Protocol, runtime_checkable

from monitor.domain.observed import Account, Activity, Grant, Group, Role, Seats

NOT_READ = "not read: "  # begins the reason of a scope that was not tried, because of what went wrong before it


class Outcome(StrEnum):
    COMPLETE = "complete"
    PARTIAL = "partial"
    QUARANTINED = "quarantined"
    FAILED = "failed"
    UNREAD = "unread"  # of a scope: not asked for, or there is no way to; that breaks nothing, and proves nothing

    @property
    def applies(self) -> bool:
        """Whether anything that the poll saw was taken over."""
        return self in (Outcome.COMPLETE, Outcome.PARTIAL)


class Lane(StrEnum):
    """How much a poll reads."""

    FULL = "full"  # everything
    FAST = "fast"  # who is privileged or suspended, more often
    ONE = "one"  # one account, because somebody asked

    @property
    def narrow(self) -> bool:
        """It removes nobody, judges whom it showed, and proves what it read of them."""
        return self is not Lane.FULL


class Scope:
    """Names of the parts of a snapshot that have an outcome of their own."""

    USERS = "users"
    ROLES = "roles"
    GROUPS = "groups"
    DETAILS = "role_details"
    MEMBERS = "members/"  # + group id
    EVENTS = "event_logs"  # what people did
    SEATS = "seats"  # seat offerings, who manages them and who is in them
    PERSONS = "persons"  # no part of a target's own poll: the authorities that say whose its accounts are
    FAST = "fast_lane"  # who is privileged or suspended
    ONE = "one_account"

    @staticmethod
    def family(name: str) -> str:
        """What an interval of its own is set for: "members" for the members of any group."""
        return name.partition("/")[0]

    @staticmethod
    def members(group_id: str) -> str:
        return f"{Scope.MEMBERS}{group_id}"


class SeenAccount(NamedTuple):
    account: Account
    activity: Activity
    raw_digest: bytes  # 16 bytes of SHA-256 over the record as it was sent


class AccountsRead(NamedTuple):
    """Accounts whose raw record differs from what was seen last time (all of them at first)."""

    seen: list[SeenAccount]


class AccountsGone(NamedTuple):
    """Accounts that the source was asked for one by one, and said it does not have."""

    ids: list[str]


class RolesRead(NamedTuple):
    roles: list[Role]


class GroupsRead(NamedTuple):
    groups: list[Group]
    managers: list[Grant]


class MembersRead(NamedTuple):
    """Every member of one group: yielded only when the whole list was read."""

    group_id: str
    account_ids: list[str]


class SeatsRead(NamedTuple):
    """Every seat offering, with managers and members: yielded only when all of them were read."""

    seats: list[Seats]
    grants: list[Grant]


class ActiveRead(NamedTuple):
    """When accounts last did something of their own."""

    latest: dict[str, datetime]


class DetailsRead(NamedTuple):
    """The exact role id ("role:ID") and what the role was narrowed to, of every account that was asked for."""

    assigned: list[Grant]


class Cause(StrEnum):
    """Why a scope could not be read, where a person has to change something at the source."""

    CREDENTIALS = "credentials"  # refused, or to be given anew
    FORBIDDEN = "forbidden"  # good credentials that may not read this


class PageRead(NamedTuple):
    """A page of a list was read whole. A poll that is cut off after it goes on with it."""

    scope: str
    number: int
    ends: list[str]  # ids of its first and last record
    proof: dict[str, Any]  # so far
    cursor: str | None = None  # by which it was asked for, where pages have no numbers


class ScopeEnded(NamedTuple):
    name: str
    outcome: Outcome
    reason: str | None = None
    cause: Cause | None = None


Batch = (
    AccountsRead
    | AccountsGone
    | ActiveRead
    | RolesRead
    | GroupsRead
    | MembersRead
    | SeatsRead
    | DetailsRead
    | PageRead
    | ScopeEnded
)


@dataclass(slots=True)
class Proof:
    """How a snapshot came about. Filled while reading; becomes part of the snapshot row."""

    endpoint: str = ""
    filters: dict[str, str] = field(default_factory=dict)
    pages: dict[str, int] = field(default_factory=dict)  # by kind: how many were received
    asked: dict[str, int] = field(default_factory=dict)  # by kind: how many were asked for
    records: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)  # what the source itself said when a list began
    totals_at_end: dict[str, int] = field(default_factory=dict)  # and on its last page
    first: dict[str, str] = field(default_factory=dict)  # by list: the page, index or cursor that was asked for first
    last: dict[str, str] = field(default_factory=dict)
    matched: dict[str, int] = field(default_factory=dict)  # by what accounts' roles were found on the list of roles
    duplicates: int = 0
    clock_skew: int | None = None  # seconds by which the source's clock is ahead of ours; the least of all answers
    confirmed: int = 0  # accounts asked for one by one because no page showed them
    requests: int = 0
    retries: int = 0
    waited: float = 0.0  # seconds spent waiting for the source's rate limit
    resumed: dict[str, str] = field(default_factory=dict)  # what an earlier part had read before it was cut off
    root_digest: str = ""  # SHA-256 over the digests of all pages, in the order of asking

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if getattr(self, name)}

    def page(self, of: str, where: str, total: int | None = None) -> None:
        """One page of a list came: where it was asked for, and how many records the source says there are."""
        self.first.setdefault(of, where)
        self.last[of] = where
        if total is not None:
            self.totals.setdefault(of, total)
            self.totals_at_end[of] = total

    def said_the_time(self, ahead: int) -> None:
        """So many seconds is the source's clock ahead; an answer that was long on its way makes it look worse."""
        if self.clock_skew is None or abs(ahead) < abs(self.clock_skew):
            self.clock_skew = ahead

    def go_on(self, before: Mapping[str, Any]) -> None:
        """Counts in what an earlier part of the same poll had counted."""
        for name in ("first", "totals", "last", "totals_at_end"):
            setattr(self, name, dict(before.get(name, {})))
        for name in ("pages", "asked", "records"):
            mine = getattr(self, name)
            for kind, number in before.get(name, {}).items():
                mine[kind] = mine.get(kind, 0) + number
        for name in ("duplicates", "confirmed", "requests", "retries", "waited"):
            setattr(self, name, getattr(self, name) + before.get(name, 0))


class Resumed(NamedTuple):
    """What an earlier part of a poll had read before it was cut off."""

    began: datetime
    done: frozenset[str]  # scopes that it read whole
    pages: dict[str, PageRead]  # by scope, the last one
    proof: dict[str, Any]
    roles: list[Role]
    groups: list[Group]


class KeepPage(Protocol):
    def __call__(self, asked: str, body: bytes | None, digest: bytes) -> None:
        """Takes a page as it came into the archive of this poll; without a body only its digest."""
        ...


class Recall(Protocol):
    """What a source may ask about earlier polls, so that it need not decode what it saw before."""

    def known(self, raw_digest: bytes) -> bool:
        """Whether this very record was seen last time; counts as seeing its account now."""
        ...

    def missing(self, limit: int) -> tuple[list[str], int]:
        """Ids (at most `limit`) of known accounts that this poll has not shown, and how many there are."""
        ...

    def privileged(self) -> list[str]:
        """Ids of the accounts that are privileged as of this poll."""
        ...

    def recorded(self, scope: str) -> list[str]:
        """Ids of the roles or groups that are recorded; for `Scope.MEMBERS`, of groups whose members were read."""
        ...

    def due(self, scope: str) -> bool:
        """Whether this part is to be read now. A source that reads all of it every time need not ask."""
        return True

    def read_until(self, scope: str) -> datetime | None:
        """When the last poll that read this scope whole began."""
        return None

    def known_roles(self) -> list[Role]:
        """The roles as earlier polls recorded them."""
        return []

    def earlier_part(self) -> Resumed | None:
        """What was read before this poll was cut off, if it was."""
        return None

    def keep_page(self) -> KeepPage | None:
        """Where raw pages go, if they are kept."""
        return None

    def in_the_lane(self, levels: Collection[str]) -> set[str]:
        """Ids of the accounts that were suspended or of these levels when they were last seen."""
        return set()


class Progress(Protocol):
    def __call__(self, what: str, done: int, of: int | None) -> None: ...


class Source(Protocol):
    """A polled system."""

    name: str
    proof: Proof

    def read(self, recall: Recall) -> Iterator[Batch]:
        """Yields what is there. A broken read ends its scope as partial or failed; it does not raise."""
        ...


class Sizes(NamedTuple):
    """How much of everything is recorded of a source."""

    accounts: int = 0
    privileged: int = 0
    suspended: int = 0
    managers: int = 0  # privileged accounts whose level no filter names
    groups: tuple[int, ...] = ()  # how many members each has
    seats: tuple[int, ...] = ()  # how many members each seat offering has


@runtime_checkable
class WithCost(Protocol):
    """A source that can say what a poll of it costs."""

    rate: tuple[int, float]

    def cost(self, sizes: Sizes) -> Mapping[str, int]:
        """Requests by scope (or family of scopes), if everything is due."""
        ...


@runtime_checkable
class Resumable(Protocol):
    """A source that yields PageRead, and begins after what `Recall.earlier_part` holds."""

    resumes: bool
    cut_off: bool  # whether its last reading broke off by what may be over soon


@runtime_checkable
class WithFastLane(Protocol):
    """A source that can be asked for its privileged and suspended accounts alone."""

    def fast_lane(self) -> Source: ...


@runtime_checkable
class WithOneAccount(Protocol):
    """A source that can be asked for one account alone. It counts in its proof whether that was shown."""

    def one_account(self, account_id: str) -> Source: ...


class Clock(Protocol):
    """Given to the edges that wait, so that tests run hours in no time."""

    def now(self) -> datetime:
        """Aware, in UTC."""
        ...

    def sleep(self, seconds: float) -> None: ...

    def monotonic(self) -> float: ...
