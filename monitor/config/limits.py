"""limits of a source: how much one poll may change before a person has to say that it is true."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from monitor.config.values import Int, Strict


class LimitConfig(Strict):
    """At most this share and, if one is given, this number; where there are at least `minimum` of the thing."""

    share: Annotated[float, Field(ge=0, le=1)]
    number: Annotated[Int, Field(ge=0)] | None = None
    minimum: Annotated[Int, Field(ge=0)]


OFF = LimitConfig(share=1.0, minimum=0)


def _filled(default: LimitConfig) -> Callable[[Any], Any]:
    """What a table leaves out is as it is by default; "off" is no limit."""

    def fill(given: Any) -> Any:
        if given == "off":
            return OFF
        if isinstance(given, str):
            raise ValueError('must be a table like { share = 0.2, number = 1000, minimum = 25 }, or "off"')
        return default.model_dump() | given if isinstance(given, dict) else given

    return fill


REMOVED = SUSPENDED = LimitConfig(share=0.2, number=1000, minimum=25)
UNPRIVILEGED = LimitConfig(share=0.5, number=100, minimum=4)
CHANGED = LimitConfig(share=0.5, minimum=25)
ROLES = LimitConfig(share=0.5, minimum=4)
GROUPS = LimitConfig(share=0.3, number=100, minimum=10)
MEMBERS = LimitConfig(share=0.3, number=10000, minimum=50)


class Limits(Strict):
    """Defaults that protect: an ordinary day stays within them, half a school does not."""

    removed: Annotated[LimitConfig, BeforeValidator(_filled(REMOVED))] = REMOVED
    suspended: Annotated[LimitConfig, BeforeValidator(_filled(SUSPENDED))] = SUSPENDED
    unprivileged: Annotated[LimitConfig, BeforeValidator(_filled(UNPRIVILEGED))] = UNPRIVILEGED
    changed: Annotated[LimitConfig, BeforeValidator(_filled(CHANGED))] = CHANGED
    roles_removed: Annotated[LimitConfig, BeforeValidator(_filled(ROLES))] = ROLES
    groups_removed: Annotated[LimitConfig, BeforeValidator(_filled(GROUPS))] = GROUPS
    members_removed: Annotated[LimitConfig, BeforeValidator(_filled(MEMBERS))] = MEMBERS
