"""Judging an unchanged school again: all of it, as when nothing is remembered, and a quarter of an hour later only what
time can have changed. With the shipped rules, through the whole line.

Run in a process of its own, which prints one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.ours import BenchmarkClock, parts, peak_mib, quiet, school, shipped_rules
from monitor.cycle import run_cycle


@dataclass
class Steps:
    """When each step of the line was done."""

    done: dict[str, float] = field(default_factory=dict)

    def __call__(self, step: str) -> None:
        self.done[step] = time.perf_counter()

    def took(self, step: str, after: str) -> float:
        return self.done[step] - self.done[after]


def judged(folder: Path, database: Path, state: str) -> dict[str, Any]:
    """One poll that meets the bytes of the first one, at the time of `state`."""
    clock, steps = BenchmarkClock(state), Steps()
    ready = replace(parts(database, school(folder, "first", clock), clock, shipped_rules()), at=steps)
    began = time.perf_counter()
    result = run_cycle(ready, "school")
    seconds = time.perf_counter() - began
    ready.engine.dispose()
    return {
        "poll": seconds, "seconds": steps.took("judge", "drift"), "unknown": sum(result.unknown.values()),
        "events": len(result.events), "mib": peak_mib(),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description="An unchanged school, judged whole and then again.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True)
    asked = parser.parse_args()
    quiet()
    whole = judged(asked.folder, asked.database, "first")  # nothing has been judged yet
    again = judged(asked.folder, asked.database, "moved")
    print(json.dumps({"whole": whole, "again": again, "seconds": again["seconds"], "mib": again["mib"]}))


if __name__ == "__main__":
    main()
