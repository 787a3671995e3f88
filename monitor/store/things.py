"""Roles, groups and seat offerings as they are recorded now: few, so they are read whole."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import msgspec

from monitor.domain.observed import Group, Role, Seats
from monitor.store.staging import Staging
from monitor.store.tables import moment


class RoleVersion(NamedTuple):
    role: Role
    first_seen: datetime
    changed: datetime
    past_access_levels: tuple[str, ...]
    description_changed: datetime


class GroupVersion(NamedTuple):
    group: Group
    first_seen: datetime


class SeatsVersion(NamedTuple):
    seats: Seats
    first_seen: datetime


def recorded_roles(staging: Staging) -> dict[str, RoleVersion]:
    rows = staging.db.execute(
        """SELECT role_id, title, description, access_level, custom, first_seen, changed, past_access_levels,
             description_changed
           FROM main_db.roles WHERE source_id = ? AND valid_to IS NULL""",
        (staging.source_id,),
    )
    return {
        r[0]: RoleVersion(
            Role(r[0], r[1], r[2], r[3], None if r[4] is None else bool(r[4])),
            moment(r[5]) or staging.at,
            moment(r[6]) or staging.at,
            tuple(msgspec.json.decode(r[7])),
            moment(r[8]) or staging.at,
        )
        for r in rows
    }


def recorded_groups(staging: Staging) -> dict[str, GroupVersion]:
    rows = staging.db.execute(
        """SELECT group_id, title, description, max_members, courses, tags, enrolls, created, first_seen
           FROM main_db.groups WHERE source_id = ? AND valid_to IS NULL""",
        (staging.source_id,),
    )
    return {r[0]: GroupVersion(_group(r), moment(r[8]) or staging.at) for r in rows}


def _group(r: Any) -> Group:
    courses, tags = (None if x is None else tuple(msgspec.json.decode(x)) for x in r[4:6])
    enrolls = None if r[6] is None else bool(r[6])
    return Group(r[0], r[1], r[2], r[3], courses, tags, enrolls, moment(r[7]))


def recorded_seats(staging: Staging) -> dict[str, SeatsVersion]:
    rows = staging.db.execute(
        """SELECT seat_id, title, description, purchased, available, max_members, courses, tags, created, first_seen
           FROM main_db.seats WHERE source_id = ? AND valid_to IS NULL""",
        (staging.source_id,),
    )
    found = {}
    for r in rows:
        courses, tags = (None if x is None else tuple(msgspec.json.decode(x)) for x in r[6:8])
        found[r[0]] = SeatsVersion(
            Seats(r[0], r[1], r[2], r[3], r[4], r[5], courses, tags, moment(r[8])), moment(r[9]) or staging.at
        )
    return found
