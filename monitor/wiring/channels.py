"""Channels, as the config says of its receivers."""

from __future__ import annotations

from typing import IO
from urllib.parse import urlsplit

from monitor import config as settings
from monitor.config import Config
from monitor.deliver.console import Console
from monitor.deliver.email import Email
from monitor.deliver.files import Files
from monitor.deliver.render import Renderer
from monitor.deliver.slack import SlackBot
from monitor.deliver.slack_webhook import SlackWebhook
from monitor.domain.message import Channel
from monitor.errors import ConfigError
from monitor.wiring.secrets import secret


def channel(config: Config, receiver: settings.ReceiverConfig, key: str, render: Renderer, stream: IO[str]) -> Channel:
    match receiver:
        case settings.FilesReceiver():
            return Files(config.folder / receiver.path, receiver.format, render)
        case settings.ConsoleReceiver():
            return Console(stream, render)
        case settings.SlackReceiver():
            token = receiver.token.read(f"{key}.token", config.folder)
            return SlackBot(token, receiver.channel, render, base_url=receiver.base_url)
        case settings.SlackWebhookReceiver():
            return SlackWebhook(receiver.url.read(f"{key}.url", config.folder), render)
        case settings.EmailReceiver():
            return _email(config, receiver, key, render)


def _email(config: Config, receiver: settings.EmailReceiver, key: str, render: Renderer) -> Email:
    try:
        return Email(
            host=receiver.host,
            port=receiver.port,
            tls=receiver.tls,
            username=receiver.username,
            password=secret(receiver.password, f"{key}.password", config),
            sender=receiver.sender,
            to=receiver.to,
            renderer=render,
            message_id_domain=receiver.sender.rpartition("@")[2].strip("> ")
            or urlsplit(f"//{receiver.host}").hostname
            or "localhost",
            ca_file=config.folder / receiver.ca_file if receiver.ca_file else None,
        )
    except ValueError as error:
        raise ConfigError([f"{key}: {error}"], str(config.path)) from error
