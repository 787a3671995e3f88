"""Routing: who hears what, why, once, and that nothing worth saying is left without a receiver."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide import route
from monitor.decide.reconcile import ACTIVATED, fingerprint
from monitor.domain.change import Change, ChangeKind
from monitor.domain.finding import Event, EventKind, Evidence, Finding, FindingStatus, Resolution
from monitor.domain.message import Notification, Reason, Route
from monitor.domain.observed import Subject
from monitor.domain.reading import Outcome, Proof, ScopeEnded
from monitor.domain.rule import Rule, RuleStatus, Severity, Verdict
from monitor.domain.snapshot import Snapshot

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
F, X, N, U = Verdict.FINDING, Verdict.EXEMPT, Verdict.NOTHING, Verdict.UNKNOWN
ALL = Route(("all",))
RULE = Rule(
    "idle-admin", "wrong", Severity.HIGH, RuleStatus.ACTIVE, "it@example.com", "account", ("account.is_admin",),
    "An idle admin.", "1. Ask.", controls={"soc2": ("CC6.3",)},
)  # fmt: skip


def finding(
    who: str = "ann", rule: str = "idle-admin", severity: Severity = Severity.HIGH, source: str = "school", **more: Any
) -> Finding:
    subject = Subject("account", who, f"{who}@example.test", who.title())
    fixed: dict[str, Any] = {
        "status": FindingStatus.OPEN, "verdict": F, "owner": "it@example.com", "opened_at": NOW - DAY, "due_at": None,
        "evidence": (Evidence("account.is_admin", {"account.is_admin": True}),), "rule_digest": "d1", "snapshot": 1,
        "tags": ("t",),
    }  # fmt: skip
    return Finding(
        fingerprint(rule, source, subject), rule, f"{who} is wrong", severity, source=source, subject=subject,
        **(fixed | more),
    )  # fmt: skip


def opening(**more: Any) -> Event:
    return Event(EventKind.OPENED, finding(**more))


def told(events: Iterable[Event], routes: Sequence[Route] = (ALL,), **more: Any) -> list[Notification]:
    asked: dict[str, Any] = {"reopened": frozenset(), "now": NOW} | more
    return [n for n, _ in route.of_events(events, {"idle-admin": RULE}, routes, **asked)]


# Which route

TAKES: list[tuple[Route, bool]] = [
    (Route(("x",)), True),
    (Route(("x",), severity=("high", "critical")), True),
    (Route(("x",), severity=("low",)), False),
    (Route(("x",), rule=("idle-admin",)), True),
    (Route(("x",), rule=("dormant-*", "idle-*")), True),
    (Route(("x",), rule=("idle",)), False),
    (Route(("x",), rule=("IDLE-*",)), False),
    (Route(("x",), source=("school",)), True),
    (Route(("x",), source=("scho",)), False),
    (Route(("x",), tag=("s", "t")), True),
    (Route(("x",), tag=("s",)), False),
    (Route(("x",), severity=("high",), rule=("idle-*",), source=("school",), tag=("t",)), True),
    (Route(("x",), severity=("high",), rule=("idle-*",), source=("school",), tag=("s",)), False),
    (Route(("x",), changes=("suspended",)), False),
]


@pytest.mark.parametrize(("one", "takes"), TAKES, ids=str)
def test_what_a_route_takes(one: Route, takes: bool) -> None:
    """All that it names must fit, any value of each; what it leaves out fits everything."""
    assert route.receivers(finding(), [one, ALL]) == (("x",) if takes else ("all",))


def test_a_route_may_hand_on() -> None:
    """With `continue` the next ones are tried as well; nobody hears of it twice."""
    first, second = Route(("a", "b"), go_on=True), Route(("b", "c"), severity=("high",))
    assert route.receivers(finding(), [first, second, ALL]) == ("a", "b", "c")
    assert route.receivers(finding(severity=Severity.LOW), [first, second, ALL]) == ("a", "b", "all")


def test_the_first_route_that_matches_takes_it() -> None:
    """Later ones do not hear of it, and a route may have several receivers."""
    routes = [Route(("low",), severity=("low",)), Route(("a", "b"), rule=("idle-*",)), Route(("c",)), ALL]
    assert [n.receiver for n in told([opening()], routes)] == ["a", "b"]


def test_what_the_monitor_says_of_itself_goes_to_the_last_route() -> None:
    """That is the one which matches all; routes of changes behind it do not count."""
    routes = [Route(("a",), severity=("high",)), ALL, Route(("c",), changes=("left",))]
    assert route.everyone_last(routes) == ("all",)
    (note,) = route.of_operations("k", "The rules are broken", "Mend them.", ["x:1"], routes, "school", NOW)
    assert (note.receiver, note.reason) == ("all", Reason.OPERATIONS)
    assert note.content == {
        "reason": "operations", "title": "The rules are broken", "at": "2026-06-15T12:00:00Z", "source": "school",
        "message": "The rules are broken", "what_to_do": "Mend them.", "detail": ["x:1"],
    }  # fmt: skip


# Why

OPEN, RESOLVED, VERDICT, EDITED = EventKind.OPENED, EventKind.RESOLVED, EventKind.VERDICT, EventKind.EDITED
SEEN = finding().fingerprint
WHY: list[tuple[str, Event, frozenset[str], Reason | None]] = [
    ("new", Event(OPEN, finding()), frozenset(), Reason.OPENED),
    ("new again", Event(OPEN, finding()), frozenset({SEEN}), Reason.REOPENED),
    ("new and exempt", Event(OPEN, finding(verdict=X)), frozenset(), None),
    ("before we looked", Event(OPEN, finding(baseline=True)), frozenset(), None),
    ("of a draft", Event(OPEN, finding(draft=True)), frozenset(), None),
    ("resolved", Event(RESOLVED, finding(), was=F), frozenset(), Reason.RESOLVED),
    ("resolved while unknown", Event(RESOLVED, finding(), was=U), frozenset(), Reason.RESOLVED),
    ("resolved, and was there before we looked", Event(RESOLVED, finding(baseline=True), was=F), frozenset(),
     Reason.RESOLVED),
    ("resolved while exempt", Event(RESOLVED, finding(), was=X), frozenset(), None),
    ("resolved, of a draft", Event(RESOLVED, finding(draft=True), was=F), frozenset(), None),
    ("exempt no longer", Event(VERDICT, finding(), was=X), frozenset(), Reason.REOPENED),
    ("exempt no longer, and was there before we looked", Event(VERDICT, finding(baseline=True), was=X), frozenset(),
     Reason.REOPENED),
    ("known again", Event(VERDICT, finding(), was=U), frozenset(), None),
    ("unknown", Event(VERDICT, finding(verdict=U), was=F), frozenset(), None),
    ("exempt now", Event(VERDICT, finding(verdict=X), was=F), frozenset(), None),
    ("edited", Event(EDITED, finding()), frozenset(), None),
    ("no draft any longer", Event(EDITED, finding(), ACTIVATED), frozenset(), Reason.OPENED),
    ("no draft any longer, and was there before", Event(EDITED, finding(baseline=True), ACTIVATED), frozenset(),
     Reason.OPENED),
    ("acknowledged", Event(EventKind.ACKNOWLEDGED, finding(), by="bob"), frozenset(), None),
    ("graver", Event(EventKind.SEVERITY_RAISED, finding(), "from high"), frozenset(), Reason.SEVERITY_RAISED),
    ("graver, of a draft", Event(EventKind.SEVERITY_RAISED, finding(draft=True)), frozenset(), None),
    ("graver, and silenced", Event(EventKind.SEVERITY_RAISED, finding(silenced_until=NOW)), frozenset(), None),
    ("graver, and exempt", Event(EventKind.SEVERITY_RAISED, finding(verdict=X)), frozenset(), None),
    ("less grave", Event(EventKind.SEVERITY_LOWERED, finding()), frozenset(), None),
]  # fmt: skip


@pytest.mark.parametrize(("event", "reopened", "reason"), [w[1:] for w in WHY], ids=[w[0] for w in WHY])
def test_why_an_event_is_told(event: Event, reopened: frozenset[str], reason: Reason | None) -> None:
    """What opened, what ended, and what is no longer exempt; nothing else, and nothing of drafts."""
    assert route.why(event, reopened) is reason
    assert [n.reason for n in told([event], reopened=reopened)] == ([reason] if reason else [])


def test_a_notification_holds_all_that_a_template_needs() -> None:
    """The finding with what its rule says, frozen as plain JSON values; and its fingerprint for the outbox."""
    ((note, mark),) = route.of_events([opening()], {"idle-admin": RULE}, [ALL], frozenset(), NOW)
    said = note.content["finding"]
    assert (mark, note.created_at, note.attempts) == (SEEN, NOW, 0)
    assert note.content["title"] == "ann is wrong"
    assert (said["rule"], said["opened_at"]) == ("idle-admin", "2026-06-14T12:00:00Z")
    assert (said["description"], said["runbook"], said["controls"]) == (
        "An idle admin.",
        "1. Ask.",
        {"soc2": ["CC6.3"]},
    )
    assert said["evidence"] == [{"clause": "account.is_admin", "facts": {"account.is_admin": True}}]


def test_a_resolved_one_says_how_long_it_was_open() -> None:
    """In seconds; also when its rule has gone meanwhile."""
    done = finding(status=FindingStatus.RESOLVED, resolved_at=NOW, resolution=Resolution.RULE_RETIRED)
    ((note, _),) = route.of_events([Event(RESOLVED, done, was=F)], {}, [ALL], frozenset(), NOW)
    assert note.content["finding"]["open_for"] == 86400.0
    assert (note.content["finding"]["resolution"], note.content["finding"]["runbook"]) == ("rule retired", "")


# Ids


def test_ids_come_from_what_is_said() -> None:
    """The same cycle told twice (after a crash) makes the same ids, so that the outbox takes each once."""
    assert [n.id for n in told([opening()])] == [n.id for n in told([opening()])]
    assert told([opening()])[0].id == "e6f0af2b-e959-588b-8976-44b016c64259"


def test_what_differs_has_another_id() -> None:
    """Another receiver, reason, finding, opening or poll is another message."""
    done = Event(RESOLVED, finding(), was=F)
    several = [opening(), opening(who="bob"), opening(rule="other"), opening(source="other"), done]
    notes = [
        *told(several, [Route(("a", "b"))]),
        *told([opening()], [Route(("a",))], now=NOW + DAY),
        *told([opening()], [Route(("a",))], reopened=frozenset({SEEN})),
        *told([opening(opened_at=NOW)], [Route(("a",))]),
    ]  # fmt: skip
    assert len({n.id for n in notes}) == len({n.key for n in notes}) == len(notes) == 13


# The first whole poll


def test_the_first_whole_poll_is_one_message() -> None:
    """Worst first, with counts; exempt ones and those of drafts are not among what is told."""
    found = [
        finding("ann", severity=Severity.LOW), finding("bob", severity=Severity.CRITICAL), finding("cat"),
        finding("dan", verdict=X), finding("eve", draft=True),
    ]  # fmt: skip
    (note,) = route.baseline(found, {}, [ALL], "school", {"accounts": 5}, NOW)
    assert (note.receiver, note.reason) == ("all", Reason.BASELINE)
    assert note.content["title"] == "3 findings existed in school before we looked"
    assert [f["subject"]["id"] for f in note.content["findings"]] == ["bob", "cat", "ann"]
    assert list(note.content["counts"].items()) == [("critical", 1), ("high", 1), ("low", 1)]
    assert note.content["accounts"] == 5
    (again,) = route.baseline(found, {}, [ALL], "school", {}, NOW + DAY)
    assert again.id == note.id


def test_the_baseline_is_routed_like_any_finding() -> None:
    """Each receiver gets the list of what it would have heard; the last route hears even that there was none."""
    routes = [Route(("a", "b"), severity=("high",)), Route(("c",), severity=("low",)), ALL]
    notes = {n.receiver: n for n in route.baseline([finding()], {}, routes, "school", {}, NOW)}
    assert {r: len(n.content["findings"]) for r, n in notes.items()} == {"a": 1, "b": 1, "all": 0}
    assert notes["a"].content["title"] == "1 finding existed in school before we looked"
    assert notes["all"].content["title"] == "0 of the 1 findings that existed in school before we looked"


# Plain changes


def moved(who: str, field: str, before: Any, after: Any) -> Change:
    return Change(ChangeKind.CHANGED, Subject("account", who), field, before, after)


SUSPENDED, BACK = moved("ann", "status", "active", "suspended"), moved("bob", "status", "suspended", "active")
LEFT = Change(ChangeKind.REMOVED, Subject("account", "cat"), None, {"status": "active"}, None)


def test_changes_are_one_message_a_receiver() -> None:
    """With those changes alone that its route asks for; the first route that asks for a change takes it."""
    routes = [
        ALL, Route(("a", "b"), changes=("suspended",)), Route(("c",), changes=("suspended", "left")),
        Route(("d",), changes=("joined",)),
    ]  # fmt: skip
    notes = {n.receiver: n for n in route.of_changes([SUSPENDED, BACK, LEFT], routes, "school", NOW)}
    said = {r: [c["subject"]["id"] for c in n.content["changes"]] for r, n in notes.items()}
    assert said == {"a": ["ann"], "b": ["ann"], "c": ["cat"]}
    assert notes["a"].content["title"] == "1 change in school"
    assert notes["a"].content["changes"][0] == {
        "snapshot": None, "source": "school", "kind": "changed", "field": "status", "before": "active",
        "after": "suspended", "names": ["suspended"],
        "subject": {"kind": "account", "id": "ann", "email": None, "name": None},
    }  # fmt: skip


def test_changes_of_other_sources_are_not_told() -> None:
    """A route may ask for some sources only; without one that asks, the changes are not even read."""
    elsewhere = Route(("a",), source=("other",), changes=("suspended",))
    assert list(route.of_changes([SUSPENDED], [elsewhere, ALL], "school", NOW)) == []
    assert [n.receiver for n in route.of_changes([SUSPENDED], [elsewhere, ALL], "other", NOW)] == ["a"]
    unread = (1 / 0 for _ in range(1))
    assert list(route.of_changes(unread, [ALL], "school", NOW)) == []  # type: ignore[arg-type]  # must not be read


# A source that cannot be read


def snapshot(outcome: Outcome) -> Snapshot:
    scopes = (ScopeEnded("users", outcome, None if outcome is Outcome.COMPLETE else "page 3: HTTP 500"),)
    return Snapshot("school", outcome, NOW, NOW, scopes, Proof())


@pytest.mark.parametrize(
    ("before", "now", "title"),
    [
        (None, Outcome.COMPLETE, None),
        (None, Outcome.FAILED, "school could not be read: the poll failed"),
        ("complete", Outcome.COMPLETE, None),
        ("failed", Outcome.FAILED, None),
        ("complete", Outcome.PARTIAL, "school could not be read whole: the poll was partial"),
        ("partial", Outcome.FAILED, "school could not be read: the poll failed"),
        ("partial", Outcome.COMPLETE, "school can be read whole again"),
    ],
)
def test_an_outcome_is_told_when_it_moves(before: str | None, now: Outcome, title: str | None) -> None:
    """Once when it breaks, with the cause, and once when it is whole again."""
    notes = list(route.of_outcome(before, snapshot(now), [ALL], NOW))
    assert [n.content["title"] for n in notes] == ([title] if title else [])
    for note in notes:
        assert note.content["detail"] == ([] if now is Outcome.COMPLETE else ["users: page 3: HTTP 500"])


# Nothing is lost

_some = st.lists(st.sampled_from(["low", "high", "critical"]), max_size=2).map(tuple)
_routes = st.builds(
    Route,
    to=st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True).map(tuple),
    severity=_some,
    rule=st.lists(st.sampled_from(["idle-*", "x"]), max_size=1).map(tuple),
    source=st.lists(st.sampled_from(["school", "other"]), max_size=1).map(tuple),
    tag=st.lists(st.sampled_from(["t", "s"]), max_size=1).map(tuple),
    changes=st.lists(st.sampled_from(["left", "suspended"]), max_size=1).map(tuple),
)
_findings = st.builds(
    finding,
    who=st.sampled_from(["ann", "bob"]),
    rule=st.sampled_from(["idle-admin", "y"]),
    severity=st.sampled_from(Severity),
    source=st.sampled_from(["school", "other"]),
)


@given(st.lists(_routes, max_size=4), st.lists(_routes, max_size=2), _findings)
def test_no_finding_is_left_without_a_receiver(before: list[Route], behind: list[Route], found: Finding) -> None:
    """With any routes around the one that matches all, what is worth saying is said, once to each receiver."""
    routes = [*before, ALL, *(replace_changes(r) for r in behind)]
    notes = told([Event(OPEN, found), Event(RESOLVED, replace(found, resolved_at=NOW), was=F)], routes)
    assert {n.reason for n in notes} == {Reason.OPENED, Reason.RESOLVED}
    assert len({n.id for n in notes}) == len(notes)
    listed = list(route.baseline([found], {}, routes, found.source, {}, NOW))
    assert any(n.content["findings"] for n in listed)


def replace_changes(one: Route) -> Route:
    """Behind the route that matches all, only routes of changes may follow."""
    return one._replace(changes=one.changes or ("joined",))


# Storms


@given(st.integers(1, 8), st.integers(1, 8))
def test_more_than_the_limit_is_one_message(number: int, limit: int) -> None:
    """Each finding stands either in a message of its own or in the one list, never in both, never in none."""
    notes = told([opening(who=f"u{i}") for i in range(number)], storm_limit=limit)
    alone = [n.content["finding"]["subject"]["id"] for n in notes if n.reason is Reason.OPENED]
    listed = [f["subject"]["id"] for n in notes if n.reason is Reason.STORM for f in n.content["findings"]]
    assert sorted(alone + listed) == sorted(f"u{i}" for i in range(number))
    assert len(notes) == (1 if number > limit else number)


def test_a_storm_of_one_rule_holds_up_no_other() -> None:
    """Nor another reason of the same rule; each receiver gets the list of what is routed to it."""
    high, low = Route(("high",), severity=("high",)), Route(("rest",))
    events = [
        *(opening(who=f"u{i}") for i in range(3)), opening(who="slow", severity=Severity.LOW),
        opening(who="other", rule="other"), Event(EventKind.RESOLVED, finding("gone", status=FindingStatus.RESOLVED)),
    ]  # fmt: skip
    notes = told(events, (high, low), storm_limit=2)
    said = {(n.receiver, n.reason.value, len(n.content.get("findings", [1]))) for n in notes}
    assert said == {("high", "storm", 3), ("rest", "storm", 1), ("high", "opened", 1), ("high", "resolved", 1)}


def moves(kind: EventKind, was: Verdict | None = None, by: str | None = None, **how: Any) -> Event:
    return Event(kind, replace(finding(), id=7, **how), by=by, was=was)


UPDATES = [
    ("acknowledged", moves(EventKind.ACKNOWLEDGED, by="ann", status=FindingStatus.ACKNOWLEDGED),
     ["acknowledged by ann"]),
    ("exempt", moves(EventKind.VERDICT, F, verdict=Verdict.EXEMPT, exempt_until=NOW), [f"exempt until {NOW:%Y-%m-%d}"]),
    ("unknown", moves(EventKind.VERDICT, F, verdict=U), []),
    ("an edited rule", moves(EventKind.EDITED), []),
    ("less grave", moves(EventKind.SEVERITY_LOWERED)._replace(detail="severity lowered"), ["severity lowered"]),
    ("told as graver", moves(EventKind.SEVERITY_RAISED), []),
    ("told as resolved", moves(RESOLVED, F, status=FindingStatus.RESOLVED), []),
    ("over while exempt", moves(RESOLVED, Verdict.EXEMPT, status=FindingStatus.RESOLVED, resolution=Resolution.GONE,
                                resolution_detail="no longer there"), ["gone: no longer there"]),
    ("a draft", moves(EventKind.ACKNOWLEDGED, by="ann", draft=True), []),
]  # fmt: skip


@pytest.mark.parametrize(("name", "event", "said"), UPDATES, ids=[u[0] for u in UPDATES])
def test_what_a_living_message_shows(name: str, event: Event, said: list[str]) -> None:
    """What is told anyway is not said twice; what has no message gets none."""
    notes = [n for n, _ in route.of_updates([event], {}, frozenset(), {7: ["slack"], 8: ["other"]}, NOW)]
    assert [(n.receiver, n.reason, n.content["happened"]) for n in notes] == [
        ("slack", Reason.UPDATED, line) for line in said
    ]


def test_many_resolved_at_once_are_shown_as_over() -> None:
    """One message tells of all; the living message of each shows its end."""
    events = [moves(RESOLVED, F, status=FindingStatus.RESOLVED) for _ in range(3)]

    def updates(limit: int) -> int:
        return len(list(route.of_updates(events, {}, frozenset(), {7: ["slack"]}, NOW, limit)))

    assert (updates(2), updates(3)) == (3, 0)
