"""Write CSV files that people open in a spreadsheet program."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

BOM: Final = "\ufeff"
"""Spreadsheet programs recognise UTF-8 by it."""

_FORMULA: Final = frozenset("=+-@\t\r\n\uff0b\uff0d\uff1d\uff20")
"""Characters that begin a formula, in some program: OWASP, "CSV Injection"."""


def neutralise(text: str) -> str:
    """Return a text that no spreadsheet program reads as a formula.

    An apostrophe before it makes it plain text.
    """
    begins = text.lstrip(" \u00a0\u200b\ufeff")[:1]
    return f"'{text}" if begins in _FORMULA and begins else text


def csv_lines(rows: Iterable[Sequence[object]], *, begins: bool = True) -> Iterator[bytes]:
    """Yield the lines of a CSV file in UTF-8, one for each row.

    Texts are neutralised. Numbers are not, because no formula is a number.

    Args:
        begins: whether the file begins with these lines.
    """
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    if begins:
        buffer.write(BOM)
    for row in rows:
        writer.writerow([neutralise(each) if isinstance(each, str) else each for each in row])
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
