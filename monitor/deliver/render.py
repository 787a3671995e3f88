"""Turns a notification into what a channel says. Templates read `notification.content` and nothing else.

Three environments, because escaping belongs to the place that a value goes to, not to the template's author:
every `{{ }}` of a Slack template is escaped for Slack and for JSON, of an HTML template for HTML, and of a text
template is freed of control characters. Use `{% include %}` and not macros in Slack templates: what a macro
returns would be escaped a second time.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import css_inline
from jinja2 import Environment, FileSystemLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from monitor.deliver import blocks
from monitor.deliver.attachment import rows
from monitor.deliver.clean import folded, header, lines, one_line, shortened
from monitor.deliver.samples import samples
from monitor.deliver.wording import FILTERS, Lines
from monitor.domain.message import Notification, Reason
from monitor.errors import TemplateFault

SHOWN = 12  # lines of a list that a message shows; the rest is in the attached CSV
LONGEST = 1_000_000  # characters of a rendered message: beyond it a template runs wild
_LONGEST_REPEAT = 10_000
_FINDING = (Reason.OPENED, Reason.REOPENED, Reason.RESOLVED)


def for_slack(value: Any) -> str:
    """Escaped for Slack's three characters, then for a place inside a JSON string."""
    text = _cleaned(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return json.dumps(text, ensure_ascii=False)[1:-1]


def for_html(value: Any) -> Any:
    """Cleaned; Jinja2's autoescape escapes it after."""
    return value if isinstance(value, Markup) else _cleaned(value)


def _cleaned(value: Any) -> str:
    text = str.__str__(value) if isinstance(value, str) else str(value)  # an undefined name raises in str()
    return lines(text) if isinstance(value, Lines) else folded(text)


class _Sandbox(ImmutableSandboxedEnvironment):
    """The sandbox of Jinja2 lets `"a" * 10**9` pass."""

    intercepted_binops = frozenset(("*", "**", "%"))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        sequence = isinstance(left, (str, list, tuple)) or isinstance(right, (str, list, tuple))
        sizes = [abs(x) for x in (left, right) if isinstance(x, (int, float))]
        if (operator == "*" and sequence and max(sizes, default=0) > _LONGEST_REPEAT) or (
            operator == "**" and max(sizes, default=0) > 1000
        ):
            raise SecurityError("too large a repetition")
        if operator == "%" and isinstance(left, str):
            raise SecurityError("use ~ to join texts")
        return super().call_binop(context, operator, left, right)


class Renderer:
    """What each channel says of a notification. Earlier folders override later ones, file by file."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)
        self._slack = _environment(self.folders, for_slack, autoescape=False)
        self._html = _environment(self.folders, for_html, autoescape=True)
        self._text = _environment(self.folders, _cleaned, autoescape=False)
        self._html.filters.pop("safe")  # nothing in a message is safe
        self._inliner = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=False, keep_at_rules=True)

    def subject(self, notification: Notification) -> str:
        """One line, safe as a mail header."""
        return header(self._render(self._text, "email/subject.txt.j2", notification)) or "A message from access-monitor"

    def text(self, notification: Notification, *, attached: bool = False) -> str:
        """For mail readers without HTML, terminals and files."""
        raw = self._render(self._text, f"text/{_stem(notification)}.txt.j2", notification, attached)
        return lines(raw).strip("\n") + "\n"

    def html(self, notification: Notification, *, attached: bool = False) -> str:
        """A whole page with its styles inside the elements, and nothing to be loaded from elsewhere."""
        page = self._render(self._html, f"email/{_stem(notification)}.html.j2", notification, attached)
        return self._inliner.inline(page)

    def slack(self, notification: Notification, *, attached: bool = False) -> dict[str, Any]:
        """{text, blocks}, within Slack's limits."""
        name = f"slack/{_stem(notification)}.json.j2"
        raw = self._render(self._slack, name, notification, attached)
        try:
            payload = json.loads(raw)
        except ValueError as error:
            raise TemplateFault(f"{self._path(name)}: {_no_json(raw, error)}") from error
        if not isinstance(payload, dict) or not isinstance(payload.get("blocks", []), list):
            raise TemplateFault(f"{self._path(name)}: must be a JSON object with `text` and a list `blocks`")
        return blocks.fit(payload)

    def check(self) -> list[str]:
        """Every fault of every template, each said once."""
        ways: tuple[Callable[[Notification], object], ...] = (self.subject, self.text, self.html, self.slack)
        faults: dict[str, None] = {}
        for notification in samples():
            for way in ways:
                try:
                    way(notification)
                except TemplateFault as fault:
                    faults[str(fault)] = None
        return list(faults)

    def _render(self, environment: Environment, name: str, notification: Notification, attached: bool = False) -> str:
        context = {**notification.content, "attached": attached, "shown": SHOWN, "rows": rows(notification)}
        try:
            raw = environment.get_template(name).render(context)
        except TemplateSyntaxError as error:
            raise TemplateFault(f"{self._path(error.name or name)}:{error.lineno}: {error.message}") from error
        except TemplateNotFound as error:
            raise TemplateFault(f"{self._place(name, error)}: there is no template {error.name}") from error
        except Exception as error:  # templates are code of others: whatever they raise is their fault, with its place
            raise TemplateFault(f"{self._place(name, error)}: {type(error).__name__}: {error}") from error
        if len(raw) > LONGEST:
            raise TemplateFault(f"{self._path(name)}: renders {len(raw):,} characters; {LONGEST:,} is the most")
        return raw

    def _place(self, name: str, error: Exception) -> str:
        """The file and line in a template where an error was raised: Jinja2 puts them into the traceback."""
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            for folder in self.folders:
                if Path(frame.filename).is_relative_to(folder):
                    return f"{folder.name}/{Path(frame.filename).relative_to(folder)}:{frame.lineno}"
        return self._path(name)

    def _path(self, name: str) -> str:
        folder = next((f for f in self.folders if (f / name).exists()), self.folders[-1])
        return f"{folder.name}/{name}"


def _environment(folders: Sequence[Path], finalize: Callable[[Any], Any], *, autoescape: bool) -> Environment:
    environment = _Sandbox(
        loader=FileSystemLoader([str(f) for f in folders]), undefined=StrictUndefined, autoescape=autoescape,
        finalize=finalize, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters.update(FILTERS)
    return environment


def _stem(notification: Notification) -> str:
    return "finding" if notification.reason in _FINDING else notification.reason.value


def _no_json(raw: str, error: ValueError) -> str:
    line = getattr(error, "lineno", 1)
    shown = raw.splitlines()[line - 1 : line] or [""]
    reason = getattr(error, "msg", str(error))
    return f"renders no JSON: {reason}, in rendered line {line}: {shortened(one_line(shown[0]), 120)}"
