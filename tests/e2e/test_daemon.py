"""The daemon as a real process: it starts, tells systemd, reloads all or nothing, and stops cleanly."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitor.cli.clock import SystemClock
from monitor.simulator import School, SchoolServer
from monitor.store.locks import held
from tests.peers import warm
from tests.peers.watch import CONFIG, VirtualClock, Watch

CLOCK = SystemClock()


@contextmanager
def running(
    folder: Path, every: str = "1h"
) -> Iterator[tuple[Watch, subprocess.Popen[str], Callable[[str], str], School]]:
    """The daemon on a small school; the third value waits for a line of its log."""
    now = CLOCK.now().timestamp
    school = School(users=60, now=now())
    with (
        SchoolServer(school, clock=now, rate=None) as server,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        (folder / "token").write_text(server.token)
        text = CONFIG.format(
            url=server.url, client_id=server.client_id, admin_limit=9,
            secret=f'token = {{ file = "{folder / "token"}" }}\nevery = "{every}"',
        )  # fmt: skip
        watch = Watch(folder, server, VirtualClock(), text)
        address = str(folder / "notify")
        Path(address).unlink(missing_ok=True)
        systemd.bind(address)
        systemd.settimeout(20)
        process = subprocess.Popen(
            [sys.executable, "-m", "monitor", "--config", str(watch.config), "run"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, "NOTIFY_SOCKET": address},
        )  # fmt: skip
        deadline = threading.Timer(60, process.kill)  # what is never said ends the wait, and fails the test
        deadline.start()
        lines: list[str] = []

        def until(words: str) -> str:
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line)
                if words in line:
                    return line
            raise AssertionError(f"never said: {words}\n{''.join(lines)}")

        try:
            assert systemd.recv(100) == b"READY=1"
            yield watch, process, until, school
        finally:
            deadline.cancel()
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()


def test_it_polls_tells_reloads_and_stops(tmp_path: Path) -> None:
    """The first poll comes at once, its message too. SIGHUP reads config and rules anew: a fault is told, and what was
    in force stays in force. SIGTERM ends it with 0 and nothing half-done.
    """
    with running(tmp_path) as (watch, process, until, school):
        until("delivered")
        _another_poll_is_refused(watch)
        good = watch.config.read_text().replace('every = "1h"', 'every = "1s"')
        watch.config.write_text(good.replace("kind =", "knd ="))
        process.send_signal(signal.SIGHUP)
        assert "sources" in until("not reloaded")
        watch.config.write_text(good)
        school.suspend(school.holders("Admin")[0])
        process.send_signal(signal.SIGHUP)
        until("reloaded")
        assert "changes=1" in until("polled")
        process.send_signal(signal.SIGTERM)
        until("stopped")
        assert process.wait(timeout=20) == 0
        assert watch.messages()[0]["reason"] == "baseline"
        assert not list(tmp_path.glob(".staging-*"))


def _another_poll_is_refused(watch: Watch) -> None:
    """While a process polls a source, one that is asked to says so, and leaves it alone."""
    (lock,) = watch.folder.glob(".polling-*")
    with held(lock, CLOCK, patience=20) as mine:
        assert mine
        asked = len(watch.server.log)
        refused = watch.command("poll")
    assert refused.returncode == 1
    assert "polled by another process" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert len(watch.server.log) == asked


def test_an_edited_rule_is_taken_over(tmp_path: Path) -> None:
    """When it is saved; a faulty one is told in the channel, with file and line, and changes nothing. A restart with
    one goes on with the last good set: somebody's half-done edit must not end the watching.
    """
    shutil.copytree("rules", tmp_path / "rules")
    rule = next((tmp_path / "rules").rglob("dormant-account.toml"))
    good = rule.read_text()
    with running(tmp_path) as (watch, process, until, _school):
        until("delivered")
        rule.write_text(good.replace('severity   = "low"', 'severity   = "medium"'))
        assert "rules=" in until("reloaded")
        rule.write_text(good.replace("account.idle_days", "account.idle_dayz"))
        until("not reloaded")
        until("delivered")
        told = watch.messages()[-1]["content"]
        assert told["message"].startswith("The rules were not taken over")
        assert "dormant-account.toml:" in told["detail"][0]
        assert "did you mean account.idle_days?" in told["detail"][0]
        process.send_signal(signal.SIGTERM)
        until("stopped")
    rule.write_text(good.replace("match", "mtach"))
    with running(tmp_path) as (watch, _, until, _school):
        until("delivered")
        assert watch.messages()[-1]["content"]["message"] == "The rules were not taken over: 1 fault"


@pytest.mark.parametrize("wrong", ["", "kind = 7", "[[sources]]"])
def test_a_wrong_config_ends_with_2(tmp_path: Path, wrong: str) -> None:
    """At once, with a sentence, not with a trace."""
    (tmp_path / "config.toml").write_text(wrong)
    done = warm.run(["--config", str(tmp_path / "config.toml"), "run"], dict(os.environ))
    assert done.returncode == 2
    assert "config.toml" in done.stderr
    assert "Traceback" not in done.stderr
