"""Progress of a poll: bars on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from monitor.cli.output import console


class Bars:
    """Progress of a poll: bars on a terminal. Elsewhere the log line at the end says it."""

    def __init__(self, bars: Progress | None) -> None:
        self._bars, self._tasks = bars, dict[str, TaskID]()

    def __call__(self, what: str, done: int, of: int | None) -> None:
        if self._bars is None:
            return
        if what not in self._tasks:
            self._tasks[what] = self._bars.add_task(what, total=of)
        self._bars.update(self._tasks[what], completed=done, total=of)


@contextmanager
def progress() -> Iterator[Bars]:
    if not sys.stderr.isatty():
        yield Bars(None)
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console(err=True), transient=True) as bars:
        yield Bars(bars)
