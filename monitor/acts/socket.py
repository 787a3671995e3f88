"""Slack's Socket Mode: what people press comes in over a connection that we open, so no port is.

An act is written down before Slack is told that it arrived; what cannot be written is not acknowledged, and Slack
delivers it again or tells the person.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import structlog
from slack_sdk import WebClient
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from monitor.acts.payload import Press, form, pressed
from monitor.domain.act import Act, Click

log = structlog.get_logger()
_AGAIN = 30.0  # seconds after a connection could not be made
Handle = Callable[[Click], str]


class Answering(Protocol):
    def send_socket_mode_response(self, response: SocketModeResponse) -> None: ...


class Socket:
    def __init__(
        self, app_token: str, web: WebClient, actors: Mapping[str, Sequence[str]], loopback: bool = False
    ) -> None:
        """`web` has the bot's token; `actors`: by receiver, ids of users and of user groups who may act."""
        self._token, self._web, self.actors, self._loopback = app_token, web, actors, loopback
        self._client: SocketModeClient | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._connect, name="slack-socket", daemon=True)
        self._handle: Handle | None = None

    def start(self, handle: Handle) -> None:
        self.hears(handle)
        self._thread.start()

    def hears(self, handle: Handle) -> None:
        self._handle = handle

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(timeout=10)
        if self._client is not None:
            self._client.close()

    def _connect(self) -> None:
        """Until it is made once; from then on the client keeps it up."""
        while not self._stopped.is_set():
            client = SocketModeClient(self._token, web_client=self._web, auto_reconnect_enabled=True)
            if self._loopback:
                client.proxy = None  # the client would take a proxy of the environment for every address
            client.socket_mode_request_listeners.append(self.came)
            try:
                client.connect()
            except Exception as error:  # the client raises what urllib, ssl and json raise
                client.close()
                log.error("no connection to Slack for buttons; tried again", error=type(error).__name__)
                self._stopped.wait(_AGAIN)
            else:
                self._client = client
                log.info("buttons in Slack are heard")
                return

    def came(self, client: Answering, request: SocketModeRequest) -> None:
        press = pressed(request.payload) if request.type == "interactive" else None
        said = "" if press is None else self._take(press, request.envelope_id)
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id))
        if press is not None and said:
            self._tell(press, said)

    def _take(self, press: Press, envelope: str) -> str:
        assert self._handle is not None
        if press.act is Act.FALSE_ALARM and press.reason is None:
            return self._ask(press)
        keys = (press.key, envelope)
        return self._handle(
            Click(press.act, press.fingerprint, press.receiver, press.name, keys, self._may(press), press.reason or "")
        )

    def _ask(self, press: Press) -> str:
        try:
            self._web.views_open(trigger_id=press.trigger, view=form(press))
        except Exception as error:  # the trigger lives three seconds
            log.warning("a form could not be opened", error=type(error).__name__)
            return "The form could not be opened in time. Press the button again."
        return ""

    def _may(self, press: Press) -> bool:
        actors = self.actors.get(press.receiver, ())
        return press.user in actors or any(press.user in self._members(a) for a in actors if a.startswith("S"))

    def _members(self, group: str) -> list[str]:
        """Nobody, when Slack does not say."""
        try:
            found: Any = self._web.usergroups_users_list(usergroup=group)
            return list(found["users"])
        except Exception as error:
            log.error("the members of a user group are not known; they may not act", group=group,
                      error=type(error).__name__)  # fmt: skip
            return []

    def _tell(self, press: Press, text: str) -> None:
        try:
            self._web.chat_postEphemeral(channel=press.channel, user=press.user, text=text, parse="none")
        except Exception as error:  # the act is done or not, whether or not this arrives
            log.warning("a person could not be answered", error=type(error).__name__)
