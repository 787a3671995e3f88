"""What Slack tells of a press of a button or a filled-in form. Pure; what is none of ours is None."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from monitor.domain.act import Act

BLOCK = "access_monitor:"  # before the receiver's name, in block_id; behind that a blank and what makes it the only one
LONGEST = {"reason": 1000, "until": 10, "ticket": 200, "lasts": 10, "to": 20}
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
    filled: Mapping[str, str] | None = None  # what the form said, by field; None: it was not asked yet


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
    act, fingerprint = _chosen(action)
    user = str(payload["user"]["id"])
    return Press(
        Act(act), fingerprint, str(action["block_id"]).removeprefix(BLOCK).partition(" ")[0], user, _name(payload),
        str(payload["channel"]["id"]), f"{action['action_ts']} {user} {act}", str(payload.get("trigger_id") or ""),
    )  # fmt: skip


def _chosen(action: Payload) -> tuple[str, str]:
    """The act and the fingerprint of a button, or of what was chosen from the menu of a line in a list."""
    if action.get("selected_option"):
        act, _, fingerprint = str(action["selected_option"]["value"]).partition(" ")
        return act, fingerprint
    return str(action["action_id"]), str(action["value"])


def _form(payload: Payload) -> Press | None:
    view = payload["view"]
    if view["callback_id"] != BLOCK:
        return None
    kept, user = json.loads(view["private_metadata"]), str(payload["user"]["id"])
    values = view["state"]["values"]
    filled = {name: _filled(values[name][name])[:most] for name, most in LONGEST.items() if name in values}
    # a form that was refused is filled in again in the same view: that is another act
    said = hashlib.sha256(json.dumps(filled, sort_keys=True).encode()).hexdigest()[:16]
    return Press(
        Act(kept["act"]), kept["fingerprint"], kept["receiver"], user, _name(payload), kept["channel"],
        f"view {view['id']} {user} {said}", filled=filled,
    )  # fmt: skip


def _filled(field: Payload) -> str:
    """What was written or chosen, whatever kind of field it is."""
    chosen = (field.get("selected_option") or {}).get("value")
    return str(field.get("value") or field.get("selected_date") or field.get("selected_user") or chosen or "")


def _name(payload: Payload) -> str:
    user = payload["user"]
    return f"{user.get('username') or user.get('name') or 'somebody'} ({user['id']})"


# forms


class Form(NamedTuple):
    title: str
    submit: str
    fields: tuple[Payload, ...]


def _plain(text: str) -> Payload:
    return {"type": "plain_text", "text": text}


def _field(name: str, label: str, element: Payload, hint: str = "", optional: bool = False) -> Payload:
    """Block and element are named alike, so that the answer is found by that name."""
    more = ({"hint": _plain(hint)} if hint else {}) | ({"optional": True} if optional else {})
    return {"type": "input", "block_id": name, "label": _plain(label), "element": element | {"action_id": name}} | more


def _text(name: str, *, multiline: bool = False) -> Payload:
    return {"type": "plain_text_input", "multiline": multiline, "max_length": LONGEST[name]}


_LASTS = {"1h": "for an hour", "tomorrow": "until tomorrow morning", "monday": "until next Monday morning",
          "date": "until the end of a day"}  # fmt: skip


def _choice(options: Mapping[str, str]) -> Payload:
    found = [{"text": _plain(text), "value": value} for value, text in options.items()]
    return {"type": "static_select", "options": found, "initial_option": found[0]}


FORMS: dict[Act, Form] = {
    Act.ASSIGN: Form("Assign", "Assign it", (_field("to", "To whom?", {"type": "users_select"}),)),
    Act.SNOOZE: Form("Snooze", "Snooze it", (
        _field("lasts", "How long?", _choice(_LASTS)),
        _field("until", "Until the end of which day?", {"type": "datepicker"}, "If chosen above.", optional=True),
        _field("reason", "Why?", _text("reason")),
    )),
    Act.FALSE_ALARM: Form(
        "False alarm", "Close it", (_field("reason", "Why is it a false alarm?", _text("reason", multiline=True)),)
    ),
    Act.EXEMPT: Form("Exempt", "Exempt it", (
        _field("until", "Until when?", {"type": "datepicker"}, "Its last day; a year ahead at most."),
        _field("reason", "Why may it stay?", _text("reason", multiline=True)),
        _field("ticket", "Ticket", _text("ticket"), "Where it was agreed on.", optional=True),
    )),
}  # fmt: skip


def form(press: Press) -> Payload:
    """The form that asks for what the act needs."""
    asks = FORMS[press.act]
    kept = {"act": press.act.value, "fingerprint": press.fingerprint, "receiver": press.receiver,
            "channel": press.channel}  # fmt: skip
    return {
        "type": "modal", "callback_id": BLOCK, "private_metadata": json.dumps(kept), "title": _plain(asks.title),
        "submit": _plain(asks.submit), "close": _plain("Cancel"), "blocks": list(asks.fields),
    }  # fmt: skip


def refusal(press: Press, said: str) -> Payload:
    """Shows in the form why nothing was done; the form stays open."""
    return {"response_action": "errors", "errors": {FORMS[press.act].fields[0]["block_id"]: said}}
