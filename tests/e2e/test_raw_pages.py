"""Raw pages: what was answered is kept byte for byte, checked against the ledger, and removed when its time is over."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monitor.cli.clock import SystemClock
from monitor.config import load
from monitor.domain.reading import Outcome
from monitor.simulator import School, SchoolServer
from monitor.store import pages
from monitor.store.engine import open_engine
from monitor.store.frames import HEAD, framed, whole_frames
from tests.hostile.proxy import Strike
from tests.hostile.worlds import LISTS, world
from tests.peers.watch import CONFIG, VirtualClock, Watch, watched

KEEPING = CONFIG.replace('rate = "5000/1s"', 'rate = "5000/1s"\nraw_pages = "30d"')


def archives(folder: Path) -> list[Path]:
    return sorted(folder.glob("raw-pages-*"))


def ledger(watch: Watch, kind: str) -> list[dict[str, Any]]:
    with sqlite3.connect(watch.database) as db:
        found = [json.loads(r[0]) for r in db.execute("SELECT body FROM ledger WHERE kind = ?", (kind,))]
    db.close()
    return found


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    """A school of three pages that was polled once, its pages kept."""
    folder = tmp_path_factory.mktemp("kept")
    with watched(folder, users=450, config=KEEPING, secret='client_secret = { env = "LW_SECRET" }') as (_, _, watch):
        assert watch.poll().snapshot.outcome is Outcome.COMPLETE
        yield watch


def test_every_answer_is_there_as_it_came(kept: Watch) -> None:
    """Listed in the order of asking; the body of one is what the digest is of; nobody else can read the file."""
    rows = json.loads(kept.command("snapshots", "--pages", "1", "--format", "json").stdout)
    asked = [r["asked"] for r in rows]
    assert asked[:4] == ["GET /v2/user-roles", *(f"GET /v2/users page {n}" for n in (1, 2, 3))]
    proof = json.loads(kept.command("snapshots", "--proof", "1", "--format", "json").stdout)[0]
    assert len(rows) == sum(proof["proof"]["pages"].values())
    body = kept.command("snapshots", "--pages", "1", "--page", "2").stdout
    assert (hashlib.sha256(body.encode()).hexdigest(), len(json.loads(body)["data"])) == (rows[1]["digest"], 200)
    [archive] = archives(kept.folder)
    assert archive.stat().st_mode & 0o777 == 0o600
    assert archive.stat().st_size < sum(r["bytes"] for r in rows) / 3


def test_verifying_says_ok_and_where_it_stands(kept: Watch) -> None:
    """The root digest is the ledger's."""
    done = kept.command("snapshots", "--verify", "1")
    assert (done.returncode, done.stdout[:4]) == (0, "ok: ")
    assert ledger(kept, "snapshot")[0]["digest"] in done.stdout


def test_no_token_is_in_there(kept: Watch) -> None:
    """Neither the client's secret nor the token that was fetched with it."""
    [archive] = archives(kept.folder)
    secrets = [kept.server.client_secret, *kept.server._tokens]
    bodies = [pages._decode(b) for _, b in whole_frames(archive)]
    texts = b"".join(zlib.decompress(p.body) + p.asked.encode() for p in bodies if isinstance(p, pages.Page) and p.body)
    assert len(texts) > 100_000
    assert not [s for s in secrets if s.encode() in texts]


def test_an_answer_that_repeats_the_token_is_kept_as_a_digest(tmp_path: Path) -> None:
    """And the archive still is whole."""
    with watched(tmp_path, users=30, config=KEEPING) as (school, server, watch):
        school.set(school.holders("Admin")[0], username=f"me{server.token}")
        watch.poll()
        rows = json.loads(watch.command("snapshots", "--pages", "1", "--format", "json").stdout)
        [page] = [r for r in rows if r["asked"] == "GET /v2/users page 1"]
        assert page["bytes"] is None
        assert watch.command("snapshots", "--verify", "1").returncode == 0
        number = str(page["page"])
        assert watch.command("snapshots", "--pages", "1", "--page", number).returncode == 2
        assert server.token.encode() not in archives(tmp_path)[0].read_bytes()


def _edited(number: int, change: str, frames: list[bytes]) -> bytes:
    """The archive with one page changed by somebody who knows its format."""
    page = pages._decode(frames[number - 1])
    assert isinstance(page, pages.Page)
    body = zlib.decompress(page.body or b"").replace(b"@", b"%", 1)
    if change == "left out":
        del frames[number - 1]
    elif change == "swapped":
        frames[number - 1], frames[number] = frames[number], frames[number - 1]
    else:
        digest = hashlib.sha256(body).digest() if change == "with its digest" else page.digest
        frames[number - 1] = pages._encode(pages.Page(page.asked, digest, zlib.compress(body)))
    return b"".join(map(framed, frames))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("body", "page 3 (GET /v2/users page 2): its digest is"),
        ("with its digest", "in the ledger: pages were changed"),
        ("left out", "in the ledger: pages were changed"),
        ("swapped", "in the ledger: pages were changed"),
        ("flipped", "page 3 (unknown): its bytes were changed"),
        ("cut", "its bytes were changed"),
    ],
)
def test_whatever_was_changed_is_found(kept: Watch, change: str, said: str, tmp_path: Path) -> None:
    """By a program that knows the format, by a broken disk, by a copy that ended early."""
    [archive] = archives(kept.folder)
    whole = archive.read_bytes()
    frames = list(whole_frames(archive))
    if change == "flipped":
        spoilt = bytearray(whole)
        spoilt[frames[1][0] + HEAD + 40] ^= 1
    elif change == "cut":
        spoilt = bytearray(whole[:-100])
    else:
        spoilt = bytearray(_edited(3, change, [body for _, body in frames]))
    other = tmp_path / archive.name
    other.write_bytes(spoilt)
    engine = open_engine(load(kept.config).database_url)
    result = pages.verify(engine, pages.Opened(1, other, len(frames)))
    engine.dispose()
    assert said in " ".join(result.faults)
    archive.write_bytes(spoilt)
    try:
        assert kept.command("snapshots", "--verify", "1").returncode == 1
    finally:
        archive.write_bytes(whole)


@pytest.mark.parametrize("source", LISTS)
def test_every_source_over_http_keeps_its_pages(source: str, tmp_path: Path) -> None:
    """And each can be verified, whatever went wrong on the way."""
    with world(source, tmp_path) as it:
        it.config.write_text(it.config.read_text().replace("[[sources]]", '[[sources]]\nraw_pages = "1d"', 1))
        for number, strikes in enumerate([[], [Strike("500", LISTS[source], 1, None)]], 1):
            it.proxy.strikes = strikes
            snapshot = it.poll()
            engine = open_engine(load(it.config).database_url)
            try:
                found = pages.opened(engine, tmp_path, number)
                result = pages.verify(engine, found)
            finally:
                engine.dispose()
            assert (result.faults, result.pages > 0) == ([], True)
            assert result.pages >= sum(snapshot.snapshot.proof.pages.values())
            secret = (tmp_path / "secret").read_text().encode()
            assert not [p for p in pages.listed(found.path) if secret.decode() in p.asked]


def test_they_are_removed_when_their_time_is_over(tmp_path: Path) -> None:
    """With a row in the ledger; a shorter time holds for what is there, and without one the promise is kept."""
    with watched(tmp_path, users=30, config=KEEPING) as (_, _, watch):
        for days in (0, 20, 11):
            watch.clock.ahead(days=days)
            watch.poll()
        assert [p.name.rpartition("-")[2] for p in archives(tmp_path)] == ["2", "3"]
        assert [e["snapshot"] for e in ledger(watch, "pages.swept")] == [1]
        said = watch.command("snapshots", "--verify", "1")
        assert (said.returncode, "were removed on 2026-04-01" in said.stderr) == (1, True)
        text = watch.config.read_text()
        watch.config.write_text(text.replace('raw_pages = "30d"', ""))
        watch.poll()
        assert len(archives(tmp_path)) == 2
        assert "were kept" in watch.command("snapshots", "--verify", "4").stderr
        watch.config.write_text(text.replace("30d", "5d"))
        watch.poll()
        assert [p.name.rpartition("-")[2] for p in archives(tmp_path)] == ["3", "5"]
        assert watch.command("ledger", "--verify").returncode == 0


@pytest.mark.parametrize("step", ["record: before commit", "record: after commit", "poll#9"])
def test_a_kill_leaves_no_half_archive(tmp_path: Path, step: str) -> None:
    """What is there afterwards belongs to a snapshot and can be verified; the next poll clears away the rest."""
    now = SystemClock().now().timestamp
    school = School(users=1300, now=now())
    with SchoolServer(school, clock=now, rate=None) as server:
        (tmp_path / "token").write_text(server.token)
        secret = f'token = {{ file = "{tmp_path / "token"}" }}'
        text = KEEPING.format(url=server.url, client_id=server.client_id, secret=secret, admin_limit=school.admins)
        watch = Watch(tmp_path, server, VirtualClock(), text)
        killed = watch.command("poll", env={"ACCESS_MONITOR_KILL_AT": step})
        assert killed.returncode == -9, killed.stderr
        assert watch.command("poll").returncode == 0
        snapshots = len(json.loads(watch.command("snapshots", "--format", "json").stdout))
        assert snapshots == (2 if step == "record: after commit" else 1)
        assert len(archives(tmp_path)) == snapshots
        done = watch.command("snapshots", "--verify", str(snapshots))
        assert done.returncode == 0, done.stderr
        rows = json.loads(watch.command("snapshots", "--pages", str(snapshots), "--format", "json").stdout)
        shown = {r["asked"] for r in rows}
        assert {f"GET /v2/users page {n}" for n in range(1, 8)} <= shown, "those of both parts"
        assert not list(tmp_path.glob(".raw-pages-*"))


def test_a_poll_that_goes_on_has_the_pages_of_both_parts(tmp_path: Path) -> None:
    """The first part was recorded as partial, and has its own archive."""
    with watched(tmp_path, users=1300, config=KEEPING) as (_, server, watch):
        server.faults.add("drop", "/v2/", after=5, times=None)
        assert watch.poll().snapshot.outcome is Outcome.PARTIAL
        server.faults.clear()
        watch.clock.ahead(minutes=15)
        result = watch.poll()
        assert result.snapshot.proof.resumed
        for snapshot in ("1", "2"):
            done = watch.command("snapshots", "--verify", snapshot)
            assert done.returncode == 0, done.stderr
        rows = json.loads(watch.command("snapshots", "--pages", "2", "--format", "json").stdout)
        assert len([r for r in rows if r["asked"].startswith("GET /v2/users page ")]) == 8, "one of them twice"
        archives(tmp_path)[0].unlink()
        assert "missing in" in watch.command("snapshots", "--verify", "1").stderr


def test_the_pages_of_what_was_accepted_are_those_of_the_quarantine(tmp_path: Path) -> None:
    """They are kept once."""
    with watched(tmp_path, users=450, config=KEEPING.replace("30d", "9999d")) as (school, _, watch):
        watch.poll()
        school.hide_half()
        watch.clock.ahead(minutes=15)
        assert watch.poll().snapshot.outcome is Outcome.QUARANTINED
        assert watch.command("quarantine", "accept", "2", "--by", "ann").returncode == 0
        accepted = json.loads(watch.command("snapshots", "--format", "json").stdout)[-1]["id"]
        assert accepted == 3
        done = watch.command("snapshots", "--verify", "3")
        assert done.returncode == 0, done.stderr
        assert len(archives(tmp_path)) == 2


def test_a_full_disk_costs_the_archive_and_not_the_poll() -> None:
    """It is given up, and why is known."""
    archive = pages.Archive(Path("/dev/full"))
    archive.begin()
    archive.add("GET /v2/users", b"{}", b"digest")
    archive.add("GET /v2/users", b"{}", b"digest")
    archive.end()
    assert archive.lost == "No space left on device"
