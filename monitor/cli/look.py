"""Commands that look at what is recorded. They need no secret and change nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.app import Exit, app, config_of
from monitor.cli.output import Format, FormatOption, console, counted, show
from monitor.decide import present
from monitor.decide.sight import ALL, because, missing_in
from monitor.domain.finding import Finding, FindingStatus
from monitor.domain.observed import Subject
from monitor.domain.rule import Severity, Verdict
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from monitor.config import Config
    from monitor.domain.snapshot import Snapshot

SourceOption = Annotated[str | None, typer.Option("--source", "-s", help="Only this source.")]


def _database(config: Config) -> Engine:
    """What is recorded so far; there must be something."""
    from monitor import wiring

    return wiring.database(config, must_exist=True)


def moment(text: str | None, option: str, *, end: bool = True) -> datetime | None:
    """A date or a time on the command line: 2026-03-01, or RFC 3339. A date means its end (or beginning), in UTC."""
    if text is None:
        return None
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError([f'{option}: "{text}" is no time; write 2026-03-01 or 2026-03-01T12:00:00Z']) from error
    if len(text) == len("2026-03-01") and end:
        when = when.replace(hour=23, minute=59, second=59)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


@app.command()
def findings(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: SourceOption = None,
    status: Annotated[list[str] | None, typer.Option(help="open, acknowledged or resolved; repeatable.")] = None,
    rule: Annotated[str | None, typer.Option(help="Only findings of this rule.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="Only this severity.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Resolved ones as well.")] = False,
    unknown: Annotated[
        bool, typer.Option("--unknown", help="What could not be judged, and which fact is missing.")
    ] = False,
    fail_on: Annotated[
        Severity | None,
        typer.Option(help="Exit with 3 when one of this severity or above is unresolved and not exempt."),
    ] = None,
) -> None:
    """What is wrong now: findings that are not resolved, with their evidence in json.

    `findings --format json | jq '.[] | .evidence'` shows why; `--all` adds what was resolved, and how.
    """
    config = config_of(context)
    if unknown:
        _unknown(config, source, fmt)
        return
    wanted = set(status or ())
    if wanted - {s.value for s in FindingStatus}:
        raise ConfigError([f"--status: there is no status {', '.join(sorted(wanted))}"])
    rows = _findings(config, source, rule)
    if (fmt is Format.JSON and not everything and not wanted) or everything:
        shown = rows
    else:
        keep = wanted or {FindingStatus.OPEN.value, FindingStatus.ACKNOWLEDGED.value}
        shown = [f for f in rows if f.status.value in keep]
    shown = [f for f in shown if severity is None or f.severity is severity]
    columns = ["severity", "title", "fingerprint", "due", "status", "assigned", "verdict", "opened", "source"]
    if everything or FindingStatus.RESOLVED.value in wanted:
        columns.insert(4, "resolution")
    show(
        (_row(f, fmt) for f in shown), fmt, columns, counted(len(shown), "finding"),
        "No findings: nothing that the rules ask for is wrong.",
    )  # fmt: skip
    worst = [f for f in rows if f.status is not FindingStatus.RESOLVED and f.verdict is not Verdict.EXEMPT]
    if fail_on and any(f.severity.rank >= fail_on.rank for f in worst):
        raise typer.Exit(Exit.FOUND)


def _row(found: Finding, fmt: Format) -> dict[str, Any]:
    if fmt is not Format.TABLE:
        return present.finding(found)
    return {
        "severity": found.severity.value, "status": found.status.value, "verdict": found.verdict.value,
        "resolution": found.resolution.value if found.resolution else None, "title": found.title,
        "source": found.source, "assigned": found.assigned_to, "opened": _day(found.opened_at),
        "due": _day(found.due_at), "fingerprint": found.fingerprint[:12],
    }  # fmt: skip


def _day(when: datetime | None) -> str | None:
    return None if when is None else f"{when:%Y-%m-%d}"


def _findings(config: Config, source: str | None, rule: str | None) -> list[Finding]:
    from monitor.store import findings as store
    from monitor.store.engine import reading

    where = [store.SOURCES.c.name == source] if source else []
    where += [store.FINDINGS.c.rule == rule] if rule else []
    with reading(_database(config)) as connection:
        rows = store.load(connection, *where)
    return sorted(rows, key=lambda f: (f.status is FindingStatus.RESOLVED, -f.severity.rank, f.opened_at, f.title))


def _unknown(config: Config, source: str | None, fmt: Format) -> None:
    from monitor.cli.again import judged_now

    rows: list[dict[str, Any]] = []
    for snapshot, judged in judged_now(config, source):
        if not snapshot.outcome.applies:  # then only how the source was seen is judged
            about, why = Subject("source", snapshot.source), f"the latest poll is {snapshot.outcome.value}"
            rows.append(_unknown_row(snapshot, "every rule", about, why, because(ALL, snapshot.scopes), fmt))
        for j in judged.found:
            if j.verdict is Verdict.UNKNOWN:
                parts = because(missing_in(j.why), snapshot.known_scopes)
                rows.append(_unknown_row(snapshot, j.rule, j.subject, j.why, parts, fmt))
    show(
        rows,
        fmt,
        ("rule", "subject", "why", "because", "source"),
        counted(len(rows), "unknown verdict"),
        "Every rule could be judged.",
    )


def _unknown_row(
    snapshot: Snapshot, rule: str, subject: Subject, why: str, parts: list[str], fmt: Format
) -> dict[str, Any]:
    flat = fmt is Format.TABLE
    said = _short(subject) if flat else present.subject(subject)
    return {
        "source": snapshot.source, "rule": rule, "subject": said, "why": why,
        "because": "; ".join(parts) or None if flat else parts,
    }  # fmt: skip


def _short(subject: Subject) -> str:
    return subject.email or subject.name or subject.id


@app.command()
def drift(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: SourceOption = None,
    snapshot: Annotated[int | None, typer.Option(help="Only what this snapshot showed.")] = None,
    since: Annotated[str | None, typer.Option(help="From this date or time on.")] = None,
    until: Annotated[str | None, typer.Option(help="Up to this date or time.")] = None,
) -> None:
    """What changed between snapshots, field by field, before and after."""
    from monitor.store import queries

    engine = _database(config_of(context))
    rows = queries.drift(engine, source, snapshot, moment(since, "--since", end=False), moment(until, "--until"))
    show_changes(engine, rows, fmt, "Drift", "No drift: nothing changed since the first whole snapshot.")


def show_changes(engine: Engine, rows: Iterable[dict[str, Any]], fmt: Format, title: str, empty: str) -> None:
    """People read titles, programs ids."""
    from monitor.store import queries

    if fmt is Format.TABLE:
        names = queries.entitlement_titles(engine)
        show([told(r, names) for r in rows], fmt, TOLD, title, empty, least=4)
    else:
        show(map(_change, rows), fmt, (), "")


TOLD = ("who", "what", "before", "after", "snapshot")


def told(row: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A change as a person reads it: `names` gives the titles of what is told by its id."""
    who = row["subject_email"] or row["subject_name"] or row["subject_id"]
    before, after = (names.get(v, v) if isinstance(v, str) else v for v in (row["before"], row["after"]))
    return {
        "who": who if row["subject_kind"] == "account" else f"{row['subject_kind']} {who}",
        "what": row["field"] or row["kind"], "before": before, "after": after, "snapshot": row["snapshot_id"],
    }  # fmt: skip


def _change(row: dict[str, Any]) -> dict[str, Any]:
    about = {
        "kind": row["subject_kind"],
        "id": row["subject_id"],
        "email": row["subject_email"],
        "name": row["subject_name"],
    }
    kept = {k: row[k] for k in ("snapshot_id", "source", "kind", "field", "before", "after")}
    return {
        "snapshot": kept["snapshot_id"], "source": kept["source"], "kind": kept["kind"],
        "subject": about,
        "field": kept["field"], "before": kept["before"], "after": kept["after"],
    }  # fmt: skip


@app.command()
def accounts(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: SourceOption = None,
    privileged: Annotated[bool | None, typer.Option("--privileged/--ordinary", help="Only these.")] = None,
    at: Annotated[str | None, typer.Option(help="As it was at this date or time: who was admin on 2026-03-01?")] = None,
    account: Annotated[str | None, typer.Argument(help="One account, by id or e-mail.")] = None,
) -> None:
    """Accounts with their access, today or at any date since watching began."""
    from monitor.store import queries

    engine = _database(config_of(context))
    rows = queries.accounts(engine, source, privileged, moment(at, "--at"), account)
    keys = (
        "source", "id", "email", "name", "status", "level", "role", "privileged", "is_admin", "is_instructor",
        "created", "last_login", "groups", "first_seen", "status_since",
    )  # fmt: skip
    columns = ("email", "status", "role", "privileged", "last_login", "level", "is_admin", "groups", "name", "source")
    show(({k: r[k] for k in keys} for r in rows), fmt, columns, "Accounts", _no_accounts(at, account))


def _no_accounts(at: str | None, account: str | None) -> str:
    then = f" as of {at}; `access-monitor snapshots` says since when there is a record" if at else ""
    return f"No such account is recorded{then}." if account else f"No accounts are recorded{then}."


@app.command()
def match(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: SourceOption = None,
    result: Annotated[str | None, typer.Option(help="Only matched, unmatched, ambiguous or unsure.")] = None,
) -> None:
    """Whose the accounts are: matched to a person of an authority, to none, or to several; and why."""
    from monitor.cli.matching import RESULTS, matches

    if result is not None and result not in RESULTS:
        raise ConfigError([f"--result: there is no {result}; there are {', '.join(RESULTS)}"])
    rows = list(matches(config_of(context), source))
    counts = ", ".join(f"{sum(r['result'] == kind for r in rows)} {kind}" for kind in RESULTS)
    columns = ("result", "email", "account", "by", "person", "name", "why", "source")
    show((r for r in rows if result in (None, r["result"])), fmt, columns, counts, f"Nothing of that kind: {counts}.")


@app.command()
def snapshots(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    source: SourceOption = None,
    limit: Annotated[int | None, typer.Option(help="Only the newest N.")] = None,
    proof: Annotated[int | None, typer.Option(help="The proof and the scopes of one snapshot.")] = None,
    pages: Annotated[int | None, typer.Option(help="The raw pages of one snapshot.")] = None,
    page: Annotated[int | None, typer.Option(help="With --pages: print the body of this page.")] = None,
    verify: Annotated[int | None, typer.Option(help="Check the raw pages of one snapshot against the ledger.")] = None,
) -> None:
    """What each poll saw: outcome, counts, and the proof."""
    from monitor.cli import pages as raw
    from monitor.store import queries

    engine = _database(config_of(context))
    if page is not None and pages is None:
        raise ConfigError(["--page: say of which snapshot, with --pages ID"])
    if proof is not None:
        _proof(engine, proof, fmt)
    elif pages is not None:
        raw.list_pages(config_of(context), engine, pages, page, fmt)
    elif verify is not None:
        raw.verify(config_of(context), engine, verify)
    else:
        _all_of(queries.snapshots(engine, source, limit), fmt)


def _all_of(rows: list[dict[str, Any]], fmt: Format) -> None:
    keys = (
        "id", "source", "lane", "outcome", "started_at", "finished_at", "accounts", "roles", "groups", "grants",
        "requests", "pages", "digest", "error",
    )  # fmt: skip
    columns = (
        "id", "source", "lane", "outcome", "started_at", "error", "accounts", "grants", "groups", "roles", "requests",
    )  # fmt: skip
    show(
        ({k: r[k] for k in keys} for r in rows),
        fmt,
        columns,
        "Snapshots",
        "No snapshots yet: run `access-monitor poll`.",
    )


def _proof(engine: Engine, snapshot_id: int, fmt: Format) -> None:
    from monitor.store import queries

    found = [r for r in queries.snapshots(engine) if r["id"] == snapshot_id]
    if not found:
        raise ConfigError([f"--proof: there is no snapshot {snapshot_id}"])
    scopes = queries.scopes_of(engine, snapshot_id)
    if fmt is Format.TABLE:
        show(({"what": k, "value": v} for k, v in found[0].items() if k != "proof"), fmt, ("what", "value"), "Snapshot")
        show(({"what": k, "value": v} for k, v in (found[0]["proof"] or {}).items()), fmt, ("what", "value"), "Proof")
        show(scopes, fmt, ("name", "outcome", "reason", "valid_from"), "Scopes")
    else:
        show([{**found[0], "scopes": scopes}], fmt, (), "")


@app.command("ledger")
def ledger_(
    context: typer.Context,
    fmt: FormatOption = Format.TABLE,
    verify: Annotated[bool, typer.Option("--verify", help="Check the chain of hashes instead of printing.")] = False,
) -> None:
    """The append-only record of what was seen, decided and sent."""
    from monitor.store import ledger, queries
    from monitor.store.engine import reading

    engine = _database(config_of(context))
    if not verify:
        show(queries.ledger_rows(engine), fmt, ("sequence", "time", "kind", "body"), "Ledger")
        return
    with reading(engine) as connection:
        broken = list(ledger.verify(connection))
        head = connection.exec_driver_sql("SELECT sequence, hash FROM ledger ORDER BY sequence DESC LIMIT 1").first()
    for fault in broken:
        console(err=True).print(f"row {fault.sequence}: {fault.what}", style="red")
    if broken:
        raise typer.Exit(Exit.FAILED)
    sequence, digest = head or (0, "")
    sys.stdout.write(f"{sequence} rows, the chain holds; head {digest}\n")
