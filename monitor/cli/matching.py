"""Whose the accounts are, and by which key, as of what is recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from monitor.cli import again
from monitor.config import Config
from monitor.decide.match import People
from monitor.domain.person import Match
from monitor.errors import ConfigError
from monitor.line.parts import Watched
from monitor.line.people import read_people
from monitor.store import persons
from monitor.store.engine import reading
from monitor.store.records import recorded_accounts
from monitor.wiring.persons import matching

RESULTS = ("matched", "unmatched", "ambiguous", "unsure")


def matches(config: Config, source: str | None) -> Iterator[dict[str, Any]]:
    """One row an account of every target that has an authority. Raises ConfigError when there is nothing to match."""
    wanted = [s for s in config.sources if source in (None, s.name)]
    if not wanted:
        raise ConfigError([f"sources: there is none called {source}"])
    targets = [s.name for s in wanted if matching(config, s) is not None]
    if not targets:
        raise ConfigError(['no authority says whose these accounts are; add a source with use = "authority"'])
    for name in targets:
        with again.latest(config, name) as recorded:
            if recorded is not None:
                yield from _of(recorded)


def _of(recorded: again.Recorded) -> Iterator[dict[str, Any]]:
    watched, how = recorded.watched, recorded.watched.matching
    assert how is not None
    people = read_people(recorded.engine, recorded.config.zone, how, recorded.staging)
    if people is None:
        raise ConfigError([_why_blind(recorded, watched)])
    for account in recorded_accounts(recorded.staging):
        yield _row(watched.source.name, people, account)


def _row(source: str, people: People, account: Mapping[str, Any]) -> dict[str, Any]:
    match = people.of(account)
    person = match.person
    return {
        "source": source, "account": account["id"], "email": account["email"],
        "result": _result(match), "by": match.by,
        "person": person.key if person else ", ".join(match.several) or None, "name": person.name if person else None,
        "authority": person.authority if person else None, "why": people.why(account),
    }  # fmt: skip


def _result(match: Match) -> str:
    """unsure: nobody was found, and the latest poll of an authority did not show everybody."""
    if match.person is not None:
        return "matched"
    return "ambiguous" if match.several else "unsure" if match.unsure else "unmatched"


def _why_blind(recorded: again.Recorded, watched: Watched) -> str:
    """Which authority cannot be gone by, and what to do."""
    with reading(recorded.engine) as connection:
        for name, stale_after in watched.matching.authorities if watched.matching else ():
            found = persons.standing(connection, name)
            if found is None:
                return f"{name} was never polled; run `access-monitor poll --source {name}`"
            if found.whole_at is None:
                return f"no poll of {name} showed every person yet; see `access-monitor snapshots`"
            if recorded.staging.now - found.whole_at > stale_after:
                return f"{name} was not read whole for too long; run `access-monitor poll --source {name}`"
    raise AssertionError("every authority can be gone by")
