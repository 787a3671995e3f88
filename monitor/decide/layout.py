"""The one layout of rule files: keys in one order, aligned; every comment stays, and nothing is said otherwise."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Array, Comment, InlineTable, Item, Table, Whitespace

WIDTH = 120
PARAGRAPHS = (
    ("id", "title", "severity", "status", "owner", "fix_within", "for_each", "closes"),
    ("description", "runbook"),
    ("match", "evidence", "tags"),
)
TABLES = ("settings", "controls", "exemptions", "tests")
INSIDE = (
    "rule",
    "source",
    "subject",
    "match",
    "name",
    "expect",
    "settings",
    "reason",
    "approved_by",
    "expires",
    "ticket",
    "polls",
)
ONE_A_LINE = {"match"}


@dataclass
class Entry:
    """A key with its value as text, and the comments that stand above it and behind it."""

    key: str
    text: str
    above: list[str]
    behind: str = ""


@dataclass
class Section:
    header: str  # "" for what stands before the first table
    entries: list[Entry] = field(default_factory=list)
    above: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.header.strip("[]")


def laid_out(text: str) -> str:
    """Raises ValueError when the text is no TOML, or is written in a way that cannot be laid out."""
    try:
        document = tomlkit.parse(text)
        before = tomllib.loads(text)
    except (TOMLKitError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"not valid TOML: {error}") from error
    sections, head, tail = _read(document)
    made = "\n".join(_written(sections, head, tail)).rstrip("\n") + "\n"
    if tomllib.loads(made) != before or sorted(_comments(made)) != sorted(_comments(text)):
        raise ValueError("cannot be laid out without changing what it says; write tests and exemptions as [[tables]]")
    return made


def _comments(text: str) -> list[str]:
    """Comments of whole lines and behind values; a # inside a text counts on both sides, and so cancels out."""
    return [line.partition("#")[2].strip() for line in text.splitlines() if "#" in line]


# reading


def _read(document: tomlkit.TOMLDocument) -> tuple[list[Section], list[str], list[str]]:
    sections, pending = [Section("")], list[str]()
    head = _head(document)
    for key, item in document.body[len(head) :]:
        if key is None:
            pending += [item.as_string().strip()] if isinstance(item, Comment) else []
            continue
        name = key.key
        tables = item.body if isinstance(item, AoT) else [item] if isinstance(item, Table) else []
        for table in tables:
            section = Section(f"[[{name}]]" if isinstance(item, AoT) else f"[{name}]", above=pending)
            section.above += [table.trivia.comment] if table.trivia.comment else []
            section.entries, pending = _entries(table.value.body, name)
            sections.append(section)
        if not tables:
            sections[0].entries.append(_entry(name, item, pending))
            pending = []
    return sections, [c for c in head if c], pending


def _head(document: tomlkit.TOMLDocument) -> list[str]:
    """Comments at the top of the file that a blank line parts from the first key; "" for a blank line."""
    found: list[str] = []
    for key, item in document.body:
        if key is not None:
            while found and found[-1] != "":
                found.pop()  # it stands right above the key
            return found
        found.append("" if isinstance(item, Whitespace) else item.as_string().strip())
    return found


def _entries(body: Sequence[tuple[Any, Item]], within: str) -> tuple[list[Entry], list[str]]:
    """What a table holds; and the comments at its end, which belong to what follows."""
    entries, pending = [], list[str]()
    for key, item in body:
        if key is None:
            pending += [item.as_string().strip()] if isinstance(item, Comment) else []
        elif isinstance(item, (AoT, Table)):
            raise ValueError(f"{within}.{key.key} stands in a table of its own; write it as {{ ... }} in one line")
        else:
            entries.append(_entry(key.key, item, pending))
            pending = []
    return entries, pending


def _entry(key: str, item: Item, above: list[str]) -> Entry:
    written = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else tomlkit.string(key).as_string()
    return Entry(written, _value(item, key), above, item.trivia.comment)


def _value(item: Any, key: str) -> str:
    """Texts and numbers as they were written; lists and tables in one line where they fit."""
    if isinstance(item, Array) and "#" not in re.sub(r"\"(\\.|[^\"])*\"|'[^']*'", "", item.as_string()):
        parts = [_value(element, "") for element in item]
        line = f"[ {', '.join(parts)} ]" if parts and isinstance(item[0], InlineTable) else f"[{', '.join(parts)}]"
        room = WIDTH - max(len(key) + 3, 9)
        if not parts or (key not in ONE_A_LINE and len(line) <= room and (len(parts) == 1 or "{" not in line)):
            return line
        return "[\n" + "".join(f"  {part},\n" for part in parts) + "]"
    if isinstance(item, InlineTable):
        inside = ", ".join(f"{k.as_string().strip()} = {_value(v, '')}" for k, v in item.value.body if k is not None)
        return f"{{ {inside} }}" if inside else "{}"
    return str(item.as_string()).strip()


# writing


def _written(sections: list[Section], head: list[str], tail: list[str]) -> Iterator[str]:
    yield from [*head, ""] if head else []
    top, *tables = sections
    for keys in _paragraphs(top.entries):
        lines = list(_aligned(keys, every=False))
        yield from [*lines, ""] if lines else []
    for section in sorted(tables, key=lambda s: TABLES.index(s.name) if s.name in TABLES else len(TABLES)):
        yield from [*section.above, section.header]
        order = INSIDE if section.header.startswith("[[") else ()
        yield from _aligned(_sorted(section.entries, order), every=True)
        yield ""
    yield from tail


def _paragraphs(entries: list[Entry]) -> Iterator[list[Entry]]:
    known = {key for keys in PARAGRAPHS for key in keys}
    for number, keys in enumerate(PARAGRAPHS):
        more = [e for e in entries if e.key not in known] if number == 0 else []
        yield _sorted([e for e in entries if e.key in keys], keys) + more


def _sorted(entries: list[Entry], order: Sequence[str]) -> list[Entry]:
    return sorted(entries, key=lambda e: order.index(e.key) if e.key in order else len(order))


def _aligned(entries: list[Entry], *, every: bool) -> Iterator[str]:
    """`every`: values of several lines as well, as in tests; at the top of a file they keep to themselves."""
    among = [e for e in entries if every or "\n" not in e.text]
    width = max((len(e.key) for e in among), default=0)
    for entry in entries:
        key = entry.key.ljust(width) if entry in among else entry.key
        yield from entry.above
        yield f"{key} = {entry.text}" + (f"  {entry.behind}" if entry.behind else "")
