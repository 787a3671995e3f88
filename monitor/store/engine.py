"""Opening the database: settings that were tried, file modes, migrations, and errors in our words."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url
from sqlalchemy.exc import DBAPIError

from monitor.errors import StoreError

MIGRATIONS = Path(__file__).with_name("migrations")
REVISIONS = sorted(path.name.partition("_")[0] for path in MIGRATIONS.glob("versions/[0-9]*.py"))
BUSY_TIMEOUT = 30  # seconds: longer than the longest record, so that a lock wait is no error


def open_engine(url: str) -> Engine:
    """An engine for an SQLite file, owner-readable only. Raises StoreError."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise StoreError(f"database.url: {parsed.get_backend_name()} is not supported yet; use sqlite:///PATH")
    path = Path(parsed.database or "")
    _prepare(path)
    engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT, "check_same_thread": False})
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


def _prepare(path: Path) -> None:
    """A new file is made 0600 before SQLite opens it: -wal and -shm take over its mode."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise StoreError(f"{path}: cannot be made: {error.strerror}. Set database.url to a writable place") from error
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise StoreError(f"{path}: is readable by others (mode {mode:o}); run: chmod 600 {shlex.quote(str(path))}")


def _on_connect(dbapi: Any, _record: Any) -> None:
    dbapi.isolation_level = None  # we say BEGIN ourselves: the driver's legacy mode leaves DDL and SELECT outside
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT * 1000}"):
        dbapi.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    # A deferred transaction that turns from reading to writing fails at once with SQLITE_BUSY_SNAPSHOT,
    # whatever busy_timeout says; so writers say so from the start.
    reads = connection.get_execution_options().get("read_only")
    connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A read transaction: one consistent view."""
    with _in_our_words(engine), engine.connect().execution_options(read_only=True) as connection:
        yield connection


@contextmanager
def writing(engine: Engine, attach: Path | None = None) -> Iterator[Connection]:
    """A write transaction, with a staging file attached as `staged` if one is given. An exception undoes all of it."""
    with _in_our_words(engine), engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        if attach is not None:  # SQLite attaches only outside a transaction
            driver.execute("ATTACH DATABASE ? AS staged", (str(attach),))
        try:
            with connection.begin():
                yield connection
                # SQLITE_FULL ends the transaction by itself; the next statement would be committed alone.
                assert driver.in_transaction
        finally:
            if attach is not None:
                driver.execute("DETACH DATABASE staged")


@contextmanager
def _in_our_words(engine: Engine) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        name = getattr(error.orig, "sqlite_errorname", type(error.orig).__name__)
        advice = {
            "SQLITE_FULL": "the disk is full: free space; nothing was half written",
            "SQLITE_BUSY": f"another program held the database for over {BUSY_TIMEOUT} s",
            "SQLITE_NOTADB": "the file is no SQLite database: restore a backup, and keep this file",
            "SQLITE_CORRUPT": "the file is damaged: restore a backup, and keep this file",
            "SQLITE_READONLY": "the file or its folder is read-only",
        }.get(name, str(error.orig))
        raise StoreError(f"{engine.url.database}: {name}: {advice}") from error


def migrate(engine: Engine) -> None:
    """Brings the database to the newest revision, or leaves it as it was. Raises StoreError."""
    with _in_our_words(engine):
        present = revision(engine)
        if present == REVISIONS[-1]:
            return
        if present is not None and present not in REVISIONS:
            raise StoreError(f"{engine.url.database}: was written by a newer access-monitor (revision {present})")
        _upgrade(engine)


def revision(engine: Engine) -> str | None:
    """The revision that a database is at; None for a new one."""
    with engine.connect().execution_options(read_only=True) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()


def _upgrade(engine: Engine) -> None:
    # Alembic takes longer to import than most commands take to run, and is needed once a release.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
