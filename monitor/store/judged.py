"""What is remembered of judging, so that the next poll judges again only what can have changed: by which rules and
circumstances everything was judged, when, and of which subjects something was unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection

from monitor.domain.observed import Kind, holder
from monitor.domain.rule import Verdict
from monitor.store.staging import Staging
from monitor.store.tables import MICROSECOND, json_text, micros, moment

TOUCHED = "touched"  # accounts that are to be judged again, in the staging file
_AT_ONCE = 5_000
# where a timestamp stands that verdicts move with; what only an account that never signed in counts from is `created`
_COLUMNS = {
    "accounts": ("created", "first_seen", "status_since", "level_since", "role_changed", "privileged_since",
                 "reactivated"),
    "activity": ("last_login", "last_active"),
    "grants": ("since",),
}  # fmt: skip
_CURRENT = {"accounts": " AND valid_to IS NULL", "activity": "", "grants": " AND valid_to IS NULL"}


class Standing(NamedTuple):
    """The last time that everything of a source stood judged."""

    context: str  # digest of all that decides beside the subjects themselves
    at: datetime
    snapshot_id: int


class Window(NamedTuple):
    """Subjects whose timestamp lies so far back have passed a boundary since."""

    column: str
    after: timedelta


def standing(staging: Staging) -> Standing | None:
    row = staging.db.execute(
        "SELECT context, judged_at, snapshot_id FROM main_db.judged WHERE source_id = ?", (staging.source_id,)
    ).fetchone()
    at = moment(row[1]) if row else None
    return None if at is None else Standing(row[0], at, row[2])


def touch(staging: Staging, since: Standing, windows: Iterable[Window]) -> None:
    """Takes note of the accounts that are to be judged again: those of which something changed since, those whose time
    has come, those that an exemption lets be, and those that no poll is done with: a rule failed, or a finding could
    not be closed.
    """
    db, source = staging.db, {"source": staging.source_id, "since": since.snapshot_id}
    db.execute(f"CREATE TABLE IF NOT EXISTS {TOUCHED} (account_id TEXT PRIMARY KEY) WITHOUT ROWID")
    db.execute("BEGIN")
    db.execute(
        f"""INSERT OR IGNORE INTO {TOUCHED}
            SELECT account_id FROM accounts UNION ALL SELECT account_id FROM new_grants
            UNION ALL SELECT account_id FROM ended_grants UNION ALL SELECT account_id FROM active
            UNION ALL SELECT account_id FROM main_db.undecided WHERE source_id = :source AND again""",  # noqa: S608
        source,
    )
    exempt = db.execute(_EXEMPT, source).fetchall()
    ids = ((holder(subject) if kind == Kind.GRANT else subject,) for kind, subject in exempt)
    db.executemany(f"INSERT OR IGNORE INTO {TOUCHED} VALUES (?)", ids)  # noqa: S608
    conditions = {"activity": ["snapshot_id > :since"]}  # what a fast lane recorded meanwhile
    for table, condition in _between(since.at, staging.now, windows):
        conditions.setdefault(table, []).append(condition)
    for table, several in conditions.items():
        db.execute(
            f"""INSERT OR IGNORE INTO {TOUCHED} SELECT account_id FROM main_db.{table}
                WHERE source_id = :source{_CURRENT[table]} AND ({" OR ".join(several)})""",  # noqa: S608
            source,
        )
    db.execute("COMMIT")


_EXEMPT = """
    SELECT subject_kind, subject_id FROM main_db.findings INDEXED BY ix_findings_subject
    WHERE source_id = :source AND subject_kind IN ('account', 'grant') AND exempt_until IS NOT NULL"""


_OTHERS = ", ".join(f"'{kind.value}'" for kind in Kind if kind is not Kind.ACCOUNT)


def affected(staging: Staging, restless: Iterable[str]) -> list[int]:
    """Ids of the findings that may move: not those of accounts that are not judged again, and are there still.
    `restless`: rules that judge everybody.
    """
    rows = staging.db.execute(
        f"""SELECT f.id FROM (SELECT account_id FROM {TOUCHED} UNION SELECT account_id FROM gone) x
            CROSS JOIN main_db.findings f INDEXED BY ix_findings_subject
            ON f.source_id = :source AND f.subject_kind = 'account' AND f.subject_id = x.account_id
            UNION ALL SELECT id FROM main_db.findings INDEXED BY ix_findings_subject
            WHERE source_id = :source AND subject_kind IN ({_OTHERS})""",  # noqa: S608
        {"source": staging.source_id},
    )
    found = {r[0] for r in rows}
    for rule in restless:
        of_rule = "SELECT id FROM main_db.findings WHERE source_id = ? AND subject_kind = 'account' AND rule = ?"
        found |= {r[0] for r in staging.db.execute(of_rule, (staging.source_id, rule))}
    return sorted(found)


def _between(before: datetime, now: datetime, windows: Iterable[Window]) -> Iterable[tuple[str, str]]:
    """Table and condition of each window."""
    for column, after in sorted(set(windows)):
        [table] = [t for t, columns in _COLUMNS.items() if column in columns]
        low, high = ((micros(at) or 0) - after // MICROSECOND for at in (before, now))
        yield table, f"{column} BETWEEN {low} AND {high}"


class Undecided:
    """Takes note of whom rules say neither yes nor no of, as they are judged. Subjects of one account come together."""

    def __init__(self, staging: Staging, kind: Kind) -> None:
        self._db, self._kind = staging.db, kind
        self._rows: list[tuple[str, str, str, bool]] = []
        self._account, self._unknown, self._again = "", Counter[str](), False
        staging.db.execute(_TABLE)

    def __call__(self, account_id: str, unsure: Sequence[tuple[str, Verdict]]) -> None:
        if account_id != self._account:
            self._next(account_id)
        self._unknown.update(rule for rule, verdict in unsure if verdict is Verdict.UNKNOWN)
        self._again = self._again or any(verdict is not Verdict.UNKNOWN for _, verdict in unsure)

    def _next(self, account_id: str) -> None:
        if self._account:
            self._rows.append((self._kind.value, self._account, json_text(dict(self._unknown)), self._again))
        self._account, self._unknown, self._again = account_id, Counter(), False
        if len(self._rows) >= _AT_ONCE or not account_id:
            self._db.execute("BEGIN")
            self._db.executemany("INSERT INTO undecided VALUES (?, ?, ?, ?)", self._rows)
            self._db.execute("COMMIT")
            self._rows = []

    def end(self) -> None:
        self._next("")


_TABLE = "CREATE TABLE IF NOT EXISTS undecided (kind, account_id, rules, again)"


def unknown_of_others(staging: Staging, kind: Kind) -> Counter[str]:
    """By rule, the unknown verdicts on subjects that are not judged again."""
    rows = staging.db.execute(
        f"""SELECT rules, count(*) FROM main_db.undecided WHERE source_id = ? AND kind = ?
            AND account_id NOT IN (SELECT account_id FROM {TOUCHED} UNION ALL SELECT account_id FROM gone)
            GROUP BY rules""",  # noqa: S608
        (staging.source_id, kind.value),
    )
    found = Counter[str]()
    for text, times in rows:
        for rule, many in msgspec.json.decode(text).items():
            found[rule] += many * times
    return found


def size(staging: Staging, kind: Kind, proved: Callable[[str, str], bool]) -> int:
    """How many accounts, or proved grants, there are after this poll."""
    if kind == Kind.ACCOUNT:
        return int(staging.db.execute(_ACCOUNTS, (staging.source_id,)).fetchone()[0])
    rows = staging.db.execute(_GRANTS, (staging.source_id,))
    return sum(n for grant, entitlement, n in rows if proved(grant, entitlement))


_ACCOUNTS = """
    SELECT (SELECT count(*) FROM main_db.accounts INDEXED BY ix_accounts_current
            WHERE source_id = ? AND valid_to IS NULL)
      - (SELECT count(*) FROM gone) + (SELECT count(*) FROM accounts WHERE state = 'new')"""
_GRANTS = """
    SELECT kind, entitlement_id, sum(n) FROM (
      SELECT kind, entitlement_id, count(*) AS n FROM main_db.grants INDEXED BY ix_grants_holders
        WHERE source_id = ? AND valid_to IS NULL GROUP BY 1, 2
      UNION ALL SELECT kind, entitlement_id, count(*) FROM new_grants GROUP BY 1, 2
      UNION ALL SELECT g.kind, g.entitlement_id, -count(*) FROM ended_grants e
        JOIN main_db.grants g ON g.pk = e.pk GROUP BY 1, 2) GROUP BY 1, 2"""


def remember(
    connection: Connection, source_id: int, context: str, at: datetime, snapshot_id: int, *, afresh: bool,
    idle: str | None,
) -> None:  # fmt: skip
    """`afresh`: everything was judged, and not only what was touched."""
    run = connection.exec_driver_sql
    if afresh:
        run("DELETE FROM undecided WHERE source_id = ?", (source_id,))
    else:
        run(
            f"""DELETE FROM undecided WHERE source_id = ? AND kind IN ('account', 'grant')
                AND account_id IN (SELECT account_id FROM staged.{TOUCHED})""",  # noqa: S608
            (source_id,),
        )
    run("INSERT INTO undecided SELECT ?, kind, account_id, rules, again FROM staged.undecided", (source_id,))
    now = {"source": source_id, "context": context, "at": micros(at), "snapshot": snapshot_id, "idle": idle}
    run(
        """INSERT INTO judged (source_id, context, judged_at, snapshot_id) VALUES (:source, :context, :at, :snapshot)
           ON CONFLICT (source_id) DO UPDATE SET context = :context, judged_at = :at, snapshot_id = :snapshot""",
        now,
    )
    run("UPDATE judged SET idle = :idle WHERE source_id = :source AND idle IS NOT :idle", now)


def leave_out_gone(connection: Connection, source_id: int) -> None:
    """Of an account that is gone nothing is unknown."""
    connection.exec_driver_sql(
        "DELETE FROM undecided WHERE source_id = ? AND account_id IN (SELECT account_id FROM staged.gone)", (source_id,)
    )


def forget(connection: Connection, source_id: int) -> None:
    """The next poll judges everything."""
    connection.exec_driver_sql("DELETE FROM judged WHERE source_id = ?", (source_id,))
