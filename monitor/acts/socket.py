"""Slack's Socket Mode: what people press comes in over a connection that we open, so no port is."""

from __future__ import annotations

import threading
from typing import Protocol

import structlog
from slack_sdk import WebClient
from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.request import SocketModeRequest
from slack_sdk.socket_mode.response import SocketModeResponse

from monitor.acts.desk import NOTHING, Desk, Handle

log = structlog.get_logger()
_AGAIN = 30.0  # seconds after a connection could not be made


class Answering(Protocol):
    def send_socket_mode_response(self, response: SocketModeResponse) -> None: ...


class Socket:
    def __init__(self, app_token: str, web: WebClient, desk: Desk, loopback: bool = False) -> None:
        """`web` has the bot's token."""
        self._token, self._web, self.desk, self._loopback = app_token, web, desk, loopback
        self._client: SocketModeClient | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._connect, name="slack-socket", daemon=True)

    def start(self, handle: Handle) -> None:
        self.desk.hears(handle)
        self._thread.start()

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
        interactive = request.type == "interactive"
        answer = self.desk.take(request.payload, request.envelope_id) if interactive else NOTHING
        client.send_socket_mode_response(SocketModeResponse(envelope_id=request.envelope_id, payload=answer.body))
        self.desk.tell(answer)
