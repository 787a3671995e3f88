"""What a person may make happen at a school that runs: POST /simulator/next, /simulator/fault and /simulator/calm."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from monitor.simulator.faults import Faults

PREFIX = "/simulator/"
_NUMBERS: Mapping[str, Callable[[str], float]] = {"page": int, "times": int, "after": int, "seconds": float}
_HOW = ("kind", "path", "retry_after", *_NUMBERS)

Said = tuple[int, dict[str, Any]]


def control(
    method: str, path: str, query: Mapping[str, str], faults: Faults, on_next: Callable[[], str] | None
) -> Said:
    """Status and body."""
    if method != "POST":
        return 405, {"error": "Ask by POST: nothing is changed by looking."}
    what = path.removeprefix(PREFIX)
    if what == "next" and on_next is not None:
        return 200, {"happened": on_next()}
    if what == "fault":
        return _fault(query, faults)
    if what == "calm":
        faults.clear()
        return 200, {"happened": "every fault is over"}
    return 404, {"error": "There are /simulator/next, /simulator/fault and /simulator/calm."}


def _fault(query: Mapping[str, str], faults: Faults) -> Said:
    kind, unknown = query.get("kind", ""), sorted(set(query) - set(_HOW))
    if unknown:
        return 400, {"error": f"there is no {', '.join(unknown)}; there are {', '.join(_HOW)}"}
    if kind not in faults.kinds:
        return 400, {"error": f'there is no fault "{kind}"; there are {", ".join(faults.kinds)}'}
    try:
        how: dict[str, Any] = {k: number(query[k]) for k, number in _NUMBERS.items() if k in query}
    except ValueError:
        return 400, {"error": f"{', '.join(_NUMBERS)} are numbers"}
    try:
        re.compile(query.get("path", ""))
    except re.error as error:
        return 400, {"error": f'"{query["path"]}" is no regular expression: {error}'}
    fault = faults.add(kind, query.get("path", ""), retry_after=query.get("retry_after"), **how)
    return 200, {"happened": f"{kind} on the next {fault.times} requests of {fault.path or 'any path'}"}
