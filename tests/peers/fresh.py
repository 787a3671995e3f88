"""New databases without the time that it takes to make one, which is longer than most tests need for all the rest."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from monitor.store.engine import migrate, open_engine


def database(path: Path) -> None:
    """As the migrations make it: made once for all tests of a process, then copied."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)
    path.write_bytes(_made())


@cache
def _made() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "new.sqlite")
        engine = open_engine(f"sqlite:///{path}")
        migrate(engine)
        engine.dispose()
        return path.read_bytes()
