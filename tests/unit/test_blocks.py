"""Fitting a message to Slack's limits."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.deliver.blocks import BLOCKS, SUM, TEXT, fit, size
from monitor.deliver.clean import shortened


def section(text: str) -> dict[str, Any]:
    return {"type": "section", "text": {"type": "mrkdwn", "text": text}}


def shown(payload: dict[str, Any]) -> str:
    return json.dumps(payload, ensure_ascii=False)


@pytest.mark.parametrize(
    ("block", "most"),
    [
        (section("x" * 5000), 3000),
        ({"type": "header", "text": {"type": "plain_text", "text": "x" * 500}}, 150),
        ({"type": "context", "elements": [{"type": "mrkdwn", "text": "x" * 4000}]}, 2000),
        ({"type": "section", "fields": [{"type": "mrkdwn", "text": "x" * 4000}]}, 2000),
    ],
)
def test_a_long_text_is_cut_visibly(block: dict[str, Any], most: int) -> None:
    """Each kind of text is cut to its limit, and ends with an ellipsis."""
    fitted = fit({"text": "t", "blocks": [block]})["blocks"][0]
    assert size(fitted) == most
    assert "x…" in shown(fitted)


def test_more_than_fifty_blocks_end_with_a_note() -> None:
    """The fiftieth block of too many says that more was cut."""
    blocks = fit({"text": "t", "blocks": [section(f"line {i}") for i in range(80)]})["blocks"]
    assert len(blocks) == BLOCKS
    assert "cut here" in shown(blocks[-1])


def test_the_sum_is_kept_below_what_slack_takes() -> None:
    """Many texts that each fit are cut where their sum would not."""
    blocks = fit({"text": "t", "blocks": [section("y" * 2900) for _ in range(9)]})["blocks"]
    assert sum(map(size, blocks)) <= SUM
    assert len(blocks) == 5
    assert "cut here" in shown(blocks[-1])


def test_a_message_that_just_fits_is_not_cut() -> None:
    """Exactly the whole budget needs no note."""
    blocks = fit({"text": "t", "blocks": [section("y" * 2500) for _ in range(4)]})["blocks"]
    assert sum(map(size, blocks)) == SUM
    assert "cut here" not in shown(blocks[-1])


def test_what_has_nothing_to_show_is_left_out() -> None:
    """Slack refuses empty texts, so they and the nulls that end lists in templates vanish."""
    blocks: list[Any] = [
        None, section("  "), {"type": "section", "fields": [None, {"type": "mrkdwn", "text": ""}]},
        {"type": "context", "elements": [None]}, {"type": "header", "text": {"type": "plain_text", "text": ""}},
        {"type": "divider"},
    ]  # fmt: skip
    assert fit({"text": "t", "blocks": blocks})["blocks"] == [{"type": "divider"}]


def test_a_message_without_blocks_shows_its_text() -> None:
    """There is always something to read."""
    assert fit({"text": "only this"})["blocks"][0]["text"]["text"] == "only this"
    assert fit({"blocks": []})["text"]


def test_markdown_is_verbatim() -> None:
    """Slack is told not to make links and mentions of plain words."""
    assert fit({"text": "t", "blocks": [section("#general")]})["blocks"][0]["text"]["verbatim"] is True


def test_unknown_blocks_pass_within_the_sum() -> None:
    """A template of the user may use what we do not know."""
    image = {"type": "image", "image_url": "https://example.test/x.png", "alt_text": "x"}
    assert fit({"text": "t", "blocks": [image]})["blocks"] == [image]


_TEXTS = st.text(max_size=400).map(lambda t: t * 20)
_BLOCK = st.one_of(
    st.builds(section, _TEXTS),
    st.builds(lambda t: {"type": "header", "text": {"type": "plain_text", "text": t}}, _TEXTS),
    st.builds(
        lambda ts: {"type": "section", "fields": [{"type": "mrkdwn", "text": t} for t in ts]},
        st.lists(_TEXTS, max_size=14),
    ),
    st.builds(
        lambda ts: {"type": "context", "elements": [{"type": "mrkdwn", "text": t} for t in ts]},
        st.lists(_TEXTS, max_size=14),
    ),
    st.just({"type": "divider"}),
    st.none(),
)


@given(st.text(max_size=6000), st.lists(_BLOCK, max_size=60))
def test_nothing_ever_exceeds_a_limit(text: str, blocks: list[Any]) -> None:
    """Whatever a template renders, Slack takes it."""
    payload = fit({"text": text, "blocks": blocks})
    assert 0 < len(payload["text"]) <= TEXT
    assert 0 < len(payload["blocks"]) <= BLOCKS
    assert sum(map(size, payload["blocks"])) <= SUM
    for block in payload["blocks"]:
        assert len(block.get("fields", ())) <= 10
        assert len(block.get("elements", ())) <= 10


@given(st.text(alphabet="ab&<>", max_size=60), st.integers(1, 60))
def test_no_entity_is_cut_in_two(text: str, most: int) -> None:
    """A cut never leaves half of an entity, which would show a bare ampersand."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    cut = shortened(escaped, most)
    assert len(cut) <= most
    assert not re.search(r"&(?!amp;|lt;|gt;)", cut)
