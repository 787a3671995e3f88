"""Inhibition: while a source is not seen, what time alone brings to its findings waits.

Nobody could say whether they are over meanwhile, and whoever can mend the source is told of that instead. When it is
seen again, the newest step is told, as after any pause.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from monitor.domain.finding import Finding, FindingStatus
from monitor.domain.observed import Kind

BLIND = ("source-blind", "source-needs-reauth")  # rules whose findings say so
_NOT_SEEN = {"failed": "its last poll failed", "quarantined": "its last poll is quarantined"}


def unseen(found: Iterable[Finding], outcomes: Mapping[str, str]) -> dict[str, str]:
    """Sources that are not seen now, and why. `outcomes`: of the last poll of each."""
    said = {name: _NOT_SEEN[outcome] for name, outcome in outcomes.items() if outcome in _NOT_SEEN}
    told = [f for f in found if f.rule in BLIND and f.status is not FindingStatus.RESOLVED]
    return said | {f.source: f"{f.rule} is open since {f.opened_at:%Y-%m-%d %H:%M} UTC" for f in told}


def waits(found: Finding, not_seen: Mapping[str, str]) -> str | None:
    """Why what time alone brings to it is held back, or None. What is said of the source itself goes on."""
    why = None if found.subject.kind == Kind.SOURCE else not_seen.get(found.source)
    return why and f"reminders, deadlines and escalation wait until {found.source} is seen again: {why}"
