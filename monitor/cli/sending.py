"""A marked test message, through the outbox, as a real one would go."""

from __future__ import annotations

import sys
import uuid
from typing import Any

from monitor import wiring
from monitor.cli.clock import SystemClock
from monitor.config import Config
from monitor.dispatch import deliver_waiting, marked_messages
from monitor.domain.message import Health, Reason
from monitor.errors import ConfigError
from monitor.store import outbox


def send_marked(config: Config, reason: Reason, receiver: str | None = None) -> list[dict[str, Any]]:
    """One message to each receiver, or to one. Returns what became of them."""
    clock = SystemClock()
    parts = wiring.parts(config, clock, stream=sys.stdout)
    if receiver is not None and receiver not in parts.channels:
        raise ConfigError([f"there is no receiver {receiver}; there are {', '.join(parts.channels)}"])
    chosen = [receiver] if receiver is not None else list(parts.channels)
    notes = marked_messages(parts, reason, f"{reason.value}:{uuid.uuid4().hex}", chosen, clock.now())
    # whoever asks has mended something: what waits for them, and for the end of a pause, is tried now
    waiting = (outbox.OUTBOX.c.receiver.in_(chosen), outbox.OUTBOX.c.status != "dead")
    outbox.retry(parts.engine, waiting, reason.value, clock.now())
    deliver_waiting(parts)
    ids, known = {n.id for n in notes}, outbox.health(parts.engine)
    rows = [r for r in outbox.listing(parts.engine) if r["id"] in ids]
    return [r | {"error": r["error"] or _why(r, known.get(r["receiver"]))} for r in rows]


def _why(row: dict[str, Any], known: Health | None) -> str | None:
    """Of one that was not tried: an earlier one did not get through."""
    return f"waits: {known.error}" if row["status"] == "pending" and known is not None and known.error else None
