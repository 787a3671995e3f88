"""Raw pages: opens the archive of a poll, and gives it its name in the transaction that records the snapshot."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import structlog
from sqlalchemy import Connection

from monitor.domain.snapshot import Snapshot
from monitor.line.parts import Parts, Watched
from monitor.line.turns import source_mark, suffix
from monitor.store import pages
from monitor.store.staging import Staging

log = structlog.get_logger()


def open_archive(parts: Parts, watched: Watched, staging: Staging) -> None:
    """Where the answers of this poll go. One that goes on takes over the pages of its earlier part."""
    path = _being_written(parts, watched, staging)
    if watched.raw_pages is None:
        path.unlink(missing_ok=True)
        return
    archive = pages.Archive(path)
    if staging.resumed is not None:
        earlier = pages.earlier_archives(parts.staging_folder, source_mark(watched.source.name))
        archive.go_on(staging.resumed.proof.get("root_digest", ""), [path, *earlier])
    else:
        archive.begin()
    staging.archive = archive


def _being_written(parts: Parts, watched: Watched, staging: Staging) -> Path:
    return pages.being_written(parts.staging_folder, source_mark(watched.source.name) + suffix(staging.lane))


def kept(parts: Parts, watched: Watched, staging: Staging, snapshot: Snapshot) -> Callable[[Connection, int], None]:
    """Writes that the pages of this snapshot are kept, and until when."""
    archive, seconds = staging.archive, watched.raw_pages

    def write(connection: Connection, snapshot_id: int) -> None:
        if archive is None or seconds is None or not archive.pages:
            return
        archive.end()
        if archive.lost is not None:
            log.error("raw pages lost", source=snapshot.source, snapshot=snapshot_id, why=archive.lost)
            return
        to = pages.archive_of(parts.staging_folder, source_mark(snapshot.source), snapshot_id)
        until = snapshot.finished_at + timedelta(seconds=seconds)
        pages.put(connection, archive, to, staging.source_id, snapshot_id, until)

    return write


def sweep(parts: Parts, watched: Watched, staging: Staging) -> None:
    """Removes what need not be kept any more."""
    kept_for = None if watched.raw_pages is None else timedelta(seconds=watched.raw_pages)
    mark = source_mark(watched.source.name)
    pages.sweep(parts.engine, parts.staging_folder, mark, staging.source_id, parts.clock.now(), kept_for)
