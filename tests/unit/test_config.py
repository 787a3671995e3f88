"""The config: the smallest one works, and every mistake is one clear error that names its key and no value."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel

from monitor.config import (
    LONGEST_SECRET,
    SOURCES,
    BusinessHoursConfig,
    Config,
    ConsoleReceiver,
    Database,
    EmailReceiver,
    ExpectationConfig,
    FilesReceiver,
    LearnWorldsSource,
    RouteConfig,
    Secret,
    SlackReceiver,
    SlackWebhookReceiver,
    WebhookReceiver,
    load,
)
from monitor.errors import ConfigError

ROOT = Path(__file__).parents[2]
SMALLEST = """\
[[sources]]
name = "school"
kind = "learnworlds"
url = "http://127.0.0.1:8787"
client_id = "c1"
token = { env = "LW_TOKEN" }

[[receivers]]
name = "out"
kind = "files"
path = "./messages"

[[routes]]
to = ["out"]
"""
SLACK = 'kind = "slack"\ntoken = { env = "SLACK" }\nchannel = "C1"'
MAIL = 'kind = "email"\nhost = "smtp.example.com"\nfrom = "a@example.com"\nto = "b@example.com"'
FILES = 'kind = "files"\npath = "./messages"'
SECRET = "a secret must not stand in the config: write "
DURATION = 'must be a duration: a number and s, m, h or d, like "15m"'
RATE = 'must be a rate: requests and a time, like "30/10s"'
ADDRESS = 'must be an address without a path or a password, like "https://yourschool.learnworlds.com"'


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine that runs the tests has set does not count."""
    ours = [name for name in os.environ if name.startswith("ACCESS_MONITOR_")]
    for name in (*ours, "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def written(folder: Path, text: str = SMALLEST) -> Path:
    path = folder / "config.toml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text))
    assert all(line.startswith(f"{folder / 'config.toml'}: ") for line in str(caught.value).splitlines())
    return caught.value.problems


HOURS_OF_ONE_DAY = 'business_hours.hours: must be hours of one day, like "09:00-17:00"'
NO_COUNTRY = 'there are no holidays of this country; write its two letters, like country = "DE"'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('hours = "17:00-09:00"', HOURS_OF_ONE_DAY),
        ('hours = "9-17"', HOURS_OF_ONE_DAY),
        ('zone = "Mars/Olympus"', 'business_hours.zone: is no time zone; write it like "Europe/Berlin"'),
        ('country = "Germany"', f"business_hours: {NO_COUNTRY}"),
        ('country = "DE"\nregion = "XX"', "business_hours: there is no such region; there are BB, BE, "),
        ('region = "BE"', "business_hours: region needs a country, too"),
        ("days = []", "business_hours.days: needs at least one"),
        ('day = ["mon"]', "business_hours.day: is no setting; did you mean days?"),
    ],
)
def test_faulty_business_hours(tmp_path: Path, text: str, said: str) -> None:
    """Each says what to write instead."""
    (fault,) = faults(tmp_path, f"[business_hours]\n{text}\n{SMALLEST}")
    assert fault.startswith(said)


# What is right


def test_the_smallest_config(tmp_path: Path) -> None:
    """One source, one receiver, one route; everything else has a default."""
    config = load(written(tmp_path))
    (source,), (receiver,), (route,) = config.sources, config.receivers, config.routes
    assert isinstance(source, LearnWorldsSource)
    assert (source.name, source.url, source.client_id) == ("school", "http://127.0.0.1:8787", "c1")
    assert (source.every, source.rate) == (timedelta(minutes=15), (30, 10.0))
    assert (source.admin_limit, source.privileged_roles, source.fields) == (None, [], ["company"])
    assert (source.members, source.role_details, source.confirm_limit) == (True, True, 200)
    assert (source.token, source.client_secret) == (Secret(env="LW_TOKEN"), None)
    assert isinstance(receiver, FilesReceiver)
    assert (receiver.path, receiver.format) == (Path("messages"), "json")
    assert (route.to, route.severity, route.changes) == (["out"], [], [])
    assert (config.rules, config.templates, config.log) == (Path("rules"), Path("templates"), "text")
    assert config.zone == ZoneInfo("UTC")
    assert (config.path, config.folder) == (tmp_path / "config.toml", tmp_path)


def test_the_database_is_beside_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless systemd gives a folder for it, or database.url says where."""
    config = load(written(tmp_path))
    assert config.database_url == f"sqlite:///{tmp_path}/access-monitor.sqlite"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/access-monitor:/var/lib/other")
    assert config.database_url == "sqlite:////var/lib/access-monitor/access-monitor.sqlite"
    elsewhere = load(written(tmp_path, '[database]\nurl = "sqlite:////srv/x.sqlite"\n' + SMALLEST))
    assert elsewhere.database_url == "sqlite:////srv/x.sqlite"


def test_the_database_is_beside_a_config_that_is_named_relatively(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the program goes later, the place does not move."""
    written(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert load(Path("config.toml")).database_url == f"sqlite:///{tmp_path}/access-monitor.sqlite"


def test_the_example_is_valid() -> None:
    """As it stands, and with every setting in it switched on."""
    assert load(ROOT / "config.example.toml").sources[0].name == "school"


def test_every_setting_in_the_example_is_one(tmp_path: Path) -> None:
    """With all comments of the kind `# name = value` switched on: defaults are as the program has them."""
    text = (ROOT / "config.example.toml").read_text(encoding="utf-8")
    everything = re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)
    everything = everything.replace('token = { env = "LW_TOKEN" }\n', "", 1)  # either this or client_secret
    config = load(written(tmp_path, everything))
    assert sorted(s.kind for s in config.sources) == sorted(SOURCES)
    assert [r.kind for r in config.receivers] == ["files", "console", "slack", "slack_webhook", "email", "webhook"]
    smallest = load(written(tmp_path))
    for name in ("use", "every", "rate", "privileged_roles", "fields", "members", "role_details", "confirm_limit"):
        assert getattr(config.sources[0], name) == getattr(smallest.sources[0], name), name
    assert (config.rules, config.templates, config.time_zone, config.log) == (
        smallest.rules, smallest.templates, smallest.time_zone, smallest.log,
    )  # fmt: skip


def test_every_setting_is_in_the_example() -> None:
    """With one sentence above it."""
    lines = (ROOT / "config.example.toml").read_text(encoding="utf-8").splitlines()
    setting = re.compile(r"(?:# )?(\w+)(?:\.\w+)? = ")
    explained = {
        m[1]
        for above, line in pairwise(lines)
        if (m := setting.match(line)) and above.startswith("# ") and not setting.match(above)
    }
    tables: list[type[BaseModel]] = [
        Config, Database, *SOURCES.values(), FilesReceiver, ConsoleReceiver, SlackReceiver, SlackWebhookReceiver,
        EmailReceiver, RouteConfig, WebhookReceiver, BusinessHoursConfig, ExpectationConfig,
    ]  # fmt: skip
    names = {f.alias or n for t in tables for n, f in t.model_fields.items()}
    tables_themselves = {"database", "sources", "expectations", "receivers", "routes", "business_hours"}
    assert names - explained == tables_themselves


@pytest.mark.parametrize(
    ("every", "meant"), [("10s", 10), ("5m", 300), ("36h", 129600), ("2d", 172800)]
)  # fmt: skip
def test_durations(tmp_path: Path, every: str, meant: int) -> None:
    """A number and a unit."""
    config = load(written(tmp_path, SMALLEST.replace("client_id", f'every = "{every}"\nclient_id')))
    assert config.sources[0].every == timedelta(seconds=meant)


def test_a_variable_of_the_environment_stands_above_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For containers; a faulty one is an error like any other."""
    monkeypatch.setenv("ACCESS_MONITOR_LOG", "json")
    assert load(written(tmp_path, 'log = "text"\n' + SMALLEST)).log == "json"
    monkeypatch.setenv("ACCESS_MONITOR_LOG", "xml")
    assert faults(tmp_path, SMALLEST) == ["log: Input should be 'text' or 'json'"]
    monkeypatch.delenv("ACCESS_MONITOR_LOG")
    monkeypatch.setenv("ACCESS_MONITOR_SOURCES", "[hunter2")
    (fault,) = faults(tmp_path, SMALLEST)
    assert '"sources"' in fault
    assert "hunter2" not in fault


# What is wrong: what is written instead of what, and the one error that says so.


def source(line: str) -> tuple[str, str]:
    return "client_id", f"{line}\nclient_id"


MISTAKES: list[tuple[str, str, str]] = [
    # unknown keys, with the nearest name of that very table
    ('name = "school"', 'nam = "school"', "sources[0].nam: is no setting; did you mean name?"),
    ("[[sources]]", "rulez = 1\n[[sources]]", "rulez: is no setting; did you mean rules?"),
    ("[[sources]]", 'path = "x"\n[[sources]]', "path: is no setting"),
    ("[[sources]]", "[database]\nurll = 1\n[[sources]]", "database.urll: is no setting; did you mean url?"),
    ('path = "./messages"', 'path = "."\nchannel = "C1"', "receivers[0].channel: is no setting"),
    (FILES, FILES + '\nfiles = "x"', "receivers[0].files: is no setting"),
    (FILES, SLACK.replace("channel", "chanel"), "receivers[0].chanel: is no setting; did you mean channel?"),
    (FILES, SLACK.replace("env", "enw"), "receivers[0].token.enw: is no setting; did you mean env?"),
    (FILES, MAIL + '\nsender = "x"', "receivers[0].sender: is no setting"),
    ('to = ["out"]', 'to = ["out"]\nsevrity = []', "routes[0].sevrity: is no setting; did you mean severity?"),
    # missing
    ('name = "school"\n', "", "sources[0].name: is missing"),
    ('token = { env = "LW_TOKEN" }\n', "", "sources[0]: needs exactly one of token and client_secret"),
    ('path = "./messages"\n', "", "receivers[0].path: is missing"),
    ('kind = "files"\n', "", "receivers[0].kind: is missing; it is one of files, console, slack, slack_webhook, email"),
    ('[[routes]]\nto = ["out"]\n', "", "routes: is missing"),
    ('to = ["out"]', "to = []", "routes[0].to: needs at least one"),
    # wrong types and values
    ('"c1"', "5", "sources[0].client_id: Input should be a valid string"),
    ('"c1"', '""', "sources[0].client_id: is too short"),
    (*source("members = 1"), "sources[0].members: Input should be a valid boolean"),
    (*source('members = "yes"'), "sources[0].members: Input should be a valid boolean"),
    (*source("admin_limit = true"), "sources[0].admin_limit: Input should be a valid integer"),
    (*source('admin_limit = "5"'), "sources[0].admin_limit: Input should be a valid integer"),
    (*source("admin_limit = -1"), "sources[0].admin_limit: Input should be greater than or equal to 0"),
    (*source('fields = "company"'), "sources[0].fields: Input should be a valid list"),
    ("[[sources]]", "rules = 5\n[[sources]]", "rules: must be a path, in quotes"),
    ("[[sources]]", 'database = "x"\n[[sources]]', "database: must be a table"),
    ("[[sources]]", 'time_zone = "Mars"\n[[sources]]', 'time_zone: is no time zone; write it like "Europe/Berlin"'),
    ("[[sources]]", 'log = "xml"\n[[sources]]', "log: Input should be 'text' or 'json'"),
    ('"learnworlds"', '"moodle"', f"sources[0].kind: must be one of {', '.join(SOURCES)}"),
    *(("\n".join(SMALLEST.splitlines()[2:6]), f'kind = "truto"\n{lines}', f"sources[0]: {said}") for lines, said in (
        ("", 'needs token and integrated_account_id for api = "unified"'),
        ('api = "proxy"\ntoken = { env = "T" }', 'needs token and integrated_account_id for api = "proxy"'),
        ('api = "mcp"\ntoken = { env = "T" }', 'needs mcp_url for api = "mcp"'),
        ('api = "mcp"\nmcp_url = { env = "M" }\nintegrated_account_id = "1"',
         "has an integrated_account_id, which is of no use without token"))),
    (*source('use = "hr"'), "sources[0].use: Input should be 'target' or 'authority'"),
    ('"files"', '"fax"', "receivers[0].kind: must be one of files, console, slack, slack_webhook, email"),
    ('"school"', '"my school"',
     "sources[0].name: must be letters, digits, dots, hyphens and underscores, 63 at most"),
    (FILES, MAIL + "\nport = 70000", "receivers[0].port: Input should be less than or equal to 65535"),
    ('to = ["out"]', 'to = "out"', "routes[0].to: Input should be a valid list"),
    ('to = ["out"]', 'to = ["out"]\nseverity = ["hihg"]',
     "routes[0].severity[0]: Input should be 'low', 'medium', 'high' or 'critical'"),
    # addresses
    *((f'"{SMALLEST.splitlines()[3][7:-1]}"', f'"{url}"', f"sources[0].url: {ADDRESS}") for url in (
        "ftp://x", "school.example.com", "https://x/admin", "https://ann:hunter2@x", "")),
    # durations and rates
    *((*source(f"every = {v}"), f"sources[0].every: {DURATION}") for v in (
        '"15"', "15", '"15w"', '"PT15M"', '""', '"-5m"', '"1.5h"', '"9999999999d"', '"²d"', '"5 m"', "true", "[]")),
    (*source('every = "0s"'), "sources[0].every: must be at least 1s"),
    *((*source(f"rate = {v}"), f"sources[0].rate: {RATE}") for v in (
        '"30"', "30", '"3/"', '"0/1s"', '"30/10"', '"x/1s"', '"30/0s"', '"²/10s"', '"-1/10s"', '"1/2s/3"', "[1, 2]")),
    # persons
    (*source('match = ["a b"]'), "sources[0].match[0]: must be a field of the person and one of the account, like "
     '"employee_id:cf_employee_id", or one name for both, like "email"'),
    (*source("match = []"), "sources[0].match: needs at least one"),
    (*source('authorities = ["hr"]'),
     'sources[0].authorities: hr: there is no such source; name sources with use = "authority"'),
    (*source('authorities = ["school"]'),
     'sources[0].authorities: school: is a target; name sources with use = "authority"'),
    (*source('use = "authority"\nmatch = ["email"]'), "sources[0].match: is for targets; school is an authority"),
    (*source('stale_after = "2d"'), "sources[0].stale_after: is for authorities; school is a target"),
    ("[[receivers]]", '[[expectations]]\ntitle = ["x"]\n[[receivers]]',
     "expectations[0]: expects nothing: say which levels are allowed, or which groups are required"),
    ("[[receivers]]", '[[expectations]]\nlevels = ["user"]\nsource = ["x"]\n[[receivers]]',
     "expectations[0].source: there is no target x"),
    ("[[receivers]]", '[[expectations]]\nlevel = ["user"]\n[[receivers]]',
     "expectations[0].level: is no setting; did you mean levels?"),
    # limits
    (*source('limits.removd = "off"'), "sources[0].limits.removd: is no setting; did you mean removed?"),
    (*source("limits.removed = { shar = 1 }"), "sources[0].limits.removed.shar: is no setting; did you mean share?"),
    (*source("limits.removed = { share = 20 }"),
     "sources[0].limits.removed.share: Input should be less than or equal to 1"),
    (*source("limits.removed = { number = -1 }"),
     "sources[0].limits.removed.number: Input should be greater than or equal to 0"),
    (*source('limits.removed = "20%"'), "sources[0].limits.removed: must be a table like "
     '{ share = 0.2, number = 1000, minimum = 25 }, or "off"'),
    # secrets
    ('{ env = "LW_TOKEN" }', '"hunter2"', f"sources[0].token: {SECRET}"),
    ('{ env = "LW_TOKEN" }', '["hunter2"]', f"sources[0].token: {SECRET}"),
    ('{ env = "LW_TOKEN" }', '{ env = "A", file = "b" }', "sources[0].token: must name exactly one of env, file"),
    ('{ env = "LW_TOKEN" }', "{}", "sources[0].token: must name exactly one of env, file and credential"),
    ('{ env = "LW_TOKEN" }', '{ env = "A" }\nclient_secret = { env = "B" }',
     "sources[0]: needs exactly one of token and client_secret"),
    (FILES, 'kind = "slack_webhook"\nurl = "https://hooks.slack.com/hunter2"', f"receivers[0].url: {SECRET}"),
    ("[[sources]]", '[database]\nurl = "postgresql://ann:hunter2@db/x"\n[[sources]]',
     "database.url: a password must not stand in the config; PostgreSQL takes it from PGPASSFILE"),
    # names that do not fit together
    ("[[routes]]", '[[receivers]]\nname = "out"\nkind = "console"\n[[routes]]', "receivers: two are called out"),
    ("[[receivers]]", SMALLEST[: SMALLEST.index("[[receivers]]")] + "[[receivers]]", "sources: two are called school"),
    ('to = ["out"]', 'to = ["owt"]', "routes[0].to: there is no receiver owt"),
    ("[[routes]]", '[[routes]]\nto = ["out"]\nsource = ["x"]\n[[routes]]', "routes[0].source: there is no source x"),
    # routes
    *(('to = ["out"]', f'to = ["out"]\n{key} = ["{value}"]',
       "routes[0]: the last route for findings must match all: leave only `to`") for key, value in (
        ("severity", "high"), ("rule", "*"), ("source", "school"), ("tag", "t"))),
    ('to = ["out"]', 'to = ["out"]\nchanges = ["left"]',
     "routes: none takes findings; add a last route with nothing but `to`"),
    ("[[routes]]", '[[routes]]\nto = ["out"]\nchanges = ["left"]\nrule = ["x"]\n[[routes]]',
     "routes[0]: changes go by `source` alone; make two routes of it"),
    *(("[[routes]]", f'[[routes]]\nto = ["out"]\nchanges = ["left"]\n{key}\n[[routes]]',
       "routes[0]: changes go by `source` alone; make two routes of it") for key in (
        'group_by = ["rule"]', "in_business_hours = true")),
    ('to = ["out"]', 'to = ["out"]\ngroup_wait = "5m"',
     "routes[0].group_wait: nothing is told together without `group_by`"),
    ('to = ["out"]', 'to = ["out"]\ngroup_by = ["rule"]\ngroup_wait = "2d"',
     "routes[0].group_wait: must be 1d at most: nobody is told meanwhile"),
    ('to = ["out"]', 'to = ["out"]\nescalate = [{ after = "0h", to = ["out"] }]',
     "routes[0].escalate[0].after: must be more than zero"),
    # no TOML
    ("[[sources]]", "[[sources", "not valid TOML: Expected ']]'"),
    ("[[sources]]", "log = 'text'\nlog = 'text'\n[[sources]]", "not valid TOML: Cannot overwrite a value"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), MISTAKES, ids=[f"{m[1][:30]}-{m[2][:40]}" for m in MISTAKES])
def test_every_mistake_is_one_clear_error(tmp_path: Path, old: str, new: str, said: str) -> None:
    """The file, the key's path, and what to write; never the value, which may be a secret in the wrong place."""
    assert old in SMALLEST
    (fault,) = faults(tmp_path, SMALLEST.replace(old, new, 1))
    assert fault.startswith(said)
    assert "hunter2" not in fault


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Nobody should have to start it five times."""
    wrong = SMALLEST.replace('"c1"', "5").replace('"files"', '"fax"').replace('["out"]', "[]")
    assert [f.partition(":")[0] for f in faults(tmp_path, wrong)] == [
        "sources[0].client_id", "receivers[0].kind", "routes[0].to",
    ]  # fmt: skip


def test_routes_of_changes_may_follow_the_last(tmp_path: Path) -> None:
    """They take no findings, so they take nothing from the route that matches all."""
    assert len(load(written(tmp_path, SMALLEST + '[[routes]]\nto = ["out"]\nchanges = ["left"]\n')).routes) == 2


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Says why, and how to make one when there is none."""
    with pytest.raises(ConfigError, match=r"nothere\.toml: cannot be read: No such file.*access-monitor init"):
        load(tmp_path / "nothere.toml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)
    (tmp_path / "config.toml").write_bytes(b"log = '\xff'")
    with pytest.raises(ConfigError, match="is no UTF-8 text"):
        load(tmp_path / "config.toml")
    (tmp_path / "config.toml").write_text("\ufeff" + SMALLEST, encoding="utf-8")
    with pytest.raises(ConfigError, match="begins with a byte order mark: save it as UTF-8 without one"):
        load(tmp_path / "config.toml")
    os.mkfifo(tmp_path / "pipe.toml")
    with pytest.raises(ConfigError, match="is a pipe"):
        load(tmp_path / "pipe.toml")


# Secrets


def test_where_a_secret_may_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment, a file relative to the config, or a credential of systemd; space around it is cut off."""
    monkeypatch.setenv("LW_TOKEN", " hunter2\n")
    assert Secret(env="LW_TOKEN").read("key", tmp_path) == "hunter2"
    (tmp_path / "token").write_text("hunter3\n")
    assert Secret(file=Path("token")).read("key", tmp_path) == "hunter3"
    assert Secret(file=tmp_path / "token").read("key", Path("/")) == "hunter3"
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Secret(credential="token").read("key", Path("/")) == "hunter3"


NO_SECRETS: list[tuple[Secret, str]] = [
    (Secret(env="NOT_SET"), "the environment variable NOT_SET is not set"),
    (Secret(env="EMPTY"), "the environment variable EMPTY is not set"),
    (Secret(file=Path("nothere")), "cannot read .*/nothere: No such file or directory"),
    (Secret(file=Path("empty")), "empty is empty"),
    (Secret(file=Path("binary")), "cannot read .*/binary: is no text"),
    (Secret(file=Path("large")), "large is too large for a secret"),
    (Secret(file=Path("folder")), "cannot read .*/folder: Is a directory"),
    (Secret(credential="x"), r"\$CREDENTIALS_DIRECTORY is not set; start it by systemd with LoadCredential="),
]


@pytest.mark.parametrize(("secret", "said"), NO_SECRETS, ids=[s[1][:40] for s in NO_SECRETS])
def test_a_missing_secret_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: Secret, said: str) -> None:
    """The key and the place where it should be; what is there is not told."""
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"hunter2\xff")
    (tmp_path / "large").write_text("hunter2" * LONGEST_SECRET)
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=f"^sources.0..token: .*{said}") as caught:
        secret.read("sources[0].token", tmp_path)
    assert len(caught.value.problems) == 1
    assert "hunter2" not in str(caught.value)


def test_a_config_holds_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However it is printed: it knows only where they lie."""
    monkeypatch.setenv("LW_TOKEN", "hunter2")
    config = load(written(tmp_path, SMALLEST.replace(FILES, SLACK)))
    assert isinstance(config.sources[0], LearnWorldsSource)
    assert config.sources[0].token is not None
    assert config.sources[0].token.read("key", tmp_path) == "hunter2"
    shown = [repr(config), str(config), str(config.model_dump()), config.model_dump_json(), str(vars(config))]
    assert [text for text in shown if "hunter2" in text] == []


def test_a_config_cannot_be_changed(tmp_path: Path) -> None:
    """Reloading makes a new one."""
    config: Config = load(written(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        setattr(config, "log", "json")  # noqa: B010  # a type checker would refuse the plain way
