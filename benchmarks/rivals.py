"""The same thirty rules on the same accounts: ours, Cloud Custodian's value filter (c7n), and cel-python.

Each rule asks for a flag, a status and an age, date arithmetic included:
privileged, status "active", last sign-in more than N days ago. `make rivals` runs the three, one after the other, in
two environments, since the others bring many packages along. One thread each.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

RULES, NOW = 30, datetime.now(UTC)  # c7n asks the clock itself
AGES = [30 + 5 * n for n in range(RULES)]
SIZES = {"ours": 200_000, "c7n": 2_000, "cel-python": 300}  # accounts: some seconds each

Account = dict[str, Any]


def accounts(number: int) -> list[Account]:
    """One in 200 privileged, a tenth suspended, last sign-ins spread over a year; a fifth do not say."""
    chance = random.Random(1)
    return [
        {
            "id": f"a{n}", "email": f"a{n}@example.com", "name": None, "privileged": chance.random() < 0.005,
            "status": "suspended" if chance.random() < 0.1 else "active",
            "last_login": None if chance.random() < 0.2 else NOW - timedelta(days=chance.random() * 365),
        }
        for n in range(number)
    ]  # fmt: skip


def ours(found: Sequence[Account]) -> int:
    from monitor.decide.alike import Plan
    from monitor.decide.compiled import active
    from monitor.decide.judge import judge
    from monitor.domain.rule import Rule, RuleStatus, Severity

    def rule(days: int) -> Rule:
        match = ("account.privileged", 'account.status == "active"', f"now - account.last_login > days({days})")
        return Rule(f"r{days}", "t", Severity.LOW, RuleStatus.ACTIVE, "o", "account", match, "d", "r")

    plan = Plan("account", active([rule(d) for d in AGES], "account"), frozenset())
    return sum(1 for _ in judge(plan, [a | {"created": None, "never_signed_in": False} for a in found], NOW))


def c7n(found: Sequence[Account]) -> int:
    from c7n.filters import ValueFilter

    def filters(days: int) -> list[Any]:
        asked = (
            {"type": "value", "key": "privileged", "value": True},
            {"type": "value", "key": "status", "value": "active"},
            {"type": "value", "key": "last_login", "op": "gt", "value_type": "age", "value": days},
        )
        return [ValueFilter(a) for a in asked]

    rules = [filters(d) for d in AGES]
    return sum(all(f.match(a) for f in rule) for a in found for rule in rules)


def cel_python(found: Sequence[Account]) -> int:
    import celpy
    from celpy import celtypes

    language = celpy.Environment()
    text = 'account.privileged && account.status == "active" && now - account.last_login > duration("{}s")'
    programs = [language.program(language.compile(text.format(d * 86400))) for d in AGES]
    now = celtypes.TimestampType(NOW)
    held = 0
    for account in found:
        known = {k: v for k, v in account.items() if v is not None}
        if "last_login" in known:
            known["last_login"] = celtypes.TimestampType(known["last_login"])
        data = {"account": celpy.json_to_cel({k: v for k, v in known.items() if k != "last_login"}), "now": now}
        if "last_login" in known:
            data["account"][celtypes.StringType("last_login")] = known["last_login"]
        for program in programs:
            try:
                held += bool(program.evaluate(data))
            except celpy.CELEvalError:  # a fact that is absent
                pass
    return held


WAYS: dict[str, Callable[[Sequence[Account]], int]] = {"ours": ours, "c7n": c7n, "cel-python": cel_python}


def main() -> None:
    parser = argparse.ArgumentParser(description="One of the three, timed.")
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("--accounts", type=int, help="how many; some seconds' worth by default")
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    found = accounts(asked.accounts or SIZES[asked.way])
    WAYS[asked.way](found[:10])  # libraries are loaded, expressions compiled once
    began = time.perf_counter()
    held = WAYS[asked.way](found)
    seconds = time.perf_counter() - began
    said = {"way": asked.way, "accounts": len(found), "held": held, "per_second": len(found) * RULES / seconds}
    print(json.dumps(said))
    if asked.json:
        asked.json.write_text(json.dumps(said), encoding="utf-8")


if __name__ == "__main__":
    main()
