"""An export on disk: CSV, XLSX, JSON or JSON Lines. It is read from one open file, whole or not at all."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import os
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Any
from xml.etree.ElementTree import ParseError  # only to catch it: openpyxl does the parsing

import msgspec

from monitor.domain.reading import Batch, Clock, Progress, Proof, Recall
from monitor.errors import SourceError
from monitor.sources.rows import Columns, Row, RowFault
from monitor.sources.table import Nothing, Quarantined, Rows, TableReading, faults_of, no_column

FORMATS = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".xlsx": "xlsx", ".json": "json", ".jsonl": "jsonl"}
DELIMITERS = ",;\t|"
LONGEST_JSON = 512 * 2**20  # an array is held in memory; JSON Lines are not
LONGEST_UNPACKED = 2 * 2**30  # what a workbook may unpack to
SAMPLE = 256 * 1024
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_NO_WORKBOOK = (zipfile.BadZipFile, zlib.error, ParseError, KeyError, ValueError, TypeError, EOFError, IndexError)

# What openpyxl says of styles and extensions that it leaves out does not matter for what stands in cells.
warnings.filterwarnings("ignore", module="openpyxl")


class File:
    """The source of one file. Its name may be replaced by a new export at any time; the open one is read to its end."""

    def __init__(
        self,
        name: str,
        path: Path,
        columns: Columns,
        *,
        clock: Clock,
        format: str | None = None,  # as the config calls it
        encoding: str | None = None,
        delimiter: str | None = None,
        sheet: str | None = None,
        max_age: timedelta | None = None,
        max_shrink: float = 0.5,
        progress: Progress | None = None,
    ) -> None:
        self.name, self.proof = name, Proof()
        self._path, self._columns, self._clock = path, columns, clock
        self._format = format or FORMATS.get(path.suffix.lower(), "csv")
        self._encoding, self._delimiter, self._sheet, self._max_age = encoding, delimiter, sheet, max_age
        self._table = TableReading(str(path), columns, max_shrink, progress)

    def read(self, recall: Recall) -> Iterator[Batch]:
        self.proof = Proof(endpoint=str(self._path), filters={"format": self._format}, pages={"users": 1})
        yield from self._table.read(self._rows(self.proof), recall, self.proof)

    def check(self) -> str | None:
        """Everything that a poll would stumble over, or None."""
        return faults_of(self.read(Nothing()))

    def _rows(self, proof: Proof) -> Rows:
        try:
            with self._path.open("rb") as file:
                before = os.fstat(file.fileno())
                self._refuse_stale(before.st_mtime)
                proof.root_digest = hashlib.file_digest(file, "sha256").hexdigest()
                file.seek(0)
                yield from self._read(file, proof)
                after = os.fstat(file.fileno())
        except OSError as error:
            raise SourceError(f"cannot be read: {error.strerror or error}") from error
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise Quarantined("it was written to while it was read; the next poll reads it again")

    def _refuse_stale(self, written: float) -> None:
        when = datetime.fromtimestamp(written, UTC)
        if self._max_age is not None and self._clock.now() - when > self._max_age:
            raise Quarantined(
                f"it was written at {when:%Y-%m-%d %H:%M} UTC and is older than max_age allows: "
                "look whether the export still runs"
            )

    def _read(self, file: IO[bytes], proof: Proof) -> Rows:
        reading: dict[str, Callable[[IO[bytes], Proof], Rows]] = {
            "csv": self._csv, "xlsx": self._xlsx, "json": self._json, "jsonl": self._json_lines,
        }  # fmt: skip
        if not file.read(1):
            raise Quarantined("the file is empty")
        file.seek(0)
        try:
            yield from reading[self._format](file, proof)
        except UnicodeDecodeError as error:
            byte = error.object[error.start]
            raise Quarantined(f"byte {byte:#04x} is no {error.encoding} text; set `encoding`") from error

    # CSV

    def _csv(self, file: IO[bytes], proof: Proof) -> Rows:
        encoding = self._encoding or encoding_of(file)
        cut = not ends_with_newline(file)
        text = io.TextIOWrapper(file, encoding, newline="")
        try:
            delimiter = self._delimiter or delimiter_of(text.read(SAMPLE), self._columns.wanted)
            proof.filters |= {"encoding": encoding, "delimiter": delimiter}
            text.seek(0)
            yield from _csv_rows(csv.reader(text, delimiter=delimiter, strict=True), self._columns, cut=cut)
        except csv.Error as error:
            raise Quarantined(f"it is cut off, or no CSV: {error}") from error
        finally:
            text.detach()

    # XLSX

    def _xlsx(self, file: IO[bytes], proof: Proof) -> Rows:
        import openpyxl

        try:
            if sum(part.file_size for part in zipfile.ZipFile(file).infolist()) > LONGEST_UNPACKED:
                raise Quarantined(f"it unpacks to more than {LONGEST_UNPACKED // 2**20} MiB")
            book = openpyxl.load_workbook(file, read_only=True, data_only=True)
            try:
                sheet = self._sheet or book.sheetnames[0]
                if sheet not in book.sheetnames:
                    raise Quarantined(f'there is no sheet "{sheet}"; there are {", ".join(book.sheetnames)}')
                proof.filters["sheet"] = sheet
                book[sheet].reset_dimensions()  # some programs write down a wrong size
                yield from _sheet_rows(book[sheet].iter_rows(values_only=True), self._columns)
            finally:
                book.close()
        except _NO_WORKBOOK as error:
            raise Quarantined("it is no XLSX workbook: cut off, or protected by a password") from error

    # JSON

    def _json(self, file: IO[bytes], proof: Proof) -> Rows:
        body = self._utf8(file.read(LONGEST_JSON + 1))
        if len(body) > LONGEST_JSON:
            raise Quarantined(f"it is longer than {LONGEST_JSON // 2**20} MiB; write it as JSON Lines")
        try:
            records = msgspec.json.decode(body, type=list[msgspec.Raw])
        except msgspec.ValidationError as error:
            raise Quarantined('it must be an array of objects, like [{"id": "1"}]') from error
        except msgspec.DecodeError as error:
            raise Quarantined(f"it is cut off, or no JSON: {error}") from error
        for number, raw in enumerate(records, 1):
            yield f"record {number}", _object(raw)

    def _json_lines(self, file: IO[bytes], proof: Proof) -> Rows:
        """A line that is no JSON is a fault of its own; the last one, without an end, was cut off."""
        for number, line in enumerate(file, 1):
            body = self._utf8(line)
            if not body.strip():
                continue
            row = _object(body)
            if isinstance(row, RowFault) and not line.endswith(b"\n"):
                raise Quarantined(f"it is cut off in line {number}")
            yield f"line {number}", row

    def _utf8(self, body: bytes) -> bytes:
        """JSON is UTF-8 (RFC 8259), unless its first bytes or the config say otherwise."""
        encoding = self._encoding or next((name for bom, name in _BOMS if body.startswith(bom)), "utf-8")
        return body if encoding == "utf-8" else body.decode(encoding).encode()


def _csv_rows(reader: Iterator[list[str]], columns: Columns, *, cut: bool) -> Rows:
    """`cut`: no newline stands at the end, so that a last row which is too short was cut off."""
    header = _header(next(reader, []), columns)
    short = ""  # what is wrong with the row before, when that may have been the last
    for number, cells in enumerate(reader, 2):
        if not cells:
            continue
        short = f"it has {len(cells)} cells, and the header has {len(header)}" if len(cells) < len(header) else ""
        if len(cells) == len(header):
            yield f"row {number}", dict(zip(header, cells, strict=True))
        else:
            yield f"row {number}", RowFault(f"it has {len(cells)} cells, and the header has {len(header)}")
    if short and cut:
        raise Quarantined(f"it is cut off: of its last row, {short}")


def _sheet_rows(rows: Iterator[tuple[Any, ...]], columns: Columns) -> Rows:
    """Cells that are empty at the end of a row are not written at all."""
    from openpyxl.cell.cell import ERROR_CODES

    header = _header([str(cell) if cell is not None else "" for cell in next(rows, ())], columns)
    for number, cells in enumerate(rows, 2):
        if all(cell is None for cell in cells):
            continue
        row = dict(zip(header, (*cells, *[None] * (len(header) - len(cells))), strict=False))
        broken = [f'column "{name}": {row[name]} is the error of a formula' for name in columns.wanted & row.keys()
                  if isinstance(row[name], str) and row[name] in ERROR_CODES]  # fmt: skip
        yield f"row {number}", RowFault("; ".join(broken)) if broken else row


def _header(cells: list[str], columns: Columns) -> list[str]:
    names = [cell.strip().removeprefix("\ufeff") for cell in cells]
    twice = sorted(name for name in columns.wanted if names.count(name) > 1)
    if twice:
        raise Quarantined(f'row 1: the column "{twice[0]}" stands there twice')
    missing = columns.wanted - {*names}
    if missing:
        raise Quarantined(f"row 1: {'; '.join(no_column(column, {*names}) for column in sorted(missing))}")
    return names


def _object(body: bytes | msgspec.Raw) -> Row | RowFault:
    try:
        row = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return RowFault(f"it is no JSON: {error}")
    return row if isinstance(row, dict) else RowFault("it is no JSON object")


# what a text is written in


def encoding_of(file: IO[bytes]) -> str:
    """By its first bytes, else UTF-8 if it is that to its end, else what the letters beyond ASCII look like."""
    head = file.read(4096)
    file.seek(0)
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name
    if b"\0" in head:
        raise Quarantined("it holds zero bytes: it is no text, or UTF-16 without its mark; set `encoding`")
    decoder, strange = codecs.getincrementaldecoder("utf-8")(), b""
    try:
        while chunk := file.read(SAMPLE):
            strange = strange or chunk if not chunk.isascii() else strange
            decoder.decode(chunk)
        decoder.decode(b"", final=True)
        return "utf-8"
    except UnicodeDecodeError:
        return _looks_like(strange)
    finally:
        file.seek(0)


def _looks_like(sample: bytes) -> str:
    """Only lines with letters beyond ASCII tell encodings apart. What cannot be told is not guessed."""
    from charset_normalizer import from_bytes

    lines = b"\n".join(line for line in re.split(rb"[\r\n]+", sample) if not line.isascii())
    best = from_bytes(lines[:SAMPLE]).best()
    if best is None:
        raise Quarantined("its encoding cannot be told; set `encoding`")
    return best.encoding


def delimiter_of(text: str, wanted: set[str]) -> str:
    """The one that makes the most wanted columns of the first row: frequencies of characters would only be a guess."""
    found: dict[str, int] = {}
    for delimiter in DELIMITERS:
        try:
            header = next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), [])
        except csv.Error:
            continue
        found[delimiter] = len(wanted & {cell.strip() for cell in header})
    return max(found, key=found.__getitem__, default=DELIMITERS[0])


def ends_with_newline(file: IO[bytes]) -> bool:
    file.seek(-4, os.SEEK_END) if file.seek(0, os.SEEK_END) > 4 else file.seek(0)
    end = file.read(4)
    file.seek(0)
    return b"\n" in end[-3:] or b"\r" in end[-3:]
