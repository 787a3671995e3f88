"""One rule on one subject, clause by clause, with every value: for whoever asks why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from monitor.decide import facts, present
from monitor.decide.alike import Plan
from monitor.decide.compiled import Compiled
from monitor.decide.expressions import ClauseError
from monitor.decide.judge import explain
from monitor.domain.change import Seen
from monitor.domain.finding import Judgement
from monitor.domain.observed import Subject


class ClauseSaid(NamedTuple):
    text: str
    holds: bool | None  # None: unknown, or an error
    values: Mapping[str, Any]  # None where absent
    error: str | None


@dataclass(frozen=True)
class Explained:
    judgement: Judgement
    clauses: tuple[ClauseSaid, ...]
    exemption: str | None

    @property
    def subject(self) -> Subject:
        return self.judgement.subject

    def as_dict(self, since: Mapping[str, Seen]) -> dict[str, Any]:
        """As JSON. `since`: by field of the record, from which snapshot on it has its value."""
        said = self.judgement
        return {
            "rule": said.rule, "subject": present.subject(said.subject), "verdict": said.verdict.value,
            "why": said.why or None, "title": said.title, "exempt_until": present.rfc3339(said.exempt_until),
            "exemption": self.exemption, "clauses": [_clause(c, since) for c in self.clauses],
        }  # fmt: skip


def _clause(clause: ClauseSaid, since: Mapping[str, Seen]) -> dict[str, Any]:
    return {
        "clause": clause.text, "holds": clause.holds, "error": clause.error,
        "facts": [_fact(name, value, since) for name, value in clause.values.items()],
    }  # fmt: skip


def _fact(name: str, value: Any, since: Mapping[str, Seen]) -> dict[str, Any]:
    """A fact that is computed from several fields has its value since the last of them moved."""
    fields = [facts.optional(f)[0] for f in facts.FACTS[name].fields] if name in facts.FACTS else []  # or a setting
    moved = [since[f] for f in fields if f in since]
    last = max(moved) if moved and len(moved) == len(fields) else None
    return {
        "name": name, "value": present.plain(value), "absent": value is None,
        "since": present.rfc3339(last.at) if last else None, "snapshot": last.snapshot if last else None,
    }  # fmt: skip


def explained(compiled: Compiled, record: dict[str, Any], now: datetime, plan: Plan) -> Explained:
    values = {n: facts.value(facts.FACTS[n], record, now) for n in compiled.reads}
    seen = {n: None if n in plan.blind else v for n, v in values.items()}
    data = {n: v for n, v in seen.items() if v is not None}
    clauses = []
    for clause in compiled.clauses:
        holds, error = None, None
        try:
            holds = clause.holds(data)
        except ClauseError as fault:
            error = str(fault)
        clauses.append(
            ClauseSaid(clause.text, holds, {n: seen[n] for n in sorted(clause.reads)} | clause.constants, error)
        )
    judgement = explain(compiled, record, now, plan)
    return Explained(judgement, tuple(clauses), _exemption(compiled, judgement))


def _exemption(compiled: Compiled, judgement: Judgement) -> str | None:
    mine = [e for e in compiled.rule.exemptions if e.id in judgement.exempted_by]
    return "; ".join(f"{e.reason} (approved by {e.approved_by}, until {e.expires})" for e in mine) or None
