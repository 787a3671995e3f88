"""Leave from a rule that people give by a button: a row of the store, beside those that stand in files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from monitor.domain.observed import Subject
from monitor.domain.rule import Exemption


class Standing(StrEnum):
    ASKED = "asked"  # waits for a second person
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    LAPSED = "lapsed"  # what it was asked for was over before anybody answered


@dataclass(frozen=True, slots=True)
class StoredExemption:
    """One row: whom a person lets be, from which rule, until when; and what became of it."""

    number: int
    standing: Standing
    rule: str
    source: str
    subject: Subject
    fingerprint: str
    reason: str
    expires: date  # inclusive
    ticket: str | None
    asked_by: str
    asked_by_id: str
    asked_at: datetime
    approved_by: str | None = None
    approved_at: datetime | None = None
    ended_by: str | None = None
    ended_at: datetime | None = None

    @property
    def approval(self) -> str:
        """Who answers for it; of two people both."""
        if self.standing in (Standing.ASKED, Standing.LAPSED):
            return f"nobody yet, asked by {self.asked_by}"
        if self.approved_by is None or self.approved_by == self.asked_by:
            return self.asked_by
        return f"{self.approved_by}, asked by {self.asked_by}"

    @property
    def exemption(self) -> Exemption:
        """The same as a file would say it."""
        return Exemption(
            self.subject.id, self.reason, self.approval, self.expires, ticket=self.ticket, rules=(self.rule,),
            origin="store", line=self.number, sources=(self.source,), number=self.number,
            name=self.subject.email or self.subject.name or "",
        )  # fmt: skip
