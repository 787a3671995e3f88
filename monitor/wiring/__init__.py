"""Builds every part from the config. Nothing else constructs one."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import IO
from zoneinfo import ZoneInfo

from sqlalchemy import Engine

from monitor.config import Config, RouteConfig, SlackReceiver
from monitor.decide import drift, settings
from monitor.decide.deadlines import Tempo
from monitor.decide.flapping import Limit as Flapping
from monitor.decide.parse import parse_set, set_digest
from monitor.decide.timeline import run_tests
from monitor.deliver.render import Renderer
from monitor.deliver.slack import SlackBot
from monitor.domain.company import ANY_COMPANY, BusinessHours, Company, Setting
from monitor.domain.message import Escalation, Route
from monitor.domain.reading import Clock, Progress
from monitor.errors import ConfigError, RuleErrors, TemplateFault
from monitor.line.parts import Parts, RuleSet
from monitor.rulebook.folder import read_folder, stamp, unread
from monitor.store import rulesets
from monitor.store.engine import migrate, open_engine
from monitor.wiring.channels import Gates, channel, heartbeat, inboxes, manner, slack_bot
from monitor.wiring.sources import watched

PACKAGE = Path(__file__).parents[1]


def shipped(name: str) -> Path:
    """A file or folder that comes with the program: inside the wheel, or at the top of a checkout."""
    inside = PACKAGE / "shipped" / name
    return inside if inside.exists() else PACKAGE.parent / name


def rules_folder(config: Config) -> Path:
    """The config's folder of rules; the shipped rules while that does not exist and is not asked for."""
    mine = config.folder / config.rules
    if mine.is_dir():
        return mine
    if "rules" in config.model_fields_set:
        raise ConfigError([f"rules: there is no folder {mine}"], str(config.path))
    return shipped("rules")


def refuse_lost(config: Config, before: Path) -> None:
    """While the daemon runs, a folder that is gone does not mean the shipped rules: every finding of one's own would
    end. Raises RuleErrors.
    """
    if rules_folder(config) == shipped("rules") != before:
        raise RuleErrors([f"{before}: the folder of rules is gone; put it back, or restart to use the shipped ones"])


def rule_set(config: Config, today: date) -> RuleSet:
    """Raises RuleErrors with every fault of every file."""
    return rules_in(rules_folder(config), today, company(config))


def rules_in(folder: Path, today: date, company: Company = ANY_COMPANY) -> RuleSet:
    files = read_folder(folder)
    return parsed(files, today, company)


def parsed(files: Mapping[str, str], today: date, company: Company) -> RuleSet:
    """A set from its texts, which are not parsed anew while they say the same. Raises RuleErrors with every fault."""
    asked = (set_digest(files, company), today)
    found = _LATEST.get(asked)
    if found is None:
        found = RuleSet(parse_set(files, today=today, company=company), asked[0], files)
        _LATEST.clear()
        _LATEST[asked] = found
    return found


_LATEST: dict[tuple[str, date], RuleSet] = {}  # by its digest and the day: exemptions end with theirs


def tested(rules: RuleSet) -> RuleSet:
    """The set, when all tests in its files pass. Raises RuleErrors."""
    failed = [f"{r.file}:{t.line}: the test {t.test!r} fails: {t.message}" for r in rules.rules for t in run_tests(r)
              if not t.passed]  # fmt: skip
    if failed:
        raise RuleErrors(failed)
    return rules


def last_good(engine: Engine, clock: Clock, company: Company) -> RuleSet | None:
    """The set that the newest snapshot was judged by; None when there is none, or this version cannot read it."""
    kept = rulesets.latest(engine)
    try:
        return None if kept is None else parsed(kept[1], clock.now().date(), company)
    except RuleErrors:
        return None


def not_read(folder: Path) -> list[str]:
    """What is said of files in a folder of rules that are none."""
    return [f"{name}: is not read; the name of a rule file ends in .toml" for name in unread(folder)]


def rules_stamp(config: Config) -> str:
    """Moves whenever a rule file does."""
    return stamp(rules_folder(config))


def company(config: Config) -> Company:
    """What rules may ask of the config. Raises ConfigError."""
    hours = config.business_hours
    opens, closes = hours.hours
    found = dict(settings.declared(config.settings))
    faults = [f"settings.{name}: {fault}" for name, fault in found.items() if isinstance(fault, str)]
    if faults:
        raise ConfigError(faults, str(config.path))
    return Company(
        {name: s for name, s in found.items() if isinstance(s, Setting)},
        BusinessHours(
            ZoneInfo(hours.zone) if hours.zone else config.zone, hours.day_numbers, opens, closes, hours.country,
            hours.region, hours.deadlines, hours.reminders,
        ),
    )  # fmt: skip


def tempo(config: Config) -> Tempo:
    hours = company(config).hours
    return Tempo(tuple(config.due_soon), config.remind, hours if hours.reminders else None)


def renderer(config: Config) -> Renderer:
    mine = config.folder / config.templates
    if "templates" in config.model_fields_set and not mine.is_dir():
        raise ConfigError([f"templates: there is no folder {mine}"], str(config.path))
    ours = Renderer([shipped("templates")])
    try:
        return Renderer([mine, shipped("templates")], ours) if mine.is_dir() else ours
    except TemplateFault as error:
        raise ConfigError([str(error)], str(config.path)) from error


def database(config: Config, *, must_exist: bool = False) -> Engine:
    """The database, brought to the newest revision. Raises StoreError, or ConfigError when it must be there already."""
    engine = open_engine(config.database_url) if not must_exist or recorded(config) else None
    if engine is None:
        raise ConfigError(
            [f"there is no database at {config.database_url.removeprefix('sqlite:///')}; "
             "run `access-monitor poll` first"], str(config.path)
        )  # fmt: skip
    migrate(engine)
    return engine


def recorded(config: Config) -> bool:
    """Whether there is a database to look at; opening one would make it."""
    url = config.database_url
    return not url.startswith("sqlite:///") or Path(url.removeprefix("sqlite:///")).exists()


def staging_folder(config: Config) -> Path:
    url = config.database_url
    return Path(url.removeprefix("sqlite:///")).resolve().parent if url.startswith("sqlite:///") else config.folder


def routes(config: Config) -> tuple[Route, ...]:
    unknown = [
        f"routes[{i}].changes: there is no change {name}; there are {', '.join(drift.CHANGE_NAMES)}"
        for i, route in enumerate(config.routes)
        for name in route.changes
        if name not in drift.CHANGE_NAMES
    ]
    if unknown:
        raise ConfigError(unknown, str(config.path))
    hours = company(config).hours if any(r.in_business_hours for r in config.routes) else None
    return tuple(_route(r, hours if r.in_business_hours else None) for r in config.routes)


def _route(r: RouteConfig, hours: BusinessHours | None) -> Route:
    return Route(
        tuple(r.to), tuple(s.value for s in r.severity), tuple(r.rule), tuple(r.source), tuple(r.tag),
        tuple(r.changes), tuple(r.pack), tuple(r.owner), tuple(r.control), tuple(r.subject), r.go_on,
        tuple(Escalation(e.after, tuple(e.to)) for e in r.escalate), tuple(r.group_by), r.group_wait, hours,
    )  # fmt: skip


def living(config: Config) -> frozenset[str]:
    """Receivers that keep one message a finding up to date."""
    return frozenset(r.name for r in config.receivers if manner(r).living)


def slack_bots(config: Config) -> dict[str, tuple[SlackBot, str]]:
    """The receivers that post to Slack with a token, by name, each with the app's own token, or nothing."""
    render, bots = renderer(config), dict[str, tuple[SlackBot, str]]()
    for i, r in enumerate(config.receivers):
        if isinstance(r, SlackReceiver):
            key = f"receivers[{i}]"
            own = r.app_token.read(f"{key}.app_token", config.folder) if r.app_token else ""
            bots[r.name] = slack_bot(config, r, key, render), own
    return bots


def parts(
    config: Config,
    clock: Clock,
    *,
    stream: IO[str],
    progress: Progress | None = None,
    only: str | None = None,
    engine: Engine | None = None,
    unread: bool = False,
    rules: RuleSet | None = None,
) -> Parts:
    """Everything that the line needs. Raises ConfigError, RuleErrors or StoreError; all fallible work is done here.

    `unread`: without secrets, so nothing can be read or sent; for working on what was read before.
    """
    render, gates = renderer(config), Gates(clock)
    for fault in render.check() if render.overrides else ():
        render.note(fault)  # the shipped one is used in its place, and the operator is told
    if only is not None and only not in {s.name for s in config.sources}:
        raise ConfigError([f"sources: there is none called {only}"], str(config.path))
    beats = None if unread else heartbeat(config, clock)
    return Parts(
        engine=engine or database(config),
        clock=clock,
        rules=rules or rule_set(config, clock.now().date()),
        routes=routes(config),
        channels={
            r.name: gates.paced(channel(config, r, f"receivers[{i}]", render, stream, clock))
            for i, r in enumerate(() if unread else config.receivers)
        },
        manners={r.name: manner(r) for r in config.receivers},
        drill=config.drill,
        beat=beats.beat if beats is not None else lambda _failed: None,
        template_faults=render.faults,
        watched={
            s.name: watched(config, s, f"sources[{i}]", clock, progress, staging_folder(config), unread=unread)
            for i, s in sorted(enumerate(config.sources), key=lambda n: n[1].use != "authority")
            if only in (None, s.name)
        },
        sources=tuple(s.name for s in config.sources),
        staging_folder=staging_folder(config),
        inboxes=() if unread else inboxes(config, clock),
        zone=config.zone,
        storm_limit=config.storm_limit,
        flapping=Flapping(config.flapping, config.flapping_window) if config.flapping else None,
        exemption_warning=config.exemption_warning,
        silence_warning=config.silence_warning,
        tempo=tempo(config),
        second_approver=config.second_approver,
        at=fault_hook(),
    )


def fault_hook() -> Callable[[str], None]:
    """Stops the process dead at a named step, for tests of what survives: ACCESS_MONITOR_KILL_AT="STEP" or "STEP#3"."""
    wanted, _, count = os.environ.get("ACCESS_MONITOR_KILL_AT", "").partition("#")
    if not wanted:
        return lambda _step: None
    left = int(count or 1)

    def at(step: str) -> None:
        nonlocal left
        if step == wanted:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return at
