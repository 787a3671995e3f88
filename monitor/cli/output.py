"""Tables for people, JSON and CSV for programs. Colours only on a terminal; strangers' text never steers one."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from monitor.decide.present import plain, rfc3339

# Control characters, C1 among them (0x9b begins an escape sequence), and what reverses the direction of text.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # full-width ones, too


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="table for people, json or csv for programs.")]


def console(*, err: bool = False) -> Console:
    return Console(stderr=err, highlight=False, emoji=False, soft_wrap=False)


def harmless(text: str) -> str:
    """Text that cannot steer a terminal; its lines stay."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(value: Any) -> str:
    """Control characters shown, lines folded."""
    return harmless(str(value).replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def clean(value: Any) -> str:
    """Text that steers neither a terminal nor rich, to stand inside of markup."""
    return escape(one_line(value))


def cell(value: Any) -> str | Text:
    if value is None:
        return "[dim]-[/dim]"
    return Text(one_line(said(value)))


def said(value: Any) -> str:
    """A value as people read it, in a table or in a sentence."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, dict):
        between = "; " if any(isinstance(v, (list, tuple)) for v in value.values()) else ", "
        return between.join(f"{k}={said(v)}" for k, v in value.items())
    return ", ".join(map(said, value)) if isinstance(value, (list, tuple)) else str(value)


def counted(number: int, one: str, many: str | None = None) -> str:
    """ "1 finding", "2 findings"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def show(
    rows: Iterable[dict[str, Any]], fmt: Format, columns: Sequence[str], title: str, empty: str = "Nothing to show.",
    least: int = 2,
) -> None:  # fmt: skip
    """Prints rows. JSON and CSV hold every key; a table the columns that fit, the first `least` in any case."""
    rows = list(rows)
    if fmt is Format.JSON:
        text = json.dumps([plain(r) for r in rows], indent=2, ensure_ascii=False)
        sys.stdout.write(_CONTROL.sub(lambda m: f"\\u{ord(m[0]):04x}", text) + "\n")  # the same text to a program
    elif fmt is Format.CSV:
        write_csv(rows)
    elif not rows:
        console().print(f"[dim]{escape(empty)}[/dim]")
    else:
        _print_table(rows, columns, title, least)


def _print_table(rows: Sequence[dict[str, Any]], columns: Sequence[str], title: str, least: int) -> None:
    cells = {c: [_text(severity(r[c]) if c == "severity" else cell(r.get(c))) for r in rows] for c in columns}
    room = _room()
    widths = fitting({c: max(len(c), *(t.cell_len for t in cells[c])) for c in columns}, room, least)
    table = Table(title=title, title_justify="left", header_style="bold", row_styles=["", "dim"], pad_edge=False)
    for column, width in widths.items():
        table.add_column(column.replace("_", " "), overflow="fold", width=width)
    for texts in zip(*(cells[c] for c in widths), strict=True):
        table.add_row(*texts)
    Console(highlight=False, emoji=False, width=max(room, 1)).print(table)
    left_out = [c.replace("_", " ") for c in columns if c not in widths]
    if left_out:
        console().print(f"[dim]Too narrow for: {', '.join(left_out)}. All of it: --format json[/dim]")


def _text(value: str | Text) -> Text:
    return value if isinstance(value, Text) else Text.from_markup(value)


def _room() -> int:
    """A terminal's width. What is piped away goes a row a line, for grep, unless $COLUMNS says how wide."""
    told = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return console().width if told else 10_000


FRAME = 3  # of each column: the line before it, and a space on either side
READABLE = 24  # a column that is narrower than this, and than its text, is hard to read


def fitting(natural: Mapping[str, int], room: int, least: int) -> dict[str, int]:
    """The width of each column that fits. The last ones go first, down to `least`; then the widest give way."""
    widths = dict(natural)
    while len(widths) > least and sum(min(w, READABLE) + FRAME for w in widths.values()) > room:
        widths.popitem()
    spare = room - FRAME * len(widths)
    while sum(widths.values()) > max(spare, 8 * len(widths)):
        widest = max(widths, key=lambda c: widths[c])
        widths[widest] -= 1
    return widths


def severity(value: Any) -> str | Text:
    marks = {
        "critical": "[bold red]◆ critical[/]",
        "high": "[red]▲ high[/]",
        "medium": "[yellow]● medium[/]",
        "low": "○ low",
    }
    return marks.get(str(value), cell(value))


def write_csv(rows: Sequence[dict[str, Any]]) -> None:
    if not rows:
        return
    writer = csv.writer(sys.stdout)
    writer.writerow(rows[0].keys())
    for row in rows:
        writer.writerow([_csv_cell(v) for v in row.values()])


def _csv_cell(value: Any) -> str:
    """A spreadsheet takes text that begins with = + - @ for a formula: such a cell gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return rfc3339(value) or ""
    if isinstance(value, (dict, list, tuple)):
        return harmless(json.dumps(plain(value), ensure_ascii=False))
    text = harmless(str(value))
    return f"'{text}" if isinstance(value, str) and value.startswith(_FORMULA) else text
