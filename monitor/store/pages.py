"""Raw pages: what a source answered, byte for byte, one archive a snapshot, as long as the config says.

The archive is written beside the database while a poll reads, and gets its name in the transaction that records the
snapshot; so there is never half an archive of a snapshot, and a file that no row knows is what a crash left.
Tokens are in none: their answers are no pages, and a page that repeats one is kept as its digest alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec
from msgspec import Struct
from sqlalchemy import Connection, Engine, insert, select, update

from monitor.errors import StoreError
from monitor.store import ledger
from monitor.store.engine import reading, writing
from monitor.store.frames import all_frames, framed, whole_frames
from monitor.store.tables import LedgerRow, QuarantineRow, RawPagesRow, SnapshotRow

ROWS = RawPagesRow.__table__  # type: ignore[attr-defined]
SNAPSHOTS = SnapshotRow.__table__  # type: ignore[attr-defined]
QUARANTINE = QuarantineRow.__table__  # type: ignore[attr-defined]
LEDGER = LedgerRow.__table__  # type: ignore[attr-defined]
MOST_LOOKED_INTO = 5  # archives, for the pages of the part that was cut off
LEVEL = 4  # of compression: users shrink to a tenth, faster than any source sends them


class Page(Struct, tag="page", array_like=True):
    asked: str
    digest: bytes
    body: bytes | None  # compressed; None when it repeated a secret


class After(Struct, tag="after", array_like=True):
    """The poll was cut off here and went on: the digests so far are one."""

    root: str


_encode, _decode = msgspec.msgpack.encode, msgspec.msgpack.Decoder(Page | After).decode


class Root:
    """The root digest of a snapshot, as the reading made it."""

    def __init__(self) -> None:
        self._sum = hashlib.sha256()

    def add(self, entry: Page | After) -> None:
        if isinstance(entry, Page):
            self._sum.update(entry.digest)
        else:
            self._sum = hashlib.sha256(bytes.fromhex(entry.root))

    def __str__(self) -> str:
        return self._sum.hexdigest()


class Archive:
    """Of the poll that is going on. When the disk is full it is given up: a poll without its pages is still a poll."""

    def __init__(self, path: Path) -> None:
        self.path, self.pages = path, 0
        self.lost: str | None = None  # why there will be no archive
        self._file: BinaryIO | None = None

    def begin(self) -> None:
        self._file = _new(self.path)

    def go_on(self, root: str, earlier: Iterable[Path]) -> None:
        """After an earlier part of the same poll, whose pages lie in one of these files up to where its digest is
        `root`; in none when they were not kept then.
        """
        beside = self.path.with_name(f"{self.path.name}-new")
        with _new(beside) as file:
            for body in _up_to(root, earlier):
                file.write(framed(body))
                self.pages += isinstance(_decode(body), Page)
            file.write(framed(_encode(After(root))))
        beside.replace(self.path)
        self._file = open(self.path, "ab", buffering=0)  # noqa: SIM115  # open while the poll lasts

    def add(self, asked: str, body: bytes | None, digest: bytes) -> None:
        if self._file is None or self.lost is not None:
            return
        packed = None if body is None else zlib.compress(body, LEVEL)
        frame = framed(_encode(Page(asked, digest, packed)))
        try:
            if self._file.write(frame) != len(frame):  # a disk that fills up takes the first part without an error
                self.lost = "the disk is full"
        except OSError as error:
            self.lost = error.strerror or "it cannot be written"
        self.pages += 1

    def end(self) -> None:
        """All of it is on the disk."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._file.fileno())
            self._file.close()
            self._file = None


def _new(path: Path) -> BinaryIO:
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}") from error
    return os.fdopen(descriptor, "wb", buffering=0)


def _up_to(root: str, earlier: Iterable[Path]) -> Iterator[bytes]:
    for path in earlier:
        number = _frames_until(root, path)
        if number:
            for _, (_, body) in zip(range(number), whole_frames(path), strict=False):
                yield body
            return


def _frames_until(root: str, path: Path) -> int:
    """How many frames there are until their digest is `root`; 0 if it never is."""
    sum_of = Root()
    with contextlib.suppress(OSError, msgspec.DecodeError):
        for number, (_, body) in enumerate(whole_frames(path), 1):
            sum_of.add(_decode(body))
            if str(sum_of) == root:
                return number
    return 0


# files


def being_written(folder: Path, mark: str) -> Path:
    return folder / f".raw-pages-{mark}"


def archive_of(folder: Path, mark: str, snapshot_id: int) -> Path:
    return folder / f"raw-pages-{mark}-{snapshot_id}"


def found_archive(folder: Path, snapshot_id: int) -> Path | None:
    return next(iter(folder.glob(f"raw-pages-*-{snapshot_id}")), None)


def earlier_archives(folder: Path, mark: str) -> list[Path]:
    """The newest ones of a source, those without a row among them: a kill may have come between name and commit."""
    found = [p for p in folder.glob(f"raw-pages-{mark}-*") if p.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda p: -int(p.name.rpartition("-")[2]))[:MOST_LOOKED_INTO]


# rows


def put(
    connection: Connection, archive: Archive, to: Path, source_id: int, snapshot_id: int, keep_until: datetime
) -> None:
    """The archive of a snapshot, inside the transaction that records it."""
    size = archive.path.stat().st_size
    row = {"snapshot_id": snapshot_id, "source_id": source_id, "pages": archive.pages, "bytes": size}
    connection.execute(insert(ROWS).values(**row, keep_until=keep_until))
    archive.path.replace(to)


def sweep(engine: Engine, folder: Path, mark: str, source_id: int, now: datetime, retention: timedelta | None) -> None:
    """Removes archives whose time is over, of whichever source, and what a crash left of this one. A shorter retention
    holds for what is there already. The caller holds the source's lock.
    """
    with reading(engine) as connection:
        over = list(_over(connection, source_id, now, retention))
    if over:
        with writing(engine) as connection:
            for row in over:
                _swept(connection, row, now)
    for row in over:
        path = found_archive(folder, row["snapshot_id"])
        if path is not None:
            path.unlink(missing_ok=True)
    with reading(engine) as connection:
        kept = {r[0] for r in connection.execute(select(ROWS.c.snapshot_id).where(ROWS.c.swept_at.is_(None)))}
    for path in folder.glob(f"raw-pages-{mark}-*"):
        if path.name.rpartition("-")[2] not in map(str, kept):
            path.unlink(missing_ok=True)


def _over(
    connection: Connection, source_id: int, now: datetime, retention: timedelta | None
) -> Iterator[dict[str, Any]]:
    over = ROWS.c.keep_until <= now
    if retention is not None:
        over |= (ROWS.c.source_id == source_id) & (SNAPSHOTS.c.finished_at <= now - retention)
    query = select(ROWS).join(SNAPSHOTS, SNAPSHOTS.c.id == ROWS.c.snapshot_id).where(ROWS.c.swept_at.is_(None), over)
    yield from (dict(r) for r in connection.execute(query.order_by(ROWS.c.snapshot_id)).mappings())


def _swept(connection: Connection, row: dict[str, Any], now: datetime) -> None:
    still = (ROWS.c.snapshot_id == row["snapshot_id"]) & ROWS.c.swept_at.is_(None)
    if connection.execute(update(ROWS).where(still).values(swept_at=now)).rowcount:
        body = {"snapshot": row["snapshot_id"], "pages": row["pages"], "bytes": row["bytes"]}
        ledger.append(connection, now, [("pages.swept", body)])


# looking


class Listed(NamedTuple):
    """One page of an archive, as it was found."""

    number: int
    asked: str
    size: int | None  # of the body; None when only its digest was kept, or it cannot be read
    digest: str
    fault: str | None = None


class Opened(NamedTuple):
    snapshot_id: int  # whose pages these are: of an accepted snapshot, those of the quarantined one
    path: Path
    pages: int


def opened(engine: Engine, folder: Path, snapshot_id: int) -> Opened:
    """Where the pages of a snapshot lie. Raises StoreError when there are none, and says why."""
    with reading(engine) as connection:
        if connection.execute(select(SNAPSHOTS.c.id).where(SNAPSHOTS.c.id == snapshot_id)).first() is None:
            raise StoreError(f"there is no snapshot {snapshot_id}; see `access-monitor snapshots`")
        accepted = select(QUARANTINE.c.snapshot_id).where(QUARANTINE.c.applied_as == snapshot_id)
        read_as = connection.execute(accepted).scalar() or snapshot_id
        row = connection.execute(select(ROWS).where(ROWS.c.snapshot_id == read_as)).mappings().first()
    if row is None:
        raise StoreError(f"no raw pages of snapshot {snapshot_id} were kept: its source had no raw_pages then")
    if row["swept_at"] is not None:
        raise StoreError(
            f"the raw pages of snapshot {snapshot_id} were removed on {row['swept_at']:%Y-%m-%d}: raw_pages"
        )
    path = found_archive(folder, row["snapshot_id"])
    if path is None:
        raise StoreError(f"the raw pages of snapshot {snapshot_id} are missing in {folder}: restore them from a backup")
    return Opened(row["snapshot_id"], path, row["pages"])


def listed(path: Path) -> Iterator[Listed]:
    """Every page, each checked against the digest that stands beside it."""
    for number, entry in _numbered(path):
        if entry is None:
            yield Listed(number, "", None, "", "its bytes were changed after they were written")
        elif isinstance(entry, Page):
            yield _checked(number, entry)


def _checked(number: int, page: Page) -> Listed:
    told = page.digest.hex()
    if page.body is None:
        return Listed(number, page.asked, None, told)
    try:
        body = zlib.decompress(page.body)
    except zlib.error:
        return Listed(number, page.asked, None, told, "it cannot be unpacked")
    found = hashlib.sha256(body).hexdigest()
    return Listed(number, page.asked, len(body), told, None if found == told else f"its digest is {found}")


def _numbered(path: Path) -> Iterator[tuple[int, Page | After | None]]:
    """Entries with the number of the page: of the one that follows, where the poll was cut off. None: damaged."""
    number = 1
    for _, body in all_frames(path):
        try:
            entry = None if body is None else _decode(body)
        except msgspec.DecodeError:
            entry = None
        yield number, entry
        number += not isinstance(entry, After)


def body_of(path: Path, number: int) -> bytes | None:
    """What was answered; None when there is no such page, or only its digest."""
    for position, entry in _numbered(path):
        if position == number and isinstance(entry, Page):
            return None if entry.body is None else zlib.decompress(entry.body)
    return None


class Verified(NamedTuple):
    pages: int
    root: str
    row: int | None  # of the ledger
    faults: list[str]


def verify(engine: Engine, found: Opened) -> Verified:
    """Every digest anew, and the root digest against what the ledger says of the snapshot."""
    faults = [f"page {p.number} ({p.asked or 'unknown'}): {p.fault}" for p in listed(found.path) if p.fault]
    root, pages = Root(), 0
    for number, entry in _numbered(found.path):
        if isinstance(entry, After) and entry.root != str(root) and not faults:
            faults.append(f"before page {number}: the pages of the part of the poll before it was cut off are missing")
        if entry is not None:
            root.add(entry)
        pages += not isinstance(entry, After)
    row, said = _in_ledger(engine, found.snapshot_id)
    if said is None:
        faults.append(f"the ledger has no row of snapshot {found.snapshot_id}")
    elif said != str(root):
        faults.append(f"the root digest is {root}, but {said} in the ledger: pages were changed, added or left out")
    return Verified(pages, str(root), row, faults)


def _in_ledger(engine: Engine, snapshot_id: int) -> tuple[int | None, str | None]:
    query = select(LEDGER.c.sequence, LEDGER.c.body).where(
        LEDGER.c.kind == "snapshot", LEDGER.c.body.contains(f'"id":{snapshot_id},', autoescape=True)
    )
    with reading(engine) as connection:
        for sequence, body in connection.execute(query):
            said = msgspec.json.decode(body)
            if said["id"] == snapshot_id:
                return int(sequence), str(said["digest"])
    return None, None
