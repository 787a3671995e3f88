"""What the expression library says of a faulty clause, in words that help whoever edits rules."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection

from monitor.decide.facts import FACTS, kinds_readable, nearest, readable
from monitor.decide.functions import FUNCTIONS
from monitor.decide.settings import PREFIX

CALLS = {f.name: f.signature for f in FUNCTIONS}
EXAMPLES = {f.name: f.example for f in FUNCTIONS}
# Functions of CEL, as they are called.
OF_CEL = {
    name: f'account.name.{name}("x")' for name in ("contains", "startsWith", "endsWith", "matches", "indexOf",
                                                   "lastIndexOf", "split")
} | {name: f"account.name.{name}()" for name in ("trim", "lowerAscii", "upperAscii")} | {
    name: f'account.tags.{name}(t, t == "x")' for name in ("exists", "all", "exists_one", "filter", "map")
} | {
    "size": "size(account.tags)", "duration": 'duration("36h")', "timestamp": 'timestamp("2026-03-01T00:00:00Z")',
    "substring": "account.name.substring(0, 3)", "replace": 'account.name.replace("a", "b")',
    "charAt": "account.name.charAt(0)", "join": 'account.tags.join(",")', "getFullYear": "now.getFullYear()",
    "getMonth": "now.getMonth()", "getDayOfWeek": "now.getDayOfWeek()", "getHours": "now.getHours()",
}  # fmt: skip
# Words of other languages for what is there under another name.
MEANT = {
    "len": "size", "length": "size", "count": "size", "any": "exists", "some": "exists", "every": "all", "day": "days",
    "hour": "hours", "tolower": "lower", "tolowercase": "lower", "lowercase": "lower", "casefold": "lower",
    "startswith": "startsWith", "starts_with": "startsWith", "endswith": "endsWith", "ends_with": "endsWith",
    "includes": "contains", "has": "contains", "regex": "matches", "match": "matches", "strip": "trim",
    "date": "timestamp", "datetime": "timestamp", "year": "getFullYear", "month": "getMonth", "weekday": "getDayOfWeek",
}  # fmt: skip
STATES = ("active", "suspended", "invited", "deactivated")
OTHER_STATES = {"disabled": "suspended", "inactive": "suspended", "blocked": "suspended", "enabled": "active"}
_Say = Callable[[re.Match[str], str, Collection[str], str], str]


def no_fact(name: str, kind: str, settings: Collection[str] = ()) -> str:
    """What is wrong with a name that is no fact, and which one was perhaps meant."""
    if name == "settings" or name.startswith(PREFIX):
        return no_setting(name, settings)
    if name in FACTS and name not in readable(kind):
        return f"there is no fact {name} in a rule for_each {kind}; it may read {_whose(kind)} and now"
    if name in kinds_readable(kind):
        return f"{name} is no fact by itself; ask for one of its facts, like {name}.id"
    return f"there is no fact {name}{_instead(name, kind)}"


def _instead(name: str, kind: str) -> str:
    first, _, last = name.rpartition(".")
    state = OTHER_STATES.get(last, last)
    owner = first or kind
    bare = {"true": "true", "false": "false", "none": '""', "today": "now"}.get(name.lower())
    if bare:
        return f"; write {bare}"
    if state in STATES and f"{owner}.status" in readable(kind):
        return f'; did you mean {owner}.status == "{state}"?'
    if ("cf_" in name or ".custom" in name) and "account.fields" in readable(kind):
        return f"; a custom field is asked like account.fields.{last}"
    if close := nearest(name, kind, by_words=bool(first)):
        return f"; did you mean {close}?"
    if not first:
        return f'; a text needs quotes, like "{name}"'
    return "; `access-monitor rules facts` lists them"


def _no_name(found: re.Match[str], kind: str, settings: Collection[str], text: str) -> str:
    """An unknown name: of a function where a bracket follows it, else of a fact."""
    name = found[1]
    if re.search(rf"\b{re.escape(name)}\s*\(", text):
        return _no_function(name, kind)
    macro = re.search(rf"\.(all|exists|exists_one|filter|map)\(\s*{re.escape(name)}\b\s*[^\s,]", text)
    if macro:
        return f"{macro[1]} needs a name for each item first; write {OF_CEL[macro[1]]}"
    if other := next((c for c in re.findall(r"\.(\w+)\(", text) if c not in OF_CEL and c in MEANT), None):
        return _no_function(other, kind)
    return no_fact(name, kind, settings)


def _no_function(name: str, kind: str) -> str:
    if name in CALLS:
        return f"{name} is a function; write {CALLS[name]}, like {EXAMPLES[name]}"
    if name in readable(kind):
        return f"{name} is a fact, not a function; write {name}"
    if name in OF_CEL:
        return f"{name} is written like {OF_CEL[name]}"
    known = {**OF_CEL, **CALLS}
    meant = MEANT.get(name.lower()) or next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.7)), "")
    return f"there is no function {name}" + (f"; did you mean {known[meant]}?" if meant else "; see docs/rules.md")


def _whose(kind: str) -> str:
    return ", ".join(f"{k}.*" for k in kinds_readable(kind))


def no_setting(name: str, settings: Collection[str]) -> str:
    asked = name.removeprefix(PREFIX)
    close = difflib.get_close_matches(asked, settings, n=1)
    if close:
        return f"there is no {name}; did you mean {PREFIX}{close[0]}?"
    return f"there is no {name}; give it a default below [settings] of this file, or a value in the config"


def _no_overload(found: re.Match[str], _kind: str, _settings: Collection[str], text: str) -> str:
    types = found[2].replace("google.protobuf.", "").lower()
    if found[1] in CALLS:
        return f"{found[1]} cannot be applied to ({types}); write {CALLS[found[1]]}, like {EXAMPLES[found[1]]}"
    operator = found[1].replace("_", "").removeprefix("@") or found[1]
    said = f"{operator} cannot be applied to ({types})"
    if operator == "!" and " in " in text:
        return f'{said}; write !("x" in account.tags)'
    return f"{said}; {next(do for mixed, do in _REMEDIES if re.search(mixed, said))}"


# What is mixed up with what.
_REMEDIES = (
    (r"duration.*int|int.*duration", "write days as days(90), or compare account.idle_days, which is a number"),
    (r"timestamp.*duration|duration.*timestamp", "a moment and a length: write now - account.last_login > days(90)"),
    (r"timestamp.*int|int.*timestamp", "for days since then write now - account.role_changed > days(14)"),
    (r"timestamp.*string|string.*timestamp", 'write timestamp("2026-03-01T00:00:00Z")'),
    (r"^contains ", 'for a list write "x" in account.tags'),
    (r"^in ", 'behind in stands a list, like ["admin"]; for a part of a text write account.role.contains("x")'),
    (r"^[<>]=? .*\(bool, int\)", "write 3 < account.age_days && account.age_days < 9"),
    (r"double.*int|int.*double", "write a whole number"),
    (r"", "both sides must be of one type: `access-monitor rules facts` shows it"),
)  # fmt: skip


def _syntax(found: re.Match[str], _kind: str, _settings: Collection[str], text: str) -> str:
    name = found[1].strip()
    for pattern, do in _HABITS:
        if re.search(pattern, text):
            return do
    if name.startswith(('"', "'")):
        twice = "a backslash in a text is written twice"
        return twice if "\\" in name else f"the text {name} does not end; a quote is missing"
    if name == "<EOF>" and not text.strip():
        return "the clause is empty"
    return _UNEXPECTED.get(name) or f'"{name}" is not expected here; an operator or a quote is missing before it'


_INSTEAD = {"=": "==", "and": "&&", "or": "||", "&": "&&", "|": "||", "is": "=="}
_UNIT = 'a number takes no unit; write days(90), or duration("36h"), or ask a fact in whole days'
_UNEXPECTED = (
    {wrong: f"{wrong} is not written so here; write {right}" for wrong, right in _INSTEAD.items()}
    | dict.fromkeys(("s", "m", "h", "d", "days", "hours"), _UNIT)
    | {bracket: f"this {bracket} closes nothing; remove it" for bracket in ")]}"}
    | {sign: f"{sign} ends no clause; remove it, or write each condition as a clause of its own" for sign in ",;"}
    | {"<EOF>": "the clause ends too early; complete it, or remove what is open"}
)


# What other languages write: looked for in the clause without its texts, when it cannot be read.
_HABITS = (
    (r"\bnot\s+in\b", 'not in is not written so here; write !("x" in account.tags)'),
    (r"\bnot\b", "not is not written so here; write !"),
    (r"\bis\s+(not\s+)?null\b", "no fact is ever null; where the source did not say, the clause is unknown by itself"),
    (r"=~|~=|\blike\b", '=~ and like are not written so here; write account.name.matches("a.*"), or startsWith'),
    (r"\bcontains\s*\"", 'contains is written like account.role.contains("x"); for a list "x" in account.tags'),
    (r"<>", "<> is not written so here; write !="),
    (r"=>", "=> is not written so here; write >="),
    (r"=<", "=< is not written so here; write <="),
    (r"\bbetween\b", "between is not written so here; write account.age_days >= 3 && account.age_days <= 5"),
    (r"\d_\d", "a number is written without _"),
    (r"[\u201c\u201d\u201e\u2018\u2019`]", 'a text needs straight quotes, like "x"'),
    (r"\$", "a setting is read as settings.NAME"),
)  # fmt: skip


_PARTS = {
    "list": "a list has no parts with names; write size(account.tags), or \"x\" in account.tags",
    "string": 'a text has no parts with names; write account.name.size(), .contains("x") and the like',
    "google.protobuf.Timestamp": "a timestamp has no parts with names; write now.getFullYear(), getHours() and so on",
}  # fmt: skip


def _selected(found: re.Match[str], _kind: str, _settings: Collection[str], _text: str) -> str:
    kind = found[1].partition("(")[0]
    return _PARTS.get(kind, f"a value of the type {found[1].lower()} has no parts with names")


def _always(said: str) -> _Say:
    return lambda _m, _k, _s, _t: said


_SAID: tuple[tuple[str, _Say], ...] = (
    (r"undeclared reference to '([^']+)'", _no_name),
    (r"found no matching overload for '([^']+)' applied to '\((.*)\)'", _no_overload),
    (r"expression of type '([^']+)' cannot be the operand of a select", _selected),
    (r"Syntax error: missing '([)\]}])' at", lambda m, _k, _s, _t: f"a {m[1]} is missing"),
    (r"Syntax error: (?:mismatched|extraneous) input '([^']*)'", _syntax),
    (r"Syntax error: (?:token recognition error|no viable alternative) at(?: input)?: ?'(.*)'", _syntax),
    (r"reserved identifier: (\w+)", lambda m, _k, _s, _t: f"{m[1]} is no word of a clause; write a ? b : c"),
    (r"invalid int literal", _always("the number is too large")),
    (r"recursion", _always("brackets, + and the like stand too deep in one another (recursion); split the clause")),
    (r"No matching overloads found", _always("two types are mixed; do without dyn(), which hides them")),
    (r"cannot convert string to int|String to (?:Int|Double)", _always("a text that is no number cannot become one")),
    (r"String to Duration", _always('no such duration; write days(90), or h, m and s like duration("36h")')),
    (r"String to Timestamp", _always('no such time; write timestamp("2026-03-01T00:00:00Z")')),
    (r"invalid regular expression: (.*)",
     lambda m, _k, _s, _t: f"not a regular expression ({m[1]}); a sign that is meant as it stands has \\\\ before it"),
    (r"Index error", _always('the list can be shorter; write "x" in account.past_levels')),
    (r"Iteration budget exceeded", _always("loops over more than 10,000 entries; ask with in, or sets")),
    (r"divide by zero|modulus by zero", _always("divides by zero; a rule seldom needs to divide")),
)  # fmt: skip


def in_words(error: str, kind: str, settings: Collection[str] = (), text: str = "") -> str:
    """The library's message with what to do about it; unchanged when there is nothing to add. `text`: the clause
    without what stands between quotes."""
    for pattern, say in _SAID:
        if found := re.search(pattern, error):
            return say(found, kind, settings, text)
    return error
