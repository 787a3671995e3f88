"""What a poll will cost, before it starts: requests by scope, and how long they take at the rate that is allowed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from monitor.domain.reading import Lane


class Cost(NamedTuple):
    """One lane of one source. `per_second`: requests that the rate allows."""

    source: str
    lane: Lane
    requests: Mapping[str, int]  # by scope
    later: frozenset[str]  # scopes that are read more rarely, and are not due
    per_second: float
    every: float  # seconds

    @property
    def total(self) -> int:
        return sum(n for scope, n in self.requests.items() if scope not in self.later)

    def seconds(self, requests: int | None = None) -> float:
        return (self.total if requests is None else requests) / self.per_second

    @property
    def worst(self) -> int:
        """Requests of a poll in which everything is due."""
        return sum(self.requests.values())


def expected(by_size: Mapping[str, int], asked: Mapping[str, int]) -> dict[str, int]:
    """Requests by scope: as many as polls have asked for, where they did; else by the sizes of what is recorded."""
    return {scope: asked.get(scope) or number for scope, number in by_size.items()}


def too_slow(costs: list[Cost]) -> str | None:
    """Why the polls of one source cannot keep their intervals, or None."""
    for cost in costs:
        took = cost.seconds(cost.worst)
        if took > cost.every:
            lane = "a fast lane" if cost.lane is Lane.FAST else "a poll"
            return f"{lane} takes about {minutes(took)}, and is due every {minutes(cost.every)}"
    load = sum(cost.seconds(cost.worst) / cost.every for cost in costs)
    return f"its polls together ask for {load:.0%} of what the rate allows" if load > 1 else None


def minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
