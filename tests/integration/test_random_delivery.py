"""Random schedules of everything that goes wrong: every message is told, none twice where we can ask, in order.

Receivers refuse for a while, are busy, take a message and drop the connection, or do not answer; the program is
killed at any step; the clock jumps. `make test-long` does it with 1,000 findings and more seeds.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
import structlog

from monitor.dispatch import Pace
from monitor.domain.message import Manner, Notification, Reason, Receipt, Sending
from monitor.errors import MonitorError
from monitor.store import outbox
from tests.peers.outgoing import Post


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Thousands of failures are meant here; conftest takes the log back."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


class Killed(BaseException):
    """kill -9: nothing behind it runs."""


@dataclass
class Flaky:
    """Takes messages as a real network does. `asked`: whether it can be asked what it has."""

    chance: random.Random
    asked: bool
    got: list[Notification] = field(default_factory=list)

    def send(self, notification: Notification) -> Receipt:
        how = self.chance.random()
        if how < 0.12:
            return Receipt(Sending.LATER, "429", retry_after=self.chance.uniform(0, 90))
        if how < 0.2:
            return Receipt(Sending.LATER, "refused the connection")
        if how < 0.24:
            return Receipt(Sending.PAUSED, "the token was revoked")
        taken = how >= 0.32
        if taken:
            self.got.append(notification)
        if how < 0.4:
            return Receipt(Sending.UNCERTAIN, "500")
        if how < 0.46:
            raise ConnectionResetError
        if how < 0.52:
            raise Killed
        return Receipt(Sending.SENT, reference=notification.id)

    def find(self, notification: Notification) -> str | None:
        if not self.asked:
            return None
        if self.chance.random() < 0.2:
            raise MonitorError("cannot be asked just now")
        return next((n.id for n in self.got if n.id == notification.id), None)

    def check(self) -> str | None:
        return None


@dataclass
class World:
    post: Post
    receivers: dict[str, Flaky]
    written: dict[str, list[Notification]]

    def problems(self) -> Iterator[str]:
        """What is untrue of what was promised."""
        for name, receiver in self.receivers.items():
            ids = [n.id for n in receiver.got]
            wanted = [n.id for n in self.written[name]]
            yield from (f"{name}: {i} was lost" for i in set(wanted) - set(ids))
            if receiver.asked:
                yield from (f"{name}: {i} came {n} times" for i, n in Counter(ids).items() if n > 1)
            first = [i for i in dict.fromkeys(ids) if i in set(wanted)]  # what the monitor says of itself aside
            if first != [i for i in wanted if i in set(ids)]:
                yield f"{name}: the order was not kept"


def world(folder: Path, seed: int, findings: int) -> World:
    chance = random.Random(seed)
    receivers = {n: Flaky(random.Random(chance.random()), asked=n != "mail") for n in ("slack", "files", "mail")}
    post = Post(folder, {"slack": Manner(rate=(1, 1.0))}, **receivers)
    written: dict[str, list[Notification]] = {n: [] for n in receivers}
    for i in range(findings):
        for reason in (Reason.OPENED, Reason.RESOLVED):
            for name in receivers:
                written[name] += post.write(name, f"finding {i}", reason=reason)
    return World(post, receivers, written)


def live(world: World, seed: int) -> None:
    """The program is started again and again, until all is said."""
    chance = random.Random(seed)

    def killed(_step: str) -> None:
        if chance.random() < 0.01:
            raise Killed

    for life in range(20_000):
        world.post.replace(owner=f"life {life}", at=killed)
        with suppress(Killed):
            world.post.deliver(Pace(chance=chance.random, most=chance.choice((3, 50, 1000))))
        jump = chance.choice((1.0, 30.0, 300.0, 900.0, -3600.0 if chance.random() < 0.2 else 60.0))
        world.post.clock.ahead(seconds=jump)
        if not outbox.counts(world.post.engine):
            return
    raise AssertionError("not everything was said")


@pytest.mark.parametrize("seed", [1])
def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path, seed: int) -> None:
    """A slice of it."""
    made = world(tmp_path, seed, findings=15)
    live(made, seed)
    assert list(made.problems()) == []
    made.post.close()


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 5))
def test_nothing_is_lost_and_nothing_doubled_among_a_thousand(tmp_path: Path, seed: int) -> None:
    """1,000 findings, 3 receivers."""
    made = world(tmp_path, seed, findings=1000)
    live(made, seed)
    assert list(made.problems()) == []
    made.post.close()


def test_the_harness_finds_what_the_outbox_prevents(tmp_path: Path) -> None:
    """Sent past the outbox, by the same receivers, messages are lost: so this test can fail."""
    made = world(tmp_path, 1, findings=15)
    for name, notes in made.written.items():
        for note in notes:
            with suppress(Killed, ConnectionResetError):
                made.receivers[name].send(replace(note))
    assert any("was lost" in p for p in made.problems())
    made.post.close()
