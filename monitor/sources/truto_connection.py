"""Whether Truto is connected to the school, and what to do where it is not."""

from __future__ import annotations

from functools import partial
from urllib.parse import quote

import msgspec
from msgspec import Raw

from monitor.domain.reading import Scope
from monitor.errors import AuthError, SourceError
from monitor.sources.answer import Ask, Refused
from monitor.sources.scopes import Part, decoded
from monitor.sources.truto_api import RECONNECT, native_page
from monitor.sources.truto_mcp import Mcp
from monitor.sources.truto_pages import TrutoPolling
from monitor.sources.truto_records import IntegratedAccount, decode_integrated

STATES = {
    "needs_reauth": f"LearnWorlds refused the credentials that Truto holds: {RECONNECT}",
    "connecting": "the connection was begun and not finished: finish it in Truto",
    "validation_error": "LearnWorlds did not accept what was entered: connect the school again in Truto",
    "post_install_error": "Truto could not finish setting it up: see its last error in Truto, and connect it again",
}

OF_CREDENTIALS = ("needs_reauth", "validation_error")  # only a person with good credentials can mend these


def begin(polling: TrutoPolling) -> None:
    """Raises SourceError when nothing can be read: an account that lost its connection is no empty school."""
    if polling.settings.integrated_account is not None:
        ask = Ask(f"/integrated-account/{quote(polling.settings.integrated_account, safe='')}")
        polling.asking("integrated_account")
        found = polling.got(Part(), "integrated_account", polling.reader.fetch(ask, decode_integrated))
        if found.status != "active":
            kind = AuthError if found.status in OF_CREDENTIALS else SourceError
            raise kind(_inactive(polling, found))
    polling.way.begin(polling.reader)
    polling.proof.filters = dict(polling.way.filters)


def _inactive(polling: TrutoPolling, found: IntegratedAccount) -> str:
    advice = STATES.get(found.status or "", "see what Truto's dashboard says of it")
    said = f" (last error: {polling.reader.clean(msgspec.json.encode(found.last_error))})" if found.last_error else ""
    return f"the integrated account is {found.status or 'without a status'}: {advice}{said}"


def check(polling: TrutoPolling) -> str | None:
    begin(polling)
    missing = polling.way.missing if isinstance(polling.way, Mcp) else ()
    if missing:
        return f"the MCP server lacks {', '.join(missing)}: make one in Truto whose methods include read"
    for kind in ("users", "roles", "groups"):
        page = polling.reader.fetch(polling.way.listing(kind, None, limit=1), partial(polling.way.page, kind)).value
    if polling.settings.read_members and polling.settings.integrated_account:
        return _check_members(polling, page.records[:1])
    return None


def _check_members(polling: TrutoPolling, groups: list[Raw]) -> str | None:
    part = Part()
    for group, _ in decoded(groups, polling.way.group, part, "groups"):
        try:
            polling.reader.fetch(polling.members_page(group.id), native_page)
        except Refused as error:
            return _no_members(error) if forbidden(error) else None
    return part.ended(Scope.GROUPS).reason


def forbidden(error: Refused) -> bool:
    """That there is no such way to LearnWorlds, or that it is closed; not that a group has no members."""
    return error.status in (403, 405) or (error.status == 404 and "users not found" not in (error.said or "").lower())


def _no_members(error: Refused) -> str:
    return f"{error}. Rules about members are unknown; if that is meant, set members = false in the config"
