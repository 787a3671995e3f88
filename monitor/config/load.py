"""Reading config.toml. Faults name the key's path; a value is never printed, since it may be a secret."""

from __future__ import annotations

import difflib
import fnmatch
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsError, TomlConfigSettingsSource

from monitor.config.hours import BusinessHoursConfig
from monitor.config.persons import ExpectationConfig
from monitor.config.receivers import RECEIVERS, SlackReceiver
from monitor.config.settings import Config, Database, Heartbeat, RouteConfig
from monitor.config.sources import SOURCES, LearnWorldsSource
from monitor.errors import ConfigError


def load(path: Path) -> Config:
    """The config in a file. Raises ConfigError that names every fault by its key."""
    try:
        if path.is_fifo():
            raise ConfigError(["is a pipe, and is read more than once: write it into a file"], str(path))
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        advice = " Run `access-monitor init FOLDER` to make one." if isinstance(error, FileNotFoundError) else ""
        raise ConfigError([f"cannot be read: {error.strerror}.{advice}"], str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(["is no UTF-8 text"], str(path)) from error
    if text.startswith("\ufeff"):
        raise ConfigError(["begins with a byte order mark: save it as UTF-8 without one"], str(path))
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([f"not valid TOML: {error}"], str(path)) from error
    try:
        config = _reading(path)()
    except ValidationError as error:
        raise ConfigError(_named(error), str(path)) from error
    except SettingsError as error:  # an environment variable that is no JSON; the message names the setting
        raise ConfigError([f"environment variables ACCESS_MONITOR_...: {error}"], str(path)) from error
    config._path = path
    problems = list(_cross_checks(config))
    if problems:
        raise ConfigError(problems, str(path))
    return config


def _reading(path: Path) -> type[Config]:
    """A Config that reads this file, with environment variables (ACCESS_MONITOR_...) above it."""

    class FromFile(Config):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=path)

    return FromFile


_SAID = {
    "missing": "is missing",
    "model_type": "must be a table",
    "path_type": "must be a path, in quotes",
    "string_too_short": "is too short",
    "too_short": "needs at least one",
    "greater_than": "must be more than zero",
}


def _named(error: ValidationError) -> list[str]:
    """Faults by key. Only what was expected is told: the input may be a secret in the wrong place."""
    problems: dict[str, str] = {}
    for fault in error.errors(include_input=False, include_url=False, include_context=False):
        key, meant = _key(fault["loc"]), ""
        if fault["type"].startswith("union_tag"):
            key += ".kind"
            fault["msg"] = _kinds(fault["type"], fault["loc"])
        elif fault["type"] == "extra_forbidden":
            meant = _near(fault["loc"])
        if fault["type"] == "extra_forbidden":
            problems[key] = f"is no setting{f'; did you mean {meant}?' if meant else ''}"
        else:
            problems[key] = _SAID.get(fault["type"]) or fault["msg"].removeprefix("Value error, ")
        misspelt = f"{key.rpartition('.')[0]}.{meant}".lstrip(".")
        if meant and problems.get(misspelt) == _SAID["missing"]:
            del problems[misspelt]  # one mistake, one error
    return [f"{key}: {message}" if key else message for key, message in problems.items()]


def _kinds(fault: str, loc: tuple[int | str, ...]) -> str:
    said = "must be" if fault == "union_tag_invalid" else "is missing; it is"
    return f"{said} one of {', '.join(_unions(loc))}"


def _unions(loc: tuple[int | str, ...]) -> Mapping[str, type[BaseModel]]:
    """The kinds that a table has classes for: then the third part of a place names the kind."""
    tables: dict[str, Mapping[str, type[BaseModel]]] = {"sources": SOURCES, "receivers": RECEIVERS}
    return tables.get(str(loc[0]) if loc else "", {})


def _key(loc: tuple[int | str, ...]) -> str:
    """("receivers", 0, "files", "path") as receivers[0].path: the third stands for the kind, and is no key."""
    parts = [*loc[:2], *loc[3:]] if _unions(loc) else loc
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in parts).lstrip(".")


def _near(loc: tuple[int | str, ...]) -> str:
    """The setting of this place that is called nearly the same, or nothing."""
    tables: dict[Any, type[BaseModel]] = {
        "routes": RouteConfig, "expectations": ExpectationConfig, "database": Database,
        "business_hours": BusinessHoursConfig, "heartbeat": Heartbeat,
    }  # fmt: skip
    kinds = _unions(loc)
    model = kinds[str(loc[2])] if kinds else tables.get(loc[0], Config)
    depth = {"routes": 2, "expectations": 2, "database": 1, "business_hours": 1, "heartbeat": 1}
    inside = loc[3 if kinds else depth.get(str(loc[0]), 0) : -1]
    for name in inside:
        model = _table_in(model, str(name))
    known = [f.alias or n for n, f in model.model_fields.items()]
    return next(iter(difflib.get_close_matches(str(loc[-1]), known, n=1)), "")


def _table_in(model: type[BaseModel], name: str) -> type[BaseModel]:
    """The class of a table inside another, such as a secret or the names of columns."""
    field = model.model_fields.get(name)
    for kind in (field.annotation, *get_args(field.annotation)) if field else ():
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return BaseModel


def _cross_checks(config: Config) -> list[str]:
    problems = [f"sources: two are called {n}" for n in _twice([s.name for s in config.sources])]
    problems += _rates(config)
    problems += _of_persons(config)
    problems += [f"receivers: two are called {n}" for n in _twice([r.name for r in config.receivers])]
    receivers, sources = {r.name for r in config.receivers}, {s.name for s in config.sources}
    problems += _of_the_endpoint(config)
    for i, receiver in enumerate(config.receivers):
        if receiver.fallback is not None and receiver.fallback not in receivers - {receiver.name}:
            problems.append(f"receivers[{i}].fallback: there is no other receiver {receiver.fallback}")
    for i, route in enumerate(config.routes):
        problems += [f"routes[{i}].to: there is no receiver {n}" for n in route.to if n not in receivers]
        problems += [
            f"routes[{i}].escalate[{n}].to: there is no receiver {name}"
            for n, step in enumerate(route.escalate) for name in step.to if name not in receivers
        ]  # fmt: skip
        if "group_wait" in route.model_fields_set and not route.group_by:
            problems.append(f"routes[{i}].group_wait: nothing is told together without `group_by`")
        if route.changes and (_of_findings(route) or _manners(route)):
            problems.append(f"routes[{i}]: changes go by `source` alone; make two routes of it")
        problems += [
            f"routes[{i}].source: there is no source {n}" for n in route.source if not fnmatch.filter(sources, n)
        ]
    for_findings = [(i, r) for i, r in enumerate(config.routes) if not r.changes]
    if not for_findings:
        return [*problems, "routes: none takes findings; add a last route with nothing but `to`"]
    last_i, last = for_findings[-1]
    if _of_findings(last) or last.source or last.go_on:
        problems.append(f"routes[{last_i}]: the last route for findings must match all: leave only `to`")
    return problems


def _of_findings(route: RouteConfig) -> bool:
    """Whether it names what only findings have."""
    return any((route.severity, route.rule, route.pack, route.tag, route.owner, route.control, route.subject))


def _manners(route: RouteConfig) -> bool:
    """Whether it says how findings are told."""
    return any((route.go_on, route.escalate, route.group_by, route.in_business_hours))


def _of_the_endpoint(config: Config) -> list[str]:
    """An address that nobody is let in at, or a secret that nothing is held against, is a mistake."""
    signed = [
        i for i, r in enumerate(config.receivers) if isinstance(r, SlackReceiver) and r.signing_secret is not None
    ]
    if config.slack_endpoint is None:
        return [f"receivers[{i}].signing_secret: needs slack_endpoint, the address that Slack's requests come to"
                for i in signed]  # fmt: skip
    if not signed:
        return ["slack_endpoint: needs a receiver with signing_secret, by which Slack's requests are known"]
    port = int(config.slack_endpoint.rpartition(":")[2])
    return [] if 0 < port < 65536 else [f"slack_endpoint: {port} is no port"]


def _rates(config: Config) -> list[str]:
    """Who asks one system for one client shares its limit, and so must agree on it."""
    schools = [s for s in config.sources if isinstance(s, LearnWorldsSource)]
    by_system = {(s.url.rstrip("/"), s.client_id): s for s in schools}
    return [
        f"sources: {s.name} and {other.name} ask the same school for the same client, so `rate` must be the same"
        for s in schools
        if (other := by_system[s.url.rstrip("/"), s.client_id]).rate != s.rate
    ]


def _of_persons(config: Config) -> list[str]:
    """Authorities and targets, each with settings that mean something for it."""
    use = {s.name: s.use for s in config.sources}
    problems = []
    for i, source in enumerate(config.sources):
        of_targets = {"authorities", "match", "aliases"} & source.model_fields_set if source.use == "authority" else ()
        problems += [
            f"sources[{i}].{name}: is for targets; {source.name} is an authority" for name in sorted(of_targets)
        ]
        if source.use == "target" and "stale_after" in source.model_fields_set:
            problems.append(f"sources[{i}].stale_after: is for authorities; {source.name} is a target")
        for name in source.authorities or ():
            if use.get(name) != "authority":
                why = "is a target" if name in use else "there is no such source"
                problems.append(f'sources[{i}].authorities: {name}: {why}; name sources with use = "authority"')
    for i, expectation in enumerate(config.expectations):
        problems += [f"expectations[{i}].source: there is no target {n}" for n in expectation.source
                     if use.get(n) != "target"]  # fmt: skip
    return problems


def _twice(names: list[str]) -> list[str]:
    return sorted({n for n in names if names.count(n) > 1})
