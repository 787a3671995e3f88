"""Every HTTP source against everything that can come between: no false leaver, no false closing, no lost account.

Each case polls a school, changes it (somebody leaves, somebody moves and keeps the admin flag), strikes once or for as
long as the poll lasts, and polls again: what the broken poll took away must be true. A whole poll after it must know
everybody. The cases are a seeded sample; all of them are tried when long checks are asked for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from monitor.domain.finding import FindingStatus
from monitor.domain.reading import AccountsGone, Batch, Outcome, ScopeEnded
from monitor.simulator import School
from monitor.sources import scopes
from monitor.sources.learnworlds_pages import SchoolPolling
from tests.hostile.proxy import Strike
from tests.hostile.worlds import LAST, LISTS, ONES, OTHERS, world

SOURCES = tuple(LISTS)
COMPLETE, PARTIAL, FAILED, ASIDE = Outcome.COMPLETE, Outcome.PARTIAL, Outcome.FAILED, Outcome.QUARANTINED


class Case(NamedTuple):
    """`first`: which of the requests is struck. `where`: lists of users, the last page, or single ones."""

    source: str
    kind: str
    first: int = 0
    times: int | None = 1
    where: str = "list"

    @property
    def allowed(self) -> set[Outcome]:
        """How such a poll may be named."""
        if self.kind in PASSING and self.times == 1:
            return {COMPLETE}
        if self.kind == "forbidden" and self.where in ("seats", "members of seats", "events"):
            return {COMPLETE}  # the school's plan, and no broken poll
        return NAMED.get(self.kind, {PARTIAL, FAILED})

    def __str__(self) -> str:
        return f"{self.source}-{self.kind}-{self.first}-{self.times or 'all'}-{self.where}"


PASSING = ("drop", "delay", "429", "429-after", "skew", "500", "503", "html", "html-200", "cut", "malformed")
LASTING = ("drop", "429", "500", "html", "html-200", "cut", "malformed", "expired", "forbidden")
ROWS = ("duplicate", "missing", "shifted", "empty", "wrong-type", "loop")
LISTED = ("groups", "seats")
NAMED: dict[str, set[Outcome]] = {
    "duplicate": {COMPLETE, PARTIAL},
    "missing": {COMPLETE, PARTIAL},  # found again by its id, or the page was known to be short
    "shifted": {COMPLETE, PARTIAL},
    "empty": {COMPLETE, PARTIAL, FAILED, ASIDE},
    "loop": {COMPLETE, PARTIAL, FAILED},  # a first page that comes first is no loop
}
CASES = [
    *(Case(s, k, n) for s in SOURCES for k in PASSING for n in (0, 1)),
    *(Case(s, k, n, None) for s in SOURCES for k in LASTING for n in (0, 1)),
    *(Case(s, k, n) for s in SOURCES for k in ROWS for n in (0, 1)),
    *(Case(s, k, 0, None, "one") for s in SOURCES for k in ("not-found", "500", "forbidden", "html-200")),
]
SCOPED = [
    *(Case("learnworlds", k, 0, 1, w) for k in PASSING for w in OTHERS),
    *(Case("learnworlds", k, 0, None, w) for k in LASTING for w in OTHERS),
    *(Case("learnworlds", k, 0, 1, w) for k in ("missing", "empty", "wrong-type", "duplicate") for w in LISTED),
]  # fmt: skip


def _learner(school: School) -> str:
    """Somebody whom no rule has to do with, in the middle of the list."""
    learners = [u["id"] for u in school.users() if u["role"]["level"] == "user" and not u["is_suspended"]]
    return str(learners[len(learners) // 2])


def attacked(case: Case, folder: Path) -> None:
    """Raises AssertionError when the broken poll did any damage."""
    with world(case.source, folder) as it:
        first = it.poll()
        assert first.snapshot.outcome is COMPLETE, first.snapshot.error
        held = it.grants()
        everybody, before = it.here(), {f.fingerprint for f in it.findings() if f.status is not FindingStatus.RESOLVED}
        leaver, mover = _learner(it.school), it.school.holders("Admin")[0]
        it.school.remove_user(leaver)
        it.school.change_role(mover, "User", keep_admin_flag=True)
        places = {"list": LISTS, "last": LAST, "one": ONES}.get(case.where, {case.source: OTHERS.get(case.where, "")})
        strikes = [Strike(case.kind, places[case.source], case.first, case.times)]
        if (
            case.where == "one" and case.source != "scim"
        ):  # its total tells of a missing row before anybody is asked for
            strikes.append(Strike("missing", LAST[case.source]))
        it.proxy.strikes = strikes
        broken = it.poll()
        assert all(s.fired for s in strikes), f"{case}: never struck"
        removed = it.removed(broken.snapshot_id)
        assert removed <= {leaver}, f"{case}: {removed - {leaver}} were taken for leavers"
        about = {leaver, mover}
        closed = {
            f.fingerprint for f in it.findings() if f.status is FindingStatus.RESOLVED and f.subject.id not in about
        }
        assert not closed & before, f"{case}: findings were closed"
        assert broken.snapshot.outcome in case.allowed, f"{case}: {broken.snapshot.outcome}, {broken.snapshot.error}"
        assert it.recorded() >= everybody - {leaver}, f"{case}: an account was lost"
        lost = {g for g in held - it.grants() if g[0] not in about and g[1] != "assigned"}
        assert not lost, f"{case}: {lost} were taken for ended"
        it.proxy.strikes = []
        it.revive()
        whole = it.poll()
        assert whole.snapshot.outcome is COMPLETE, f"{case}: {whole.snapshot.error}"
        assert it.recorded() == it.here(), f"{case}: the whole poll after it does not know everybody"


@pytest.mark.parametrize("case", random.Random(11).sample(CASES, 20), ids=str)
def test_a_hostile_source_does_no_damage(case: Case, tmp_path: Path) -> None:
    """A seeded sample."""
    attacked(case, tmp_path)


@pytest.mark.parametrize("case", random.Random(5).sample(SCOPED, 14), ids=str)
def test_a_hostile_part_does_no_damage(case: Case, tmp_path: Path) -> None:
    """Groups, seat offerings, their members and event logs: a seeded sample."""
    attacked(case, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("case", [*CASES, *SCOPED], ids=str)
def test_no_hostile_source_does_any_damage(case: Case, tmp_path: Path) -> None:
    """Every source, every kind of trouble, every place."""
    attacked(case, tmp_path)


# Controls: without the protection, the harness must see the damage.


def _gone_unasked(polling: scopes.Polling, part: scopes.Part) -> Iterator[Batch]:
    """What a naive reader does: whoever is on no page has left."""
    ids, _ = polling.recall.missing(10_000)
    if ids:
        yield AccountsGone(ids)


def _always_whole(part: scopes.Part, name: str) -> ScopeEnded:
    """What a naive reader says of every read."""
    return ScopeEnded(name, COMPLETE)


@pytest.mark.parametrize("source", [s for s in SOURCES if s != "scim"])
def test_without_confirmation_the_damage_is_seen(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that slipped through is taken for a leaver."""
    monkeypatch.setattr(scopes.Polling, "confirm", _gone_unasked)
    monkeypatch.setattr(scopes.Part, "ended", _always_whole)
    with pytest.raises(AssertionError, match="taken for leavers"):
        attacked(Case(source, "missing", where="last"), tmp_path)


def test_without_partial_outcomes_the_damage_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scope that broke off and is called whole: roles and groups vanish, or a wrong name for the poll."""
    monkeypatch.setattr(scopes.Part, "ended", _always_whole)
    with pytest.raises(AssertionError, match=r"500.*complete"):
        attacked(Case("learnworlds", "500", 0, None), tmp_path)


@pytest.mark.parametrize("where", LISTED)
def test_without_asking_for_what_is_not_listed_the_damage_is_seen(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group or a seat offering whose row slipped through is taken for ended, with all who are in it."""
    monkeypatch.setattr(SchoolPolling, "confirm_listed", lambda *_: None)
    with pytest.raises(AssertionError, match=r"taken for ended|findings were closed"):
        attacked(Case("learnworlds", "empty", where=where), tmp_path)
