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

from monitor.decide.present import plain, rfc3339

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


class Format(StrEnum):
    TABLE = "table"
    JSON = "json"
    CSV = "csv"


FormatOption = Annotated[Format, typer.Option("--format", "-f", help="table for people, json or csv for programs.")]


def console(*, err: bool = False) -> Console:
    return Console(stderr=err, highlight=False, soft_wrap=False)


def clean(value: Any) -> str:
    """Text that cannot steer a terminal: control characters shown, lines folded, markup escaped."""
    text = str(value).replace("\r\n", " ").replace("\n", " ").replace("\t", " ")
    return escape(_CONTROL.sub("\N{REPLACEMENT CHARACTER}", text))


def cell(value: Any) -> str:
    if value is None:
        return "[dim]-[/dim]"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M")
    if isinstance(value, dict):
        return clean(", ".join(f"{k}={v}" for k, v in value.items()))
    return clean(", ".join(map(str, value)) if isinstance(value, (list, tuple)) else value)


def show(
    rows: Iterable[dict[str, Any]], fmt: Format, columns: Sequence[str], title: str, empty: str = "Nothing to show."
) -> None:
    """Prints rows. JSON and CSV hold every key; a table the given columns."""
    rows = list(rows)
    if fmt is Format.JSON:
        sys.stdout.write(json.dumps([plain(r) for r in rows], indent=2, ensure_ascii=False) + "\n")
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


def severity(value: Any) -> str:
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
    """A spreadsheet takes a cell that begins with = + - @ for a formula: such a cell gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return rfc3339(value) or ""
    text = json.dumps(plain(value), ensure_ascii=False) if isinstance(value, (dict, list, tuple)) else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text
