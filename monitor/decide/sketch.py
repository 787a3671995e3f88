"""A new rule with tests that pass: the polls are found by trying values that its clauses speak of."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from monitor.decide import facts
from monitor.decide.alike import Plan
from monitor.decide.compiled import Compiled, compile_rule
from monitor.decide.judge import explain
from monitor.decide.layout import laid_out
from monitor.decide.timeline import COMPUTED, as_tested, play
from monitor.domain.rule import Rule, RuleTest, Verdict

MOST_TRIED = 3000
_TEXT = re.compile(r"\"((?:\\.|[^\"\\])*)\"|'((?:\\.|[^'\\])*)'")
_KEY = re.compile(r"account\.fields(?:\.\??|\[\??\")(\w+)")
Poll = dict[str, Any]


@dataclass(frozen=True)
class Sketch:
    """What somebody says of a new rule; the rest is filled in to be edited."""

    id: str
    for_each: str
    match: Sequence[str]
    title: str = ""
    severity: str = "medium"
    owner: str = "it-security@example.com"
    description: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


def written(sketch: Sketch, polls: Mapping[str, Sequence[Poll]], schema: str) -> str:
    """The file's text, laid out. `schema`: the path of the JSON Schema from where the file will lie."""
    named = {
        "account": "{account.email}", "grant": "{account.email}", "source": "{source.name}", "person": "{person.name}",
    }  # fmt: skip
    title = (
        sketch.title or f"{named.get(sketch.for_each, f'{{{sketch.for_each}.title}}')}: {sketch.id.replace('-', ' ')}"
    )
    about = sketch.description or "Say in two or three sentences why this matters."
    lines = [
        f"#:schema {schema}", "", f"id = {_toml(sketch.id)}", f"title = {_toml(title)}",
        f"severity = {_toml(sketch.severity)}", 'status = "draft"  # judged, not sent; remove the line when ready',
        f"owner = {_toml(sketch.owner)}", f"for_each = {_toml(sketch.for_each)}",
        f'description = """\n{about}\n"""', 'runbook = """\n1. Say what the reader of the alert should do first.\n"""',
        f"match = [{', '.join(map(_clause, sketch.match))}]",
    ]  # fmt: skip
    if sketch.settings:
        lines += ["[settings]", *(f"{name} = {_toml(value)}" for name, value in sketch.settings.items())]
    for verdict, found in polls.items():
        rows = ", ".join(_toml(p) for p in found)
        lines += ["[[tests]]", f"name = {_toml(_NAMES[verdict])}", f"expect = {_toml(verdict)}", f"polls = [{rows}]"]
    return laid_out("\n".join(lines) + "\n")


_NAMES = {
    "finding": "every clause holds: say here what happened",
    "nothing": "a clause does not hold",
    "unknown": "the source does not report what decides",
}


def _clause(text: str) -> str:
    return _toml(text) if "'" in text else f"'{text}'"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{k} = {_toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False)


# finding polls


def polls(rule: Rule) -> dict[str, Sequence[Poll]]:
    """By verdict, polls that end in it; one that was not found is left out, and `rules check` asks for it."""
    ready = as_tested(rule, RuleTest("", Verdict.FINDING, ()))
    tried = _Trial(rule.for_each, compile_rule(ready), Plan(rule.for_each, (compile_rule(ready),), frozenset()))
    found: dict[str, Sequence[Poll]] = {}
    every = list(itertools.islice(_candidates(ready), MOST_TRIED))
    for wanted in (Verdict.FINDING, Verdict.NOTHING):
        match = next((p for p in every if tried(p) is wanted), None)
        if match:
            found[wanted.value] = match
    for names in _absences(tried.compiled):
        before = [*found.get("finding", [{"at": "1d ago"}])]
        instead = [*before[:-1], {k: v for k, v in before[-1].items() if k not in names} | {"absent": names}]
        after = [*before, {"at": "0d ago", "absent": names}]
        if lacking := next((p for p in (instead, after) if tried(p) is Verdict.UNKNOWN), None):
            found["unknown"] = lacking
            break
    return found


@dataclass(frozen=True)
class _Trial:
    kind: str
    compiled: Compiled
    plan: Plan

    def __call__(self, tried: Sequence[Poll]) -> Verdict | None:
        try:
            record, now = play(self.kind, tuple(tried))
        except ValueError:
            return None
        return None if record is None else explain(self.compiled, record, now, self.plan).verdict


def _absences(compiled: Compiled) -> Iterator[list[str]]:
    """Fields to leave out: of each fact that the clauses read, those that can be set, together and one by one."""
    for name in sorted(compiled.reads):
        fields = [facts.optional(f)[0] for f in facts.FACTS[name].fields]
        fields = [f for f in fields if f not in COMPUTED and f != "id"]
        fields += ["is_admin"] if name == "account.privileged" else []
        if fields:
            yield fields


def _candidates(rule: Rule) -> Iterator[list[Poll]]:
    """Timelines of one or two polls, those that change least first."""
    words = [a or b for text in rule.match for a, b in _TEXT.findall(text)]
    words += [w for s in rule.settings.values() for w in _words(s.value)]
    bare = " ".join(_TEXT.sub('""', text) for text in rule.match)
    numbers = sorted({int(n) for n in re.findall(r"\b\d{1,5}\b", bare)} | _numbers(rule))
    values = _values(rule, words, numbers)
    ages = ["30d ago", *(f"{n + by}d ago" for n in numbers for by in (1, 0, -1) if n + by >= 0)]
    pasts: list[Poll] = [{}, *_pasts(rule, words)]
    for changes in range(len(values) + 2):
        for past in pasts:
            for now in _changed(values, changes - bool(past)):
                for age in ages:
                    yield [{"at": age, **past}, {"at": "1d ago", **now}] if past else [{"at": age, **now}]


def _changed(values: Mapping[str, list[Any]], number: int) -> Iterator[Poll]:
    """Every poll in which that many fields differ from the sample."""
    for chosen in itertools.combinations(values, number) if number >= 0 else ():
        for given in itertools.product(*(values[name] for name in chosen)):
            yield dict(zip(chosen, given, strict=True))


def _words(value: Any) -> list[str]:
    held = [value] if isinstance(value, str) else [*value] if isinstance(value, (list, dict)) else []
    return [word for word in held if isinstance(word, str)]


def _numbers(rule: Rule) -> set[int]:
    values = [s.value for s in rule.settings.values()]
    whole = {v for v in values if type(v) is int}
    return whole | {v.days for v in values if isinstance(v, timedelta)}


def _values(rule: Rule, words: list[str], numbers: list[int]) -> dict[str, list[Any]]:
    """For each field that a clause reads and a test may set, values that could matter."""
    sample = facts.SAMPLES[rule.for_each]
    reads = {facts.optional(f)[0] for n in compile_rule(rule).reads for f in facts.FACTS[n].fields}
    reads |= {"level", "is_admin"} if "privileged" in reads else set()
    keys = _KEY.findall(" ".join(rule.match)) or ["cf_department"]
    found = {n: _like(n, sample[n], words, numbers, keys) for n in sorted(reads & sample.keys() - {"id"})}
    person = _of_person(rule, words, numbers)
    if rule.for_each == "person":
        return found | person
    return found | ({"person": ["none", *({n: v} for n, of in person.items() for v in of)]} if person else {})


# What a test says of a person so that a fact about them moves; the others are called as their fact is.
_SAYS = {"active": ("status", "ends"), "ended": ("ends",), "started": ("starts",), "found": (), "key": ()}


def _of_person(rule: Rule, words: list[str], numbers: list[int]) -> dict[str, list[Any]]:
    """For each field of a person that a clause asks about, values that could matter."""
    asked = [n.partition(".")[2] for n in sorted(compile_rule(rule).reads) if n.startswith("person.")]
    ages = [f"{n + by}d ago" for n in numbers for by in (1, 0, -1) if n + by >= 0]
    found: dict[str, list[Any]] = {}
    for name in (said for fact in asked for said in _SAYS.get(fact, (fact,))):
        if name in ("ends", "starts", "ended_recorded"):
            found[name] = [*ages, "3d ago", "in 3d"]
        elif name == "status":
            found[name] = ["deactivated", *words]
        elif name in facts.SAMPLE_PERSON:
            found[name] = _like(name, facts.SAMPLE_PERSON[name], words, numbers, [])
    return found or ({"status": ["active"]} if asked else {})


def _like(name: str, sample: Any, words: list[str], numbers: list[int], keys: list[str]) -> list[Any]:
    found: list[Any]
    if isinstance(sample, bool):
        found = [not sample]
    elif isinstance(sample, timedelta):
        found = [f"{n + by}d ago" for n in numbers for by in (1, 0, -1) if n + by >= 0] or ["3d ago"]
        found += ["never"] if name == "last_login" else []
    elif isinstance(sample, int):
        found = [n + by for n in numbers for by in (0, 1, -1)] or [0, sample + 1, 1000]
    elif isinstance(sample, list):
        found = [*([w] for w in words), ["other"], [], *([f"g{i}" for i in range(n + 1)] for n in numbers if n < 50)]
    elif isinstance(sample, dict):
        found = [{key: w} for key in keys for w in words] or [{keys[0]: "other"}]
    else:
        found = [*words, *(["admin"] if name == "level" else []), "other"]
        found += [f"somebody@{w}" for w in words if "." in w] if name == "email" else []
    return found


def _pasts(rule: Rule, words: list[str]) -> list[Poll]:
    """First polls that differ from what came later: facts that only history gives are asked."""
    if rule.for_each not in ("account", "grant"):
        return [{"exists": False}, *({"access_level": w} for w in words)] if rule.for_each == "role" else []
    levels = [{"level": w, "role": w} for w in dict.fromkeys([*words, "admin"])]
    groups = [{"groups": [w]} for w in (*words, "other")]
    return [*levels, {"status": "suspended"}, {"exists": False}, {"email": "earlier@example.test"}, *groups]
