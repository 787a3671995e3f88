"""The layout of rule files: one for all, and never another meaning."""

from __future__ import annotations

import random
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from monitor.decide.layout import laid_out

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "rules").rglob("*.toml"))
UNTIDY = """\
# About this file.

severity="high" # for now
# who
id = 'some-rule'
match = ["account.is_admin", # the flag
  "account.privileged"]
title = "a # no comment"
evidence = [ 'account.role','account.level' ]
tags=["x"]
description = \"\"\"
Why,
  exactly.\"\"\"

# frameworks
[controls]
soc2=["CC6.3"]

# cases
[[tests]]
# the first
polls=[{at="3d ago",is_admin=true,fields={ cf_a = "b" }},{ at = "1d ago" }]
expect="finding"
name = "first"
[[exemptions]]
expires = 2026-12-31
"subject" = "ann"
# the end
"""
TIDY = """\
# About this file.

# who
id       = 'some-rule'
title    = "a # no comment"
severity = "high"  # for now

description = \"\"\"
Why,
  exactly.\"\"\"

match = ["account.is_admin", # the flag
  "account.privileged"]
evidence = ['account.role', 'account.level']
tags     = ["x"]

# frameworks
[controls]
soc2 = ["CC6.3"]

[[exemptions]]
subject = "ann"
expires = 2026-12-31

# cases
[[tests]]
name   = "first"
expect = "finding"
# the first
polls  = [
  { at = "3d ago", is_admin = true, fields = { cf_a = "b" } },
  { at = "1d ago" },
]

# the end
"""


def test_an_untidy_file() -> None:
    """Order, alignment, one poll a line; comments stay with what they stand above or behind."""
    assert laid_out(UNTIDY) == TIDY
    assert laid_out(TIDY) == TIDY


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_the_shipped_rules_are_laid_out(path: Path) -> None:
    """`access-monitor rules fmt --folder rules` does it."""
    text = path.read_text(encoding="utf-8")
    assert laid_out(text) == text


def test_the_example_of_the_document_is_laid_out() -> None:
    """Who copies it begins with a tidy file."""
    document = (ROOT / "docs" / "rules.md").read_text(encoding="utf-8")
    example = document.split("<!-- example -->\n```toml\n")[1].split("```")[0]
    assert laid_out(example) == example


def untidied(text: str, seed: int) -> str:
    """The same file as somebody careless would leave it: keys and tables in any order, other spaces, more comments."""
    dice = random.Random(seed)
    top, *tables = re.split(r"\n(?=\[)", text)
    keys = re.split(r"\n(?=[a-z_]+ *=)", re.sub(r"^#:schema.*\n\n", "", top))
    dice.shuffle(keys)
    dice.shuffle(tables)
    said = [_loosened(part, dice) for part in keys] + [_loosened(part, dice) for part in tables]
    return "\n".join(f"# note {n}\n{part}" if dice.random() < 0.3 else part for n, part in enumerate(said)) + "\n"


def _loosened(part: str, dice: random.Random) -> str:
    part = re.sub(r"^([a-z0-9_]+) +=", lambda m: m[1] + " " * dice.randrange(4) + "=", part, flags=re.MULTILINE)
    part = re.sub(r"\{ ", "{" + " " * dice.randrange(3), part) if '"""' not in part else part
    return part + "\n" * dice.randrange(3)


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(FILES), st.integers(0, 10_000))
def test_laying_out_is_done_once_and_changes_no_meaning(path: Path, seed: int) -> None:
    """Twice is as good as once; every value and every comment is there afterwards."""
    text = untidied(path.read_text(encoding="utf-8"), seed)
    assume(_is_toml(text))  # untidying may break a text of several lines
    once = laid_out(text)
    assert laid_out(once) == once
    assert tomllib.loads(once) == tomllib.loads(text)
    assert once.count("# note") == text.count("# note")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id = ", "not valid TOML"),
        ("[[tests]]\nname = 1\n[[tests.polls]]\nat = 1\n", "tests.polls stands in a table of its own"),
        ("a.b = 1\n[settings.x]\nc = 1\n", "table of its own"),
    ],
)
def test_what_cannot_be_laid_out_is_left_alone(text: str, said: str) -> None:
    """With the reason; a file is never damaged."""
    with pytest.raises(ValueError, match=said):
        laid_out(text)
