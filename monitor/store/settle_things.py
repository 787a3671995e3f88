"""What a poll changes of roles, groups and seat offerings: few, so they are compared in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from monitor.domain.observed import Group, Kind, Role, Seats
from monitor.domain.reading import Scope
from monitor.store.settled import Drift, Settled, whole, write_changes
from monitor.store.staging import Staging
from monitor.store.things import (
    GroupVersion,
    RoleVersion,
    SeatsVersion,
    recorded_groups,
    recorded_roles,
    recorded_seats,
)

T = TypeVar("T", Role, Group, Seats)


def settle_roles(staging: Staging, drift: Drift, settled: Settled) -> None:
    recorded = recorded_roles(staging)
    were = {i: version.role for i, version in recorded.items()}
    changed, settled.ended_roles = _compared(staging, drift, settled, (Kind.ROLE, Scope.ROLES), were, staging.roles)
    for role in changed:
        old = recorded.get(role.id)
        before = (old.role, old.changed, old.past_access_levels, old.description_changed) if old else None
        advanced = drift.advance_role(before, role, staging.at)
        settled.roles.append(RoleVersion(role, old.first_seen if old else staging.at, *advanced))


def settle_groups(staging: Staging, drift: Drift, settled: Settled) -> None:
    recorded = recorded_groups(staging)
    were = {i: version.group for i, version in recorded.items()}
    changed, settled.ended_groups = _compared(staging, drift, settled, (Kind.GROUP, Scope.GROUPS), were, staging.groups)
    settled.groups = [GroupVersion(g, recorded[g.id].first_seen if g.id in recorded else staging.at) for g in changed]


def settle_seats(staging: Staging, drift: Drift, settled: Settled) -> None:
    recorded = recorded_seats(staging)
    were = {i: version.seats for i, version in recorded.items()}
    changed, settled.ended_seats = _compared(staging, drift, settled, (Kind.SEAT, Scope.SEATS), were, staging.seats)
    settled.seats = [SeatsVersion(s, recorded[s.id].first_seen if s.id in recorded else staging.at) for s in changed]


def _compared(
    staging: Staging,
    drift: Drift,
    settled: Settled,
    what: tuple[Kind, str],
    recorded: Mapping[str, T],
    seen: Mapping[str, T],
) -> tuple[list[T], list[str]]:
    """Those that are new or differ, and the ids of those that a whole read did not show. `what`: kind and scope."""
    kind, scope = what
    changed = [thing for thing_id, thing in seen.items() if recorded.get(thing_id) != thing]
    for thing in changed:
        write_changes(staging, drift.thing_changes(kind, recorded.get(thing.id), thing))
    ended = sorted(recorded.keys() - seen.keys()) if whole(staging, scope) else []
    for vanished in ended:
        settled.removed.add((kind.value, vanished))
        write_changes(staging, drift.thing_changes(kind, recorded[vanished], None))
    return changed, ended
