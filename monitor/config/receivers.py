"""[[receivers]]: where messages go, one class a kind."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from monitor.config.secret import Secret
from monitor.config.values import Int, Name, Strict


class FilesReceiver(Strict):
    name: Name
    kind: Literal["files"]
    path: Path
    format: Literal["json", "text", "slack", "email"] = "json"


class ConsoleReceiver(Strict):
    name: Name
    kind: Literal["console"]


class SlackReceiver(Strict):
    name: Name
    kind: Literal["slack"]
    token: Secret
    channel: Annotated[str, Field(min_length=1)]
    base_url: str = "https://slack.com/api/"


class SlackWebhookReceiver(Strict):
    name: Name
    kind: Literal["slack_webhook"]
    url: Secret


class EmailReceiver(Strict):
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


ReceiverConfig = Annotated[
    FilesReceiver | ConsoleReceiver | SlackReceiver | SlackWebhookReceiver | EmailReceiver, Field(discriminator="kind")
]
RECEIVERS: dict[str, type[BaseModel]] = {
    "files": FilesReceiver, "console": ConsoleReceiver, "slack": SlackReceiver,
    "slack_webhook": SlackWebhookReceiver, "email": EmailReceiver,
}  # fmt: skip
