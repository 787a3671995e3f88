"""The results of rule tests as JUnit XML, which build servers read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from monitor.decide.timeline import TestResult

_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(results: Sequence[TestResult], files: dict[str, str]) -> str:
    """One suite a rule. `files`: where each rule stands."""
    root = ElementTree.Element("testsuites", {"name": "access-monitor rules", **_counts(results)})
    for rule in dict.fromkeys(r.rule for r in results):
        mine = [r for r in results if r.rule == rule]
        suite = ElementTree.SubElement(root, "testsuite", {"name": rule, **_counts(mine)})
        for result in mine:
            case = ElementTree.SubElement(
                suite, "testcase", classname=rule, name=_clean(result.test), file=files.get(rule, ""),
                line=str(result.line),
            )  # fmt: skip
            if not result.passed:
                said = _clean(result.message)
                failure = ElementTree.SubElement(case, "failure", message=said.splitlines()[0])
                failure.text = said
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _counts(results: Sequence[TestResult]) -> dict[str, str]:
    failed = sum(not r.passed for r in results)
    return {"tests": str(len(results)), "failures": str(failed), "errors": "0", "skipped": "0"}


def _clean(text: str) -> str:
    """XML 1.0 has no place for control characters, escaped or not."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
