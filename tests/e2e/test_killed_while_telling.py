"""Processes that get SIGKILL at any moment while they tell, over real connections that fail: the promise of delivery.

Slack can be asked, so nothing comes twice there; a webhook and a file keep their id, so that a second copy is known.
"""

from __future__ import annotations

import io
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor import wiring
from monitor.cli.clock import SystemClock
from monitor.config import load
from monitor.decide import route
from monitor.deliver.samples import FINDING, RESOLVED
from monitor.dispatch import Pace, deliver_waiting
from monitor.domain.message import Notification, Reason
from monitor.store import outbox
from tests.peers import warm
from tests.peers.hook import Peer, Say, hook
from tests.peers.slack import CHANNEL, DROP_AFTER, RESET, Fault, SlackPeer, answer

CONFIG = """
[[sources]]
name = "school"
kind = "learnworlds"
url = "http://127.0.0.1:1"
client_id = "1"
token = {{ env = "TOKEN" }}

[[receivers]]
name = "slack"
kind = "slack"
token = {{ env = "TOKEN" }}
channel = "{channel}"
base_url = "{slack}"
rate = "1000/1s"

[[receivers]]
name = "hook"
kind = "webhook"
url = "{hook}"
allow_private = true

[[receivers]]
name = "files"
kind = "files"
path = "./messages"

[[routes]]
to = ["slack", "hook", "files"]
"""
RECEIVERS = ("slack", "hook", "files")
SECRETS = {**os.environ, "TOKEN": "xoxb-1"}


class Later(SystemClock):
    """The real clock, moved. Waiting moves it on: Slack's second between two messages would be most of the test."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now(self) -> datetime:
        return super().now() + timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds

    def monotonic(self) -> float:
        return super().monotonic() + self.seconds


def life() -> None:
    """One life of the program: it tells what is due for ten minutes of its clock, or until it is killed."""
    _, config, seconds, seed, mortality = sys.argv
    chance, clock = random.Random(seed), Later(float(seconds))

    def step(_name: str) -> None:
        if chance.random() < float(mortality):
            os.kill(os.getpid(), signal.SIGKILL)

    parts = replace(wiring.parts(load(Path(config)), clock, stream=io.StringIO()), at=step)
    for _ in range(20):
        deliver_waiting(parts, Pace(chance=chance.random))
        if not outbox.counts(parts.engine):
            return
        clock.sleep(30)


class Rough(SlackPeer):
    """Slack on a bad day."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.chance = random.Random(seed)

    def fault(self, method: str) -> Fault | None:
        if self.chance.random() > 0.25:
            return None
        return self.chance.choice(
            [answer(429, "", Retry_After="20"), answer(503), Fault("answer", after=True, status=500), DROP_AFTER, RESET]
        )


class Moods(list[Say]):
    """Answers of a webhook, without end."""

    def __init__(self, seed: int) -> None:
        super().__init__([Say()])
        self.chance = random.Random(seed)

    def pop(self, _index: Any = 0) -> Say:
        return self.chance.choice([Say()] * 8 + [Say(503), Say(429, headers={"Retry-After": "7"}), Say(drop=True)])


def told(config: Path, number: int) -> list[Notification]:
    """Each finding is opened and resolved, to each receiver."""
    engine = wiring.database(load(config))
    now, notes = SystemClock().now(), []
    for i in range(number):
        for reason, finding in ((Reason.OPENED, FINDING), (Reason.RESOLVED, RESOLVED)):
            content = {"finding": finding | {"fingerprint": f"{i:032x}"}}
            notes += [
                route.notification(to, reason, f"finding:{i}", f"Finding {i}", "school", now, content)
                for to in RECEIVERS
            ]
    outbox.say(engine, notes)
    engine.dispose()
    return notes


def live(config: Path, chance: random.Random, mortality: float) -> Counter[int]:
    """Started again and again: killed at a step of its own, or at any moment from outside; the clock jumps.
    Returns how the lives ended.
    """
    ended: Counter[int] = Counter()
    engine, seconds = wiring.database(load(config)), 0.0
    for each in range(1000):
        arguments = [str(config), str(seconds), str(each), str(mortality)]
        patience = chance.uniform(0.3, 2.0) if chance.random() < 0.5 else 60.0
        run = warm.run(arguments, SECRETS, patience, "tests.e2e.test_killed_while_telling:life")
        assert run.returncode in (0, -9), run.stderr
        ended[run.returncode] += 1
        seconds += chance.choice((400.0, 1000.0, 1000.0, -60.0))
        if not outbox.counts(engine):
            engine.dispose()
            return ended
    raise AssertionError("not everything was said")


def problems(notes: Sequence[Notification], slack: SlackPeer, peer: Peer, files: Path) -> Iterator[str]:
    """What is untrue of what was promised."""
    came = {
        "slack": [str(m["metadata"]["event_payload"]["outbox_id"]) for m in slack.top_level()],
        "hook": [g.headers["webhook-id"] for g in peer.got],
        "files": [p.stem for p in sorted(files.glob("*.json"), key=lambda p: p.stat().st_mtime_ns)],
    }
    for receiver, ids in came.items():
        wanted = [n.id for n in notes if n.receiver == receiver]
        yield from (f"{receiver}: {i} was lost" for i in set(wanted) - set(ids))
        if receiver != "hook":
            yield from (f"{receiver}: {i} came {n} times" for i, n in Counter(ids).items() if n > 1)
        if [i for i in dict.fromkeys(ids) if i in set(wanted)] != wanted:
            yield f"{receiver}: the order was not kept"


def killed_often(folder: Path, number: int, seed: int, mortality: float) -> Counter[int]:
    chance, config = random.Random(seed), folder / "config.toml"
    with Rough(seed) as slack, hook() as peer:
        peer.script = Moods(seed)
        config.write_text(CONFIG.format(channel=CHANNEL, slack=slack.url, hook=peer.url))
        notes = told(config, number)
        ended = live(config, chance, mortality)
    assert list(problems(notes, slack, peer, folder / "messages")) == []
    return ended


def test_killed_by_the_kernel_and_started_again(tmp_path: Path) -> None:
    """A slice."""
    assert killed_often(tmp_path, 4, seed=1, mortality=0.05)[-9] >= 2, "nobody was killed"


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 5))
def test_killed_by_the_kernel_a_hundred_times(tmp_path: Path, seed: int) -> None:
    """More findings, more lives."""
    assert killed_often(tmp_path, 200, seed=seed, mortality=0.01)[-9] >= 50
