"""A page that shows messages as Slack and a mailbox would: for the demo, and for whoever edits templates.

It loads nothing from elsewhere; mails stand in frames that may run nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from typing import Any

from markupsafe import Markup, escape

_STYLE = """
:root {
  color-scheme: light dark;
  --page: #eef0ee; --card: #fff; --ink: #1d1c1d; --soft: #616061; --line: #dddfdd; --code: #b3124a;
}
@media (prefers-color-scheme: dark) {
  :root { --page: #121614; --card: #1a1d21; --ink: #d1d2d3; --soft: #9a9b9e; --line: #35383c; --code: #e8912d; }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.46 -apple-system, "Segoe UI", Lato, Roboto, Helvetica, Arial, sans-serif;
}
main {
  max-width: 1320px; margin: 0 auto; padding: 24px 16px 64px; display: grid; gap: 32px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr));
}
h1 { font-size: 15px; font-weight: 600; margin: 0 0 12px; }
section, article { min-width: 0; }
article {
  background: var(--card); border: 1px solid var(--line); border-radius: 8px; margin: 0 0 16px;
  overflow-wrap: anywhere;
}
.slack { padding: 12px 16px; display: grid; grid-template-columns: 36px 1fr; gap: 0 10px; }
.face {
  width: 36px; height: 36px; border-radius: 6px; background: #1d6b4f; color: #fff; font-weight: 700;
  display: grid; place-items: center;
}
.by { font-weight: 700; }
.app { font-size: 10px; background: var(--line); border-radius: 2px; padding: 1px 3px; margin-left: 4px; }
.header { font-size: 18px; font-weight: 800; line-height: 1.3; margin: 8px 0 6px; }
.text { margin: 0 0 8px; white-space: pre-line; }
.fields { margin: 0 0 8px; display: grid; grid-template-columns: 1fr 1fr; gap: 8px 16px; white-space: pre-line; }
.context { color: var(--soft); font-size: 12px; margin: 0 0 8px; white-space: pre-line; }
.actions { display: flex; flex-wrap: wrap; gap: 8px; margin: 0 0 8px; }
.button { border: 1px solid var(--line); border-radius: 6px; padding: 4px 12px; font-weight: 700; font-size: 13px; }
.menu { float: right; margin-left: 8px; }
hr { border: 0; border-top: 1px solid var(--line); margin: 12px 0; }
code {
  font: 12px/1.5 ui-monospace, Menlo, Consolas, monospace; color: var(--code);
  border: 1px solid var(--line); border-radius: 3px; padding: 1px 3px;
}
.mail header { padding: 12px 16px; border-bottom: 1px solid var(--line); }
.mail .subject { font-weight: 700; font-size: 16px; }
.mail .who { color: var(--soft); font-size: 13px; }
iframe { width: 100%; height: 760px; border: 0; display: block; border-radius: 0 0 8px 8px; }
.file {
  display: inline-block; border: 1px solid var(--line); border-radius: 6px; padding: 2px 8px; font-size: 13px;
  margin-top: 6px;
}
"""


def page(slack_payloads: Sequence[dict[str, Any]], mails: Sequence[bytes]) -> str:
    """The page. Payloads are what is posted ({text, blocks}); mails are whole messages as bytes."""
    columns = Markup("").join([
        _column("In Slack", [_message(p) for p in slack_payloads]), _column("In the mailbox", [_mail(m) for m in mails])
    ])  # fmt: skip
    return str(
        Markup(
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
            "<title>Messages of access-monitor</title><style>"
        )
        + Markup(_STYLE)  # noqa: S704 - ours
        + Markup("</style></head><body><main>{}</main></body></html>\n").format(columns)
    )


def _column(title: str, items: Sequence[Markup]) -> Markup:
    return Markup("<section><h1>{}</h1>{}</section>").format(title, Markup("").join(items)) if items else Markup("")


def _message(payload: dict[str, Any]) -> Markup:
    drawn = Markup("").join(_block(b) for b in payload.get("blocks", ())) or _mrkdwn(payload["text"])
    return Markup(
        '<article class="slack" aria-label="{}"><div class="face" aria-hidden="true">a</div><div><div><span class="by">'
        'access-monitor</span><span class="app">APP</span></div>{}</div></article>'
    ).format(_unescaped(payload["text"]), drawn)


def _block(block: dict[str, Any]) -> Markup:
    draw = _BLOCKS.get(str(block.get("type")))
    return draw(block) if draw else Markup('<div class="context">[{}]</div>').format(block.get("type"))


def _section(block: dict[str, Any]) -> Markup:
    menu = Markup('<span class="button menu">⋯</span>') if "accessory" in block else Markup("")
    text = Markup('<div class="text">{}{}</div>').format(menu, _text(block["text"])) if "text" in block else Markup("")
    fields = Markup("").join(Markup("<div>{}</div>").format(_text(f)) for f in block.get("fields", ()))
    return text + (Markup('<div class="fields">{}</div>').format(fields) if fields else Markup(""))


_BLOCKS: dict[str, Callable[[dict[str, Any]], Markup]] = {
    "header": lambda b: Markup('<div class="header">{}</div>').format(_text(b["text"])),
    "section": _section,
    "divider": lambda _: Markup("<hr>"),
    "actions": lambda b: Markup('<div class="actions">{}</div>').format(
        Markup("").join(Markup('<span class="button">{}</span>').format(_text(e["text"])) for e in b["elements"])
    ),
    "context": lambda b: Markup('<div class="context">{}</div>').format(
        Markup(" ").join(_text(e) for e in b["elements"] if "text" in e)
    ),
}


def _text(text: dict[str, Any]) -> Markup:
    return _mrkdwn(text["text"]) if text.get("type") == "mrkdwn" else escape(_unescaped(text["text"]))


def _unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def _mrkdwn(text: str) -> Markup:
    """Bold, italics and code; all else is text."""
    parts = re.split(r"`([^`\n]+)`", text)
    drawn = [Markup("<code>{}</code>").format(_unescaped(p)) if i % 2 else _styled(p) for i, p in enumerate(parts)]
    return Markup("").join(drawn)


def _styled(text: str) -> Markup:
    safe = str(escape(_unescaped(text)))
    safe = re.sub(r"(?<![\w*])\*([^*\n]+)\*(?![\w*])", r"<strong>\1</strong>", safe)
    return Markup(re.sub(r"(?<![\w_])_([^_\n]+)_(?![\w_])", r"<em>\1</em>", safe))  # noqa: S704 - escaped above


def _mail(data: bytes) -> Markup:
    message = message_from_bytes(data, policy=default)
    if not isinstance(message, EmailMessage):
        return Markup("")
    html = message.get_body(("html", "plain"))
    files = Markup("").join(
        Markup('<span class="file">{}</span>').format(part.get_filename()) for part in message.iter_attachments()
    )
    return Markup(
        '<article class="mail"><header><div class="subject">{}</div><div class="who">{} to {} · {}</div>{}</header>'
        '<iframe sandbox="" title="{}" srcdoc="{}"></iframe></article>'
    ).format(
        message["Subject"], message["From"], message["To"], message["Date"], files, message["Subject"],
        html.get_content() if html is not None else "",
    )  # fmt: skip
