"""The tests inside rule files: a list of polls, played through the same decisions as a real cycle."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from monitor.decide import facts, rehearsal
from monitor.decide.access import privileged
from monitor.decide.alike import Plan
from monitor.decide.compiled import Compiled, compile_rule
from monitor.decide.drift import advance, advance_role, folded
from monitor.decide.expressions import Clause, ClauseError
from monitor.decide.form import duration
from monitor.decide.judge import explain
from monitor.decide.present import plain
from monitor.domain.change import Version
from monitor.domain.company import USUAL_HOURS
from monitor.domain.finding import Judgement
from monitor.domain.observed import Account, Role, Status, grant_id
from monitor.domain.rule import Rule, RuleTest

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)  # any day will do: tests speak in distances
DAY = timedelta(days=1)
CONTROL_KEYS = {"at", "absent", "exists", "person"}
# What comes from the polls, and what to set instead where that helps.
INSTEAD = {
    "privileged": "is_admin or level", "roles": "role", "idle_days": "last_login", "age_days": "created",
    "email_domain": "email", "detractor": "nps_score", "last_seen_active": "last_login or last_active",
    "used": "purchased and available", "past_levels": "level in an earlier poll",
    "past_roles": "role in an earlier poll", "past_emails": "email in an earlier poll",
    "past_groups": "groups in an earlier poll", "mostly_idle_days": "mostly_idle_since",
}  # fmt: skip
COMPUTED = {
    "first_seen", "status_since", "level_since", "role_changed", "privileged_since", "reactivated", "earlier_ids",
    "changed", "past_access_levels", "watched_since", "description_changed", "new", "last_seen", "grant_since",
    "since_days", "grant_id", "missing_groups", "kept_groups", *INSTEAD,
}  # fmt: skip
_AN = {
    "account": "an account", "person": "a person", "grant": "a grant", "role": "a role", "group": "a group",
    "seat": "a seat offering", "source": "a source",
}  # fmt: skip
_AGO = re.compile(r"(\d+[smhd])( ago)?")


class TestResult(NamedTuple):
    rule: str
    test: str
    passed: bool
    message: str
    judgement: Judgement | None = None
    line: int = 1  # of the test in the file of its rule


def as_tested(rule: Rule, test: RuleTest) -> Rule:
    """With the settings that its file says, whatever the config does, and business hours of Monday to Friday, 9 to 17
    UTC: a test must not fail because a company moved its limits.
    """
    return replace(rule, settings={**rule.settings, **rule.defaults, **test.settings}, hours=USUAL_HOURS)


def faulty_polls(rule: Rule) -> Iterator[str]:
    """What is wrong with the polls of the tests themselves, with file and line."""
    for number, test in enumerate(rule.tests):
        try:
            play(rule.for_each, test.polls)
        except ValueError as error:
            yield f"{rule.file}:{test.line}: tests.{number}: {error}"


def run_tests(rule: Rule) -> list[TestResult]:
    return [run_test(rule, test) for test in rule.tests]


def run_test(rule: Rule, test: RuleTest) -> TestResult:
    """Plays one test. A fault in the test itself fails it, with the poll named."""
    message, judgement = "", None
    try:
        record, now = play(rule.for_each, test.polls)
    except ValueError as error:
        message = str(error)
    else:
        if record is None:
            message = "the last poll has no subject to judge"
        else:
            compiled = compile_rule(as_tested(rule, test))
            judgement = explain(compiled, record, now, Plan(rule.for_each, (compiled,), frozenset()))
            message = "" if judgement.verdict is test.expect else _difference(test, judgement, compiled)
    return TestResult(rule.id, test.name, not message, message, judgement, test.line)


def _difference(test: RuleTest, got: Judgement, compiled: Compiled) -> str:
    """Every clause with how it came out, on which values."""
    lines = [f"expected {test.expect}, got {got.verdict}" + (f" ({got.why})" if got.why else "")]
    for clause, evidence in zip(compiled.clauses, got.evidence, strict=False):
        lines.append(f"  {_came_out(clause, evidence.facts)}: {clause.text}   with {_values(evidence.facts)}")
    lines += [f"  evidence: {_values(e.facts)}" for e in got.evidence if not e.clause]
    return "\n".join(lines)


def _came_out(clause: Clause, values: Mapping[str, Any]) -> str:
    try:
        held = clause.holds(values)
    except ClauseError:
        return "fails"
    return "unknown" if held is None else "holds" if held else "does not hold"


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{n} = {plain(v)!r}" for n, v in values.items()) or "nothing reported"


def play(kind: str, polls: tuple[Mapping[str, Any], ...]) -> tuple[dict[str, Any] | None, datetime]:
    """The record of the subject after the last poll, and the time of judging, which is "now"."""
    players = {"account": _accounts, "person": _persons, "grant": _grants, "role": _roles}
    player = players.get(kind, _plain)
    states = []
    said: dict[str, Any] = dict(facts.SAMPLES[kind]) | (
        {"person": facts.SAMPLE_PERSON} if kind in ("account", "grant") else {}
    )
    last_at: datetime | None = None
    for number, poll in enumerate(polls, 1):
        at = _moment(poll.get("at", "0d ago"), f"poll {number}: at")
        if last_at is not None and at < last_at:
            raise ValueError(f"poll {number}: at lies before the poll above it; the oldest poll stands first")
        last_at = at
        said = {**said, **(_checked_person(poll, number) if kind == "person" else _checked(kind, poll, number))}
        if kind in ("account", "grant") and "person" in poll:
            said["person"] = rehearsal.carried(said.get("person"), poll["person"], f"poll {number}: person")
        shown = {k: NOW - v if isinstance(v, timedelta) else v for k, v in said.items()}
        shown |= dict.fromkeys(poll.get("absent", ()))
        states.append((at, shown if poll.get("exists", True) else None))
    return player(states), NOW


def _checked(kind: str, poll: Mapping[str, Any], number: int) -> dict[str, Any]:
    """What a poll sets: names and types are checked, ages become distances from now."""
    absent = poll.get("absent", [])
    if not isinstance(absent, list):
        raise ValueError(f'poll {number}: absent is a list of fields, like ["{absent}"]')
    if "id" in absent:
        raise ValueError(f"poll {number}: id cannot be absent; for a poll that does not show it write exists = false")
    if not isinstance(poll.get("exists", True), bool):
        raise ValueError(f"poll {number}: exists must be true or false")
    held = {"role_access_level": "user", "last_active": DAY, "person": {}} if kind in ("account", "grant") else {}
    allowed = facts.SAMPLES[kind] | held
    set_here = {k: v for k, v in poll.items() if k not in CONTROL_KEYS}
    for key in [*set_here, *absent]:
        if key not in allowed:
            raise ValueError(f"poll {number}: {_no_field(str(key), kind, allowed)}")
    if set_here.get("last_login") == "never":
        del set_here["last_login"]
        return _typed(set_here, allowed, number) | {"last_login": None, "never_signed_in": True}
    if "last_login" in set_here:
        set_here["never_signed_in"] = False
    return _typed(set_here, allowed, number)


def _no_field(key: str, kind: str, allowed: Mapping[str, Any]) -> str:
    bare = key.removeprefix(f"{kind}.")
    if bare in COMPUTED:
        remedy = f"; set {INSTEAD[bare]}" if bare in INSTEAD else ""
        return f"{bare} is computed from the polls and cannot be set{remedy}"
    said = f"{key} is no field of {_AN[kind]}"
    if bare in allowed:
        return f"{said}; write {bare}"
    close = difflib.get_close_matches(bare, [*allowed, *CONTROL_KEYS], n=1)
    names = ", ".join(sorted(allowed.keys() | CONTROL_KEYS))
    return f"{said}; did you mean {close[0]}?" if close else f"{said}; there are {names}"


def _checked_person(poll: Mapping[str, Any], number: int) -> dict[str, Any]:
    """The fields of a person stand in the poll itself, and beside them what every poll may say."""
    if "person" in poll:
        raise ValueError(f"poll {number}: what is said of a person stands in the poll itself here")
    said = {k: v for k, v in poll.items() if k not in ("at", "exists")}
    if isinstance(said.get("absent"), list):
        said["absent"] = [name for name in said["absent"] if name != "person"]  # the authority was not read
    return {k: v for k, v in rehearsal.checked(said, f"poll {number}").items() if v is not None}


def _typed(values: dict[str, Any], like: Mapping[str, Any], number: int) -> dict[str, Any]:
    typed = {}
    for key, value in values.items():
        where = f"poll {number}: {key}"
        if isinstance(like[key], timedelta):
            typed[key] = NOW - _moment(value, where)
        elif not rehearsal.alike(value, like[key]):
            raise ValueError(f"{where} is {value!r}; write {rehearsal.written(like[key])}")
        elif key == "status" and value not in set(Status):
            raise ValueError(f"{where} is {value!r}; there are {', '.join(Status)}")
        else:
            typed[key] = value
    return typed


def _moment(text: Any, where: str) -> datetime:
    match = _AGO.fullmatch(str(text))
    if not match:
        raise ValueError(f'{where}: "{text}" is no age; write it like "10d ago"')
    try:
        return NOW - duration(match[1])
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    except OverflowError as error:
        raise ValueError(f'{where}: "{text}" lies before our calendar begins') from error


def _accounts(states: list[tuple[datetime, dict[str, Any] | None]]) -> dict[str, Any] | None:
    versions: dict[str, Version] = {}
    holders: dict[str, set[str]] = {}
    record, groups = None, set[str]()
    for at, shown in states:
        record = None
        if shown is None:
            continue
        groups |= set(shown.get("groups") or ())
        account = Account(**{f: _frozen(shown.get(f)) for f in Account._fields})
        email = folded(account.email)
        version = advance(versions.get(account.id), account, privileged(account), at)
        if account.id not in versions and email:
            earlier = tuple(sorted(holders.get(email, set()) - {account.id}))
            version = version._replace(history=version.history._replace(earlier_ids=earlier))
        versions[account.id] = version
        if email:
            holders.setdefault(email, set()).add(account.id)
        record = flat(version) | {k: v for k, v in shown.items() if k not in Account._fields}
        record.setdefault("role_access_level", account.level)
    if record is not None:
        record["watched_since"] = states[0][0]
        record["past_groups"] = sorted(groups - set(record.get("groups") or ()))
        record["person"] = rehearsal.played([(at, s and s.get("person")) for at, s in states], NOW)
    return record


def _grants(states: list[tuple[datetime, dict[str, Any] | None]]) -> dict[str, Any] | None:
    """The grant of the last poll, held since the first of the polls that showed it without a break."""
    record = _accounts(states)
    if record is None or not record["held"]:
        return None
    mark, since = _mark(record), states[-1][0]
    for at, shown in reversed(states):
        if shown is not None and (not shown["held"] or _mark(shown) != mark):
            break
        since = at if shown is not None else since
    return record | {"grant_id": mark, "grant_since": since}


def _mark(record: Mapping[str, Any]) -> str:
    return grant_id(record["id"], record["grant_kind"], record["entitlement"])


def _persons(states: list[tuple[datetime, dict[str, Any] | None]]) -> dict[str, Any] | None:
    shown = states[-1][1]
    if shown is None:
        return None
    match = None if "person" in shown else rehearsal.played(states, NOW)
    return {"id": shown["id"], "email": shown["email"], "name": shown["name"], "person": match}


def flat(version: Version) -> dict[str, Any]:
    """A version as the record that facts read: tuples as lists, pairs as a map."""
    record = {**version.account._asdict(), **version.history._asdict(), "privileged": version.privileged}
    return {k: _thawed(k, v) for k, v in record.items()}


def _thawed(key: str, value: Any) -> Any:
    if key == "fields" and value is not None:
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return tuple(sorted(value.items()))
    return tuple(value) if isinstance(value, list) else value


def _roles(states: list[tuple[datetime, dict[str, Any] | None]]) -> dict[str, Any] | None:
    before: tuple[Role, datetime, tuple[str, ...], datetime] | None = None
    first, record = None, None
    for at, shown in states:
        if shown is None:
            record = None
            continue
        first = first or at
        role = Role._make(shown.get(f) for f in Role._fields)
        before = (role, *advance_role(before, role, at))
        record = {
            **shown, "first_seen": first, "changed": before[1], "past_access_levels": list(before[2]),
            "description_changed": before[3],
        }  # fmt: skip
    return record


def _plain(states: list[tuple[datetime, dict[str, Any] | None]]) -> dict[str, Any] | None:
    shown = states[-1][1]
    seen = [t for t, s in states if s is not None]
    return None if shown is None else {**shown, "first_seen": seen[0], "watched_since": states[0][0]}
