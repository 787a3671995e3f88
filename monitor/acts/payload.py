"""What Slack tells of a press of a button or a filled-in form. Pure; what is none of ours is None."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from monitor.domain.act import Act

BLOCK = "access_monitor:"  # before the receiver's name, in block_id
ASK = "why"  # block and field of the form
Payload = dict[str, Any]


class Press(NamedTuple):
    """As it came: whether the person may do it is not known yet."""

    act: Act
    fingerprint: str
    receiver: str
    user: str
    name: str
    channel: str
    key: str
    trigger: str = ""
    reason: str | None = None  # None: not asked yet


def pressed(payload: Any) -> Press | None:
    try:
        if payload["type"] == "block_actions":
            return _button(payload)
        if payload["type"] == "view_submission":
            return _form(payload)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return None
    return None


def _button(payload: Payload) -> Press | None:
    action = payload["actions"][0]
    if not str(action["block_id"]).startswith(BLOCK):
        return None
    user = str(payload["user"]["id"])
    return Press(
        Act(action["action_id"]), str(action["value"]), str(action["block_id"]).removeprefix(BLOCK), user,
        _name(payload), str(payload["channel"]["id"]), f"{action['action_ts']} {user} {action['action_id']}",
        str(payload.get("trigger_id") or ""),
    )  # fmt: skip


def _form(payload: Payload) -> Press | None:
    view = payload["view"]
    if view["callback_id"] != BLOCK:
        return None
    kept, user = json.loads(view["private_metadata"]), str(payload["user"]["id"])
    reason = view["state"]["values"][ASK][ASK].get("value") or ""
    return Press(
        Act(kept["act"]), kept["fingerprint"], kept["receiver"], user, _name(payload), kept["channel"],
        f"view {view['id']} {user}", reason=str(reason)[:1000],
    )  # fmt: skip


def _name(payload: Payload) -> str:
    user = payload["user"]
    return f"{user.get('username') or user.get('name') or 'somebody'} ({user['id']})"


def form(press: Press) -> Payload:
    """The form that asks why."""
    kept = {"act": press.act.value, "fingerprint": press.fingerprint, "receiver": press.receiver,
            "channel": press.channel}  # fmt: skip
    return {
        "type": "modal", "callback_id": BLOCK, "private_metadata": json.dumps(kept),
        "title": _plain("False alarm"), "submit": _plain("Close it"), "close": _plain("Cancel"),
        "blocks": [{
            "type": "input", "block_id": ASK, "label": _plain("Why is it a false alarm?"),
            "element": {"type": "plain_text_input", "action_id": ASK, "multiline": True, "max_length": 1000},
        }],
    }  # fmt: skip


def _plain(text: str) -> Payload:
    return {"type": "plain_text", "text": text}
