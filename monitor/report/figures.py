"""The figures of the report: what findings, roles and polls come to. Pure: values in, plain values out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from monitor.domain.finding import Finding, FindingStatus, Resolution
from monitor.domain.reading import Outcome
from monitor.domain.rule import Exemption, Rule, Verdict
from monitor.report.page import SEVERITIES

SHOWN = {"findings": 2000, "resolved": 1000}  # rows on the page; all are counted
COLUMNS = 60  # of a plot, at most: a longer period has columns of several days
LEVELS = ("user", "license_reporter", "reporter", "seat_manager", "instructor", "admin")
Rules = Mapping[str, Rule]


# findings


def unresolved(found: Iterable[Finding], rules: Rules, now: datetime) -> dict[str, Any]:
    held = sorted(
        (f for f in found if f.status is not FindingStatus.RESOLVED),
        key=lambda f: (-f.severity.rank, f.rule, f.opened_at, f.title),
    )
    told = [f for f in held if not f.draft]
    counted = [f for f in told if f.verdict is not Verdict.EXEMPT]
    return {
        "rows": [_told(f, rules, now) for f in held[: SHOWN["findings"]]],
        "total": len(held),
        "counted": len(counted),
        "severities": Counter(f.severity.value for f in counted),
        "exempt": len(told) - len(counted),
        "draft": len(held) - len(told),
        "overdue": sum(f.due_at is not None and f.due_at < now for f in counted),
        "unknown": sum(f.verdict is Verdict.UNKNOWN for f in counted),
    }


def _told(found: Finding, rules: Rules, now: datetime) -> dict[str, Any]:
    rule = rules.get(found.rule)
    end = found.resolved_at or now
    return {
        "title": found.title, "rule": found.rule, "severity": found.severity.value, "status": found.status.value,
        "verdict": found.verdict.value, "source": found.source, "subject": found.subject._asdict(),
        "owner": found.owner, "opened": found.opened_at, "due": found.due_at, "snapshot": found.snapshot,
        "overdue": found.due_at is not None and found.due_at < end, "baseline": found.baseline, "draft": found.draft,
        "exempt_until": found.exempt_until, "silenced_until": found.silenced_until,
        "acknowledged": found.acknowledged_at, "acknowledged_by": found.acknowledged_by,
        "resolved": found.resolved_at, "resolution": found.resolution.value if found.resolution else None,
        "detail": found.resolution_detail, "open_for": (end - found.opened_at).total_seconds(),
        "evidence": [{"clause": e.clause, "facts": dict(e.facts)} for e in found.evidence],
        "controls": dict(rule.controls) if rule else {}, "exemption": _exemption(rule, found),
    }  # fmt: skip


def _exemption(rule: Rule | None, found: Finding) -> dict[str, Any] | None:
    """The leave that somebody gave by a button, or that the rule file gives this subject, by id or e-mail."""
    if rule is None or found.verdict is not Verdict.EXEMPT:
        return None
    if found.exemption is not None and found.exemption["standing"] == "approved":
        return {"reason": found.exemption["reason"], "approved_by": found.exemption["by"]}
    names = {found.subject.id, (found.subject.email or "").strip().casefold()}
    given: Exemption | None = next((e for e in rule.exemptions if _covers(e, names, found)), None)
    return {"reason": given.reason, "approved_by": given.approved_by} if given else None


def _covers(given: Exemption, names: set[str], found: Finding) -> bool:
    """By its subject; one whose clauses say who, by its end, which the finding has."""
    if given.subject:
        return given.subject in names or given.subject.strip().casefold() in names
    left = found.exempt_until.date() - given.expires if found.exempt_until else timedelta(days=9)
    return timedelta() <= left <= timedelta(days=1)


def resolved(found: Iterable[Finding], since: datetime) -> dict[str, Any]:
    ended = [f for f in found if f.resolved_at is not None and f.resolved_at >= since]
    ended.sort(key=lambda f: (f.severity.rank, f.title), reverse=True)
    ended.sort(key=lambda f: f.resolved_at or since, reverse=True)
    fixed = [f for f in ended if f.resolution is Resolution.FIXED]
    took = [(f.resolved_at - f.opened_at).total_seconds() for f in fixed if f.resolved_at]
    return {
        "rows": [_told(f, {}, since) for f in ended[: SHOWN["resolved"]]],
        "total": len(ended),
        "fixed": len(fixed),
        "late": sum(1 for f in fixed if f.due_at and f.resolved_at and f.resolved_at > f.due_at),
        "median": median(took) if took else None,
        "by": Counter(f.resolution.value for f in ended if f.resolution).most_common(),
    }


def served(found: Sequence[Finding], rules: Rules, since: datetime) -> list[dict[str, Any]]:
    """By control: the rules that serve it, and how its findings stand."""
    by_control: dict[tuple[str, str], list[str]] = {}
    for rule in rules.values():
        for framework, clauses in rule.controls.items():
            for clause in clauses:
                by_control.setdefault((framework, clause), []).append(rule.id)
    held = Counter(f.rule for f in found if f.status is not FindingStatus.RESOLVED and not f.draft)
    exempt = Counter(f.rule for f in found if f.verdict is Verdict.EXEMPT and f.resolved_at is None and not f.draft)
    ended = Counter(f.rule for f in found if f.resolved_at is not None and f.resolved_at >= since)
    return [
        {
            "control": {framework: [clause]},
            "rules": sorted(ids),
            "open": sum(held[i] - exempt[i] for i in ids),
            "exempt": sum(exempt[i] for i in ids),
            "resolved": sum(ended[i] for i in ids),
        }
        for (framework, clause), ids in sorted(by_control.items(), key=lambda item: _natural(item[0]))
    ]


def _natural(control: tuple[str, str]) -> tuple[str, list[Any]]:
    """A.5.9 comes before A.5.18."""
    return control[0], [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in control[1].split(".")]


# roles


def role_matrix(name: str, known: Sequence[Mapping[str, Any]], held: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    levels = sorted({r["level"] for r in held} | {r["access_level"] for r in known}, key=_rank)
    rows: dict[tuple[str | None, str | None], dict[str, Any]] = {
        (r["role_id"], None): {
            "title": r["title"] or r["role_id"], "listed": True, "level": r["access_level"],
            "custom": None if r["custom"] is None else bool(r["custom"]),
            "was": r["past_access_levels"], "changed": r["changed"], "holders": Counter(),
        }
        for r in sorted(known, key=lambda r: (_rank(r["access_level"]), r["title"] or ""))
    }  # fmt: skip
    for r in held:
        key = (r["role_id"], None if r["role_id"] else r["role"])
        unlisted = {"title": r["role"], "listed": False, "level": None, "custom": None, "was": [], "changed": None}
        rows.setdefault(key, {**unlisted, "holders": Counter()})["holders"][r["level"]] += r["holders"]
    for row in rows.values():
        row["disagree"] = [x for x in row["holders"] if None not in (x, row["level"]) and x != row["level"]]
        row["disagreeing"] = sum(row["holders"][x] for x in row["disagree"])
    return {"source": name, "levels": levels, "rows": list(rows.values())}


def _rank(level: str | None) -> tuple[int, str]:
    if level is None:
        return len(LEVELS) + 1, ""
    return (LEVELS.index(level) if level in LEVELS else len(LEVELS)), level


# polls and plots


def longest_gap(polls: Sequence[Mapping[str, Any]], now: datetime) -> dict[str, Any] | None:
    """The longest time between the end of a poll that saw something and the start of the next, up to now."""
    seeing = [p for p in polls if Outcome(p["outcome"]).applies]
    if not seeing:
        return None
    starts = [*(p["started_at"] for p in seeing[1:]), now]
    seconds, begin, end = max(
        ((start - p["finished_at"]).total_seconds(), p["finished_at"], start)
        for p, start in zip(seeing, starts, strict=True)
    )
    return {"seconds": seconds, "from": begin, "to": end}


def columns(days: int, now: datetime) -> tuple[list[datetime], timedelta]:
    """Points in time that end now, and how far apart they are."""
    size = -(-days // COLUMNS)
    count = -(-days // size)
    return [now - timedelta(days=size * i) for i in range(count)][::-1], timedelta(days=size)


def open_at(found: Iterable[Finding], when: datetime) -> dict[str, int]:
    """How many were unresolved then, by the severity they have now."""
    held = (f for f in found if f.opened_at <= when and not (f.resolved_at and f.resolved_at <= when))
    counted = Counter(f.severity.value for f in held)
    return {severity: counted[severity] for severity in SEVERITIES}


def polls_by_column(
    polls: Sequence[Mapping[str, Any]], ends: Sequence[datetime], size: timedelta
) -> list[dict[str, int]]:
    counted = [Counter[str]() for _ in ends]
    for p in polls:
        back = (ends[-1] - p["started_at"]) // size
        if 0 <= back < len(ends):
            counted[-1 - back][p["outcome"]] += 1
    return [{outcome.value: c[outcome.value] for outcome in Outcome} for c in counted]
