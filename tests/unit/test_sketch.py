"""`rules new`: what it writes is a rule, and its tests pass."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from monitor.cli import authoring, main
from monitor.decide.coverage import can_be_absent, missing
from monitor.decide.layout import laid_out
from monitor.decide.parse import parse_rule
from monitor.decide.timeline import run_tests
from monitor.domain.rule import RuleStatus, Verdict
from monitor.errors import ConfigError, RuleErrors
from tests.docs.test_rules_doc import TODAY

CASES = {
    "a flag": ("account", ["account.is_admin"]),
    "a number of days": ("account", ["account.idle_days > 90", "!account.never_signed_in"]),
    "a tag and a privilege": ("account", ['"ext" in account.tags', "account.privileged"]),
    "a custom field": ("account", ['account.fields.cf_team == "Sales"', 'account.status == "active"']),
    "history": ("account", ['"admin" in account.past_levels', 'account.level != "admin"']),
    "an event": ("account", ["account.new", "now - account.first_seen < days(14)"]),
    "a domain": ("account", ['in_domain(account.email, ["acme.example"])', "size(account.managed_groups) > 0"]),
    "a setting": ("account", ["account.idle_days > settings.limit"]),
    "a grant": ("grant", ['grant.kind == "member"', "grant.since_days > 5", 'account.status == "suspended"']),
    "a role": ("role", ["role.custom", '"user" in role.past_access_levels', 'role.access_level != "user"']),
    "a group": ("group", ["group.members >= group.max_members"]),
    "a person": ("person", ["!person.active", "size(person.accounts) > 0"]),
    "a person's account": ("account", ["person.found", "!person.active", "account.privileged"]),
    "a department": ("account", ['person.department == "Ops"', 'account.level != "user"']),
    "a long list": ("account", ["size(account.tags) > settings.limit"]),
    "seats": ("seat", ["seat.members > seat.max_members"]),
    "a source": ("source", ["source.admins > 10"]),
}


def new(folder: Path, for_each: str, match: list[str], *settings: str) -> Path:
    given = {"id": "some-rule", "for_each": for_each, "match": match, "title": "", "severity": "low",
             "owner": "a@b.test", "description": 'It says "why".'}  # fmt: skip
    path, lacking = authoring.write_new(folder, given, settings)
    assert lacking == []
    return path


@pytest.mark.parametrize(("for_each", "match"), CASES.values(), ids=CASES)
def test_a_new_rule_has_tests_that_pass(for_each: str, match: list[str], tmp_path: Path) -> None:
    """A finding, a nothing and an unknown, found by trying what its clauses speak of; as a draft, laid out."""
    settings = ["limit=30"] if any("settings.limit" in clause for clause in match) else []
    text = new(tmp_path, for_each, match, *settings).read_text(encoding="utf-8")
    rule = parse_rule(text, "some-rule.toml", today=TODAY)
    assert list(rule.match) == match
    assert rule.status is RuleStatus.DRAFT
    results = run_tests(rule)
    assert [r.message for r in results if not r.passed] == []
    unknown = {Verdict.UNKNOWN} if can_be_absent(rule) else set()
    assert {t.expect for t in rule.tests} == {Verdict.FINDING, Verdict.NOTHING} | unknown
    assert list(missing(rule)) == []
    assert laid_out(text) == text


def test_settings_are_of_their_types(tmp_path: Path) -> None:
    """As TOML; a text needs no quotes within quotes."""
    match = ["account.idle_days > settings.limit", "in_domain(account.email, settings.ours)"]
    rule = parse_rule(
        new(tmp_path, "account", match, "limit=30", 'ours=["a.test"]').read_text(), "some-rule.toml", today=TODAY
    )
    assert {n: s.value for n, s in rule.settings.items()} == {"limit": 30, "ours": ["a.test"]}


def test_nothing_is_overwritten_and_nothing_faulty_is_written(tmp_path: Path) -> None:
    """The schema is put beside a first rule."""
    with pytest.raises(RuleErrors, match=r"there is no fact account\.idl; did you mean"):
        new(tmp_path, "account", ["account.idl > 3"])
    assert list(tmp_path.iterdir()) == []
    path = new(tmp_path, "account", ["account.is_admin"])
    assert {p.name for p in tmp_path.iterdir()} == {"some-rule.toml", "rule.schema.json", "exemptions.schema.json"}
    assert json.loads((tmp_path / "rule.schema.json").read_text())["title"]
    with pytest.raises(RuleErrors, match=r"settings\.limit: no clause reads it; remove it"):
        authoring.write_new(tmp_path, {"id": "b", "for_each": "account", "match": ["account.is_admin"]}, ["limit=3"])
    before = path.read_text()
    with pytest.raises(ConfigError, match="is there already"):
        new(tmp_path, "account", ["account.privileged"])
    assert path.read_text() == before


def test_a_terminal_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What flags did not say, each until it can be so; an empty line ends the clauses, and what has a default may be
    left."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    wrong = iter(("Some Rule", "human", "account.is_admn", "{account.mail}", "hihg", "boss"))
    right = ("some-rule\n", "\n", "account.is_admin\naccount.idle_days > 3\n\n", "\n", "\n", "\n\n")
    answers = "".join(f"{next(wrong)}\n{r}" for r in right)
    monkeypatch.setattr("sys.stdin", Terminal(answers))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rules").mkdir()
    with pytest.raises(SystemExit) as ended:
        main(["rules", "new", "--folder", "rules"])
    assert not ended.value.code
    said = capsys.readouterr().err
    for fault in ("like dormant-account", "one of account, person", "mean account.is_admin?", "mean account.email?",
                  "did you mean high?", "is no e-mail address"):  # fmt: skip
        assert fault in said
    rule = parse_rule((tmp_path / "rules/some-rule.toml").read_text(), "some-rule.toml", today=TODAY)
    assert rule.match == ("account.is_admin", "account.idle_days > 3")


def test_off_a_terminal_it_says_what_it_needs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the rules that come with the program are not for writing."""
    for args, said in (
        (["rules", "new", "--folder", str(tmp_path)], "rules new needs ID and --match"),
        (["--config", str(tmp_path / "x.toml"), "rules", "fmt"], "there is no folder of rules of your own"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(args)
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


def test_fmt_writes_what_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--check writes nothing and fails; without it the files change; then all are laid out."""
    path = new(tmp_path, "account", ["account.is_admin"])
    tidy = path.read_text()
    path.write_text(tidy.replace("id       =", "id ="))
    for args, code, changed in ((["--check"], 1, False), ([], 0, True), (["--check"], 0, True)):
        with pytest.raises(SystemExit) as ended:
            main(["rules", "fmt", "--folder", str(tmp_path), *args])
            raise SystemExit(0)
        assert (ended.value.code or 0) == code
        assert (path.read_text() == tidy) is changed
    assert "laid out anew" in capsys.readouterr().out
