"""Receivers that do what a test says, and a bench on which messages wait for them."""

from __future__ import annotations

import threading
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from monitor.decide import route
from monitor.decide.address import addressed
from monitor.dispatch import Pace, deliver_waiting
from monitor.domain.message import Channel, Manner, Notification, Reason, Receipt, Route, Sending
from monitor.line.parts import Parts, RuleSet
from monitor.store import outbox
from monitor.store.engine import open_engine
from tests.peers import fresh
from tests.peers.watch import VirtualClock

SENT = Receipt(Sending.SENT, reference="ok")
FULL = Pace(chance=lambda: 1.0)


@dataclass
class Scripted:
    """Answers each message with the next receipt of its script, and with `sent` when that is over."""

    script: list[Receipt | Exception] = field(default_factory=list)
    got: list[Notification] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    before: Callable[[Notification], None] = lambda _note: None

    def send(self, notification: Notification) -> Receipt:
        self.before(notification)
        self.got.append(notification)
        receipt = self.script.pop(0) if self.script else SENT
        if isinstance(receipt, Exception):
            raise receipt
        return receipt

    def find(self, notification: Notification) -> str | None:
        self.asked.append(notification.id)
        return self.found.get(notification.id)

    def check(self) -> str | None:
        return None

    def titles(self) -> list[str]:
        return [str(n.content["title"]) for n in self.got]


class Post:
    """An outbox on disk, with receivers. `post.write("slack", "one"); post.deliver()`."""

    def __init__(self, folder: Path, manners: Mapping[str, Manner] | None = None, **channels: Channel) -> None:
        self.path, self.clock = folder / "access-monitor.sqlite", VirtualClock()
        fresh.database(self.path)
        self.engine = open_engine(f"sqlite:///{self.path}")
        self.parts = Parts(
            self.engine, self.clock, RuleSet((), "none"), (Route(tuple(channels)),), channels, {}, folder,
            manners=manners or {},
        )  # fmt: skip

    def write(self, receiver: str, *titles: str, reason: Reason = Reason.OPENED, **content: Any) -> list[Notification]:
        now = self.clock.now()
        notes = [
            route.notification(receiver, reason, f"{t}:{uuid.uuid4().hex}", t, "school", now, content) for t in titles
        ]
        said = [n for n, _ in addressed([(n, None) for n in notes], self.parts.manners, self.parts.zone)]
        outbox.say(self.engine, said)
        return said

    def deliver(self, pace: Pace = FULL) -> Counter[str]:
        return deliver_waiting(self.parts, pace)

    def rows(self, *statuses: str) -> list[dict[str, Any]]:
        return outbox.listing(self.engine, statuses)

    def statuses(self) -> list[str]:
        return [r["status"] for r in self.rows()]

    def replace(self, **how: Any) -> None:
        self.parts = replace(self.parts, **how)

    def close(self) -> None:
        self.engine.dispose()


class Slow(Scripted):
    """Holds each message until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.began, self.may_end = threading.Event(), threading.Event()

    def send(self, notification: Notification) -> Receipt:
        self.began.set()
        assert self.may_end.wait(20)
        return super().send(notification)


def by_title(notes: list[Notification]) -> dict[str, list[Notification]]:
    found: dict[str, list[Notification]] = defaultdict(list)
    for note in notes:
        found[str(note.content["title"])].append(note)
    return dict(found)
