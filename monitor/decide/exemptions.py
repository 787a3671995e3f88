"""Exemptions: whom they let be, until when, and when that is to be warned of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any, NamedTuple

from monitor.decide.expressions import Clause, ClauseError
from monitor.domain.observed import Kind, Subject, holder
from monitor.domain.rule import Exemption, Rule, RuleStatus


def ends(exemption: Exemption, zone: tzinfo) -> datetime:
    """The last moment of its last day."""
    return last_moment(exemption.expires, zone)


def last_moment(day: date, zone: tzinfo) -> datetime:
    return datetime.combine(day + timedelta(days=1), time(), zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Leave:
    """An exemption with its clauses, ready to be asked."""

    exemption: Exemption
    clauses: tuple[Clause, ...]

    def covers(self, subject: Subject, data: Mapping[str, Any]) -> bool:
        """A clause that cannot be decided lets nobody be: an alert too many is better than one too few."""
        if self.exemption.subject:
            return names(self.exemption, subject)
        return bool(self.clauses) and all(_holds(clause, data) for clause in self.clauses)


def leave(rule: Rule) -> tuple[Leave, ...]:
    return tuple(
        Leave(e, tuple(Clause(text, rule.for_each, rule.settings, rule.hours) for text in e.match))
        for e in rule.exemptions
    )


def names(exemption: Exemption, subject: Subject) -> bool:
    """By id, or by e-mail in upper or lower case; a grant also by the id of its account."""
    ids = {subject.id, *({subject.email.casefold()} if subject.email else ())}
    if subject.kind == Kind.GRANT:
        ids.add(holder(subject.id))
    return bool(ids & {exemption.subject, exemption.subject.casefold()})


def _holds(clause: Clause, data: Mapping[str, Any]) -> bool:
    try:
        return clause.holds(data) is True
    except ClauseError:
        return False


def in_force(
    given: Iterable[Leave], subject: Subject, data: Mapping[str, Any], now: datetime, zone: tzinfo
) -> list[Exemption]:
    """Those that let this subject be now, the one that ends last first."""
    mine = [g.exemption for g in given if now < ends(g.exemption, zone) and g.covers(subject, data)]
    return sorted(mine, key=lambda e: e.expires, reverse=True)


def of_source(rules: Sequence[Rule], given: Sequence[Exemption], source: str) -> tuple[Rule, ...]:
    """The rules as one source is judged by: with what was `given` by a button beside what files say, and without
    exemptions that are about other sources."""
    by_rule: dict[str, list[Exemption]] = {}
    for exemption in given:
        for name in exemption.rules:
            by_rule.setdefault(name, []).append(exemption)
    return tuple(_of_source(rule, by_rule.get(rule.id, ()), source) for rule in rules)


def _of_source(rule: Rule, given: Iterable[Exemption], source: str) -> Rule:
    mine = tuple(e for e in (*rule.exemptions, *given) if not e.sources or source in e.sources)
    return rule if mine == rule.exemptions else replace(rule, exemptions=mine)


class Listed(NamedTuple):
    """One exemption of the rule set, with the rules that it is about."""

    exemption: Exemption
    rules: tuple[str, ...]


def listed(rules: Sequence[Rule], given: Iterable[Exemption] = ()) -> list[Listed]:
    """Every exemption once, also when it is about several rules; those that end first, first.

    `given`: by a button; they are listed also when their rule is no more.
    """
    about: dict[str, tuple[Exemption, list[str]]] = {}
    for rule in rules:
        for exemption in rule.exemptions:
            about.setdefault(exemption.id, (exemption, []))[1].append(rule.id)
    found = [Listed(exemption, tuple(dict.fromkeys(ids))) for exemption, ids in about.values()]
    found += [Listed(exemption, exemption.rules) for exemption in given]
    return sorted(found, key=lambda each: (each.exemption.expires, each.rules, each.exemption.whom))


def state(exemption: Exemption, mutes: int | None, now: datetime, zone: tzinfo, warning: timedelta) -> str:
    """A word for people: expired, ends soon, unused or in force. `mutes`: findings; None when nobody counted."""
    left = ends(exemption, zone) - now
    if left <= timedelta():
        return "expired"
    if left <= warning:
        return "ends soon"
    return "unused" if mutes == 0 else "in force"


def ending(
    rules: Sequence[Rule], given: Iterable[Exemption], now: datetime, zone: tzinfo, warning: timedelta
) -> Iterator[Listed]:
    """Those whose end is near: to be told once, before findings return."""
    live = {r.id: r for r in rules if r.status is not RuleStatus.RETIRED}
    mine = [e for e in given if live.keys() & set(e.rules)]
    found = listed(list(live.values()), mine)
    return (each for each in found if timedelta() < ends(each.exemption, zone) - now <= warning)


def expired(rules: Sequence[Rule], today: date) -> Iterator[str]:
    """What `rules check` says of exemptions whose last day has passed. They mute nothing any longer, and still load:
    a monitor must not stop because a day went by."""
    for exemption, _ in listed(rules):
        if exemption.expires < today:
            yield (f"{exemption.place}: exemptions: {exemption.whom} was exempt until "
                   f"{exemption.expires}; remove it, or agree on a new end")  # fmt: skip
