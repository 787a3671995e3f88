"""The persons of a target's authorities, as they are recorded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo

from sqlalchemy import Engine

from monitor.decide.compiled import Compiled
from monitor.decide.facts import OF_PERSONS
from monitor.decide.match import Matching, People, account_fields, indexed
from monitor.line.parts import Watched
from monitor.store import persons, records
from monitor.store.engine import reading
from monitor.store.staging import Staging


def people_of(
    engine: Engine, zone: tzinfo, watched: Watched, staging: Staging, rules: Sequence[Compiled],
    at: datetime | None = None,
) -> People | None:  # fmt: skip
    """The persons of a target's authorities, if a rule asks for one; None as well while an authority was not read
    whole for too long. `at`: as they were then.
    """
    asked = frozenset().union(*(r.reads | r.shown for r in rules)) if rules else frozenset()
    if watched.matching is None or not asked & OF_PERSONS:
        return None
    people = read_people(engine, zone, watched.matching, staging, at)
    if people is not None and "person.accounts" in asked:
        people.hold(records.account_records(staging, sorted(account_fields(watched.matching.keys)), None))
    return people


def read_people(
    engine: Engine, zone: tzinfo, matching: Matching, staging: Staging, at: datetime | None = None
) -> People | None:
    """As they are recorded; None when an authority has no whole snapshot that is young enough.

    After one that was not whole (a bad row, a quarantined export) everybody who is known is still known, with what was
    seen last; only that somebody is *not* among them cannot be said.
    """
    groups: dict[str, frozenset[str]] = {}
    for group_id, version in records.groups_now(staging).items():
        title = version.group.title or group_id
        groups[title] = groups.get(title, frozenset()) | {group_id}
    indexes, marks, whole = [], [], True
    with reading(engine) as connection:
        for name, stale_after in matching.authorities:
            found = persons.standing(connection, name, at)
            if found is None or found.whole_at is None or staging.now - found.whole_at > stale_after:
                return None
            whole = whole and found.whole
            rows, earlier = persons.rows(connection, found), persons.earlier(connection, found)
            marks.append(persons.mark(connection, found))
            indexes.append(indexed(name, rows, earlier, matching, groups, zone))
    names = [name for name, _ in matching.authorities]
    return People(indexes, names, whole=whole, mark=repr((marks, whole)))
