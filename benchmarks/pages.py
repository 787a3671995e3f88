"""The generated pages, as whoever reads them wants them: one after the other, or by what a request asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx


class Place(NamedTuple):
    file: str
    path: str
    page: str
    offset: int
    length: int


def places(folder: Path, state: str) -> Iterator[Place]:
    """Every page of a state, in the order in which a poll asks."""
    with (folder / f"{state}.tsv").open(encoding="ascii") as index:
        for line in index:
            file, path, page, offset, length = line.rstrip("\n").split("\t")
            yield Place(file, path, page, int(offset), int(length))


def bodies(folder: Path, state: str) -> Iterator[tuple[Place, bytes]]:
    """Read page after page, never all at once."""
    files: dict[str, int] = {}
    try:
        for place in places(folder, state):
            if place.file not in files:
                files[place.file] = os.open(folder / place.file, os.O_RDONLY)
            yield place, os.pread(files[place.file], place.length, place.offset)
    finally:
        for number in files.values():
            os.close(number)


class Canned(httpx.BaseTransport):
    """Answers from the files, in the process: what is left out is the network and nothing else."""

    def __init__(self, folder: Path, state: str) -> None:
        self._files: dict[str, int] = {}
        self._found: dict[tuple[bytes, bytes], tuple[int, int, int]] = {}
        for file, path, page, offset, length in places(folder, state):
            if file not in self._files:
                self._files[file] = os.open(folder / file, os.O_RDONLY)
            self._found[path.encode(), page.encode()] = (self._files[file], length, offset)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        path, _, query = request.url.raw_path.partition(b"?")
        page = query.rpartition(b"&page=")[2] if b"&page=" in query else b"1"
        found = self._found.get((path, page))
        if found is None:
            return httpx.Response(404, content=b'{"error":"there is no such page in the files"}')
        return httpx.Response(200, content=os.pread(*found))

    def close(self) -> None:
        """Called after each poll; the files stay open for the next one."""
