"""Findings: what opens, what goes on, and that nothing ends without proof."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.reconcile import ACTIVATED, acknowledged, fingerprint, reconcile
from monitor.domain.finding import Event, EventKind, Evidence, Finding, FindingStatus, Judgement, Resolution
from monitor.domain.observed import Subject
from monitor.domain.rule import Closes, Rule, RuleStatus, Severity, Verdict

NOW = datetime(2026, 6, 15, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ANN = Subject("account", "ann", "ann@example.test", "Ann")
F, X, N, U, E = Verdict.FINDING, Verdict.EXEMPT, Verdict.NOTHING, Verdict.UNKNOWN, Verdict.ERROR


def rule(id: str = "some-rule", **more: Any) -> Rule:
    fixed: dict[str, Any] = {
        "title": "wrong", "severity": Severity.HIGH, "status": RuleStatus.ACTIVE, "owner": "it@example.com",
        "for_each": "account", "match": ("account.is_admin",), "description": "Wrong.", "runbook": "1. Mend it.",
        "digest": "d1", "fix_within": 2 * DAY, "tags": ("t",),
    }  # fmt: skip
    return Rule(id=id, **(fixed | more))


RULE = rule()


def judged(verdict: Verdict, subject: Subject = ANN, rule_id: str = "some-rule", why: str = "because") -> Judgement:
    until = NOW + 9 * DAY if verdict is X else None
    evidence = (Evidence("account.is_admin", {"account.is_admin": True}),)
    return Judgement(rule_id, subject, verdict, evidence, "Ann is wrong", why if verdict is not F else "", until)


def step(
    existing: Iterable[Finding], judgements: Iterable[Judgement], rules: Sequence[Rule] = (RULE,),
    removed: Iterable[tuple[str, str]] = (), *, may_close: bool = True, now: datetime = NOW, baseline: bool = False,
) -> list[Event]:  # fmt: skip
    by_id = {r.id: r for r in rules}
    return list(
        reconcile(
            existing,
            judgements,
            by_id,
            removed,
            lambda _rule, _judgement: may_close,
            source="school",
            now=now,
            baseline=baseline,
        )
    )


def opened(verdict: Verdict = F, by: Rule = RULE, subject: Subject = ANN, at: datetime = NOW - DAY) -> Finding:
    (event,) = step([], [judged(verdict, subject, by.id)], [by], now=at)
    return replace(event.finding, id=1)


# Owners


@pytest.mark.parametrize(
    ("named", "owner"),
    [
        (("boss@example.com", "source.owner"), "boss@example.com"),
        (("source.owner", "boss@example.com"), "school@x.org"),
        (("source.owner",), "school@x.org"), ((), "it@example.com"),
    ],
)  # fmt: skip
def test_each_finding_has_its_own_owner(named: tuple[str, ...], owner: str) -> None:
    """The first who is named: by a fact, or as the source's; else the rule's."""
    asking = rule(owner_from=("person.manager", "source.owner"))
    said = judged(F)._replace(owners=named)
    (event,) = reconcile(
        [], [said], {asking.id: asking}, (), lambda *_: True, source="school", now=NOW, baseline=False,
        source_owner="school@x.org",
    )  # fmt: skip
    assert event.finding.owner == owner


def test_an_owner_stays_while_nobody_says_who_it_is() -> None:
    """An authority that was not read is no new owner."""
    asking = rule(owner_from=("person.manager",))
    old = replace(opened(by=asking), owner="boss@example.com")
    assert step([old], [judged(F)], [asking]) == []
    (event,) = step([old], [judged(F)._replace(owners=("other@example.com",))], [asking])
    assert (event.kind, event.finding.owner) == (EventKind.EDITED, "other@example.com")


# Opening


@pytest.mark.parametrize("verdict", [F, X])
def test_what_holds_is_opened(verdict: Verdict) -> None:
    """With all that is known of it: from the judgement, from the rule, and when it is due. Exempt ones count, too."""
    (event,) = step([], [judged(verdict)], baseline=True)
    found = event.finding
    assert (event.kind, found.status, found.verdict) == (EventKind.OPENED, FindingStatus.OPEN, verdict)
    assert (found.rule, found.source, found.subject, found.title) == ("some-rule", "school", ANN, "Ann is wrong")
    assert (found.severity, found.owner, found.tags) == (Severity.HIGH, "it@example.com", ("t",))
    assert (found.opened_at, found.due_at, found.closes_at) == (NOW, NOW + 2 * DAY, None)
    assert found.evidence == (Evidence("account.is_admin", {"account.is_admin": True}),)
    assert (found.baseline, found.draft, found.rule_digest) == (True, False, "d1")
    assert found.exempt_until == (NOW + 9 * DAY if verdict is X else None)


@pytest.mark.parametrize("verdict", [N, U, E])
def test_what_does_not_hold_opens_nothing(verdict: Verdict) -> None:
    """A nothing, an unknown and a failing rule accuse nobody."""
    assert step([], [judged(verdict)]) == []


def test_findings_of_drafts_and_of_events_are_marked() -> None:
    """A draft's finding is not sent; that of an event knows when it is old enough to end."""
    assert opened(by=rule(status=RuleStatus.DRAFT)).draft
    assert opened(by=rule(closes=Closes(True, 14 * DAY))).closes_at == NOW + 13 * DAY
    assert opened(by=rule(fix_within=None)).due_at is None


# What becomes of an open finding: the judgement, what else is different, and the resolution with its detail.

EVENT = rule(closes=Closes(acknowledged=True, after=14 * DAY))
ENDS: list[tuple[str, Rule, Rule | None, Verdict | None, bool, int, Resolution | None, str]] = [
    # name, rule when opened, rule now, verdict now, vanished, days open, resolution, detail
    ("a clause stopped holding", RULE, RULE, N, False, 1, Resolution.FIXED, "no longer holds: because"),
    ("the subject is gone", RULE, RULE, None, True, 1, Resolution.GONE, "the account no longer exists"),
    ("an event is told and old", EVENT, EVENT, N, False, 14, Resolution.AGED_OUT,
     "an event of 2026-06-01: told, and old enough"),
    ("an event ended before it was old", EVENT, EVENT, N, False, 13, Resolution.FIXED, "no longer holds: because"),
    ("a clause was edited", RULE, rule(digest="d2"), N, False, 1, Resolution.RULE_CHANGED,
     "some-rule was edited, and this does not hold by its new text"),
    ("the rule is about groups now", RULE, rule(digest="d2", for_each="group"), None, False, 1,
     Resolution.RULE_CHANGED, "some-rule was edited, and is about each group now"),
    ("the rule was retired", RULE, rule(status=RuleStatus.RETIRED), None, False, 1, Resolution.RULE_RETIRED,
     "some-rule is no longer in force"),
    ("the rule's file is gone", RULE, None, None, False, 1, Resolution.RULE_RETIRED,
     "some-rule is no longer in force"),
    ("only words of the rule were edited", RULE, rule(title="other", runbook="1. Ask."), N, False, 1,
     Resolution.FIXED, "no longer holds: because"),
    ("it still holds", RULE, RULE, F, False, 1, None, ""),
    ("nobody can say", RULE, RULE, U, False, 1, None, ""),
    ("the rule fails", RULE, RULE, E, False, 1, None, ""),
    ("it was not judged", RULE, RULE, None, False, 1, None, ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("before", "after", "verdict", "vanished", "days", "how", "detail"), [e[1:] for e in ENDS], ids=[e[0] for e in ENDS]
)
@pytest.mark.parametrize("was", [F, X, U])
@pytest.mark.parametrize("seen", [False, True])
def test_how_a_finding_ends(
    before: Rule, after: Rule | None, verdict: Verdict | None, vanished: bool, days: int, how: Resolution | None,
    detail: str, was: Verdict, seen: bool,
) -> None:  # fmt: skip
    """Each resolution with its reason, whatever the verdict was before, and also when somebody had seen it."""
    old = replace(opened(by=before, at=NOW - days * DAY), verdict=was)
    old = acknowledged(old, None, "ann", NOW).finding if seen else old
    events = step(
        [old], [judged(verdict)] if verdict else [], [after] if after else [], [("account", "ann")] if vanished else []
    )
    if how is None:
        assert [e for e in events if e.finding.status is not old.status] == []
        return
    (event,) = events
    assert (event.kind, event.was, event.detail) == (EventKind.RESOLVED, was, detail)
    assert (event.finding.status, event.finding.verdict) == (FindingStatus.RESOLVED, N)
    assert (event.finding.resolution, event.finding.resolution_detail) == (how, detail)
    assert (event.finding.resolved_at, event.finding.opened_at) == (NOW, old.opened_at)


@pytest.mark.parametrize("verdict", [U, E, None])
def test_unknown_closes_nothing_even_when_the_rule_was_edited(verdict: Verdict | None) -> None:
    """A new clause on a fact that the source does not report proves nothing."""
    events = step([opened()], [judged(verdict)] if verdict else [], [rule(digest="d2")])
    assert [e for e in events if e.kind is EventKind.RESOLVED] == []


@pytest.mark.parametrize("verdict", [F, X, N, U, E, None])
def test_a_broken_scope_closes_nothing(verdict: Verdict | None) -> None:
    """Unless everything that the rule reads was read whole, no verdict ends a finding."""
    events = step([opened()], [judged(verdict)] if verdict else [], may_close=False)
    assert [e for e in events if e.kind is EventKind.RESOLVED] == []


def test_only_the_one_that_vanished_is_gone() -> None:
    """Kind and id both count: a group may have the id of an account."""
    old = opened()
    assert step([old], [], removed=[("account", "bob"), ("group", "ann")]) == []


# What goes on


MOVES: list[tuple[Verdict, Verdict, bool]] = [
    (F, F, False), (F, X, True), (F, U, True), (F, E, False),
    (X, X, False), (X, F, True), (X, U, True), (X, E, False),
    (U, U, False), (U, F, True), (U, X, True), (U, E, False),
]  # fmt: skip


@pytest.mark.parametrize(("was", "now", "moves"), MOVES)
def test_a_verdict_that_moves_is_an_event(was: Verdict, now: Verdict, moves: bool) -> None:
    """The finding stays open under its old date; a failing rule leaves the verdict as it was."""
    old = replace(opened(X if was is X else F), verdict=was)
    events = step([old], [judged(now)])
    assert len(events) == moves
    for event in events:
        assert (event.kind, event.was, event.finding.verdict) == (EventKind.VERDICT, was, now)
        assert (event.finding.status, event.finding.opened_at) == (FindingStatus.OPEN, old.opened_at)


def test_a_longer_exemption_is_an_event() -> None:
    """Until when something is allowed belongs to the record."""
    (event,) = step([opened(X)], [judged(X)._replace(exempt_until=NOW + 20 * DAY)])
    assert (event.kind, event.finding.exempt_until) == (EventKind.VERDICT, NOW + 20 * DAY)


@pytest.mark.parametrize(
    "edit",
    [{"owner": "hr@example.com"}, {"status": RuleStatus.DRAFT}, {"digest": "d2"}],
    ids=str,
)
def test_an_edited_rule_is_told_once(edit: dict[str, Any]) -> None:
    """What still holds takes the rule's new severity, owner, status and digest; the next poll has nothing to add."""
    edited = rule(**edit)
    (event,) = step([opened()], [judged(F)], [edited])
    found = event.finding
    assert event.kind is EventKind.EDITED
    assert (found.severity, found.owner, found.rule_digest) == (edited.severity, edited.owner, edited.digest)
    assert found.draft is (edited.status is RuleStatus.DRAFT)
    assert step([found], [judged(F)], [edited]) == []


@pytest.mark.parametrize(
    ("to", "kind", "detail"),
    [
        (Severity.CRITICAL, EventKind.SEVERITY_RAISED, "severity raised from high to critical"),
        (Severity.LOW, EventKind.SEVERITY_LOWERED, "severity lowered from high to low"),
    ],
)  # fmt: skip
def test_another_severity_is_said_once(to: Severity, kind: EventKind, detail: str) -> None:
    """With both; also when it was unknown, or its owner moved as well. It is asked for anew when it is graver."""
    edited = rule(severity=to, owner="hr@example.com", digest="d2")
    (event,) = step([opened()], [judged(F)], [edited])
    assert (event.kind, event.detail, event.finding.severity) == (kind, detail, to)
    assert event.asks is (to is Severity.CRITICAL)
    assert step([event.finding], [judged(F)], [edited]) == []
    unknown = replace(opened(), verdict=U)
    assert [e.kind for e in step([unknown], [judged(F)], [edited])] == [EventKind.VERDICT, kind]


@pytest.mark.parametrize("now", [F, X])
def test_what_is_told_anyway_says_its_severity_itself(now: Verdict) -> None:
    """An exemption that began or ended is one step, whatever the rule's new severity is; and so is a draft's end."""
    edited = rule(severity=Severity.CRITICAL, digest="d2")
    (event,) = step([opened(F if now is X else X)], [judged(now)], [edited])
    assert (event.kind, event.finding.severity) == (EventKind.VERDICT, Severity.CRITICAL)
    (event,) = step([opened(by=rule(status=RuleStatus.DRAFT))], [judged(F)], [edited])
    assert (event.kind, event.detail) == (EventKind.EDITED, ACTIVATED)


def test_a_finding_that_held_by_the_new_text_is_fixed() -> None:
    """It was confirmed after the edit, so its end is the subject's doing and not the rule's."""
    edited = rule(digest="d2")
    (event,) = step([opened()], [judged(F)], [edited])
    (end,) = step([event.finding], [judged(N)], [edited])
    assert end.finding.resolution is Resolution.FIXED


@pytest.mark.parametrize("was", [F, X, U])
def test_a_rule_that_is_no_draft_any_longer_says_so(was: Verdict) -> None:
    """Its findings were recorded and not told: this is when they are, also when the verdict moves with it."""
    draft = rule(status=RuleStatus.DRAFT)
    old = replace(opened(X if was is X else F, by=draft), verdict=was)
    (event,) = step([old], [judged(F)])
    assert (event.kind, event.detail, event.finding.draft) == (EventKind.EDITED, ACTIVATED, False)
    assert step([event.finding], [judged(F)]) == []


def test_an_exemption_is_remembered_through_an_unknown() -> None:
    """Nobody was told of an exempt finding: when it is known again and not exempt, somebody has to be."""
    (event,) = step([opened(X)], [judged(U)])
    (again,) = step([event.finding], [judged(F)])
    assert (again.kind, again.was, again.finding.exempt_until) == (EventKind.VERDICT, X, None)
    (end,) = step([event.finding], [judged(N)])
    assert end.was is X


# Acknowledging


def test_acknowledged_work_stays_work() -> None:
    """Somebody has seen it; it ends when it is fixed."""
    event = acknowledged(opened(), RULE, "bob", NOW)
    assert (event.kind, event.by, event.finding.status) == (EventKind.ACKNOWLEDGED, "bob", FindingStatus.ACKNOWLEDGED)
    assert (event.finding.acknowledged_by, event.finding.acknowledged_at) == ("bob", NOW)
    assert step([event.finding], [judged(F)]) == []
    (end,) = step([event.finding], [judged(N)])
    assert end.finding.resolution is Resolution.FIXED


@pytest.mark.parametrize("closes", [Closes(acknowledged=True), Closes(acknowledged=True, after=14 * DAY)])
def test_an_acknowledged_event_is_over(closes: Closes) -> None:
    """A rule that tells of an event is done when somebody has heard of it."""
    by = rule(closes=closes)
    found = acknowledged(opened(by=by), by, "bob", NOW).finding
    assert (found.status, found.resolution) == (FindingStatus.RESOLVED, Resolution.ACKNOWLEDGED)
    assert (found.resolved_at, found.resolution_detail) == (NOW, "acknowledged by bob")
    assert found.verdict is F


@pytest.mark.parametrize("verdict", [F, X, U, E, None])
def test_what_was_closed_by_hand_stays_closed_while_it_holds(verdict: Verdict | None) -> None:
    """Or while nobody can say: otherwise the same event would be told at every poll."""
    done = acknowledged(opened(by=EVENT), EVENT, "bob", NOW).finding
    assert step([done], [judged(verdict)] if verdict else [], [EVENT]) == []


@pytest.mark.parametrize(
    ("verdicts", "rules", "removed"),
    [
        ([N], [EVENT], []),
        ([], [EVENT], [("account", "ann")]),
        ([], [], []),
        ([], [rule(for_each="group")], []),
    ],
    ids=["stopped holding", "gone", "no rule", "another kind"],
)
def test_what_was_closed_by_hand_may_open_again_after_it_stopped(
    verdicts: list[Verdict], rules: list[Rule], removed: list[tuple[str, str]]
) -> None:
    """Its verdict becomes nothing, silently; the next time it holds is a new finding."""
    done = acknowledged(opened(by=EVENT), EVENT, "bob", NOW).finding
    (event,) = step([done], [judged(v) for v in verdicts], rules, removed)
    assert (event.kind, event.was, event.finding.verdict) == (EventKind.VERDICT, F, N)
    assert (event.finding.status, event.finding.resolution) == (FindingStatus.RESOLVED, Resolution.ACKNOWLEDGED)


# Fingerprints


def test_a_fingerprint_holds_nothing_volatile() -> None:
    """A new e-mail, name, title or severity is no new finding; another rule, source, kind or id is."""
    mark = fingerprint("r", "school", ANN)
    assert fingerprint("r", "school", Subject("account", "ann", "new@example.test", None)) == mark
    others = {
        fingerprint("r2", "school", ANN), fingerprint("r", "other", ANN),
        fingerprint("r", "school", Subject("group", "ann")), fingerprint("r", "school", Subject("account", "bob")),
        fingerprint("rs", "chool", ANN),
    }  # fmt: skip
    assert len(others | {mark}) == 6


def test_fingerprints_do_not_move_between_versions() -> None:
    """They stand in databases, messages and tickets: this one must be the same for ever."""
    assert fingerprint("some-rule", "school", ANN) == "0358f8c617cdeb0c9c648a5dde2db75d"


# Over many polls

SUBJECTS = [Subject("account", i) for i in ("ann", "bob", "cat")] + [Subject("group", "g1")]
_rules = st.fixed_dictionaries(
    {
        "status": st.sampled_from(RuleStatus),
        "severity": st.sampled_from(Severity),
        "owner": st.sampled_from(["it@example.com", "hr@example.com"]),
        "digest": st.sampled_from(["d1", "d2"]),
        "for_each": st.sampled_from(["account", "group"]),
        "closes": st.sampled_from([Closes(), Closes(True), Closes(True, 3 * DAY)]),
    }
)


@st.composite
def polls(draw: st.DrawFn) -> tuple[list[Rule], list[Judgement], list[tuple[str, str]], bool]:
    """A rule set, what it says of subjects as the line would ask it, who vanished, and whether all was read."""
    rules = [rule(i, **draw(_rules)) for i in draw(st.sets(st.sampled_from(["r1", "r2"])))]
    gone = draw(st.sets(st.sampled_from(SUBJECTS), max_size=1))
    said = [
        judged(verdict, s, r.id)
        for r in rules
        for s in SUBJECTS
        if s.kind == r.for_each and s not in gone and r.status is not RuleStatus.RETIRED
        for verdict in [draw(st.sampled_from([F, F, X, N, U, E, None]))]
        if verdict is not None
    ]
    return rules, said, [(s.kind, s.id) for s in gone], draw(st.booleans())


def after(existing: Sequence[Finding], events: Sequence[Event]) -> list[Finding]:
    """What the store hands to the next poll: what is unresolved, and what was closed by hand and holds on."""
    now = {f.fingerprint: f for f in existing} | {e.finding.fingerprint: e.finding for e in events}
    by_hand = (Resolution.ACKNOWLEDGED, Resolution.FALSE_ALARM)
    return [
        f for f in now.values()
        if f.status is not FindingStatus.RESOLVED or (f.resolution in by_hand and f.verdict is not N)
    ]  # fmt: skip


@given(st.lists(polls(), min_size=1, max_size=5), st.data())
def test_reconciling_twice_the_same_does_nothing(line: list[Any], data: st.DataObject) -> None:
    """After any polls and acknowledgements: what was just recorded is not recorded, and so not told, again."""
    state: list[Finding] = []
    for number, (rules, said, gone, whole) in enumerate(line):
        now = NOW + number * DAY
        events = step(state, said, rules, gone, may_close=whole, now=now)
        marks = [e.finding.fingerprint for e in events]
        assert len(marks) == len(set(marks))
        assert {e.finding.fingerprint for e in events if e.kind is EventKind.OPENED}.isdisjoint(
            f.fingerprint for f in state
        )
        state = after(state, events)
        assert step(state, said, rules, gone, may_close=whole, now=now) == []
        for found in state:
            if found.status is FindingStatus.OPEN and data.draw(st.booleans()):
                by_id = {r.id: r for r in rules}
                state = after(state, [acknowledged(found, by_id.get(found.rule), "bob", now)])
