"""What is told together: who belongs to a group, and what its message says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.decide import present, route
from monitor.decide.group import title, told_together
from monitor.decide.hours import opening
from monitor.domain.company import BusinessHours
from monitor.domain.finding import Event, EventKind, Finding, FindingStatus, Resolution
from monitor.domain.message import Group, Notification, Reason, Route
from monitor.domain.observed import Subject, grant_id
from monitor.domain.rule import Severity
from tests.unit.test_route import DAY, NOW, RULE, finding, told

NAMES = ("severity", "rule", "source", "pack", "owner", "subject")
BY_RULE = Route(("desk",), group_by=("rule",), group_wait=timedelta(minutes=5))
GROUP = Group((("rule", "idle-admin"),), id="g1")
FINDINGS = st.builds(
    finding, st.sampled_from(["ann", "bo", "cy"]), st.sampled_from(["idle-admin", "other"]),
    st.sampled_from(list(Severity)), st.sampled_from(["school", "hr"]),
    owner=st.sampled_from(["it@example.com", "IT@example.com", "hr@example.com"]),
)  # fmt: skip


@given(FINDINGS, FINDINGS, st.lists(st.sampled_from(NAMES), min_size=1, unique=True))
def test_findings_are_told_together_when_all_that_is_named_is_the_same(
    one: Finding, other: Finding, by: list[str]
) -> None:
    """And never one that is critical; nothing else of them counts."""
    rules = {"idle-admin": replace(RULE, file="rules/integrity/idle-admin.toml"), "other": RULE}
    found = [route.groups(f, [Route(("desk",), group_by=tuple(by))], rules[f.rule], NOW) for f in (one, other)]
    assert [bool(g) for g in found] == [f.severity is not Severity.CRITICAL for f in (one, other)]
    same = {
        "severity": one.severity == other.severity, "rule": one.rule == other.rule,
        "source": one.source == other.source, "pack": one.rule == other.rule,
        "owner": one.owner.casefold() == other.owner.casefold(),
        "subject": (one.subject, one.source) == (other.subject, other.source),
    }  # fmt: skip
    if all(found):
        assert (found[0] == found[1]) == all(same[name] for name in by)


def test_a_grant_goes_with_its_account() -> None:
    grant = replace(finding(), subject=Subject("grant", grant_id("ann", "member", "g"), "ann@example.test", "Ann"))
    routes = [Route(("desk",), group_by=("subject",))]
    of_grant, of_ann, of_bo = (route.groups(f, routes, None, NOW) for f in (grant, finding("ann"), finding("bo")))
    assert of_grant == of_ann != of_bo


def test_the_first_route_that_names_a_receiver_says_how_it_waits() -> None:
    routes = [Route(("a",), go_on=True), BY_RULE._replace(to=("a", "b"))]
    assert set(route.groups(finding(), routes, None, NOW)) == {"b"}
    assert set(route.groups(finding(), [r._replace(go_on=True) for r in routes[::-1]], None, NOW)) == {"a", "b"}


HOURS = BusinessHours(UTC, opens=time(9), closes=time(17))


@given(
    FINDINGS, st.integers(0, 14 * 24 * 60).map(lambda minutes: NOW + timedelta(minutes=minutes)),
    st.sampled_from([(), ("rule",)]), st.booleans(),
)  # fmt: skip
def test_what_may_wait_is_told_in_business_hours(
    found: Finding, now: datetime, by: tuple[str, ...], waits: bool
) -> None:
    """Where a route says so; with others, or by itself. What comes within them waits for nothing else."""
    one = Route(("desk",), group_by=by, group_wait=timedelta(minutes=5), hours=HOURS if waits else None)
    group = route.groups(found, [one], None, now).get("desk")
    told_at = now + (group.wait if group else timedelta())
    if found.severity is Severity.CRITICAL:
        assert told_at == now
    elif waits:
        assert opening(HOURS, told_at) == told_at
        assert told_at == opening(HOURS, now + (timedelta(minutes=5) if by else timedelta()))
    else:
        assert told_at == now + (timedelta(minutes=5) if by else timedelta())


def test_only_what_opens_may_wait() -> None:
    """What comes later is told where the finding was told first."""
    (opened,) = told([Event(EventKind.OPENED, finding())], [BY_RULE])
    (resolved,) = told([Event(EventKind.RESOLVED, finding())], [BY_RULE])
    assert (opened.group is None, resolved.group) == (False, None)


def note(found: Finding, reason: Reason = Reason.OPENED) -> Notification:
    content = {"finding": present.told(found, RULE)}
    said = route.notification("desk", reason, f"{found.fingerprint}{reason}", found.title, found.source, NOW, content)
    return replace(said, group=GROUP, finding_id=found.id)


def over(found: Finding) -> Finding:
    return replace(found, status=FindingStatus.RESOLVED, resolution=Resolution.FIXED, resolved_at=NOW)


STATES = st.lists(
    st.tuples(st.sampled_from(list(Severity)[:3]), st.booleans(), st.booleans()), min_size=1, max_size=30
)  # severity, over, told before


def group_of(states: Sequence[tuple[Severity, bool, bool]]) -> tuple[list[Finding], set[int]]:
    found = [finding(f"u{i}", severity=s, id=i) for i, (s, _, _) in enumerate(states)]
    ended = [over(f) if is_over else f for f, (_, is_over, _) in zip(found, states, strict=True)]
    return ended, {i for i, (_, _, before) in enumerate(states) if before}


@given(STATES)
def test_a_message_tells_all_of_its_group_as_it_is(states: list[tuple[Severity, bool, bool]]) -> None:
    """Each once, what is open first, the worst at the top; and why it comes now."""
    found, before = group_of(states)
    said = told_together([note(f) for f in found] + [note(found[0], Reason.UPDATED)], found, before, {}, NOW)
    listed = said.content["findings"]
    assert sorted(f["fingerprint"] for f in listed) == sorted(f.fingerprint for f in found)
    order = [(f["status"] == "resolved", -Severity(f["severity"]).rank) for f in listed]
    assert order == sorted(order)
    assert said.content["open"] + said.content["over"] == len(found)
    assert sum(said.content["counts"].values()) == said.content["open"] == sum(not o for _, o, _ in states)
    assert [f["new"] for f in listed].count(True) == len(found) - len(before)
    joined = bool(before) and len(before) < len(found)
    assert said.reason is (Reason.NEW_IN_GROUP if joined else Reason.GROUP)
    assert said.content["group"]["first"] == (not before)
    assert (said.collected, said.finding_id, said.group) == (False, None, GROUP)


def test_what_has_been_over_for_long_is_left_out() -> None:
    """Unless nobody was told of it yet."""
    old, late, new = (replace(over(finding(f"u{i}", id=i)), resolved_at=NOW - 8 * DAY) for i in range(3))
    still = [replace(new, resolved_at=NOW - 6 * DAY), finding("u4", id=4), finding("u5", id=5)]
    said = told_together([note(late, Reason.RESOLVED)], [old, late, *still], {0, 1, 2, 4, 5}, {}, NOW)
    assert {f["fingerprint"] for f in said.content["findings"]} == {f.fingerprint for f in (late, *still)}
    assert said.content["title"] == "4 findings of idle-admin in school: 2 open, 2 over"


@given(st.sampled_from([Reason.OPENED, Reason.RESOLVED, Reason.UPDATED]))
def test_one_alone_is_told_as_itself(reason: Reason) -> None:
    alone = finding(id=1)
    said = told_together([note(alone, reason)], [alone], (), {}, NOW + DAY)
    assert (said.reason, said.content["finding"]["fingerprint"]) == (reason, alone.fingerprint)
    assert (said.content["group"]["id"], said.created_at, said.collected) == ("g1", NOW + DAY, False)
    assert said.key != note(alone, reason).key, "it stands beside what was collected"


TITLES = [
    (("rule",), "2 findings of idle-admin in school"),
    (("severity", "source"), "2 high findings in school"),
    (("owner",), "2 findings for it@example.com in school"),
    (("pack",), "2 findings of the folder integrity in school"),
    (("subject",), "2 findings about ann@example.test in school"),
]


@pytest.mark.parametrize(("by", "said"), TITLES)
def test_a_title_says_what_they_have_in_common(by: tuple[str, ...], said: str) -> None:
    rule = replace(RULE, file="rules/integrity/idle-admin.toml")
    two = [finding(), finding(rule="other")]
    group = route.groups(two[0], [Route(("desk",), group_by=by)], rule, NOW)["desk"]
    assert title(group, two) == said
    assert title(group, [two[0], over(two[1])]) == f"{said}: 1 open, 1 over"
    assert title(group, list(map(over, two))) == f"{said}, all over"


def test_a_title_of_several_sources_and_of_nobody() -> None:
    two = [finding(owner=""), finding(source="hr", owner="")]
    assert title(Group((("owner", ""),)), two) == "2 findings without an owner"
