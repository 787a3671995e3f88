"""Why a fact is not known: the parts of the source that could not be read, in words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from monitor.decide.facts import FACTS
from monitor.domain.reading import Cause, Outcome, ScopeEnded

ALL = tuple(FACTS)
MOST_TOLD = 3
NOT_REPORTED = "not reported: "
CAUSES = {Cause.CREDENTIALS: "the credentials are refused", Cause.FORBIDDEN: "forbidden"}


def missing_in(why: str) -> list[str]:
    """The facts that a judgement calls unknown."""
    return why.removeprefix(NOT_REPORTED).split(", ") if why.startswith(NOT_REPORTED) else []


def because(names: Iterable[str], scopes: Sequence[ScopeEnded]) -> list[str]:
    """Of the parts that these facts come from, those that were not read whole, each with cause and reason."""
    wanted = {scope for name in names if name in FACTS for scope in FACTS[name].scopes}
    found: dict[str, list[str]] = {}
    for scope in sorted(scopes, key=lambda s: s.cause is None):  # what a person can mend comes first
        if scope.outcome is not Outcome.COMPLETE and any(_is(scope.name, w) for w in wanted):
            found.setdefault(_said(scope), []).append(scope.name)
    told = [f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {why}" for why, names in found.items()]
    return told[:MOST_TOLD]


def _is(name: str, wanted: str) -> bool:
    return name == wanted or (wanted.endswith("/") and name.startswith(wanted))


def _said(scope: ScopeEnded) -> str:
    cause = f"{CAUSES[scope.cause]}: " if scope.cause else ""
    return f"{cause}{scope.reason or scope.outcome.value}"
