"""A school that is connected in Truto, and everything that reads it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from monitor.decide.access import privileged
from monitor.domain.reading import Source
from monitor.simulator import School, SchoolServer, TrutoServer
from monitor.sources.learnworlds import LearnWorlds
from monitor.sources.truto import Truto
from tests.peers.tables import Polled, Remembered, polled
from tests.peers.watch import START, VirtualClock, Watch

FAST = (5000, 1.0)
CONTEXT = ssl.create_default_context()  # made once: it takes longer than a poll


@dataclass
class Privileged(Remembered):
    """A recall that also knows who is privileged, as the staging does."""

    got: Polled | None = None

    def privileged(self) -> list[str]:
        return sorted(i for i, a in self.got.accounts.items() if privileged(a)) if self.got else []


@dataclass
class Connected:
    """One school, its own server, Truto in front of it, and a clock that nobody waits for."""

    school: School
    server: SchoolServer
    truto: TrutoServer
    clock: VirtualClock
    recall: Privileged = field(default_factory=Privileged)

    def source(self, api: str = "unified", *, alone: bool = False, **how: Any) -> Truto:
        """`alone`: by the address of the MCP server and nothing else."""
        how = {"clock": self.clock, "rate": FAST, "kept_fields": ("company",), **how}
        mcp = self.truto.mcp_url if api == "mcp" else None
        who = (None, None) if alone else (self.truto.token, self.truto.account)
        how.setdefault("transport", httpx.HTTPTransport(verify=CONTEXT))
        return Truto("school", self.truto.url, *who, api=api, mcp_url=mcp, **how)  # type: ignore[arg-type]

    def direct(self) -> LearnWorlds:
        return LearnWorlds(
            "school",
            self.server.url,
            self.server.client_id,
            self.server.token,
            clock=self.clock,
            rate=FAST,
            transport=httpx.HTTPTransport(verify=CONTEXT),
        )

    def read(self, source: Source | None = None) -> Polled:
        """A poll that remembers the one before."""
        return polled((source or self.source()).read(self.recall), self.recall)

    def asked(self, path: str) -> int:
        """How often Truto was asked for something under this path."""
        return sum(a.path.startswith(path) for a in self.truto.log)


def everything(source: Source) -> Polled:
    """A first poll, the exact roles of those that it found privileged included."""
    recall = Privileged(got=Polled())
    got = Polled()
    for batch in source.read(recall):
        got = polled([batch], got=got)
        recall.got = got
    return got


@contextmanager
def connected(users: int = 450) -> Iterator[Connected]:
    clock = VirtualClock()
    school = School(users=users, seed=1, now=START.timestamp())
    with (
        SchoolServer(school, clock=lambda: clock.now().timestamp(), rate=None) as server,
        TrutoServer(server) as truto,
    ):
        yield Connected(school, server, truto, clock)


CONFIG = """
[[sources]]
name = "school"
kind = "truto"
api = "{api}"
url = "{url}"
token = {{ env = "TRUTO_TOKEN" }}
integrated_account_id = "{account}"
mcp_url = {{ env = "TRUTO_MCP_URL" }}
rate = "5000/1s"
admin_limit = {admin_limit}

[[receivers]]
name = "out"
kind = "files"
path = "./messages"

[[routes]]
to = ["out"]
"""


@contextmanager
def watched_through_truto(folder: Path, api: str, users: int = 300) -> Iterator[tuple[Connected, Watch]]:
    """A connected school that is watched from `folder`."""
    with connected(users) as c, pytest.MonkeyPatch.context() as environment:
        environment.setenv("TRUTO_TOKEN", c.truto.token)
        environment.setenv("TRUTO_MCP_URL", c.truto.mcp_url)
        text = CONFIG.format(api=api, url=c.truto.url, account=c.truto.account, admin_limit=c.school.admins)
        yield c, Watch(folder, c.server, c.clock, text)
