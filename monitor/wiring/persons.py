"""How the accounts of a target are matched to persons, as the config says."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from monitor.config import Config, SourceConfig
from monitor.decide.match import Matching, match_key
from monitor.decide.persons import Expectation
from monitor.errors import ConfigError

ALIAS_COLUMNS = ["account", "person"]


def matching(config: Config, source: SourceConfig) -> Matching | None:
    """None: nobody says whose accounts these are."""
    authorities = {s.name: s.stale_after for s in config.sources if s.use == "authority"}
    chosen = authorities if source.authorities is None else source.authorities
    if source.use == "authority" or not chosen:
        return None
    return Matching(
        tuple((name, authorities[name]) for name in chosen),
        tuple(map(match_key, source.match)),
        aliases(config, source),
        tuple(
            Expectation(tuple(e.title), tuple(e.department), tuple(e.levels), tuple(e.groups))
            for e in config.expectations
            if not e.source or source.name in e.source
        ),
    )


def aliases(config: Config, source: SourceConfig) -> dict[str, str]:
    """Person by account, e-mail addresses in lower case. Raises ConfigError that names the line of the file."""
    if source.aliases is None:
        return {}
    if isinstance(source.aliases, dict):
        pairs = list(source.aliases.items())
    else:
        pairs = list(_pairs(config.folder / source.aliases, f"sources: aliases of {source.name}", config))
    return {a.strip(): p.strip() for a, p in pairs} | {a.strip().casefold(): p.strip() for a, p in pairs if "@" in a}


def _pairs(path: Path, key: str, config: Config) -> Iterator[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is no UTF-8 text"
        raise ConfigError([f"{key}: cannot read {path}: {reason}"], str(config.path)) from error
    lines = csv.reader(text.splitlines(), strict=True)
    seen: dict[str, str] = {}
    try:
        if next(lines, None) != ALIAS_COLUMNS:
            raise ValueError(f"the first line must be {','.join(ALIAS_COLUMNS)}")
        for row in lines:
            if not row:
                continue
            if len(row) != 2 or not row[0].strip() or not row[1].strip():
                raise ValueError("must be an account (its id or e-mail address) and a person's key")
            account, person = row[0].strip(), row[1].strip()
            if seen.setdefault(account.casefold(), person) != person:
                raise ValueError(f"{account} stands there twice, with different persons")
            yield account, person
    except (ValueError, csv.Error) as error:
        raise ConfigError([f"{key}: {path}:{lines.line_num}: {error}"], str(config.path)) from error
