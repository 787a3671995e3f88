"""Slack, through an incoming webhook: at least once, since nothing posted can be found again."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from monitor.deliver.render import Renderer
from monitor.deliver.slack_errors import PAYLOAD, by_code, by_status, classify
from monitor.deliver.slack_http import Webhook, loopback
from monitor.domain.message import Notification, Receipt, Sending

# what a webhook says as plain text, in place of chat.postMessage's codes
_GONE = frozenset({"no_service", "no_service_id", "no_team", "no_active_hooks", "invalid_token", "action_prohibited"})
_FULL = frozenset({"channel_is_archived", "posting_to_general_channel_denied", "user_not_found"})
_REFUSED = PAYLOAD | {"invalid_payload", "blocks_too_long"}


class SlackWebhook:
    """The URL is the secret: it stands in no text."""

    def __init__(self, url: str, renderer: Renderer, timeout: int = 20) -> None:
        if not re.fullmatch(r"https?://[!-~]+", url) or not (url.startswith("https:") or loopback(url)):
            raise ValueError("the webhook's URL must begin with https:// and hold no blanks")
        self.client = Webhook(url, timeout=timeout, retry_handlers=[])
        self.client.proxy = None
        self.renderer = renderer

    def send(self, notification: Notification) -> Receipt:
        said = self.renderer.slack(notification)
        receipt, code = self._post({"text": said["text"], "blocks": said["blocks"], **_MANNERS})
        if code in _REFUSED:
            receipt, _ = self._post({"text": said["text"], **_MANNERS})
            if receipt.sending is Sending.SENT:
                return Receipt(Sending.SENT, f"sent as plain text: Slack refused the blocks ({code})")
        return receipt

    def find(self, notification: Notification) -> str | None:
        return None

    def check(self) -> str | None:
        """A webhook can only be tried by posting to it; this looks at the address."""
        host = urlsplit(self.client.url).hostname or ""
        if host == "hooks.slack.com" or host.endswith((".slack.com", ".slack-gov.com")) or loopback(self.client.url):
            return None
        return "the webhook's URL is none of Slack's: copy it from the app's page Incoming Webhooks"

    def _post(self, body: dict[str, object]) -> tuple[Receipt, str]:
        try:
            answer = self.client.send_dict(body)
        except Exception as error:  # urllib's errors; the table says what each means
            return classify(error), ""
        code = answer.body.strip() if re.fullmatch(r"[a-z_]{1,60}", answer.body.strip()) else ""
        if answer.status_code == 200:
            return Receipt(Sending.SENT) if code == "ok" else by_status(200, {}, "but not ok"), ""
        if code in _GONE:
            return Receipt(Sending.PAUSED, f"{code}: the webhook is switched off; make a new one"), code
        if code in _FULL:
            return Receipt(Sending.REJECTED, code), code
        return by_code(code, answer.headers) or by_status(answer.status_code, answer.headers, code), code


_MANNERS: dict[str, object] = {"unfurl_links": False, "unfurl_media": False}
