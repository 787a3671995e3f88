"""The settings of one rule: the defaults of its file, the config's values above them, and those of its tests."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator

from monitor.decide import settings
from monitor.decide.form import RuleForm, RuleTestForm
from monitor.decide.places import line_of_path
from monitor.domain.company import Company, Setting
from monitor.domain.rule import Rule


class RuleSettings:
    """What a rule may read as settings.NAME: the defaults of its file, the config's values above them."""

    def __init__(self, rule: RuleForm, text: str, file: str, company: Company) -> None:
        self.defaults: dict[str, Setting] = {}
        self.problems: list[str] = []
        self._faulty: list[str] = []  # declared, but not as one can
        self.hours = company.hours
        for name, found in settings.declared(rule.settings):
            if isinstance(found, str):
                self._faulty.append(name)
                self.problems.append(f"{file}:{line_of_path(text, ['settings', name])}: settings.{name}: {found}")
            else:
                self.defaults[name] = found
        self.in_force = dict(company.settings) | {
            n: self._chosen(n, d, company, file) for n, d in self.defaults.items()
        }
        self.tests = [dict(self._of_test(n, t, text, file)) for n, t in enumerate(rule.tests)]

    def excused(self, fault: str) -> bool:
        """A clause that reads a setting which is faulty itself: that is told where it stands."""
        return bool(self._faulty) and f"there is no {settings.PREFIX}" in fault

    def _chosen(self, name: str, default: Setting, company: Company, file: str) -> Setting:
        given = company.settings.get(name, default)
        chosen = settings.overridden(default, given)
        if chosen is None:
            wanted, got = settings.WRITTEN[default.type], settings.WRITTEN[given.type]
            self.problems.append(f"the config's settings.{name} is {got}; {file} needs {wanted}")
        return chosen or default

    def _of_test(self, number: int, test: RuleTestForm, text: str, file: str) -> Iterator[tuple[str, Setting]]:
        where = f"{file}:{line_of_path(text, ['tests', str(number), 'settings'])}: tests.{number}.settings"
        for name, found in settings.declared(test.settings):
            known = self.in_force.get(name)
            fitting = settings.overridden(known, found) if known and isinstance(found, Setting) else None
            if known is None:
                close = difflib.get_close_matches(name, self.in_force, n=1)
                self.problems.append(
                    f"{where}: there is no setting {name}{f'; did you mean {close[0]}?' if close else ''}"
                )
            elif fitting is None:
                self.problems.append(f"{where}.{name}: must be {settings.WRITTEN[known.type]}")
            else:
                yield name, fitting


def unread(rule: Rule, text: str) -> Iterator[str]:
    """Settings that a file declares for nothing: misspelt, or keys of the rule that slipped below a table."""
    written = "\n".join([*rule.match, *rule.evidence, rule.title, *(c for e in rule.exemptions for c in e.match)])
    for name in rule.defaults:
        if not re.search(rf"\b{re.escape(settings.PREFIX + name)}\b", written):
            key = difflib.get_close_matches(name, RuleForm.model_fields, n=1, cutoff=0.8)
            slipped = f"the key {key[0]} of the rule stands above the first [table]" if key else ""
            line, advice = line_of_path(text, ["settings", name]), f"remove it, or read it as settings.{name}"
            yield f"{rule.file}:{line}: settings.{name}: no clause reads it; {slipped or advice}"
