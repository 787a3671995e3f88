"""The Slack SDK's clients, with a way out that proxies and redirects cannot bend.

Two things of the SDK are not wanted here. It takes HTTPS_PROXY or HTTP_PROXY for every address and knows no
NO_PROXY, so that a proxy of the host would be asked for 127.0.0.1. And urllib follows redirects, sending the
token along to wherever they point.
"""

from __future__ import annotations

import ipaddress
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, ProxyHandler, Request, build_opener

from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.web import SlackResponse
from slack_sdk.webhook import WebhookClient, WebhookResponse

from monitor.deliver.slack_errors import retry_after
from monitor.deliver.slack_pace import MethodGate, channel_of

LARGEST = 10_000_000  # bytes of an answer


class _NoRedirect(HTTPRedirectHandler):
    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> Request | None:
        return None  # urllib then raises the answer itself, a 3xx


class Web(WebClient):
    gate: MethodGate | None = None  # shared by all who have the same token

    def api_call(self, api_method: str, **asked: Any) -> SlackResponse:
        if self.gate is None:
            return super().api_call(api_method, **asked)
        self.gate.wait(api_method, channel_of(asked))
        try:
            return super().api_call(api_method, **asked)
        except SlackApiError as error:
            if getattr(error.response, "status_code", 0) == 429:
                self.gate.refused(api_method, retry_after(error.response.headers) or 1.0)
            raise

    def _perform_urllib_http_request_internal(self, url: str, req: Request) -> dict[str, Any]:
        status, headers, body = _call(req, self.timeout, self.ssl)
        return {"status": status, "headers": headers, "body": body}


class Webhook(WebhookClient):
    def _perform_http_request_internal(self, url: str, req: Request) -> WebhookResponse:
        status, headers, body = _call(req, self.timeout, self.ssl)
        return WebhookResponse(url="", status_code=status, body=body, headers=dict(headers))


def loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _call(request: Request, timeout: float, context: Any) -> tuple[int, Message, str]:
    # without an argument ProxyHandler follows the environment, NO_PROXY included
    proxies = ProxyHandler({}) if loopback(request.full_url) else ProxyHandler()
    opener = build_opener(proxies, _NoRedirect(), HTTPSHandler(context=context))
    with opener.open(request, timeout=timeout) as answer:
        body = answer.read(LARGEST).decode("utf-8", "replace")
        return answer.status, answer.headers, body
