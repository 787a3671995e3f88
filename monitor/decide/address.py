"""To which addresses of a receiver a message goes, and whether it waits for a digest."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import tzinfo
from typing import Any

from monitor.decide.form import ADDRESS
from monitor.decide.route import IDS
from monitor.domain.message import Manner, Notification, Reason

_COLLECTED = (
    Reason.OPENED, Reason.REOPENED, Reason.RESOLVED, Reason.SILENCE_ENDED, Reason.DUE_SOON, Reason.OVERDUE,
    Reason.REMINDER, Reason.SEVERITY_RAISED, Reason.FLAPPING, Reason.CHANGES,
)  # fmt: skip


def addressed(
    notes: Iterable[tuple[Notification, str | None]], manners: Mapping[str, Manner], zone: tzinfo
) -> Iterator[tuple[Notification, str | None]]:
    """Each message once for each address that it goes to, with the mark it came with."""
    for note, mark in notes:
        for one in _each(note, manners):
            manner = manners.get(one.receiver, Manner())
            waits = manner.digest is not None and waits_for_digest(one)
            yield (_waiting(one, manner, zone) if waits else one), mark


def waits_for_digest(note: Notification) -> bool:
    """What is critical does not wait, nor does what the monitor says of itself."""
    critical = note.content.get("finding", {}).get("severity") == "critical"
    return note.reason in _COLLECTED and not critical


def readdressed(note: Notification, receiver: str, address: str = "", **content: Any) -> Notification:
    """The same message for somebody else. Its key is the one that it would have had there in the first place,
    so that nobody gets it twice.
    """
    other = replace(note, receiver=receiver, address=address, content={**note.content, **content})
    key = f"{note.key.removesuffix(f':{note.lane}')}:{other.lane}"
    return replace(other, key=key, id=str(uuid.uuid5(IDS, key)))


def _waiting(note: Notification, manner: Manner, zone: tzinfo) -> Notification:
    assert manner.digest is not None
    return replace(note, collected=True, due_at=manner.digest.next(note.created_at, zone))


def _each(note: Notification, manners: Mapping[str, Manner]) -> Iterator[Notification]:
    manner = manners.get(note.receiver, Manner())
    if manner.owners:
        yield from _to_owners(note, manner.fallback, manners)
    elif len(manner.to) > 1:
        yield from (readdressed(note, note.receiver, a) for a in manner.to)
    else:
        yield note


def _to_owners(note: Notification, fallback: str | None, manners: Mapping[str, Manner]) -> Iterator[Notification]:
    """To each owner what is his; what has no owner with an address goes to the fallback."""
    ownerless = False
    for owner, content in _by_owner(note):
        if ADDRESS.fullmatch(owner) and owner.isascii():
            yield readdressed(note, note.receiver, owner.lower(), **content)
        else:
            ownerless = True
    if ownerless and fallback is not None:
        yield from _each(readdressed(note, fallback), {k: v for k, v in manners.items() if k != note.receiver})


def _by_owner(note: Notification) -> Iterator[tuple[str, dict[str, Any]]]:
    finding = note.content.get("finding")
    if finding is not None:
        yield str(finding.get("owner") or ""), {}
        return
    if "owner" in note.content:
        yield str(note.content["owner"]), {}
        return
    owners: dict[str, list[Any]] = {}
    for found in note.content.get("findings", ()):
        owners.setdefault(str(found.get("owner") or ""), []).append(found)
    for owner, found in owners.items():
        number = len(found)
        existed = f"{number} finding{'' if number == 1 else 's'} of yours existed in {note.content['source']}"
        baseline = note.reason is Reason.BASELINE
        title = f"{existed} before we looked" if baseline else f"{note.content['title']}: {number} of them yours"
        counts = {s: n for s in note.content["counts"] if (n := sum(f["severity"] == s for f in found))}
        yield owner, {"findings": found, "counts": counts, "title": title}
    if not owners:
        yield "", {}
