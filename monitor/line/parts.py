"""What the line is built of: the parts that wiring gives it, and what the config says of each source."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, timedelta, tzinfo
from pathlib import Path

from sqlalchemy import Engine

from monitor.decide.deadlines import USUAL_TEMPO, Tempo
from monitor.decide.flapping import Limit as Flapping
from monitor.decide.match import Matching
from monitor.domain.act import Inbox
from monitor.domain.limits import Limit
from monitor.domain.message import Channel, Manner, Route
from monitor.domain.observed import Kind
from monitor.domain.reading import (
    Clock,
    Lane,
    Source,
)
from monitor.domain.rule import Rule
from monitor.domain.schedule import Schedule
from monitor.errors import SourceError

POLLS_UNTIL_BLIND = 4


@dataclass(frozen=True)
class Watched:
    """A source with what the config says of it beside how to read it."""

    source: Source
    kind: str
    every: float  # seconds
    reader: str  # digest of the settings that decide how records are read
    admin_limit: int | None = None
    privileged_roles: frozenset[str] = frozenset()
    authority: bool = False  # its records are persons, who say what accounts elsewhere should be
    has_flags: bool = True  # the system has flags of privilege (is_admin, ...) beside levels
    limits: Mapping[str, Limit] = field(default_factory=dict)  # by name, as in decide/quarantine.py
    matching: Matching | None = None  # whose accounts these are; None: no authority says so
    fast: Source | None = None  # reads only who is privileged or suspended; in a poll of one account, that account
    fast_every: float | None = None
    slow: Mapping[str, float] = field(default_factory=dict)  # families of scopes with an interval of their own
    blind_after: float | None = None  # seconds without a whole poll; None: four intervals
    resume_within: float = 3600.0  # seconds after which a poll that was cut off is begun anew
    raw_pages: float | None = None  # seconds for which the answers are kept as they came
    asks: str = ""  # digest of the settings that decide what is asked for
    owner: str | None = None  # who answers for its findings, where a rule asks for that

    @property
    def blind_seconds(self) -> float:
        return POLLS_UNTIL_BLIND * self.every if self.blind_after is None else self.blind_after

    @property
    def authorities(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.matching.authorities) if self.matching else ()

    @property
    def kind_of_records(self) -> Kind:
        return Kind.PERSON if self.authority else Kind.ACCOUNT

    def of(self, lane: Lane) -> Source:
        if lane is Lane.FULL:
            return self.source
        if self.fast is None:
            raise SourceError(f"{self.source.name} has no fast lane; set fast_every")
        return self.fast


@dataclass(frozen=True)
class RuleSet:
    rules: tuple[Rule, ...]
    digest: str
    files: Mapping[str, str] = field(default_factory=dict)  # texts, by path

    @property
    def by_id(self) -> dict[str, Rule]:
        return {r.id: r for r in self.rules}


@dataclass(frozen=True)
class Parts:
    """All that the line needs, built by wiring."""

    engine: Engine
    clock: Clock
    rules: RuleSet
    routes: tuple[Route, ...]
    channels: Mapping[str, Channel]
    watched: Mapping[str, Watched]
    staging_folder: Path
    zone: tzinfo = UTC
    # by source: ids of accounts that an authority says have ended, so that their end is no reason for doubt
    corroborated: Callable[[str], Collection[str]] = lambda _source: ()
    storm_limit: int | None = None  # findings of one rule that are told one by one in one cycle
    flapping: Flapping | None = None  # how often a finding may open until that is no longer told each time
    exemption_warning: timedelta = timedelta(days=14)
    silence_warning: timedelta = timedelta(hours=1)
    tempo: Tempo = USUAL_TEMPO  # when what only time brings is told
    manners: Mapping[str, Manner] = field(default_factory=dict)  # by receiver
    drill: Schedule | None = None
    beat: Callable[[str | None], str | None] = lambda _failed: None  # the dead-man's switch; returns what went wrong
    template_faults: Callable[[], Sequence[tuple[str, str]]] = tuple  # (digest of the template, what is wrong)
    at: Callable[[str], None] = lambda _step: None  # a fault hook: tests stop the process at any step
    owner: str = field(default_factory=lambda: secrets.token_hex(4))  # who holds a lease

    sources: tuple[str, ...] = ()  # all that the config names, also those that are not watched here
    refused_rules: tuple[str, ...] = ()  # faults of the rule files, when these are not what is in force
    inboxes: tuple[Inbox, ...] = ()  # where people act on findings
    second_approver: bool = False  # an exemption by a button holds only when another person approves it

    @property
    def living(self) -> frozenset[str]:
        """Receivers that keep one message a finding up to date."""
        return frozenset(name for name, manner in self.manners.items() if manner.living)
