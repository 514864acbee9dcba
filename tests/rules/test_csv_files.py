"""CSV files are safe to open in spreadsheet programs."""

from __future__ import annotations

import pytest

from collegium.text.csv_files import csv_lines, neutralise


@pytest.mark.parametrize("space", ["", " ", "\u00a0", "\u200b", "\ufeff", " \u00a0"])
@pytest.mark.parametrize("sign", [*"=+-@\t\r\n\uff0b\uff0d\uff1d\uff20"])
def test_formulas_are_neutralised(sign: str, space: str) -> None:
    text = f"{space}{sign}SUM(A1)"
    assert neutralise(text) == f"'{text}"
    (line,) = csv_lines([[text, 1]])
    assert f"'{text}".encode() in line


@pytest.mark.parametrize("text", ["", " ", "Ann", "a=b", "1", "ann@uni.example", "X=1", "'=1"])
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert neutralise(text) == text


def test_first_line_of_a_file_has_the_byte_order_mark() -> None:
    rows: list[list[object]] = [["Ann, Bob", -1], ['"', None], ["\u00fc"]]
    lines = ['"Ann, Bob",-1\r\n', '"""",\r\n', "\u00fc\r\n"]
    assert [line.decode() for line in csv_lines(rows)] == ["\ufeff" + lines[0], *lines[1:]]
    assert [line.decode() for line in csv_lines(rows, begins=False)] == lines
