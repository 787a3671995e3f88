"""Files as a source: what is understood, what is named by its row, and what is not believed at all."""

from __future__ import annotations

import codecs
import io
import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pytest

from monitor.domain.observed import Account, Activity, Group, Role
from monitor.domain.reading import Outcome
from monitor.sources.files import File
from monitor.sources.rows import Columns
from tests.peers.tables import Polled, Remembered, columns, polled
from tests.peers.watch import START, VirtualClock

TWO = "id,email,name,status\n1,ann@x.test,Ann,active\n2,bob@x.test,Bob,suspended\n"
PEOPLE = {
    "id": "Nr", "email": "Mail", "department": "Dept", "title": "Job", "manager": "Boss",
    "starts": "From", "ends": "To", "ended_recorded": "Told", "employee_id": "Nr",
}  # fmt: skip


def file(path: Path, content: str | bytes, shape: Columns | None = None, **how: Any) -> File:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return File("hr", path, shape or columns(), clock=VirtualClock(), **how)


def read(path: Path, content: str | bytes, shape: Columns | None = None, **how: Any) -> Polled:
    return polled(file(path, content, shape, **how).read(Remembered()))


def workbook(rows: list[list[Any]], title: str = "Sheet") -> bytes:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = title
    for row in rows:
        sheet.append(row)
    body = io.BytesIO()
    book.save(body)
    return body.getvalue()


ROWS: list[dict[str, Any]] = [
    {"id": "1", "email": "ann@x.test", "name": "Ann", "status": "active"},
    {"id": "2", "email": "bob@x.test", "name": "Bob", "status": "suspended"},
]
TEXTS = [["ann@x.test", "Ann", "active"], ["bob@x.test", "Bob", " Suspended"]]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", TWO),
        ("x.csv", TWO.rstrip("\n")),
        ("x.csv", TWO.replace("\n", "\r\n")),
        ("x.csv", TWO.replace(",", ";")),
        ("x.tsv", TWO.replace(",", "\t")),
        ("x.txt", TWO.replace(",", "|")),
        ("x.csv", codecs.BOM_UTF8 + TWO.encode()),
        ("x.csv", TWO.encode("utf-16")),
        ("x.csv", TWO.replace("Ann", '"Ann"')),
        ("x.csv", TWO + "\n\n"),
        ("x.xlsx", workbook([list(ROWS[0]), *([*r.values()] for r in ROWS)])),
        ("x.xlsx", workbook([list(ROWS[0]), [1, *TEXTS[0]], [2.0, *TEXTS[1]]])),
        ("x.json", json.dumps(ROWS)),
        ("x.json", codecs.BOM_UTF8 + json.dumps(ROWS).encode()),
        ("x.jsonl", "\n".join(map(json.dumps, ROWS))),
        ("x.jsonl", "\n\n".join(map(json.dumps, ROWS)) + "\n"),
    ],
)  # fmt: skip
def test_every_format_gives_the_same_accounts(tmp_path: Path, name: str, content: str | bytes) -> None:
    """Delimiters, marks at the beginning, line ends, numbers as keys: two accounts, read whole."""
    got = read(tmp_path / name, content)
    assert (got.outcome, got.reason) == (Outcome.COMPLETE, "")
    assert got.accounts == {
        "1": Account("1", "ann@x.test", None, "Ann", "active"),
        "2": Account("2", "bob@x.test", None, "Bob", "suspended"),
    }


def test_a_person_of_hr(tmp_path: Path) -> None:
    """What HR says beyond the account's own columns stands in its fields; days as days, and a time in UTC."""
    shape = columns(PEOPLE, fields=("Site",), date_format="%d.%m.%Y", zone=ZoneInfo("Europe/Berlin"))
    text = (
        "Nr;Mail;Dept;Job;Boss;From;To;Told;Site;Pay\n7;a@x.test;Sales;Rep;3;01.02.2020;31.12.9999;02.03.2026;Bonn;9\n"
    )
    got = read(tmp_path / "hr.csv", text, shape)
    assert dict(got.accounts["7"].fields or ()) == {
        "employee_id": "7", "department": "Sales", "title": "Rep", "manager": "3", "starts": "2020-02-01",
        "ends": "9999-12-31", "ended_recorded": "2026-03-02", "Site": "Bonn",
    }  # fmt: skip
    assert got.ends.keys() == {"users"}  # nothing is known of roles and groups


def test_times_and_lists(tmp_path: Path) -> None:
    """Times without a zone are in the config's; lists are split, and groups know their members."""
    shape = columns(
        {"id": "id", "role": "role", "groups": "groups", "tags": "tags", "created": "made", "last_login": "seen"},
        separator="/", zone=ZoneInfo("Europe/Berlin"),
    )  # fmt: skip
    text = (
        "id,role,groups,tags,made,seen\n"
        "1,Boss,a/b,z/y,2026-01-01,2026-07-01 12:00\n2,,b, ,2026-01-01T00:00:00Z,never\n3,Boss,,,,\n"
    )
    got = read(tmp_path / "x.csv", text, shape)
    assert [(a.role, a.role_id, a.tags, a.created) for a in got.accounts.values()] == [
        ("Boss", "Boss", ("y", "z"), datetime(2025, 12, 31, 23, tzinfo=UTC)),
        (None, None, (), datetime(2026, 1, 1, tzinfo=UTC)),
        ("Boss", "Boss", None, None),
    ]
    assert [*got.activity.values()] == [
        Activity(datetime(2026, 7, 1, 10, tzinfo=UTC), False), Activity(None, True), Activity(),
    ]  # fmt: skip
    assert (got.roles, got.groups) == ([Role("Boss", "Boss")], [Group("a", "a"), Group("b", "b")])
    assert got.members == {"a": ["1"], "b": ["1", "2"]}
    assert {e.outcome for e in got.ends.values()} == {Outcome.COMPLETE}


def test_cells_of_a_workbook(tmp_path: Path) -> None:
    """Dates are dates there; a text that looks like a formula is text; rows may be short and lines empty."""
    shape = columns({"id": "id", "name": "name", "starts": "from", "ended_recorded": "told"})
    half_past_eight = datetime(2026, 3, 2, 8, 30)  # noqa: DTZ001  # workbooks know no zones
    body = workbook([["id", "name", "from", "told"], [1, None, date(2026, 3, 1), half_past_eight], [None], [2, "x"]])
    got = read(tmp_path / "x.xlsx", body, shape)
    assert [(a.name, a.fields) for a in got.accounts.values()] == [
        (None, (("ended_recorded", "2026-03-02T08:30:00Z"), ("starts", "2026-03-01"))), ("x", ()),
    ]  # fmt: skip
    got = read(tmp_path / "x.csv", 'id,name,status,email\n1,"=HYPERLINK(""http://evil.test"")",,@x\n')
    assert got.accounts["1"].name == '=HYPERLINK("http://evil.test")'


def test_nested_json(tmp_path: Path) -> None:
    """A column may lie inside an object; lists are lists; true and numbers are their text."""
    rows = [{"id": 5, "name": {"full": "Ann"}, "state": True, "teams": ["b", "a"], "seen": 1772352000}]
    shape = columns(
        {"id": "id", "name": "name.full", "status": "state", "groups": "teams", "last_login": "seen"},
        status_values={"True": "active"}, date_format="unix",
    )  # fmt: skip
    got = read(tmp_path / "x.json", json.dumps(rows), shape)
    assert got.accounts["5"] == Account("5", None, None, "Ann", "active")
    assert (got.members, got.activity["5"].last_login) == (
        {"a": ["5"], "b": ["5"]},
        datetime(2026, 3, 1, 8, tzinfo=UTC),
    )


@pytest.mark.parametrize("encoding", ["cp1252", "iso-8859-15", "utf-8", "utf-16-le"])
def test_a_named_encoding(tmp_path: Path, encoding: str) -> None:
    """What the config says is what counts."""
    text = TWO.replace("Ann", "Zoë Weiß")
    assert read(tmp_path / "x.csv", text.encode(encoding), encoding=encoding).accounts["1"].name == "Zoë Weiß"


def test_a_detected_encoding(tmp_path: Path) -> None:
    """By the lines with letters beyond ASCII; the proof says what was found."""
    text = TWO + "".join(f"{n},x@x.test,Jürgen Groß aus Köln in der Schönhauser Straße,active\n" for n in range(3, 40))
    source = file(tmp_path / "x.csv", text.encode("cp1252"))
    got = polled(source.read(Remembered()))
    assert got.accounts["3"].name == "Jürgen Groß aus Köln in der Schönhauser Straße"
    assert source.proof.filters["encoding"] not in ("utf-8", "ascii")


# Rows with faults: what stands in the file, and how the fault is told.
FAULTS: list[tuple[str, str]] = [
    ("1,c@x.test,C,active", 'row 2 and row 4: both have the key "1" in column "id"'),
    (",c@x.test,C,active", 'row 4: column "id": the key is empty'),
    ("3,c@x.test,C,away", 'row 4: column "status": "away" is no status; say in `status_values` what it means'),
    ("3,c@x.test,C", "row 4: it has 3 cells, and the header has 4"),
    ("3,c@x.test,C,active,5", "row 4: it has 5 cells, and the header has 4"),
    ("3,c@x.test,C,\x1b[31m" + "x" * 50, f'row 4: column "status": " [31m{"x" * 35}..." is no status'),
]


@pytest.mark.parametrize(("row", "said"), FAULTS)
def test_a_row_with_a_fault_is_named(tmp_path: Path, row: str, said: str) -> None:
    """The others are taken over, the scope is partial, and nobody counts as gone."""
    recall = Remembered()
    polled(file(tmp_path / "x.csv", TWO + "9,z@x.test,Z,active\n").read(recall), recall)
    got = polled(file(tmp_path / "x.csv", f"{TWO}{row}\n5,e@x.test,E,active\n").read(recall))
    assert got.outcome is Outcome.PARTIAL
    assert got.reason.startswith(f"{tmp_path}/x.csv: {said}")
    assert (got.gone, "5" in got.accounts) == ([], True)


@pytest.mark.parametrize(
    ("day", "shape"),
    [("03/04/2026", None), ("2026-02-30", None), ("20260301", None), ("soon", None), ("2026-03-01", "%d.%m.%Y")],
)
def test_a_bad_date_is_named(tmp_path: Path, day: str, shape: str | None) -> None:
    """Nobody guesses which number is the month."""
    how = columns({"id": "id", "ends": "Last day"}, date_format=shape)
    got = read(tmp_path / "x.csv", f"id,Last day\n1,{day}\n", how)
    assert got.outcome is Outcome.PARTIAL
    assert got.reason.startswith(f'{tmp_path}/x.csv: row 2: column "Last day": "{day}" is no date ')


def test_a_key_that_stands_twice_counts_for_neither(tmp_path: Path) -> None:
    """Which of the two is right, the file does not say; what was known of the account stays."""
    got = read(tmp_path / "x.csv", TWO + "1,other@x.test,Other,suspended\n")
    assert got.accounts.keys() == {"2"}


def test_many_faults_are_counted(tmp_path: Path) -> None:
    """Twenty are told, so that a message stays readable."""
    got = read(tmp_path / "x.csv", TWO + "".join(f"{n},,,away\n" for n in range(3, 33)))
    assert got.reason.endswith("; and 10 more faults")
    assert got.reason.count("away") == 20


@pytest.mark.parametrize(
    ("name", "row", "said"),
    [
        ("x.json", '{"id":"1","status":"away"}', 'record 3: column "status": "away" is no status'),
        ("x.json", '"ann"', "record 3: it is no JSON object"),
        ("x.jsonl", '{"id":', "line 3: it is no JSON"),
    ],
)
def test_a_record_with_a_fault_is_named(tmp_path: Path, name: str, row: str, said: str) -> None:
    """By its number, or its line."""
    rows = [*map(json.dumps, ROWS), row]
    content = "[" + ",".join(rows) + "]" if name == "x.json" else "\n".join(rows) + "\n"
    got = read(tmp_path / name, content)
    assert got.outcome is Outcome.PARTIAL
    assert got.reason.startswith(f"{tmp_path}/{name}: {said}")


def test_the_error_of_a_formula_is_a_fault(tmp_path: Path) -> None:
    """It stands in the cell like a text."""
    got = read(
        tmp_path / "x.xlsx", workbook([["id", "email", "name", "status"], [1, "a", "b", "active"], [2, "#REF!"]])
    )
    assert got.outcome is Outcome.PARTIAL
    assert got.reason.endswith('x.xlsx: row 3: column "email": #REF! is the error of a formula')


WHOLE = workbook([list(ROWS[0]), *([*r.values()] for r in ROWS)])
# What no file is that can be believed: its content, and the reason.
UNBELIEVABLE: list[tuple[str, str | bytes, str]] = [
    ("x.csv", "", "the file is empty"),
    ("x.csv", TWO.splitlines()[0], "there are no rows in it"),
    ("x.csv", TWO.replace("status", "state"), 'row 1: there is no column "status"; did you mean "state"?'),
    ("x.csv", TWO.replace("name", "email"), 'row 1: the column "email" stands there twice'),
    ("x.csv", TWO + '3,"c@x.te', "it is cut off, or no CSV"),
    ("x.csv", TWO + "3,c@x.te", "it is cut off: of its last row, it has 2 cells, and the header has 4"),
    ("x.csv", TWO.encode() + b"3,\0,\0,\0\n", "it holds zero bytes: it is no text, or UTF-16 without its mark"),
    ("x.xlsx", WHOLE[:-30], "it is no XLSX workbook: cut off, or protected by a password"),
    ("x.xlsx", b"ann", "it is no XLSX workbook: cut off, or protected by a password"),
    ("x.xlsx", workbook([]), "row 1: there is no column"),
    ("x.json", json.dumps(ROWS)[:-1], "it is cut off, or no JSON"),
    ("x.json", "[]", "there are no rows in it"),
    ("x.json", "{}", "it must be an array of objects"),
    ("x.json", '[{"id": "1", "email": "", "name": ""}]',
     'there is no column "status"; there are "email", "id", "name"'),
    ("x.jsonl", "\n".join(map(json.dumps, ROWS))[:-2], "it is cut off in line 2"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "said"), UNBELIEVABLE, ids=[u[2][:45] for u in UNBELIEVABLE])
def test_a_file_that_cannot_be_whole_is_quarantined(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    """Nothing of it is taken over, and the reason names the file."""
    source = file(tmp_path / name, content)
    got = polled(source.read(Remembered()))
    assert got.outcome is Outcome.QUARANTINED
    assert said in got.reason
    assert got == Polled(ends=got.ends)
    assert said in str(source.check())


def test_no_file_is_a_failed_poll(tmp_path: Path) -> None:
    """It says which, and why."""
    source = file(tmp_path / "x.csv", TWO)
    (tmp_path / "x.csv").unlink()
    got = polled(source.read(Remembered()))
    assert (got.outcome, got.reason) == (Outcome.FAILED, f"{tmp_path}/x.csv: cannot be read: No such file or directory")


def test_a_file_of_another_encoding_than_named(tmp_path: Path) -> None:
    """It is not read with question marks."""
    got = read(tmp_path / "x.csv", TWO.replace("Ann", "Zoë").encode("cp1252"), encoding="utf-8")
    assert got.outcome is Outcome.QUARANTINED
    assert got.reason == f"{tmp_path}/x.csv: byte 0xeb is no utf-8 text; set `encoding`"


def test_an_old_file(tmp_path: Path) -> None:
    """An export that no longer runs tells of a company as it was."""
    source = file(tmp_path / "x.csv", TWO, max_age=timedelta(hours=36))
    for hours, outcome in ((36, Outcome.COMPLETE), (37, Outcome.QUARANTINED)):
        written = (START - timedelta(hours=hours)).timestamp()
        os.utime(tmp_path / "x.csv", (written, written))
        got = polled(source.read(Remembered()))
        assert got.outcome is outcome
    assert "it was written at 2026-02-27 20:00 UTC and is older than max_age allows" in got.reason


def test_a_file_that_shrank(tmp_path: Path) -> None:
    """Half of the rows may go, and no more; whoever is not there any more is gone."""
    header, rows = "id,email,name,status\n", [f"{n},{n}@x.test,N,active\n" for n in range(10)]
    recall = Remembered()
    polled(file(tmp_path / "x.csv", header + "".join(rows)).read(recall), recall)
    for left, outcome, gone in ((4, Outcome.QUARANTINED, 0), (5, Outcome.COMPLETE, 5)):
        recall.shown = set()
        got = polled(file(tmp_path / "x.csv", header + "".join(rows[:left])).read(recall))
        assert (got.outcome, len(got.gone)) == (outcome, gone)
    recall.shown = set()
    assert polled(file(tmp_path / "x.csv", header + rows[0], max_shrink=1.0).read(recall)).outcome is Outcome.COMPLETE


def test_a_file_that_is_written_to_while_it_is_read(tmp_path: Path) -> None:
    """Half of the old and half of the new is neither; a new file under the same name does not matter."""
    source = file(tmp_path / "x.csv", TWO)
    rows = source._rows(source.proof)
    next(iter(rows))
    (tmp_path / "y.csv").write_text("")
    (tmp_path / "y.csv").rename(tmp_path / "x.csv")
    assert len([*rows]) == 1
    source = file(tmp_path / "x.csv", TWO)

    class Touching(Remembered):
        def known(self, raw_digest: bytes) -> bool:
            with (tmp_path / "x.csv").open("a") as more:
                more.write("3,c@x.test,C,active\n")
            return super().known(raw_digest)

    got = polled(source.read(Touching()))
    assert got.outcome is Outcome.QUARANTINED
    assert "it was written to while it was read" in got.reason


def test_what_is_unchanged_is_not_told_again(tmp_path: Path) -> None:
    """As with every source; groups are told whole."""
    recall, shape = Remembered(), columns({"id": "id", "groups": "g"})
    source = file(tmp_path / "x.csv", "id,g\n1,a\n2,a\n", shape)
    assert len(polled(source.read(recall), recall).accounts) == 2
    got = polled(source.read(recall), recall)
    assert (got.accounts, got.members, got.gone) == ({}, {"a": ["1", "2"]}, [])


def test_the_check_reads_it_all(tmp_path: Path) -> None:
    """It says what a poll would stumble over."""
    assert file(tmp_path / "x.csv", TWO).check() is None
    assert file(tmp_path / "x.csv", TWO + "3,,,x\n").check() == (
        f'{tmp_path}/x.csv: row 4: column "status": "x" is no status; say in `status_values` what it means'
    )
