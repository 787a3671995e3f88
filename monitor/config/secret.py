"""Where a secret lies. The config never holds one, and no message shows one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from pydantic import model_validator

from monitor.config.values import Strict
from monitor.errors import ConfigError

LONGEST_SECRET = 64 * 1024


class Secret(Strict):
    """Where a secret lies. The config never holds one."""

    env: str | None = None
    file: Path | None = None
    credential: str | None = None  # a name in $CREDENTIALS_DIRECTORY, set by systemd's LoadCredential=

    @model_validator(mode="before")
    @classmethod
    def _not_inline(cls, value: Any) -> Any:
        if not isinstance(value, (dict, Secret)):
            raise ValueError('a secret must not stand in the config: write { env = "NAME" }, { file = "PATH" } '
                             'or { credential = "NAME" }')  # fmt: skip
        return value

    @model_validator(mode="after")
    def _one(self) -> Secret:
        if sum(x is not None for x in (self.env, self.file, self.credential)) != 1:
            raise ValueError("must name exactly one of env, file and credential")
        return self

    def read(self, key: str, folder: Path) -> str:
        """The secret itself. Raises ConfigError that names the key and the place, never the value."""
        if self.env is not None:
            value = os.environ.get(self.env, "")
            if not value:
                raise ConfigError([f"{key}: the environment variable {self.env} is not set"])
            return value.strip()
        path = folder / self.file if self.file is not None else self._credential(key)
        try:
            if path.stat().st_size > LONGEST_SECRET:
                raise ConfigError([f"{key}: {path} is too large for a secret"])
            value = path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "is no text"
            raise ConfigError([f"{key}: cannot read {path}: {reason}"]) from error
        if not value:
            raise ConfigError([f"{key}: {path} is empty"])
        return value

    def _credential(self, key: str) -> Path:
        folder = os.environ.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise ConfigError([f"{key}: $CREDENTIALS_DIRECTORY is not set; start it by systemd with LoadCredential="])
        return Path(folder) / str(self.credential)


class Place(Secret):
    """An address, which may be a secret or not: some hold a key in themselves."""

    plain: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _not_inline(cls, value: Any) -> Any:
        return {"plain": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self) -> Place:
        if sum(x is not None for x in (self.env, self.file, self.credential, self.plain)) != 1:
            raise ValueError("must be an address, or name exactly one of env, file and credential")
        return self

    def read(self, key: str, folder: Path) -> str:
        return self.plain if self.plain is not None else super().read(key, folder)
