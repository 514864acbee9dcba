"""Read the rows of a file: CSV in any usual form, XLSX, or a pasted list of people."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from itertools import chain
from typing import Any, Final, NamedTuple

from collegium.db.database import UnavailableError
from collegium.imports.rules import (
    COLUMNS_MAX,
    Columns,
    Field,
    Row,
    cells_of,
    columns_of,
    is_header,
    recognise,
)
from collegium.invitations.pasted_lists import AT_SIGNS, read_people
from collegium.values import InvalidValueError, Problem

_DELIMITERS: Final = ",;\t|"
_SAMPLE: Final = 20
"""Records by which the delimiter is recognised."""

_SAMPLE_CHARACTERS: Final = 50_000
"""Of these records at most, because one record can be as long as the file."""

_SAMPLE_BYTES: Final = 200
_PROCESS_SECONDS: Final = 30
_SPREADSHEET_CELL_MAX: Final = 32_767
"""Characters of a cell, as in spreadsheet programs."""

_ZIP: Final = b"PK\x03\x04"
_OLD_EXCEL: Final = b"\xd0\xcf\x11\xe0"
_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

# The memory that a spreadsheet can need is needed once.
_spreadsheet_lock: Final = threading.Lock()

Record = tuple[int, list[str]]
"""The number of a row, as a spreadsheet program counts, and its cells."""


class Table(NamedTuple):
    """What was read of a file.

    Args:
        header: names of the columns; empty if the file has none.
        columns: the meaning of the columns.
        rows: the rows that are not empty, without the header.
    """

    header: list[str]
    columns: Columns
    rows: list[Row]


def read(content: bytes, max_rows: int, mapping: Mapping[str, str | int] | None = None) -> Table:
    """Return what a file says.

    Args:
        content: of the file, of bounded size.
        max_rows: maximum number of rows.
        mapping: the columns of some fields, as ``rules.columns_of`` takes it; by default the
            columns are recognised by their names.

    Raises:
        InvalidValueError: ``import.unreadable``, ``import.old_excel``, ``import.unpacked``,
            ``import.rows``, ``import.quotes``, ``import.mapping``, ``import.empty``.
        UnavailableError: too many spreadsheets are being read.
    """
    if content.startswith(_OLD_EXCEL):
        raise _refusal("import.old_excel")
    if content.startswith(_ZIP):
        with closing(_spreadsheet_records(content, max_rows + 1)) as found:
            return _read_table(found, max_rows, mapping)
    text = decode(content)
    records = _csv_records(text)
    try:
        first = next(records, None)
    except InvalidValueError:
        # Quotation marks as e-mail programs write them: "Lee, Ann" <ann@uni.example>
        if mapping is None and _has_at_sign(text):
            return _read_pasted(text, max_rows)
        raise
    if first is not None and mapping is None and not is_header(first[1]):
        if not _has_at_sign(text):
            raise _refusal("import.no_addresses")
        return _read_pasted(text, max_rows)
    return _read_table(chain([first] if first else [], records), max_rows, mapping)


def _has_at_sign(text: str) -> bool:
    return any(char in text for char in AT_SIGNS)


def _read_table(
    records: Iterator[Record], max_rows: int, mapping: Mapping[str, str | int] | None
) -> Table:
    """Return what the records of a file say; only columns with a meaning are kept.

    Raises:
        InvalidValueError: as ``read``.
    """
    first = next(records, None)
    if first is None:
        raise _refusal("import.empty")
    header: list[str] = []
    if is_header(first[1]) or (mapping is not None and _names_columns(first[1], mapping)):
        header = first[1]
    else:
        records = chain([first], records)
    columns = recognise(header) if mapping is None else columns_of(mapping, header, COLUMNS_MAX)
    if Field.EMAIL not in columns:
        raise _refusal("import.no_addresses")
    rows = []
    width = len(header)
    for count, (number, values) in enumerate(records, 1):
        if count > max_rows:
            raise _refusal("import.rows", max=max_rows)
        width = max(width, len(values))
        cells = cells_of(values, columns)
        if cells:
            rows.append(Row(number, cells))
    for index, field in enumerate(columns):
        if field is not None and index >= width:
            raise _refusal("import.mapping", value=f"{index + 1}")
    if not rows:
        raise _refusal("import.empty")
    return Table(header, columns[:width], rows)


def _names_columns(record: Sequence[str], mapping: Mapping[str, str | int]) -> bool:
    """Return whether the first row names the columns: by the mapping, or because of no address."""
    return any(isinstance(column, str) for column in mapping.values()) or not any(
        "@" in cell for cell in record
    )


def _refusal(code: str, **facts: Any) -> InvalidValueError:
    return InvalidValueError(Problem(code, facts))


def decode(content: bytes) -> str:
    """Return the text of a file in UTF-8, UTF-16 or Windows-1252.

    Raises:
        InvalidValueError: ``import.unreadable``.
    """
    encoding = next((name for bom, name in _BOMS if content.startswith(bom)), "")
    if not encoding:
        # Without a byte order mark: Latin letters have their null byte before or after them.
        sample = content[:_SAMPLE_BYTES]
        for name, nulls in (("utf-16-be", sample[::2]), ("utf-16-le", sample[1::2])):
            if nulls.count(0) * 2 > len(nulls):
                encoding = name
    for name in [encoding] if encoding else ["utf-8", "cp1252"]:
        try:
            text = content.decode(name)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise _refusal("import.unreadable")


def _csv_records(text: str) -> Iterator[Record]:
    """Yield number and cells of the records that are not empty.

    Raises:
        InvalidValueError: ``import.quotes`` with the ``line``.
    """
    first, _, rest = text.partition("\n")
    start = 1
    if first.lower().startswith("sep=") and first.strip()[4:5] in _DELIMITERS:
        # Excel's own line; it counts as a row there.
        delimiter, text, start = first.strip()[4:5] or ",", rest, 2
    else:
        sample = text[:_SAMPLE_CHARACTERS].rpartition("\n")[0] or text[:_SAMPLE_CHARACTERS]
        delimiter = max(_DELIMITERS, key=lambda each: _fit(sample, each))
    for number, values in enumerate(_records(text, delimiter), start):
        cells = values[:COLUMNS_MAX]
        if any(cell.strip() for cell in cells):
            yield number, cells


def _records(text: str, delimiter: str) -> Iterator[list[str]]:
    # Strict: a quotation mark that is never closed would swallow all rows after it.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        yield from reader
    except csv.Error:
        raise _refusal("import.quotes", line=reader.line_num) from None


def _fit(text: str, delimiter: str) -> tuple[int, int]:
    """Return how well a delimiter fits: recognised columns of the header, and cells of rows."""
    sizes: list[int] = []
    known = 0
    try:
        for record, _ in zip(_records(text, delimiter), range(_SAMPLE), strict=False):
            if not sizes:
                known = sum(field is not None for field in recognise(record))
            sizes.append(len(record))
    except InvalidValueError:
        pass
    return known, min(sizes, default=0)


def _read_pasted(text: str, max_rows: int) -> Table:
    people = read_people(text, max_rows)
    if len(people) > max_rows:
        raise _refusal("import.rows", max=max_rows)
    if not any(person.email for person in people):
        raise _refusal("import.empty" if not people else "import.no_addresses")
    columns = (Field.EMAIL, Field.NAME)
    rows = [
        Row(number, cells_of([person.email or person.text, person.name], columns))
        for number, person in enumerate(people, 1)
    ]
    return Table([], columns, rows)


def _spreadsheet_records(content: bytes, max_rows: int) -> Generator[Record]:
    """Yield number and cells of the rows of an XLSX file; another process reads it.

    Raises:
        InvalidValueError: ``import.unreadable``, ``import.unpacked``, ``import.rows``.
        UnavailableError: another spreadsheet takes too long.
    """
    if not _spreadsheet_lock.acquire(timeout=_PROCESS_SECONDS):
        raise UnavailableError("too many spreadsheets are being read")
    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [
                *(sys.executable, "-I", "-m", "collegium.imports.spreadsheet_process"),
                *map(str, (max_rows, COLUMNS_MAX, _SPREADSHEET_CELL_MAX)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
        )
        timer = threading.Timer(_PROCESS_SECONDS, process.kill)
        timer.start()
        try:
            yield from _records_of(process, content, max_rows)
        finally:
            timer.cancel()
            process.kill()
            for pipe in filter(None, (process.stdin, process.stdout)):
                with suppress(BrokenPipeError):
                    pipe.close()
            process.wait()
    finally:
        _spreadsheet_lock.release()


def _records_of(
    process: subprocess.Popen[bytes], content: bytes, max_rows: int
) -> Iterator[Record]:
    if process.stdin is None or process.stdout is None:
        raise ValueError(process)
    # It reads everything before it writes anything. If it has died, its output is too short.
    with suppress(BrokenPipeError):
        process.stdin.write(content)
        process.stdin.close()
    for line in process.stdout:
        try:
            found = json.loads(line)
        except ValueError:
            break
        if found is None:
            return
        if isinstance(found, dict):
            facts = {"max": max_rows - 1} if found["error"] == "import.rows" else {}
            raise _refusal(found["error"], **facts)
        yield found[0], found[1]
    # Killed, by a limit.
    raise _refusal("import.unpacked")
