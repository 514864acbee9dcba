"""What the columns and the rows of a file with people mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from collegium.imports.rules import Field, Person, Row, RowProblem, parse, recognise

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def judge(**cells: str) -> Person | RowProblem:
    return parse(Row(2, {"email": "ann@uni.example", **cells}), NOW)


def code(**cells: str) -> tuple[str, str]:
    found = judge(**cells)
    assert isinstance(found, RowProblem), found
    return found.field, found.code


@pytest.mark.parametrize(
    ("header", "fields"),
    [
        (
            "E-Mail-Adresse,Vorname,Nachname,Rolle,Gültig bis",
            "email first_name last_name role until",
        ),
        ("correo electrónico,nombre,apellidos,rol,hasta", "email first_name last_name role until"),
        ("Courriel;Prénom;Nom;Rôle;Date de fin", ""),
        (
            "courriel,prénom,nom,rôle,jusqu'au,langue",
            "email first_name last_name role until language",
        ),
        ("EMAIL,Full Name,Valid until,Personal message", "email name until message"),
        ("e-post,eesnimi,perekonnanimi,roll,kuni", "email first_name last_name role until"),
        ("el. paštas,vardas,pavardė,vaidmuo,iki", "email first_name last_name role until"),
        ("البريد الإلكتروني,الاسم,الدور", "email name role"),
        ("name,matriculation,email", "name - email"),
        ("email,Mail", "email -"),
    ],
)
def test_names_of_columns_are_recognised(header: str, fields: str) -> None:
    found = recognise(header.split(","))
    expected = [None if name == "-" else Field(name) for name in fields.split()] or [None]
    assert list(found) == expected


@pytest.mark.parametrize(
    ("cells", "name"),
    [
        ({"name": "Ann Lee"}, "Ann Lee"),
        ({"first_name": "Ann", "last_name": "Lee"}, "Ann Lee"),
        ({"first_name": "Ann", "name": "Lee"}, "Ann Lee"),
        ({"first_name": "Ann", "name": "Ann Lee"}, "Ann Lee"),
        ({"last_name": "Lee"}, "Lee"),
        ({"email": "Ann Lee <ann@uni.example>"}, "Ann Lee"),
        ({"email": "mailto:ann@uni.example"}, ""),
    ],
)
def test_names_come_from_one_column_or_two(cells: dict[str, str], name: str) -> None:
    found = judge(**cells)
    assert isinstance(found, Person)
    assert (found.email, found.name) == ("ann@uni.example", name)


@pytest.mark.parametrize(
    "text",
    ["2026-12-31", "31.12.2026", "31/12/2026", "12/31/2026", "31-12-2026", "2026-12-31 00:00:00"],
)
def test_a_day_ends_at_its_end(text: str) -> None:
    found = judge(until=text)
    assert isinstance(found, Person)
    assert found.until == datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"until": "01/02/2027"}, ("until", "import.ambiguous_date")),
        ({"until": "31.02.2027"}, ("until", "date")),
        ({"until": "tomorrow"}, ("until", "date")),
        ({"until": "2026-11-28"}, ("until", "import.past")),
        ({"email": ""}, ("email", "blank")),
        ({"email": "ann"}, ("email", "email")),
        ({"email": "ann@uni.example, bob@uni.example"}, ("email", "import.several_addresses")),
        ({"email": "\u0430nn@uni.example"}, ("email", "scripts")),
        ({"name": "x" * 101}, ("name", "too_long")),
        ({"name": "see http://evil.example"}, ("name", "link")),
        ({"message": "a\x07b"}, ("message", "controls")),
        ({"language": "german"}, ("language", "import.language")),
    ],
)
def test_malformed_rows_say_which_field_and_why(
    cells: dict[str, str], problem: tuple[str, str]
) -> None:
    assert code(**cells) == problem


def test_a_message_and_a_language_are_kept() -> None:
    found: Any = judge(message="Hello\nthere", language="PT_br", role="Admin")
    assert (found.message, found.language, found.role) == ("Hello\nthere", "pt-br", "Admin")
