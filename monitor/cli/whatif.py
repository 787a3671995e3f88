"""What a rule says of what is recorded, would say after an edit, and would have said: as rows, and printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.progress import track

from monitor import wiring
from monitor.cli import again, prospects
from monitor.cli.clock import SystemClock
from monitor.cli.output import Format, clean, console, counted, one_line, show
from monitor.config import Config
from monitor.decide import present, route
from monitor.decide.explain import Explained, explained
from monitor.decide.judge import may_close
from monitor.decide.parse import parse_rule
from monitor.decide.reconcile import fingerprint
from monitor.decide.replay import Replay, opened, time_to_fix
from monitor.decide.rulediff import set_diff
from monitor.decide.sight import because
from monitor.decide.unseen import waits
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus, Judgement
from monitor.domain.message import ALONE, Route
from monitor.domain.observed import Subject
from monitor.domain.rule import Rule, Verdict
from monitor.errors import ConfigError, RuleErrors
from monitor.line.judging import completeness
from monitor.line.timely import not_seen
from monitor.report.sparks import sparks
from monitor.rulebook.folder import text_of
from monitor.store import findings as store
from monitor.store import outbox, queries, rulesets
from monitor.store.engine import reading


def rule_named(config: Config, text: str) -> Rule:
    """A rule in force, by its id, or the one in a file."""
    today = SystemClock().now().date()
    if text.endswith(".toml"):
        return rule_in(config, Path(text))
    found = wiring.rule_set(config, today).by_id
    if text not in found:
        raise ConfigError([f"there is no rule {text}; see `access-monitor rules list`, or name a file"])
    return found[text]


def rule_in(config: Config, path: Path) -> Rule:
    try:
        text = text_of(path)
    except OSError as error:
        raise ConfigError([f"{path}: cannot be read: {error.strerror}"]) from error
    except ValueError as error:
        raise RuleErrors([f"{path}:{error}"]) from error
    return parse_rule(text, str(path), today=SystemClock().now().date(), company=wiring.company(config))


# explain


def explain(config: Config, name: str, rule: Rule, subject: str, at: datetime | None) -> dict[str, Any] | None:
    with _state(config, name, at) as state:
        if state is None:
            return None
        found = next((e for e in _matching(state, rule, subject)), None)
        if found is None:
            return None
        since = queries.since(state.engine, state.staging.source_id, rule.for_each, found.subject.id, state.id)
        said = found.as_dict(since) | {"source": name, "snapshot": state.id, "at": present.rfc3339(state.staging.at)}
        parts = because(state.plan(rule).rules[0].reads, state.snapshot.known_scopes)
        return said | {"because": parts, "history": _history(config, state, rule, found.subject)}


@contextmanager
def _state(config: Config, name: str, at: datetime | None) -> Iterator[again.Recorded | None]:
    with again.latest(config, name) if at is None else again.as_of(config, name, at) as state:
        yield state


def _matching(state: again.Recorded, rule: Rule, subject: str) -> Iterator[Explained]:
    plan = state.plan(rule)
    for record in state.subjects(plan):
        if subject == record["id"] or subject.casefold() == str(record.get("email") or "").casefold():
            yield explained(plan.rules[0], record, state.staging.at, plan)


def _history(config: Config, state: again.Recorded, rule: Rule, subject: Subject) -> list[dict[str, Any]]:
    """The findings that there were, each with what was sent of it and what time brings to it."""
    mark = fingerprint(rule.id, state.snapshot.source, subject)
    with reading(state.engine) as connection:
        found = store.load(connection, store.FINDINGS.c.fingerprint == mark)
        untold = store.never_told(connection, [f.id for f in found if f.id is not None])
        hidden = not_seen(connection, [s.name for s in config.sources])
    rows = []
    for each in found:
        waiting = None if each.status is FindingStatus.RESOLVED else waits(each, hidden)
        messages = _messages(state, each)
        rows.append(
            present.finding(each)
            | {"why_sent": route.told(each, in_silence=each.id in untold), "messages": messages, "waits": waiting}
            | prospects.in_time(config, state.engine, rule, each, messages, waiting)
        )
    return rows


def _messages(state: again.Recorded, found: Finding) -> list[dict[str, Any]]:
    return [
        {k: present.plain(r[k]) for k in ("id", "receiver", "reason", "status", "created_at", "sent_at", "error")}
        | {"together": together(r)}
        for r in outbox.of_finding(state.engine, found.id or 0)
    ]


def together(row: dict[str, Any]) -> str | None:
    """How a message waits to be told with others, or which one told it."""
    if row["digest_id"] is not None:
        return f"told by message {row['digest_id'][:8]}"
    alone = (row["group_key"] or "").startswith(f'[["{ALONE}"')
    where = "for business hours," if alone else "in a group" if row["group_id"] else "for the digest"
    return f"waits {where} until {row['due_at']:%Y-%m-%d %H:%M} UTC" if row["status"] == "collected" else None


_MARKS = {True: "[green]✓ holds[/]", False: "[red]✗ does not[/]", None: "[yellow]? unknown[/]"}


def print_explained(row: dict[str, Any]) -> None:
    out = console()
    who = row["subject"]["email"] or row["subject"]["name"] or row["subject"]["id"]
    out.print(f"[bold]{clean(row['rule'])}[/] on {clean(who)} in {clean(row['source'])}: [bold]{row['verdict']}[/]")
    why = f"; {clean(row['why'])}" if row["why"] else ""
    out.print(f"  as of snapshot {row['snapshot']}, {_short(row['at'])}{why}")
    for part in row["because"]:
        out.print(f"  not read whole: {clean(part)}", soft_wrap=True)
    for clause in row["clauses"]:
        out.print(f"  {_MARKS.get(clause['holds'], '[red]! error[/]')}  {clean(clause['clause'])}")
        for fact in clause["facts"]:
            since = f"  [dim]since {_short(fact['since'])}, snapshot {fact['snapshot']}[/]" if fact["since"] else ""
            out.print(f"      {clean(fact['name'])} = {clean(_shown(fact))}{since}")
        if clause["error"]:
            out.print(f"      {clean(clause['error'])}")
    if row["exempt_until"]:
        out.print(f"  exempt until {_short(row['exempt_until'])}: {clean(row['exemption'])}")
    for found in row["history"]:
        _print_finding(found)
    if not row["history"]:
        out.print("  no finding was ever opened, so nothing was sent")


def _print_finding(found: dict[str, Any]) -> None:
    out = console()
    ended = f"; {found['resolution']} {_short(found['resolved_at'])}" if found["resolved_at"] else ""
    opened_at, mark = _short(found["opened_at"]), found["fingerprint"][:12]
    out.print(f"  finding {mark}: opened {opened_at}, {clean(found['why_sent'])}{ended}")
    for message in found["messages"]:
        out.print(f"      {clean(message['receiver'])}: {message['reason']}, {message['status']}"
                  f" {_short(message['sent_at'] or '') or clean(message['error'] or '')}"
                  + (f" ({message['together']})" if message["together"] else ""))  # fmt: skip
    if found["waits"]:
        out.print(f"      {clean(found['waits'])}", soft_wrap=True)
    for line in prospects.lines(found):
        out.print(f"      {clean(line)}", soft_wrap=True)


def _short(moment: str) -> str:
    """2026-11-25 09:00 of RFC 3339, for reading."""
    return moment[:16].replace("T", " ")


def _shown(fact: dict[str, Any]) -> str:
    return "not reported" if fact["absent"] else json.dumps(fact["value"], ensure_ascii=False)


# preview

CHANGES = ("added", "removed", "unchanged", "unknown", "rule error")


def previewed(config: Config, name: str, rule: Rule) -> Iterator[dict[str, Any]]:
    with again.latest(config, name) as state:
        if state is None:
            return
        with reading(state.engine) as connection:
            today = store.to_reconcile(connection, state.staging.source_id)
        before = {f.subject.id: f for f in today if f.rule == rule.id and f.status is not FindingStatus.RESOLVED}
        for said in state.judge(rule):
            old = before.pop(said.subject.id, None)
            yield _compared(said, name, old)
        for old in before.values():
            yield _row("removed", name, old.subject, "nothing", old.title)


def _compared(said: Judgement, source: str, old: Finding | None) -> dict[str, Any]:
    if said.verdict not in (Verdict.FINDING, Verdict.EXEMPT):
        return _row(said.verdict.value, source, said.subject, said.verdict.value, said.why)
    return _row("unchanged" if old else "added", source, said.subject, said.verdict.value, said.title)


def _row(change: str, source: str, subject: Subject, verdict: str, title: str) -> dict[str, Any]:
    return {
        "change": change, "source": source, "verdict": verdict, "subject": present.subject(subject),
        "who": subject.email or subject.name or subject.id, "title": title,
    }  # fmt: skip


# backtest


def replayed(config: Config, name: str, rule: Rule, since: datetime | None, until: datetime | None) -> Replay:
    replay = Replay(rule, name)
    with again.earlier(config, name, since, until) as states:
        for state in _progress(states, rule.id):
            replay.step(
                state.id, state.staging.at, state.judge(rule, replay.watch), state.lacks,
                may_close=may_close(rule, completeness(state.snapshot)),
            )  # fmt: skip
    return replay


def _progress(states: Iterable[again.Recorded], what: str) -> Iterable[again.Recorded]:
    return track(states, what, console=console(err=True), transient=True) if sys.stderr.isatty() else states


def _number(events: Sequence[Event], rule: Rule, routes: Sequence[Route], at: datetime) -> int:
    """How many messages: what is told together is one."""
    together = {e.finding.fingerprint: route.groups(e.finding, routes, rule, at) for e in events}
    notes = route.of_events(events, {rule.id: rule}, routes, frozenset(), at)
    groups = ((n, together.get(mark or "", {}).get(n.receiver)) for n, mark in notes)
    return len({(n.receiver, group.by) if group else n.id for n, group in groups})


def told(config: Config, replay: Replay) -> dict[str, Any]:
    routes, rule = wiring.routes(config), replay.rule
    found = replay.findings()
    took = time_to_fix(found)
    return {
        "rule": rule.id, "source": replay.source,
        "from": present.rfc3339(replay.steps[0].at), "to": present.rfc3339(replay.steps[-1].at),
        "found": opened(replay.steps), "open": replay.steps[-1].open,
        "messages": sum(_number(s.events, rule, routes, s.at) for s in replay.steps),
        "median_open_seconds": took.total_seconds() if took else None,
        "snapshots": [
            {
                "snapshot": s.snapshot, "at": present.rfc3339(s.at), "open": s.open,
                "opened": sum(e.kind is EventKind.OPENED for e in s.events),
                "resolved": sum(e.kind is EventKind.RESOLVED for e in s.events),
                "unknown": s.unknown, "errors": s.errors,
            }
            for s in replay.steps
        ],
        "findings": [present.finding(f) | {"before_the_period": f.baseline} for f in found],
    }  # fmt: skip


def plot(row: dict[str, Any]) -> None:
    out = console()
    took = row["median_open_seconds"]
    period = f"{_short(row['from'])} to {_short(row['to'])}"
    out.print(
        f"[bold]{clean(row['rule'])}[/] in {clean(row['source'])}, {period}: {row['found']} found, "
        f"{row['open']} open at the end, {counted(row['messages'], 'message')}"
        + (f", half of them fixed within {took / 86400:.1f} d" if took is not None else "")
    )
    out.print(f"  open findings  {sparks([s['open'] for s in row['snapshots']])}")
    unknown = [s["unknown"] for s in row["snapshots"]]
    if any(unknown):
        out.print(f"  unknown        {sparks(unknown)}")
    show(
        [
            {
                "opened": "before" if f["baseline"] else _short(f["opened_at"]),
                "resolved": _short(f["resolved_at"] or "") or None,
                "how": f["resolution"], "title": f["title"],
            }
            for f in row["findings"]
        ],
        Format.TABLE, ("opened", "resolved", "how", "title"), "", "It would have found nothing.",
    )  # fmt: skip


# history


def history(config: Config) -> list[dict[str, Any]]:
    """A row a set; how it differs is not known where texts were not kept."""
    rows, before = [], None
    for found in rulesets.history(wiring.database(config, must_exist=True)):
        known = before is not None and found.files is not None
        moved = set_diff(before or {}, found.files or {}) if known else None
        rows.append({
            "since": found.since, "until": found.until, "first_snapshot": found.first, "snapshots": found.snapshots,
            "digest": found.digest[:16], "rules": None if found.files is None else len(found.files),
            "added": list(moved.added) if moved else None, "removed": list(moved.removed) if moved else None,
            "edited": list(moved.edited) if moved else None, "diff": moved.text if moved else None,
        })  # fmt: skip
        before = found.files
    return rows


def print_diff(row: dict[str, Any]) -> None:
    colours = {"+": "green", "-": "red", "@": "cyan"}
    for line in (row["diff"] or "").splitlines():
        console().print(one_line(line), style=colours.get(line[:1]), markup=False, soft_wrap=True)
