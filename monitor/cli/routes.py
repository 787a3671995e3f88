"""access-monitor routes test: where a finding would go, and why, route by route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.cli.app import app, config_of
from monitor.cli.output import Format, FormatOption, clean, console, counted, show
from monitor.domain.rule import Severity
from monitor.errors import ConfigError

if TYPE_CHECKING:
    from monitor.config import Config
    from monitor.domain.finding import Finding
    from monitor.domain.message import Group, Notification, Route
    from monitor.line.parts import Parts

routes = typer.Typer(no_args_is_help=True, help="Who hears of what.")
app.add_typer(routes, name="routes")


@routes.callback()
def _of_routes() -> None:
    """Who hears of what."""


@routes.command()
def test(
    context: typer.Context,
    fingerprint: Annotated[str | None, typer.Argument(help="A finding that there is, or its first characters.")] = None,
    fmt: FormatOption = Format.TABLE,
    rule: Annotated[str | None, typer.Option(help="A made-up finding instead: of this rule.")] = None,
    severity: Annotated[Severity | None, typer.Option(help="Its severity; the rule's if not given.")] = None,
    source: Annotated[str | None, typer.Option("--source", "-s", help="Its source; the first one.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Its tags; the rule's if not given; repeatable.")] = None,
    owner: Annotated[str | None, typer.Option(help="Its owner; the rule's if not given.")] = None,
    subject: Annotated[str | None, typer.Option(help="Its subject: an id or an e-mail.")] = None,
) -> None:
    """Where a finding would go, and why, route by route; without a finding, where all open ones go.

    Asks nobody and sends nothing.
    """
    parts = _parts(config_of(context), fingerprint is None and rule is not None)
    described = (severity, source, tag, owner, subject)
    if rule is None and any(described):
        raise ConfigError(["--rule: say of which rule the made-up finding is"])
    if fingerprint is not None and rule is not None:
        raise ConfigError(["say either which finding, or of which rule a made-up one is"])
    if rule is None and fingerprint is None:
        _all(parts, fmt)
        return
    if rule is not None:
        _one(parts, _made_up(parts, rule, *described), fmt, {})
    else:
        _one(parts, _recorded(parts, fingerprint or ""), fmt, _not_seen(parts))


def _all(parts: Parts, fmt: Format) -> None:
    not_seen = _not_seen(parts)
    rows = [_row(parts, f, not_seen) for f in _open(parts)]
    flat = [r | {"fingerprint": r["fingerprint"][:12], "routes": _taken(r)} for r in rows]
    columns = ("severity", "title", "to", "routes", "held_back", "waits", "fingerprint", "source")
    show(
        flat if fmt is Format.TABLE else rows, fmt, columns, counted(len(rows), "finding"), "There is no open finding."
    )


def _one(parts: Parts, found: Finding, fmt: Format, not_seen: Mapping[str, str]) -> None:
    row = _row(parts, found, not_seen)
    if fmt is not Format.TABLE:
        show([row], fmt, (), "")
        return
    steps = [s | {"takes": "✓ yes" if s["takes"] else "no", "why": "; ".join(s["why"])} for s in row["routes"]]
    show(steps, fmt, ("route", "takes", "to", "why"), f"{found.rule}, {found.severity.value}, in {found.source}")
    said = console()
    said.print(f"It goes to {clean(', '.join(row['to']) or 'nobody')}.")
    if row["held_back"]:
        said.print(f"But it is not sent now: {clean(row['held_back'])}.")
    elif row["waits"]:
        said.print(f"But {clean(row['waits'])}.")


def _row(parts: Parts, found: Finding, not_seen: Mapping[str, str]) -> dict[str, Any]:
    from monitor.decide import route
    from monitor.decide.unseen import waits

    steps = route.passage(found, parts.routes, parts.rules.by_id.get(found.rule))
    return {
        "fingerprint": found.fingerprint, "rule": found.rule, "severity": found.severity.value, "title": found.title,
        "source": found.source, "owner": found.owner, "to": _lanes(parts, found), "held_back": route.held_back(found),
        "waits": waits(found, not_seen),
        "routes": [
            {"route": s.number, "takes": not s.why_not, "to": list(s.route.to),
             "why": list(s.why_not) or [_fitting(s.route)]}
            for s in steps
        ],
    }  # fmt: skip


def _fitting(one: Route) -> str:
    what = str(one.matcher)
    return (f"fits: {what}" if what else "matches all") + ("; later routes may take it as well" if one.go_on else "")


def _waiting(one: Notification, groups: Mapping[str, Group]) -> str:
    """How a message waits for others."""
    from monitor.deliver.wording import duration
    from monitor.domain.message import ALONE

    if one.collected:
        return f"{one.lane} in its digest"
    group = groups.get(one.receiver)
    if group is None:
        return one.lane
    if group.by[0][0] == ALONE:
        return f"{one.lane} when business hours begin, in {duration(group.wait.total_seconds())}"
    common = ", ".join(f"{name} {value or 'none'}" for name, value in group.by)
    return f"{one.lane} in a group ({common}), {duration(group.wait.total_seconds())} after the first of it"


def _taken(row: dict[str, Any]) -> str:
    return ", ".join(str(s["route"]) for s in row["routes"] if s["takes"])


def _lanes(parts: Parts, found: Finding) -> list[str]:
    """Receivers, each with the address that it goes to and how it waits for others: as the line would do it."""
    from monitor.decide import route
    from monitor.decide.address import addressed
    from monitor.decide.present import finding
    from monitor.domain.message import Reason

    now, rule = parts.clock.now(), parts.rules.by_id.get(found.rule)
    groups = route.groups(found, parts.routes, rule, now)
    notes = [
        (
            route.notification(r, Reason.OPENED, "test", found.title, found.source, now, {"finding": finding(found)}),
            None,
        )
        for r in route.receivers(found, parts.routes, rule)
    ]
    said = (note for note, _ in addressed(notes, parts.manners, parts.zone))
    return list(dict.fromkeys(_waiting(n, groups) for n in said))


def _made_up(
    parts: Parts, rule: str, severity: Severity | None, source: str | None, tags: Sequence[str] | None,
    owner: str | None, subject: str | None,
) -> Finding:  # fmt: skip
    from monitor.decide.reconcile import fingerprint
    from monitor.domain.finding import Finding, FindingStatus
    from monitor.domain.observed import Subject
    from monitor.domain.rule import Verdict

    if rule not in parts.rules.by_id:
        raise ConfigError([f"--rule: there is no rule {clean(rule)}; see `access-monitor rules list`"])
    if source is not None and source not in parts.watched:
        raise ConfigError([f"--source: there is no source {clean(source)}"])
    of, where, now = parts.rules.by_id[rule], source or next(iter(parts.watched)), parts.clock.now()
    about = Subject(of.for_each, subject or "made-up", subject if subject and "@" in subject else None)
    return Finding(
        fingerprint(rule, where, about), rule, f"A made-up finding of {rule}", severity or of.severity,
        FindingStatus.OPEN, Verdict.FINDING, where, about, of.owner if owner is None else owner, now,
        _due(now, of.fix_within), (), of.digest, 0, tags=tuple(tags or of.tags),
    )  # fmt: skip


def _due(now: datetime, within: Any) -> datetime | None:
    return now + within if within else None


def _recorded(parts: Parts, beginning: str) -> Finding:
    if len(beginning) < 8:
        raise ConfigError(["fingerprint: give at least its first 8 characters"])
    found = [f for f in _open(parts) if f.fingerprint.startswith(beginning)]
    if not found:
        raise ConfigError([f"fingerprint: there is no open finding {clean(beginning)}; see `access-monitor findings`"])
    if len(found) > 1:
        raise ConfigError([f"fingerprint: {clean(beginning)} is the beginning of several; give more of it"])
    return found[0]


def _not_seen(parts: Parts) -> dict[str, str]:
    from monitor.line.timely import not_seen
    from monitor.store.engine import reading

    with reading(parts.engine) as connection:
        return not_seen(connection, parts.sources)


def _open(parts: Parts) -> list[Finding]:
    from monitor.store.engine import reading
    from monitor.store.findings import unresolved

    with reading(parts.engine) as connection:
        return sorted(unresolved(connection), key=lambda f: (-f.severity.rank, f.opened_at, f.title))


def _parts(config: Config, made_up: bool) -> Parts:
    """A made-up finding needs no database: an empty one in memory is never looked at."""
    import sys

    from sqlalchemy import create_engine

    from monitor import wiring
    from monitor.cli.clock import SystemClock

    engine = create_engine("sqlite://") if made_up else wiring.database(config, must_exist=True)
    return wiring.parts(config, SystemClock(), stream=sys.stdout, engine=engine, unread=True)
