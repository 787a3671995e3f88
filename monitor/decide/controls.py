"""The clauses of the frameworks that a rule may say that it serves: numbers only, as published.

SOC 2 is the AICPA's trust services criteria of 2017 (points of focus of 2022), ISO 27001 the edition of 2022, NIST
SP 800-53 revision 5 (the families that bear on access), CIS the safeguards of version 8.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence


def _counted(**last: int) -> Iterator[str]:
    """CC1=5 stands for CC1.1 to CC1.5."""
    return (f"{section}.{n}" for section, most in last.items() for n in range(1, most + 1))


def _annex_a() -> Iterator[str]:
    return (f"A.{section}.{n}" for section, most in {5: 37, 6: 8, 7: 14, 8: 34}.items() for n in range(1, most + 1))


def _safeguards() -> Iterator[str]:
    for control, most in enumerate((5, 7, 14, 12, 6, 8, 7, 12, 7, 7, 5, 8, 11, 9, 7, 14, 9, 5), 1):
        yield str(control)
        yield from (f"{control}.{n}" for n in range(1, most + 1))


# By control, its enhancements; those that were withdrawn are left out.
_NIST: Mapping[str, Mapping[int, str]] = {
    "AC": {
        1: "", 2: "1-9 11-13", 3: "2-5 7-15", 4: "1-15 17 19-32", 5: "", 6: "1-10", 7: "2-4", 8: "", 9: "1-4", 10: "",
        11: "1", 12: "1-3", 14: "", 16: "1-10", 17: "1-4 6 9-10", 18: "1 3-5", 19: "4-5", 20: "1-5", 21: "1-2", 22: "",
        23: "", 24: "1-2", 25: "",
    },
    "AU": {
        1: "", 2: "", 3: "1 3", 4: "1", 5: "1-5", 6: "1 3-9", 7: "1", 8: "", 9: "1-7", 10: "1-4", 11: "1", 12: "1-4",
        13: "1-3", 14: "1 3", 16: "1-3",
    },
    "IA": {
        1: "", 2: "1-2 5-6 8 10 12-13", 3: "1 3-4", 4: "1 4-6 8-9", 5: "1-2 5-10 12-18", 6: "", 7: "", 8: "1-2 4-6",
        9: "", 10: "", 11: "", 12: "1-6", 13: "1-3",
    },
    "PS": {1: "", 2: "", 3: "1-4", 4: "1-2", 5: "", 6: "2-3", 7: "", 8: "", 9: ""},
}  # fmt: skip


def _nist() -> Iterator[str]:
    for family, controls in _NIST.items():
        for number, enhancements in controls.items():
            yield f"{family}-{number}"
            for part in enhancements.split():
                first, _, last = part.partition("-")
                yield from (f"{family}-{number}({n})" for n in range(int(first), int(last or first) + 1))


FRAMEWORKS: Mapping[str, tuple[str, ...]] = {
    "soc2": tuple(
        _counted(CC1=5, CC2=3, CC3=4, CC4=2, CC5=3, CC6=8, CC7=5, CC8=1, CC9=2, A1=3, C1=2, PI1=5, P1=1, P2=1, P3=2,
                 P4=3, P5=2, P6=7, P7=1, P8=1)
    ),
    "iso27001": tuple(_annex_a()),
    "nist": tuple(_nist()),
    "cis": tuple(_safeguards()),
}  # fmt: skip
EXAMPLES = {"soc2": "CC6.3", "iso27001": "A.5.18", "nist": "AC-2(3)", "cis": "5.3"}


def fault(framework: str, control: str | None = None) -> str | None:
    """What is wrong with a framework, or with a control of a known one; None when it is on the list."""
    if framework not in FRAMEWORKS:
        close = [f for f in FRAMEWORKS if f.startswith(framework.lower())]
        close += difflib.get_close_matches(framework, FRAMEWORKS, n=1)
        return f"unknown framework; known: {', '.join(FRAMEWORKS)}" + (f"; did you mean {close[0]}?" if close else "")
    if control is None or control in FRAMEWORKS[framework]:
        return None
    if framework == "iso27001" and re.fullmatch(r"A\.\d+\.\d+\.\d+", control):
        return f"there is no control {control}: three numbers are those of 2013; the list is that of 2022, like A.5.18"
    return f"there is no control {control}; {_near(control, FRAMEWORKS[framework], EXAMPLES[framework])}"


def _near(control: str, known: Sequence[str], example: str) -> str:
    """The same in capitals; else the range of those that begin alike; else the most similar one."""
    if control.upper() in known:
        return f"did you mean {control.upper()}?"
    section = re.match(r".*[.(]", control)
    alike = [c for c in known if section and c.startswith(section[0]) and c.count(".") == control.count(".")]
    if len(alike) > 1:
        return f"there are {alike[0]} to {alike[-1]}"
    close = difflib.get_close_matches(control, known, n=1)
    return f"did you mean {close[0]}?" if close else f"write it like {example}"
