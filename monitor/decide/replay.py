"""One rule over recorded history: what it would have found at each snapshot, by the decisions of a real cycle."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

from monitor.decide.reconcile import reconcile
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus, Judgement
from monitor.domain.rule import Rule, Verdict


class Replayed(NamedTuple):
    """What happened at one snapshot."""

    snapshot: int
    at: datetime
    events: tuple[Event, ...]
    open: int  # after it
    unknown: int
    errors: int


class Replay:
    """What holds at the first step was there before the period begins: it is marked `baseline`."""

    def __init__(self, rule: Rule, source: str) -> None:
        self.rule, self.source = rule, source
        self.steps: list[Replayed] = []
        self._known: dict[str, Finding] = {}

    @property
    def watch(self) -> dict[str, set[str]]:
        """Subjects with a finding: of them the nothings are to be told, too."""
        return {f.subject.id: {self.rule.id} for f in self._known.values()}

    def step(
        self, snapshot: int, at: datetime, judgements: Iterable[Judgement], gone: Callable[[str, str], bool],
        *, may_close: bool,
    ) -> Replayed:  # fmt: skip
        """`gone`: whether the subject (kind, id) was not there any more. `may_close`: all that the rule reads was
        read whole."""
        said = list(judgements)
        removed = [(f.subject.kind, f.subject.id) for f in self._known.values() if gone(f.subject.kind, f.subject.id)]
        events = tuple(
            reconcile(
                list(self._known.values()), (j for j in said if j.verdict is not Verdict.ERROR),
                {self.rule.id: self.rule}, removed, lambda *_: may_close,
                source=self.source, now=at, baseline=not self.steps,
            )
        )  # fmt: skip
        for event in events:
            self._apply(event)
        unknown, errors = (sum(j.verdict is v for j in said) for v in (Verdict.UNKNOWN, Verdict.ERROR))
        self.steps.append(Replayed(snapshot, at, events, len(self._known), unknown, errors))
        return self.steps[-1]

    def _apply(self, event: Event) -> None:
        if event.finding.status is FindingStatus.RESOLVED:
            self._known.pop(event.finding.fingerprint, None)
        else:
            self._known[event.finding.fingerprint] = event.finding

    def findings(self) -> list[Finding]:
        """Every finding of the period as it ended, in the order of opening."""
        last: dict[tuple[str, datetime], Finding] = {}
        for event in (e for step in self.steps for e in step.events):
            last[event.finding.fingerprint, event.finding.opened_at] = event.finding
        return list(last.values())


def time_to_fix(findings: Sequence[Finding]) -> timedelta | None:
    """The median over those that opened and ended within the period."""
    took = [f.resolved_at - f.opened_at for f in findings if f.resolved_at is not None and not f.baseline]
    return timedelta(seconds=median(t.total_seconds() for t in took)) if took else None


def opened(steps: Sequence[Replayed]) -> int:
    return sum(e.kind is EventKind.OPENED for s in steps for e in s.events)
