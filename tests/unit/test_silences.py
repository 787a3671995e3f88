"""What a silence mutes, and what becomes of findings when silences begin and end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide.fits import fits, misses
from monitor.decide.silences import in_force, moves, muting, state, told_silenced, warn_at
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus
from monitor.domain.matcher import Matcher
from monitor.domain.observed import Subject
from monitor.domain.rule import Rule, RuleStatus, Severity, Verdict
from monitor.domain.silence import Silence, SilenceState

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
RULE = Rule(
    "idle-admin", "t", Severity.HIGH, RuleStatus.ACTIVE, "it@example.com", "account", (), "", "",
    controls={"soc2": ("CC6.3",)}, file="rules/deprovisioning/admins/idle-admin.toml",
)  # fmt: skip
RULES = {RULE.id: RULE}
FOUND = Finding(
    "f" * 32, "idle-admin", "t", Severity.HIGH, FindingStatus.OPEN, Verdict.FINDING, "school",
    Subject("account", "a1", "Ann@Example.com", "Ann Bee"), "it@example.com", NOW, None, (), "", 1,
    tags=("t", "u"), id=1,
)  # fmt: skip
GRANT = replace(FOUND, subject=Subject("grant", "a1 member g1", "ann@example.com"))


def silence(begins: int = -1, lasts: int = 2, number: int = 1, **named: tuple[str, ...]) -> Silence:
    starts = NOW + begins * HOUR
    return Silence(Matcher(**named), "ann", "moving", starts, starts + lasts * HOUR, id=number)


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({}, True), ({"severity": ("high",)}, True), ({"severity": ("low", "medium")}, False),
        ({"rule": ("idle-*",)}, True), ({"rule": ("idle",)}, False), ({"rule": ("IDLE-*",)}, False),
        ({"pack": ("deprovisioning",)}, True), ({"pack": ("deprovisioning/admins",)}, True),
        ({"pack": ("admins",)}, False), ({"source": ("scho*",)}, True), ({"source": ("scho",)}, False),
        ({"tag": ("u",)}, True), ({"tag": ("v",)}, False),
        ({"owner": ("IT@example.com",)}, True), ({"owner": ("*@example.org",)}, False),
        ({"control": ("CC6.*",)}, True), ({"control": ("soc2:CC6.3",)}, True), ({"control": ("iso27001:*",)}, False),
        ({"subject": ("a1",)}, True), ({"subject": ("ann@example.com",)}, True), ({"subject": ("ann bee",)}, True),
        ({"subject": ("a2",)}, False), ({"fingerprint": ("f" * 32,)}, True), ({"fingerprint": ("e" * 32,)}, False),
        ({"severity": ("high",), "source": ("school",)}, True), ({"severity": ("high",), "source": ("x",)}, False),
    ],
)  # fmt: skip
def test_all_that_is_named_must_fit(named: dict[str, tuple[str, ...]], expected: bool) -> None:
    """And what does not is said."""
    assert fits(Matcher(**named), FOUND, RULE) is expected
    assert bool(list(misses(Matcher(**named), FOUND, RULE))) is not expected


def test_a_finding_whose_rule_is_gone_has_no_pack_and_no_controls() -> None:
    """Only its own columns are left to go by."""
    assert fits(Matcher(rule=("idle-*",)), FOUND, None)
    assert list(misses(Matcher(pack=("*",), control=("*",)), FOUND, None)) == [
        "pack is none, not *", "control is none, not *",
    ]  # fmt: skip


def test_a_grant_is_known_by_its_account_as_well() -> None:
    """Whoever silences an account means what it holds, too."""
    assert fits(Matcher(subject=("a1",)), GRANT, RULE)
    assert fits(Matcher(subject=("a1 member g1",)), GRANT, RULE)


def test_a_silence_has_a_beginning_and_an_end() -> None:
    """The end itself is no longer muted."""
    states = [state(silence(begins, 2), NOW) for begins in (1, 0, -1, -2)]
    assert states == [SilenceState.PLANNED, SilenceState.ACTIVE, SilenceState.ACTIVE, SilenceState.OVER]


def test_the_longest_silence_counts() -> None:
    """A short one beside it ends nothing."""
    short, long = silence(lasts=2, number=1), silence(lasts=9, number=2)
    assert muting(FOUND, [short, long], RULES) is long
    assert muting(FOUND, [silence(rule=("other",))], RULES) is None


def test_findings_move_only_when_their_silence_does() -> None:
    """Muted, muted for longer, told again; and nothing while nothing moves."""
    short, long = silence(lasts=2), silence(lasts=9)
    (muted,) = moves([FOUND], [short], RULES)
    assert (muted.kind, muted.finding.silenced_until, muted.by) == (EventKind.SILENCED, short.ends, "ann")
    assert muted.detail == "silenced until 2026-03-01 13:00 UTC by ann: moving"
    assert list(moves([muted.finding], [short], RULES)) == []
    (longer,) = moves([muted.finding], [short, long], RULES)
    assert (longer.kind, longer.finding.silenced_until) == (EventKind.SILENCED, long.ends)
    (ended,) = moves([longer.finding], [], RULES)
    assert (ended.kind, ended.finding.silenced_until) == (EventKind.SILENCE_ENDED, None)


def test_what_is_over_is_not_moved() -> None:
    """Its record says until when it was silenced."""
    over = replace(FOUND, status=FindingStatus.RESOLVED, silenced_until=NOW)
    assert list(moves([over], [silence()], RULES)) == []


def test_a_finding_may_open_in_silence() -> None:
    """The one event says both."""
    (event,) = told_silenced([Event(EventKind.OPENED, FOUND)], [silence()], RULES)
    assert event.finding.silenced_until == NOW + HOUR
    assert event.detail == "silenced until 2026-03-01 13:00 UTC by ann: moving"
    assert list(moves([event.finding], [silence()], RULES)) == []


@pytest.mark.parametrize(("hours", "before"), [(48, HOUR), (4, HOUR), (2, HOUR / 2), (1, HOUR / 4)])
def test_a_short_silence_is_warned_of_late(hours: int, before: timedelta) -> None:
    """Or each snooze for an hour would be warned of as it begins."""
    given = silence(begins=0, lasts=hours)
    assert warn_at(given, HOUR) == given.ends - before


@given(
    st.lists(st.tuples(st.integers(-5, 5), st.integers(1, 6)), max_size=6),
    st.lists(st.integers(-6, 12), min_size=1, max_size=8),
)
def test_whenever_it_is_looked_at_a_finding_is_as_its_silences_say(
    spans: list[tuple[int, int]], looks: list[int]
) -> None:
    """However many looks were missed: afterwards it is muted until the latest end, or was told once since."""
    silences, found, told = [silence(*span, number=i) for i, span in enumerate(spans)], FOUND, 0
    for hour in sorted(looks):
        active = in_force(silences, NOW + hour * HOUR)
        was = found.silenced_until
        for event in moves([found], active, RULES):
            found = event.finding
            told += event.kind is EventKind.SILENCE_ENDED
            assert (event.kind is EventKind.SILENCE_ENDED) == (was is not None and not active)
        assert found.silenced_until == max((s.ends for s in active), default=None)
        assert list(moves([found], active, RULES)) == []
    assert told <= len(spans)
