"""Whether a finding is one of those that are meant, and if not, why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase

from monitor.domain.finding import Finding
from monitor.domain.matcher import Matcher
from monitor.domain.observed import Kind, holder
from monitor.domain.rule import Rule

_ANY_CASE = ("owner", "subject")  # people write e-mail addresses as they like


def fits(matcher: Matcher, found: Finding, rule: Rule | None) -> bool:
    """`rule`: the finding's; None when it is gone, and with it what only it says: pack and controls."""
    return next(misses(matcher, found, rule), None) is None


def misses(matcher: Matcher, found: Finding, rule: Rule | None) -> Iterator[str]:
    """Everything that does not fit, in words."""
    for name, wanted in matcher.named.items():
        values = list(values_of(found, rule, name))
        if not any(_like(value, pattern, name) for value in values for pattern in wanted):
            yield f"{name} is {' or '.join(values) or 'none'}, not {' or '.join(wanted)}"


def values_of(found: Finding, rule: Rule | None, name: str) -> Iterable[str]:
    if name == "pack":
        return packs(rule)
    if name == "control":
        return controls(rule)
    if name == "subject":
        return _names(found)
    if name == "tag":
        return found.tags
    return (str(getattr(found, name)),)


def shared(found: Finding, rule: Rule | None, names: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """What it has in common with the findings that it is told with: one value a name."""
    return tuple((name, _one(found, rule, name)) for name in names)


def _one(found: Finding, rule: Rule | None, name: str) -> str:
    """Ids mean nothing beyond their source; a grant goes with its account, and a folder inside others by itself."""
    if name == "subject":
        kind, who = found.subject.kind, found.subject.id
        return f"{found.source} {Kind.ACCOUNT} {holder(who)}" if kind == Kind.GRANT else f"{found.source} {kind} {who}"
    if name == "pack":
        return next(reversed(packs(rule)), "")
    return found.owner.casefold() if name == "owner" else str(getattr(found, name))


def packs(rule: Rule | None) -> tuple[str, ...]:
    """The folder that a rule's file lies in, and those around it, below the folder of all rules."""
    folders = rule.file.replace("\\", "/").split("/")[1:-1] if rule else []
    return tuple("/".join(folders[: n + 1]) for n in range(len(folders)))


def controls(rule: Rule | None) -> tuple[str, ...]:
    return tuple(
        name for framework, clauses in (rule.controls if rule else {}).items() for clause in clauses
        for name in (clause, f"{framework}:{clause}")
    )  # fmt: skip


def _names(found: Finding) -> tuple[str, ...]:
    """A grant is also known by its account."""
    about = found.subject
    ids = (about.id, holder(about.id)) if about.kind == Kind.GRANT else (about.id,)
    return (*ids, *(name for name in (about.email, about.name) if name))


def _like(value: str, pattern: str, name: str) -> bool:
    if name in _ANY_CASE:
        value, pattern = value.casefold(), pattern.casefold()
    return value == pattern or fnmatchcase(value, pattern)
