"""Secrets, read where the config says that they lie."""

from __future__ import annotations

from monitor.config import Config, Secret


def secret(where: Secret | None, key: str, config: Config) -> str | None:
    """Raises ConfigError that names the key and the place, never the value."""
    return None if where is None else where.read(key, config.folder)
