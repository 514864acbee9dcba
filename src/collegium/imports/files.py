"""The file with the result of an import: what each row says, its state, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from collegium.imports.queries import FileRow
from collegium.imports.reasons import reason
from collegium.imports.rules import Field
from collegium.text.csv_files import csv_lines

_STATE_COLUMNS: Final = ("row", "state", "reason", "invitation")


def result_csv(rows: Iterable[FileRow]) -> bytes:
    """Return the result as a CSV file in UTF-8; formulas are neutralised.

    The file can be corrected and imported again: its columns are recognised.
    """
    return b"".join(csv_lines(_lines(rows)))


def _lines(rows: Iterable[FileRow]) -> Iterator[list[object]]:
    yield [*_STATE_COLUMNS, *(field.value for field in Field)]
    for row in rows:
        yield [
            row.number,
            row.state,
            reason(row.problem),
            row.invitation_state or "",
            *(row.cells.get(field.value, "") for field in Field),
        ]
