"""One made-up notification of every kind, for checking templates and for showing what they look like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

from monitor.domain.message import Notification, Reason

AT = datetime(2026, 11, 24, 2, 10, tzinfo=UTC)
_AT = "2026-11-24T02:10:00Z"

FINDING: dict[str, Any] = {
    "fingerprint": "9f2c7a4be1d03a55",
    "rule": "admin-kept-after-role-change",
    "title": "ann.bee@example.test kept admin access after a role change",
    "severity": "high",
    "status": "open",
    "verdict": "finding",
    "exempt_until": None,
    "silenced_until": None,
    "exemption": None,
    "assigned_to": None,
    "acknowledged_at": None,
    "acknowledged_by": None,
    "source": "acme-school",
    "subject": {
        "kind": "account",
        "id": "5ea173beca205e67b47f4552",
        "email": "ann.bee@example.test",
        "name": "Ann Bee",
    },
    "opened_at": _AT,
    "resolved_at": None,
    "resolution": None,
    "resolution_detail": None,
    "owner": "it-security@example.test",
    "due_at": "2026-11-26T02:10:00Z",
    "evidence": [
        {"clause": "account.is_admin", "facts": {"account.is_admin": True}},
        {"clause": 'account.level != "admin"', "facts": {"account.level": "user"}},
        {"clause": '"admin" in account.past_levels', "facts": {"account.past_levels": ["admin", "instructor"]}},
        {
            "clause": "",
            "facts": {
                "account.role": "Sales",
                "account.role_changed": "2026-11-14T02:10:00Z",
                "account.last_login": "2026-11-23T17:42:00Z",
            },
        },
    ],
    "snapshot": 42,
    "description": "Access should follow the role. This account held an administrative role earlier, has another\n"
    "role now, and is still an administrator.\n",
    "runbook": "1. Ask the holder's manager whether the new role needs administrative access.\n"
    "2. If not, remove the admin flag in LearnWorlds (Users > the user > Role). The finding closes when a later poll\n"
    "   no longer sees it.\n",
    "controls": {"soc2": ["CC6.3"], "iso27001": ["A.5.18", "A.8.2"]},
    "tags": ["leavers"],
}
RESOLVED: dict[str, Any] = FINDING | {
    "status": "resolved",
    "verdict": "nothing",
    "opened_at": "2026-11-20T22:10:00Z",
    "resolved_at": _AT,
    "resolution": "fixed",
    "resolution_detail": "no longer holds: account.is_admin",
    "open_for": 273600.0,
}
ACKNOWLEDGED: dict[str, Any] = FINDING | {
    "status": "acknowledged", "opened_at": "2026-11-23T22:10:00Z", "acknowledged_at": _AT,
    "acknowledged_by": "dana@example.test",
}  # fmt: skip
_EACH = (("critical", 2), ("high", 7), ("medium", 12), ("low", 10))
_PEOPLE = ("Ann Bee", "Bo Dahl", "Cleo Ek", "Dina Falk", "Edo Gil", "Fay Holm", "Gus Ito", "Hal Jones", "Ida Kuhn")
_RULES = {
    "critical": ("suspended-still-manages", "{} is suspended and still manages a group"),
    "high": ("admin-kept-after-role-change", "{} kept admin access after a role change"),
    "medium": ("idle-admin", "{} is an administrator and has not signed in for 90 days"),
    "low": ("no-company", "{} has no company"),
}


def _listed(number: int, each: Sequence[tuple[str, int]] = _EACH) -> Iterator[dict[str, Any]]:
    for severity, many in each:
        rule, title = _RULES[severity]
        for i in range(min(many, number)):
            name = _PEOPLE[i % len(_PEOPLE)]
            email = f"{name.lower().replace(' ', '.')}{i // len(_PEOPLE) or ''}@example.test"
            short = {k: v for k, v in FINDING.items() if k not in ("description", "runbook", "controls")}
            yield short | {
                "severity": severity, "rule": rule, "title": title.format(email), "fingerprint": f"{rule[:8]}{i:04}",
                "subject": {"kind": "account", "id": f"{severity}{i:04}", "email": email, "name": name},
            }  # fmt: skip


def _change(name: str, field: str | None, before: Any, after: Any, names: list[str]) -> dict[str, Any]:
    email = f"{name.lower().replace(' ', '.')}@example.test"
    return {
        "snapshot": 42, "source": "acme-school", "kind": "changed" if field else "created", "field": field,
        "before": before, "after": after, "names": names,
        "subject": {"kind": "account", "id": f"5ea173be{len(email):04}", "email": email, "name": name},
    }  # fmt: skip


_CHANGES = [
    _change("Ann Bee", "status", "active", "suspended", ["suspended"]),
    _change("Bo Dahl", "is_admin", False, True, ["privileged_granted", "flag_changed"]),
    _change("Cleo Ek", None, None, None, ["joined"]),
    _change("Dina Falk", "role", "Instructor", "Sales", ["role_changed"]),
]


def sample(reason: Reason, **content: Any) -> Notification:
    """The made-up notification for a reason; keywords replace parts of its content."""
    said = {"reason": reason.value, "at": _AT, "source": "acme-school", **_CONTENTS[reason]()} | content
    name = f"{list(Reason).index(reason):08x}-5a1e-5eed-8000-000000000001"
    return Notification(name, "security", reason, f"sample:{reason.value}", said, AT, first_attempt_at=AT)


def _operations() -> dict[str, Any]:
    return {
        "title": "acme-school could not be read whole: the poll was partial",
        "message": "acme-school could not be read whole: the poll was partial",
        "what_to_do": "Findings of what was not read stay as they were. Run `access-monitor check` to see whether "
        "it can be reached.",
        "detail": ["users: page 7 of 12 answered 502 five times", "groups: the source said 41, 40 were read"],
    }


def _silence() -> dict[str, Any]:
    message = "A silence of dana@example.test ends on 2026-11-25 at 18:00 UTC"
    return {
        "title": message, "message": message, "owner": "dana@example.test",
        "what_to_do": "Nothing, if that is right: what is open then is told. To mute it for longer: `access-monitor "
        "silence add`.",
        "detail": ["silence 7: rule admin-kept-*; source acme-school", "reason: roles are moved until tonight",
                   "open findings that it mutes now: 12"],
    }  # fmt: skip


def _exemption() -> dict[str, Any]:
    message = "The exemption of ann.bee@example.test ends on 2026-12-09"
    return {
        "title": message, "message": message,
        "what_to_do": "Renew it in rules/exemptions.toml:12, or mend what it lets be: from the next day on it is told "
        "again.",
        "detail": ["rule: admin-kept-after-role-change", "reason: hands over until then", "approved by: head-of-it"],
    }  # fmt: skip


def _timely(happened: str, opened_at: str = _AT, due_at: str = FINDING["due_at"]) -> Callable[[], dict[str, Any]]:
    found = FINDING | {"opened_at": opened_at, "due_at": due_at}
    return lambda: {"title": FINDING["title"], "finding": found, "happened": happened}


def _baseline() -> dict[str, Any]:
    counts = {"critical": 2, "high": 7, "medium": 12, "low": 10}
    return {
        "title": "31 findings existed in acme-school before we looked",
        "findings": list(_listed(99)), "counts": counts, "accounts": 4127, "privileged": 38,
    }  # fmt: skip


def _storm() -> dict[str, Any]:
    rule = "admin-kept-after-role-change"
    return {
        "title": f"27 findings of {rule} opened at once in acme-school", "rule": rule, "why": "opened",
        "description": FINDING["description"], "runbook": FINDING["runbook"],
        "findings": list(_listed(99, [("high", 27)])),
        "counts": {"high": 27},
    }  # fmt: skip


def _digest() -> dict[str, Any]:
    short = {k: v for k, v in FINDING.items() if k not in ("description", "runbook", "controls")}
    listed = [f | {"reason": "opened", "at": _AT} for f in _listed(2) if f["severity"] != "critical"]
    over = {k: v for k, v in RESOLVED.items() if k in short or k == "open_for"} | {"reason": "resolved", "at": _AT}
    return {
        "title": "Digest: 6 open, 1 resolved, 4 changes", "findings": [*listed, over], "changes": _CHANGES,
        "counts": {"high": 2, "medium": 2, "low": 2}, "resolved": 1, "since": "2026-11-23T08:00:00Z",
    }  # fmt: skip


def _group(over: int = 0, new: int = 0) -> dict[str, Any]:
    """Seven findings of one rule; some of them are over, some joined just now."""
    open_yet = [f | {"new": i < new or not (over or new)} for i, f in enumerate(_listed(7 - over, [("high", 7)]))]
    gone = ("status", "verdict", "opened_at", "resolved_at", "resolution", "resolution_detail", "open_for")
    ended = [f | {k: RESOLVED[k] for k in gone} | {"new": False} for f in list(_listed(7, [("high", 7)]))[7 - over :]]
    news = [f | {"reason": "opened", "at": _AT, "happened": ""} for f in open_yet if f["new"]]
    news += [f | {"reason": "resolved", "at": _AT, "happened": ""} for f in ended]
    kept = ("fingerprint", "title", "severity", "resolution", "open_for", "reason", "at", "happened")
    rule, state = "admin-kept-after-role-change", f": {7 - over} open, {over} over" if 0 < over < 7 else ""
    return {
        "title": f"7 findings of {rule} in acme-school{state or (', all over' if over else '')}",
        "group": {"id": "6a0c7d1e-0000-5000-8000-000000000001", "by": {"rule": rule}, "first": not (over or new)},
        "findings": open_yet + ended, "news": [{k: n.get(k) for k in kept} for n in news],
        "counts": {"high": 7 - over} if over < 7 else {}, "open": 7 - over, "over": over,
        "owners": [FINDING["owner"]], "due_at": FINDING["due_at"] if over < 7 else None,
        "since": RESOLVED["opened_at"] if over else _AT,
        "description": FINDING["description"], "runbook": FINDING["runbook"],
    }  # fmt: skip


_CONTENTS: dict[Reason, Callable[[], dict[str, Any]]] = {
    Reason.OPENED: lambda: {"title": FINDING["title"], "finding": FINDING},
    Reason.REOPENED: lambda: {"title": FINDING["title"], "finding": FINDING},
    Reason.RESOLVED: lambda: {"title": FINDING["title"], "finding": RESOLVED},
    Reason.UPDATED: lambda: {
        "title": FINDING["title"],
        "finding": ACKNOWLEDGED,
        "happened": "acknowledged by dana@example.test",
    },
    Reason.BASELINE: _baseline,
    Reason.CHANGES: lambda: {"title": "4 changes in acme-school", "changes": _CHANGES},
    Reason.DIGEST: _digest,
    Reason.OPERATIONS: _operations,
    Reason.STORM: _storm,
    Reason.SILENCE_ENDED: _timely("no longer silenced, and still open", "2026-11-23T18:10:00Z"),
    Reason.DUE_SOON: _timely(
        "50 % of the time to fix it is over: due by 2026-11-25 02:10 UTC",
        "2026-11-23T02:10:00Z",
        "2026-11-25T02:10:00Z",
    ),
    Reason.OVERDUE: _timely("overdue since 2026-11-24 02:05 UTC", "2026-11-22T02:05:00Z", "2026-11-24T02:05:00Z"),
    Reason.REMINDER: _timely(
        "reminder: overdue since 2026-11-23 02:10 UTC", "2026-11-21T02:10:00Z", "2026-11-23T02:10:00Z"
    ),
    Reason.ESCALATED: _timely(
        "nobody has acknowledged it since 2026-11-23 22:10 UTC: it goes to on-call as well", "2026-11-23T22:10:00Z"
    ),
    Reason.FLAPPING: _timely(
        "flapping: opened 4 times in 7 days; from now on it is recorded, and told again when it has been as it is for "
        "7 days"
    ),
    Reason.SEVERITY_RAISED: _timely("severity raised from medium to high", "2026-11-23T22:10:00Z"),
    Reason.GROUP: _group,
    Reason.NEW_IN_GROUP: lambda: _group(over=3, new=1),
    Reason.SILENCE_ENDING: _silence,
    Reason.EXEMPTION_ENDING: _exemption,
    Reason.TEST: lambda: {"title": "A test message"},
    Reason.DRILL: lambda: {"title": "Drill to security"},
}


def samples() -> Iterator[Notification]:
    """Every reason, and the edges of each: nothing found, nothing to add, no owner's date."""
    for reason in Reason:
        yield sample(reason)
    bare = FINDING | {
        "due_at": None, "evidence": [], "controls": {}, "tags": [], "description": "", "runbook": "", "snapshot": 0,
        "subject": {"kind": "source", "id": "acme-school", "email": None, "name": None},
    }  # fmt: skip
    yield sample(Reason.OPENED, finding=bare)
    until = {"status": "open", "acknowledged_at": None}
    silenced = ACKNOWLEDGED | until | {"silenced_until": "2026-11-30T08:00:00Z"}
    yield sample(Reason.UPDATED, finding=silenced, happened="silenced until 2026-11-30 by dana@example.test")
    exempt = ACKNOWLEDGED | until | {"verdict": "exempt", "exempt_until": "2027-03-31T00:00:00Z"}
    yield sample(Reason.UPDATED, finding=exempt, happened="exempt until 2027-03-31")
    leave = {"by": "dana@example.test", "until": "2027-03-30", "reason": "Hands over the school", "ticket": "IT-12"}
    asked = ACKNOWLEDGED | until | {"exemption": leave | {"standing": "asked"}}
    yield sample(Reason.UPDATED, finding=asked, happened="exemption asked by dana@example.test")
    given = exempt | {"exemption": leave | {"standing": "approved", "ticket": None}}
    yield sample(Reason.UPDATED, finding=given, happened="exempted by dana@example.test")
    mine = ACKNOWLEDGED | {"assigned_to": "bob (U0BOB00001)"}
    yield sample(Reason.UPDATED, finding=mine, happened="assigned by dana@example.test: to bob (U0BOB00001)")
    yield sample(Reason.UPDATED, finding=RESOLVED, happened="gone")
    yield sample(
        Reason.REMINDER, finding=ACKNOWLEDGED | {"due_at": "2026-11-23T22:30:00Z"}, happened="reminder: overdue"
    )
    yield sample(Reason.RESOLVED, finding=RESOLVED | {"resolution": "gone", "resolution_detail": None, "owner": ""})
    yield sample(Reason.GROUP, **_group(over=3))
    yield sample(Reason.GROUP, **_group(over=7))
    mixed = {"findings": [f | {"new": True} for f in _listed(99)], "description": "", "runbook": "", "owners": []}
    yield sample(Reason.GROUP, **(_group() | mixed | {"due_at": None}))
    nothing = "0 findings existed in acme-school before we looked"
    yield sample(Reason.BASELINE, findings=[], counts={}, accounts=0, privileged=0, title=nothing)
    yield sample(Reason.CHANGES, changes=_CHANGES[:1], title="1 change in acme-school")
    yield sample(Reason.OPERATIONS, detail=[], what_to_do="")
    yield sample(Reason.DIGEST, findings=[], counts={}, resolved=0, title="Digest: 4 changes")
    yield sample(Reason.DIGEST, changes=[], title="Digest: 6 open, 1 resolved")
