"""The shipped rules, parsed once for all tests of a process."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from monitor.decide.parse import parse_set

FOLDER = Path(__file__).parents[2] / "rules"
RULES = parse_set({str(p): p.read_text("utf-8") for p in FOLDER.rglob("*.toml")}, today=date(2026, 3, 1))
