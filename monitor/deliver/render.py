"""Turns a notification into what a channel says. Templates read `notification.content` and nothing else.

Three environments, because escaping belongs to the place that a value goes to, not to the template's author:
every `{{ }}` of a Slack template is escaped for Slack and for JSON, of an HTML template for HTML, and of a text
template is freed of control characters. Use `{% include %}` and not macros in Slack templates: what a macro
returns would be escaped a second time.
"""

from __future__ import annotations

import hashlib
import json
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import css_inline
from jinja2 import Environment, FunctionLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment
from markupsafe import Markup

from monitor.deliver import blocks
from monitor.deliver.attachment import rows
from monitor.deliver.clean import folded, header, lines, one_line, shortened
from monitor.deliver.samples import samples
from monitor.deliver.wording import FILTERS, Lines, Mention
from monitor.domain.message import ABOUT_A_FINDING, KEPT_UP_TO_DATE, Notification, Reason
from monitor.errors import TemplateFault

SHOWN = 12  # lines of a list that a message shows; the rest is in the attached CSV
LONGEST = 1_000_000  # characters of a rendered message: beyond it a template runs wild
_LONGEST_REPEAT = 10_000
T = TypeVar("T")


def for_slack(value: Any) -> str:
    """Escaped for Slack's three characters, then for a place inside a JSON string."""
    if isinstance(value, Mention):
        return str(value)
    text = _cleaned(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return json.dumps(text, ensure_ascii=False)[1:-1]


def for_json(value: Any) -> str:
    """Escaped for a place inside a JSON string."""
    return json.dumps(_cleaned(value), ensure_ascii=False)[1:-1]


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
    """What each channel says of a notification. Earlier folders override later ones, file by file.

    All files are read once: an edit is in force when it is loaded as a whole, and not before. With a `shipped`
    renderer, a template that fails is replaced by that one, and the fault is kept to be told.
    """

    def __init__(self, folders: Sequence[Path], shipped: Renderer | None = None) -> None:
        self.folders, self._shipped = tuple(folders), shipped
        self._files = _read(self.folders)
        self._slack = _environment(self._files, for_slack, autoescape=False)
        self._html = _environment(self._files, for_html, autoescape=True)
        self._text = _environment(self._files, _cleaned, autoescape=False)
        self._webhook = _environment(self._files, for_json, autoescape=False)
        self._html.filters.pop("safe")  # nothing in a message is safe
        self._inliner = css_inline.CSSInliner(load_remote_stylesheets=False, keep_style_tags=False, keep_at_rules=True)
        self._faults: dict[str, str] = {}

    @property
    def overrides(self) -> bool:
        """Whether somebody wrote templates of his own: the shipped ones are known to work."""
        return self._shipped is not None

    def subject(self, notification: Notification) -> str:
        """One line, safe as a mail header."""
        return self._or_shipped(lambda r: r._subject(notification))

    def text(self, notification: Notification, *, attached: bool = False) -> str:
        """For mail readers without HTML, terminals and files."""
        return self._or_shipped(lambda r: r._plain(notification, attached))

    def html(self, notification: Notification, *, attached: bool = False) -> str:
        """A whole page with its styles inside the elements, and nothing to be loaded from elsewhere."""
        return self._or_shipped(lambda r: r._page(notification, attached))

    def slack(
        self, notification: Notification, *, attached: bool = False, folded: bool = False, buttons: str = ""
    ) -> dict[str, Any]:
        """{text, blocks}, within Slack's limits. `folded`: the evidence goes into the message's thread; `buttons`:
        the name of the receiver that hears what is pressed, or nothing.
        """
        return self._or_shipped(lambda r: r._blocks(notification, attached, folded, buttons))

    def slack_thread(self, part: str, notification: Notification) -> dict[str, Any]:
        """What goes into the thread of a message: a finding's `evidence`, or a line of the `history`."""
        return self._or_shipped(lambda r: r._payload(f"slack/{part}.json.j2", notification))

    def webhook(
        self, name: str, notification: Notification, values: Mapping[str, str], secrets: Mapping[str, str]
    ) -> Any:
        """What webhook/NAME.json.j2 makes of it: any JSON value."""
        return self._or_shipped(lambda r: r._body(name, notification, values, secrets))

    def check(self) -> list[str]:
        """Every fault of every template, each said once, whether or not the shipped one takes its place."""
        ways: list[Callable[[Notification], object]] = [self._subject, self._plain, self._page, self._blocks]
        ways += [partial(self._body, name, values=_ANY, secrets=_ANY) for name in self.webhooks()]
        faults: dict[str, None] = {}
        for notification in samples():
            of_finding = [partial(self._payload, f"slack/{p}.json.j2") for p in ("evidence", "history")]
            thread = of_finding if notification.reason in ABOUT_A_FINDING else of_finding[1:]
            for way in ways + (thread if notification.reason in KEPT_UP_TO_DATE else []):
                try:
                    way(notification)
                except TemplateFault as fault:
                    faults[str(fault)] = None
        return list(faults)

    def webhooks(self) -> list[str]:
        """Names of webhook templates."""
        names = (re.fullmatch(r"webhook/([^/]+)\.json\.j2", n) for n in self._files)
        return sorted(n[1] for n in names if n)

    def faults(self) -> list[tuple[str, str]]:
        """What failed since the start: a digest of the template's text, and what is wrong. Each is told once."""
        return list(self._faults.items())

    def _or_shipped(self, way: Callable[[Renderer], T]) -> T:
        try:
            return way(self)
        except TemplateFault as fault:
            if self._shipped is None:
                raise
            said = way(self._shipped)
            self.note(str(fault))
            return said

    def note(self, fault: str) -> None:
        """Keeps a fault to be told: once for each text of the templates, however often it is met."""
        place = fault.partition(":")[0]
        text = next((t for n, (t, _) in self._files.items() if place.endswith(n)), "")
        self._faults.setdefault(hashlib.sha256(f"{place}\n{text}".encode()).hexdigest()[:16], fault)

    def _subject(self, notification: Notification) -> str:
        return header(self._render(self._text, "email/subject.txt.j2", notification)) or "A message from access-monitor"

    def _plain(self, notification: Notification, attached: bool = False) -> str:
        raw = self._render(self._text, f"text/{_stem(notification)}.txt.j2", notification, attached)
        return lines(raw).strip("\n") + "\n"

    def _page(self, notification: Notification, attached: bool = False) -> str:
        page = self._render(self._html, f"email/{_stem(notification)}.html.j2", notification, attached)
        return self._inliner.inline(page)

    def _blocks(
        self, notification: Notification, attached: bool = False, folded: bool = False, buttons: str = ""
    ) -> dict[str, Any]:
        return self._payload(f"slack/{_stem(notification)}.json.j2", notification, attached, folded, buttons)

    def _payload(
        self, name: str, notification: Notification, attached: bool = False, folded: bool = False, buttons: str = ""
    ) -> dict[str, Any]:
        more = {"folded": folded, "buttons": buttons}
        payload = self._json(name, self._render(self._slack, name, notification, attached, more))
        if not isinstance(payload, dict) or not isinstance(payload.get("blocks", []), list):
            raise TemplateFault(f"{self._path(name)}: must be a JSON object with `text` and a list `blocks`")
        return blocks.fit(payload)

    def _body(
        self, name: str, notification: Notification, values: Mapping[str, str], secrets: Mapping[str, str]
    ) -> Any:
        file = f"webhook/{name}.json.j2"
        more = {
            "values": values, "secrets": secrets, "id": notification.id, "earlier": notification.earlier,
            "text": Lines(self._plain(notification)), "subject": self._subject(notification),
        }  # fmt: skip
        return self._json(file, self._render(self._webhook, file, notification, more=more))

    def _json(self, name: str, raw: str) -> Any:
        try:
            return json.loads(raw)
        except ValueError as error:
            raise TemplateFault(f"{self._path(name)}: {_no_json(raw, error)}") from error

    def _render(
        self, environment: Environment, name: str, notification: Notification, attached: bool = False,
        more: Mapping[str, Any] = MappingProxyType({}),
    ) -> str:  # fmt: skip
        context = {**notification.content, "attached": attached, "shown": SHOWN, "rows": rows(notification), **more}
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


def _read(folders: Sequence[Path]) -> dict[str, tuple[str, str]]:
    """Every template by name: its text, and the path that errors are to name. Raises TemplateFault."""
    files: dict[str, tuple[str, str]] = {}
    for folder in reversed(folders):
        for path in sorted(folder.rglob("*.j2")):
            try:
                files[path.relative_to(folder).as_posix()] = path.read_text(encoding="utf-8"), str(path)
            except (OSError, UnicodeDecodeError) as error:
                said = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
                raise TemplateFault(f"{folder.name}/{path.relative_to(folder)}: cannot be read: {said}") from error
    return files


def _environment(
    files: Mapping[str, tuple[str, str]], finalize: Callable[[Any], Any], *, autoescape: bool
) -> Environment:
    def load(name: str) -> tuple[str, str, Callable[[], bool]] | None:
        return (*files[name], lambda: True) if name in files else None

    environment = _Sandbox(
        loader=FunctionLoader(load), undefined=StrictUndefined, autoescape=autoescape,
        finalize=finalize, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters.update(FILTERS)
    return environment


class _Anything(dict[str, str]):
    """Stands for the values of a receiver when a template is checked without one."""

    def __missing__(self, key: str) -> str:
        return key

    def get(self, key: str, default: Any = None) -> Any:
        return key


_ANY = _Anything()


def _stem(notification: Notification) -> str:
    same = {
        **dict.fromkeys(ABOUT_A_FINDING, "finding"),
        Reason.DRILL: "test",
        Reason.NEW_IN_GROUP: "group",
        **dict.fromkeys((Reason.SILENCE_ENDING, Reason.EXEMPTION_ENDING), "operations"),
    }
    return same.get(notification.reason, notification.reason.value)


def _no_json(raw: str, error: ValueError) -> str:
    line = getattr(error, "lineno", 1)
    shown = raw.splitlines()[line - 1 : line] or [""]
    reason = getattr(error, "msg", str(error))
    return f"renders no JSON: {reason}, in rendered line {line}: {shortened(one_line(shown[0]), 120)}"
