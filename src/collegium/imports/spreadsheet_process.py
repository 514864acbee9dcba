"""The process that reads one XLSX file from standard input: ``python -m`` this module.

It writes JSON to standard output, a line for each row: ``[number, [cell, …]]``. The last line is
``null``, or ``{"error": code}``; without one, the process was killed.

The operating system limits its memory and its time, because the file may be made to exhaust both.
See docs/decisions/0048-spreadsheets.md.
"""

import io
import json
import sys
import warnings
import zipfile
from collections.abc import Iterator
from datetime import date, datetime
from typing import Any, Final

MEMORY_MAX: Final = 768 * 1024 * 1024
"""Bytes of address space; an interpreter with openpyxl needs a fifth of it."""

CPU_SECONDS: Final = 15
UNPACKED_MAX: Final = 64 * 1024 * 1024
"""Bytes of all parts of the archive; a sheet of 20,000 rows with six columns has 8 MB."""

PARTS_MAX: Final = 1000
EMPTY_MAX: Final = 10_000
"""Empty rows after which the sheet counts as ended."""

TEXT_MAX: Final = 16 * 1024 * 1024
"""Bytes of all cells together."""

_EXTERNAL_LINKS: Final = False


def limit_resources() -> None:
    """Limit what this process can use; Windows has no such limits."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - not on Windows

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class UnreadableError(Exception):
    """The file cannot be read; the message is the code of the problem."""


def read(content: bytes, max_rows: int, max_columns: int, max_cell: int) -> Iterator[bytes]:
    """Yield a line for each row of the first visible sheet that is not empty: number and cells.

    Raises:
        UnreadableError: ``import.unreadable``, ``import.unpacked`` or ``import.rows``.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = archive.infolist()
        # ``zipfile`` reads no more of a part than the size that is announced here.
        if len(parts) > PARTS_MAX or sum(part.file_size for part in parts) > UNPACKED_MAX:
            raise UnreadableError("import.unpacked")
    from openpyxl import load_workbook  # noqa: PLC0415 - after the cheap checks

    book = load_workbook(
        io.BytesIO(content), read_only=True, data_only=True, keep_links=_EXTERNAL_LINKS
    )
    sheet = next((one for one in book.worksheets if one.sheet_state == "visible"), None)
    if sheet is None:
        raise UnreadableError("import.unreadable")
    # The file says how many columns and rows it has, and may be wrong.
    sheet.reset_dimensions()
    count = length = last = 0
    for number, values in enumerate(sheet.iter_rows(max_col=max_columns, values_only=True), 1):
        # A cell in the last of a million rows has as many empty rows before it.
        if number - last > EMPTY_MAX:
            break
        if values.count(None) == len(values):
            continue
        cells = list(_texts(values, max_cell))
        if not cells:
            continue
        last = number
        line = _line([number, cells])
        length += len(line)
        if length > TEXT_MAX:
            raise UnreadableError("import.unpacked")
        count += 1
        if count > max_rows:
            raise UnreadableError("import.rows")
        yield line


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _texts(values: tuple[Any, ...], max_cell: int) -> Iterator[str]:
    """Yield the texts of the cells of a row, without the empty ones at its end."""
    texts = [_text(value)[:max_cell] for value in values]
    while texts and not texts[-1]:
        texts.pop()
    yield from texts


def _text(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")[:10] if value.time() == value.time().min else str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    # Spreadsheet programs write a carriage return like this.
    return str(value).replace("_x000D_", "\r").strip()


def main() -> None:
    """Read the file, and write the rows."""
    limit_resources()
    warnings.simplefilter("ignore")  # about parts of the file that are not read
    result: dict[str, str] | None = None
    try:
        for line in read(sys.stdin.buffer.read(), *map(int, sys.argv[1:4])):
            sys.stdout.buffer.write(line)
    except UnreadableError as error:
        result = {"error": str(error)}
    except MemoryError:
        result = {"error": "import.unpacked"}
    except Exception:  # noqa: BLE001 - openpyxl raises anything for a malformed file
        result = {"error": "import.unreadable"}
    sys.stdout.buffer.write(_line(result))


if __name__ == "__main__":
    main()
