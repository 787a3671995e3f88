"""A rate that several gates keep together through one file."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from monitor.errors import SourceError
from monitor.sources.gate import HEAD, PLACE, SharedGate
from tests.peers.watch import VirtualClock


def gates(folder: Path, clock: VirtualClock, number: int = 2, rate: tuple[int, float] = (3, 10.0)) -> list[SharedGate]:
    """As of that many processes: each has opened the file by itself."""
    return [SharedGate(clock, *rate, folder / ".rate", slack=0.0) for _ in range(number)]


def test_together_they_pass_no_more_than_is_allowed(tmp_path: Path) -> None:
    """Whoever asks: at most 3 in any 10 seconds."""
    clock = VirtualClock(elapsed=1000.0)
    passed = []
    first, second = gates(tmp_path, clock)
    for gate in (first, second, second, first, second, first, first):
        gate.wait()
        passed.append(clock.monotonic() - 1000.0)
    assert passed == [0, 0, 0, 10, 10, 10, 20]
    assert stat.S_IMODE((tmp_path / ".rate").stat().st_mode) == 0o600


def test_one_that_was_refused_holds_the_others(tmp_path: Path) -> None:
    """A 429 is about the application, not about the process that met it."""
    clock = VirtualClock(elapsed=5.0)
    first, second = gates(tmp_path, clock)
    first.wait()
    first.hold(7.0)
    assert second.wait() == pytest.approx(7.0)


def test_what_was_written_before_the_machine_was_started_anew_counts_for_nothing(tmp_path: Path) -> None:
    """The monotonic clock begins again, so old times lie in the future."""
    before = VirtualClock(elapsed=90_000.0)
    [old] = gates(tmp_path, before, 1)
    for _ in range(3):
        old.wait()
    old.hold(5)
    [new] = gates(tmp_path, VirtualClock(elapsed=10.0), 1)
    assert new.wait() == 0.0


@pytest.mark.parametrize("content", [b"", b"half", b"\xff" * 500])
def test_a_file_of_another_size_begins_anew(tmp_path: Path, content: bytes) -> None:
    """Another rate, or a write that was cut off."""
    (tmp_path / ".rate").write_bytes(content)
    [gate] = gates(tmp_path, VirtualClock(), 1)
    assert gate.wait() == 0.0
    assert (tmp_path / ".rate").stat().st_size == HEAD.size + 3 * PLACE.size


def test_who_is_stopped_does_not_go_on_waiting(tmp_path: Path) -> None:
    """A reading that is over sends nothing more."""
    clock = VirtualClock()
    [gate] = gates(tmp_path, clock, 1, (1, 3600.0))
    gate.wait()
    assert gate.wait(lambda: clock.monotonic() >= 5) <= 6


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """One clear error."""
    gate = SharedGate(VirtualClock(), 1, 1.0, tmp_path / "nowhere" / ".rate")
    with pytest.raises(SourceError, match="nowhere"):
        gate.wait()
