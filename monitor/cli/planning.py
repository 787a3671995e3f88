"""What the polls of every source will cost, as rows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

from monitor import wiring
from monitor.cli.clock import SystemClock
from monitor.config import Config
from monitor.decide.plan import Cost
from monitor.line.poll import costs


def rows(config: Config, source: str | None) -> Iterator[dict[str, Any]]:
    parts = wiring.parts(config, SystemClock(), stream=sys.stdout, only=source)
    for name in parts.watched:
        for cost in costs(parts, name):
            yield from _scopes(cost)


def _scopes(cost: Cost) -> Iterator[dict[str, Any]]:
    for scope, requests in cost.requests.items():
        yield _row(cost, scope, requests, due=scope not in cost.later)
    yield _row(cost, "all that is due", cost.total, due=True)


def _row(cost: Cost, scope: str, requests: int, *, due: bool) -> dict[str, Any]:
    return {
        "source": cost.source, "lane": cost.lane.value, "scope": scope, "due": due, "requests": requests,
        "minutes": round(cost.seconds(requests) / 60, 1), "every_minutes": round(cost.every / 60, 1),
    }  # fmt: skip
