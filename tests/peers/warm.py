"""A process that has imported the program and forks for each command: each is a real process that can be killed,
without the seconds that Python takes to import everything. `run` is subprocess.run for `python -m monitor`, or for
another function of the tests.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo


def run(
    arguments: list[str], env: dict[str, str], seconds: float = 120, function: str = "monitor.cli:main"
) -> subprocess.CompletedProcess[str]:
    """A command that takes longer gets SIGKILL."""
    with tempfile.TemporaryDirectory() as folder:
        asked = {
            "args": arguments, "env": env, "cwd": str(Path.cwd()), "folder": folder, "seconds": seconds,
            "function": function,
        }  # fmt: skip
        server = _server()
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps(asked) + "\n")
        server.stdin.flush()
        code = int(server.stdout.readline())
        said = (Path(folder, name).read_text(encoding="utf-8") for name in ("1", "2"))
        return subprocess.CompletedProcess(arguments, code, *said)


@cache
def _server() -> subprocess.Popen[str]:
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.peers.warm"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    atexit.register(server.kill)
    return server


def _serve() -> None:
    import alembic.command  # noqa: F401

    from monitor import wiring
    from monitor.cli import app, polling  # noqa: F401
    from monitor.cli.clock import SystemClock
    from monitor.domain.company import BusinessHours, Company

    app.register()
    # the shipped rules as a config without hours of its own has them parsed
    wiring.rules_in(wiring.shipped("rules"), SystemClock().now().date(), Company({}, BusinessHours(ZoneInfo("UTC"))))
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _be(asked)
        killer = threading.Timer(asked["seconds"], os.kill, (child, signal.SIGKILL))
        killer.start()
        _, status = os.waitpid(child, 0)
        killer.cancel()
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _be(asked: dict[str, Any]) -> None:
    """The command, in a process of its own; it never returns."""
    code = 70
    try:
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        _plug(asked["folder"])
        sys.argv = ["access-monitor", *asked["args"]]
        module, _, name = asked["function"].partition(":")
        getattr(importlib.import_module(module), name)()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _plug(folder: str) -> None:
    for number in (0, 1, 2):
        name = os.devnull if number == 0 else str(Path(folder, str(number)))
        found = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(found, number)
        os.close(found)


if __name__ == "__main__":
    _serve()
