"""Listings: tables for people, JSON and CSV for programs; and what strangers wrote harms none of them."""

from __future__ import annotations

import csv
import io
import json
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.cli.output import FRAME, Format, clean, console, counted, fitting, said, show

NOON = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
ROW: dict[str, Any] = {
    "id": "ann", "name": "Ann", "severity": "high", "groups": ["g1", "g2"], "fields": {"cf_team": "x"}, "ok": True,
    "seen": NOON, "nothing": None, "number": -5,
}  # fmt: skip
EVIL = [
    "\x1b[2J\x1b]0;gone\x07", "\x9b31m red", "\x1b]8;;https://evil.test\x1b\\click\x1b]8;;\x1b\\", "a\rb", "a\x08\x08b",
    "\u202egpj.exe", "\u2066x\u2069", "\u200fx", "\u061cx", "x\u2028y", "\x85", "\x00", "\x7f",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are as wide as they need; nothing of the terminal that runs the tests counts."""
    monkeypatch.setenv("COLUMNS", "300")
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def shown(capsys: pytest.CaptureFixture[str], fmt: Format, *rows: dict[str, Any], columns: Any = ("id", "name")) -> str:
    show(rows, fmt, columns, "Title")
    return capsys.readouterr().out


def steers(text: str) -> list[str]:
    """The characters in it that can steer a terminal or turn text around; lines and tabs do no harm."""
    turning = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}

    def harmful(c: str) -> bool:
        marks = c in "\u200e\u200f\u061c" or unicodedata.bidirectional(c) in turning
        return marks or unicodedata.category(c) in ("Cc", "Zl", "Zp")

    return [c for c in text if c not in "\n\t" and harmful(c)]


# Formats


def test_a_table_holds_the_columns_that_are_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """In their order, with values as people read them."""
    columns = ("severity", "id", "groups", "fields", "ok", "seen", "nothing", "number", "not_there")
    lines = shown(capsys, Format.TABLE, ROW, columns=columns).splitlines()
    assert lines[0].strip() == "Title"
    assert lines[2].strip("┃ ").split("┃")[-1].strip() == "not there"
    assert [c.strip() for c in lines[4].strip("│").split("│")] == [
        "▲ high", "ann", "g1, g2", "cf_team=x", "yes", "2026-06-15 12:00", "-", "-5", "-",
    ]  # fmt: skip


NATURAL = {"severity": 10, "title": 70, "fingerprint": 12, "due": 10, "status": 12, "opened": 10, "source": 6}


@pytest.mark.parametrize(
    ("room", "kept"),
    [(300, 7), (120, 7), (90, 5), (80, 4), (60, 3), (40, 2), (10, 2)],
)
def test_a_table_keeps_the_columns_that_fit(room: int, kept: int) -> None:
    """The most important ones, which come first; two in any case. The widest gives way, and short ones stay whole."""
    widths = fitting(NATURAL, room, least=2)
    assert list(widths) == list(NATURAL)[:kept]
    assert all(widths[c] == NATURAL[c] for c in widths if c != "title") or room == 10
    assert sum(widths.values()) + FRAME * len(widths) <= room or room == 10


def test_some_columns_stay_in_any_case() -> None:
    """Drift without what was afterwards is none."""
    assert list(fitting({"who": 40, "what": 12, "before": 30, "after": 30, "id": 3}, 60, least=4)) == [
        "who", "what", "before", "after",
    ]  # fmt: skip


def test_a_table_names_what_it_leaves_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes a narrow table for all there is."""
    monkeypatch.setenv("COLUMNS", "40")
    out = shown(capsys, Format.TABLE, ROW | {"name": "x" * 90}, columns=("id", "name", "is_admin", "seen"))
    assert "".join(out.split()).count("x") == 90
    assert "Too narrow for: is admin, seen. All of it: --format json" in " ".join(out.split())
    assert max(map(len, out.splitlines())) <= 40


def test_a_piped_table_has_a_row_a_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """For grep: nothing is folded and nothing left out."""
    monkeypatch.delenv("COLUMNS")
    out = shown(capsys, Format.TABLE, ROW | {"name": "x" * 500}, columns=("id", "name", "seen"))
    [row] = [line for line in out.splitlines() if "ann" in line]
    assert "x" * 500 in row
    assert "2026-06-15" in row


def test_values_are_said_as_people_read_them() -> None:
    """At any depth; a table of lists keeps them apart."""
    assert said({"privileged": True, "status": None}) == "privileged=yes, status=None"
    assert said({"soc2": ["CC6.2", "CC6.3"], "iso27001": ["A.8.2"]}) == "soc2=CC6.2, CC6.3; iso27001=A.8.2"


@pytest.mark.parametrize(("number", "text"), [(0, "0 pages"), (1, "1 page"), (2, "2 pages"), (1200, "1,200 pages")])
def test_things_are_counted(number: int, text: str) -> None:
    """One is one."""
    assert counted(number, "page") == text


def test_an_empty_listing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    """To people in words; to programs as an empty array, and as no rows."""
    show([], Format.TABLE, ("id",), "Title", empty="No [findings].")
    assert capsys.readouterr().out == "No [findings].\n"
    assert json.loads(shown(capsys, Format.JSON)) == []
    assert shown(capsys, Format.CSV) == ""


def test_json_holds_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever the columns of the table are; types are kept, and rows may come from an iterator."""
    assert json.loads(shown(capsys, Format.JSON, ROW, ROW)) == [ROW | {"seen": "2026-06-15T12:00:00Z"}] * 2
    show(iter([ROW]), Format.JSON, (), "Title")
    assert len(json.loads(capsys.readouterr().out)) == 1


def test_csv_holds_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    """Under a header; lists and tables as JSON, nothing as nothing, and a negative number as a number."""
    (row,) = csv.DictReader(io.StringIO(shown(capsys, Format.CSV, ROW)))
    assert row == {
        "id": "ann", "name": "Ann", "severity": "high", "groups": '["g1", "g2"]', "fields": '{"cf_team": "x"}',
        "ok": "True", "seen": "2026-06-15T12:00:00Z", "nothing": "", "number": "-5",
    }  # fmt: skip


@pytest.mark.parametrize("fmt", [Format.JSON, Format.CSV])
def test_times_are_rfc_3339_in_utc(capsys: pytest.CaptureFixture[str], fmt: Format) -> None:
    """Also those that come in another zone, and inside lists."""
    berlin = NOON.astimezone(timezone(timedelta(hours=2)))
    out = shown(capsys, fmt, {"at": berlin, "all": [NOON, berlin + timedelta(microseconds=5)]})
    assert out.count("2026-06-15T12:00:00Z") == 2
    assert out.count("2026-06-15T12:00:00.000005Z") == 1
    assert "+02:00" not in out


# What strangers wrote


@pytest.mark.parametrize("fmt", Format)
@pytest.mark.parametrize("evil", EVIL, ids=ascii)
def test_no_text_steers_a_terminal(capsys: pytest.CaptureFixture[str], fmt: Format, evil: str) -> None:
    """Not by a control character, an escape sequence or a change of direction, at any depth."""
    out = shown(
        capsys, fmt, {"id": evil, "all": [evil], "map": {"k": evil}}, columns=("id", "all", "map")
    ).replace("\r\n", "\n")  # fmt: skip
    assert steers(out) == []
    assert len(out) > 10


@given(st.text(max_size=30))
def test_clean_text_is_one_harmless_line(text: str) -> None:
    """For any text at all; what is harmless stays as it is."""
    assert steers(clean(text)) == []
    assert not {"\n", "\t"} & set(clean(text))
    assert clean("Zoë Ünal 明 👩‍🚀") == "Zoë Ünal 明 👩‍🚀"


def test_json_stays_exact(capsys: pytest.CaptureFixture[str]) -> None:
    """A program reads the very text that the source sent: harmful characters are written as escapes."""
    rows = [{"id": evil} for evil in [*EVIL, "Zoë \\u202e 👩‍🚀"]]
    out = shown(capsys, Format.JSON, *rows)
    assert json.loads(out) == rows
    assert "Zoë" in out


@pytest.mark.parametrize(
    "text", ["[red]x[/red]", "[/]", "[link=https://evil.test]x[/link]", ":warning:", "x\\", "\\[b]", "[", "[@click=x]y"]
)
def test_markup_is_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """A name is a name, also where it looks like the table's own language."""
    assert f"│{text} " in shown(capsys, Format.TABLE, {"id": "ann", "name": text, "end": "."}, columns=("name", "end"))
    console().print(f"[bold]{clean(text)}[/] .")
    assert capsys.readouterr().out == f"{text} .\n"


def test_a_line_break_stays_in_its_row(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody can write a row of their own into a table."""
    one = shown(capsys, Format.TABLE, {"id": "ann", "name": "a b c d"})
    two = shown(capsys, Format.TABLE, {"id": "ann", "name": "a\nb\r\nc\td"})
    assert one == two


FORMULAS = [
    '=HYPERLINK("https://evil.test")', "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "=1", "\uff1d1", "\uff0b1",
    "\uff0d1", "\uff201",
]  # fmt: skip


@pytest.mark.parametrize("text", FORMULAS, ids=ascii)
def test_no_cell_is_a_formula(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """An apostrophe makes it text; everything behind it is kept."""
    (row,) = csv.DictReader(io.StringIO(shown(capsys, Format.CSV, {"id": text, "x": 'a,"b'}), newline=""))
    assert row["id"].startswith("'")
    assert row["id"][1:] == text.replace("\r", "\N{REPLACEMENT CHARACTER}")
    assert row["x"] == 'a,"b'


def test_what_only_contains_such_a_sign_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Addresses and times begin otherwise."""
    (row,) = csv.DictReader(io.StringIO(shown(capsys, Format.CSV, {"a": "ann@example.test", "b": "1-2", "c": ""})))
    assert list(row.values()) == ["ann@example.test", "1-2", ""]
