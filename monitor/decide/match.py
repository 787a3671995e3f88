"""Whose an account is: stated keys in order, then the alias table, then nobody. Nothing is guessed.

All keys are asked. When two of them name different persons, or one value is that of several, the account is
*ambiguous*: a result of its own, which only an alias can settle, because it is the operator's own word about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from monitor.decide.persons import Expectation, Reader, active, moved
from monitor.domain.person import Match, Person

ALIAS = "alias"
NOBODY = Match()
UNSURE = Match(unsure=True)
COLUMNS = ("id", "email", "username", "name")  # everything else is a key of an account's fields


class MatchKey(NamedTuple):
    """ "employee_id:cf_employee_id": a field of the person and one of the account that must be equal."""

    person: str
    account: str

    @property
    def text(self) -> str:
        return self.person if self.person == self.account else f"{self.person}:{self.account}"

    def fold(self, value: Any) -> str | None:
        """E-mail addresses without regard to case, everything else as it is written."""
        if value is None:
            return None
        text = str(value).strip()
        return (text.casefold() if "email" in (self.person, self.account) else text) or None


def match_key(text: str) -> MatchKey:
    person, _, account = text.partition(":")
    return MatchKey(person.strip(), account.strip() or person.strip())


def said(record: Mapping[str, Any], field: str) -> Any:
    """A field of an account or of a person: a column, or one of its further fields."""
    return record.get(field) if field in COLUMNS else (record.get("fields") or {}).get(field)


class Index:
    """The persons of one authority, by the values of each key."""

    def __init__(self, keys: Sequence[MatchKey], aliases: Mapping[str, str]) -> None:
        """`aliases`: the key of a person by an account's id, or by its e-mail address in lower case."""
        self.keys, self._aliases = tuple(keys), aliases
        self.persons: dict[str, Person] = {}
        self._by: list[dict[str, str | tuple[str, ...]]] = [{} for _ in keys]

    def add(self, person: Person, record: Mapping[str, Any]) -> None:
        self.persons[person.key] = person
        for key, known in zip(self.keys, self._by, strict=True):
            value = key.fold(said(record, key.person))
            if value is not None:
                there = known.get(value)
                known[value] = person.key if there is None else (*_keys(there), person.key)

    def hush(self, *, says_status: bool, says_ends: bool) -> None:
        """Takes note of those of whom nothing says whether they are there: an authority that reports a status of
        others is silent of who has none, and one that reports neither status nor end is silent of all.
        """
        if says_status or not says_ends:
            for key, person in self.persons.items():
                if person.status is None and not person.silent:
                    self.persons[key] = person._replace(silent=True)

    def match(self, account: Mapping[str, Any]) -> Match:
        found: tuple[str, ...] = ()
        by = ""
        for key, known in zip(self.keys, self._by, strict=True):
            value = key.fold(said(account, key.account))
            named = known.get(value) if value is not None else None
            if named is not None:
                by = by or key.text
                found = (*found, *(k for k in _keys(named) if k not in found))
        alias = self._alias(account)
        if alias is not None and found != (alias,):
            return Match(self.persons[alias], ALIAS)
        if len(found) == 1:
            return Match(self.persons[found[0]], by)
        return Match(several=found) if found else NOBODY

    def _alias(self, account: Mapping[str, Any]) -> str | None:
        """The person that the alias table names, if the authority has it."""
        if not self._aliases:
            return None
        email = account.get("email")
        key = self._aliases.get(account["id"]) or self._aliases.get(email.strip().casefold() if email else "")
        return key if key in self.persons else None

    def why(self, account: Mapping[str, Any]) -> Iterator[str]:
        """What each key says of an account, for people."""
        for key, known in zip(self.keys, self._by, strict=True):
            value = key.fold(said(account, key.account))
            if value is None:
                yield f"{key.text}: the account has no {key.account}"
            elif value in known:
                yield f"{key.text}: {value} is {' and '.join(_keys(known[value]))}"
            else:
                yield f"{key.text}: nobody has {value}"
        alias = self._alias(account)
        if alias:
            yield f"{ALIAS}: {alias}"


def _keys(named: str | tuple[str, ...]) -> tuple[str, ...]:
    return (named,) if isinstance(named, str) else named


class People:
    """The persons of all authorities of a target, the first one first: who holds an account, and which accounts."""

    def __init__(
        self, indexes: Sequence[Index], names: Sequence[str] = (), *, whole: bool = True, mark: str = ""
    ) -> None:
        """`whole`: these are all persons whom the authorities have. `mark`: differs when one of them does."""
        self.nobody = NOBODY if whole else UNSURE
        self.mark = mark
        self.indexes, self.names = tuple(indexes), tuple(names) or ("",) * len(indexes)
        self._accounts: dict[str, list[str]] = {}
        self._doubted: set[str] = set()

    def hold(self, accounts: Iterable[Mapping[str, Any]]) -> None:
        """Takes note of which accounts each person has."""
        for account in accounts:
            for index in self.indexes:
                match = index.match(account)
                if match.person is not None:
                    self._accounts.setdefault(match.person.key, []).append(account["id"])
                self._doubted.update(match.several)

    def of(self, account: Mapping[str, Any]) -> Match:
        """By the first authority that says something of this account. While not all persons are known, an account
        that is none of theirs is nobody's business to judge: that is *unsure*, and no orphan."""
        for index in self.indexes:
            match = index.match(account)
            if match.person is not None:
                held = self._accounts.get(match.person.key)
                return match._replace(accounts=tuple(held)) if held else match
            if match.several:
                return match
        return self.nobody

    def why(self, account: Mapping[str, Any]) -> str:
        """What each key says of an account in each authority, for people."""
        several = len(self.indexes) > 1
        told = []
        for name, index in zip(self.names, self.indexes, strict=True):
            said = "; ".join(index.why(account))
            told.append(f"{name}: {said}" if several else said)
        return " | ".join(told)

    def ended(self, accounts: Iterable[Mapping[str, Any]], now: datetime) -> Iterator[str]:
        """Ids of the accounts whose person is no longer there."""
        for account in accounts:
            match = self.of(account)
            if match.person is not None and active(now, match.person) is False:
                yield account["id"]

    def beside(self, accounts: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Accounts as they come, each with whose it is."""
        for account in accounts:
            account["person"] = self.of(account)
            yield account

    def records(self) -> Iterator[dict[str, Any]]:
        """Every person as the record that facts read. A key that two authorities have is the person of the first."""
        told: set[str] = set()
        for index in self.indexes:
            for key, person in index.persons.items():
                if key not in told:
                    told.add(key)
                    yield self._record(person)

    def _record(self, person: Person) -> dict[str, Any]:
        accounts = tuple(dict.fromkeys(self._accounts.get(person.key, ())))
        match = Match(person, None, (person.key,) if person.key in self._doubted else (), accounts)
        return {"id": person.key, "email": person.email, "name": person.name, "person": match}

    def __contains__(self, key: str) -> bool:
        return any(key in index.persons for index in self.indexes)


def account_fields(keys: Sequence[MatchKey]) -> frozenset[str]:
    """The columns of an account that matching reads."""
    return frozenset({"id", "email"} | {k.account if k.account in COLUMNS else "fields" for k in keys})


@dataclass(frozen=True)
class Matching:
    """What the config says of matching the accounts of one target."""

    authorities: tuple[tuple[str, timedelta], ...]  # in the order of asking, and how old their latest poll may be
    keys: tuple[MatchKey, ...] = (MatchKey("email", "email"),)
    aliases: Mapping[str, str] = field(default_factory=dict)
    expectations: tuple[Expectation, ...] = ()


def indexed(
    authority: str,
    rows: Iterable[Mapping[str, Any]],
    earlier: Iterable[tuple[str, Mapping[str, str], datetime]],
    matching: Matching,
    groups: Mapping[str, frozenset[str]],
    zone: tzinfo,
) -> Index:
    """The persons of an authority. `earlier`: the further fields of all versions of those that had several."""
    index, reader = Index(matching.keys, matching.aliases), Reader(authority, zone, matching.expectations, groups)
    departments = _departments(earlier)
    for row in rows:
        previous, changed = departments.get(row["id"], ((), row["first_seen"]))
        index.add(reader.person(row, previous, changed or row["first_seen"]), row)
    index.hush(says_status=reader.says_status, says_ends=reader.says_ends)
    return index


def _departments(
    earlier: Iterable[tuple[str, Mapping[str, str], datetime]],
) -> dict[str, tuple[tuple[str, ...], datetime | None]]:
    found: dict[str, tuple[tuple[str, ...], datetime | None]] = {}
    last: dict[str, str] = {}
    for key, fields, at in earlier:
        department = fields.get("department")
        found[key] = moved(*found.get(key, ((), None)), last.get(key), department, at)
        if department is not None:
            last[key] = department
    return found
