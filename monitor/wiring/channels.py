"""Channels, as the config says of its receivers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any, Literal
from urllib.parse import urlsplit

from slack_sdk.signature import SignatureVerifier

from monitor import config as settings
from monitor.acts.desk import Desk
from monitor.acts.endpoint import App, Endpoint, Now
from monitor.acts.socket import Socket
from monitor.config import Config, Secret
from monitor.deliver.console import Console
from monitor.deliver.email import Email
from monitor.deliver.files import Files
from monitor.deliver.guard import Guard
from monitor.deliver.heartbeat import Heartbeat
from monitor.deliver.render import Renderer
from monitor.deliver.slack import SlackBot
from monitor.deliver.slack_http import Web, loopback
from monitor.deliver.slack_pace import MethodGate
from monitor.deliver.slack_webhook import SlackWebhook
from monitor.deliver.webhook import Webhook
from monitor.domain.act import Inbox
from monitor.domain.message import Channel, Manner
from monitor.domain.reading import Clock
from monitor.errors import ConfigError
from monitor.wiring.secrets import secret


class Gates:
    """One gate for each app in Slack, whatever number of receivers it has."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._by_token: dict[str, MethodGate] = {}

    def paced(self, made: Channel) -> Channel:
        if isinstance(made, SlackBot):
            token = str(made.client.token)
            made.client.gate = self._by_token.setdefault(token, MethodGate(self._clock))
        return made


def channel(
    config: Config, receiver: settings.ReceiverConfig, key: str, render: Renderer, stream: IO[str], clock: Clock
) -> Channel:
    match receiver:
        case settings.FilesReceiver():
            return Files(config.folder / receiver.path, receiver.format, render)
        case settings.ConsoleReceiver():
            return Console(stream, render)
        case settings.SlackReceiver():
            return slack_bot(config, receiver, key, render)
        case settings.SlackWebhookReceiver():
            return SlackWebhook(receiver.url.read(f"{key}.url", config.folder), render)
        case settings.EmailReceiver():
            return _email(config, receiver, key, render)
        case settings.WebhookReceiver():
            return _webhook(config, receiver, key, render, clock)


def slack_bot(config: Config, receiver: settings.SlackReceiver, key: str, render: Renderer) -> SlackBot:
    token = receiver.token.read(f"{key}.token", config.folder)
    buttons = receiver.name if receiver.actors else ""
    return SlackBot(token, receiver.channel, render, base_url=receiver.base_url, buttons=buttons)


Actors = dict[tuple[str, str, str], dict[str, list[str]]]  # by app: by receiver, who may act


def inboxes(config: Config, clock: Clock) -> tuple[Inbox, ...]:
    """One connection for each app, whatever number of receivers it has; and the address for signed requests."""
    sockets = tuple(_socket(*app, may) for app, may in _apps(config, "app_token").items())
    return (*sockets, *_endpoint(config, clock))


def _apps(config: Config, setting: Literal["app_token", "signing_secret"]) -> Actors:
    """By this secret, the bot's token and the root of the API."""
    actors: Actors = {}
    for i, receiver in enumerate(config.receivers):
        secret_of = getattr(receiver, setting, None)
        if isinstance(receiver, settings.SlackReceiver) and secret_of is not None:
            known_by = secret_of.read(f"receivers[{i}].{setting}", config.folder)
            token = receiver.token.read(f"receivers[{i}].token", config.folder)
            actors.setdefault((known_by, token, receiver.base_url), {})[receiver.name] = receiver.actors
    return actors


def _socket(app_token: str, token: str, base_url: str, actors: dict[str, list[str]]) -> Socket:
    web = _web(token, base_url)
    return Socket(app_token, web, Desk(web, actors), loopback=loopback(base_url))


def _endpoint(config: Config, clock: Clock) -> Iterator[Endpoint]:
    if config.slack_endpoint is None:
        return
    host, _, port = config.slack_endpoint.rpartition(":")
    now: Any = Now(lambda: clock.now().timestamp())
    apps = [
        App(SignatureVerifier(known_by, now), Desk(_web(token, base_url), may))
        for (known_by, token, base_url), may in _apps(config, "signing_secret").items()
    ]
    yield Endpoint(host.strip("[]"), int(port), apps)


def _web(token: str, base_url: str) -> Web:
    web = Web(token, base_url=base_url, timeout=20, retry_handlers=[])
    web.proxy = None
    return web


def manner(receiver: settings.ReceiverConfig) -> Manner:
    """How a receiver is sent to, beside the channel itself."""
    if not isinstance(receiver, settings.EmailReceiver):
        return Manner(receiver.rate, receiver.fallback, living=isinstance(receiver, settings.SlackReceiver))
    owners = receiver.to == ["owner"]
    return Manner(receiver.rate, receiver.fallback, () if owners else tuple(receiver.to), owners, receiver.digest)


def heartbeat(config: Config, clock: Clock) -> Heartbeat | None:
    if config.heartbeat is None:
        return None
    guard = Guard(clock.monotonic, config.heartbeat.allow_private, timeout=10.0)
    try:
        return Heartbeat(config.heartbeat.url.read("heartbeat.url", config.folder), guard)
    except ValueError as error:
        raise ConfigError([f"heartbeat.url: {error}"], str(config.path)) from error


def _webhook(config: Config, receiver: settings.WebhookReceiver, key: str, render: Renderer, clock: Clock) -> Webhook:
    def read(name: str, several: dict[str, Secret]) -> dict[str, str]:
        return {k: v.read(f"{key}.{name}.{k}", config.folder) for k, v in several.items()}

    keys = [k.read(f"{key}.signing_keys[{i}]", config.folder) for i, k in enumerate(receiver.signing_keys)]
    ca_file = config.folder / receiver.ca_file if receiver.ca_file else None
    try:
        return Webhook(
            url=receiver.url.read(f"{key}.url", config.folder),
            format=receiver.format,
            renderer=render,
            guard=Guard(clock.monotonic, receiver.allow_private, ca_file),
            now=clock.now,
            template=receiver.template,
            signing_keys=keys,
            headers=read("headers", receiver.headers),
            values=receiver.values,
            secrets=read("secrets", receiver.secrets),
        )
    except ValueError as error:
        raise ConfigError([f"{key}.{error}"], str(config.path)) from error


def _email(config: Config, receiver: settings.EmailReceiver, key: str, render: Renderer) -> Email:
    try:
        return Email(
            host=receiver.host,
            port=receiver.port,
            tls=receiver.tls,
            username=receiver.username,
            password=secret(receiver.password, f"{key}.password", config),
            sender=receiver.sender,
            to=receiver.to[0] if receiver.to != ["owner"] else None,
            renderer=render,
            message_id_domain=receiver.sender.rpartition("@")[2].strip("> ")
            or urlsplit(f"//{receiver.host}").hostname
            or "localhost",
            ca_file=config.folder / receiver.ca_file if receiver.ca_file else None,
        )
    except ValueError as error:
        raise ConfigError([f"{key}: {error}"], str(config.path)) from error
