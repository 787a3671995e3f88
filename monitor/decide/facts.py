"""Every fact that a rule may ask, declared once: its type, where it comes from, and when it is absent.

A fact reads fields of a *record*: one flat row about an account, role, group or source, whatever made it
(the store, or the timeline of a rule test). A field that is None was not reported, and makes the facts
that read it absent. Facts that come from a scope that was not read whole are absent as well.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any

from monitor.decide.persons import active
from monitor.domain.person import Match, Needed, Person
from monitor.domain.reading import Scope

DAY = timedelta(days=1)
WORDS = frozenset(  # texts of which a source has few
    {"account.status", "account.level", "account.role", "account.role_access_level", "grant.kind", "person.status"}
)
OF_POLLS = frozenset(
    {"now", "account.last_seen", "account.groups_as_of", "account.first_seen", "account.status_since",
     "account.level_since", "account.role_changed", "account.privileged_since", "account.reactivated", "grant.since"}
)  # fmt: skip
NAME = re.compile(r"[A-Za-z_]\w*(\.\w+)*")
LIKE = 0.79  # from which share of common letters on a name is taken for a misspelt other one
DETRACTORS = 6  # and below, of 10: as the net promoter score counts them


@dataclass(frozen=True, slots=True)
class Fact:
    name: str  # as rules write it: "account.level"
    type: str  # bool, int, string, timestamp, list(string), map(string, string)
    about: str
    absent: str = "never"
    reads: tuple[str, ...] = ()  # fields of the record; its own last name when empty
    compute: Callable[..., Any] | None = None  # (now, *fields) -> value; without one, the field itself
    scope: str = Scope.USERS
    also: str = ""  # a second scope that it needs

    @property
    def kind(self) -> str:
        return self.name.partition(".")[0]

    @property
    def scopes(self) -> tuple[str, ...]:
        return tuple(s for s in (self.scope, self.also) if s)

    @property
    def many(self) -> bool:
        """Whether it is a list or a map."""
        return self.type.startswith(("list", "map"))

    @property
    def shared(self) -> bool:
        """Whether it has few values, so that many subjects have the same; of a list or a map that is: none."""
        return self.many or self.name in WORDS or (self.type == "bool" and len(self.fields) == 1)

    @property
    def narrow(self) -> bool:
        """Whether it has so few values that what they decide can be remembered."""
        return self.type in ("bool", "int", "list(string)") or self.name in OF_POLLS | WORDS

    @property
    def fields(self) -> tuple[str, ...]:
        return self.reads or (self.name.partition(".")[2],)


def whole_days(now: datetime, since: datetime) -> int:
    return (now - since) // DAY


def _domain(_now: datetime, email: str) -> str:
    return email.rpartition("@")[2].casefold()


def _last_login(
    _now: datetime, last_login: datetime | None, created: datetime | None, never: bool | None
) -> datetime | None:
    """Only an account that surely never signed in counts from its creation: not being told is not never."""
    return last_login or (created if never else None)


def _idle(
    now: datetime, last_login: datetime | None, created: datetime | None, never: bool | None, active: datetime | None
) -> int | None:
    latest = last_login or (created if never else None)
    if active is not None and (latest is None or active > latest):
        latest = active
    return None if latest is None else (now - latest) // DAY


def _roles(_now: datetime, role: str, role_id: str | None) -> list[str]:
    """Several have no id in common: the source joined their titles."""
    return [role] if role_id is not None else role.split(", ")


def _active(_now: datetime, active: datetime, last_login: datetime | None) -> datetime:
    return active if last_login is None else max(active, last_login)


def _new(_now: datetime, first_seen: datetime, watched_since: datetime | None) -> bool | None:
    return None if watched_since is None else first_seen > watched_since


def _of(field: str) -> Callable[..., Any]:
    """A field of the matched person."""

    def get(_now: datetime, match: Match) -> Any:
        got = None if match.person is None else getattr(match.person, field)
        return list(got) if isinstance(got, tuple) else got

    return get


def _whose(decide: Callable[[datetime, Person], Any]) -> Callable[..., Any]:
    return lambda now, match: None if match.person is None else decide(now, match.person)


def _names(needed: tuple[Needed, ...] | None) -> list[str] | None:
    return None if needed is None else [n.name for n in needed]


def _missing(_now: datetime, match: Match, groups: list[str]) -> list[str] | None:
    """Without a person nothing is required."""
    if match.unsure:
        return None
    needed, held = match.person.required_groups if match.person else (), frozenset(groups)
    return None if needed is None else [n.name for n in needed if not n.held(held)]


def _kept(_now: datetime, match: Match, groups: list[str]) -> list[str] | None:
    if match.unsure:
        return None
    earlier, held = match.person.earlier_groups if match.person else (), frozenset(groups)
    return None if earlier is None else [n.name for n in earlier if n.held(held)]


NOT_SAID = "the source did not report it"
NO_SIGN_INS = "the source did not report sign-ins, or not the creation time of an account that never signed in"
NO_SEATS = "the seat offerings were not read"
_SIGN_INS = ("last_login?", "created?", "never_signed_in?")
_T, _L = "timestamp", "list(string)"

ACCOUNT = (
    Fact("account.id", "string", "The source's own id of the account; never reused."),
    Fact("account.email", "string", "E-mail address as reported.", NOT_SAID),
    Fact("account.email_domain", "string", "What follows the @, in lower case.", NOT_SAID, ("email",), _domain),
    Fact("account.username", "string", "User name.", NOT_SAID),
    Fact("account.name", "string", "Name to call the holder by.", NOT_SAID),
    Fact("account.status", "string", "active, suspended, invited or deactivated.", NOT_SAID),
    Fact("account.level", "string", "Level of the assigned role: LearnWorlds' role.level.", NOT_SAID),
    Fact("account.role", "string", "Title of the assigned role: LearnWorlds' role.name.", NOT_SAID),
    Fact(
        "account.roles",
        _L,
        "Titles of all roles it holds. LearnWorlds gives one; a SCIM server may give several.",
        NOT_SAID,
        ("role", "role_id?"),
        _roles,
    ),
    Fact(
        "account.role_access_level",
        "string",
        "Access level that the list of roles gives to the role held.",
        "the list of roles was not read, or has no such role",
        scope=Scope.ROLES,
    ),
    Fact("account.is_admin", "bool", "The source's own admin flag. It can disagree with the level.", NOT_SAID),
    Fact("account.is_instructor", "bool", "The source's own instructor flag.", NOT_SAID),
    Fact("account.is_reporter", "bool", "The source's own reporter flag.", NOT_SAID),
    Fact("account.is_affiliate", "bool", "The source's own affiliate flag.", NOT_SAID),
    Fact(
        "account.privileged",
        "bool",
        "is_admin, is_instructor or is_reporter, or a level other than user, or a role on the config's list.",
        "no flag is set and one of them, or the level, was not reported",
    ),
    Fact("account.tags", _L, "Tags on the account.", NOT_SAID),
    Fact("account.fields", "map(string, string)", "Custom fields; a key that is not there is absent.", NOT_SAID),
    Fact("account.created", _T, "When the account was made.", NOT_SAID),
    Fact("account.age_days", "int", "Whole days since it was made.", NOT_SAID, ("created",), whole_days),
    Fact("account.never_signed_in", "bool", "The source says that nobody ever signed in.", NOT_SAID),
    Fact(
        "account.last_login",
        _T,
        "Last sign-in; equals created while never_signed_in.",
        NO_SIGN_INS,
        _SIGN_INS,
        _last_login,
    ),
    Fact(
        "account.idle_days",
        "int",
        "Whole days since the last sign-in or what the event logs show after it, or since creation while "
        "never_signed_in.",
        NO_SIGN_INS,
        (*_SIGN_INS, "last_active?"),
        _idle,
    ),
    Fact(
        "account.last_seen_active",
        _T,
        "The last thing that it did by itself: a sign-in, or what the event logs show.",
        "the event logs were never read, or showed nothing of it so far",
        ("last_active", "last_login?"),
        _active,
    ),
    Fact("account.nps_score", "int", "Answer to the recommendation question, 1 to 10.", "nobody answered it"),
    Fact(
        "account.nps_comment",
        "string",
        "What was said with that answer, its first 500 characters.",
        "nothing was said with it, or nobody answered",
    ),
    Fact(
        "account.detractor",
        "bool",
        "The answer to the recommendation question is 6 or less; false while there is none.",
        reads=("nps_score?",),
        compute=lambda _now, score: score is not None and score <= DETRACTORS,
    ),
    Fact(
        "account.groups",
        _L,
        "Ids of the groups it is a member of.",
        "a list of members was not read",
        scope=Scope.MEMBERS,
    ),
    Fact(
        "account.groups_as_of",
        _T,
        "When the members of groups were read: by this poll, or by an earlier one, where they have their own interval.",
        "they were never read",
        scope=Scope.MEMBERS,
    ),
    Fact("account.managed_groups", _L, "Ids of the groups it manages.", "the groups were not read", scope=Scope.GROUPS),
    Fact("account.seats", _L, "Ids of the seat offerings that it may take a seat of.", NO_SEATS, scope=Scope.SEATS),
    Fact("account.managed_seats", _L, "Ids of the seat offerings it manages.", NO_SEATS, scope=Scope.SEATS),
    Fact(
        "account.group_manager_emails",
        _L,
        "E-mail addresses of those who manage the groups it is a member of, in the order of groups.",
        "the groups or a list of members were not read",
        scope=Scope.MEMBERS,
        also=Scope.GROUPS,
    ),
    Fact("account.past_groups", _L, "Ids of groups that it was a member of earlier."),
    Fact("account.first_seen", _T, "First snapshot that showed it."),
    Fact(
        "account.last_seen",
        _T,
        "Latest snapshot that showed it: the one that is judged, since no other accounts are.",
        reads=("id",),
        compute=lambda now, _id: now,
    ),
    Fact(
        "account.new",
        "bool",
        "Appeared after the first whole snapshot of its source.",
        "there is no whole snapshot yet",
        ("first_seen", "watched_since?"),
        _new,
    ),
    Fact("account.status_since", _T, "Since when the status is what it is; first_seen while no change was seen."),
    Fact("account.level_since", _T, "Since when the level is what it is; first_seen while no change was seen."),
    Fact("account.role_changed", _T, "Last change of role or level; first_seen while no change was seen."),
    Fact("account.privileged_since", _T, "Since when privileged has its value; first_seen while no change was seen."),
    Fact("account.reactivated", _T, "Last return from suspension; first_seen while none was seen."),
    Fact("account.past_levels", _L, "Every earlier level, never the present one unless it came back."),
    Fact("account.past_roles", _L, "Titles of every earlier role."),
    Fact("account.past_emails", _L, "Every earlier e-mail address, in lower case."),
    Fact("account.earlier_ids", _L, "Ids of other accounts that had this e-mail before: a re-created account."),
    Fact(
        "account.missing_groups",
        _L,
        "Groups that the config's expectations require of its person and that it is not in; none without a person.",
        "an expectation cannot be decided, because the title or the department is not known",
        ("person", "groups"),
        _missing,
        Scope.MEMBERS,
        Scope.PERSONS,
    ),
    Fact(
        "account.kept_groups",
        _L,
        "Groups it is in that an earlier department of its person required and the present one does not.",
        "an expectation cannot be decided, because the title or the department is not known",
        ("person", "groups"),
        _kept,
        Scope.MEMBERS,
        Scope.PERSONS,
    ),
)

GRANT = (
    Fact("grant.kind", "string", "role, member or manager (of a group), seat or seat_manager (of a seat offering), or "
         "assigned (a narrowed role).", reads=("grant_kind",)),
    Fact("grant.entitlement", "string", "The source's id of the role or group that is held.", reads=("entitlement",)),
    Fact("grant.title", "string", "Title of the role or group that is held.",
         "its role or group has none, or was never seen", ("entitlement_title",)),
    Fact("grant.since", _T, "Since when it is held; the first snapshot that showed it.", reads=("grant_since",)),
    Fact("grant.manager_emails", _L, "E-mail addresses of those who manage the group that is held; none of a role or a "
         "seat offering.", "the groups were not read", scope=Scope.GROUPS),
    Fact("grant.seats_known", "bool", "The seat offerings are read whole: seat_manager says who manages them."),
    Fact("grant.since_days", "int", "Whole days since then.", reads=("grant_since",), compute=whole_days),
)  # fmt: skip

NO_PERSON = "there is no person"
NOT_OF_PERSON = "there is no person, or the authority did not say"


def _person(
    name: str, type_: str, about: str, compute: Callable[..., Any] | None = None, absent: str = NOT_OF_PERSON,
    also: str = "",
) -> Fact:  # fmt: skip
    return Fact(f"person.{name}", type_, about, absent, ("person",), compute or _of(name), Scope.PERSONS, also)


_UNSURE = (
    "it is none of the known persons', and not all are known, since the latest poll of the authority was not whole"
)

PERSON = (
    _person(
        "found", "bool", "An authority has a person for the account.",
        lambda _n, m: None if m.unsure else m.person is not None, _UNSURE,
    ),
    _person(
        "ambiguous", "bool", "Several persons might hold the account, and no stated key decides.",
        lambda _n, m: None if m.unsure else bool(m.several), _UNSURE,
    ),
    _person(
        "matched_by", "string", "The key that matched, as the config writes it, or alias.", lambda _n, m: m.by,
        "there is no person, or the rule is about the person itself",
    ),
    _person(
        "candidates", _L, "Keys of the persons between whom nothing decides.",
        lambda _n, m: None if m.unsure else list(m.several), _UNSURE,
    ),
    _person("key", "string", "The authority's own id of the person.", absent=NO_PERSON),
    _person("authority", "string", "Name of the source that has the person.", absent=NO_PERSON),
    _person("email", "string", "E-mail address in the authority."),
    _person("name", "string", "Name in the authority."),
    _person("status", "string", "active, suspended, invited or deactivated, as the authority reports it."),
    _person(
        "active", "bool", "There, says the authority: the last working day is not over, and the status is active.",
        _whose(active), "there is no person, or the authority reports neither a status nor an end",
    ),
    _person(
        "started", "bool", "The first working day has come, or none is recorded.",
        _whose(lambda now, p: p.starts is None or now >= p.starts), NO_PERSON,
    ),
    _person("starts", _T, "Beginning of the first working day, in the config's time zone."),
    _person("ended", _T, "End of the last working day, in the config's time zone; it may lie ahead."),
    _person("ended_recorded", _T, "When the end was recorded in the authority."),
    _person("department", "string", "Department."),
    _person("previous_departments", _L, "Every earlier department since watching began.", absent=NO_PERSON),
    _person("department_changed", _T, "Last change of department; first seen while none was seen.", absent=NO_PERSON),
    _person("title", "string", "Job title."),
    _person("manager", "string", "The manager, as the authority names them."),
    _person("tags", _L, "Tags in the authority."),
    _person("allowed_levels", _L, "Levels that the config's expectations allow; empty when none says anything."),
    _person(
        "required_groups", _L, "Groups that the config's expectations require.",
        _whose(lambda _n, p: _names(p.required_groups)),
    ),
    _person(
        "accounts", _L, "Ids of the person's accounts in this source.",
        lambda _n, m: None if m.person is None or m.accounts is None else list(m.accounts), NO_PERSON, Scope.USERS,
    ),
)  # fmt: skip

ROLE = (
    Fact("role.id", "string", "The source's id of the role.", scope=Scope.ROLES),
    Fact("role.title", "string", "Title.", NOT_SAID, scope=Scope.ROLES),
    Fact("role.description", "string", "Description.", NOT_SAID, scope=Scope.ROLES),
    Fact(
        "role.access_level",
        "string",
        "Access level of the role. The permissions inside are not reported by LearnWorlds.",
        NOT_SAID,
        scope=Scope.ROLES,
    ),
    Fact("role.custom", "bool", "Made by the school, not by the vendor.", NOT_SAID, scope=Scope.ROLES),
    Fact("role.holders", "int", "Accounts whose role it is."),
    Fact("role.first_seen", _T, "First snapshot that showed it.", scope=Scope.ROLES),
    Fact(
        "role.changed",
        _T,
        "Last change of access level, title or description; first_seen while none was seen.",
        scope=Scope.ROLES,
    ),
    Fact(
        "role.description_changed",
        _T,
        "Last change of the description; first_seen while none was seen.",
        scope=Scope.ROLES,
    ),
    Fact("role.past_access_levels", _L, "Every earlier access level.", scope=Scope.ROLES),
)

GROUP = (
    Fact("group.id", "string", "The source's id of the group.", scope=Scope.GROUPS),
    Fact("group.title", "string", "Title.", NOT_SAID, scope=Scope.GROUPS),
    Fact("group.description", "string", "Description.", NOT_SAID, scope=Scope.GROUPS),
    Fact(
        "group.members", "int", "How many accounts are members.", "a list of members was not read", scope=Scope.MEMBERS
    ),
    Fact("group.managers", "int", "How many accounts manage it.", scope=Scope.GROUPS),
    Fact(
        "group.manager_emails",
        _L,
        "E-mail addresses of those who manage it and are neither suspended nor deactivated; who has managed it longest "
        "comes first.",
        scope=Scope.GROUPS,
    ),
    Fact("group.max_members", "int", "Most members allowed.", NOT_SAID, scope=Scope.GROUPS),
    Fact("group.courses", _L, "Courses that the group opens.", NOT_SAID, scope=Scope.GROUPS),
    Fact("group.tags", _L, "Tags on the group.", NOT_SAID, scope=Scope.GROUPS),
    Fact("group.enrolls", "bool", "Whether members are enrolled in its courses.", NOT_SAID, scope=Scope.GROUPS),
    Fact(
        "group.mostly_idle_days",
        "int",
        "More than half of its members, suspended ones left out, have not signed in for so many whole days or longer.",
        "it has no members, or the sign-ins of one are not reported, or the members or accounts were not read whole",
        ("mostly_idle_since",),
        whole_days,
        Scope.MEMBERS,
    ),
    Fact("group.created", _T, "When the group was made.", NOT_SAID, scope=Scope.GROUPS),
    Fact("group.first_seen", _T, "First snapshot that showed it.", scope=Scope.GROUPS),
)

SEAT = (
    Fact("seat.id", "string", "The source's id of the seat offering.", scope=Scope.SEATS),
    Fact("seat.title", "string", "Title.", NOT_SAID, scope=Scope.SEATS),
    Fact("seat.description", "string", "Description.", NOT_SAID, scope=Scope.SEATS),
    Fact("seat.purchased", "int", "How many seats were bought.", NOT_SAID, scope=Scope.SEATS),
    Fact("seat.available", "int", "How many of them nobody has.", NOT_SAID, scope=Scope.SEATS),
    Fact("seat.used", "int", "How many somebody has: those that were bought, less those that are available.", NOT_SAID,
         ("purchased", "available"), lambda _now, purchased, available: purchased - available, Scope.SEATS),
    Fact("seat.members", "int", "How many accounts are in the offering, with or without a seat.", scope=Scope.SEATS),
    Fact("seat.managers", "int", "How many accounts manage it.", scope=Scope.SEATS),
    Fact("seat.max_members", "int", "Most members allowed.", "the source did not report it: there is no limit, or it "
         "does not say", scope=Scope.SEATS),
    Fact("seat.courses", _L, "Courses that a seat opens.", NOT_SAID, scope=Scope.SEATS),
    Fact("seat.tags", _L, "Tags that members get.", NOT_SAID, scope=Scope.SEATS),
    Fact("seat.created", _T, "When the offering was made.", NOT_SAID, scope=Scope.SEATS),
    Fact("seat.first_seen", _T, "First snapshot that showed it.", scope=Scope.SEATS),
)  # fmt: skip

NOT_RECORDED = "an earlier poll is looked at: of those it is not recorded"
SOURCE = (
    Fact("source.name", "string", "Name in the config.", scope=""),
    Fact("source.accounts", "int", "Accounts, suspended ones included."),
    Fact("source.admins", "int", "Accounts, not suspended, with the admin flag or the level admin."),
    Fact("source.privileged", "int", "Privileged accounts that are not suspended."),
    Fact("source.suspended", "int", "Suspended accounts."),
    Fact("source.admin_limit", "int", "admin_limit of the source in the config.", "the config sets none", scope=""),
    Fact("source.watched_since", _T, "First whole snapshot.", "there is none yet", scope=""),
    Fact("source.outcome", "string", "How this poll ended: complete, partial, quarantined or failed.", scope=""),
    Fact(
        "source.complete_age",
        "int",
        "Whole minutes since the last whole poll began, or since the first poll while none was whole.",
        scope="",
    ),
    Fact("source.blind_after", "int", "blind_after of the source in the config, in whole minutes.", scope=""),
    Fact("source.failed_scopes", _L, "Parts of this poll that were not read whole.", scope=""),
    Fact("source.forbidden_scopes", _L, "Those of them that the source refused to good credentials.", scope=""),
    Fact("source.needs_reauth", "bool", "The source refused the credentials in this poll.", scope=""),
    Fact("source.clock_skew", "int",
         "Seconds by which the source's clock is ahead of ours, by the Date of its answers; negative when behind.",
         "its answers have no Date", scope=""),
    Fact("source.failing_receivers", _L,
         "Receivers of the config that are not tried at present (their breaker is open, or they are switched off), or "
         "to whom a message was given up within a week.", NOT_RECORDED, scope=""),
    Fact("source.refused_rules", _L,
         "Faults of the rule files, with file and line, when an older set is in force because of them.", NOT_RECORDED,
         scope=""),
    Fact(
        "source.unknown_percent",
        "int",
        "Share of verdicts on accounts, roles and groups that are unknown in this poll, rounded up.",
        "nothing was judged in this poll",
        scope="",
    ),
    Fact(
        "source.removed_percent",
        "int",
        "Share of accounts that this poll found gone, rounded up; what a quarantined poll would have removed, too.",
        scope="",
    ),
)  # fmt: skip

ABOUT_ACCESS = frozenset(
    {"source.admins", "source.privileged", "source.suspended", "source.admin_limit", "source.unknown_percent"}
)

NOW = Fact("now", _T, "The time of the snapshot that is judged.", scope="")

FACTS: dict[str, Fact] = {f.name: f for f in (*ACCOUNT, *PERSON, *GRANT, *ROLE, *GROUP, *SEAT, *SOURCE, NOW)}
KINDS = ("account", "person", "grant", "role", "group", "seat", "source")
COUNTING = ("person", "role", "source")  # facts of these kinds about accounts count all of them
# Facts that move with time alone: the fact whose timestamps they are counted from, or "" when they may move always.
MOVES = {
    "now": "", "account.last_seen": "", "account.groups_as_of": "", "group.mostly_idle_days": "",
    "account.age_days": "account.created", "account.idle_days": "account.idle_days", "grant.since_days": "grant.since",
    "person.active": "person.ended", "person.started": "person.starts",
}  # fmt: skip
OF_MANAGERS = frozenset({"account.group_manager_emails", "grant.manager_emails"})  # move with other accounts
OF_PERSONS = frozenset(n for n, f in FACTS.items() if Scope.PERSONS in f.scopes)


def kinds_readable(kind: str) -> tuple[str, ...]:
    """Whose facts a rule with this `for_each` may read: a grant is held by an account, and an account by a person."""
    return {"grant": ("grant", "account", "person"), "account": ("account", "person")}.get(kind, (kind,))


def readable(kind: str) -> dict[str, Fact]:
    """The facts that a rule with this `for_each` may read."""
    return {n: f for n, f in FACTS.items() if f.kind in (*kinds_readable(kind), "now")}


def nearest(name: str, kind: str, *, by_words: bool = True) -> str:
    """The fact that was perhaps meant, or "". Words in another order and parts of a name come before mere likeness."""
    known = [n for n in readable(kind) if "." in n]
    words = set(_last(name).split("_"))
    for like in (
        [n for n in known if _last(n) == _last(name)],
        [n for n in known if set(_last(n).split("_")) == words],
        [n for n in known if difflib.SequenceMatcher(None, _last(name), _last(n)).ratio() > LIKE],
        [n for n in known if by_words and (words < set(_last(n).split("_")) or words > set(_last(n).split("_")))],
    ):
        if like:
            return max(like, key=lambda n: (n.startswith(f"{kind}."), difflib.SequenceMatcher(None, name, n).ratio()))
    return ""


def _last(name: str) -> str:
    return name.rpartition(".")[2].lower()


@lru_cache(maxsize=1024)
def optional(field: str) -> tuple[str, bool]:
    """A field written "last_login?" may be None without making the fact absent."""
    return field.removesuffix("?"), field.endswith("?")


def value(fact: Fact, record: dict[str, Any], now: datetime) -> Any:
    """The fact's value, or None when it is absent."""
    if fact is NOW:
        return now
    values = []
    for name, may_be_none in map(optional, fact.fields):
        got = record.get(name)
        if got is None and not may_be_none:
            return None
        values.append(got)
    return fact.compute(now, *values) if fact.compute else values[0]


def reader(fact: Fact) -> Callable[[dict[str, Any], datetime], Any]:
    """`value` of one fact, of a record with all its fields, with everything that can be known beforehand worked out:
    it meets every record at every poll.
    """
    compute, fields = fact.compute, [optional(f) for f in fact.fields]
    if fact is NOW:
        return lambda _record, now: now
    if compute is None:
        return lambda record, _now: record[fields[0][0]]
    needed = [i for i, (_, may_be_none) in enumerate(fields) if not may_be_none]
    get = itemgetter(*(name for name, _ in fields)) if len(fields) > 1 else _alone(fields[0][0])
    if not needed:
        return lambda record, now: compute(now, *get(record))

    def read(record: dict[str, Any], now: datetime) -> Any:
        values = get(record)
        for i in needed:
            if values[i] is None:
                return None
        return compute(now, *values)

    return read


def _alone(name: str) -> Callable[[dict[str, Any]], tuple[Any]]:
    return lambda record: (record[name],)


# A complete record of each kind: every clause is tried on it when a rule is loaded, and rule tests start from
# the account. Times are distances before now, so that the sample never grows old.
SAMPLE_ACCOUNT: dict[str, Any] = {
    "id": "5ea173beca205e67b47f4552",
    "email": "dana@example.test",
    "username": "dana",
    "name": "Dana Example",
    "status": "active",
    "level": "user",
    "role": "User",
    "role_id": "user",
    "is_admin": False,
    "is_instructor": False,
    "is_reporter": False,
    "is_affiliate": False,
    "tags": ["sample"],
    "fields": {"cf_department": "Sales"},
    "created": timedelta(days=400),
    "last_login": timedelta(days=1),
    "never_signed_in": False,
    "nps_score": 8,
    "nps_comment": "sample",
    "groups": [],
    "groups_as_of": timedelta(0),
    "managed_groups": [],
    "group_manager_emails": ["carla@example.test"],
    "seats": [],
    "managed_seats": [],
}
SAMPLE_GRANT: dict[str, Any] = SAMPLE_ACCOUNT | {
    "grant_kind": "manager", "entitlement": "646f3a8010b76ba4270c87b4", "entitlement_title": "Sample cohort",
    "held": True, "seats_known": False, "manager_emails": ["carla@example.test"],
}  # fmt: skip
SAMPLE_ROLE: dict[str, Any] = {
    "id": "61bb42d5e07e202700000008", "title": "Course creator", "description": "Creates courses",
    "access_level": "instructor", "custom": False, "holders": 1,
}  # fmt: skip
SAMPLE_GROUP: dict[str, Any] = {
    "id": "646f3a8010b76ba4270c87b4", "title": "Sample cohort", "description": "A group", "members": 3, "managers": 1,
    "manager_emails": ["carla@example.test"], "max_members": 200, "courses": ["intro-course"], "tags": ["sample"],
    "enrolls": False,
    "created": timedelta(days=300), "mostly_idle_since": timedelta(days=4),
}  # fmt: skip
SAMPLE_SEAT: dict[str, Any] = {
    "id": "646f3a8010b76ba4270c87b4", "title": "Sample seats", "description": "Seats of a customer", "purchased": 10,
    "available": 4, "members": 8, "managers": 1, "max_members": 100, "courses": ["intro-course"], "tags": ["sample"],
    "created": timedelta(days=300),
}  # fmt: skip
SAMPLE_SOURCE: dict[str, Any] = {
    "id": "school", "name": "school", "accounts": 100, "admins": 2, "privileged": 5, "suspended": 1, "admin_limit": 5,
    "outcome": "complete", "complete_age": 0, "blind_after": 60, "failed_scopes": [], "forbidden_scopes": [],
    "needs_reauth": False, "unknown_percent": 0, "removed_percent": 0, "clock_skew": 0, "failing_receivers": [],
    "refused_rules": [],
}  # fmt: skip
SAMPLE_PERSON: dict[str, Any] = {
    "id": "10423", "email": "dana@example.test", "name": "Dana Example", "status": "active", "department": "Sales",
    "title": "Account manager", "manager": "carla@example.test", "starts": timedelta(days=400), "tags": ["sample"],
    "allowed_levels": [], "required_groups": [], "accounts": [SAMPLE_ACCOUNT["id"]], "matched_by": "email",
}  # fmt: skip
SAMPLES = {
    "account": SAMPLE_ACCOUNT,
    "person": SAMPLE_PERSON,
    "grant": SAMPLE_GRANT,
    "role": SAMPLE_ROLE,
    "group": SAMPLE_GROUP,
    "seat": SAMPLE_SEAT,
    "source": SAMPLE_SOURCE,
}
