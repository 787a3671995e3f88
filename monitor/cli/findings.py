"""What is wrong now, and what could not be judged."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.app import Exit, SourceOption, app, config_of, database
from monitor.cli.output import Format, FormatOption, counted, show
from monitor.decide import present
from monitor.decide.sight import ALL, because, missing_in
from monitor.domain.finding import Finding, FindingStatus
from monitor.domain.observed import Subject
from monitor.domain.rule import Severity, Verdict
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.config import Config
    from monitor.domain.snapshot import Snapshot


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
    with reading(database(config)) as connection:
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
