"""Stands where a source would: for work on what was read before, and for a poll that told nothing. It is named, needs
no secret, and is not read."""

from __future__ import annotations

from collections.abc import Iterator

from monitor.domain.reading import Batch, Proof, Recall
from monitor.errors import SourceError


class Unread:
    def __init__(self, name: str) -> None:
        self.name, self.proof = name, Proof()

    def read(self, _recall: Recall) -> Iterator[Batch]:
        raise SourceError(f"{self.name} is not to be read here")
