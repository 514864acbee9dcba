"""Read the rows of a file: CSV in any usual form, XLSX, or a pasted list of people."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from collegium.db.database import UnavailableError
from collegium.imports.rules import (
    CELL_MAX,
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
_ZIP: Final = b"PK\x03\x04"
_OLD_EXCEL: Final = b"\xd0\xcf\x11\xe0"
_BOMS: Final = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)

# The memory that a spreadsheet can need is needed once.
_spreadsheet_lock: Final = threading.Lock()


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
        records = _read_spreadsheet(content, max_rows + 1)
    else:
        text = decode(content)
        records = _read_csv(text, max_rows + 1)
        if records and mapping is None and not is_header(records[0][1]):
            if not any(char in text for char in AT_SIGNS):
                raise _refusal("import.no_addresses")
            return _read_pasted(text, max_rows)
    if not records:
        raise _refusal("import.empty")
    header: list[str] = []
    if is_header(records[0][1]) or (mapping is not None and _names_columns(records[0][1], mapping)):
        header = records[0][1]
        records = records[1:]
    width = max([len(header), *(len(values) for _, values in records)])
    columns = recognise(header) if mapping is None else columns_of(mapping, header, width)
    if Field.EMAIL not in columns:
        raise _refusal("import.no_addresses")
    if len(records) > max_rows:
        raise _refusal("import.rows", max=max_rows)
    rows = [Row(number, cells_of(values, columns)) for number, values in records]
    rows = [row for row in rows if row.cells]
    if not rows:
        raise _refusal("import.empty")
    return Table(header, columns, rows)


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


def _read_csv(text: str, max_rows: int) -> list[tuple[int, list[str]]]:
    """Return number and cells of the records that are not empty.

    Raises:
        InvalidValueError: ``import.quotes`` with the ``line``; ``import.rows``.
    """
    first, _, rest = text.partition("\n")
    start = 1
    if first.lower().startswith("sep=") and first.strip()[4:5] in _DELIMITERS:
        # Excel's own line; it counts as a row there.
        delimiter, text, start = first.strip()[4:5] or ",", rest, 2
    else:
        sample = text[:_SAMPLE_CHARACTERS].rpartition("\n")[0] or text[:_SAMPLE_CHARACTERS]
        delimiter = max(_DELIMITERS, key=lambda each: _fit(sample, each))
    records = []
    for number, values in enumerate(_records(text, delimiter), start):
        cells = values[:COLUMNS_MAX]
        if any(cell.strip() for cell in cells):
            records.append((number, cells))
            if len(records) > max_rows:
                raise _refusal("import.rows", max=max_rows - 1)
    return records


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


def _read_spreadsheet(content: bytes, max_rows: int) -> list[tuple[int, list[str]]]:
    """Return number and cells of the rows of an XLSX file; another process reads it.

    Raises:
        InvalidValueError: ``import.unreadable``, ``import.unpacked``, ``import.rows``.
        UnavailableError: another spreadsheet takes too long.
    """
    if not _spreadsheet_lock.acquire(timeout=_PROCESS_SECONDS):
        raise UnavailableError("too many spreadsheets are being read")
    try:
        finished = subprocess.run(  # noqa: S603 - our own interpreter and module
            [
                *(sys.executable, "-I", "-m", "collegium.imports.spreadsheet_process"),
                *map(str, (max_rows, COLUMNS_MAX, CELL_MAX)),
            ],
            input=content,
            capture_output=True,
            timeout=_PROCESS_SECONDS,
            env={},
            check=False,
        )
        result = json.loads(finished.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        # Killed, by a limit.
        raise _refusal("import.unpacked") from None
    finally:
        _spreadsheet_lock.release()
    if "error" in result:
        facts = {"max": max_rows - 1} if result["error"] == "import.rows" else {}
        raise _refusal(result["error"], **facts)
    return [(number, cells) for number, cells in result["rows"]]
