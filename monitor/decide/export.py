"""Exemptions that were given by a button, as a file of exemptions says them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import tomlkit
from tomlkit.items import AoT, Table

from monitor.domain.exemption import StoredExemption

SCHEMA = "#:schema ./exemptions.schema.json"


def as_toml(given: Iterable[StoredExemption]) -> str:
    """For rules/exemptions.toml. It may be added below what stands there already, but for its first line."""
    document, tables = tomlkit.document(), AoT([])
    for stored in given:
        tables.append(_table(stored))
    document.append("exemptions", tables)
    return f"{SCHEMA}\n\n{tomlkit.dumps(document)}" if tables else f"{SCHEMA}\n"


def _table(stored: StoredExemption) -> Table:
    table = tomlkit.table()
    table.comment(_words(stored))
    for key, value in _keys(stored):
        table.append(key, value)
    return table


def _keys(stored: StoredExemption) -> Iterator[tuple[str, object]]:
    said = stored.exemption
    yield from (("rule", stored.rule), ("source", stored.source), ("subject", said.subject), ("reason", said.reason))
    yield from (("approved_by", said.approved_by), ("expires", said.expires))
    if said.ticket:
        yield "ticket", said.ticket


def _words(stored: StoredExemption) -> str:
    """Who it is, for a reader; strangers wrote it, so it is one line of printable characters."""
    about = stored.subject.email or stored.subject.name or stored.subject.kind
    return f"exemption {stored.number}: {''.join(c if c.isprintable() else ' ' for c in str(about))[:120]}"
