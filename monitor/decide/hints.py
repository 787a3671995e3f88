"""What the expression library says of a faulty clause, in words that help whoever edits rules."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection

from monitor.decide.facts import FACTS, kinds_readable, readable, suggest
from monitor.decide.functions import FUNCTIONS
from monitor.decide.settings import PREFIX

CALLS = {f.name: f.signature for f in FUNCTIONS}
_Say = Callable[[re.Match[str], str, Collection[str]], str]


def _no_fact(found: re.Match[str], kind: str, settings: Collection[str]) -> str:
    name = found[1]
    about = FACTS[name].kind if name in FACTS else None
    if name == "settings" or name.startswith(PREFIX):
        said = no_setting(name, settings)
    elif name in CALLS:
        said = f"{name} is a function; write {CALLS[name]}"
    elif name in readable(kind):
        said = f"{name} is a fact, not a function"
    elif about is not None:
        said = f"there is no fact {name} in a rule for_each {kind}; it may read {_whose(kind)} and now"
    elif name == kind:
        said = f"{name} is no fact by itself; ask for one of its facts, like {name}.id"
    elif "." not in name:
        said = f'there is no fact {name}; a text needs quotes, like "{name}"'
    else:
        said = f"there is no fact {name}{suggest(name, kind) or '; `access-monitor rules facts` lists them'}"
    return said


def _whose(kind: str) -> str:
    return ", ".join(f"{k}.*" for k in kinds_readable(kind))


def no_setting(name: str, settings: Collection[str]) -> str:
    asked = name.removeprefix(PREFIX)
    close = difflib.get_close_matches(asked, settings, n=1)
    if close:
        return f"there is no {name}; did you mean {PREFIX}{close[0]}?"
    return f"there is no {name}; give it a default below [settings] of this file, or a value in the config"


def _no_overload(found: re.Match[str], _kind: str, _settings: Collection[str]) -> str:
    types = found[2].replace("google.protobuf.", "").lower()
    if found[1] in CALLS:
        return f"{found[1]} cannot be applied to ({types}); write {CALLS[found[1]]}"
    operator = found[1].replace("_", "") or found[1]
    return f"{operator} cannot be applied to ({types}){_remedy(operator, types)}"


def _remedy(operator: str, types: str) -> str:
    if "duration" in types and "int" in types:
        return "; write days as days(90), or compare account.idle_days, which is a number"
    if "timestamp" in types and "int" in types:
        return "; for days since then write now - account.role_changed > days(14)"
    if operator == "contains":
        return '; for a list write "x" in account.tags'
    if "double" in types and "int" in types:
        return "; write a whole number"
    return "; both sides must be of one type: `access-monitor rules facts` shows it"


def _syntax(found: re.Match[str], _kind: str, _settings: Collection[str]) -> str:
    instead = {"=": "==", "and": "&&", "or": "||", "not": "!", "&": "&&", "|": "||"}
    name = found[1].strip()
    if name in instead:
        return f"{name} is not written so here; write {instead[name]}"
    if name in ("s", "m", "h", "d"):
        return 'a number takes no unit; write days(90), or duration("36h"), or ask a fact in whole days'
    if name == "<EOF>":
        return "the clause ends too early; complete it, or remove what is open"
    return f'"{name}" is not expected here; an operator or a quote is missing before it'


_SAID: tuple[tuple[str, _Say], ...] = (
    (r"undeclared reference to '([^']+)'", _no_fact),
    (r"found no matching overload for '([^']+)' applied to '\((.*)\)'", _no_overload),
    (r"Syntax error: (?:mismatched|extraneous) input '([^']*)'", _syntax),
    (r"Syntax error: token recognition error at: '([^']*)'", _syntax),
    (r"String to Duration", lambda _m, _k, _s: 'no such duration; write days(90), or h, m and s like duration("36h")'),
    (r"String to Timestamp", lambda _m, _k, _s: 'no such time; write timestamp("2026-03-01T00:00:00Z")'),
    (r"invalid regular expression: (.*)", lambda m, _k, _s: f"not a regular expression ({m[1]}); escape it with \\\\"),
    (r"Index error", lambda _m, _k, _s: 'the list can be shorter; write "x" in account.past_levels'),
    (r"Iteration budget exceeded", lambda _m, _k, _s: "loops over more than 10,000 entries; ask with in, or sets"),
    (r"divide by zero", lambda _m, _k, _s: "divides by zero; a rule seldom needs to divide"),
)


def in_words(error: str, kind: str, settings: Collection[str] = ()) -> str:
    """The library's message with what to do about it; unchanged when there is nothing to add."""
    for pattern, say in _SAID:
        if found := re.search(pattern, error):
            return say(found, kind, settings)
    return error
