"""[[sources]]: the systems that are watched, one class a kind."""

from __future__ import annotations

import codecs
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from monitor.config.limits import Limits
from monitor.config.persons import MatchKey
from monitor.config.secret import Secret
from monitor.config.values import Address, Bool, Duration, Int, Name, Rate, Service, Strict


class WatchedSource(Strict):
    """What every kind of source has."""

    name: Name
    use: Literal["target", "authority"] = "target"
    every: Duration = timedelta(minutes=15)
    admin_limit: Annotated[Int, Field(ge=0)] | None = None
    privileged_roles: list[str] = []
    owner: Annotated[str, Field(pattern="^[^@\\s]+@[^@\\s]+$")] | None = None
    limits: Limits = Limits()
    authorities: list[Name] | None = None
    match: Annotated[list[MatchKey], Field(min_length=1)] = ["email"]
    aliases: dict[str, str] | Path | None = None
    stale_after: Duration = timedelta(days=1)
    blind_after: Duration | None = None

    @model_validator(mode="after")
    def _not_blind_at_once(self) -> Self:
        if self.blind_after is not None and self.blind_after < self.every:
            raise ValueError("blind_after must be at least as long as every")
        return self

    @field_validator("every")
    @classmethod
    def _not_too_often(cls, every: timedelta) -> timedelta:
        if every < timedelta(seconds=1):
            raise ValueError("must be at least 1s")
        return every


def _not_in_a_rush(every: timedelta | None) -> timedelta | None:
    if every is not None and every < timedelta(seconds=1):
        raise ValueError("must be at least 1s")
    return every


Interval = Annotated[Duration, AfterValidator(_not_in_a_rush)]


class CapsConfig(Strict):
    """The most that one poll takes."""

    pages: Annotated[Int, Field(ge=1)] = 100_000
    records: Annotated[Int, Field(ge=1)] = 10_000_000
    megabytes: Annotated[Int, Field(ge=1)] = 50_000
    time: Interval = timedelta(hours=12)


class LearnWorldsSource(WatchedSource):
    kind: Literal["learnworlds"]
    url: Address
    client_id: Annotated[str, Field(min_length=1)]
    token: Secret | None = None
    client_secret: Secret | None = None
    rate: Rate = (30, 10.0)
    fields: list[str] = ["company"]
    members: Bool = True
    role_details: Bool = True
    fast_every: Interval | None = None
    members_every: Interval | None = None
    role_details_every: Interval | None = None
    seats_every: Interval | None = None
    event_logs_every: Interval | None = None
    resume_within: Duration = timedelta(hours=1)
    raw_pages: Interval | None = None
    caps: CapsConfig = CapsConfig()
    confirm_limit: Annotated[Int, Field(ge=0, le=10000)] = 200

    @model_validator(mode="after")
    def _one_way_in(self) -> LearnWorldsSource:
        if (self.token is None) == (self.client_secret is None):
            raise ValueError("needs exactly one of token and client_secret")
        return self


class ColumnNames(Strict):
    """Which column of a table holds what: our name, and the name in the table."""

    id: Annotated[str, Field(min_length=1)]
    email: str | None = None
    username: str | None = None
    name: str | None = None
    status: str | None = None
    level: str | None = None
    role: str | None = None
    groups: str | None = None
    tags: str | None = None
    created: str | None = None
    last_login: str | None = None
    employee_id: str | None = None
    department: str | None = None
    title: str | None = None
    manager: str | None = None
    starts: str | None = None
    ends: str | None = None
    ended_recorded: str | None = None


class TableSource(WatchedSource):
    """What a source has whose records are rows: how they are read."""

    columns: ColumnNames
    fields: list[str] = []
    status_values: dict[str, Literal["active", "suspended", "invited", "deactivated"]] = {}
    list_separator: Annotated[str, Field(min_length=1)] = ";"
    date_format: Annotated[str, Field(min_length=1)] | None = None
    max_shrink: Annotated[float, Field(ge=0, le=1)] = 0.5

    @field_validator("date_format")
    @classmethod
    def _a_whole_date(cls, text: str | None) -> str | None:
        day = text is None or any(part in text for part in ("%d", "%j", "%x", "%D", "%F"))
        if not day and text != "unix":
            raise ValueError('must say where day, month and year stand, like "%d.%m.%Y", or be "unix"')
        return text

    @model_validator(mode="after")
    def _said_once(self) -> TableSource:
        twice = [name for name in self.fields if getattr(self.columns, name, None) not in (None, name)]
        if twice:
            raise ValueError(f"fields: {twice[0]} is already the name of another column in `columns`")
        return self


class FileSource(TableSource):
    kind: Literal["file"]
    path: Path
    format: Literal["csv", "xlsx", "json", "jsonl"] | None = None
    encoding: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    sheet: Annotated[str, Field(min_length=1)] | None = None
    max_age: Duration | None = None

    @field_validator("encoding")
    @classmethod
    def _known(cls, encoding: str | None) -> str | None:
        try:
            codecs.lookup(encoding or "utf-8")
        except LookupError as error:
            raise ValueError('is no encoding; write it like "utf-8" or "cp1252"') from error
        return encoding

    @model_validator(mode="after")
    def _known_format(self) -> FileSource:
        if self.format is None and self.path.suffix.lower() not in (".csv", ".tsv", ".txt", ".xlsx", ".json", ".jsonl"):
            raise ValueError("path: the ending does not say what the file is; set `format` to csv, xlsx, json or jsonl")
        return self


class SqlSource(TableSource):
    kind: Literal["sql"]
    url: Annotated[str, Field(min_length=1)]
    password: Secret | None = None
    query: Annotated[str, Field(min_length=1)]
    timeout: Duration = timedelta(seconds=60)
    max_rows: Annotated[Int, Field(ge=1)] = 1_000_000

    @field_validator("url")
    @classmethod
    def _no_password(cls, url: str) -> str:
        if re.match(r"[^/]*://[^/@]*:[^/@]*@", url):
            raise ValueError("a password must not stand in the config; name where it lies in `password`")
        return url


class PythonSource(WatchedSource):
    """A source of your own: a Python file that is loaded from the disk."""

    kind: Literal["python"]
    file: Path
    settings: dict[str, str | int | float | bool | list[str]] = {}
    secrets: dict[str, Secret] = {}


class TrutoSource(WatchedSource):
    kind: Literal["truto"]
    api: Literal["unified", "proxy", "mcp"] = "unified"
    url: Address = "https://api.truto.one"
    token: Secret | None = None
    integrated_account_id: Annotated[str, Field(min_length=1)] | None = None
    mcp_url: Secret | None = None
    rate: Rate = (30, 10.0)
    fields: list[str] = ["company"]
    members: Bool = True
    role_details: Bool = False
    resume_within: Duration = timedelta(hours=1)
    raw_pages: Interval | None = None
    caps: CapsConfig = CapsConfig()
    confirm_limit: Annotated[Int, Field(ge=0, le=10000)] = 200

    @model_validator(mode="after")
    def _a_way_in(self) -> TrutoSource:
        if self.api == "mcp" and self.mcp_url is None:
            raise ValueError('needs mcp_url for api = "mcp"')
        if self.api != "mcp" and (self.token is None or self.integrated_account_id is None):
            raise ValueError(f'needs token and integrated_account_id for api = "{self.api}"')
        if self.integrated_account_id is not None and self.token is None:
            raise ValueError("has an integrated_account_id, which is of no use without token")
        return self


class ScimSource(WatchedSource):
    kind: Literal["scim"]
    url: Service
    token: Secret
    rate: Rate = (10, 1.0)
    count: Annotated[Int, Field(ge=1, le=10000)] = 100
    paging: Literal["auto", "index", "cursor"] = "auto"
    levels: dict[str, str] = {}
    fields: list[str] = []
    groups: Bool = True
    resume_within: Duration = timedelta(hours=1)
    raw_pages: Interval | None = None
    caps: CapsConfig = CapsConfig()
    confirm_limit: Annotated[Int, Field(ge=0, le=10000)] = 200


SourceConfig = Annotated[
    LearnWorldsSource | TrutoSource | ScimSource | FileSource | SqlSource | PythonSource, Field(discriminator="kind")
]
SOURCES: dict[str, type[WatchedSource]] = {
    "learnworlds": LearnWorldsSource,
    "truto": TrutoSource,
    "scim": ScimSource,
    "file": FileSource,
    "sql": SqlSource,
    "python": PythonSource,
}
