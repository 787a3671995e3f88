"""The documents say what is true: commands, options, settings, JSON keys, examples and links come from the program."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import Engine, insert

from monitor import wiring
from monitor.cli.app import Exit, app, main, register
from monitor.config import SOURCES as KINDS
from monitor.config import (
    BusinessHoursConfig,
    CapsConfig,
    ColumnNames,
    Config,
    ConsoleReceiver,
    Database,
    EmailReceiver,
    ExpectationConfig,
    FilesReceiver,
    RouteConfig,
    SlackReceiver,
    SlackWebhookReceiver,
    WatchedSource,
    WebhookReceiver,
    load,
)
from monitor.config.limits import Limits
from monitor.decide import drift, quarantine, route
from monitor.domain.finding import EventKind
from monitor.domain.message import Reason
from monitor.store import ledger, outbox
from monitor.store.engine import migrate, open_engine, writing
from monitor.store.tables import AccountRow, ChangeRow, FindingRow, ScopeRow, SnapshotRow, SourceRow

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
OPERATING = (DOCS / "operating.md").read_text(encoding="utf-8")
ALERTS = (DOCS / "alerts.md").read_text(encoding="utf-8")
SOURCES = (DOCS / "sources.md").read_text(encoding="utf-8")
AUDIT = (DOCS / "audit.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "config.example.toml").read_text(encoding="utf-8")
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"])
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)

TABLES = ("database", "sources", "receivers", "routes", "business_hours", "settings")
SMALLEST = {
    "sources": '[[sources]]\nname = "school"\nkind = "learnworlds"\nurl = "https://school.example.com"\n'
    'client_id = "1"\ntoken = { env = "LW_TOKEN" }\n',
    "receivers": '[[receivers]]\nname = "out"\nkind = "files"\npath = "./messages"\n',
    "routes": '[[routes]]\nto = ["out"]\n',
}
RECEIVERS = {
    "files": FilesReceiver,
    "console": ConsoleReceiver,
    "slack": SlackReceiver,
    "slack_webhook": SlackWebhookReceiver,
    "email": EmailReceiver,
    "webhook": WebhookReceiver,
}


def between(document: str, marker: str) -> str:
    found = re.search(rf"<!-- {re.escape(marker)} -->\n(.*?)<!-- /{re.escape(marker)} -->", document, re.DOTALL)
    assert found, f"there is no <!-- {marker} --> ... <!-- /{marker} -->"
    return found[1]


def first_column(table: str) -> set[str]:
    """What stands in code marks in the first column of a table."""
    return {name for line in table.splitlines() for name in re.findall(r"`([^`]+)`", line.split("|")[1:2][0])}


def section(document: str, heading: str) -> str:
    """From a heading to the next one."""
    found = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^##|\Z)", document, re.DOTALL | re.MULTILINE)
    assert found, f"there is no section {heading}"
    return found[1]


# commands


@dataclass(frozen=True)
class Command:
    path: str
    options: frozenset[str]


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[Command]:
    for name, child in getattr(command, "commands", {}).items():
        yield from commands(child, (*path, name))
    if path and (not hasattr(command, "commands") or command.invoke_without_command):
        found = {o for p in command.params if p.param_type_name == "option" for o in (*p.opts, *p.secondary_opts)}
        yield Command(" ".join(path), frozenset(found))


register()
COMMANDS = list(commands(typer.main.get_command(app)))


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: c.path)
def test_every_option_of_a_command_is_documented_and_no_other(command: Command) -> None:
    """The section of a command has a row for each of its options, and none for an option that does not exist."""
    text = section(OPERATING, f"`access-monitor {command.path}`")
    rows = "\n".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    assert set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", rows)) == command.options


def test_every_documented_command_exists() -> None:
    """A section about a command that was removed would send people nowhere."""
    documented = re.findall(r"^### `access-monitor ([a-z -]+)`$", OPERATING, re.MULTILINE)
    assert sorted(documented) == sorted(c.path for c in COMMANDS)


def test_the_options_before_a_command_are_documented() -> None:
    """--config and its like stand in a table of their own."""
    top: Any = typer.main.get_command(app)
    table = OPERATING.split("## Commands\n")[1].split("\n### ")[0]
    for parameter in top.params:
        for option in parameter.opts:
            assert f"`{option}`" in table


def test_commands_that_pages_mention_exist() -> None:
    """`access-monitor word` in any page is a command, with options that it has."""
    known = {c.path: c.options for c in COMMANDS}
    top = {"--config", "-c", "--version", "--help", "-h"}
    for page in PAGES:
        for mention in re.findall(r"`access-monitor ([a-z][^`\n]*)`", page.read_text(encoding="utf-8")):
            words = mention.split()
            path = " ".join(words[:2]) if " ".join(words[:2]) in known else words[0]
            assert path in known, f"{page.name}: access-monitor {mention}"
            for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", mention):
                assert option in known[path] | top, f"{page.name}: access-monitor {mention}"


def test_every_exit_code_is_documented() -> None:
    """The table of exit codes and the program's are the same."""
    assert first_column(between(OPERATING, "exit codes")) == {str(int(e)) for e in Exit}


# settings


def uncommented() -> str:
    """config.example.toml with its commented settings in force."""
    return re.sub(r"^# (?=\[\[?\w+\]?\]$|[a-z_.]+ = )", "", EXAMPLE, flags=re.MULTILINE)


def fields(model: Any, *without: str) -> set[str]:
    return {f.alias or name for name, f in model.model_fields.items()} - set(without)


def test_the_example_holds_every_setting_and_no_other() -> None:
    """config.example.toml against the models, both ways."""
    text = tomllib.loads(uncommented())
    top = {k for k in text if k not in TABLES}
    assert top == fields(Config, *TABLES)
    assert text["database"].keys() == fields(Database)
    common = fields(WatchedSource) - {"kind"}  # said once, above the first kind
    assert {s["kind"]: set(s) | common for s in text["sources"]} == {k: fields(m) for k, m in KINDS.items()}
    assert text["business_hours"].keys() == fields(BusinessHoursConfig)
    assert {r["kind"]: set(r) for r in text["receivers"]} == {k: fields(m) for k, m in RECEIVERS.items()}
    assert {k for r in text["routes"] for k in r} == fields(RouteConfig)


def test_every_setting_of_the_example_has_its_sentence() -> None:
    """One sentence above each setting, except where the same table explained it before."""
    lines, explained, table = EXAMPLE.splitlines(), set[tuple[str, str]](), ""
    for above, line in zip(["", *lines], lines, strict=False):
        table = line.lstrip("# ") if re.fullmatch(r"(# )?\[\[?\w+\]?\]", line) else table
        setting = re.fullmatch(r"(?:# )?([a-z_.]+) = .*", line)
        if setting:
            sentence = above.startswith("# ") and above.rstrip().endswith((".", ":"))
            assert sentence or (table, setting[1]) in explained, line
            explained.add((table, setting[1]))


@pytest.mark.parametrize("kind", KINDS)
def test_every_default_of_the_example_is_the_default(kind: str) -> None:
    """What a commented line of a source shows as its default is the default, unless there is none or an empty one."""
    source = next(s for s in tomllib.loads(uncommented())["sources"] if s["kind"] == kind)
    shown = KINDS[kind].model_validate(source | ({"token": None} if kind == "learnworlds" else {}))
    for name, field in KINDS[kind].model_fields.items():
        if not field.is_required() and field.default not in (None, {}) and name != "use":  # an export is mostly HR's
            assert getattr(shown, name) == field.default, name


def test_every_limit_is_documented_with_its_default() -> None:
    """In sources.md and in the example; and what a limit is called, is decided by that name."""
    rows = [line.split("|")[1:3] for line in between(SOURCES, "limits").splitlines()[2:]]
    shown = tomllib.loads("\n".join(f"{name.strip(' `')} = {value.strip(' `')}" for name, value in rows))
    assert Limits.model_validate(shown) == Limits()
    assert list(shown) == list(Limits.model_fields) == list(quarantine.LIMITS)
    example = next(s for s in tomllib.loads(uncommented())["sources"] if "limits" in s)
    assert list(example["limits"]) == list(Limits.model_fields)


def test_every_cap_is_documented_with_its_default() -> None:
    """In sources.md and in the example."""
    rows = [line.split("|")[1:3] for line in between(SOURCES, "caps").splitlines()[2:]]
    shown = tomllib.loads("\n".join(f"{name.strip(' `')} = {value.strip(' `')}" for name, value in rows))
    assert CapsConfig.model_validate(shown) == CapsConfig()
    assert list(shown) == list(CapsConfig.model_fields)
    assert all(list(s["caps"]) == list(shown) for s in tomllib.loads(uncommented())["sources"] if "caps" in s)


def test_every_setting_is_documented() -> None:
    """Settings of a source in sources.md, of receivers and routes in alerts.md, the others in operating.md."""
    common = first_column(between(SOURCES, "settings: every kind"))
    assert common == fields(WatchedSource) | {"kind"}
    for kind, source in KINDS.items():
        assert fields(source) - common == first_column(between(SOURCES, f"settings: {kind}")), kind
    assert fields(ColumnNames) == first_column(between(SOURCES, "columns")) - {"columns"}
    assert fields(ExpectationConfig) == first_column(between(SOURCES, "expectations"))
    for model in (*RECEIVERS.values(), RouteConfig):
        assert [f for f in fields(model) if f"`{f}`" not in ALERTS] == []
    hours = {f"business_hours.{name}" for name in fields(BusinessHoursConfig)}
    assert fields(Config, *TABLES) | {"database.url", "settings.NAME"} | hours == first_column(
        OPERATING.split("| setting |")[1].split("\n\n")[0]
    )


def examples() -> list[Any]:
    """Every fenced TOML text of the pages that is (a part of) a config."""
    found = []
    for page in PAGES:
        for i, block in enumerate(
            re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
        ):
            if re.search(r"^\[\[?(database|sources|receivers|routes|business_hours)\]", block, re.MULTILINE):
                found.append(pytest.param(block, id=f"{page.name}-{i}"))
    return found


@pytest.mark.parametrize("block", examples())
def test_every_config_example_loads(block: str, tmp_path: Path) -> None:
    """Each example is taken by the config, down to the names of changes; what a fragment leaves out is added."""
    path = tmp_path / "config.toml"
    missing = [text for table, text in SMALLEST.items() if table not in tomllib.loads(block)]
    path.write_text("\n".join([block, *missing]), encoding="utf-8")
    assert wiring.routes(load(path))


def test_there_are_config_examples() -> None:
    """At least the smallest and the whole one of sources.md, one of alerts.md and the README's."""
    assert {p.id.rpartition("-")[0] for p in examples()} >= {"sources.md", "alerts.md", "README.md"}


# words


def test_every_change_name_is_documented() -> None:
    """What a route's `changes` may hold."""
    assert first_column(between(ALERTS, "change names")) == set(drift.CHANGE_NAMES)


def test_every_reason_is_documented() -> None:
    """Why a message is sent."""
    assert first_column(between(ALERTS, "reasons")) == {r.value for r in Reason}


def test_every_kind_of_ledger_row_is_documented() -> None:
    """Those of findings follow from their events; the store's modules name the others."""
    written = "\n".join(p.read_text("utf-8") for p in (ROOT / "monitor" / "store").glob("*.py"))
    named = set(re.findall(r"\[\(\"([a-z.]+)\", ", written))
    assert first_column(between(AUDIT, "ledger kinds")) == named | {f"finding.{k.value}" for k in EventKind}


def test_the_controls_are_those_of_the_shipped_rules() -> None:
    """The table in audit.md, row by row."""
    names = {"soc2": "SOC 2", "iso27001": "ISO 27001"}
    found: dict[str, set[str]] = {}
    for path in (ROOT / "rules").rglob("*.toml"):
        rule = tomllib.loads(path.read_text("utf-8"))
        for framework, clauses in rule.get("controls", {}).items():
            for clause in clauses:
                found.setdefault(f"{names[framework]} {clause}", set()).add(rule["id"])
    rows = [line.split("|")[1:3] for line in between(AUDIT, "controls").splitlines()[2:]]
    assert {control.strip(): set(re.findall(r"`([^`]+)`", said)) for control, said in rows} == found


# JSON


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A config beside a database that holds one of each."""
    (tmp_path / "config.toml").write_text("\n".join(SMALLEST.values()), encoding="utf-8")
    shutil.copytree(ROOT / "rules", tmp_path / "rules")
    rules_doc = (DOCS / "rules.md").read_text("utf-8")
    shared = re.sub(r"^```.*$", "", between(rules_doc, "shared exemptions"), flags=re.MULTILINE)
    (tmp_path / "rules" / "exemptions.toml").write_text(shared, encoding="utf-8")
    engine = open_engine(f"sqlite:///{tmp_path}/access-monitor.sqlite")
    migrate(engine)
    fill(engine)
    engine.dispose()
    return tmp_path


def fill(engine: Engine) -> None:
    dates = dict.fromkeys(
        ("first_seen", "status_since", "level_since", "role_changed", "privileged_since", "reactivated"), NOW
    )
    past = {name: [] for name in ("past_levels", "past_roles", "past_emails", "earlier_ids")}  # type: dict[str, list[str]]
    rows: list[tuple[Any, dict[str, Any]]] = [
        (SourceRow, {"id": 1, "name": "school", "kind": "learnworlds", "watched_since": NOW, "reader": ""}),
        (SnapshotRow, {"id": 1, "source_id": 1, "outcome": "complete", "started_at": NOW, "finished_at": NOW}),
        *((ScopeRow, {"source_id": 1, "name": n, "outcome": "complete", "valid_from": 1})
          for n in ("users", "roles", "groups")),
        (AccountRow, {"source_id": 1, "account_id": "a", "access_digest": b"", "valid_from": 1, **dates, **past}),
        (ChangeRow, {"snapshot_id": 1, "source_id": 1, "kind": "created", "subject_kind": "account",
                     "subject_id": "a"}),
        (FindingRow, {"fingerprint": "f", "source_id": 1, "rule": "r", "title": "t", "severity": "high",
                      "status": "open", "verdict": "finding", "subject_kind": "account", "subject_id": "a",
                      "owner": "o", "tags": [], "opened_at": NOW, "evidence": [], "rule_digest": "",
                      "snapshot_id": 1, "baseline": False, "draft": False}),
    ]  # fmt: skip
    with writing(engine) as connection:
        for model, values in rows:
            connection.execute(insert(model.__table__).values(**values))
        note = route.notification("out", Reason.TEST, "k", "t", "school", NOW, {})
        outbox.put(connection, [(note, None)], None)


@pytest.mark.parametrize(
    ("listing", "marker"),
    [
        ("findings", "findings"), ("findings --unknown", "unknown"), ("snapshots", "snapshots"), ("drift", "drift"),
        ("accounts", "accounts"), ("outbox", "outbox"), ("ledger", "ledger"), ("exemptions", "exemptions"),
    ],
)  # fmt: skip
def test_the_keys_of_each_listing_are_documented(
    listing: str, marker: str, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the command prints has the keys that operating.md lists, no more and no fewer."""
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(recorded / "config.toml"), *listing.split(), "--format", "json"])
    assert not ended.value.code
    printed = json.loads(capsys.readouterr().out)
    assert printed, f"{listing} printed nothing: there is nothing to compare"
    assert {key for row in printed for key in row} == first_column(between(OPERATING, f"json: {marker}"))


# the ledger, by hand


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The Python script of audit.md, as a file."""
    found = re.search(r"^```python\n(.*?)^```", AUDIT, re.DOTALL | re.MULTILINE)
    assert found, "audit.md holds no script"
    path = tmp_path / "verify.py"
    path.write_text(found[1], encoding="utf-8")
    return path


@pytest.fixture
def chained(tmp_path: Path) -> Path:
    """A database whose ledger the store wrote: five rows, with text that is not ASCII."""
    path = tmp_path / "chained.sqlite"
    engine = open_engine(f"sqlite:///{path}")
    migrate(engine)
    for number in range(5):
        with writing(engine) as connection:
            ledger.append(connection, NOW, [("snapshot", {"id": number, "source": "Schüle\n☂"})])
    engine.dispose()
    return path


def verified(script: Path, database: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(script), str(database)], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_script_of_the_audit_page_verifies_a_ledger(script: Path, chained: Path) -> None:
    """What the store writes holds by the documented formula."""
    done = verified(script, chained)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("5 rows, the chain holds; head ")


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE ledger SET body = replace(body, '2', '7') WHERE sequence = 3",
        "UPDATE ledger SET time = time + 1 WHERE sequence = 3",
        "UPDATE ledger SET kind = 'other' WHERE sequence = 3",
        "UPDATE ledger SET hash = 'x' WHERE sequence = 3",
        "DELETE FROM ledger WHERE sequence = 2",
    ],
)
def test_the_script_of_the_audit_page_finds_tampering(
    tampering: str, script: Path, chained: Path, tmp_path: Path
) -> None:
    """A copy without the triggers, edited: the script names row 3 and fails."""
    copy = Path(shutil.copy(chained, tmp_path / "copy.sqlite"))
    database = sqlite3.connect(copy)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(tampering)
    database.rollback()
    for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        database.execute(f"DROP TRIGGER {name}")
    database.execute(tampering)
    database.commit()
    database.close()
    done = verified(script, copy)
    assert done.returncode == 1
    assert done.stdout.startswith("broken at rows [3")


# pages


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.strip().lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    """Every link to a file of this project, and to a heading in it."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        if anchor:
            assert anchor in anchors(linked), target


def test_every_decision_is_listed() -> None:
    """docs/decisions/README.md against the folder, both ways."""
    folder = DOCS / "decisions"
    listed = re.findall(r"\]\((\d{4}-[a-z0-9-]+\.md)\)", (folder / "README.md").read_text("utf-8"))
    assert listed == sorted(p.name for p in folder.glob("[0-9]*.md"))


@pytest.mark.parametrize("path", sorted((DOCS / "decisions").glob("[0-9]*.md")), ids=lambda p: p.stem)
def test_a_decision_has_situation_choice_and_price(path: Path) -> None:
    """In this order, under a heading with its number."""
    text = path.read_text("utf-8")
    assert text.startswith(f"# {path.name[:4]}: ")
    assert re.findall(r"^\*\*(\w+)\.\*\*", text, re.MULTILINE) == ["Situation", "Choice", "Price"]


def test_decisions_that_code_names_exist() -> None:
    """A comment that points at a decision points at a file."""
    for path in (ROOT / "monitor").rglob("*.py"):
        for name in re.findall(r"docs/decisions/([\w-]+\.md)", path.read_text("utf-8")):
            assert (DOCS / "decisions" / name).exists(), f"{path.name}: {name}"
