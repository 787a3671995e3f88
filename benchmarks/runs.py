"""Runs the programs, each in a process of its own, one after the other in every round; the median is taken.

This process stays small: what a child's peak memory is counted from is the size of the process that started it.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Told = dict[str, Any]
DATABASES = {"ours": "ours.sqlite", "floor": "floor.sqlite", "duck": "duck.db"}


def child(module: str, *args: str) -> Told:
    """What a program told in its one line of JSON."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    said: Told = json.loads(done.stdout) if done.stdout.strip() else {}
    return said


@dataclass
class Runs:
    """Everything that is measured at one size. Nothing is run twice, and nothing that no row asks for."""

    accounts: int
    folder: Path
    rounds: int
    _done: dict[str, dict[str, Told]] = field(default_factory=dict)

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        child("records", "--accounts", str(self.accounts), "--folder", str(self.folder))
        child("ours", "tables", "--folder", str(self.folder), "--database", str(self.folder / "empty.sqlite"))

    def run(self, program: str, state: str, *more: str, start: str = "", module: str = "") -> Told:
        """One run on a copy of the database `start`, or on an empty one."""
        database = self.folder / f"work.{DATABASES[program]}"
        self._clear(database)
        origin = start or ("empty.sqlite" if program != "duck" else "")
        if origin:
            shutil.copy(self.folder / origin, database)
        words = ([state] if state else []) + ["--folder", str(self.folder), "--database", str(database), *more]
        return child(module or program, *words)

    def polls(self, state: str) -> dict[str, Told]:
        """Each program's poll of a state. The databases of the first one are kept for the later ones."""
        if state not in self._done:
            if state != "first":
                self.polls("first")
            rounds = [{p: self._poll(p, state) for p in DATABASES} for _ in range(self.rounds)]
            self._done[state] = {p: _middle([r[p] for r in rounds]) for p in DATABASES}
        return self._done[state]

    def unchanged(self) -> Told:
        """Our poll that meets the very bytes of the first one."""
        self.polls("first")
        return _middle([self.run("ours", "first", start="base.ours.sqlite") for _ in range(self.rounds)])

    def _poll(self, program: str, state: str) -> Told:
        base = f"base.{DATABASES[program]}"
        told = self.run(program, state, start="" if state == "first" else base)
        if state == "first":
            (self.folder / f"work.{DATABASES[program]}").replace(self.folder / base)
        return told

    def _clear(self, database: Path) -> None:
        for path in self.folder.glob(f"{database.name}*"):
            path.unlink()


def _middle(told: list[Told]) -> Told:
    """The median of the seconds; of the rest, what the last run told; of memory, the most."""
    seconds = [t["seconds"] for t in told]
    return told[-1] | {"seconds": statistics.median(seconds), "all": seconds, "mib": max(t["mib"] for t in told)}
