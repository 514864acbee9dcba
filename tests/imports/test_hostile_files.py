"""Files that are made to harm, and files that are merely strange."""

from __future__ import annotations

import io
import time
import zipfile
from datetime import UTC, datetime
from typing import Any

import openpyxl
import pytest

from collegium.imports import readers
from collegium.imports import spreadsheet_process as process
from collegium.imports.rules import MESSAGE_MAX, parse
from collegium.text.csv_files import csv_lines
from collegium.values import InvalidValueError
from tests.imports.scene import csv_file, table

MAX = 1000
NOW = datetime(2026, 11, 30, tzinfo=UTC)
SHEET = "xl/worksheets/sheet1.xml"
_NS = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"


def spreadsheet(rows: list[Any]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


def with_sheet(sheet: bytes, *, announced: int | None = None) -> bytes:
    """Return a spreadsheet with another sheet.

    Args:
        announced: the size that the archive announces for it, if not the true one.
    """
    file = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(spreadsheet([["email"]]))) as model,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for part in model.namelist():
            archive.writestr(part, sheet if part == SHEET else model.read(part))
    content = file.getvalue()
    if announced is not None:
        content = content.replace(len(sheet).to_bytes(4, "little"), announced.to_bytes(4, "little"))
    return content


def refusal(content: bytes, **options: Any) -> str:
    with pytest.raises(InvalidValueError) as refused:
        readers.read(content, MAX, **options)
    return refused.value.problems[0].code


def cell(text: bytes, place: bytes = b"A1") -> bytes:
    return (
        b'<worksheet xmlns="%s"><sheetData><row r="1"><c r="%s" t="inlineStr"><is><t>%s</t></is>'
        b"</c></row></sheetData></worksheet>" % (_NS.encode(), place, text)
    )


def test_bombs_are_refused() -> None:
    began = time.process_time()
    # Refused before anything is unpacked.
    assert refusal(with_sheet(b"<x/>" + b" " * process.UNPACKED_MAX)) == "import.unpacked"
    # A size that is not true ends the reading, or is noticed by it.
    assert refusal(with_sheet(b" " * 2**22 + b"<x/>", announced=10)) == "import.unreadable"
    entities = b"".join(
        b'<!ENTITY e%d "%s">' % (number, b"&e%d;" % (number - 1) * 10) for number in range(1, 9)
    )
    laughs = b'<!DOCTYPE x [<!ENTITY e0 "lol">' + entities + b"]>" + cell(b"&e8;")
    assert refusal(with_sheet(laughs)) in {"import.unreadable", "import.unpacked"}
    assert time.process_time() - began < 2


def test_a_cell_at_the_end_of_the_sheet_costs_nothing() -> None:
    far = cell(b"email").replace(b'r="1"', b'r="1048576"').replace(b"A1", b"XFD1048576")
    assert refusal(with_sheet(far)) in {"import.empty", "import.no_addresses"}


def test_files_outside_are_not_read() -> None:
    entity = b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>' + cell(b"&e;")
    assert refusal(with_sheet(entity)) in {
        *("import.unreadable", "import.empty", "import.no_addresses")
    }


def test_a_spreadsheet_says_the_same_as_its_csv() -> None:
    rows: list[Any] = [list(row) for row in table(60)]
    for row in rows[1:]:
        if row[4] == "31.12.2999":
            row[4] = datetime(2999, 12, 31)  # noqa: DTZ001 - spreadsheets have no time zones
    read = readers.read(spreadsheet([*rows, [], [None, "", "late@uni.example"]]), MAX)
    expected = readers.read(csv_file(60), MAX)
    assert read.columns == expected.columns
    assert read.rows[-1].number == 63, "as a spreadsheet program counts"
    for found, given in zip(read.rows, expected.rows, strict=False):
        dated = {"until": "2999-12-31"} if given.cells.get("until") == "31.12.2999" else {}
        assert (found.number, found.cells) == (given.number, {**given.cells, **dated})
    assert refusal(spreadsheet([["email"], *[["a@b.example"]] * (MAX + 1)])) == "import.rows"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_and_encodings_are_recognised(encoding: str, delimiter: str) -> None:
    expected = readers.read(csv_file(20), MAX)
    assert readers.read(csv_file(20, delimiter, encoding), MAX) == expected


def test_windows_1252_and_the_line_of_excel_are_recognised() -> None:
    content = "sep=;\r\nVorname;E-Mail\r\nJürgen €;j@uni.example\r\n".encode("cp1252")
    (row,) = readers.read(content, MAX).rows
    assert (row.number, row.cells["first_name"]) == (3, "Jürgen €")


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "import.empty"),
        (b"\xff\xfe", "import.empty"),
        (b"\n \n;;\n", "import.no_addresses"),
        (b"name\nAnn\n", "import.no_addresses"),
        (b"email\nann@uni.example\0\n" * 20, "import.unreadable"),
        (b"\xff\xfea", "import.unreadable"),
        (b"\x81\x8d\x8f", "import.unreadable"),
        (b"\xd0\xcf\x11\xe0old", "import.old_excel"),
        (b"PK\x03\x04", "import.unreadable"),
        (b'email,name\n"ann@uni.example,Ann\nbob@uni.example,Bob\n', "import.quotes"),
        (b'email,name\nann@uni.example,"Ann "Annie" Lee"\n', "import.quotes"),
        (b"email\n" + b"x" * 200_000, "import.quotes"),
        (b"email\n" + b"a@uni.example\n" * (MAX + 1), "import.rows"),
    ],
    ids=str,
)
def test_what_cannot_be_read_is_refused_as_a_whole(content: bytes, code: str) -> None:
    assert refusal(content) == code


@pytest.mark.parametrize(
    "content", [b'"' * 2_000_000, b"a," * 1_000_000, b"@" * 1_000_000, b"a@b.example;" * 100_000]
)
def test_long_lines_take_time_in_proportion(content: bytes) -> None:
    began = time.process_time()
    refusal(content)
    assert time.process_time() - began < 4


def test_a_long_message_is_refused_instead_of_cut() -> None:
    messages = ["x" * MESSAGE_MAX, f" {'x' * MESSAGE_MAX}\n", "x" * MESSAGE_MAX + " y", "x" * 9999]
    rows = [["email", "message"], *(["a@b.example", message] for message in messages)]
    for content in (b"".join(csv_lines(rows)), spreadsheet(rows)):
        read = [parse(row, NOW) for row in readers.read(content, MAX).rows]
        assert [getattr(each, "code", "") for each in read] == ["", "", "too_long", "too_long"]


def test_line_ends_of_spreadsheet_programs_are_read() -> None:
    (row,) = readers.read(
        spreadsheet([["email", "note"], ["a@b.example", "x_x000D_\ny"]]), MAX
    ).rows
    assert row.cells["message"] == "x\r\ny"


def test_pasted_list_may_have_the_quotation_marks_of_an_email_program() -> None:
    read = readers.read(b'"Lee, Ann" <ann@uni.example>\nbob@uni.example\n', MAX)
    assert [row.cells for row in read.rows] == [
        {"email": "ann@uni.example", "name": "Lee, Ann"},
        {"email": "bob@uni.example"},
    ]


def test_mapping_names_rows_that_have_no_header() -> None:
    content = b"ann@uni.example;Ann\n"
    read = readers.read(content, MAX, {"email": 1})
    assert [row.cells for row in read.rows] == [{"email": "ann@uni.example"}]
    assert refusal(content, mapping={"email": 3}) == "import.mapping"
    assert refusal(content, mapping={"email": "Ann"}) == "import.empty"
    assert refusal(content, mapping={"email": "Bob"}) == "import.mapping"
