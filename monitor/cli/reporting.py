"""The report for an auditor: gathers what is recorded, in one consistent view, and writes the page."""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection, text

from monitor import __version__, wiring
from monitor.config import Config
from monitor.domain.finding import Finding
from monitor.domain.reading import Outcome
from monitor.errors import ConfigError, MonitorError
from monitor.line.parts import RuleSet
from monitor.report import figures, page
from monitor.store import findings as store
from monitor.store import ledger
from monitor.store.engine import reading
from monitor.store.tables import micros, moment

SHOWN = {"drift": 500, "privileged": 2000, "groups": 500, "faults": 10}  # rows on the page; all are counted
_SOME_PARTS = 12  # of a snapshot that were not read whole


def write(config: Config, output: Path, days: int, now: datetime) -> None:
    """Writes the page, all or nothing. Raises ConfigError, StoreError or TemplateFault."""
    engine = wiring.database(config, must_exist=True)
    try:
        with reading(engine) as connection:
            content = gather(connection, config, days, now)
    finally:
        engine.dispose()
    _replace(output, page.render(wiring.renderer(config).folders, content))


def _replace(output: Path, text: str) -> None:
    """Readable by its owner alone, like the database: it names people and what they may do."""
    try:
        handle, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.", suffix=".tmp")
        try:
            with open(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(name, output)
        except BaseException:  # also Ctrl-C: nothing half-written is left
            os.unlink(name)
            raise
    except OSError as error:
        raise ConfigError([f"--output: {output} cannot be written: {error.strerror}"]) from error


def gather(connection: Connection, config: Config, days: int, now: datetime) -> dict[str, Any]:
    """All that the page shows, as plain values."""
    since = (now - timedelta(days=days)).replace(microsecond=0)
    rules = _rules(config, now)
    by_id = rules.by_id if rules else {}
    polls = _polls(connection, since, now)
    authorities = [s.name for s in config.sources if s.use == "authority"]
    found = [f for f in store.load(connection) if f.opened_at <= now]
    return {
        "version": __version__,
        "written": now,
        "since": since,
        "days": days,
        "rules": _rule_set(connection, rules),
        "ledger": _ledger(connection),
        "findings": figures.unresolved(found, by_id, now),
        "resolved": figures.resolved(found, since),
        "served": figures.served(found, by_id, since),
        "accounts": _account_totals(connection, authorities),
        "privileged": _privileged(connection),
        "roles": _roles(connection, authorities),
        "onboarding": _onboarding(connection),
        "drift": _drift(connection, since, now),
        "sources": _sources(connection, config, polls, now),
        "plots": _plots(connection, found, polls, days, now),
    }


def _rows(connection: Connection, sql: str, **values: Any) -> list[dict[str, Any]]:
    return [dict(r) for r in connection.execute(text(sql), values).mappings()]


# head


def _rules(config: Config, now: datetime) -> RuleSet | None:
    """The rule files of today explain findings; without them the report says less, but still stands."""
    try:
        return wiring.rule_set(config, now.date())
    except MonitorError:
        return None


def _rule_set(connection: Connection, rules: RuleSet | None) -> dict[str, Any]:
    latest = connection.execute(text("SELECT rules_digest FROM snapshots ORDER BY id DESC LIMIT 1")).scalar()
    return {
        "digest": latest,
        "loaded": len(rules.rules) if rules else None,
        "same": rules is not None and rules.digest == latest,
    }


def _ledger(connection: Connection) -> dict[str, Any]:
    faults = list(ledger.verify(connection))
    rows = connection.execute(text("SELECT count(*) FROM ledger")).scalar()
    head = connection.execute(text("SELECT hash FROM ledger ORDER BY sequence DESC LIMIT 1")).scalar()
    shown = [f._asdict() for f in faults[: SHOWN["faults"]]]
    return {"rows": rows, "head": head, "faults": shown, "broken": len(faults)}


# accounts and roles


def _account_totals(connection: Connection, authorities: Sequence[str]) -> dict[str, int]:
    """Of targets; what an authority lists is persons."""
    rows = _rows(
        connection,
        """SELECT s.name AS source, count(*) AS total, coalesce(sum(privileged), 0) AS privileged,
                  coalesce(sum(privileged IS NULL), 0) AS untold, coalesce(sum(status = 'suspended'), 0) AS suspended,
                  coalesce(sum(privileged AND status = 'suspended'), 0) AS privileged_suspended
           FROM accounts a JOIN sources s ON s.id = a.source_id WHERE a.valid_to IS NULL GROUP BY s.name""",
    )
    counted = ("total", "privileged", "untold", "suspended", "privileged_suspended")
    targets = {name: sum(r[name] for r in rows if r["source"] not in authorities) for name in counted}
    return targets | {"persons": sum(r["total"] for r in rows if r["source"] in authorities)}


def _privileged(connection: Connection) -> dict[str, Any]:
    rows = _rows(
        connection,
        """SELECT s.name AS source, s.watched_since, a.account_id AS id, a.email, coalesce(a.name, a.username) AS name,
                  a.status, a.level, a.role, a.is_admin, a.is_instructor, a.is_reporter, a.privileged_since AS since,
                  y.last_login, y.never_signed_in
           FROM accounts a JOIN sources s ON s.id = a.source_id
           LEFT JOIN activity y ON y.source_id = a.source_id AND y.account_id = a.account_id
           WHERE a.valid_to IS NULL AND a.privileged
           ORDER BY s.name, coalesce(a.is_admin, 0) DESC, a.level, coalesce(a.email_key, a.account_id) LIMIT :most""",
        most=SHOWN["privileged"],
    )
    flags = ("is_admin", "is_instructor", "is_reporter", "never_signed_in")
    return {
        "rows": [
            {
                **r,
                **{k: None if r[k] is None else bool(r[k]) for k in flags},
                "since": moment(r["since"]),
                "last_login": moment(r["last_login"]),
                "before_watching": r["watched_since"] is None or r["since"] <= r["watched_since"],
            }
            for r in rows
        ]
    }


def _roles(connection: Connection, authorities: Sequence[str]) -> list[dict[str, Any]]:
    """By target: a matrix of roles and the levels that their holders are reported with."""
    held = _rows(
        connection,
        """SELECT s.name AS source, a.role_id, a.role, a.level, count(*) AS holders
           FROM accounts a JOIN sources s ON s.id = a.source_id
           WHERE a.valid_to IS NULL GROUP BY s.name, a.role_id, CASE WHEN a.role_id IS NULL THEN a.role END, a.level""",
    )
    known = _rows(
        connection,
        """SELECT s.name AS source, r.role_id, r.title, r.access_level, r.custom, r.past_access_levels, r.changed
           FROM roles r JOIN sources s ON s.id = r.source_id WHERE r.valid_to IS NULL ORDER BY s.name, r.title""",
    )
    for r in known:
        r["past_access_levels"], r["changed"] = _json(r["past_access_levels"]), moment(r["changed"])
    return [
        figures.role_matrix(name, [r for r in known if r["source"] == name], [r for r in held if r["source"] == name])
        for name in sorted({r["source"] for r in (*known, *held)} - set(authorities))
    ]


# groups


def _onboarding(connection: Connection) -> dict[str, Any]:
    """By group: how many of its active members have begun, those with the smallest share first."""
    rows = _rows(
        connection,
        """SELECT s.name AS source, g.group_id AS id, coalesce(g.title, g.group_id) AS title, count(*) AS members,
                  coalesce(sum(NOT y.never_signed_in), 0) AS begun,
                  coalesce(sum(y.never_signed_in), 0) AS not_begun
           FROM grants m JOIN sources s ON s.id = m.source_id
           JOIN groups g ON g.source_id = m.source_id AND g.group_id = m.entitlement_id AND g.valid_to IS NULL
           JOIN accounts a ON a.source_id = m.source_id AND a.account_id = m.account_id AND a.valid_to IS NULL
           LEFT JOIN activity y ON y.source_id = m.source_id AND y.account_id = m.account_id
           WHERE m.kind = 'member' AND m.valid_to IS NULL AND coalesce(a.status, 'active') = 'active'
           GROUP BY s.name, g.group_id ORDER BY 1.0 * begun / count(*), members DESC, title""",
    )
    return {"total": len(rows), "rows": rows[: SHOWN["groups"]]}


# drift


def _drift(connection: Connection, since: datetime, now: datetime) -> dict[str, Any]:
    """The newest changes, by snapshot, and how many there are in all."""
    period = {"since": micros(since), "now": micros(now)}
    where = "FROM changes c JOIN snapshots n ON n.id = c.snapshot_id JOIN sources s ON s.id = c.source_id"
    where += " WHERE n.started_at BETWEEN :since AND :now"
    counts = _rows(
        connection,
        f"""SELECT n.id, n.started_at, s.name AS source, count(*) AS changes {where}
            GROUP BY n.id ORDER BY n.id DESC""",
        **period,
    )
    rows = _rows(
        connection,
        f"SELECT c.* {where} ORDER BY c.snapshot_id DESC, c.id LIMIT :most", most=SHOWN["drift"], **period,
    )  # fmt: skip
    by_snapshot: dict[int, list[dict[str, Any]]] = {}
    for r in rows:
        by_snapshot.setdefault(r["snapshot_id"], []).append({**r, **{k: _json(r[k]) for k in ("before", "after")}})
    return {
        "total": sum(c["changes"] for c in counts),
        "shown": len(rows),
        "snapshots": [
            {**c, "time": moment(c["started_at"]), "rows": by_snapshot[c["id"]]}
            for c in counts
            if c["id"] in by_snapshot
        ],
    }


def _json(text: str | None) -> Any:
    return None if text is None else msgspec.json.decode(text)


# sources


def _polls(connection: Connection, since: datetime, now: datetime) -> list[dict[str, Any]]:
    rows = _rows(
        connection,
        """SELECT s.name AS source, n.id, n.outcome, n.started_at, n.finished_at, n.accounts
           FROM snapshots n JOIN sources s ON s.id = n.source_id
           WHERE n.started_at BETWEEN :since AND :now ORDER BY n.id""",
        since=micros(since), now=micros(now),
    )  # fmt: skip
    return [{**r, "started_at": moment(r["started_at"]), "finished_at": moment(r["finished_at"])} for r in rows]


def _sources(
    connection: Connection, config: Config, polls: Sequence[Mapping[str, Any]], now: datetime
) -> list[dict[str, Any]]:
    known = {r["name"]: r for r in _rows(connection, "SELECT id, name, kind, watched_since FROM sources")}
    for source in config.sources:
        known.setdefault(source.name, {"id": None, "name": source.name, "kind": source.kind, "watched_since": None})
    return [
        _source(connection, row, [p for p in polls if p["source"] == name], now) for name, row in sorted(known.items())
    ]


def _source(
    connection: Connection, row: Mapping[str, Any], polls: Sequence[Mapping[str, Any]], now: datetime
) -> dict[str, Any]:
    latest = _snapshot(connection, row["id"])
    broken = _broken_scopes(connection, row["id"], latest["id"]) if latest else []
    return {
        "name": row["name"], "kind": row["kind"], "watched_since": moment(row["watched_since"]), "latest": latest,
        "complete": _snapshot(connection, row["id"], Outcome.COMPLETE.value),
        "scopes": broken[:_SOME_PARTS], "more_scopes": max(len(broken) - _SOME_PARTS, 0),
        "polls": len(polls), "outcomes": Counter(p["outcome"] for p in polls).most_common(),
        "gap": figures.longest_gap(polls, now),
    }  # fmt: skip


def _snapshot(connection: Connection, source_id: int | None, outcome: str | None = None) -> dict[str, Any] | None:
    rows = _rows(
        connection,
        """SELECT id, outcome, started_at, finished_at, accounts, roles, groups, grants, requests, pages, digest,
                  version, error, proof
           FROM snapshots WHERE source_id = :source AND (:outcome IS NULL OR outcome = :outcome)
           ORDER BY id DESC LIMIT 1""",
        source=source_id, outcome=outcome,
    )  # fmt: skip
    if not rows:
        return None
    [row] = rows
    proof = _json(row.pop("proof")) or {}
    return {
        **row,
        "started_at": moment(row["started_at"]),
        "finished_at": moment(row["finished_at"]),
        "records": sum(proof.get("records", {}).values()),
        "retries": proof.get("retries", 0),
        "endpoint": proof.get("endpoint", ""),
    }


def _broken_scopes(connection: Connection, source_id: int, snapshot_id: int) -> list[dict[str, Any]]:
    return _rows(
        connection,
        """SELECT c.name, c.outcome, c.reason, g.title FROM scopes c
           LEFT JOIN groups g ON g.source_id = c.source_id AND c.name = 'members/' || g.group_id AND g.valid_to IS NULL
           WHERE c.source_id = :source AND c.valid_from <= :snapshot
             AND (c.valid_to IS NULL OR c.valid_to > :snapshot) AND c.outcome <> 'complete' ORDER BY c.id""",
        source=source_id, snapshot=snapshot_id,
    )  # fmt: skip


# plots


def _plots(
    connection: Connection, found: Sequence[Finding], polls: Sequence[Mapping[str, Any]], days: int, now: datetime
) -> dict[str, Any]:
    """How things stood at points in time that end now. A column before the first poll is None: nothing was known."""
    ends, size = figures.columns(days, now)
    first = moment(connection.execute(text("SELECT min(started_at) FROM snapshots")).scalar())
    known = [end if first is not None and first <= end else None for end in ends]
    told = [f for f in found if not f.draft]
    held = list(_privileged_spans(connection, now))
    return {
        "ends": ends, "days": size.days, "first": first,
        "findings": [figures.open_at(told, end) if end else None for end in known],
        "privileged": [{"privileged": sum(a <= end < b for a, b in held)} if end else None for end in known],
        "polls": [
            counted if end else None
            for counted, end in zip(figures.polls_by_column(polls, ends, size), known, strict=True)
        ],
    }  # fmt: skip


def _privileged_spans(connection: Connection, now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """From when until when each version of a privileged account stood."""
    rows = connection.execute(
        text("""SELECT n.started_at, e.started_at FROM accounts a JOIN snapshots n ON n.id = a.valid_from
                LEFT JOIN snapshots e ON e.id = a.valid_to WHERE a.privileged""")
    )
    for begin, end in rows:
        yield moment(begin) or now, moment(end) or datetime.max.replace(tzinfo=UTC)
