"""A table or a view in a database, read by one SELECT. Nothing is ever written: what is no SELECT is not even sent."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, NullPool, create_engine
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from monitor.domain.reading import Batch, Clock, Progress, Proof, Recall
from monitor.errors import SourceError
from monitor.sources.answer import sanitised
from monitor.sources.rows import Columns
from monitor.sources.table import Nothing, Quarantined, Rows, TableReading, faults_of

AT_ONCE = 1000  # rows that are fetched together
CONNECT = 10  # seconds
STEPS = 10_000  # of SQLite's machine, between two looks at the clock

_QUOTED = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|`[^`]*`""")
_WORD = re.compile(r"[^\W\d]\w*")
_WRITES = {
    "INSERT", "UPDATE", "DELETE", "MERGE", "INTO", "DROP", "ALTER", "CREATE", "TRUNCATE", "GRANT", "REVOKE", "CALL",
    "EXEC", "EXECUTE", "COPY", "LOCK", "ATTACH", "DETACH", "PRAGMA", "VACUUM", "BEGIN", "COMMIT", "ROLLBACK",
}  # fmt: skip


def refused(query: str) -> str | None:
    """Why a text is not surely one SELECT, or None. What databases read differently is refused."""
    rest = _QUOTED.sub("''", query).strip().removesuffix(";").rstrip()
    words = [word.upper() for word in _WORD.findall(rest)]
    if not words or words[0] not in ("SELECT", "WITH"):
        return "must be one SELECT"
    for text, what in (("--", "comments"), ("/*", "comments"), ("#", "#"), ("\\", "backslashes"), ("$", "$")):
        if text in (query if text == "\\" else rest):
            return f"must be one SELECT without {what}"
    if ";" in rest:
        return "must be one SELECT, and not several statements"
    if rest.replace("''", "").count("'") or '"' in rest or "`" in rest:
        return "has a quote that is not closed"
    writes = next((word for word in words if word in _WRITES), None)
    return f"must only read, and has the word {writes}; if that is a name, write it in quotes" if writes else None


class Sql:
    """The source of one query. Raises SourceError when the address is none, or its driver is not installed."""

    def __init__(
        self,
        name: str,
        url: str,
        query: str,
        columns: Columns,
        *,
        clock: Clock,
        folder: Path = Path(),
        password: str | None = None,
        timeout: float = 60.0,
        max_rows: int = 1_000_000,
        max_shrink: float = 0.5,
        progress: Progress | None = None,
    ) -> None:
        """`folder`: where a SQLite file is looked for."""
        self.name, self.proof = name, Proof()
        self._query, self._clock, self._password = query, clock, password
        self._timeout, self._max_rows = timeout, max_rows
        self._url = _url(url, password, folder)
        self._where = _url(url, None, folder).set(query={}).render_as_string()
        self._engine = _engine(self._url)
        self._table = TableReading(self._where, columns, max_shrink, progress)

    def read(self, recall: Recall) -> Iterator[Batch]:
        self.proof = Proof(endpoint=self._where, filters={"query": self._query}, pages={"users": 1})
        yield from self._table.read(self._rows(), recall, self.proof)

    def check(self) -> str | None:
        """Everything that a poll would stumble over, or None. The query is run."""
        return faults_of(self.read(Nothing()))

    def _rows(self) -> Rows:
        why = refused(self._query)
        if why is not None:
            raise SourceError(f"the query {why}")
        until = self._clock.monotonic() + self._timeout
        try:
            with self._engine.connect() as connection:
                _read_only(connection, self._timeout, lambda: self._clock.monotonic() > until)
                yield from self._fetched(connection, until)
                connection.rollback()
        except (SQLAlchemyError, UnicodeDecodeError) as error:
            raise SourceError(self._said(error)) from error

    def _fetched(self, connection: Connection, until: float) -> Rows:
        streaming = connection.execution_options(stream_results=True, yield_per=AT_ONCE, no_parameters=True)
        result = streaming.exec_driver_sql(self._query)
        names = list(result.keys())
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise Quarantined(f'the query gives the column "{twice[0]}" twice')
        for number, row in enumerate(result, 1):
            if number > self._max_rows:
                raise Quarantined(f"there are more than {self._max_rows} rows (max_rows)")
            if number % AT_ONCE == 0 and self._clock.monotonic() > until:
                raise SourceError(f"the rows did not come in {self._timeout:g} s (timeout)")
            yield f"row {number}", dict(zip(names, row, strict=True))

    def _said(self, error: Exception) -> str:
        """What the database says, without the statement and without the password."""
        said = str(getattr(error, "orig", None) or error)
        if "interrupted" in said or "statement timeout" in said:
            return f"the query was not done in {self._timeout:g} s (timeout)"
        return sanitised(said.encode(), (self._password,) if self._password else ())


def _url(text: str, password: str | None, folder: Path) -> URL:
    try:
        url = make_url(text)
    except ArgumentError as error:
        raise SourceError('is no address of a database, like "postgresql://hr@db.example.com/hr"') from error
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        return url.set(database=str(folder / (url.database or "")))
    return url.set(password=password) if password is not None else url


def _engine(url: URL) -> Engine:
    """A connection for every poll. A SQLite file is opened for reading; it is never made."""
    how: dict[str, Any] = {}
    if url.get_backend_name() == "sqlite":
        how["creator"] = _sqlite(str(url.database))
    elif url.get_backend_name() == "postgresql":
        how["connect_args"] = {"connect_timeout": CONNECT}
    try:
        return create_engine(url, poolclass=NullPool, **how)
    except (SQLAlchemyError, ImportError) as error:
        what = url.get_backend_name()
        raise SourceError(f"needs a driver for {what} that is not installed: {error}") from error


def _sqlite(path: str) -> Callable[[], sqlite3.Connection]:
    return lambda: sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True, timeout=CONNECT)


def _read_only(connection: Connection, timeout: float, late: Callable[[], bool]) -> None:
    """As strictly as the database can; what the login may do is the other half."""
    backend = connection.dialect.name
    if backend == "sqlite":
        raw = connection.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        raw.execute("PRAGMA query_only = ON")
        raw.set_progress_handler(late, STEPS)
    elif backend == "postgresql":
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {round(timeout * 1000)}")
