"""Fits a message to Slack's limits, visibly. Slack refuses a message that exceeds one, and then nobody hears anything.

The limits are those of slack-sdk's and slackblocks' validators; that of the sum is not documented
(msg_blocks_too_long from about 13,200 characters on: slackapi/bolt-js issue 2509), hence a budget below it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from monitor.deliver.clean import shortened

BLOCKS, SECTION, FIELDS, FIELD, HEADER, ELEMENTS, SUM, TEXT = 50, 3000, 10, 2000, 150, 10, 10_000, 4_000
_WORTH = 60  # a text cut to less than this says nothing
_NOTE = "… _cut here: the whole was too long for one Slack message_"
_CUT: dict[str, Any] = {"type": "context", "elements": [{"type": "mrkdwn", "text": _NOTE, "verbatim": True}]}

Block = dict[str, Any]


def fit(payload: dict[str, Any]) -> dict[str, Any]:
    """{text, blocks} within every limit. Empty texts, which Slack refuses, are left out."""
    blocks = [b for b in map(_fitted, payload.get("blocks") or []) if b is not None]
    kept = list(_within_sum(blocks))
    if len(kept) > BLOCKS:
        kept = [*kept[: BLOCKS - 1], _CUT]
    text = shortened(str(payload.get("text") or "").strip(), TEXT) or "A message without text"
    bare = {"type": "section", "text": {"type": "plain_text", "text": shortened(text, SECTION)}}
    return {"text": text, "blocks": kept or [bare]}


def is_cut(payload: dict[str, Any]) -> bool:
    """Whether something did not fit, and the message says so."""
    return _CUT in payload["blocks"]


def size(block: Block) -> int:
    """How much of the sum a block uses."""
    if block.get("type") not in _KNOWN:
        return len(json.dumps(block))
    return sum(len(t["text"]) for t in _texts(block))


def _texts(block: Block) -> Iterator[Block]:
    text = block.get("text")
    if isinstance(text, dict):
        yield text
    yield from block.get("fields", ())
    yield from (e for e in block.get("elements", ()) if "text" in e)


def _within_sum(blocks: list[Block]) -> Iterator[Block]:
    left = SUM - len(_NOTE)
    for i, block in enumerate(blocks):
        needed = size(block)
        if needed <= left or (i == len(blocks) - 1 and needed <= left + len(_NOTE)):
            left -= needed
            yield block
            continue
        text = block.get("text")
        if block.get("type") == "section" and isinstance(text, dict) and not block.get("fields") and left >= _WORTH:
            yield block | {"text": text | {"text": shortened(text["text"], left)}}
        yield _CUT
        return


def _fitted(block: Any) -> Block | None:
    """None for what has nothing to show. Templates end lists with a null, so that every entry may end with a comma."""
    if not isinstance(block, dict):
        return None
    shape = _KNOWN.get(str(block.get("type")))
    return shape(block) if shape else block


def _text(text: Any, most: int) -> Block | None:
    if not isinstance(text, dict) or not str(text.get("text") or "").strip():
        return None
    said = text | {"text": shortened(str(text["text"]).strip(), most)}
    # verbatim: Slack must not make links, channels or mentions of what strangers wrote
    return said | {"verbatim": True} if text.get("type") == "mrkdwn" else said


def _section(block: Block) -> Block | None:
    text = _text(block.get("text"), SECTION)
    fields = [f for f in (_text(f, FIELD) for f in block.get("fields") or []) if f][:FIELDS]
    rest = {k: v for k, v in block.items() if k not in ("text", "fields")}
    if text is None and not fields:
        return None
    return rest | ({"text": text} if text else {}) | ({"fields": fields} if fields else {})


def _header(block: Block) -> Block | None:
    text = _text(block.get("text"), HEADER)
    return block | {"text": text} if text else None


def _context(block: Block) -> Block | None:
    elements = [_text(e, FIELD) if isinstance(e, dict) and "text" in e else e for e in block.get("elements") or []]
    kept = [e for e in elements if e][:ELEMENTS]
    return block | {"elements": kept} if kept else None


_KNOWN: dict[str, Callable[[Block], Block | None]] = {
    "section": _section,
    "header": _header,
    "context": _context,
    "divider": lambda block: block,
}
