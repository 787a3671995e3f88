"""How values read: the filters of every template. Pure functions of plain JSON values; escaping comes after them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.deliver.clean import lines, one_line, shortened

# shape and word, not colour alone: the same marks on a phone, on paper and in a terminal
MARKS = {"critical": "◆ CRITICAL", "high": "▲ HIGH", "medium": "● MEDIUM", "low": "○ LOW"}
COLOURS = {"critical": "#8e1b3a", "high": "#b3261e", "medium": "#8a5a00", "low": "#4a5560"}
CALM = "#1d6b4f"
FRAMEWORKS = {"soc2": "SOC 2", "iso27001": "ISO 27001", "nist80053": "NIST 800-53", "pci": "PCI DSS", "cis": "CIS"}
_MOMENT = re.compile(r"\b(\d{4})-(\d\d)-(\d\d) (\d\d:\d\d UTC)")  # as what happened is written down
_ITEM = re.compile(r"\s*(?:[-*•]|\d+[.)])\s")


class Lines(str):
    """A text whose line breaks are meant."""


class Mention(str):
    """A person in Slack, as Slack writes one: it is not escaped, and holds nothing but an id."""


def mention(person: Any) -> str:
    """Whoever is named by an id of Slack's, alone or in brackets at the end; anybody else by name."""
    found = re.fullmatch(r"(?:.* \()?([UW][A-Z0-9]{7,})\)?", str(person), re.DOTALL)
    return Mention(f"<@{found[1]}>") if found else one_line(str(person))


def mark(severity: Any) -> str:
    return MARKS.get(str(severity), str(severity).upper())


def colour(severity: Any) -> str:
    """Only for drawing: never a value of a stranger."""
    return COLOURS.get(str(severity), CALM)


def moment(text: Any) -> datetime | None:
    """An RFC 3339 text as an aware time in UTC, or None when it is none."""
    try:
        parsed = datetime.fromisoformat(text) if isinstance(text, str) and text[4:5] == "-" else None
    except ValueError:
        return None
    return parsed.astimezone(UTC) if parsed is not None and parsed.tzinfo is not None else None


def time(text: Any) -> str:
    parsed = moment(text)
    return str(text) if parsed is None else f"{parsed.day} {parsed:%b %Y %H:%M} UTC"


def dated(text: Any) -> str:
    """A line of history, with its times as they are written everywhere else in a message."""
    return _MOMENT.sub(lambda m: time(f"{m[1]}-{m[2]}-{m[3]}T{m[4][:5]}:00Z"), str(text))


def duration(seconds: Any) -> str:
    """The two largest units: "3 d 4 h"."""
    left = round(abs(float(seconds)))
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size} {unit}")
        elif parts:
            break  # "3 d", not "3 d 5 min"
        left %= size
    return " ".join(parts) or "0 s"


def ago(then: Any, now: Any) -> str:
    """How far apart two RFC 3339 times are; empty when one of them is none."""
    first, last = moment(then), moment(now)
    return "" if first is None or last is None else duration((last - first) / timedelta(seconds=1))


def value(fact: Any) -> str:
    """A fact as people read it."""
    if fact is None:
        return "not reported"
    if isinstance(fact, bool):
        return "yes" if fact else "no"
    if isinstance(fact, list):
        return ", ".join(map(value, fact)) or "none"
    if isinstance(fact, Mapping):
        return ", ".join(f"{k}: {value(v)}" for k, v in fact.items()) or "none"
    return time(fact) if moment(fact) else ("empty" if fact == "" else str(fact))


def who(subject: Mapping[str, Any]) -> str:
    """The best short name of a subject."""
    return str(subject.get("name") or subject.get("email") or subject.get("id"))


def about(subject: Mapping[str, Any]) -> str:
    """What identifies a subject beside its short name."""
    known = [subject.get("email"), f"{subject.get('kind')} {subject.get('id')}"]
    return " · ".join(str(k) for k in known if k and k != who(subject))


def seen(evidence: Any) -> str:
    """What was seen, in one line: "level user, is admin yes". When it was judged stands elsewhere."""
    facts = {name: fact for e in evidence for name, fact in e["facts"].items() if name != "now"}
    return ", ".join(f"{words(name.partition('.')[2] or name)} {value(fact)}" for name, fact in facts.items())


def cut(text: Any, most: int = 120) -> str:
    """Shortened visibly; keeps line breaks that are meant."""
    return Lines(shortened(lines(text), most)) if isinstance(text, Lines) else shortened(one_line(str(text)), most)


def kept_lines(text: Any) -> Lines:
    """For what the rule's author wrote: its line breaks are kept."""
    return Lines(lines(str(text)).strip())


def indented(text: Any, by: int = 4) -> Lines:
    return Lines(lines(str(text)).strip().replace("\n", "\n" + " " * by))


def code(text: Any) -> str:
    """As code in Slack. A backtick inside would end it."""
    return f"`{one_line(str(text)).replace('`', 'ˋ') or ' '}`"


_CHANGES = {
    "joined": "joined", "left": "left", "suspended": "was suspended", "reactivated": "was reactivated",
    "privileged_granted": "was given privileged access", "privileged_removed": "lost privileged access",
    "role_changed": "has another role", "email_changed": "has another e-mail address",
    "group_joined": "joined a group", "group_left": "left a group",
    "seat_joined": "joined a seat offering", "seat_left": "left a seat offering",
    "seat_manager_added": "manages seats now", "seat_manager_removed": "no longer manages seats",
    "person_joined": "is new", "person_left": "is no longer listed", "person_status_changed": "has another status",
    "person_email_changed": "has another e-mail address", "department_changed": "has another department",
    "title_changed": "has another job title", "manager_changed": "has another manager",
    "starts_changed": "has another first working day", "ends_changed": "has another last working day",
    "manager_added": "manages a group now", "manager_removed": "no longer manages a group",
}  # fmt: skip


def change(moved: Mapping[str, Any]) -> str:
    """What happened to the subject of a change, said of it."""
    known = [_CHANGES[n] for n in moved["names"] if n in _CHANGES]
    return " and ".join(known[:2]) or ", ".join(map(words, moved["names"])) or f"was {moved['kind']}"


def flowing(text: Any) -> Lines:
    """A rule's prose: line breaks inside a paragraph are the file's, not the reader's."""
    paragraphs = re.split(r"\n[ ]*\n", lines(str(text)).strip())
    return Lines("\n\n".join(one_line(p) for p in paragraphs))


def steps(text: Any) -> Lines:
    """A rule's runbook: a line that only continues the one above it joins it, so that a phone may break it anywhere."""
    joined: list[str] = []
    for line in lines(str(text)).strip().split("\n"):
        if joined and joined[-1].strip() and line.strip() and line.startswith("  ") and not _ITEM.match(line):
            joined[-1] += f" {line.strip()}"
        else:
            joined.append(line.rstrip())
    return Lines("\n".join(joined))


def sentence(text: Any) -> str:
    said = one_line(dated(text))
    return said[:1].upper() + said[1:] + ("" if said.endswith((".", "!", "?", "…")) else ".")


def framework(name: Any) -> str:
    return FRAMEWORKS.get(str(name), str(name))


def words(name: Any) -> str:
    """ "privileged_granted" as "privileged granted"."""
    return str(name).replace("_", " ")


def plural(number: Any, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


FILTERS: dict[str, Callable[..., Any]] = {
    "mention": mention,
    "mark": mark, "colour": colour, "time": time, "duration": duration, "ago": ago, "value": value, "who": who,
    "about": about, "cut": cut, "lines": kept_lines, "indented": indented, "code": code, "framework": framework,
    "plural": plural, "change": change, "seen": seen, "flowing": flowing, "steps": steps, "sentence": sentence,
    "dated": dated, "words": words,
}  # fmt: skip
