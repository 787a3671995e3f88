"""The worked example of docs/sources.md runs: a file beside the config, polled through the whole line."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from monitor import wiring
from monitor.config import load
from monitor.cycle import CycleResult, run_cycle
from monitor.domain.reading import Outcome
from monitor.errors import ConfigError
from monitor.store import queries
from monitor.store.engine import open_engine
from tests.peers.watch import VirtualClock

ROOT = Path(__file__).parents[2]
SOURCES = (ROOT / "docs" / "sources.md").read_text(encoding="utf-8").split("## A source of your own\n")[1]
CONFIG = """
[[receivers]]
name = "out"
kind = "files"
path = "./messages"

[[routes]]
to = ["out"]
"""
AGENTS: list[dict[str, Any]] = [
    {"id": 1, "mail": "ann@x.test", "admin": True, "locked": False},
    {"id": 2, "mail": "bob@x.test", "admin": False, "locked": True},
    {"id": 3, "mail": "cyd@x.test"},
]


class Helpdesk(ThreadingHTTPServer):
    """Two agents a page."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.agents, self.broken = [*AGENTS], False


class Answers(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        desk = self.server
        assert isinstance(desk, Helpdesk)
        status, body = self.answer(desk)
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def answer(self, desk: Helpdesk) -> tuple[int, Any]:
        if self.headers["Authorization"] != "Bearer hunter2":
            return 401, {"error": "no"}
        found = re.fullmatch(r"/api/agents/(\d+)", self.path)
        if found:
            one = [a for a in desk.agents if str(a["id"]) == found[1]]
            return (200, one[0]) if one else (404, {"error": "not found"})
        page = int(self.path.rpartition("=")[2])
        if desk.broken and page == 2:
            return 403, {"error": "not allowed"}
        return 200, {"agents": desk.agents[page * 2 - 2 : page * 2], "pages": -(-len(desk.agents) // 2)}

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def desk() -> Iterator[Helpdesk]:
    with Helpdesk() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def folder(tmp_path: Path, desk: Helpdesk, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example as documented, but for the address."""
    monkeypatch.setenv("HELPDESK_TOKEN", "hunter2")
    (toml, program) = (re.search(rf"^```{kind}\n(.*?)^```", SOURCES, re.M | re.S) for kind in ("toml", "python"))
    assert toml
    assert program
    assert len(program[1].splitlines()) < 150
    (tmp_path / "helpdesk.py").write_text(program[1])
    text = toml[1].replace("https://helpdesk.example.com", f"http://127.0.0.1:{desk.server_address[1]}") + CONFIG
    (tmp_path / "config.toml").write_text(text)
    return tmp_path


def poll(folder: Path) -> CycleResult:
    parts = wiring.parts(load(folder / "config.toml"), VirtualClock(), stream=io.StringIO())
    try:
        return run_cycle(parts, "helpdesk")
    finally:
        parts.engine.dispose()


def accounts(folder: Path) -> list[tuple[str, str | None, str | None, bool | None]]:
    engine = open_engine(f"sqlite:///{folder}/access-monitor.sqlite")
    rows = list(queries.accounts(engine))
    engine.dispose()
    return sorted((r["id"], r["status"], r["level"], r["privileged"]) for r in rows)


def test_the_example_is_polled(folder: Path, desk: Helpdesk) -> None:
    """Every agent is there; one who left is gone, and one on a page that cannot be read is not."""
    assert poll(folder).snapshot.outcome is Outcome.COMPLETE
    assert accounts(folder) == [
        ("1", "active", "admin", True),
        ("2", "suspended", "user", False),
        ("3", None, None, None),
    ]
    desk.broken, desk.agents = True, [*desk.agents[:2], {"id": 4}]
    assert poll(folder).snapshot.outcome is Outcome.PARTIAL
    assert [a[0] for a in accounts(folder)] == ["1", "2", "3"]
    desk.broken = False
    assert poll(folder).snapshot.outcome is Outcome.COMPLETE
    assert [a[0] for a in accounts(folder)] == ["1", "2", "4"]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("1 +", "SyntaxError: invalid syntax"),
        ("x = 1", "AttributeError: module .* has no attribute 'source'"),
        ("def source(**how): raise ValueError(how['secrets']['token'])", r"ValueError: \*\*\*"),
        (None, "FileNotFoundError: "),
    ],
)
def test_a_file_that_cannot_be_used(folder: Path, program: str | None, said: str) -> None:
    """One error that names the setting and the file, and no secret."""
    path = folder / "helpdesk.py"
    path.unlink() if program is None else path.write_text(program)
    with pytest.raises(ConfigError, match=rf"sources\[0\]\.file: {folder}/helpdesk\.py: {said}") as caught:
        poll(folder)
    assert "hunter2" not in str(caught.value)
