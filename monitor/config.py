"""config.toml: every setting, its type and its default. Faults name the key's path; a value is never printed."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from monitor.domain.rule import Severity
from monitor.errors import ConfigError

LONGEST_SECRET = 64 * 1024


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_AGE = re.compile(r"([0-9]{1,6})([smhd])")
_PER = re.compile(r"([1-9][0-9]{0,5})/([1-9][0-9]{0,5}[smhd])")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


def _duration(text: Any) -> Any:
    """ "15m" as a timedelta. pydantic would take numbers and ISO durations, too: here there is one way to write it."""
    if isinstance(text, timedelta):
        return text
    found = _AGE.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('must be a duration: a number and s, m, h or d, like "15m"')
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _rate(text: Any) -> Any:
    """ "30/10s": requests and seconds."""
    if isinstance(text, tuple):
        return text
    found = _PER.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise ValueError('must be a rate: requests and a time, like "30/10s"')
    return int(found[1]), _duration(found[2]).total_seconds()


def _address(text: Any) -> Any:
    if isinstance(text, str) and not re.fullmatch(r"https?://[^/\s?#@]+/?", text):
        raise ValueError('must be an address without a path or a password, like "https://yourschool.learnworlds.com"')
    return text


def _name(text: Any) -> Any:
    if isinstance(text, str) and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", text):
        raise ValueError("must be letters, digits, dots, hyphens and underscores, 63 at most")
    return text


Duration = Annotated[timedelta, BeforeValidator(_duration)]
Rate = Annotated[tuple[int, float], BeforeValidator(_rate)]
Name = Annotated[str, BeforeValidator(_name)]
Bool = Annotated[bool, Field(strict=True)]  # not 1 or "yes": there is one way to write it
Int = Annotated[int, Field(strict=True)]


class Secret(_Strict):
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


class Database(_Strict):
    url: str | None = None

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str | None) -> str | None:
        if url is not None and re.match(r"[^/]*://[^/@]*:[^/@]*@", url):
            raise ValueError("a password must not stand in the config; PostgreSQL takes it from PGPASSFILE")
        return url


class LearnWorldsSource(_Strict):
    name: Name
    kind: Literal["learnworlds"]
    url: Annotated[str, BeforeValidator(_address)]
    client_id: Annotated[str, Field(min_length=1)]
    token: Secret | None = None
    client_secret: Secret | None = None
    every: Duration = timedelta(minutes=15)
    rate: Rate = (30, 10.0)
    admin_limit: Annotated[Int, Field(ge=0)] | None = None
    privileged_roles: list[str] = []
    fields: list[str] = ["company"]
    members: Bool = True
    role_details: Bool = True
    confirm_limit: Annotated[Int, Field(ge=0, le=10000)] = 200

    @model_validator(mode="after")
    def _one_way_in(self) -> LearnWorldsSource:
        if (self.token is None) == (self.client_secret is None):
            raise ValueError("needs exactly one of token and client_secret")
        return self

    @field_validator("every")
    @classmethod
    def _not_too_often(cls, every: timedelta) -> timedelta:
        if every < timedelta(seconds=1):
            raise ValueError("must be at least 1s")
        return every


class FilesReceiver(_Strict):
    name: Name
    kind: Literal["files"]
    path: Path
    format: Literal["json", "text", "slack", "email"] = "json"


class ConsoleReceiver(_Strict):
    name: Name
    kind: Literal["console"]


class SlackReceiver(_Strict):
    name: Name
    kind: Literal["slack"]
    token: Secret
    channel: Annotated[str, Field(min_length=1)]
    base_url: str = "https://slack.com/api/"


class SlackWebhookReceiver(_Strict):
    name: Name
    kind: Literal["slack_webhook"]
    url: Secret


class EmailReceiver(_Strict):
    name: Name
    kind: Literal["email"]
    host: str
    port: Annotated[Int, Field(ge=1, le=65535)] = 587
    tls: Literal["implicit", "starttls", "none"] = "starttls"
    ca_file: Path | None = None
    username: str | None = None
    password: Secret | None = None
    sender: Annotated[str, Field(alias="from", min_length=3)]
    to: Annotated[str, Field(min_length=3)]


class RouteConfig(_Strict):
    to: Annotated[list[str], Field(min_length=1)]
    severity: list[Severity] = []
    rule: list[str] = []
    source: list[str] = []
    tag: list[str] = []
    changes: list[str] = []


SourceConfig = LearnWorldsSource
ReceiverConfig = Annotated[
    FilesReceiver | ConsoleReceiver | SlackReceiver | SlackWebhookReceiver | EmailReceiver, Field(discriminator="kind")
]


_RECEIVERS: dict[str, type[BaseModel]] = {
    "files": FilesReceiver, "console": ConsoleReceiver, "slack": SlackReceiver,
    "slack_webhook": SlackWebhookReceiver, "email": EmailReceiver,
}  # fmt: skip


class Config(BaseSettings):
    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, env_prefix="ACCESS_MONITOR_", env_nested_delimiter="__"
    )

    database: Database = Database()
    rules: Path = Path("rules")
    templates: Path = Path("templates")
    time_zone: str = "UTC"
    log: Literal["text", "json"] = "text"
    sources: Annotated[list[SourceConfig], Field(min_length=1)]
    receivers: Annotated[list[ReceiverConfig], Field(min_length=1)]
    routes: Annotated[list[RouteConfig], Field(min_length=1)]
    _path: Path = PrivateAttr(Path("config.toml"))  # no setting: where the settings were read

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError('is no time zone; write it like "Europe/Berlin"') from error
        return name

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


def load(path: Path) -> Config:
    """The config in a file. Raises ConfigError that names every fault by its key."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        advice = " Run `access-monitor init FOLDER` to make one." if isinstance(error, FileNotFoundError) else ""
        raise ConfigError([f"cannot be read: {error.strerror}.{advice}"], str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(["is no UTF-8 text"], str(path)) from error
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"not valid TOML: {error}"], str(path)) from error
    try:
        config = _reading(path)()
    except ValidationError as error:
        raise ConfigError(_named(error), str(path)) from error
    except SettingsError as error:  # an environment variable that is no JSON; the message names the setting
        raise ConfigError([f"environment variables ACCESS_MONITOR_...: {error}"], str(path)) from error
    config._path = path
    problems = list(_cross_checks(config))
    if problems:
        raise ConfigError(problems, str(path))
    return config


def _reading(path: Path) -> type[Config]:
    """A Config that reads this file, with environment variables (ACCESS_MONITOR_...) above it."""

    class FromFile(Config):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)

    return FromFile


_SAID = {
    "missing": "is missing",
    "model_type": "must be a table",
    "path_type": "must be a path, in quotes",
    "union_tag_invalid": f"must be one of {', '.join(_RECEIVERS)}",
    "union_tag_not_found": f"is missing; it is one of {', '.join(_RECEIVERS)}",
    "string_too_short": "is too short",
    "too_short": "needs at least one",
}


def _named(error: ValidationError) -> list[str]:
    """Faults by key. Only what was expected is told: the input may be a secret in the wrong place."""
    problems: dict[str, str] = {}
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        key, meant = _key(fault["loc"]), ""
        if fault["type"].startswith("union_tag"):
            key += ".kind"
        elif fault["type"] == "extra_forbidden":
            meant = _near(fault["loc"])
        if fault["type"] == "extra_forbidden":
            problems[key] = f"is no setting{f'; did you mean {meant}?' if meant else ''}"
        else:
            problems[key] = _SAID.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
        misspelt = f"{key.rpartition('.')[0]}.{meant}".lstrip(".")
        if meant and problems.get(misspelt) == _SAID["missing"]:
            del problems[misspelt]  # one mistake, one error
    return [f"{key}: {message}" if key else message for key, message in problems.items()]


def _key(loc: tuple[int | str, ...]) -> str:
    """("receivers", 0, "files", "path") as receivers[0].path: the third stands for the kind, and is no key."""
    parts = [*loc[:2], *loc[3:]] if loc[0:1] == ("receivers",) else loc
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")


def _near(loc: tuple[int | str, ...]) -> str:
    """The setting of this place that is called nearly the same, or nothing."""
    tables: dict[Any, type[BaseModel]] = {"sources": LearnWorldsSource, "routes": RouteConfig, "database": Database}
    model = tables.get(loc[0], Config) if loc[0] != "receivers" else _RECEIVERS[str(loc[2])]
    inside = len(loc) - {"receivers": 3, "sources": 2, "routes": 2, "database": 1}.get(str(loc[0]), 0)
    known = [f.alias or n for n, f in (Secret if inside > 1 else model).model_fields.items()]
    return next(iter(difflib.get_close_matches(str(loc[-1]), known, n=1)), "")


def _cross_checks(config: Config) -> list[str]:
    problems = [f"sources: two are called {n}" for n in _twice([s.name for s in config.sources])]
    problems += [f"receivers: two are called {n}" for n in _twice([r.name for r in config.receivers])]
    receivers, sources = {r.name for r in config.receivers}, {s.name for s in config.sources}
    for i, route in enumerate(config.routes):
        problems += [f"routes[{i}].to: there is no receiver {n}" for n in route.to if n not in receivers]
        if route.changes and (route.severity or route.rule or route.tag):
            problems.append(f"routes[{i}]: changes have no severity, rule or tag; make two routes of it")
        problems += [f"routes[{i}].source: there is no source {n}" for n in route.source if n not in sources]
    for_findings = [(i, r) for i, r in enumerate(config.routes) if not r.changes]
    if not for_findings:
        return [*problems, "routes: none takes findings; add a last route with nothing but `to`"]
    last_i, last = for_findings[-1]
    if last.severity or last.rule or last.source or last.tag:
        problems.append(f"routes[{last_i}]: the last route for findings must match all: leave only `to`")
    return problems


def _twice(names: list[str]) -> list[str]:
    return sorted({n for n in names if names.count(n) > 1})
