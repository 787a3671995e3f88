"""What time has brought to a finding and will bring: the rows and lines of `rules explain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Engine

from monitor import wiring
from monitor.cli.clock import SystemClock
from monitor.config import Config
from monitor.decide import present, route
from monitor.decide.outlook import Prospect, State, Told, never, outlook
from monitor.domain.finding import EventKind, Finding
from monitor.domain.rule import Rule
from monitor.store import findings
from monitor.store.engine import reading


def in_time(
    config: Config, engine: Engine, rule: Rule, found: Finding, messages: Sequence[Mapping[str, Any]],
    unseen: str | None,
) -> dict[str, Any]:  # fmt: skip
    """Deadlines, reminders and escalation: what was told, what comes, and why not."""
    asked = (found, rule, wiring.routes(config), wiring.tempo(config))
    with reading(engine) as connection:
        told = [
            Told(EventKind(r["kind"]), (r["detail"] or {}).get("detail", ""), r["time"])
            for r in findings.history(connection, found.id or 0) if r["kind"] in findings.TIMELY
        ]  # fmt: skip
    steps = [_step(p, messages) for p in outlook(*asked, told, SystemClock().now(), unseen)]
    return {"steps": steps, "never": list(never(*asked))}


def _step(one: Prospect, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """To whom something was told is on record; what was told as one of many has no message of its own."""
    reason, at, to, why = route.WHY_NOW[one.step.kind].value, present.rfc3339(one.step.at), list(one.to), one.why
    if one.state is State.TOLD:
        to = [m["receiver"] for m in messages if (m["reason"], m["created_at"]) == (reason, at)]
        why = "" if to else "in one message with others"
    return {"step": reason, "detail": one.step.detail, "state": one.state.value, "at": at, "to": to, "why": why or None}


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """As `due soon: told 2026-11-25 09:00 to it-mail (50 % of the time to fix it is over: due by ...)`."""
    for step in found["steps"]:
        to = f" to {', '.join(step['to'])}" if step["to"] and step["state"] in (State.TOLD, State.COMES) else ""
        when = step["at"][:16].replace("T", " ")
        why = f"; {step['why']}" if step["why"] else ""
        yield f"{step['step'].replace('_', ' ')}: {step['state']} {when}{to}{why} ({step['detail']})"
    yield from found["never"]
