"""What a failed call to Slack means for the message: the table, and nothing else.

By type and status first: what the synchronous client raises differs by how the call failed, and the body of a
failed answer need not be JSON. docs/decisions/0005-slack-client.md has what was measured.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.error import URLError

from slack_sdk.errors import SlackApiError

from monitor.deliver.slack_pace import NotYet
from monitor.domain.message import Receipt, Sending

MESSAGE_LIMIT_WAIT, NETWORK_POLICY_WAIT = 600.0, 600.0  # seconds

WAIT = frozenset({"ratelimited", "rate_limited", "message_limit_exceeded"})
AGAIN = frozenset({"service_unavailable", "team_added_to_org", "request_timeout", "accesslimited"})
PERHAPS = frozenset({"fatal_error", "internal_error"})
OPERATOR = frozenset({
    "invalid_auth", "not_authed", "token_expired", "token_revoked", "account_inactive", "missing_scope",
    "not_allowed_token_type", "no_permission", "app_access_restricted", "access_denied", "ekm_access_denied",
    "two_factor_setup_required", "enterprise_is_restricted", "org_login_required",
})  # fmt: skip
DESTINATION = frozenset({
    "channel_not_found", "not_in_channel", "is_archived", "restricted_action", "restricted_action_read_only_channel",
    "restricted_action_thread_only_channel", "restricted_action_non_threadable_channel",
    "restricted_action_thread_locked", "messages_tab_disabled", "team_not_found", "cannot_reply_to_message",
})  # fmt: skip
PAYLOAD = frozenset({
    "invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "invalid_attachments", "no_text",
    "msg_too_long", "metadata_too_large", "invalid_metadata_format", "invalid_metadata_schema", "too_many_attachments",
    "attachment_payload_limit_exceeded", "markdown_text_conflict", "invalid_arg_name", "invalid_form_data",
    "invalid_array_arg", "invalid_charset", "invalid_post_type", "missing_post_type",
    "metadata_must_be_sent_from_app",
})  # fmt: skip
NO_MESSAGE = frozenset({"message_not_found", "thread_not_found", "cant_update_message", "edit_window_closed"})
_MEANS = {
    **dict.fromkeys(WAIT | AGAIN, Sending.LATER),
    **dict.fromkeys(PERHAPS, Sending.UNCERTAIN),
    **dict.fromkeys(OPERATOR, Sending.PAUSED),
    **dict.fromkeys(DESTINATION | PAYLOAD | NO_MESSAGE, Sending.REJECTED),
}
_ADVICE = {
    "invalid_auth": "the token is not valid: install the app again and put its new bot token where the config says",
    "not_authed": "no token was sent", "token_revoked": "the token was revoked: install the app again",
    "token_expired": "the token is over: install the app again",
    "account_inactive": "the app was removed: install it again",
    "missing_scope": "the app lacks a scope (chat:write, channels:history, files:write): add it and install it again",
    "channel_not_found": "there is no such channel for this app: check its id, and invite the app if it is private",
    "not_in_channel": "the app is not in the channel: invite it with /invite",
    "is_archived": "the channel is archived: unarchive it, or name another one",
    "not_allowed_token_type": "this kind of token may not do that: `token` is the Bot User OAuth Token (xoxb-...)",
}  # fmt: skip
_SCOPES = re.compile(r"[a-z:._]+(?:,[a-z:._]+)*")
_KINDS = {  # beginnings of what is taken for a bot's token
    "xapp-": "this is an app-level token, which belongs into `app_token`",
    "xoxp-": "this is a person's token",
    "https:": 'this is the address of an incoming webhook, which is a receiver of kind = "slack_webhook"',
}
_UNREACHED = frozenset({errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})


def classify(error: Exception) -> Receipt:
    """A failed call as a receipt. What cannot be told apart is uncertain: the channel is asked before sending again."""
    if isinstance(error, NotYet):
        return Receipt(Sending.LATER, "rate limited", retry_after=error.seconds)
    if isinstance(error, SlackApiError):
        return _answered(error)
    if isinstance(error, URLError):
        return _not_reached(error)
    if isinstance(error, TimeoutError):
        return Receipt(Sending.UNCERTAIN, "no answer in time")
    if isinstance(error, (ConnectionError, OSError)):
        return Receipt(Sending.UNCERTAIN, f"the connection broke before the answer: {type(error).__name__}")
    return Receipt(Sending.UNCERTAIN, f"an answer that is none of Slack's: {type(error).__name__}")


def about_token(token: str) -> str:
    """What a refused token looks like, and where the right one is; nothing when it looks right."""
    if token.startswith(("xoxb-", "xoxe.xoxb-")):
        return ""
    looks = next((said for start, said in _KINDS.items() if token.startswith(start)), "this is no bot's token")
    return f"{looks}; `token` is the Bot User OAuth Token (xoxb-...) of OAuth & Permissions"


def by_status(status: int, headers: Any, said: str = "") -> Receipt:
    """For an answer without an error code that we know."""
    if status == 429:
        return Receipt(Sending.LATER, "rate limited", retry_after=retry_after(headers))
    if status >= 500 or status == 200:
        return Receipt(Sending.UNCERTAIN, f"HTTP {status} {said}".strip())
    return Receipt(Sending.LATER, f"HTTP {status} {said}".strip())


def by_code(code: str, headers: Any = None) -> Receipt | None:
    """For an error code of Slack's; None for one that is not in the table."""
    means = _MEANS.get(code)
    if means is None:
        return None
    after = {"message_limit_exceeded": MESSAGE_LIMIT_WAIT, "accesslimited": NETWORK_POLICY_WAIT}.get(code)
    advice = f"{code}: {_ADVICE[code]}" if code in _ADVICE else code
    return Receipt(means, advice, retry_after=retry_after(headers) or after)


def code_of(error: Exception) -> str:
    """Slack's error code, or nothing: the body may be HTML, a text or absent."""
    data = getattr(getattr(error, "response", None), "data", None)
    code = data.get("error") if isinstance(data, dict) else None
    # the SDK puts the text of a body that is no JSON here; that is no code
    return code if isinstance(code, str) and re.fullmatch(r"[A-Za-z0-9_.-]{1,80}", code) else ""


def retry_after(headers: Any) -> float | None:
    """Seconds, at most a day: a number, or a time beside Slack's own clock. None when the header is neither."""
    given = {str(k).lower(): v for k, v in headers.items()} if hasattr(headers, "items") else {}
    asked, date = (str(v[0] if isinstance(v, list) and v else v) for v in map(given.get, ("retry-after", "date")))
    try:
        number = re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", asked.strip())
        seconds = (
            float(asked) if number else (parsedate_to_datetime(asked) - parsedate_to_datetime(date)).total_seconds()
        )
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), 86400.0)


def _answered(error: SlackApiError) -> Receipt:
    response: Any = getattr(error, "response", None)
    status, headers = int(getattr(response, "status_code", 0) or 0), getattr(response, "headers", {})
    code = code_of(error)
    if status == 429:
        return by_status(status, headers)
    known = by_code(code, headers)
    needed = str((getattr(response, "data", None) or {}).get("needed", "")) if code == "missing_scope" else ""
    if known is not None and _SCOPES.fullmatch(needed):
        named = needed.replace(",", " or ")
        return replace(
            known, detail=f"{code}: add the scope {named} under OAuth & Permissions, and install the app again"
        )
    if known is not None:
        return known
    if code and status == 200:
        # Slack said that it did not accept the message, for a cause that may pass
        return Receipt(Sending.LATER, f"{code}: an error that is not known here")
    return by_status(status, headers, code)


def _not_reached(error: URLError) -> Receipt:
    """urllib wraps what fails until the request is written: only some of it proves that nothing arrived."""
    reason = error.reason
    if isinstance(reason, socket.gaierror):
        return Receipt(Sending.LATER, "the name of the server cannot be resolved")
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Receipt(Sending.LATER, f"the server's certificate is not trusted: {reason.verify_message}")
    if isinstance(reason, OSError) and reason.errno in _UNREACHED:
        return Receipt(Sending.LATER, f"not reached: {reason.strerror}")
    return Receipt(Sending.UNCERTAIN, f"the connection broke: {type(reason).__name__}")
