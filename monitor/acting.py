"""What a person does to a finding, from wherever: one transaction with the record of it and what shows it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from sqlalchemy import Engine

from monitor.decide import route
from monitor.domain.finding import Event, Finding
from monitor.domain.rule import Rule
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
        found = findings.load(connection, findings.FINDINGS.c.fingerprint == fingerprint)
        event = decide(found[-1] if found else None)
        if event is None or event.finding.id is None:
            return None
        findings.move(connection, event, now)
        told = outbox.living(connection, [event.finding.id], living)
        shown = route.of_updates([event], rules, frozenset(), told, now)
        outbox.put(connection, [(note, event.finding.id) for note, _ in shown], None)
    return event
