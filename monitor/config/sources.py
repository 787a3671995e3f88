"""[[sources]]: the systems that are watched, one class a kind."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BaseModel, Field, field_validator, model_validator

from monitor.config.secret import Secret
from monitor.config.values import Address, Bool, Duration, Int, Name, Rate, Strict


class WatchedSource(Strict):
    """What every kind of source has."""

    name: Name
    use: Literal["target", "authority"] = "target"
    every: Duration = timedelta(minutes=15)
    admin_limit: Annotated[Int, Field(ge=0)] | None = None
    privileged_roles: list[str] = []

    @field_validator("every")
    @classmethod
    def _not_too_often(cls, every: timedelta) -> timedelta:
        if every < timedelta(seconds=1):
            raise ValueError("must be at least 1s")
        return every


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
    confirm_limit: Annotated[Int, Field(ge=0, le=10000)] = 200

    @model_validator(mode="after")
    def _one_way_in(self) -> LearnWorldsSource:
        if (self.token is None) == (self.client_secret is None):
            raise ValueError("needs exactly one of token and client_secret")
        return self


SourceConfig = LearnWorldsSource
SOURCES: dict[str, type[BaseModel]] = {"learnworlds": LearnWorldsSource}
