"""Judging: which rules hold for which subjects, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

from monitor.decide import exemptions, facts
from monitor.decide.alike import Plan
from monitor.decide.compiled import Compiled, compiled_once
from monitor.decide.expressions import ClauseError
from monitor.decide.form import PLACEHOLDER
from monitor.domain.finding import Evidence, Judgement
from monitor.domain.observed import Kind, Subject
from monitor.domain.reading import Scope
from monitor.domain.rule import SOURCE_OWNER, Exemption, Rule, Verdict

UNSURE = (Verdict.UNKNOWN, Verdict.ERROR)
Undecided = Callable[[str, Sequence[tuple[str, Verdict]]], None]  # told the id of the account (or other subject)


def judge(
    plan: Plan,
    records: Iterable[dict[str, Any]],
    now: datetime,
    watch: Mapping[str, Set[str]] | None = None,
    *,
    want_unknown: bool = False,
    undecided: Undecided | None = None,
) -> Iterator[Judgement]:
    """Yields a judgement for every rule that holds, is exempt or errs; and, for subjects in `watch` (subject id to
    rule ids: those with an open finding), also the nothings and unknowns of these rules, with the reason.
    `undecided` is told of each subject of which something is unknown, or errs, or whose open finding may be over.

    Records are dicts of the fields in `plan.fields`, None where absent; they carry id, email and name to tell of.
    """
    for record in records:
        hits = plan.alike(record, now).said(record, now)
        if undecided is not None and (unsure := [(r.rule.id, v) for r, v in hits if v in UNSURE]):
            undecided(record["id"], unsure)
        for compiled, verdict in hits:
            if verdict is Verdict.UNKNOWN:
                plan.unknown[compiled.rule.id] += 1
            if want_unknown or verdict is not Verdict.UNKNOWN:
                yield explain(compiled, record, now, plan)
        if watch and (awaited := watch.get(identity(plan.kind, record))):
            told = {r.rule.id for r, v in hits if want_unknown or v is not Verdict.UNKNOWN}
            for said in _awaited(plan, record, now, awaited - told):
                if undecided is not None and said.verdict is Verdict.NOTHING:
                    undecided(record["id"], [(said.rule, said.verdict)])
                yield said


def _awaited(plan: Plan, record: dict[str, Any], now: datetime, ids: Set[str]) -> Iterator[Judgement]:
    """What is said of rules that nobody would hear of otherwise."""
    return (explain(r, record, now, plan) for r in plan.rules if r.rule.id in ids)


def identity(kind: str, record: Mapping[str, Any]) -> str:
    """Of the subject: a record of a grant holds the id of its account as well."""
    return str(record["grant_id" if kind == Kind.GRANT else "id"])


def explain(compiled: Compiled, record: dict[str, Any], now: datetime, plan: Plan) -> Judgement:
    """One rule on one subject, clause by clause: the verdict with its evidence, or why there is none."""
    every = ((f.name, facts.value(f, record, now)) for f in compiled.facts if f.name not in plan.blind)
    data = {n: v for n, v in every if v is not None} | compiled.constants
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
    held = [Evidence(c.text, {n: data[n] for n in c.names if n in data}) for c in compiled.clauses]
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
