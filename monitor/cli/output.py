"""Tables for people, JSON and CSV for programs. Colours only on a terminal; strangers' text never steers one."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable, Sequence
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
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, dict):
        return Text(one_line(", ".join(f"{k}={v}" for k, v in value.items())))
    return Text(one_line(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value))


def show(
    rows: Iterable[dict[str, Any]], fmt: Format, columns: Sequence[str], title: str, empty: str = "Nothing to show."
) -> None:
    """Prints rows. JSON and CSV hold every key; a table the given columns."""
    rows = list(rows)
    if fmt is Format.JSON:
        text = json.dumps([plain(r) for r in rows], indent=2, ensure_ascii=False)
        sys.stdout.write(_CONTROL.sub(lambda m: f"\\u{ord(m[0]):04x}", text) + "\n")  # the same text to a program
    elif fmt is Format.CSV:
        write_csv(rows)
    elif not rows:
        console().print(f"[dim]{escape(empty)}[/dim]")
    else:
        table = Table(title=title, title_justify="left", header_style="bold", row_styles=["", "dim"], pad_edge=False)
        for column in columns:
            table.add_column(column.replace("_", " "), overflow="fold")
        for row in rows:
            table.add_row(*(severity(row[c]) if c == "severity" else cell(row.get(c)) for c in columns))
        console().print(table)


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
