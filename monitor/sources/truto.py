"""A LearnWorlds school, read through Truto: by its unified user directory, its proxy, or its MCP server.

The three give the same accounts, since LearnWorlds' own record lies in each of their answers and is read first.
Nothing is ever written.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Literal
from urllib.parse import urlsplit

import httpx

from monitor.domain.reading import Batch, Clock, KeepPage, Progress, Proof, Recall, Scope, Sizes
from monitor.errors import SourceError
from monitor.sources.gate import RateGate
from monitor.sources.http import Caps, Inline, Reader, open_client
from monitor.sources.learnworlds_records import KEPT_FIELDS
from monitor.sources.scopes import silent
from monitor.sources.table import Nothing
from monitor.sources.truto_api import MOST_PER_PAGE, Proxy, TrutoToken, Unified, Way
from monitor.sources.truto_connection import check
from monitor.sources.truto_mcp import Mcp
from monitor.sources.truto_pages import Settings
from monitor.sources.truto_reading import TrutoReading

Api = Literal["unified", "proxy", "mcp"]
MCP_BEGINS = 3  # requests: initialize, initialized, tools/list

Pool = Callable[[int], Executor]


class Truto:
    """The source of one integrated account. `rate`: LearnWorlds' limit, narrower than Truto's own 50 in 10 s."""

    def __init__(
        self,
        name: str,
        url: str = "https://api.truto.one",
        token: str | None = None,
        integrated_account: str | None = None,
        *,
        api: Api = "unified",
        mcp_url: str | None = None,
        clock: Clock,
        rate: tuple[int, float] = (30, 10.0),
        confirm_limit: int = 200,
        kept_fields: Iterable[str] = KEPT_FIELDS,
        read_members: bool = True,
        read_details: bool = False,
        pages_ahead: int = 4,
        transport: httpx.BaseTransport | None = None,
        progress: Progress | None = None,
        gate: RateGate | None = None,
        caps: Caps | None = None,
        pool: Pool = ThreadPoolExecutor,
    ) -> None:
        """`mcp_url` lies below `url`, since the token is sent there."""
        self.name, self.proof, self.rate = name, Proof(), rate
        self.resumes, self.cut_off = True, False
        self._only: str | None = None
        self._url, self._api, self._mcp = url.strip().rstrip("/"), api, (mcp_url or "").strip()
        self._path = urlsplit(self._mcp).path
        self._token = TrutoToken(token, self._mcp, self._path.rpartition("/")[2])
        self._clock, self._gate = clock, gate or RateGate(clock, *rate)
        self._caps = caps
        self._transport, self._pool, self._ahead = transport, pool, max(1, pages_ahead)
        self._settings = Settings(
            integrated_account,
            confirm_limit,
            frozenset(kept_fields),
            read_members,
            read_details and integrated_account is not None,
            progress or silent,
        )

    def read(self, recall: Recall) -> Iterator[Batch]:
        way = self._way()
        self.proof = Proof(endpoint=self._url + way.endpoint)
        with self._reader(self.proof, recall.keep_page()) as reader:
            reading = TrutoReading(reader, recall, self._settings, way)
            reading.goes_on = self.resumes
            yield from reading.all() if self._only is None else reading.only(self._only)
            self.cut_off = reading.cut_off

    def cost(self, sizes: Sizes) -> dict[str, int]:
        """Truto makes one request of each of ours; `begin`: what is asked before anything is read."""
        settings, own = self._settings, self._settings.integrated_account is not None
        found = {"begin": own + (MCP_BEGINS if self._api == "mcp" else 0), Scope.ROLES: 1}
        found |= {Scope.USERS: _pages(sizes.accounts), Scope.GROUPS: _pages(len(sizes.groups))}
        if settings.read_members and own:
            found["members"] = sum(map(_pages, sizes.groups))
        if settings.read_details:
            found[Scope.DETAILS] = sizes.privileged
        return found

    def one_account(self, account_id: str) -> Truto:
        """The same school, of which only this account is read."""
        lane = copy.copy(self)
        lane._only, lane.resumes, lane.proof = account_id, False, Proof()
        return lane

    def check(self) -> str | None:
        """What is wrong with the connection and what to do, or None. Asks for one record of each kind."""
        with self._reader(Proof()) as reader:
            try:
                return check(TrutoReading(reader, Nothing(), self._settings, self._way()))
            except SourceError as error:
                return str(error)

    def _way(self) -> Way:
        if self._api == "mcp":
            return Mcp(self._path, self._token)
        account = self._settings.integrated_account or ""
        return Unified(account) if self._api == "unified" else Proxy(account)

    @contextmanager
    def _reader(self, proof: Proof, keep: KeepPage | None = None) -> Iterator[Reader]:
        pool = self._pool(self._ahead) if self._ahead > 1 else Inline()
        accept = {"Accept": "application/json, text/event-stream"} if self._api == "mcp" else {}
        with open_client(self._transport, accept) as client:
            if self._api == "mcp":
                client.event_hooks = {"response": [partial(_keep_session, client)]}
            reader = Reader(
                client, self._gate, self._clock, proof, base=self._url, credentials=self._token,
                explain=self._token.explain, pool=pool, ahead=self._ahead, caps=self._caps,
                keep=keep,
            )  # fmt: skip
            try:
                yield reader
            finally:
                reader.close()


def _pages(records: int) -> int:
    return max(1, -(-records // MOST_PER_PAGE))


def _keep_session(client: httpx.Client, response: httpx.Response) -> None:
    """A server that gives out a session wants it with every later request (MCP, Streamable HTTP)."""
    session = response.headers.get("mcp-session-id")
    if session and session.isascii() and session.isprintable():
        client.headers["Mcp-Session-Id"] = session
