"""Sources, as the config says."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.config import (
    CapsConfig,
    Config,
    FileSource,
    LearnWorldsSource,
    PythonSource,
    ScimSource,
    SourceConfig,
    SqlSource,
    TableSource,
    TrutoSource,
)
from monitor.domain.limits import Limit
from monitor.domain.reading import Clock, Progress, Source, WithFastLane
from monitor.errors import ConfigError, SourceError
from monitor.line.parts import Watched
from monitor.sources.answer import sanitised
from monitor.sources.rows import Columns
from monitor.sources.unread import Unread
from monitor.wiring.persons import matching
from monitor.wiring.secrets import secret

if TYPE_CHECKING:
    from monitor.sources.gate import SharedGate
    from monitor.sources.http import Caps

# A number moves when its kind starts to read the same records in another way: then every record is read anew.
READERS = {"learnworlds": "1", "truto": "1", "scim": "1", "file": "1", "sql": "1", "python": "1"}


def watched(
    config: Config, source: SourceConfig, key: str, clock: Clock, progress: Progress | None, folder: Path,
    *, unread: bool = False,
) -> Watched:  # fmt: skip
    """`folder`: where the files lie by which processes keep a rate together. `unread`: it is not going to be read, so
    no secret is needed.
    """
    built = Unread(source.name) if unread else _built(config, source, key, clock, progress, folder)
    decides = repr((_decides(source), sorted(source.privileged_roles), READERS[source.kind]))
    fast_every, raw_pages = getattr(source, "fast_every", None), getattr(source, "raw_pages", None)
    return Watched(
        built, source.kind, source.every.total_seconds(),
        hashlib.sha256(decides.encode()).hexdigest()[:16], source.admin_limit,
        frozenset(source.privileged_roles), source.use == "authority",
        owner=source.owner,
        limits={n: Limit(x.share, x.number, x.minimum) for n, x in source.limits},
        fast=built.fast_lane() if fast_every and isinstance(built, WithFastLane) else None,
        fast_every=fast_every.total_seconds() if fast_every else None, slow=_slow(source),
        has_flags=source.kind in ("learnworlds", "truto"),
        blind_after=source.blind_after.total_seconds() if source.blind_after else None,
        resume_within=getattr(source, "resume_within", timedelta(0)).total_seconds(), asks=_asks(source),
        matching=matching(config, source), raw_pages=raw_pages.total_seconds() if raw_pages else None,
    )  # fmt: skip


ASKED = (
    "url", "client_id", "members", "role_details", "seats_every", "event_logs_every", "raw_pages",
    "api", "integrated_account_id", "mcp_url", "groups", "count", "paging",
)  # fmt: skip


def _asks(source: SourceConfig) -> str:
    """Digest of the settings that decide what is asked for, and of whom."""
    decides = [getattr(source, name, None) for name in ASKED]
    return hashlib.sha256(repr(decides).encode()).hexdigest()[:16]


SLOW = ("members", "role_details", "seats", "event_logs")


def _slow(source: SourceConfig) -> dict[str, float]:
    """Parts with an interval of their own, by the setting's name: members_every."""
    found = {family: getattr(source, f"{family}_every", None) for family in SLOW}
    return {family: every.total_seconds() for family, every in found.items() if every}


def _caps(caps: CapsConfig) -> Caps:
    from monitor.sources.http import Caps

    return Caps(caps.pages, caps.records, caps.megabytes, caps.time.total_seconds())


def gate(clock: Clock, rate: tuple[int, float], folder: Path, *system: str) -> SharedGate:
    """One for all that is asked of one system for one client, in every process that uses this folder."""
    from monitor.sources.gate import SharedGate

    mark = hashlib.sha256("\0".join(system).encode()).hexdigest()[:12]
    return SharedGate(clock, *rate, folder / f".rate-{mark}")


def _decides(source: SourceConfig) -> object:
    """The settings that decide what an account looks like. Rows are compared as accounts, so only privilege counts."""
    match source:
        case LearnWorldsSource():
            return source.fields
        case TrutoSource():
            return source.fields, source.api
        case PythonSource():
            return [*source.settings.items()]
        case ScimSource():
            return source.fields, [*source.levels.items()]
    return ()


def _built(
    config: Config, source: SourceConfig, key: str, clock: Clock, progress: Progress | None, folder: Path
) -> Source:
    """Each kind's library is imported when a source of that kind is there."""
    match source:
        case LearnWorldsSource():
            return _learnworlds(config, source, key, clock, progress, folder)
        case ScimSource():
            return _scim(config, source, key, clock, progress, folder)
        case FileSource():
            return _file(config, source, clock, progress)
        case PythonSource():
            return _python(config, source, key, clock)
        case SqlSource():
            return _sql(config, source, key, clock, progress)
        case TrutoSource():
            return _truto(config, source, key, clock, progress, folder)


def _learnworlds(
    config: Config, source: LearnWorldsSource, key: str, clock: Clock, progress: Progress | None, folder: Path
) -> Source:
    from monitor.sources.learnworlds import LearnWorlds

    return LearnWorlds(
        name=source.name,
        url=source.url.rstrip("/"),
        client_id=source.client_id,
        token=secret(source.token, f"{key}.token", config),
        client_secret=secret(source.client_secret, f"{key}.client_secret", config),
        clock=clock,
        rate=source.rate,
        confirm_limit=source.confirm_limit,
        kept_fields=tuple(source.fields),
        read_members=source.members,
        read_details=source.role_details,
        read_seats=source.seats_every is not None,
        events_back=source.event_logs_every,
        progress=progress,
        gate=gate(clock, source.rate, folder, source.url.rstrip("/"), source.client_id),
        caps=_caps(source.caps),
    )


def _scim(
    config: Config, source: ScimSource, key: str, clock: Clock, progress: Progress | None, folder: Path
) -> Source:
    from monitor.sources.scim import Scim

    return Scim(
        source.name, source.url, source.token.read(f"{key}.token", config.folder), clock=clock, rate=source.rate,
        count=source.count, paging=source.paging, levels=source.levels, kept_fields=tuple(source.fields),
        read_groups=source.groups, confirm_limit=source.confirm_limit, progress=progress,
        gate=gate(clock, source.rate, folder, source.url.rstrip("/")), caps=_caps(source.caps),
    )  # fmt: skip


def _file(config: Config, source: FileSource, clock: Clock, progress: Progress | None) -> Source:
    from monitor.sources.files import File

    return File(
        source.name, config.folder / source.path, _columns(config, source), clock=clock, format=source.format,
        encoding=source.encoding, delimiter=source.delimiter, sheet=source.sheet, max_age=source.max_age,
        max_shrink=source.max_shrink, progress=progress,
    )  # fmt: skip


def _truto(
    config: Config, source: TrutoSource, key: str, clock: Clock, progress: Progress | None, folder: Path
) -> Source:
    from monitor.sources.truto import Truto

    url = source.url.rstrip("/")
    mcp_url = secret(source.mcp_url, f"{key}.mcp_url", config) if source.api == "mcp" else None
    if source.api == "mcp" and not (mcp_url or "").startswith(f"{url}/"):
        raise ConfigError([f"{key}.mcp_url: is no address below {url}, which is what {key}.url says"], str(config.path))
    return Truto(
        source.name,
        url,
        secret(source.token, f"{key}.token", config),
        source.integrated_account_id,
        api=source.api,
        mcp_url=mcp_url,
        clock=clock,
        rate=source.rate,
        confirm_limit=source.confirm_limit,
        kept_fields=tuple(source.fields),
        read_members=source.members,
        read_details=source.role_details,
        progress=progress,
        gate=gate(clock, source.rate, folder, url, source.integrated_account_id or mcp_url or ""),
        caps=_caps(source.caps),
    )


def _sql(config: Config, source: SqlSource, key: str, clock: Clock, progress: Progress | None) -> Source:
    from monitor.sources.sql import Sql, refused

    why = refused(source.query)
    if why is not None:
        raise ConfigError([f"{key}.query: {why}"], str(config.path))
    try:
        return Sql(
            source.name, source.url, source.query, _columns(config, source), clock=clock, folder=config.folder,
            password=secret(source.password, f"{key}.password", config), timeout=source.timeout.total_seconds(),
            max_rows=source.max_rows, max_shrink=source.max_shrink, progress=progress,
        )  # fmt: skip
    except SourceError as error:
        raise ConfigError([f"{key}.url: {error}"], str(config.path)) from error


def _python(config: Config, source: PythonSource, key: str, clock: Clock) -> Source:
    """Loads the file and calls its `source`. What stands in it runs with all that this program may do."""
    import importlib.util

    path = config.folder / source.file
    secrets = {name: where.read(f"{key}.secrets.{name}", config.folder) for name, where in source.secrets.items()}
    try:
        spec = importlib.util.spec_from_file_location(f"access_monitor_source_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ImportError("is no Python file")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        built: Source = module.source(name=source.name, settings=source.settings, secrets=secrets, clock=clock)
    except Exception as error:  # a stranger's code may raise anything, and the config is what can be mended
        why = f"{type(error).__name__}: {sanitised(str(error).encode(), tuple(secrets.values()))}"
        raise ConfigError([f"{key}.file: {path}: {why}"], str(config.path)) from error
    return built


def _columns(config: Config, source: TableSource) -> Columns:
    return Columns(
        source.columns.model_dump(exclude_none=True), tuple(source.fields), source.status_values,
        source.list_separator, source.date_format, config.zone,
    )  # fmt: skip
