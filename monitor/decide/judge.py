"""Judging: which rules hold for which subjects.

In bulk, many rules are one expression that returns a bit mask, compiled once per *set of absent facts*: clauses
that read an absent fact are left out; what remains false is nothing, what remains true is unknown. Rules whose
clauses hold macros are judged singly, and so are a clause with `&&`, `||` or `?:` around an absent fact, and a
subject on which the mask errs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, NamedTuple

from cel_expr_python import cel

from monitor.decide import exemptions, facts
from monitor.decide.exemptions import Leave
from monitor.decide.expressions import Clause, ClauseError, bits, mask, types_of
from monitor.decide.form import PLACEHOLDER
from monitor.decide.settings import PREFIX
from monitor.domain.finding import Evidence, Judgement
from monitor.domain.observed import Kind, Subject
from monitor.domain.reading import Scope
from monitor.domain.rule import SOURCE_OWNER, Exemption, Rule, RuleStatus, Verdict

MOST_IN_A_MASK = 60


class Compiled(NamedTuple):
    rule: Rule
    clauses: tuple[Clause, ...]
    leave: tuple[Leave, ...] = ()

    @property
    def reads(self) -> frozenset[str]:
        return frozenset().union(*(c.reads for c in self.clauses))

    @property
    def shown(self) -> frozenset[str]:
        """Facts for evidence, title, clock, owner and exemptions, besides those that the clauses read."""
        clock = (self.rule.clock,) if self.rule.clock else ()
        owners = (n for n in self.rule.owner_from if n != SOURCE_OWNER)
        named = (*self.rule.evidence, *PLACEHOLDER.findall(self.rule.title), *clock, *owners)
        exempting = (n for leave in self.leave for clause in leave.clauses for n in clause.reads)
        return frozenset(n for n in (*named, *exempting) if not n.startswith(PREFIX))

    @property
    def constants(self) -> dict[str, Any]:
        """The settings that it may show, by the names that clauses write."""
        return {f"{PREFIX}{name}": s.value for name, s in self.rule.settings.items()}


def compile_rule(rule: Rule) -> Compiled:
    clauses = tuple(Clause(text, rule.for_each, rule.settings, rule.hours) for text in rule.match)
    return Compiled(rule, clauses, exemptions.leave(rule))


_ONCE: dict[int, Compiled] = {}  # by identity of the rule, which the compiled one holds on to
MOST_ONCE = 1000


def compiled_once(rule: Rule) -> Compiled:
    """The same, remembered: compiling takes longer than judging an account, and a storm asks for each finding."""
    found = _ONCE.get(id(rule))
    if found is None or found.rule is not rule:
        if len(_ONCE) >= MOST_ONCE:
            _ONCE.clear()
        found = _ONCE[id(rule)] = compile_rule(rule)
    return found


@dataclass
class Plan:
    """How to judge all subjects of one kind: which fields of their records are needed, and the masks so far."""

    kind: str
    rules: tuple[Compiled, ...]
    blind: frozenset[str]  # facts of scopes that were not read whole: absent for everybody
    day_zone: tzinfo = UTC
    names: tuple[str, ...] = ()
    constants: dict[str, Any] = field(default_factory=dict)  # settings that the clauses read
    unknown: Counter[str] = field(default_factory=Counter)
    _masks: dict[int, list[_Mask]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        read = frozenset().union(*(r.reads for r in self.rules)) if self.rules else frozenset()
        self.names = tuple(sorted(read))
        self.constants = {name: v for r in self.rules for c in r.clauses for name, v in c.constants.items()}

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of the records that anything here reads."""
        every = set(self.names).union(*(r.shown for r in self.rules)) if self.rules else set()
        found = {facts.optional(f)[0] for n in every for f in facts.FACTS[n].fields if n != "now"}
        return tuple(sorted(found | {"id"}))

    def masks(self, absent: int) -> list[_Mask]:
        if absent not in self._masks:
            gone = {n for i, n in enumerate(self.names) if absent >> i & 1}
            self._masks[absent] = [_Mask.of(part, gone, self.kind) for part in _parts(self.rules)]
        return self._masks[absent]


def _parts(rules: Sequence[Compiled]) -> Iterator[Sequence[Compiled]]:
    return (rules[i : i + MOST_IN_A_MASK] for i in range(0, len(rules), MOST_IN_A_MASK))


@dataclass
class _Mask:
    """One expression over some rules, for one set of absent facts."""

    expression: cel.Expression | None
    rules: dict[int, Compiled]  # by bit, all clauses present
    maybe: dict[int, Compiled]  # by bit, some clause left out: the rest true means unknown
    always: list[Compiled]  # every clause left out: unknown whatever the rest says
    closer: dict[int, Compiled]  # by bit, some clause needs a closer look, which is worth it where the others hold
    singly: list[Compiled]  # that clause is all there is to tell by

    @staticmethod
    def of(rules: Sequence[Compiled], gone: set[str], kind: str) -> _Mask:
        parts: list[tuple[int, list[str]]] = []
        whole: dict[int, Compiled] = {}
        maybe: dict[int, Compiled] = {}
        always: list[Compiled] = []
        closer: dict[int, Compiled] = {}
        singly: list[Compiled] = []
        for bit, rule in enumerate(rules):
            left = [c.text for c in rule.clauses if not c.single and not c.reads & gone]
            # macros count items, and a shortcut may settle a clause although a fact that it reads is absent
            look = any(c.single or (c.shortcut and c.reads & gone) for c in rule.clauses)
            if left:
                parts.append((bit, left))
                (closer if look else whole if len(left) == len(rule.clauses) else maybe)[bit] = rule
            else:
                (singly if look else always).append(rule)
        settings = {name: s for rule in rules for name, s in rule.rule.settings.items()}
        hours = rules[0].rule.hours
        joint = mask(parts, kind, types_of(settings), hours) if parts else None
        return _Mask(joint, whole, maybe, always, closer, singly)


Undecided = Callable[[str, Sequence[tuple[str, Verdict]]], None]  # told the id of the account (or other subject)


def judge(
    plan: Plan,
    records: Iterable[dict[str, Any]],
    now: datetime,
    watch: Mapping[str, Collection[str]] | None = None,
    *,
    want_unknown: bool = False,
    undecided: Undecided | None = None,
) -> Iterator[Judgement]:
    """Yields a judgement for every rule that holds, is exempt or errs; and, for subjects in `watch` (subject id to
    rule ids: those with an open finding), also the nothings and unknowns of these rules, with the reason.
    `undecided` is told of each subject of which something is unknown, or errs, or whose open finding may be over.

    Records are dicts of the fields in `plan.fields`, None where absent; they carry id, email and name to tell of.
    """
    watch = watch or {}
    getters = [_getter(facts.FACTS[n]) for n in plan.names]
    by_id = {r.rule.id: r for r in plan.rules}
    for record in records:
        data, absent = _data(getters, record, now, plan)
        hits, close = _hits(plan, data, absent)
        hits += [(r, v) for r in close if (v := _singly(r, data)) is not Verdict.NOTHING]
        told = set()
        if undecided is not None and hits:
            unsure = [(r.rule.id, v) for r, v in hits if v in (Verdict.UNKNOWN, Verdict.ERROR)]
            if unsure:
                undecided(record["id"], unsure)
        for compiled, verdict in hits:
            if verdict is Verdict.UNKNOWN:
                plan.unknown[compiled.rule.id] += 1
                if not want_unknown:
                    continue
            told.add(compiled.rule.id)
            yield explain(compiled, record, now, plan)
        for rule_id in watch.get(identity(plan.kind, record), ()):
            if rule_id in by_id and rule_id not in told:
                said = explain(by_id[rule_id], record, now, plan)
                if undecided is not None and said.verdict is Verdict.NOTHING:
                    undecided(record["id"], [(rule_id, said.verdict)])
                yield said


def identity(kind: str, record: Mapping[str, Any]) -> str:
    """Of the subject: a record of a grant holds the id of its account as well."""
    return str(record["grant_id" if kind == Kind.GRANT else "id"])


Getter = tuple[str, str, Callable[[dict[str, Any], datetime], Any] | None]


def _getter(fact: facts.Fact) -> Getter:
    """A fact's name, the field that it is, and how to read it if it is no plain field."""
    plain = fact.compute is None and not fact.reads and fact is not facts.NOW
    return fact.name, fact.fields[0], None if plain else facts.reader(fact)


def _data(getters: Sequence[Getter], record: dict[str, Any], now: datetime, plan: Plan) -> tuple[dict[str, Any], int]:
    data, absent, blind = {**plan.constants}, 0, plan.blind
    for i, (name, field_, read) in enumerate(getters):
        got = record[field_] if read is None else read(record, now)
        if got is None or name in blind:
            absent |= 1 << i
        else:
            data[name] = got
    return data, absent


def _hits(plan: Plan, data: dict[str, Any], absent: int) -> tuple[list[tuple[Compiled, Verdict]], list[Compiled]]:
    """What the masks say, and the rules that have to be looked at one by one."""
    hits: list[tuple[Compiled, Verdict]] = []
    close: list[Compiled] = []
    for part in plan.masks(absent):
        hits += [(r, Verdict.UNKNOWN) for r in part.always]
        close += part.singly
        if part.expression is None:
            continue
        found = bits(part.expression, data)
        if found is None:
            close += [*part.rules.values(), *part.maybe.values(), *part.closer.values()]
        elif found:
            hits += [(r, Verdict.FINDING) for bit, r in part.rules.items() if found >> bit & 1]
            hits += [(r, Verdict.UNKNOWN) for bit, r in part.maybe.items() if found >> bit & 1]
            close += [r for bit, r in part.closer.items() if found >> bit & 1]
    return hits, close


def _singly(compiled: Compiled, data: Mapping[str, Any]) -> Verdict:
    verdict = Verdict.FINDING
    for clause in compiled.clauses:
        try:
            held = clause.holds(data)
        except ClauseError:
            verdict = Verdict.ERROR
            continue
        if held is False:
            return Verdict.NOTHING
        if held is None and verdict is Verdict.FINDING:
            verdict = Verdict.UNKNOWN
    return verdict


def explain(compiled: Compiled, record: dict[str, Any], now: datetime, plan: Plan) -> Judgement:
    """One rule on one subject, clause by clause: the verdict with its evidence, or why there is none."""
    names = compiled.reads | compiled.shown
    every = {n: facts.value(facts.FACTS[n], record, now) for n in names}
    data = {n: v for n, v in every.items() if v is not None and n not in plan.blind} | compiled.constants
    verdict, why = Verdict.FINDING, ""
    for clause in compiled.clauses:
        try:
            held = clause.holds(data)
        except ClauseError as error:
            verdict, why = Verdict.ERROR, f"{clause.text}: {error}"
            continue
        if held is False:
            verdict, why = Verdict.NOTHING, clause.text
            break
        if held is None and verdict is Verdict.FINDING:
            missing = sorted(clause.reads - data.keys()) or ["a map key"]
            verdict, why = Verdict.UNKNOWN, f"not reported: {', '.join(missing)}"
    subject = Subject(
        plan.kind, identity(plan.kind, record), record.get("email"), record.get("name") or record.get("title")
    )
    let_be: list[Exemption] = []
    if verdict is Verdict.FINDING:
        let_be = exemptions.in_force(compiled.leave, subject, data, now, plan.day_zone)
        verdict = Verdict.EXEMPT if let_be else verdict
    until = exemptions.ends(let_be[0], plan.day_zone) if let_be else None
    return Judgement(
        compiled.rule.id, subject, verdict, _evidence(compiled, data), _title(compiled.rule.title, data), why, until,
        tuple(e.id for e in let_be), data.get(compiled.rule.clock or ""),
        tuple(_owners(compiled.rule, data)),
    )  # fmt: skip


def _owners(rule: Rule, data: Mapping[str, Any]) -> Iterator[str]:
    """What may be an address, and the word for the source's own."""
    for name in rule.owner_from:
        named = name if name == SOURCE_OWNER else data.get(name)
        for one in named if isinstance(named, (list, tuple)) else [named]:
            if isinstance(one, str) and ("@" in one or one == SOURCE_OWNER):
                yield one


def _evidence(compiled: Compiled, data: Mapping[str, Any]) -> tuple[Evidence, ...]:
    held = [
        Evidence(c.text, {n: data[n] for n in sorted((*c.reads, *c.constants)) if n in data}) for c in compiled.clauses
    ]
    shown = {n: data[n] for n in compiled.rule.evidence if n in data}
    return (*held, Evidence("", shown)) if shown else tuple(held)


def _title(template: str, data: Mapping[str, Any]) -> str:
    return PLACEHOLDER.sub(lambda m: _said(data.get(m[1], "?")), template)


def _said(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def blind_facts(complete: Mapping[str, bool]) -> frozenset[str]:
    """Facts that are absent for everybody because their scope was not read whole.

    Facts of the users scope are not among them: an account that a broken read did show was read. Those that it did
    not show are left out of judging by the caller.
    """
    broken = {s for f in facts.FACTS.values() for s in f.scopes if not complete.get(s, False)}
    return frozenset(
        n for n, f in facts.FACTS.items()
        if any(s in broken and (s != Scope.USERS or f.kind in facts.COUNTING) for s in f.scopes)
    )  # fmt: skip


def may_close(rule: Rule, complete: Mapping[str, bool], why: str = "", read: Mapping[str, bool] | None = None) -> bool:
    """Whether all that the rule reads is known whole: only then does a clause that fails prove an end.

    `why`: the clause that failed. `read`: scopes that this very poll read whole: the clause must read no others.
    """
    compiled = compiled_once(rule)
    failed = next((c.reads for c in compiled.clauses if c.text == why), compiled.reads)
    known = all(complete.get(s, True) for name in compiled.reads for s in facts.FACTS[name].scopes)
    return known and (read is None or all(read.get(s, True) for name in failed for s in facts.FACTS[name].scopes))


def about_sight(compiled: Compiled) -> bool:
    """Whether a rule reads nothing but how the source was read: then it can be judged however badly that went."""
    return all(not facts.FACTS[name].scopes for name in compiled.reads)


def active(rules: Iterable[Rule], kind: str) -> tuple[Compiled, ...]:
    """Compiled rules of a kind that are in force (drafts are recorded, too; retired ones are not judged)."""
    return tuple(compile_rule(r) for r in rules if r.for_each == kind and r.status is not RuleStatus.RETIRED)
