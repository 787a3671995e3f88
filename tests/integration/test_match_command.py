"""`access-monitor match`: whose the accounts are, and why, in files as an operator has them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from monitor.cli import main
from monitor.cli.clock import SystemClock
from monitor.line.turns import source_mark
from monitor.store.locks import held

CONFIG = """
[[sources]]
name = "hr"
kind = "file"
use = "authority"
path = "hr.csv"
columns = { id = "Number", employee_id = "Number", email = "Mail", status = "State", ends = "Last day" }

[[sources]]
name = "app"
kind = "file"
path = "app.csv"
columns = { id = "id", email = "email", status = "status", level = "level", tags = "tags" }
fields = ["number"]
match = ["employee_id:number", "email"]
aliases = "aliases.csv"

[[receivers]]
name = "out"
kind = "files"
path = "./messages"

[[routes]]
to = ["out"]
"""
HR = (
    "Number,Mail,State,Last day\n1,ann@example.test,active,\n2,bob@example.test,active,2020-01-31\n"
    "3,cleo@example.test,active,\n"
)
APP = (
    "id,email,status,level,tags,number\na,ANN@example.test,active,user,,\nb,bob@example.test,active,user,,\n"
    "c,cleo@example.test,active,user,,1\nd,other@example.test,active,user,,\ne,nobody@example.test,active,user,,\n"
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in (("config.toml", CONFIG), ("hr.csv", HR), ("app.csv", APP),
                       ("aliases.csv", "account,person\nother@example.test,3\n")):  # fmt: skip
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> int:
    try:
        main(args)
    except SystemExit as stopped:
        return int(stopped.code or 0)
    return 0


def test_from_two_files_to_findings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """HR and an application as exports: matched, unmatched, ambiguous, with what every key said; and the findings."""
    assert run("match") == 2
    assert "app" not in capsys.readouterr().out
    assert run("poll") == 0
    capsys.readouterr()
    assert run("match", "--format", "json") == 0
    rows = {r["account"]: r for r in json.loads(capsys.readouterr().out)}
    assert {k: (r["result"], r["by"], r["person"]) for k, r in rows.items()} == {
        "a": ("matched", "email", "1"), "b": ("matched", "email", "2"), "c": ("ambiguous", None, "1, 3"),
        "d": ("matched", "alias", "3"), "e": ("unmatched", None, None),
    }  # fmt: skip
    assert rows["c"]["why"] == "employee_id:number: 1 is 1; email: cleo@example.test is 3"
    assert rows["e"]["why"] == "employee_id:number: the account has no number; email: nobody has nobody@example.test"
    assert run("match", "--result", "ambiguous") == 0
    shown = capsys.readouterr().out
    assert "3 matched, 1 unmatched, 1 ambiguous" in shown
    assert "nobody@" not in shown
    assert run("findings", "--format", "json") == 0
    found = {(f["rule"], f["subject"]["id"]) for f in json.loads(capsys.readouterr().out)}
    assert {("leaver-still-active", "b"), ("ambiguous-match", "c")} <= found


def test_a_source_that_is_polled_elsewhere_holds_no_other_back(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is said at the end, and is no success."""
    with held(folder / f".polling-{source_mark('hr')}", SystemClock()) as mine:
        assert mine
        assert run("poll") == 1
    said = capsys.readouterr()
    assert "hr is being polled by another process" in said.err
    assert "app: snapshot 1 is complete" in said.out


FAULTY = [
    ("a,b\n", "aliases.csv:1: the first line must be account,person"),
    ("account,person\nx\n", "aliases.csv:2: must be an account (its id or e-mail address) and a person's key"),
    ("account,person\nx,1\nX,2\n", "aliases.csv:3: X stands there twice, with different persons"),
]


@pytest.mark.parametrize(("text", "said"), FAULTY)
def test_a_faulty_alias_file_is_named_with_its_line(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    """As one error, before anything is polled."""
    (folder / "aliases.csv").write_text(text, encoding="utf-8")
    assert run("poll") == 2
    assert said in capsys.readouterr().err


def test_what_cannot_be_matched_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the authority's name, and what to do."""
    assert run("match", "--source", "nosuch") == 2
    assert "there is none called nosuch" in capsys.readouterr().err
    assert run("poll", "--source", "app") == 0
    assert run("match") == 2
    assert "hr was never polled; run `access-monitor poll --source hr`" in capsys.readouterr().err
    assert run("match", "--source", "hr") == 2
    assert "no authority says whose these accounts are" in capsys.readouterr().err
