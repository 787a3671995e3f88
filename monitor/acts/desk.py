"""Where what people press is taken in, however it arrives: who may, what is still to be asked, and the answer.

An act is written down before Slack is told that it arrived; what cannot be written is not confirmed, and Slack
delivers it again or tells the person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from slack_sdk import WebClient

from monitor.acts.payload import FORMS, Payload, Press, form, pressed, refusal
from monitor.domain.act import Click

log = structlog.get_logger()
Handle = Callable[[Click], str]


class Answer(NamedTuple):
    """What Slack gets as the answer, and what the person is told beside it, after."""

    body: Payload | None = None
    press: Press | None = None
    said: str = ""


NOTHING = Answer()


class Desk:
    def __init__(self, web: WebClient, actors: Mapping[str, Sequence[str]]) -> None:
        """`web` has the bot's token; `actors`: by receiver, ids of users and of user groups who may act."""
        self._web, self.actors = web, actors
        self._handle: Handle | None = None

    def hears(self, handle: Handle) -> None:
        self._handle = handle

    def take(self, payload: Any, *keys: str) -> Answer:
        """Does what somebody pressed. `keys`: further names of this delivery. Raises what the handling raises."""
        press = pressed(payload)
        if press is None:
            return NOTHING
        if press.act in FORMS and press.filled is None:
            return Answer(None, press, self._ask(press))
        said = self._done(press, keys)
        if said and press.filled is not None:
            return Answer(refusal(press, said), press)
        return Answer(None, press, said)

    def _done(self, press: Press, keys: tuple[str, ...]) -> str:
        assert self._handle is not None
        filled = dict(press.filled or {})
        if filled.get("to"):
            filled["to"] = self._called(filled["to"])
        return self._handle(
            Click(
                press.act, press.fingerprint, press.receiver, press.name, (press.key, *keys), self._may(press),
                user=press.user, **filled,
            )
        )  # fmt: skip

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

    def _called(self, user: str) -> str:
        """A person's name and id; the id alone, when Slack does not say the name."""
        try:
            found: Any = self._web.users_info(user=user)
            return f"{found['user']['name']} ({user})"
        except Exception as error:
            log.warning("a person's name is not known", user=user, error=type(error).__name__)
            return user

    def tell(self, answer: Answer) -> None:
        """What the person is to read, to that person alone."""
        if answer.press is None or not answer.said:
            return
        try:
            self._web.chat_postEphemeral(
                channel=answer.press.channel, user=answer.press.user, text=answer.said, parse="none"
            )
        except Exception as error:  # the act is done or not, whether or not this arrives
            log.warning("a person could not be answered", error=type(error).__name__)
