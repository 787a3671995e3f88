"""Sources, as the config says."""

from __future__ import annotations

import hashlib

from monitor.config import Config, SourceConfig
from monitor.cycle import Watched
from monitor.domain.reading import Clock, Progress
from monitor.sources.learnworlds import LearnWorlds
from monitor.wiring.secrets import secret


def watched(config: Config, source: SourceConfig, key: str, clock: Clock, progress: Progress | None) -> Watched:
    built = LearnWorlds(
        name=source.name,
        url=source.url.rstrip("/"),
        client_id=source.client_id,
        token=secret(source.token, f"{key}.token", config),
        client_secret=secret(source.client_secret, f"{key}.client_secret", config),
        clock=clock,
        rate=source.rate,
        confirm_limit=source.confirm_limit,
        kept_fields=tuple(source.fields),
        read_members=source.members,
        read_details=source.role_details,
        progress=progress,
    )
    decides = repr((source.fields, sorted(source.privileged_roles), "1"))  # the number moves when normalising changes
    return Watched(
        built, source.kind, source.every.total_seconds(), hashlib.sha256(decides.encode()).hexdigest()[:16],
        source.admin_limit, frozenset(source.privileged_roles), source.use == "authority",
    )  # fmt: skip
