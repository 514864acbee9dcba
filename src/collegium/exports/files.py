"""Write the rows of a download as CSV or JSON, piece by piece."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from typing import Any, Final

import msgspec

from collegium.exports.rules import COLUMNS, Format, Subject
from collegium.text.csv_files import csv_lines

_encode: Final = msgspec.json.Encoder().encode


def pieces(
    batches: Iterable[list[dict[str, Any]]], subject: Subject, file_format: Format
) -> Generator[bytes, None, None]:
    """Yield a file, one piece for each batch of rows, at least one.

    Formulas are neutralised in CSV. JSON is a list of objects; a file that was cut off is not
    valid, because its end is missing. Each batch is emptied before its piece is yielded: a slow
    reader holds no rows.
    """
    if file_format is Format.JSON:
        return _json(batches)
    return _csv(batches, COLUMNS[subject])


def _csv(
    batches: Iterable[list[dict[str, Any]]], columns: Sequence[str]
) -> Generator[bytes, None, None]:
    head = b"".join(csv_lines([columns]))
    for rows in batches:
        cells = ([_cell(row[name]) for name in columns] for row in rows)
        piece = head + b"".join(csv_lines(cells, begins=False))
        rows.clear()
        yield piece
        head = b""
    if head:
        yield head


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return _encode(value).decode() if value else ""
    return str(value)


def _json(batches: Iterable[list[dict[str, Any]]]) -> Generator[bytes, None, None]:
    separator = b"[\n"
    for rows in batches:
        piece = separator + b",\n".join(map(_encode, rows))
        rows.clear()
        yield piece
        separator = b",\n"
    yield b"\n]\n" if separator == b",\n" else b"[]\n"
