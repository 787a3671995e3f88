"""Rows of a table (a file, the answer to a query) as accounts, by the names of columns in the config. Pure: no I/O.

Nothing is guessed: an empty cell means that the table did not say, and a cell that cannot be understood is a fault.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, tzinfo
from decimal import Decimal
from typing import Any, NamedTuple, TypeVar

import msgspec

from monitor.domain.observed import Account, Activity, Status

DAYS = ("starts", "ends")  # whole days; the others are texts, but for `ended_recorded`, which may have a time
PERSON = ("employee_id", "department", "title", "manager", *DAYS, "ended_recorded")
NEVER = "never"
LONGEST_SHOWN = 40

# fromisoformat() takes also 20260301 and 2026-W09: here there is one way to write a date
_ISO = re.compile(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d{1,9})?)?\s?(Z|z|[+-]\d\d(:?\d\d)?)?)?")
_json = msgspec.json.Encoder(order="sorted").encode

Row = Mapping[str, Any]
T = TypeVar("T")


class RowFault(ValueError):
    """Everything that is wrong with one row."""


@dataclass(frozen=True)
class Columns:
    """Which column holds what, and how its cells are written."""

    names: Mapping[str, str]  # our name -> the column's
    fields: tuple[str, ...] = ()
    status_values: Mapping[str, str] = field(default_factory=dict)
    separator: str = ";"
    date_format: str | None = None
    zone: tzinfo = UTC

    @property
    def wanted(self) -> set[str]:
        return {*self.names.values(), *self.fields}


class Understood(NamedTuple):
    account: Account
    activity: Activity
    groups: tuple[str, ...]


class RowReader:
    """Makes accounts of rows; its settings are prepared once."""

    def __init__(self, columns: Columns) -> None:
        self._columns, self._names = columns, columns.names
        self._statuses = {s.value: s.value for s in Status}
        self._statuses |= {text.strip().casefold(): status for text, status in columns.status_values.items()}
        self._keys = {name: column for name, column in columns.names.items() if name in PERSON}
        self._keys |= {name: name for name in columns.fields if name not in self._keys}

    def read(self, row: Row) -> Understood:
        """Raises RowFault that names every column with a fault."""
        faults: list[str] = []

        def cell(name: str, meaning: Callable[[Any], T | None]) -> T | None:
            column = self._names.get(name, name if name in self._keys else None)
            value = None if column is None else at(row, column)
            if value is None or value == "":
                return None
            try:
                return meaning(value)
            except (ValueError, OverflowError) as error:
                faults.append(f'column "{column}": {error}')
                return None

        role, known = cell("role", text), {name: cell(name, self._meaning(name)) for name in self._keys}
        account = Account(
            cell("id", text) or "",
            cell("email", text),
            cell("username", text),
            cell("name", text),
            cell("status", self._status),
            cell("level", text),
            role,
            role_id=role,  # a table names roles by their titles alone
            tags=cell("tags", self._list),
            fields=tuple(sorted((k, v) for k, v in known.items() if v)) if self._keys else None,
            created=cell("created", self._moment),
        )
        last_login, never = cell("last_login", self._sign_in) or (None, None)
        groups = cell("groups", self._list) or ()
        if not account.id and not faults:
            faults.append(f'column "{self._names["id"]}": the key is empty')
        if faults:
            raise RowFault("; ".join(faults))
        return Understood(account, Activity(last_login, never), groups)

    def _meaning(self, name: str) -> Callable[[Any], str | None]:
        if name not in self._names:
            return text
        return self._day if name in DAYS else self._recorded if name == "ended_recorded" else text

    def _status(self, value: Any) -> str | None:
        said = text(value)
        if said is None:
            return None
        status = self._statuses.get(said.casefold())
        if status is None:
            raise ValueError(f"{shown(said)} is no status; say in `status_values` what it means")
        return status

    def _list(self, value: Any) -> tuple[str, ...]:
        parts = value if isinstance(value, list | tuple) else (text(value) or "").split(self._columns.separator)
        return tuple(sorted({said for part in parts if (said := text(part))}))

    def _sign_in(self, value: Any) -> tuple[datetime | None, bool | None]:
        """An empty cell says nothing; the word "never" does."""
        if isinstance(value, str) and value.strip().casefold() == NEVER:
            return None, True
        when = self._moment(value)
        return when, None if when is None else False

    def _moment(self, value: Any) -> datetime | None:
        when = self._date(value)
        if when is None:
            return None
        if not isinstance(when, datetime):
            when = datetime.combine(when, time())
        return (when if when.tzinfo else when.replace(tzinfo=self._columns.zone)).astimezone(UTC)

    def _day(self, value: Any) -> str | None:
        when = self._date(value)
        if isinstance(when, datetime):
            when = (when.astimezone(self._columns.zone) if when.tzinfo else when).date()
        return None if when is None else when.isoformat()

    def _recorded(self, value: Any) -> str | None:
        """A day as a day; a time in UTC, as RFC 3339 writes it."""
        when = self._date(value)
        if when is None or not isinstance(when, datetime) or (when.tzinfo is None and when.time() == time()):
            return self._day(value)
        moment = self._moment(value)
        return None if moment is None else moment.isoformat().replace("+00:00", "Z")

    def _date(self, value: Any) -> date | datetime | None:
        """What the cell says: a day, or a time that may have no zone."""
        if isinstance(value, date):
            return value
        said, wanted = text(value), self._columns.date_format
        if said is None:
            return None
        if wanted == "unix":
            return datetime.fromtimestamp(float(said), UTC)
        try:
            if wanted is not None:
                when = datetime.strptime(said, wanted)  # noqa: DTZ007  # its zone follows, where the format has none
                return when if when.tzinfo or when.time() != time() else when.date()
            if not _ISO.fullmatch(said):
                raise ValueError
            return date.fromisoformat(said) if len(said) == 10 else datetime.fromisoformat(said.replace(" Z", "Z"))
        except ValueError:
            how = "in the format " + wanted if wanted else "like 2026-03-31; other ways are named in `date_format`"
            raise ValueError(f"{shown(said)} is no date {how}") from None


def at(row: Row, column: str) -> Any:
    """A cell. In JSON a column may lie deeper: "name.family" is looked for inside "name"."""
    if column in row or "." not in column:
        return row.get(column)
    value: Any = row
    for part in column.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def has(row: Row, column: str) -> bool:
    outer, _, inner = column.partition(".")
    return column in row or bool(inner and isinstance(row.get(outer), dict) and has(row[outer], inner))


def text(value: Any) -> str | None:
    """A cell as text, without space around it. Spreadsheets and databases give whole numbers as 17.0."""
    if isinstance(value, str):
        return value.strip() or None
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float | Decimal) and math.isfinite(value) and value == int(value):
        return str(int(value))
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes | bytearray | memoryview):
        raise ValueError("bytes are no text")
    return _json(value).decode() if isinstance(value, list | dict) else str(value)


def shown(said: str) -> str:
    """A stranger's text inside a message: short, and without control characters."""
    clean = "".join(c if c.isprintable() else " " for c in said[: LONGEST_SHOWN + 1])
    return f'"{clean[:LONGEST_SHOWN]}{"..." if len(said) > LONGEST_SHOWN else ""}"'
