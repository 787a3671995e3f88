"""Text of strangers, made harmless for where it goes. Escaping for a format comes after, in the format's own place."""

from __future__ import annotations

import re

# C0 and C1 controls, bidirectional overrides (they make text read otherwise than it is), lone surrogates.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_BREAKS = re.compile("[ \t]*[\r\n\t\u2028\u2029]+[ \t]*")
_SURROGATES = re.compile("[\ud800-\udfff]")

HEADER = 150  # characters of a mail header that a stranger may reach


def folded(text: str) -> str:
    """Without controls, its line breaks made spaces."""
    return _BREAKS.sub(" ", _plain(text))


def one_line(text: str) -> str:
    """Without controls, on one line, without blanks around it."""
    return folded(text).strip()


def lines(text: str) -> str:
    """Without controls, but with its line breaks."""
    plain = _plain(text.replace("\r\n", "\n").replace("\r", "\n")).replace("\t", "    ")
    return plain.replace("\u2028", " ").replace("\u2029", " ")


def _plain(text: str) -> str:
    return _SURROGATES.sub("\ufffd", _CONTROLS.sub("", _ESCAPES.sub("", text)))


def header(text: str) -> str:
    """Safe as a mail header's value, and for Python's decoding of encoded words into raw lines (CVE-2024-6923)."""
    return shortened(one_line(text).replace("=?", "= ?"), HEADER)


def shortened(text: str, most: int) -> str:
    """Cut visibly, never in the middle of an entity such as `&amp;`."""
    if len(text) <= most:
        return text
    head = text[: max(most - 1, 0)]
    amp = head.rfind("&", max(len(head) - 5, 0))
    if amp >= 0 and ";" not in head[amp:]:
        head = head[:amp]
    return head.rstrip() + "…"
