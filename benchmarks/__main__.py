"""`python -m benchmarks [--accounts 10000,100000] [--only ROW] [--json FILE]`: a table of ratios with their targets."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.rows import ONCE, ROWS, Row
from benchmarks.runs import Runs

LARGE = 500_000  # from here on one round, since each takes minutes


def main() -> None:
    asked = arguments()
    console = Console(width=None if os.isatty(1) else 150)
    found: list[Row] = []
    for row in measured(asked, console):
        found.append(row)
    console.print(table(found))
    console.print(" ".join(f"{k} {v}" for k, v in machine().items()), soft_wrap=True)
    if asked.json:
        told = {"machine": machine(), "rows": [asdict(r) for r in found]}
        asked.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Ratios to a floor program.")
    parser.add_argument("--accounts", default="10000,100000", help="sizes, with commas between them")
    parser.add_argument("--only", choices=ROWS, help="one row; all of them unless given")
    parser.add_argument("--rounds", type=int, help="how often each program runs: 3, or 1 for large schools")
    parser.add_argument("--json", type=Path, help="write all the numbers into this file")
    parser.add_argument("--folder", type=Path, help="where the pages and databases lie; thrown away afterwards")
    return parser.parse_args()


def measured(asked: argparse.Namespace, console: Console) -> Iterator[Row]:
    sizes = [int(n) for n in asked.accounts.split(",")]
    names = [asked.only] if asked.only else list(ROWS)
    for accounts in sizes:
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=asked.folder) as folder:
            runs = Runs(accounts, Path(folder), asked.rounds or (1 if accounts >= LARGE else 3))
            console.print(f"{accounts:,} accounts: writing the pages ...")
            runs.prepare()
            for name in track(names, f"{accounts:,} accounts", console=console):
                if name not in ONCE or accounts == sizes[0]:
                    yield from ROWS[name](runs)


def table(rows: list[Row]) -> Table:
    shown = Table("accounts", "work", "measured", "target", "")
    for row in rows:
        met = "" if row.met is None else "[green]met[/]" if row.met else "[red]not met[/]"
        shown.add_row(f"{row.accounts:,}", row.work, row.measured, row.target, met)
    return shown


def machine() -> dict[str, str]:
    names = ("access-monitor", "msgspec", "httpx", "cel-expr-python", "orjson", "duckdb")
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: version(name) for name in names},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
