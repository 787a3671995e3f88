"""The page for an auditor: one HTML file that loads nothing and runs nothing.

Every value may come from a stranger. Autoescape is on for whatever the template is called, and what would not show
(controls, line breaks, marks that turn the direction of text) is made visible, so that two names that look alike
are alike.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import FileSystemLoader, StrictUndefined, TemplateError, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from monitor.errors import TemplateFault

TEMPLATE = "report/page.html.j2"
LONGEST = 600  # characters of one value; the database has the rest
SEVERITIES = ("critical", "high", "medium", "low")
_FRAMEWORKS = {"soc2": "SOC 2", "iso27001": "ISO 27001", "nist80053": "NIST 800-53", "pci": "PCI DSS", "cis": "CIS"}
# Controls, soft hyphens, zero-width and direction marks, line separators, lone surrogates. The two joiners
# (200c, 200d) stay: Persian and emoji are written with them.
_HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")  # as evidence and drift carry times


def render(folders: Sequence[Path], content: Mapping[str, Any]) -> str:
    """The page as text. Raises TemplateFault; earlier folders override later ones."""
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader([str(f) for f in folders]), undefined=StrictUndefined, autoescape=True,
        finalize=visible, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {
        "time": time, "day": day, "duration": duration, "value": value, "number": number, "plural": plural,
        "controls": controls, "words": words,
    }  # fmt: skip
    environment.filters.pop("safe")  # nothing in a report is safe
    environment.globals.update(severities=SEVERITIES, stacked=stacked, top=top)
    try:
        return environment.get_template(TEMPLATE).render(content)
    except TemplateSyntaxError as error:
        raise TemplateFault(f"templates/{error.name or TEMPLATE}:{error.lineno}: {error.message}") from error
    except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise TemplateFault(f"templates/{TEMPLATE}: {type(error).__name__}: {error}") from error


def visible(given: Any) -> Any:
    """Text with its hidden characters shown. Markup is what the template itself wrote."""
    if not isinstance(given, str) or isinstance(given, Markup):
        return given
    cut = given if len(given) <= LONGEST else f"{given[:LONGEST]}\u2026 ({number(len(given))} characters in all)"
    return _HIDDEN.sub(_shown, cut)


def _shown(found: re.Match[str]) -> str:
    return f"\u27e8U+{ord(found[0]):04X}\u27e9"


def time(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M")


def day(moment: datetime | None) -> str:
    return "" if moment is None else moment.astimezone(UTC).strftime("%Y-%m-%d")


def duration(seconds: float) -> str:
    """The two largest units: 3 d 4 h."""
    left, parts = max(int(seconds), 0), list[str]()
    for name, size in (("d", 86400), ("h", 3600), ("min", 60)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {name}")
        if len(parts) == 2 or (parts and not count):
            break
    return " ".join(parts) or "under 1 min"


def value(given: Any) -> str:
    """A value of a fact or a field, as people write it."""
    if given is None or isinstance(given, bool):
        return {None: "\N{EN DASH}", True: "yes", False: "no"}[given]
    if isinstance(given, Mapping):
        return ", ".join(f"{words(k)}: {value(v)}" for k, v in given.items()) or "none"
    if isinstance(given, (list, tuple)):
        return ", ".join(map(value, given)) or "none"
    if isinstance(given, float):
        return f"{given:g}"
    return _text(str(given))


def _text(given: str) -> str:
    if _MOMENT.fullmatch(given):
        try:
            return time(datetime.fromisoformat(given))
        except ValueError:  # looks like a time and is none
            return given
    return given if given.strip() else "(empty)"


def number(given: int) -> str:
    """With narrow spaces between the thousands."""
    return f"{given:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def plural(count: int, one: str, many: str | None = None) -> str:
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def controls(served: Mapping[str, Sequence[str]]) -> list[str]:
    names = {name: _FRAMEWORKS.get(name, name).replace(" ", "\N{NO-BREAK SPACE}") for name in served}
    return [f"{names[name]}\N{NO-BREAK SPACE}{', '.join(clauses)}" for name, clauses in served.items()]


def words(name: Any) -> str:
    return str(name).replace("_", " ")


class Bar(NamedTuple):
    """A rectangle of a plot, in its own units."""

    series: str
    x: float
    y: float
    width: float
    height: float


def top(columns: Sequence[Mapping[str, int] | None]) -> int:
    return max((sum(c.values()) for c in columns if c), default=0)


def stacked(
    columns: Sequence[Mapping[str, int] | None], series: Sequence[str], width: float, height: float, most: int
) -> list[Bar]:
    """One column per point in time, its series on top of each other. None: nothing is known, nothing is drawn."""
    step, bars = width / max(len(columns), 1), list[Bar]()
    gap = min(step * 0.2, 2.0)
    for i, column in enumerate(columns):
        y = height
        for name in series if column else ():
            tall = height * column[name] / max(most, 1) if column else 0.0
            y -= tall
            if tall:
                bars.append(Bar(name, round(i * step + gap / 2, 2), round(y, 2), round(step - gap, 2), round(tall, 2)))
    return bars
