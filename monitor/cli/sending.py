"""A marked test message, through the outbox, as a real one would go."""

from __future__ import annotations

import sys
import uuid
from typing import Any

from monitor import wiring
from monitor.cli.clock import SystemClock
from monitor.config import Config
from monitor.dispatch import deliver_waiting, marked_messages
from monitor.domain.message import Reason
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
    deliver_waiting(parts)
    ids = {n.id for n in notes}
    return [r for r in outbox.listing(parts.engine) if r["id"] in ids]
