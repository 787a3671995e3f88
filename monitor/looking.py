"""A look at one account, because somebody asked: read alone, through the line, and told in words.

It closes nothing that it did not prove: what the rule reads beside the account itself waits for the next whole poll.
"""

from __future__ import annotations

from monitor.cycle import look_at
from monitor.decide.compiled import compile_rule
from monitor.domain.finding import Finding
from monitor.domain.observed import Kind
from monitor.domain.reading import Outcome, Scope, WithOneAccount
from monitor.domain.rule import Verdict
from monitor.errors import Busy, MonitorError
from monitor.line.judging import beyond_users
from monitor.line.parts import Parts

NEXT = "the next whole poll tells"


def look(parts: Parts, found: Finding) -> str:
    """Polls the account that a finding is about. Returns why that says nothing of the finding, or nothing."""
    cannot = _cannot(parts, found)
    if cannot:
        return cannot
    try:
        result = look_at(parts, found.source, found.subject.id)
    except Busy:
        return f"somebody else is looking at an account of {found.source}; press again in a moment"
    except MonitorError as error:
        return f"{found.source} could not be asked: {error}"
    if result.snapshot.outcome is not Outcome.COMPLETE:
        return f"{found.source} could not be asked: {result.snapshot.error}"
    if not result.snapshot.proof.records.get(Scope.ONE):
        return f"{found.source} answers that it has no such account; the next whole poll proves that, and closes this"
    return ""


def _cannot(parts: Parts, found: Finding) -> str:
    watched, rule = parts.watched.get(found.source), parts.rules.by_id.get(found.rule)
    if watched is None or rule is None:
        return f"{found.source if watched is None else found.rule} is no longer in the config"
    if found.subject.kind != Kind.ACCOUNT:
        return f"one account can be looked at, and this is about a {found.subject.kind}; {NEXT}"
    if not isinstance(watched.source, WithOneAccount):
        return f"{found.source} cannot be asked for one account; {NEXT}"
    more = beyond_users(compile_rule(rule))
    if more:
        return f"the rule asks for {', '.join(more)}, which a look at one account does not show; {NEXT}"
    return ""


_SAID = {
    Verdict.FINDING: "it still holds, as read just now",
    Verdict.EXEMPT: "it still holds, as read just now, and is exempt",
    Verdict.UNKNOWN: "it cannot be told: the source does not report all that the rule asks for",
}


def said(after: Finding) -> str:
    """What the look has shown, of a finding that is not over."""
    return _SAID.get(after.verdict, f"nothing is proved yet; {NEXT}")
