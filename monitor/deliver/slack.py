"""Slack, through a bot's token: exactly once, since a message can be found again by its metadata.

A finding, or a group of them, has one message that is kept up to date, with its evidence and its history in the thread.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from monitor.deliver.attachment import attachment, rows
from monitor.deliver.blocks import is_cut
from monitor.deliver.render import SHOWN, Renderer
from monitor.deliver.slack_errors import NO_MESSAGE, OPERATOR, PAYLOAD, about_token, classify, code_of
from monitor.deliver.slack_http import Web
from monitor.domain.message import ABOUT_A_FINDING, KEPT_UP_TO_DATE, Notification, Reason, Receipt, Sending
from monitor.errors import MonitorError

EVENT = "access_monitor_notification"
LOUD = frozenset(ABOUT_A_FINDING) - {Reason.RESOLVED, Reason.UPDATED}  # shown in the channel, too, when it is grave
THREAD_EVENT = "access_monitor_history"  # never taken for the message itself, also when it is broadcast
_MARGIN = timedelta(seconds=120)  # the clocks of Slack and of this host may differ
_PAGES = 20  # of 200 messages: a channel busier than that since the first attempt cannot be searched
_PERSON = re.compile(r"[UW][A-Z0-9]{7,}")
_CONVERSATION = re.compile(r"[CGD][A-Z0-9]{7,}")

Answer = dict[str, Any]
_WHOLE = "whole"  # at the end of a reference: the evidence stands in the message, and not in its thread


class Living(NamedTuple):
    """The message that a finding has."""

    where: str
    ts: str
    whole: bool


class SlackBot:
    def __init__(
        self, token: str, channel: str, renderer: Renderer, base_url: str = "https://slack.com/api/", timeout: int = 20,
        buttons: str = "",
    ) -> None:  # fmt: skip
        """`buttons`: the receiver's name, when what people press is heard."""
        # retry_handlers: the default one posts again after a dropped connection, which doubles messages
        self.client = Web(token, base_url=base_url, timeout=timeout, retry_handlers=[])
        self.client.proxy = None
        self.channel, self.renderer, self.buttons = channel, renderer, buttons
        self._id = channel if _CONVERSATION.fullmatch(channel) else ""

    def send(self, notification: Notification) -> Receipt:
        where = self._living(notification)
        if where is not None:
            receipt = self._update(notification, where)
            if receipt is not None:
                return receipt
        return self._anew(notification)

    def _anew(self, notification: Notification) -> Receipt:
        listed = rows(notification) > SHOWN
        # a line in the thread takes as long as a message, and while many wait that is too long
        folds = _has_evidence(notification) and not notification.crowded
        said = self.renderer.slack(notification, attached=listed, folded=folds, buttons=self.buttons)
        listed = listed or (rows(notification) > 0 and is_cut(said))
        try:
            posted = self._post(notification, said)
            detail = ""
        except Exception as error:  # the client raises what urllib and json raise; the table says what each means
            if code_of(error) not in PAYLOAD:
                return classify(error)
            try:
                posted = self._post_bare(notification, said["text"])
            except Exception as second:
                return classify(second)
            detail = f"sent as plain text: Slack refused the blocks ({code_of(error)})"
        where, ts = str(posted.get("channel") or self.channel), str(posted.get("ts") or "")
        self._id = self._id or (where if _CONVERSATION.fullmatch(where) else "")
        if listed:
            detail = "; ".join(filter(None, (detail, self._attach(notification, where, ts))))
        refused = self._fold(notification, where, ts) if folds else ""
        whole = bool(refused) or (_has_evidence(notification) and not folds)
        return Receipt(Sending.SENT, "; ".join(filter(None, (detail, refused))), _named(where, ts, whole))

    def _living(self, notification: Notification) -> Living | None:
        """The message that this has already; None when there is none in the channel of the config."""
        where, ts, how = (*notification.latest.split("/"), "", "")[:3]
        moved = bool(_CONVERSATION.fullmatch(self.channel)) and where != self.channel
        kept = bool(ts) and notification.reason in KEPT_UP_TO_DATE and not moved
        return Living(where, ts, how == _WHOLE) if kept else None

    def _update(self, notification: Notification, living: Living) -> Receipt | None:
        """Brings the message up to date, then adds a line to its thread. None: there is no such message any more."""
        where, ts, whole = living
        said = self.renderer.slack(notification, folded=not whole, buttons=self.buttons)
        manners: Answer = {
            "parse": "none",
            "link_names": False,
        }  # given again: Slack takes its own defaults for what is absent
        try:
            self.client.chat_update(channel=where, ts=ts, text=said["text"], blocks=said["blocks"], **manners)
        except Exception as error:  # the client raises what urllib and json raise; the table says what each means
            if code_of(error) in NO_MESSAGE:
                return None
            if code_of(error) not in PAYLOAD:
                return classify(error)
            try:
                self.client.chat_update(channel=where, ts=ts, text=said["text"], blocks=[], **manners)
            except Exception as second:
                return classify(second)
        return self._history(notification, living)

    def _history(self, notification: Notification, living: Living) -> Receipt:
        said = self.renderer.slack_thread("history", notification)
        try:
            self._reply(notification, living.where, living.ts, said["text"], reply_broadcast=_is_loud(notification))
        except Exception as error:
            receipt = classify(error)
            if receipt.sending is not Sending.REJECTED:
                return receipt  # bringing it up to date once more does no harm; the line is asked for first
            return Receipt(Sending.SENT, f"no line in the thread: {receipt.detail}", notification.latest)
        return Receipt(Sending.SENT, "brought up to date", notification.latest)

    def _fold(self, notification: Notification, where: str, ts: str) -> str:
        """Puts the evidence into the thread; into the message itself when that fails."""
        said = self.renderer.slack_thread("evidence", notification)
        try:
            self._reply(notification, where, ts, said["text"], blocks=said["blocks"])
        except Exception as error:
            detail = f"the evidence is not in the thread: {classify(error).detail}"
            whole = self.renderer.slack(notification, buttons=self.buttons)
            try:
                self.client.chat_update(channel=where, ts=ts, text=whole["text"], blocks=whole["blocks"], parse="none")
            except Exception as second:
                return f"{detail}; nor in the message: {classify(second).detail}"
            return detail
        return ""

    def _reply(self, notification: Notification, where: str, ts: str, text: str, **how: Any) -> None:
        metadata = {"event_type": THREAD_EVENT, "event_payload": {"outbox_id": notification.id}}
        self.client.chat_postMessage(
            channel=where, thread_ts=ts, text=text, metadata=metadata, parse="none", link_names=False,
            unfurl_links=False, unfurl_media=False, **how,
        )  # fmt: skip

    def find(self, notification: Notification) -> str | None:
        """Raises MonitorError while Slack cannot be asked; None when it never can be, for this app or this channel."""
        where = self._living(notification)
        if where is not None and self._line_there(notification, where):
            return notification.latest
        message = self._search(notification)
        if message is None:
            return None
        ts = str(message["ts"])
        refused = ""
        if _has_evidence(notification) and not message.get("reply_count"):
            refused = self._fold(notification, self._id, ts)
        if rows(notification) > SHOWN and not message.get("reply_count"):
            self._attach(notification, self._id, ts)  # the attempt ended between the message and its list
        return _named(self._id, ts, bool(refused))

    def _line_there(self, notification: Notification, living: Living) -> bool:
        asked = {"channel": living.where, "ts": living.ts, "include_all_metadata": True, "limit": 200}
        try:
            replies = self._pages("conversations.replies", "messages", asked)
            return any(_is(m, notification, THREAD_EVENT) for m in replies)
        except Exception as error:
            return self._never(error)

    def _never(self, error: Exception) -> bool:
        """False: Slack will never say whether it has something. Raises MonitorError when it may later."""
        receipt = classify(error)
        if receipt.sending in (Sending.PAUSED, Sending.REJECTED):
            return False
        raise MonitorError(f"cannot ask Slack whether it has the message: {receipt.detail}") from error

    def check(self) -> str | None:
        return self._token_problem() or self.channel_problem()

    def _token_problem(self) -> str | None:
        try:
            given = scopes(self.client.auth_test())
        except Exception as error:  # whatever it is, the operator reads it
            return self.refused(error)
        if given is not None and "chat:write" not in given:
            return "the app may not post: add the scope chat:write under OAuth & Permissions, and install the app again"
        return None

    def channel_problem(self) -> str | None:
        try:
            conversation = self._conversation()
            if not conversation:
                return f"there is no channel {self.channel} that the app can see: check its name, or invite the app"
            where = self._ask("conversations.info", {"channel": conversation}).get("channel") or {}
        except Exception as error:
            # posting needs no scope to read channels: then nobody can say more
            return None if code_of(error) in OPERATOR else f"the channel {self.channel}: {classify(error).detail}"
        if where.get("is_archived"):
            return f"the channel {self.channel} is archived: unarchive it, or name another one"
        if where.get("is_member") is False:  # chat:write posts only where the app is
            return f"the app is not in {self.channel}: invite it with /invite"
        return None

    def refused(self, error: Exception) -> str:
        """Of the token, with what to do."""
        looks = about_token(str(self.client.token)) if classify(error).sending is Sending.PAUSED else ""
        return f"Slack refuses the token: {looks or classify(error).detail}"

    def _post(self, notification: Notification, said: Answer) -> Any:
        metadata = {"event_type": EVENT, "event_payload": {"outbox_id": notification.id}}
        return self.client.chat_postMessage(
            channel=self.channel, text=said["text"], blocks=said["blocks"], metadata=metadata, **_manners(notification)
        )

    def _post_bare(self, notification: Notification, text: str) -> Any:
        return self.client.chat_postMessage(channel=self.channel, text=text, **_manners(notification))

    def _attach(self, notification: Notification, channel: str, ts: str) -> str:
        """Puts the list into the message's thread. The message is out: what fails here is only told."""
        listed = attachment(notification)
        if listed is None:
            return ""
        try:
            self.client.files_upload_v2(
                filename=listed.name, content=listed.data, title=listed.name, channel=channel, thread_ts=ts
            )
        except Exception as error:
            detail = classify(error).detail
            self._excuse(channel, ts)
            return f"the list {listed.name} is not attached: {detail}"
        return ""

    def _excuse(self, channel: str, ts: str) -> None:
        """Says in the thread that the list which the message promises is missing."""
        text = "The list could not be attached. `access-monitor findings` and `access-monitor drift` show all of it."
        try:
            self.client.chat_postMessage(channel=channel, thread_ts=ts, text=text, unfurl_links=False)
        except Exception:  # noqa: S110 - an excuse that does not arrive needs none of its own
            pass

    def _search(self, notification: Notification) -> Answer | None:
        since = (notification.first_attempt_at or notification.created_at) - _MARGIN
        try:
            where = self._conversation()
            asked = {"channel": where, "oldest": f"{since.timestamp():.6f}", "include_all_metadata": True, "limit": 200}
            messages = self._pages("conversations.history", "messages", asked) if where else iter(())
            return next((m for m in messages if _is(m, notification)), None)
        except Exception as error:  # the client raises what urllib and json raise; the table says what each means
            self._never(error)
            return None

    def _conversation(self) -> str:
        """The channel's id, or nothing: posting takes a name, everything else does not."""
        if not self._id and _PERSON.fullmatch(self.channel):
            self._id = str(self._ask("conversations.open", {"users": self.channel})["channel"]["id"])
        elif not self._id:
            asked = {"types": "public_channel,private_channel", "exclude_archived": True, "limit": 200}
            channels = self._pages("conversations.list", "channels", asked)
            name = self.channel.lstrip("#")
            self._id = str(next((c["id"] for c in channels if c.get("name") == name), ""))
        return self._id

    def _pages(self, method: str, items: str, asked: Answer) -> Iterator[Answer]:
        cursor: Answer = {}
        for _ in range(_PAGES):
            page = self._ask(method, asked | cursor)
            yield from page.get(items) or ()
            cursor = {"cursor": (page.get("response_metadata") or {}).get("next_cursor")}
            if not cursor["cursor"]:
                return

    def _ask(self, method: str, asked: Answer) -> Any:
        return self.client.api_call(method, params=asked)  # a form: Slack's reading methods need not take JSON


def scopes(said: Any) -> frozenset[str] | None:
    """What the app may do, as each answer says; None when it does not."""
    given = {str(k).lower(): v for k, v in said.headers.items()}.get("x-oauth-scopes")
    given = given[0] if isinstance(given, list) and given else given
    return None if given is None else frozenset(s.strip() for s in str(given).split(","))


def _named(where: str, ts: str, whole: bool) -> str:
    return f"{where}/{ts}/{_WHOLE}" if whole else f"{where}/{ts}"


def _manners(notification: Notification) -> Answer:
    """Nothing is unfurled, parsed or linked; the id is a defence in depth, since Slack documents no promise for it."""
    return {
        "client_msg_id": str(uuid.uuid5(uuid.NAMESPACE_OID, notification.id)),
        "parse": "none", "link_names": False, "unfurl_links": False, "unfurl_media": False,
    }  # fmt: skip


def _is_loud(notification: Notification) -> bool:
    """Whether the line is shown in the channel as well. A new finding always is: it has no message of its own."""
    told = {**notification.content.get("finding", {}), "reason": notification.reason}
    news = notification.content.get("news", [told])
    grave = any(n["reason"] in LOUD and n["severity"] in ("high", "critical") for n in news)
    return grave or notification.reason is Reason.NEW_IN_GROUP


def _has_evidence(notification: Notification) -> bool:
    return bool(notification.content.get("finding", {}).get("evidence"))


def _is(message: Answer, notification: Notification, event: str = EVENT) -> bool:
    metadata = message.get("metadata") or {}
    return (
        metadata.get("event_type") == event
        and (metadata.get("event_payload") or {}).get("outbox_id") == notification.id
    )
