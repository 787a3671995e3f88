"""What a person does to a finding, from wherever: one transaction with the record of it and what shows it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from sqlalchemy import Connection, Engine

from monitor.decide import acts, route
from monitor.decide.present import rfc3339
from monitor.domain.act import Act, Click
from monitor.domain.finding import Event, Finding
from monitor.domain.rule import Rule
from monitor.line.parts import Parts
from monitor.store import findings, outbox
from monitor.store.engine import writing


def act(
    engine: Engine, fingerprint: str, decide: Callable[[Finding | None], Event | None], rules: Mapping[str, Rule],
    living: Collection[str], now: datetime,
) -> Event | None:  # fmt: skip
    """Does what `decide` makes of the newest finding of this fingerprint, as it is when nobody else can move it.

    `living`: receivers that keep one message a finding up to date.
    """
    with writing(engine) as connection:
        event = decide(_newest(connection, fingerprint))
        if event is not None:
            _do(connection, event, rules, living, now)
    return event


def clicked(parts: Parts, click: Click) -> str:
    """Does what somebody pressed, once, however often it comes in. Returns what the person is to read, or nothing.

    Raises StoreError when it could not be written down: then nothing was done.
    """
    now = parts.clock.now()
    with writing(parts.engine) as connection:
        if not findings.first_time(connection, click.keys, now):
            return ""
        found = _newest(connection, click.fingerprint)
        if click.act is Act.HISTORY and click.allowed and found is not None:
            return _history(connection, found)
        rules = parts.rules.by_id
        done = acts.done(found, click, rules.get(found.rule) if found else None, now)
        if isinstance(done, Event):
            _do(connection, done, rules, parts.living, now)
            return ""
        said = {"act": click.act.value, "by": click.by, "fingerprint": click.fingerprint, "why": done}
        findings.refused(connection, said, now)
        return done


def _newest(connection: Connection, fingerprint: str) -> Finding | None:
    found = findings.load(connection, findings.FINDINGS.c.fingerprint == fingerprint)
    return found[-1] if found else None


def _do(
    connection: Connection, event: Event, rules: Mapping[str, Rule], living: Collection[str], now: datetime
) -> None:
    assert event.finding.id is not None
    findings.move(connection, event, now)
    told = outbox.living(connection, [event.finding.id], living)
    shown = route.of_updates([event], rules, frozenset(), told, now)
    outbox.put(connection, [(note, event.finding.id) for note, _ in shown], None)


def _history(connection: Connection, found: Finding) -> str:
    assert found.id is not None
    return "\n".join(
        f"{rfc3339(e['time'])} {e['kind']}" + (f" by {e['by']}" if e["by"] else "")
        + (f": {e['detail']['detail']}" if (e["detail"] or {}).get("detail") else "")
        for e in findings.history(connection, found.id)[-20:]
    )  # fmt: skip
