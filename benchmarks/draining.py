"""How fast a backlog goes out to Slack: several channels side by side, in real time, over real connections.

`python -m benchmarks.draining [--channels 3] [--findings 60]` fills the outbox as an outage of Slack would leave it,
starts a Slack that answers at once, and notes when it was called. Slack allows a message a second and channel.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

from benchmarks.ours import quiet
from benchmarks.waiting import Clock
from monitor.decide import route
from monitor.deliver.render import Renderer
from monitor.deliver.samples import FINDING
from monitor.deliver.slack import SlackBot
from monitor.deliver.slack_pace import MethodGate
from monitor.dispatch import deliver_waiting
from monitor.domain.message import Manner, Reason, Route
from monitor.line.parts import Parts, RuleSet
from monitor.store import outbox
from monitor.store.engine import migrate, open_engine
from tests.peers.slack import Json, SlackPeer

TEMPLATES = Path(__file__).parents[1] / "templates"


class Timed(SlackPeer):
    """Has any channel, and notes when each message and each line in a thread arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.messages_at: dict[str, list[float]] = defaultdict(list)
        self.calls_at: dict[str, list[float]] = defaultdict(list)

    def act(self, method: str, asked: Json, raw: bytes) -> Json | str:
        channel, now = str(asked["channel"]), time.monotonic()
        self.calls_at[channel].append(now)
        if "thread_ts" not in asked:
            self.messages_at[channel].append(now)
        return {"ok": True, "channel": channel, "ts": f"1795000000.{len(self.calls_at[channel]):06}"}


def drained(folder: Path, channels: int, findings: int) -> Timed:
    """A Slack to which all of them were told."""
    engine, clock, slack = open_engine(f"sqlite:///{folder / 'draining.sqlite'}"), Clock(), Timed()
    migrate(engine)
    renderer, gate = Renderer([TEMPLATES]), MethodGate(clock)
    with slack:
        bots = {f"C0CHANNEL{i}": SlackBot("xoxb-1", f"C0CHANNEL{i}", renderer, slack.url) for i in range(channels)}
        for bot in bots.values():
            bot.client.gate = gate
        manners = {name: Manner(rate=(1, 1.0), living=True) for name in bots}
        parts = Parts(engine, clock, RuleSet((), ""), (Route(tuple(bots)),), dict(bots), {}, folder, manners=manners)
        now, content = clock.now(), {"finding": FINDING}
        outbox.say(engine, [
            route.notification(name, Reason.OPENED, f"f{i}", f"Finding {i}", "school", now, content)
            for i in range(findings) for name in bots
        ])  # fmt: skip
        while outbox.counts(engine):
            deliver_waiting(parts)
    engine.dispose()
    return slack


def said(slack: Timed, findings: int) -> str:
    """The slowest channel while many wait, then its last ones, which get a line in the thread each."""
    crowd = findings - outbox.CROWD
    slowest = max(slack.messages_at.values(), key=lambda at: at[-1] - at[0])
    gaps = [b - a for at in slack.calls_at.values() for a, b in pairwise(at)]
    many, last = crowd / (slowest[crowd] - slowest[0]), (outbox.CROWD - 1) / (slowest[-1] - slowest[crowd])
    return (
        f"{len(slack.messages_at)} channels, {findings} findings each: {many:.2f} a second and channel while many "
        f"wait, {last:.2f} at the end; at least {min(gaps):.2f} s between two calls to a channel; "
        f"all in {slowest[-1] - slowest[0]:.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="A backlog goes out to Slack.")
    parser.add_argument("--channels", type=int, default=3)
    parser.add_argument("--findings", type=int, default=60, help="that wait for each channel")
    asked = parser.parse_args()
    quiet()
    for channels in sorted({1, asked.channels}):
        with tempfile.TemporaryDirectory(prefix="draining-") as folder:
            print(said(drained(Path(folder), channels, asked.findings), asked.findings), flush=True)


if __name__ == "__main__":
    main()
