"""A marked test message, through the outbox, as a real one would go."""

from __future__ import annotations

import sys
import uuid
from typing import Any

from monitor import wiring
from monitor.cli.clock import SystemClock
from monitor.config import Config
from monitor.cycle import deliver_waiting
from monitor.decide import route
from monitor.domain.message import Reason
from monitor.errors import ConfigError
from monitor.store import outbox
from monitor.store.engine import writing


def send_tests(config: Config, receiver: str | None) -> list[dict[str, Any]]:
    """One message to each receiver, or to one. Returns what became of them."""
    clock = SystemClock()
    parts = wiring.parts(config, clock, stream=sys.stdout)
    if receiver is not None and receiver not in parts.channels:
        raise ConfigError([f"there is no receiver {receiver}; there are {', '.join(parts.channels)}"])
    now, mark = clock.now(), uuid.uuid4().hex
    notes = [
        route.notification(name, Reason.TEST, f"test:{mark}", f"Test message to {name}", "access-monitor", now, {})
        for name in parts.channels
        if receiver in (None, name)
    ]
    with writing(parts.engine) as connection:
        outbox.put(connection, [(n, None) for n in notes], None)
    deliver_waiting(parts)
    ids = {n.id for n in notes}
    return [r for r in outbox.listing(parts.engine) if r["id"] in ids]
