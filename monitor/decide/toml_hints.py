"""What the TOML parser says of a line that it cannot read, with what to do about it."""

from __future__ import annotations

import re

_TWICE = "once is enough; [[tests]] and [[exemptions]] are written in double brackets each time"
_SAID = (
    (r"character '\\n'|character '\\r|Unterminated string|Expected .*'\"",
     "a text does not end: a quote is missing, or for several lines write three on either side"),
    (r"Unclosed array", "a comma is missing before this, or a ] behind the list"),
    (r"Unclosed inline table", "a comma is missing before this, or a } behind the table"),
    (r"Invalid initial character for a key part",
     "a table in braces stands on one line, without a comma behind its last part"),
    (r"Invalid value", "a text needs straight quotes, like \"high\"; true and false are written small"),
    (r"Unescaped", "a backslash is written twice, or once in a text in single quotes"),
    (r"Expected newline or end of document",
     "something stands behind the value; a text needs quotes around all of it, a day is written like 2026-12-31"),
    (r"Expected '=' after a key", "write key = value"),
    (r"Invalid statement", "no line begins so; perhaps a bracket or a quote is missing above it"),
    (r"Cannot mutate|Cannot overwrite|Cannot declare|twice|namespace", _TWICE),
    (r"Illegal character|invalid character", "remove it; it is perhaps not visible"),
)  # fmt: skip


def advice(error: str, line: str, column: int) -> str:
    """What to do, to stand behind the parser's own words; and the key of the line where that says more."""
    if "Invalid value" in error and column <= 2:
        return "; the list above is not closed: a ] is missing"
    said = next((do for pattern, do in _SAID if re.search(pattern, error)), "")
    key = re.match(r"[\s\[]*([\w.-]+)", line)
    if said is _TWICE and key:
        return f": {key[1]} stands here again; {said}"
    return f"; {said}" if said else ""
