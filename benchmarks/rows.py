"""The rows: what is measured, against what, and whether the target is met."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.runs import Runs, child

REAL_TIME_ACCOUNTS = 4000  # 81 requests: 27 seconds
WAITING = 100_000  # messages
ONCE = ("real-time", "outbox")  # rows that do not depend on the size of the school
MEMORY_LIMITS = {100_000: 200, 1_000_000: 600}  # MiB


@dataclass(frozen=True)
class Row:
    accounts: int
    work: str
    measured: str
    target: str = ""
    met: bool | None = None  # None: for information
    numbers: dict[str, Any] = field(default_factory=dict)


def limit(runs: Runs) -> Iterator[Row]:
    told = runs.run("ours", "", module="limit")
    yield _limit_row(runs.accounts, "full poll, 300 ms an answer, virtual time", told)


def limit_in_real_time(_runs: Runs) -> Iterator[Row]:
    """One small school, whatever the sizes asked for."""
    folder = Path(tempfile.mkdtemp(prefix="benchmark-"))
    try:
        small = Runs(REAL_TIME_ACCOUNTS, folder, 1)
        small.prepare()
        told = small.run("ours", "", "--real", module="limit")
        # The window is empty at the start, so the first 30 requests are not kept waiting.
        told["seconds"] = told["worked"]
        yield _limit_row(REAL_TIME_ACCOUNTS, "full poll, 300 ms an answer, real time and threads", told)
    finally:
        shutil.rmtree(folder)


def _limit_row(accounts: int, work: str, told: dict[str, Any]) -> Row:
    ratio = told["seconds"] / told["allowed"]
    measured = f"{told['seconds']:.1f} s for {told['requests']} requests: {ratio:.3f} x"
    return Row(accounts, work, measured, "at most 1.05 x requests / rate", ratio <= 1.05, told | {"ratio": ratio})


def first(runs: Runs) -> Iterator[Row]:
    told = runs.polls("first")
    yield _against(runs, "first snapshot", told, "floor", 2.0)
    yield _against(runs, "first snapshot", told, "duck", None)


def logins(runs: Runs) -> Iterator[Row]:
    told = runs.polls("moved")
    yield _against(runs, "5 % signed in", told, "floor", 0.5)
    yield _against(runs, "5 % signed in", told, "duck", 1.0)
    added = told["ours"]["versions"] + told["ours"]["grant_versions"]
    added -= sum(runs.polls("first")["ours"][k] for k in ("versions", "grant_versions"))
    yield Row(runs.accounts, "5 % signed in: version rows", str(added), "none", added == 0, {"rows": added})
    yield _without_asking(runs, told)
    same = runs.unchanged()
    told = {"ours": same, "floor": told["floor"]}
    yield _against(runs, "nothing moved at all", told, "floor", None)


def _without_asking(runs: Runs, told: dict[str, Any]) -> Row:
    """What is left when the time of the HTTP client, which the floor does not have, is taken off."""
    asking = runs.run("ours", "moved", module="asking")["seconds"]
    left = told["ours"]["seconds"] - asking
    ratio = left / told["floor"]["seconds"]
    measured = f"{left:.2f} s = {ratio:.2f} x (httpx alone {asking:.2f} s)"
    return Row(runs.accounts, "5 % signed in, without asking", measured, numbers={"asking": asking, "ratio": ratio})


def access(runs: Runs) -> Iterator[Row]:
    told, before = runs.polls("changed"), runs.polls("moved")["ours"]
    both = {"ours": told["ours"], "the poll without": before}
    yield _against(runs, "1 % changed in access as well", both, "the poll without", 1.2)
    yield _against(runs, "1 % changed in access as well", told, "duck", None)


def rules(runs: Runs) -> Iterator[Row]:
    runs.polls("first")
    told = runs.run("ours", "", start="base.ours.sqlite", module="judging")
    whole, alone = told["per_second"], told["alone_per_second"]
    target = "at least 1,000,000 evaluations a second of a core"
    work = f"{told['rules']} rules, with reading the accounts"
    yield Row(runs.accounts, work, f"{whole:,.0f} a second", target, whole >= 1e6, told)
    yield Row(runs.accounts, f"{told['rules']} rules, the judging alone", f"{alone:,.0f} a second")


def again(runs: Runs) -> Iterator[Row]:
    """A poll that meets what the one before it met: what judging costs when little can have changed."""
    runs.polls("first")
    told = runs.run("ours", "", start="base.ours.sqlite", module="again")
    whole, part = told["whole"], told["again"]
    measured = f"{part['seconds']:.2f} s / {whole['seconds']:.2f} s = {part['seconds'] / whole['seconds']:.3f} x"
    yield Row(runs.accounts, "nothing moved: judging again, against judging all", measured, numbers=told)


def memory(runs: Runs) -> Iterator[Row]:
    """With the shipped rules: a poll as an operator runs it."""
    runs.polls("first")
    polls = {
        "first": runs.run("ours", "first", "--rules"),
        "changed": runs.run("ours", "changed", "--rules", start="base.ours.sqlite"),
    }
    most = MEMORY_LIMITS.get(runs.accounts)
    for state, told in polls.items():
        work = f"peak memory, {'first poll' if state == 'first' else 'later poll'}, with the shipped rules"
        target, met = (f"under {most} MiB", told["mib"] < most) if most else ("", None)
        yield Row(runs.accounts, work, f"{told['mib']} MiB", target, met, told)


def outbox(runs: Runs) -> Iterator[Row]:
    """The next message while none, and while 100,000 others wait; whatever the sizes asked for."""
    few, many = (child("waiting", "--folder", str(runs.folder), "--waiting", str(n)) for n in (0, WAITING))
    ratio, both = many["claim"] / few["claim"], {"few": few, "many": many}
    measured = f"{few['claim']:.1f} ms, {many['claim']:.1f} ms = {ratio:.2f} x"
    yield Row(
        WAITING, "claim and settle a message, beside 100,000 waiting", measured, "at most 1.5 x", ratio <= 1.5, both
    )
    yield Row(WAITING, "look for lanes that are due", f"{few['look']:.1f} ms, {many['look']:.1f} ms", numbers=both)
    handed = f"{many['handed']:.0f} ms at worst"
    yield Row(WAITING, "from end of poll to handed over", handed, "under 1 s", many["handed"] < 1000, both)


ROWS: dict[str, Callable[[Runs], Iterator[Row]]] = {
    "limit": limit, "first": first, "logins": logins, "access": access, "rules": rules, "again": again,
    "memory": memory, "real-time": limit_in_real_time, "outbox": outbox,
}  # fmt: skip


def _against(runs: Runs, work: str, told: dict[str, Any], other: str, most: float | None) -> Row:
    mine, theirs = told["ours"]["seconds"], told[other]["seconds"]
    ratio, name = mine / theirs, {"duck": "DuckDB"}.get(other, other)
    return Row(
        runs.accounts,
        f"{work}, against {name}",
        f"{mine:.2f} s / {theirs:.2f} s = {ratio:.2f} x",
        f"at most {most:g} x" if most else "",
        ratio <= most if most else None,
        {"ours": told["ours"], other: told[other], "ratio": ratio},
    )
