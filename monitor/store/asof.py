"""The state as of any snapshot, as a staging in which nothing was read: what rules saw then, they see again.

The versions that were in force are copied into memory, under the names that judging reads; moving on to a later
snapshot copies only what changed between the two.
"""

from __future__ import annotations

import re
import sqlite3
from datetime import datetime
from urllib.parse import quote

from sqlmodel import SQLModel

from monitor.domain.change import History
from monitor.store.staging import Staging
from monitor.store.tables import ActivityRow, SourceRow, micros

_VERSIONED = tuple(t.name for t in SQLModel.metadata.tables.values() if "valid_from" in t.c)
_OTHERS = (str(SourceRow.__tablename__), str(ActivityRow.__tablename__))


class AsOf(Staging):
    """Begins empty: `move` it to a snapshot, then judge; only forwards."""

    def __init__(self, database: str, source_id: int, born: History) -> None:
        self._snapshot = 0
        super().__init__(
            None, database, source_id, born.first_seen, born, quiet=False, forget=True,
            privileged=lambda _account: None, digest=lambda _account: b"",
        )  # fmt: skip

    def _attach(self, database: str) -> None:
        self.db.execute("ATTACH DATABASE ? AS origin", (f"file:{quote(database)}?mode=ro",))
        self.db.execute("ATTACH DATABASE ':memory:' AS main_db")
        names = ", ".join(f"'{n}'" for n in (*_VERSIONED, *_OTHERS))
        for (sql,) in self.db.execute(
            f"SELECT sql FROM origin.sqlite_master WHERE tbl_name IN ({names}) AND sql IS NOT NULL ORDER BY type DESC"  # noqa: S608
        ).fetchall():
            self.db.execute(re.sub(r"^(CREATE (?:TABLE|(?:UNIQUE )?INDEX)) ", r"\1 main_db.", sql))

    def past_members(self) -> sqlite3.Cursor:
        return self.db.execute(
            """SELECT DISTINCT account_id, entitlement_id FROM origin.grants
               WHERE source_id = ? AND kind = 'member' AND valid_to <= ? ORDER BY 1, 2""",
            (self.source_id, self._snapshot),
        )

    def move(self, snapshot_id: int, at: datetime, *, latest: bool = False) -> None:
        """`latest`: with sign-ins, of which only the newest are known; before that they are absent."""
        assert snapshot_id >= self._snapshot, "only forwards"
        run, source = self.db.execute, self.source_id
        run("BEGIN")
        for table in _VERSIONED:
            columns = [r[1] for r in run(f"PRAGMA main_db.table_info({table})")]
            key, kept = columns[0], ", ".join(c for c in columns if c != "valid_to")
            run(
                f"""DELETE FROM main_db.{table} WHERE {key} IN (
                      SELECT {key} FROM origin.{table} WHERE source_id = ? AND valid_to > ? AND valid_to <= ?)""",  # noqa: S608
                (source, self._snapshot, snapshot_id),
            )
            run(
                f"""INSERT INTO main_db.{table} ({kept}) SELECT {kept} FROM origin.{table} WHERE source_id = ?
                    AND valid_from > ? AND valid_from <= ? AND (valid_to IS NULL OR valid_to > ?)""",  # noqa: S608
                (source, self._snapshot, snapshot_id, snapshot_id),
            )
        run("DELETE FROM main_db.sources")
        run("INSERT INTO main_db.sources SELECT * FROM origin.sources WHERE id = ?", (source,))
        run("UPDATE main_db.sources SET watched_since = NULL WHERE watched_since > ?", (micros(at),))
        if latest:
            run("INSERT OR REPLACE INTO main_db.activity SELECT * FROM origin.activity WHERE source_id = ?", (source,))
        run("COMMIT")
        self._snapshot, self.at = snapshot_id, at
