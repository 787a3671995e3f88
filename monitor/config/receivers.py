"""[[receivers]]: where messages go, one class a kind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, model_validator

from monitor.config.secret import Place, Secret
from monitor.config.values import Bool, Int, Name, Rate, Schedule, Strict


class Receiver(Strict):
    """What every kind of receiver has."""

    name: Name
    rate: Rate | None = None
    fallback: Name | None = None


class FilesReceiver(Receiver):
    kind: Literal["files"]
    path: Path
    format: Literal["json", "text", "slack", "email"] = "json"


class ConsoleReceiver(Receiver):
    kind: Literal["console"]


def _no_link(channel: str) -> str:
    if "/" in channel:
        raise ValueError("write the channel's id, such as C0123456789: it is at the end of its link")
    return channel


class SlackReceiver(Receiver):
    kind: Literal["slack"]
    rate: Rate | None = (1, 1.0)  # what Slack allows a channel
    token: Secret
    channel: Annotated[str, Field(min_length=1), AfterValidator(_no_link)]
    app_token: Secret | None = None
    signing_secret: Secret | None = None
    actors: list[Annotated[str, Field(pattern="^[UWS][A-Z0-9]{7,}$")]] = []
    base_url: str = "https://slack.com/api/"

    @model_validator(mode="after")
    def _somebody_acts(self) -> SlackReceiver:
        if (self.app_token is None and self.signing_secret is None) != (not self.actors):
            raise ValueError(
                "app_token (or signing_secret) and actors belong together: buttons, and ids of users or groups who may "
                "press"
            )
        return self


class SlackWebhookReceiver(Receiver):
    kind: Literal["slack_webhook"]
    rate: Rate | None = (1, 1.0)
    url: Secret


def _several(value: object) -> object:
    return [value] if isinstance(value, str) else value


class EmailReceiver(Receiver):
    kind: Literal["email"]
    host: str
    port: Annotated[Int, Field(ge=1, le=65535)] = 587
    tls: Literal["implicit", "starttls", "none"] = "starttls"
    ca_file: Path | None = None
    username: str | None = None
    password: Secret | None = None
    sender: Annotated[str, Field(alias="from", min_length=3)]
    to: Annotated[list[Annotated[str, Field(min_length=3)]], BeforeValidator(_several), Field(min_length=1)]
    digest: Schedule | None = None

    @model_validator(mode="after")
    def _owners_alone(self) -> EmailReceiver:
        if "owner" in self.to and (len(self.to) > 1 or self.fallback is None):
            raise ValueError('to = "owner" stands alone and needs `fallback`: a receiver for what has no owner')
        return self


class WebhookReceiver(Receiver):
    kind: Literal["webhook"]
    url: Place
    format: Literal["json", "cloudevents", "template"] = "json"
    template: Name | None = None
    signing_keys: Annotated[list[Secret], Field(max_length=2)] = []
    headers: dict[str, Secret] = {}
    values: dict[str, str] = {}
    secrets: dict[str, Secret] = {}
    allow_private: Bool = False
    ca_file: Path | None = None

    @model_validator(mode="after")
    def _template_named(self) -> WebhookReceiver:
        if (self.format == "template") != (self.template is not None):
            raise ValueError('format = "template" and `template` belong together')
        if self.template is None and (self.values or self.secrets):
            raise ValueError("values and secrets are read by a template only")
        return self


ReceiverConfig = Annotated[
    FilesReceiver | ConsoleReceiver | SlackReceiver | SlackWebhookReceiver | EmailReceiver | WebhookReceiver,
    Field(discriminator="kind"),
]
RECEIVERS: dict[str, type[BaseModel]] = {
    "files": FilesReceiver, "console": ConsoleReceiver, "slack": SlackReceiver,
    "slack_webhook": SlackWebhookReceiver, "email": EmailReceiver, "webhook": WebhookReceiver,
}  # fmt: skip
