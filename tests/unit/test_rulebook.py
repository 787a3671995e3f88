"""Rule files on disk: what is found, what is left alone, and what cannot be read, with file and line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from monitor import wiring
from monitor.config import load
from monitor.errors import RuleErrors
from monitor.rulebook.folder import LARGEST, read_folder, stamp, text_of, unread

TEXT = 'id = "a"\ntitle = "Ä"\n'


def names(root: Path) -> list[str]:
    return sorted(read_folder(root))


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    folder = tmp_path / "rules"
    (folder / "drift").mkdir(parents=True)
    (folder / "a.toml").write_text(TEXT, encoding="utf-8")
    (folder / "drift" / "b.toml").write_text(TEXT, encoding="utf-8")
    return folder


def test_rules_are_found_in_folders(rules: Path) -> None:
    """By their paths, as people know them; also behind a link, and behind one that leads back here but once."""
    elsewhere = rules.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "c.toml").write_text(TEXT, encoding="utf-8")
    (rules / "linked").symlink_to(elsewhere)
    (rules / "drift" / "up").symlink_to(rules)
    assert names(rules) == ["rules/a.toml", "rules/drift/b.toml", "rules/linked/c.toml"]


def test_what_is_hidden_is_left_alone(rules: Path) -> None:
    """What editors and Git keep beside a file, and the folder that Kubernetes keeps behind a ConfigMap."""
    (rules / ".#a.toml").symlink_to("somebody@host.1234")
    (rules / ".a.toml").write_text("half", encoding="utf-8")
    (rules / "..2026_11_25").mkdir()
    (rules / "..2026_11_25" / "a.toml").write_text(TEXT, encoding="utf-8")
    before = stamp(rules)
    (rules / ".a.toml").write_text("more", encoding="utf-8")
    assert (names(rules), stamp(rules)) == (["rules/a.toml", "rules/drift/b.toml"], before)


@pytest.mark.parametrize(
    ("content", "text"),
    [(b"\xef\xbb\xbfid = 1\n", "id = 1\n"), (b"id = 1\r\nx = 2\r\n", "id = 1\nx = 2\n"), (b"a\rb", "a\nb")],
    ids=["a mark of byte order", "ends of lines of Windows", "of old Macs"],
)
def test_how_other_systems_write_text(rules: Path, content: bytes, text: str) -> None:
    """Is read as here, so that lines in errors are right."""
    (rules / "a.toml").write_bytes(content)
    assert read_folder(rules)["rules/a.toml"] == text


FAULTS: list[tuple[Callable[[Path], object], str]] = [
    (lambda p: p.write_bytes(b"id = 1\ntitle = '\xfc'\n"), "rules/x.toml:2: is not UTF-8; save it as UTF-8"),
    (lambda p: p.write_text("id = 1\n", encoding="utf-16"), "rules/x.toml:1: is not UTF-8; save it as UTF-8"),
    (lambda p: p.write_text("#" * (LARGEST + 1024)), "rules/x.toml:1: is too large for a rule: 257 kB of 256"),
    (lambda p: p.mkdir(), "rules/x.toml:1: is no file; only rule files end in .toml"),
    (os.mkfifo, "rules/x.toml:1: is no file; only rule files end in .toml"),
    (lambda p: p.symlink_to(p), "rules/x.toml:1: cannot be read: Too many levels of symbolic links"),
    (lambda p: p.symlink_to("nowhere"), "rules/x.toml:1: cannot be read: No such file or directory"),
]


@pytest.mark.parametrize(("make", "said"), FAULTS, ids=["latin-1", "utf-16", "huge", "folder", "pipe", "loop", "lost"])
def test_what_cannot_be_read(rules: Path, make: Callable[[Path], object], said: str) -> None:
    """Is one fault with its place; a pipe is not waited for."""
    make(rules / "x.toml")
    with pytest.raises(RuleErrors) as caught:
        read_folder(rules)
    assert caught.value.problems == [said]


def test_a_folder_without_rules(tmp_path: Path) -> None:
    """Nobody watches with none by mistake; and one that is gone is a fault, not an end of the daemon."""
    with pytest.raises(RuleErrors, match=r"holds no rule files: write one with `access-monitor rules new`"):
        read_folder(tmp_path)
    with pytest.raises(RuleErrors, match="nothere: cannot be read: No such file or directory"):
        read_folder(tmp_path / "nothere")
    assert "No such file" in stamp(tmp_path / "nothere")


def test_files_that_are_no_rules_by_their_name_are_told(rules: Path) -> None:
    """A rule that is saved under another ending would watch nothing, silently."""
    for name in ("c.TOML", "d.yaml", "README.md", "rule.schema.json", ".e.yml"):
        (rules / name).write_text(TEXT, encoding="utf-8")
    assert unread(rules) == ["rules/c.TOML", "rules/d.yaml"]


def test_a_folder_that_goes_away_does_not_mean_the_shipped_rules(rules: Path) -> None:
    """Not while the daemon runs, as when somebody puts another in its place; without one from the start it does."""
    config = rules.parent / "config.toml"
    source = '[[sources]]\nname = "s"\nkind = "file"\npath = "x.csv"\ncolumns = { id = "Nr" }\n'
    receiver = '[[receivers]]\nname = "out"\nkind = "console"\n[[routes]]\nto = ["out"]\n'
    config.write_text(source + receiver, encoding="utf-8")
    before = wiring.rules_folder(load(config))
    wiring.refuse_lost(load(config), before)
    rules.rename(rules.parent / "elsewhere")
    with pytest.raises(RuleErrors, match="rules: the folder of rules is gone; put it back"):
        wiring.refuse_lost(load(config), before)
    wiring.refuse_lost(load(config), wiring.shipped("rules"))


def test_a_file_that_is_named_is_read_alike(rules: Path) -> None:
    """By `rules preview` and its like: one fault with its place, and no pipe is waited for."""
    with pytest.raises(ValueError, match="2: is not UTF-8"):
        (rules / "a.toml").write_bytes(b"id = 1\n\xff")
        text_of(rules / "a.toml")
    os.mkfifo(rules / "p.toml")
    with pytest.raises(ValueError, match="is no file"):
        text_of(rules / "p.toml")
