"""config.toml as a whole: every setting, its type and its default."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import Field, PrivateAttr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from monitor.config.hours import BusinessHoursConfig
from monitor.config.persons import ExpectationConfig
from monitor.config.receivers import ReceiverConfig
from monitor.config.secret import Secret
from monitor.config.sources import SourceConfig
from monitor.config.values import Bool, Duration, Int, Schedule, Strict, known_zone
from monitor.domain.rule import Severity


class Database(Strict):
    url: str | None = None

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        if url is not None and re.match(r"[^/]*://[^/@]*:[^/@]*@", url):
            raise ValueError("a password must not stand in the config; PostgreSQL takes it from PGPASSFILE")
        return url


class Heartbeat(Strict):
    """The dead-man's switch: somebody else notices when we fall silent."""

    url: Secret
    allow_private: Bool = False


class EscalationConfig(Strict):
    after: Annotated[Duration, Field(gt=timedelta())]
    to: Annotated[list[str], Field(min_length=1)]


class RouteConfig(Strict):
    to: Annotated[list[str], Field(min_length=1)]
    severity: list[Severity] = []
    rule: list[str] = []
    source: list[str] = []
    tag: list[str] = []
    pack: list[str] = []
    owner: list[str] = []
    control: list[str] = []
    subject: list[str] = []
    go_on: Annotated[Bool, Field(alias="continue")] = False
    escalate: list[EscalationConfig] = []
    group_by: list[Literal["severity", "rule", "source", "pack", "owner", "subject"]] = []
    group_wait: Duration = timedelta(minutes=5)
    in_business_hours: Bool = False
    changes: list[str] = []

    @field_validator("group_wait")
    @classmethod
    def _a_day_at_most(cls, wait: timedelta) -> timedelta:
        if wait > timedelta(days=1):
            raise ValueError("must be 1d at most: nobody is told meanwhile")
        return wait


class Config(BaseSettings):
    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, env_prefix="ACCESS_MONITOR_", env_nested_delimiter="__"
    )

    database: Database = Database()
    rules: Path = Path("rules")
    templates: Path = Path("templates")
    time_zone: str = "UTC"
    log: Literal["text", "json"] = "text"
    storm_limit: Annotated[Int, Field(ge=1)] = 25
    flapping: Annotated[Int, Field(ge=0)] = 3
    flapping_window: Annotated[Duration, Field(gt=timedelta())] = timedelta(days=7)
    exemption_warning: Duration = timedelta(days=14)
    silence_warning: Duration = timedelta(hours=1)
    due_soon: list[Annotated[Int, Field(ge=1, le=99)]] = [50, 80]
    remind: Duration = timedelta(days=1)
    second_approver: Bool = False
    slack_endpoint: Annotated[str, Field(pattern=r"^(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+):[0-9]{1,5}$")] | None = None
    business_hours: BusinessHoursConfig = BusinessHoursConfig()
    settings: dict[str, Any] = {}
    drill: Schedule | None = None
    heartbeat: Heartbeat | None = None
    sources: Annotated[list[SourceConfig], Field(min_length=1)]
    expectations: list[ExpectationConfig] = []
    receivers: Annotated[list[ReceiverConfig], Field(min_length=1)]
    routes: Annotated[list[RouteConfig], Field(min_length=1)]
    _path: Path = PrivateAttr(Path("config.toml"))  # no setting: where the settings were read

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        return known_zone(name)

    @property
    def path(self) -> Path:
        return self._path

    @property
    def folder(self) -> Path:
        return self.path.resolve().parent

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.time_zone)

    @property
    def database_url(self) -> str:
        if self.database.url:
            return self.database.url
        state = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
        return f"sqlite:///{Path(state) if state else self.folder}/access-monitor.sqlite"
