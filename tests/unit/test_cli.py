"""The command line: what it exits with, what it says when something is wrong, and where to start."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import typer

from monitor.cli import main, rules
from monitor.cli.app import Exit, app, person, register
from monitor.config import load
from monitor.errors import ConfigError

ROOT = Path(__file__).parents[2]
CONFIG = """\
[[sources]]
name = "school"
kind = "learnworlds"
url = "http://127.0.0.1:9"
client_id = "c1"
token = { env = "LW_TOKEN_NOT_SET" }
[[receivers]]
name = "out"
kind = "files"
path = "./messages"
[[routes]]
to = ["out"]
"""
RULE = """\
id = "idle-admin"
title = "{account.email} is idle"
severity = "high"
owner = "it@example.com"
fix_within = "36h"
for_each = "account"
closes = "after 90m"
description = "Idle."
runbook = "1. Ask."
match = ["account.is_admin", "account.idle_days > 90"]
[[tests]]
name = "idle"
expect = "finding"
polls = [ { is_admin = true, last_login = "91d ago" } ]
[[tests]]
name = "busy"
expect = "nothing"
polls = [ { is_admin = true } ]
[[tests]]
name = "nobody says"
expect = "unknown"
polls = [ { last_login = "91d ago", absent = ["is_admin"] } ]
"""
Ran = tuple[int, str, str]


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, and a terminal of a known width."""
    for name in [n for n in os.environ if n.startswith("ACCESS_MONITOR_")]:
        monkeypatch.delenv(name)
    for name in ("STATE_DIRECTORY", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)


class Cli:
    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *args: str) -> Ran:
        """Exit code, standard output, standard error."""
        with pytest.raises(SystemExit) as ended:
            main(args)
            raise SystemExit(0)
        said = self.capsys.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else int(bool(code))), said.out, said.err


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def rule_folder(folder: Path, text: str = RULE) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "idle-admin.toml").write_text(text, encoding="utf-8")
    return folder


# Help


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*path, name))


register()
COMMANDS = dict(commands(typer.main.get_command(app)))


def test_all_commands_are_here() -> None:
    """A command that is not imported is not there."""
    assert {" ".join(p) for p in COMMANDS if p} >= {
        "run", "poll", "acknowledge", "check", "findings", "drift", "accounts", "snapshots", "send-test", "init",
        "report", "simulate", "demo", "rules", "rules list", "rules check", "rules test", "rules facts",
        "rules schema", "exemptions",
    }  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_command_has_help(cli: Cli, path: tuple[str, ...], option: str) -> None:
    """Without a config and without a traceback; it says what the command is for, and each option says what it does."""
    code, out, err = cli(*path, option)
    assert (code, err) == (Exit.DONE, "")
    assert " ".join(["Usage: access-monitor", *path]) in " ".join(out.split())
    assert COMMANDS[path].help
    options = [p for p in COMMANDS[path].params if getattr(p, "help", "") is None and p.name != "help"]
    assert [p.name for p in options] == []


@pytest.mark.parametrize("args", [[], ["rules"]])
def test_no_command_at_all_is_answered_with_help(cli: Cli, args: list[str]) -> None:
    """Nothing was done, so it is no success."""
    code, out, err = cli(*args)
    assert code == Exit.USAGE
    assert "Usage: access-monitor" in out + err


SLOW = {"sqlalchemy", "sqlmodel", "alembic", "pydantic_settings", "httpx", "slack_sdk", "jinja2", "cel_expr_python"}


@pytest.mark.parametrize(
    "args", [("--version",), ("--help",), ("findings", "--help"), ("rules", "test", "--help")], ids=" ".join
)
def test_help_and_version_load_nothing_slow(args: tuple[str, ...]) -> None:
    """A shell completes a command by asking for it: what takes seconds to import waits until a command runs."""
    program = "import sys, atexit; from monitor.cli import main; atexit.register(lambda: print(*sys.modules)); main()"
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=True)
    assert set(done.stdout.splitlines()[-1].split()) & SLOW == set()


def test_version(cli: Cli) -> None:
    """For reports of bugs."""
    code, out, _ = cli("--version")
    assert (code, out.split()[0]) == (0, "access-monitor")


# What is wrong with the command line or the config


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["nosuch"], "No such command 'nosuch'"),
        (["rules", "nosuch"], "No such command 'nosuch'"),
        (["--nosuch"], "No such option"),
        (["findings", "--nosuch"], "No such option"),
        (["findings", "--format", "xml"], "'xml' is not one of 'table', 'json', 'csv'"),
        (["findings", "--severity", "bad"], "'bad' is not one of"),
        (["acknowledge"], "Missing argument"),
        (["report", "--days", "0"], "Invalid value for '--days'"),
        (["rules", "test", "nosuch"], "error: there is no rule nosuch; see `access-monitor rules list`"),
        (["rules", "facts", "nosuch"], "error: there is no kind nosuch; there are account, person, grant, role"),
        (["rules", "check", "--folder", "nosuch"], "error: --folder: there is no folder nosuch"),
    ],
)  # fmt: skip
def test_a_wrong_command_line_exits_with_2(cli: Cli, args: list[str], said: str) -> None:
    """With one message that says what is wrong, on standard error."""
    code, out, err = cli(*args)
    assert (code, out) == (Exit.USAGE, "")
    assert said in err
    assert "Traceback" not in err


NEEDING_A_CONFIG = [
    ["run"], ["poll"], ["check"], ["findings"], ["drift"], ["accounts"], ["snapshots"], ["send-test"], ["report"],
    ["acknowledge", "0123456789"],
]  # fmt: skip


@pytest.mark.parametrize("args", NEEDING_A_CONFIG, ids=lambda a: a[0])
def test_no_config_exits_with_2(cli: Cli, args: list[str]) -> None:
    """One line, with the way to make one."""
    advice = "Run `access-monitor init FOLDER` to make one."
    assert cli(*args) == (Exit.USAGE, "", f"error: config.toml: cannot be read: No such file or directory. {advice}\n")


@pytest.mark.parametrize("args", [["rules", "list"], ["rules", "check"], ["rules", "test"]], ids=" ".join)
def test_rules_of_a_config_that_is_not_there(cli: Cli, args: list[str]) -> None:
    """Who names a config does not mean the shipped rules; without one, they are what there is."""
    code, _, err = cli("--config", "nosuch.toml", *args)
    assert code == Exit.USAGE
    assert err.startswith("error: nosuch.toml: cannot be read: No such file or directory.")
    assert cli(*args)[0] == Exit.DONE


@pytest.mark.parametrize("args", [*NEEDING_A_CONFIG, ["rules", "list"], ["rules", "test"]], ids=" ".join)
def test_a_faulty_config_exits_with_2(cli: Cli, args: list[str]) -> None:
    """Every fault on a line of its own, with the file and the key; and how many they are."""
    Path("other.toml").write_text(CONFIG.replace('"c1"', "5").replace('"files"', '"fax"'), encoding="utf-8")
    kinds = "files, console, slack, slack_webhook, email, webhook"
    assert cli("--config", "other.toml", *args) == (
        Exit.USAGE, "",
        "error: other.toml: sources[0].client_id: Input should be a valid string\n"
        f"error: other.toml: receivers[0].kind: must be one of {kinds}\n"
        "2 problems\n",
    )  # fmt: skip


def test_a_missing_secret_exits_with_2(cli: Cli) -> None:
    """The key and the variable are named."""
    Path("config.toml").write_text(CONFIG, encoding="utf-8")
    code, _, err = cli("poll")
    assert (code, "Traceback" in err) == (Exit.USAGE, False)
    assert "sources[0].token: the environment variable LW_TOKEN_NOT_SET is not set" in err


def test_the_config_may_be_named_by_the_environment(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """For containers; the option stands above it."""
    monkeypatch.setenv("ACCESS_MONITOR_CONFIG", "from-environment.toml")
    assert "error: from-environment.toml: " in cli("findings")[2]
    assert "error: given.toml: " in cli("--config", "given.toml", "findings")[2]


def test_as_a_process() -> None:
    """The same from outside: the exit code, nothing on standard output, and no traceback."""
    for args, code in (["nosuch"], 2), (["poll"], 2), (["--version"], 0):
        ran = subprocess.run(
            [sys.executable, "-m", "monitor", *args], capture_output=True, text=True, check=False, timeout=60,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert (ran.returncode, "Traceback" in ran.stderr) == (code, False), ran.stderr
        assert bool(ran.stdout) is (code == 0)


def test_errors_cannot_steer_the_terminal(cli: Cli) -> None:
    """What is quoted from a file or from the command line is shown, not obeyed."""
    _, _, err = cli("rules", "test", "x\x1b[2Jy[red]z\u202e")
    assert "there is no rule x\N{REPLACEMENT CHARACTER}[2Jy[red]z\N{REPLACEMENT CHARACTER};" in err


# Rules


def test_rules_list(cli: Cli) -> None:
    """Those of the config's folder, or those that come with the program; durations as one writes them."""
    code, out, _ = cli("rules", "list", "--folder", str(rule_folder(Path("mine"))), "--format", "json")
    (row,) = json.loads(out)
    assert code == 0
    assert row == {
        "id": "idle-admin", "title": "{account.email} is idle", "severity": "high", "status": "active",
        "for_each": "account", "needs_authority": False,
        "owner": "it@example.com", "fix_within": "36h", "closes": "after 90m", "controls": {},
        "match": ["account.is_admin", "account.idle_days > 90"], "exemptions": 0, "tests": 3,
        "file": "mine/idle-admin.toml",
    }  # fmt: skip
    shipped = json.loads(cli("rules", "list", "--format", "json")[1])
    assert len(shipped) == len(list((ROOT / "rules").rglob("*.toml")))
    assert "idle-admin" not in {r["id"] for r in shipped}
    Path("config.toml").write_text(CONFIG, encoding="utf-8")
    rule_folder(Path("rules"))
    assert [r["id"] for r in json.loads(cli("rules", "list", "--format", "json")[1])] == ["idle-admin"]
    assert "idle-admin" in cli("rules", "list")[1]
    assert cli("rules", "list", "--format", "csv")[1].splitlines()[1].startswith("idle-admin,")


def test_rules_check(cli: Cli) -> None:
    """Sound: 0 and how many. Not sound: 1, with file, line and clause."""
    folder = str(rule_folder(Path("mine")))
    code, out, err = cli("rules", "check", "--folder", folder)
    assert (code, out[:15], err) == (0, "1 rule is sound", "")
    rule_folder(
        Path("mine"), RULE.replace("account.idle_days >", "account.idle_dayz >").replace('"high"', '"high"\nx = 1')
    )
    code, out, err = cli("rules", "check", "--folder", folder)
    assert (code, out) == (Exit.FAILED, "")
    assert err.startswith("error: mine/idle-admin.toml:4: x: is no key here")
    rule_folder(Path("mine"), RULE.replace("account.idle_days >", "account.idle_dayz >"))
    code, out, err = cli("rules", "check", "--folder", folder)
    assert (code, out) == (Exit.FAILED, "")
    assert err.splitlines() == [
        "error: mine/idle-admin.toml:10: clause 2, column 1: there is no fact account.idle_dayz; did you mean "
        "account.idle_days?",
        "    account.idle_dayz > 90", "    ^",
    ]  # fmt: skip


def test_rules_check_for_programs(cli: Cli) -> None:
    """Every fault with its place, also one of the polls of a test; nothing for a sound set. The exit code stays."""
    folder = str(rule_folder(Path("mine")))
    assert cli("rules", "check", "--folder", folder, "--format", "json")[:2] == (0, "[]\n")
    rule_folder(Path("mine"), RULE.replace("account.idle_days >", "account.idle_dayz >"))
    code, out, err = cli("rules", "check", "--folder", folder, "--format", "json")
    [fault] = json.loads(out)
    assert (code, err, fault["file"], fault["line"], fault["column"]) == (1, "", "mine/idle-admin.toml", 10, 1)
    assert fault["message"].startswith("clause 2, column 1: there is no fact account.idle_dayz; did you mean")
    rule_folder(Path("mine"), RULE.replace('last_login = "91d ago", absent', 'last_login = "soon", absent'))
    [fault] = json.loads(cli("rules", "check", "--folder", folder, "--format", "json")[1])
    assert (fault["line"], fault["column"]) == (22, None)
    assert fault["message"] == 'tests.2: poll 1: last_login: "soon" is no age; write it like "10d ago"'


def test_a_file_that_is_no_rule_by_its_name_is_told(cli: Cli) -> None:
    """On standard error: it would watch nothing, and nobody would know."""
    folder = rule_folder(Path("mine"))
    (folder / "other.yaml").write_text("id: other\n", encoding="utf-8")
    code, out, err = cli("rules", "check", "--folder", str(folder))
    assert (code, out[:15], err) == (
        0, "1 rule is sound", "mine/other.yaml: is not read; the name of a rule file ends in .toml\n",
    )  # fmt: skip


def test_a_rule_whose_tests_say_too_little_is_refused(cli: Cli) -> None:
    """Nobody has shown that it does what it says: each kind of test that it lacks is named. To test nothing is no
    success."""
    folder = str(rule_folder(Path("mine"), RULE[: RULE.index("[[tests]]")]))
    code, _, err = cli("rules", "check", "--folder", folder)
    assert (code, [line.split(";")[0] for line in err.splitlines()[:3]]) == (Exit.FAILED, [
        "error: mine/idle-admin.toml:1: tests: no test expects a finding",
        "error: mine/idle-admin.toml:1: tests: no test expects nothing",
        "error: mine/idle-admin.toml:1: tests: no test expects unknown, and account.idle_days can be absent",
    ])  # fmt: skip
    assert cli("rules", "test", "--folder", folder)[0] == Exit.FAILED


def test_rules_test(cli: Cli) -> None:
    """All pass: 0. One fails: 1, with what each clause saw and whether it held."""
    folder = str(rule_folder(Path("mine")))
    code, out, _ = cli("rules", "test", "--folder", folder)
    assert (code, out.splitlines()) == (0, ["✓ idle-admin: 3 of 3 tests pass", "3 passed, 0 failed"])
    rule_folder(Path("mine"), RULE.replace("91d", "90d", 1))
    code, out, _ = cli("rules", "test", "--folder", folder)
    assert code == Exit.FAILED
    assert out.splitlines()[:4] == [
        "✗ idle-admin: 2 of 3 tests pass",
        "    mine/idle-admin.toml:14: idle: expected finding, got nothing (account.idle_days > 90)",
        "  holds: account.is_admin   with account.is_admin = True",
        "  does not hold: account.idle_days > 90   with account.idle_days = 90",
    ]


def test_rules_test_for_programs(cli: Cli) -> None:
    """JSON holds verdict and evidence of every test; JUnit is read by build servers. Both keep the exit code."""
    folder = str(rule_folder(Path("mine")))
    code, out, _ = cli("rules", "test", "idle-admin", "--folder", folder, "--format", "json")
    first = json.loads(out)[0]
    assert (code, first["rule"], first["test"], first["passed"], first["verdict"], first["file"]) == (
        0, "idle-admin", "idle", True, "finding", "mine/idle-admin.toml",
    )  # fmt: skip
    assert first["evidence"][1] == {"clause": "account.idle_days > 90", "facts": {"account.idle_days": 91}}
    rule_folder(Path("mine"), RULE.replace("91d", "90d", 1))
    code, out, _ = cli("rules", "test", "--folder", folder, "--format", "json")
    assert (code, [t["passed"] for t in json.loads(out)]) == (Exit.FAILED, [False, True, True])
    code, out, _ = cli("rules", "test", "--folder", folder, "--format", "junit")
    root = ElementTree.fromstring(out)
    assert (code, root.attrib["tests"], root.attrib["failures"]) == (Exit.FAILED, "3", "1")
    assert [c.attrib["name"] for c in root.iter("testcase") if c.find("failure") is not None] == ["idle"]


def test_rules_schema(cli: Cli) -> None:
    """What is printed is what is shipped beside the rules: `tests/unit/test_schema.py` holds one against the other."""
    assert cli("rules", "schema")[1] == (Path(rules.__file__).parents[2] / "rules/rule.schema.json").read_text("utf-8")


def test_the_shipped_rules_pass(cli: Cli) -> None:
    """As they do for somebody who has just installed the program."""
    code, out, _ = cli("rules", "test")
    assert code == 0
    assert out.splitlines()[-1].endswith(" passed, 0 failed")


def test_rules_facts(cli: Cli) -> None:
    """What a rule may ask, and what a rule test starts from."""
    facts = {f["fact"]: f for f in json.loads(cli("rules", "facts", "role", "--format", "json")[1])}
    assert facts["role.holders"]["type"] == "int"
    assert {name.partition(".")[0] for name in facts} == {"role", "now"}
    fields = {f["field"]: f["value"] for f in json.loads(cli("rules", "facts", "--defaults", "-f", "json")[1])}
    assert (fields["account.level"], fields["group.managers"]) == ("user", 1)


# Init


def test_init_makes_a_place_to_start_from(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Config, rules and templates, as they come with the program; each loads, and what is printed next works."""
    monkeypatch.setenv("LW_CLIENT_SECRET", "x")
    folder = Path("some where") / "new"
    code, out, err = cli("init", str(folder))
    assert (code, err) == (0, "")
    assert sorted(p.name for p in folder.iterdir()) == ["config.toml", "rules", "templates"]
    for kind in ("rules", "templates"):
        there, shipped = (
            {p.relative_to(f): p.read_bytes() for p in f.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
            for f in (folder / kind, ROOT / kind)
        )
        assert there == shipped
    assert load(folder / "config.toml").sources[0].name == "school"
    printed = shlex.split(out.splitlines()[-1])
    assert printed == ["access-monitor", "--config", str(folder / "config.toml"), "check"]
    code, out, _ = cli(*printed[1:], "--offline", "--format", "json")
    assert (code, {r["what"] for r in json.loads(out) if not r["ok"]}) == (0, set())


@pytest.mark.parametrize("there", ["config.toml", "rules", "templates"])
def test_init_overwrites_nothing(cli: Cli, there: str) -> None:
    """If any of the three is there, none is written."""
    Path("mine").mkdir()
    (Path("mine") / there).write_text("mine", encoding="utf-8")
    said = f"error: mine/{there} is there already; nothing was written\n"
    assert cli("init", "mine") == (Exit.USAGE, "", said)
    assert [(p.name, p.read_text()) for p in Path("mine").iterdir()] == [(there, "mine")]


def test_init_twice(cli: Cli) -> None:
    """The second time names all that is in the way."""
    assert cli("init", "mine")[0] == 0
    code, _, err = cli("init", "mine")
    assert (code, err.count("is there already"), err.splitlines()[-1]) == (Exit.USAGE, 3, "3 problems")


def test_init_where_nothing_can_be_made(cli: Cli) -> None:
    """A file stands in the way, or the folder may not be written to: one line, no traceback."""
    Path("file").write_text("x", encoding="utf-8")
    code, _, err = cli("init", "file")
    assert (code, err) == (Exit.USAGE, "error: file: cannot be written to: File exists\n")
    assert cli("init", "file/below")[::2] == (Exit.USAGE, "error: file/below: cannot be written to: Not a directory\n")


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write anywhere")
def test_init_without_permission(cli: Cli) -> None:
    """The reason is told."""
    Path("closed").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    assert cli("init", "closed")[::2] == (Exit.USAGE, "error: closed: cannot be written to: Permission denied\n")


def test_where_nobody_is_logged_in_it_asks_who(monkeypatch: pytest.MonkeyPatch) -> None:
    """A container has no login name; a record without a name would be worth little."""

    def nobody() -> str:
        raise KeyError("uid 1234")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert person("ann") == "ann"
    with pytest.raises(ConfigError, match="--by: say who you are"):
        person(None)
