"""The groups of a school, read through Truto, and who manages them."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import Raw

from monitor.domain.observed import Grant
from monitor.domain.reading import Batch, GroupsRead, Scope
from monitor.errors import SourceError
from monitor.sources.answer import Refused
from monitor.sources.scopes import Part, decoded
from monitor.sources.truto_pages import TrutoPolling

NO_MANAGERS = 'without remote_data nobody knows who manages it; api = "proxy" reads it'


def read_groups(polling: TrutoPolling, part: Part) -> Iterator[Batch]:
    """What was read of them is told even when the list broke off."""
    managers: dict[Grant, None] = {}
    broken: SourceError | None = None
    try:
        for number, _, page in polling.listed(part, "groups"):
            _add(polling, page.records, managers, part, f"page {number}")
            polling.progress("groups", len(polling.groups), None)
        if not part.faults:
            _confirm(polling, managers, part)
    except SourceError as error:
        broken = error
    if part.answers:
        yield GroupsRead(list(polling.groups.values()), list(managers))
    if broken is not None:
        raise broken


def _add(polling: TrutoPolling, records: list[Raw], managers: dict[Grant, None], part: Part, where: str) -> None:
    for group, managed in decoded(records, polling.way.group, part, where):
        polling.groups[group.id] = group
        managers.update(dict.fromkeys(managed or ()))
        if managed is None:
            part.fault(f"group {group.id}: {NO_MANAGERS}")


def _confirm(polling: TrutoPolling, managers: dict[Grant, None], part: Part) -> None:
    """Nothing tells how long the list should have been, so a group that is not on it is asked for, too."""
    missing = [g for g in polling.recall.recorded(Scope.GROUPS) if g not in polling.groups]
    witness = next(iter(polling.groups), None) if missing else None
    if witness is not None and _is_gone(polling, witness, part, {}):
        raise SourceError(f"group {witness}: not found, though a page has just shown it, so no 404 is believed")
    for group_id in missing[: polling.confirm_limit]:
        _is_gone(polling, group_id, part, managers)
    if len(missing) > polling.confirm_limit:
        part.fault(f"{len(missing)} groups were not on any page, {polling.confirm_limit} could be confirmed")


def _is_gone(polling: TrutoPolling, group_id: str, part: Part, managers: dict[Grant, None]) -> bool:
    """Where it is not, it is read; where nobody knows, the groups are not whole."""
    polling.asking("groups")
    try:
        body = polling.got(part, "groups", polling.reader.fetch(polling.way.one_group(group_id), polling.way.one))
    except Refused as error:
        if not error.gone:
            part.fault(str(error))
        return error.gone
    _add(polling, [Raw(body)], managers, part, f"group {group_id}")
    if group_id not in polling.groups:
        part.fault(f"group {group_id}: answered with another group")
    return False
