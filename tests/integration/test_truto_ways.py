"""Three ways through Truto to the same school: what each tells, held against the school read directly.

The table in docs/sources.md is what these readings give, cell by cell.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.domain.observed import Account, Activity, Group, Role
from monitor.domain.reading import Outcome
from tests.peers.tables import Polled
from tests.peers.truto import Connected, connected, everything

SOURCES = (Path(__file__).parents[2] / "docs" / "sources.md").read_text(encoding="utf-8")
WAYS = ("unified", "proxy", "mcp", "mcp alone", "unified without remote_data")


@pytest.fixture(scope="module")
def readings() -> Iterator[dict[str, Polled]]:
    with connected() as c:
        oddities(c)
        yield {"direct": everything(c.direct()), **{way: everything(source(c, way)) for way in WAYS}}


def oddities(c: Connected) -> None:
    """Users as they occur in the wild: never signed in, no tags, a unicode name, upper case, a campaign, a score."""
    ids = [u["id"] for u in c.school.users() if u["role"]["name"] == "User" and not u["is_suspended"]]
    c.school.set(ids[0], tags=None, fields=[], first_name="", last_name="Zoë 李", email="Zoe.LI@School.Example")
    c.school.set(ids[1], nps_score=9, nps_comment="well", created=1_700_000_000, utms={"fc_utm_source": "mail"})
    c.school.set(ids[2], email=c.school.get(ids[3])["email"])
    c.school.set(ids[4], role={"level": "wizard", "name": "Wizard"}, is_affiliate=True)
    c.school.set(ids[5], fields={"company": "Acme", "cf_department": "Sales", "bio": "x"})


def source(c: Connected, way: str) -> Any:
    c.truto.remote_data = not way.endswith("without remote_data")
    return c.source(way.split(maxsplit=1)[0], alone=way == "mcp alone", read_details=True)


def compared(direct: Iterable[Any], other: Iterable[Any]) -> str:
    """One word for how values of a field come through."""
    kinds = {_kind(a, b) for a, b in zip(direct, other, strict=True)}
    if len(kinds) == 1:
        return kinds.pop()
    assert kinds <= {"same", "absent", "rounded"}, kinds
    return "rounded" if kinds == {"same", "rounded"} else "in part"


def _kind(direct: Any, other: Any) -> str:
    if direct == other:
        return "same"
    if other is None:
        return "absent"
    close = isinstance(other, datetime) and abs(other - direct) < timedelta(milliseconds=1)
    return "rounded" if close else "other"


def rows(direct: Polled, other: Polled) -> dict[str, str]:
    """How each thing that can be told comes through."""
    found: dict[str, str] = {}
    for kind, fields, mine, theirs in (
        ("account", Account._fields, direct.accounts, other.accounts),
        ("account", Activity._fields, direct.activity, other.activity),
        ("role", Role._fields, {r.id: r for r in direct.roles}, {r.id: r for r in other.roles}),
        ("group", Group._fields, {g.id: g for g in direct.groups}, {g.id: g for g in other.groups}),
    ):
        assert mine.keys() == theirs.keys(), "nobody and nothing is missing, whichever way"
        for i, name in enumerate(fields):
            found[f"{kind}.{name}"] = compared([v[i] for v in mine.values()], [theirs[k][i] for k in mine])
    for name, mine_, theirs_ in (
        ("group managers", set(direct.managers), set(other.managers)),
        ("group members", _pairs(direct), _pairs(other)),
        ("exact roles", set(direct.assigned), set(other.assigned)),
    ):
        assert mine_ >= theirs_, "nothing is made up"
        found[name] = "same" if mine_ == theirs_ else "in part" if theirs_ else "absent"
    return found


def _pairs(read: Polled) -> set[tuple[str, str]]:
    return {(group, account) for group, accounts in read.members.items() for account in accounts}


def table(readings: dict[str, Polled]) -> str:
    """Fields that come through the same every way are named together, in the last row."""
    cells = {way: rows(readings["direct"], readings[way]) for way in WAYS}
    lines = [f"| what | {' | '.join(f'`{w}`' for w in WAYS)} |", "|---" * (len(WAYS) + 1) + "|"]
    same: list[str] = []
    for name in cells["proxy"]:
        said = [cells[way][name] for way in WAYS]
        if set(said) == {"same"}:
            same.append(f"`{name}`")
        else:
            lines.append(f"| `{name}` | {' | '.join(said)} |")
    lines.append(f"| {', '.join(same)} | {' | '.join(['same'] * len(WAYS))} |")
    return "\n".join(lines) + "\n"


def test_the_ways_differ_only_as_the_table_says(readings: dict[str, Polled]) -> None:
    """Accounts, activity, roles, groups, managers, members and exact roles, each way, against the direct reading."""
    documented = SOURCES.split("<!-- truto: differences -->\n")[1].split("<!-- /truto: differences -->")[0]
    assert table(readings) == documented


def test_with_remote_data_nothing_differs(readings: dict[str, Polled]) -> None:
    """Whatever the table says of other ways: these three are the same school."""
    for way in ("unified", "proxy", "mcp"):
        assert set(rows(readings["direct"], readings[way]).values()) == {"same"}, way


def test_every_way_reads_every_scope_whole(readings: dict[str, Polled]) -> None:
    """But for what the page says: members are unread without a way to them, managers need LearnWorlds' own record."""
    ends = {way: {e.name: e.outcome for e in readings[way].ends.values() if e.outcome is not Outcome.COMPLETE}
            for way in readings}  # fmt: skip
    assert ends == {
        "direct": {}, "unified": {}, "proxy": {}, "mcp": {}, "mcp alone": {"members/": Outcome.UNREAD},
        "unified without remote_data": {"groups": Outcome.PARTIAL},
    }  # fmt: skip
