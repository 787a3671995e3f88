"""Polls that are too unlikely to be believed: over a school in memory and a real database."""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from monitor.cycle import accept, run_cycle
from monitor.domain.limits import Limit
from monitor.domain.message import Route
from monitor.domain.observed import Account, Activity, Group, Role
from monitor.domain.reading import Outcome, Scope
from monitor.errors import StoreError
from monitor.line.doubt import Acceptance
from monitor.line.turns import source_mark
from monitor.store import aside
from tests.peers.little import NAME, Bench, School
from tests.peers.watch import START

LIMITS = {
    "removed": Limit(0.2, None, 5), "suspended": Limit(0.2, None, 5), "unprivileged": Limit(0.5, None, 2),
    "changed": Limit(0.5, None, 5), "roles_removed": Limit(0.5, None, 2), "groups_removed": Limit(0.5, None, 2),
    "members_removed": Limit(0.5, None, 4),
}  # fmt: skip
NAMES = tuple(f"u{n}" for n in range(10))


def account(name: str, **how: Any) -> Account:
    plain = Account(name, f"{name}@example.com", name, name.title(), "active", "user", "User", "user",
                    False, False, False, False, (), (), START)  # fmt: skip
    return plain._replace(**how)


def filled(bench: Bench) -> Bench:
    """Ten accounts, two of them administrators; three roles; three groups, the first with six members."""
    school = bench.school
    school.accounts |= {n: account(n) for n in NAMES}
    for n in NAMES[:2]:
        school.accounts[n] = account(n, level="admin", role="Admin", role_id="admin", is_admin=True)
    school.activity |= {n: Activity(START, False) for n in NAMES}
    school.roles |= {i: Role(i, i.title(), None, i) for i in ("user", "admin", "reporter")}
    school.groups |= {i: Group(i, i.upper()) for i in ("g1", "g2", "g3")}
    school.members |= {"g1": set(NAMES[:6]), "g2": {"u9"}, "g3": set()}
    school.managers |= {("u0", "g1")}
    limited(bench)
    bench.poll()
    return bench


def limited(bench: Bench, **how: Any) -> None:
    watched = bench.parts.watched[NAME]
    bench.parts = replace(bench.parts, watched={NAME: replace(watched, limits=LIMITS)}, **how)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = filled(Bench(tmp_path, routes=(Route(("out",)),)))
    yield made
    made.close()


def record_of(bench: Bench) -> dict[str, list[Any]]:
    """Everything that a poll may apply."""
    tables = ("accounts", "activity", "roles", "groups", "grants", "changes", "findings")
    return {t: sorted(map(repr, bench.rows(f"SELECT * FROM {t}"))) for t in tables}


def kept(bench: Bench) -> list[Path]:
    return sorted(bench.path.parent.glob(".quarantine-*"))


def told(bench: Bench) -> list[str]:
    return [r[0] for r in bench.rows("SELECT json_extract(content, '$.message') FROM outbox WHERE reason = 'operations'"
                                     " ORDER BY position")]  # fmt: skip


def lose(bench: Bench, *names: str) -> None:
    for name in names:
        del bench.school.accounts[name]
        bench.school.managers -= {m for m in bench.school.managers if m[0] == name}
        for ids in bench.school.members.values():
            ids.discard(name)


def edited(school: School, number: int, **how: Any) -> None:
    school.accounts |= {n: school.accounts[n]._replace(**how) for n in NAMES[:number]}


class TestDoubt:
    def test_what_a_source_doubts_itself_waits_for_nobody(self, bench: Bench) -> None:
        """A stale file says so itself: nothing of it is applied, and there is nothing to accept."""
        before = record_of(bench)
        bench.school.accounts["new"] = account("new")
        del bench.school.roles["reporter"]
        result = bench.poll(Scope.USERS, outcome=Outcome.QUARANTINED)
        assert result.snapshot.outcome is Outcome.QUARANTINED
        assert record_of(bench) == before
        assert (kept(bench), bench.rows("SELECT * FROM quarantine")) == ([], [])
        assert told(bench) == ["little could not be believed: the poll is quarantined"]

    def test_within_the_limits_a_poll_is_believed(self, bench: Bench) -> None:
        """Two of ten may go: that is exactly the share."""
        lose(bench, "u8", "u9")
        assert bench.poll().snapshot.outcome is Outcome.COMPLETE
        assert kept(bench) == []

    def test_beyond_a_limit_nothing_is_applied(self, bench: Bench) -> None:
        """The row says what it was and why; everything else is as before; the file is kept, for its owner only."""
        before = record_of(bench)
        lose(bench, "u6", "u7", "u8")
        result = bench.poll()
        assert result.snapshot.outcome is Outcome.QUARANTINED
        assert result.snapshot.error == "3 of 10 accounts gone (removed: at most 20 %)"
        assert record_of(bench) == before
        assert {r[0] for r in bench.rows("SELECT outcome FROM scopes WHERE valid_to IS NULL")} == {"quarantined"}
        [file] = kept(bench)
        assert file == aside.kept_file(bench.path.parent, source_mark(NAME), result.snapshot_id)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        [row] = bench.rows("SELECT status, why FROM quarantine")
        assert row == ("waiting", result.snapshot.error)

    @pytest.mark.parametrize(
        ("what", "limit"),
        [
            (
                lambda s: s.accounts.update({n: s.accounts[n]._replace(status="suspended") for n in NAMES[:3]}),
                "suspended",
            ),
            (lambda s: s.accounts.update({n: account(n) for n in NAMES[:2]}), "unprivileged"),
            (lambda s: s.accounts.update({n: s.accounts[n]._replace(tags=("x",)) for n in NAMES[:6]}), "changed"),
            (lambda s: [s.roles.pop(i) for i in ("admin", "reporter")], "roles_removed"),
            (lambda s: [(s.groups.pop(i), s.members.pop(i)) for i in ("g2", "g3")], "groups_removed"),
            (lambda s: s.members["g1"].clear(), "members_removed"),
        ],
        ids=lambda v: v if isinstance(v, str) else "",
    )
    def test_every_limit_holds(self, bench: Bench, what: Any, limit: str) -> None:
        """Each kind of loss, one at a time, names its own limit alone."""
        before = record_of(bench)
        what(bench.school)
        result = bench.poll()
        assert result.snapshot.outcome is Outcome.QUARANTINED
        assert result.snapshot.error is not None
        assert f"({limit}: at most" in result.snapshot.error
        assert ";" not in result.snapshot.error
        assert record_of(bench) == before

    def test_a_change_that_an_authority_confirms_does_not_count(self, bench: Bench) -> None:
        """Three leave, and of one HR says so: two are within the limit."""
        bench.parts = replace(bench.parts, corroborated=lambda source: {"u8"} if source == NAME else set())
        lose(bench, "u6", "u7", "u8")
        assert bench.poll().snapshot.outcome is Outcome.COMPLETE

    def test_a_partial_poll_is_doubted_too(self, bench: Bench) -> None:
        """What it did see would suspend too many."""
        for n in NAMES[:3]:
            bench.school.accounts[n] = bench.school.accounts[n]._replace(status="suspended")
        assert bench.poll(Scope.ROLES).snapshot.outcome is Outcome.QUARANTINED

    def test_the_first_whole_poll_is_believed(self, tmp_path: Path) -> None:
        """There is nothing to compare it with, even when a broken one went before."""
        bench = Bench(tmp_path)
        limited(bench)
        bench.school.accounts |= {n: account(n) for n in NAMES}
        bench.poll(Scope.ROLES)
        lose(bench, *NAMES[:5])
        assert bench.poll().snapshot.outcome is Outcome.COMPLETE
        bench.close()

    def test_settings_that_change_what_is_read_are_no_doubt(self, bench: Bench) -> None:
        """All records are read anew and differ: that is our doing, not the source's."""
        watched = bench.parts.watched[NAME]
        bench.parts = replace(bench.parts, watched={NAME: replace(watched, reader="other")})
        for n in NAMES:
            bench.school.accounts[n] = account(n, fields=(("department", "x"),))
        assert bench.poll().snapshot.outcome is Outcome.COMPLETE


class TestEpisode:
    def test_it_is_told_once_and_when_it_is_over(self, bench: Bench) -> None:
        """Three polls beyond the limits, one broken one between them, and back to what it was."""
        gone = {n: bench.school.accounts[n] for n in ("u6", "u7", "u8")}
        lose(bench, *gone)
        bench.poll()
        bench.poll()
        bench.poll()
        assert [m for m in told(bench) if "quarantined" in m] == told(bench)
        assert len(told(bench)) == 1
        bench.school.accounts |= gone
        for n in ("u6", "u7", "u8"):
            bench.school.members["g1"].discard(n)
        assert bench.poll().snapshot.outcome is Outcome.COMPLETE
        assert told(bench)[1:] == ["little can be read whole again"]
        assert [r[0] for r in bench.rows("SELECT status FROM quarantine")] == ["superseded"] * 3
        assert kept(bench) == []

    def test_only_some_are_kept_and_the_first_is_one_of_them(self, bench: Bench) -> None:
        """The oldest but the first, which people were told of, is rejected, and the ledger says so."""
        lose(bench, "u6", "u7", "u8")
        ids = [bench.poll().snapshot_id for _ in range(aside.MOST_KEPT + 2)]
        waiting = [r[0] for r in bench.rows("SELECT snapshot_id FROM quarantine WHERE status = 'waiting'")]
        assert waiting == [ids[0], *ids[3:]]
        assert len(kept(bench)) == aside.MOST_KEPT
        rows = bench.rows("SELECT json_extract(body, '$.snapshot'), json_extract(body, '$.by') FROM ledger"
                          " WHERE kind = 'quarantine.rejected'")  # fmt: skip
        assert rows == [(ids[1], "access-monitor"), (ids[2], "access-monitor")]

    def test_quarantined_polls_in_a_row_grow_nothing_but_their_rows(self, bench: Bench) -> None:
        """One snapshot, one quarantine and one ledger row."""
        lose(bench, "u6", "u7", "u8")
        bench.poll()
        before = bench.counts()
        bench.poll()
        after = bench.counts()
        assert {t: after[t] - before[t] for t in after if after[t] != before[t]} == {
            "snapshots": 1, "ledger": 1, "quarantine": 1
        }  # fmt: skip


class TestAcceptance:
    def test_what_was_seen_is_applied_as_a_poll_would_have(self, bench: Bench, tmp_path: Path) -> None:
        """The same versions, changes and grants as in a monitor without limits, but for who said so."""
        (tmp_path / "free").mkdir()
        free = filled(Bench(tmp_path / "free", routes=(Route(("out",)),)))
        free.parts = replace(free.parts, watched={NAME: replace(free.parts.watched[NAME], limits={})})
        for each in (bench, free):
            lose(each, "u6", "u7", "u8")
            each.school.accounts["u0"] = account("u0")
            each.school.accounts["new"] = account("new")
            each.school.members["g2"] |= {"u1"}
            each.school.groups["g4"] = Group("g4", "G4")
            each.school.members["g4"] = {"u5"}
            del each.school.roles["reporter"]
            result = each.poll()
        assert result.snapshot.outcome is Outcome.COMPLETE
        doubted = bench.rows("SELECT max(id) FROM snapshots")[0][0]
        accepted = accept(bench.parts, NAME, doubted, "ann")
        assert accepted.snapshot.outcome is Outcome.COMPLETE
        assert accepted.snapshot.started_at == result.snapshot.started_at
        for sql in (
            "SELECT account_id, level, first_seen, role_changed, past_levels, valid_to IS NULL FROM accounts",
            "SELECT account_id, kind, entitlement_id, since, valid_to IS NULL FROM grants",
            "SELECT role_id, valid_to IS NULL FROM roles",
            "SELECT group_id, valid_to IS NULL FROM groups",
            "SELECT kind, subject_kind, subject_id, field, before, after FROM changes",
            "SELECT account_id, raw_digest FROM activity",
        ):
            assert sorted(bench.rows(sql)) == sorted(free.rows(sql)), sql
        free.close()
        [row] = bench.rows("SELECT status, decided_by, applied_as FROM quarantine")
        assert row == ("accepted", "ann", accepted.snapshot_id)
        assert kept(bench) == []
        assert told(bench)[-1] == "The quarantine of little is over: ann accepted what it showed"
        assert bench.poll().changes == 0

    def test_what_was_overtaken_is_refused(self, bench: Bench) -> None:
        """A later poll was recorded, also a partial one: what waits would turn its changes back."""
        lost = bench.school.copy()
        lose(bench, "u6", "u7", "u8")
        doubted = bench.poll().snapshot_id
        bench.source.school = bench.school = lost
        bench.poll(Scope.ROLES)
        with pytest.raises(StoreError, match="was overtaken: a later poll of little was recorded"):
            accept(bench.parts, NAME, doubted, "ann")

    def test_what_was_decided_is_refused(self, bench: Bench) -> None:
        """Once accepted it stays so, and nobody accepts what never waited."""
        lose(bench, "u6", "u7", "u8")
        doubted = bench.poll().snapshot_id
        accept(bench.parts, NAME, doubted, "ann")
        with pytest.raises(StoreError, match="was accepted already, by ann"):
            accept(bench.parts, NAME, doubted, "bob")
        with pytest.raises(StoreError, match="is not quarantined"):
            accept(bench.parts, NAME, 1, "bob")

    def test_a_file_that_cannot_be_read_changes_nothing(self, bench: Bench) -> None:
        """Cut off, or no database at all: said, and the snapshot waits on."""
        lose(bench, "u6", "u7", "u8")
        doubted = bench.poll().snapshot_id
        [file] = kept(bench)
        file.write_bytes(b"nothing of the kind" * 100)
        before = record_of(bench)
        with pytest.raises(StoreError, match="cannot be read"):
            accept(bench.parts, NAME, doubted, "ann")
        assert record_of(bench) == before
        assert bench.rows("SELECT status FROM quarantine") == [("waiting",)]

    def test_a_poll_may_be_accepted_beforehand(self, bench: Bench) -> None:
        """Somebody knows that the school was emptied, and polls beyond the limits: the ledger has the name."""
        lose(bench, *NAMES[:6])
        result = run_cycle(bench.parts, NAME, Acceptance("ann"))
        assert result.snapshot.outcome is Outcome.COMPLETE
        assert bench.rows("SELECT count(*) FROM accounts WHERE valid_to IS NULL") == [(4,)]
        [(by, as_)] = bench.rows("SELECT json_extract(body, '$.by'), json_extract(body, '$.applied_as') FROM ledger"
                                 " WHERE kind = 'quarantine.accepted'")  # fmt: skip
        assert (by, as_) == ("ann", result.snapshot_id)


# whatever happens

ACTS = st.lists(
    st.tuples(st.sets(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES)), st.booleans()), min_size=1, max_size=6
)


_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large]


@settings(max_examples=8, deadline=None, derandomize=True, database=None, suppress_health_check=_SLOW)
@given(ACTS)
def test_no_sequence_of_doubted_polls_takes_anything_away(acts: list[tuple[set[str], set[str], bool]]) -> None:
    """Whoever is missing, suspended or back again: while polls are quarantined all that was recorded stands; and what
    any poll does apply is within the limits."""
    check_acts(acts)


@pytest.mark.long
@settings(max_examples=500, deadline=None, database=None, suppress_health_check=_SLOW)
@given(ACTS)
def test_no_random_sequence_of_doubted_polls_takes_anything_away(acts: list[tuple[set[str], set[str], bool]]) -> None:
    """The same, with chance."""
    check_acts(acts)


def check_acts(acts: list[tuple[set[str], set[str], bool]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        bench = filled(Bench(Path(folder)))
        whole = bench.school.copy()
        try:
            for missing, suspended, acceptable in acts:
                bench.source.school = bench.school = whole.copy()
                lose(bench, *missing)
                for name in suspended - missing:
                    bench.school.accounts[name] = bench.school.accounts[name]._replace(status="suspended")
                before, here = record_of(bench), _current(bench)
                result = bench.poll()
                if result.snapshot.outcome is Outcome.QUARANTINED:
                    assert record_of(bench) == before
                    if acceptable:
                        accept(bench.parts, NAME, result.snapshot_id, "ann")
                        assert _current(bench).keys() == bench.school.accounts.keys()
                else:
                    assert len(here.keys() - _current(bench).keys()) <= 0.2 * len(here) or len(here) < 5
        finally:
            bench.close()


def _current(bench: Bench) -> dict[str, str]:
    return dict(bench.rows("SELECT account_id, status FROM accounts WHERE valid_to IS NULL"))
