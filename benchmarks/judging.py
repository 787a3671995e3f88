"""Thirty rules over every account: the shipped rules on accounts, and variations of them with other numbers.

Timed twice: as the line does it, with reading the accounts from the database, and the judging alone.
Run in a process of its own, which prints one line of JSON. One thread, so one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.ours import BenchmarkClock, parts, peak_mib, quiet, school, shipped_rules
from benchmarks.records import NOW
from monitor.decide.alike import Plan
from monitor.decide.compiled import active, compile_rule
from monitor.decide.facts import OF_PERSONS
from monitor.decide.judge import judge
from monitor.domain.rule import Rule
from monitor.line.poll import open_staging
from monitor.store import records

RULES = 30
ALONE = 20_000  # accounts judged from memory; more would measure the cache
NUMBER = re.compile(r"(?<=> )\d+|(?<=days\()\d+")


def thirty(rules: Iterable[Rule]) -> list[Rule]:
    """Every number of days moved by some days, so that no two of them are the same where a rule has a number. Those
    about persons are left out, as in every school without an authority.
    """
    ours = [r for r in rules if r.for_each == "account" and not compile_rule(r).reads & OF_PERSONS]
    return [
        replace(
            rule,
            id=f"{rule.id}-{n}",
            match=tuple(NUMBER.sub(lambda m: str(int(m[0]) + n if int(m[0]) else 0), m) for m in rule.match),  # noqa: B023  # used at once
        )
        for n, rule in itertools.islice(enumerate(itertools.cycle(ours)), RULES)
    ]


def judged(plan: Plan, subjects: Iterable[dict[str, Any]], now: datetime) -> tuple[int, float]:
    """How many judgements came of it, and the seconds of its core."""
    began = time.process_time()
    found = sum(1 for _ in judge(plan, subjects, now))
    return found, time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="Thirty rules over the accounts of a database.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--database", type=Path, required=True)
    asked = parser.parse_args()
    quiet()
    rules = shipped_rules()
    clock = BenchmarkClock("first")
    ready = parts(asked.database, school(asked.folder, "first", clock), clock, rules)
    staging = open_staging(ready, ready.watched["school"])
    now = datetime.fromtimestamp(NOW, UTC)
    plan = Plan("account", active(thirty(rules.rules), "account"), frozenset())
    first = list(itertools.islice(records.account_records(staging, plan.fields, now), ALONE))
    accounts = staging.db.execute("SELECT count(*) FROM main_db.accounts WHERE valid_to IS NULL").fetchone()[0]
    judged(plan, first[:100], now)  # the masks are made when first needed
    _, alone = judged(plan, first, now)
    found, seconds = judged(plan, records.account_records(staging, plan.fields, now), now)
    staging.close()
    told = {"rules": len(plan.rules), "judgements": found, "seconds": seconds, "mib": peak_mib()}
    rates = {"per_second": accounts * RULES / seconds, "alone_per_second": len(first) * RULES / alone}
    print(json.dumps(told | rates))


if __name__ == "__main__":
    main()
