"""How Truto is asked, by its unified and its proxy API, and what its errors mean.

Truto hands requests on to LearnWorlds while we wait; nothing is stored there. A refusal may be its own or LearnWorlds',
and only `truto_is_remote_error` tells them apart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import msgspec
from msgspec import Raw, Struct

from monitor.domain.observed import Account, Activity, Grant, Group, Role
from monitor.errors import AuthError, SourceError
from monitor.sources.answer import Ask, Refused, sanitised, worth_a_retry
from monitor.sources.http import Reader
from monitor.sources.learnworlds_records import Page, activity_of, decode_page, decode_role, decode_user, role_of
from monitor.sources.truto_records import (
    Envelope,
    RoleList,
    decode_envelope,
    native_account,
    native_group,
    unified_account,
    unified_group,
    unified_role,
)

MOST_PER_PAGE = 200  # what LearnWorlds allows; Truto hands it on
EVEN_SUSPENDED = {"remote_query[include_suspended]": "true"}  # LearnWorlds hides suspended users unless asked for
RECONNECT = "somebody who administers the school has to connect it again in Truto; until then nothing can be read"

Params = dict[str, str | int]


class TrutoPage(NamedTuple):
    """One page of records, and how the next one is asked for."""

    records: list[Raw]
    cursor: str | None
    fault: str | None  # why more is missing than the next page
    total: int | None = None  # of all pages, where LearnWorlds' own `meta` is handed on


class Way(Protocol):
    """One of the ways to read the same school."""

    @property
    def endpoint(self) -> str: ...
    @property
    def filters(self) -> Mapping[str, str]: ...
    @property
    def shows_suspended(self) -> bool:
        """Whether the API can be told to show suspended users."""
        ...

    def begin(self, reader: Reader) -> None:
        """What has to be asked before anything is read."""
        ...

    def listing(self, kind: str, cursor: str | None, limit: int = MOST_PER_PAGE) -> Ask:
        """Raises SourceError where there is no way to ask for it."""
        ...

    def page(self, kind: str, body: bytes) -> TrutoPage: ...
    def user(self, account_id: str) -> Ask: ...
    def one_group(self, group_id: str) -> Ask: ...
    def one(self, body: bytes) -> bytes: ...
    def account(self, raw: Raw, roles: RoleList, kept: Collection[str]) -> tuple[Account, Activity, str | None]: ...
    def role(self, raw: Raw) -> Role: ...
    def group(self, raw: Raw) -> tuple[Group, list[Grant] | None]: ...


class Listed:
    """What unified and proxy API have in common: the address of a list, its envelope, and its cursor."""

    shows_suspended = True

    def __init__(self, endpoint: str, integrated_account: str) -> None:
        self.endpoint, self._whose = endpoint, {"integrated_account_id": integrated_account}
        self.filters = EVEN_SUSPENDED

    def begin(self, reader: Reader) -> None:
        pass

    def listing(self, kind: str, cursor: str | None, limit: int = MOST_PER_PAGE) -> Ask:
        more: Params = {} if cursor is None else {"next_cursor": cursor}
        suspended: Params = dict(EVEN_SUSPENDED) if kind == "users" else {}
        return Ask(f"{self.endpoint}/{kind}", {**self._whose, **suspended, "limit": limit, **more})

    def page(self, kind: str, body: bytes) -> TrutoPage:
        return page_of(body)

    def user(self, account_id: str) -> Ask:
        return Ask(f"{self.endpoint}/users/{quote(account_id, safe='')}", {**self._whose, **EVEN_SUSPENDED})

    def one_group(self, group_id: str) -> Ask:
        return Ask(f"{self.endpoint}/groups/{quote(group_id, safe='')}", self._whose)

    def one(self, body: bytes) -> bytes:
        return one_of(body)


class Native:
    """Records as LearnWorlds itself writes them."""

    def account(self, raw: Raw, roles: RoleList, kept: Collection[str]) -> tuple[Account, Activity, str | None]:
        user = decode_user(raw)
        account, by = native_account(user, roles, kept)
        return account, activity_of(user), by

    def role(self, raw: Raw) -> Role:
        return role_of(decode_role(raw))

    def group(self, raw: Raw) -> tuple[Group, list[Grant] | None]:
        return native_group(raw)


class Unified(Listed):
    def __init__(self, integrated_account: str) -> None:
        super().__init__("/unified/user-directory", integrated_account)

    def account(self, raw: Raw, roles: RoleList, kept: Collection[str]) -> tuple[Account, Activity, str | None]:
        return unified_account(raw, roles, kept)

    def role(self, raw: Raw) -> Role:
        return unified_role(raw)

    def group(self, raw: Raw) -> tuple[Group, list[Grant] | None]:
        return unified_group(raw)


class Proxy(Native, Listed):
    def __init__(self, integrated_account: str) -> None:
        super().__init__("/proxy", integrated_account)


def page_of(body: bytes, *, numbered: bool = False) -> TrutoPage:
    """`result` is a list, or LearnWorlds' own `{data, meta}`: both are documented. `numbered`: pages can be asked for
    by number, so that `meta` takes the place of a cursor."""
    envelope = decode_envelope(body) if body.lstrip()[:1] == b"{" else Envelope()
    page = native_page(bytes(envelope.result) or body)
    cursor = None if envelope.next_cursor in (None, "") else str(envelope.next_cursor)
    fault = "Truto says that the answer is partial (is_partial_response)" if envelope.is_partial_response else None
    if isinstance(page, list):
        return TrutoPage(page, cursor, fault)
    assert page.data is not None  # or native_page had refused it
    number, of = (page.meta.page or 1, page.meta.totalPages) if page.meta else (1, 1)
    total = page.meta.totalItems if page.meta else None
    if cursor is None and number < of:
        if numbered:
            return TrutoPage(page.data, str(number + 1), fault, total)
        fault = f"LearnWorlds has {of} pages, and Truto gave no cursor after page {number}"
    return TrutoPage(page.data, cursor, fault, total)


def native_page(body: bytes) -> Page | list[Raw]:
    page: Page | list[Raw] = decode_page(body)
    if isinstance(page, Page) and (page.data is None or page.success is False):
        raise SourceError(f"answered 200 without records: {sanitised(body)}")
    return page


def one_of(body: bytes) -> bytes:
    """A single record stands bare; some methods wrap it in `result`."""
    found = msgspec.json.decode(body, type=dict[str, Raw])
    inner = found.get("result") or found.get("data") if "id" not in found else None
    return bytes(inner or body)


# errors


class OwnRefused(Refused):
    """Refused by Truto itself: it says nothing about what there is in the school."""

    @property
    def gone(self) -> bool:
        return False


class Said(Struct):
    """An error of Truto, with the provider's when it was the provider that refused."""

    statusCode: int | None = None
    error: Any = None
    message: Any = None
    truto_is_remote_error: bool | None = None
    raw_response: Any = None
    truto_error_insight: Any = None


class TrutoToken:
    """The API token: it cannot be renewed. Without one, the address of the MCP server is all the authority."""

    def __init__(self, token: str | None, *secrets: str) -> None:
        self._token, self._secrets = (token or "").strip(), secrets

    def token(self, reader: Reader) -> str:
        if not (self._token.isascii() and (self._token.isprintable() or not self._token)):
            raise AuthError("the API token has characters that cannot be sent; copy it again")
        return self._token

    def renew(self, reader: Reader, stale: str) -> str:
        raise AuthError(_OWN_401)

    def secrets(self) -> tuple[str, ...]:
        return tuple(s for s in (self._token, *self._secrets) if s)

    def explain(self, ask: Ask, status: int, body: bytes, after: float | None) -> SourceError | None:
        """None for what is no error of Truto's: a page of a gateway, say."""
        try:
            said = msgspec.json.decode(body, type=Said)
        except msgspec.DecodeError:
            return None
        # /custom/ hands on LearnWorlds' own answers, which have no statusCode.
        remote = said.truto_is_remote_error or (ask.path.startswith("/custom/") and said.statusCode is None)
        words = self._words(said, body)
        if status == 401:
            return AuthError(f"{ask}: {_REMOTE_401 if remote else _OWN_401}: {words}")
        who, advice = ("LearnWorlds, through Truto,", _REMOTE) if remote else ("Truto", _OWN)
        if ask.json is not None:  # an MCP server
            advice = advice | _MCP
        message = f"{ask}: {who} answers HTTP {status}: {words}{advice.get(status, '')}"
        kind = Refused if remote else OwnRefused
        return kind(message, status, words, retry=worth_a_retry(status, after), after=after)

    def _words(self, said: Said, body: bytes) -> str:
        """`message` may be empty, above all when it was LearnWorlds that refused."""
        for words in (said.message, said.raw_response, said.error):
            if words:
                text = words.encode() if isinstance(words, str) else msgspec.json.encode(words)
                return sanitised(text, self.secrets())
        return sanitised(body, self.secrets())


_OWN_401 = (
    "Truto refused the API token (401). Create one in Truto's dashboard, in the environment of this integrated account"
)
_REMOTE_401 = f"LearnWorlds refused the credentials that Truto holds for the school (401): {RECONNECT}"
_REMOTE = {
    403: ". What Truto is connected as may not read this: check the school's plan and the API client in LearnWorlds",
    429: ". Something else may use the same API client: lower the rate in the config",
}
_MCP = {404: ". There is no such MCP server: it may have expired; make one in Truto and put its address in mcp_url"}
_OWN = {
    403: ". The token may not do this: check what it is allowed to in Truto",
    404: ". Truto has no such resource or account for this token: check integrated_account_id in the config",
    429: ". Something else may use the same token or integrated account: lower the rate in the config",
    503: ". Truto may have blocked the account, which only its support can undo",
}
