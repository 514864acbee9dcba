"""What the columns and the rows of a file with people mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest

from collegium.imports.rules import (
    BUSY,
    CANCELABLE,
    CELL_MAX,
    COLUMN_NAME_MAX,
    COLUMNS_MAX,
    MESSAGE_MAX,
    STARTABLE,
    UNDOABLE,
    Field,
    Person,
    Row,
    RowProblem,
    RowState,
    State,
    cells_of,
    columns_of,
    digest,
    is_header,
    parse,
    read_end,
    recognise,
)
from collegium.values import InvalidValueError, Problem

NOW = datetime(2026, 11, 29, tzinfo=UTC)


def judge(**cells: str) -> Person | RowProblem:
    return parse(Row(2, {"email": "ann@uni.example", **cells}), NOW)


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
        (
            "email,name,first name,last name,role,until,message,language",
            "email name first_name last_name role until message language",
        ),
        (
            "البريد الإلكتروني,الاسم الأول,اسم العائلة,حتى,رسالة,اللغة",
            "email first_name last_name until message language",
        ),
        ("name,matriculation,email", "name - email"),
        ("email,Mail", "email -"),
    ],
)
def test_names_of_columns_are_recognised(header: str, fields: str) -> None:
    found = recognise(header.split(","))
    expected = [None if name == "-" else Field(name) for name in fields.split()] or [None]
    assert list(found) == expected


def test_long_names_and_many_columns_are_not_read() -> None:
    dots = "." * (CELL_MAX - 5)
    assert recognise([f"{dots}email"]) == (Field.EMAIL,)
    assert recognise([f"{dots}.email"]) == (None,)
    assert recognise([*["x"] * 63, "email", "name"]) == (*[None] * 63, Field.EMAIL)
    assert (COLUMNS_MAX, CELL_MAX, MESSAGE_MAX, COLUMN_NAME_MAX) == (64, 2001, 2000, 200)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("Name,E-Mail", True),
        ("E-Mail", True),
        ("Name,Rolle", False),
        ("ann@uni.example,email", False),
        ("", False),
    ],
)
def test_header_names_the_column_of_the_addresses(row: str, *, expected: bool) -> None:
    assert is_header(row.split(",")) is expected


HEADER = ["Full name", "", "E-Mail", "Name"]


@pytest.mark.parametrize(
    ("mapping", "columns"),
    [
        ({"email": "e mail"}, "- - email -"),
        ({"email": 3}, "- - email -"),
        ({"name": "NAME", "email": 1}, "email - - name"),
        ({"email": 4, "first_name": 1}, "first_name - - email"),
    ],
)
def test_columns_can_be_named_by_hand(mapping: dict[str, str | int], columns: str) -> None:
    expected = tuple(None if name == "-" else Field(name) for name in columns.split())
    assert columns_of(mapping, HEADER, 4) == expected


@pytest.mark.parametrize(
    ("mapping", "value"),
    [
        ({"phone": 1, "email": 2}, "phone"),
        ({"email": "mail"}, "mail"),
        ({"email": "x" * 101}, "x" * 100),
        ({"x" * 101: 1}, "x" * 100),
        ({"email": 0}, "0"),
        ({"email": 5}, "5"),
        ({"email": 10**200}, "1" + "0" * 99),
        ({"email": 3, "name": 3}, "3"),
        ({"email": 3, "name": "e-mail"}, "e-mail"),
        ({"name": 1}, "email"),
        ({}, "email"),
    ],
)
def test_wrong_mapping_is_named(mapping: dict[str, str | int], value: str) -> None:
    with pytest.raises(InvalidValueError) as caught:
        columns_of(mapping, HEADER, 4)
    (problem,) = caught.value.problems
    assert (problem.code, problem.facts) == ("import.mapping", {"value": value})


def test_cells_are_read_by_field_without_empty_ones() -> None:
    columns = (Field.NAME, None, Field.EMAIL, Field.ROLE)
    assert cells_of([" Ann ", "x", "a@b", " ", "y"], columns) == {"name": "Ann", "email": "a@b"}
    assert cells_of(["Ann"], columns) == {"name": "Ann"}
    assert cells_of(["x" * (CELL_MAX + 1)], columns) == {"name": "x" * CELL_MAX}


def test_same_file_for_the_same_scope_and_options_is_the_same_import() -> None:
    options = {"role": "r", "message": "m"}
    first = digest(b"content", "1" * 32, options)
    assert len(first) == 64
    assert digest(b"content", "1" * 32, dict(reversed(options.items()))) == first
    others = {
        digest(b"content2", "1" * 32, options),
        digest(b"content", "2" * 32, options),
        digest(b"content", "1" * 32, {**options, "role": "s"}),
    }
    assert len(others - {first}) == 3


def test_states_are_stored_and_say_what_may_be_done() -> None:
    assert " ".join(State) == "judged running done canceled undoing undone"
    assert " ".join(RowState) == (
        "ready malformed repeated invited member refused waiting created withdrawn"
    )
    assert " ".join(Field) == "email name first_name last_name role until message language"
    assert {"running", "undoing"} == BUSY
    assert {"judged", "done", "canceled", "undone"} == STARTABLE
    assert {"running"} == CANCELABLE
    assert {"done", "canceled"} == UNDOABLE


@pytest.mark.parametrize(
    ("cells", "name"),
    [
        ({"name": "Ann Lee"}, "Ann Lee"),
        ({"first_name": "Ann", "last_name": "Lee"}, "Ann Lee"),
        ({"first_name": "Ann", "name": "Lee"}, "Ann Lee"),
        ({"first_name": "Ann", "name": "Ann Lee"}, "Ann Lee"),
        ({"first_name": "ann", "name": "Lee, ANN"}, "Lee, ANN"),
        ({"first_name": "Ann", "last_name": "Lee", "name": "Dr Ann Lee"}, "Dr Ann Lee"),
        ({"first_name": "Ann", "last_name": "Lee", "name": "Dr Lee"}, "Dr Lee"),
        ({"first_name": " Ann\t", "last_name": "Lee\n"}, "Ann Lee"),
        ({"first_name": "Ann"}, "Ann"),
        ({"last_name": "Lee"}, "Lee"),
        ({"name": "Ann Lee", "email": "Bob <ann@uni.example>"}, "Ann Lee"),
        ({}, ""),
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
    [
        *["2026-12-31", "31.12.2026", "31/12/2026", "12/31/2026", "31-12-2026", "12-31-2026"],
        *["2026-12-31 00:00:00", "2026-12-31T00:00Z", "2026-12-31T00:00:00.000"],
    ],
)
def test_a_day_ends_at_its_end(text: str) -> None:
    found = judge(until=text)
    assert isinstance(found, Person)
    assert found.until == datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("01.02.2027", (2, 1)),
        ("1.12.2027", (12, 1)),
        ("12.12.2027", (12, 12)),
        ("03/03/2027", (3, 3)),
        ("12/12/2027", (12, 12)),
        ("12/13/2027", (12, 13)),
        ("13/12/2027", (12, 13)),
    ],
)
def test_day_and_month_are_told_apart(text: str, day: tuple[int, int]) -> None:
    assert read_end(text, NOW) == datetime(2027, *day, 23, 59, 59, tzinfo=UTC)


def test_role_may_end_today() -> None:
    last = datetime(2026, 11, 29, 23, 59, 58, tzinfo=UTC)
    assert read_end("2026-11-29", last) == last + timedelta(seconds=1)
    with pytest.raises(InvalidValueError) as caught:
        read_end("2026-11-29", last + timedelta(seconds=1))
    assert [*caught.value.problems] == [Problem("import.past", {})]
    assert read_end("", NOW) is None


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ({"until": "01/02/2027"}, ("until", "import.ambiguous_date")),
        ({"until": "01/12/2027"}, ("until", "import.ambiguous_date")),
        ({"until": "12-01-2027"}, ("until", "import.ambiguous_date")),
        ({"until": "31.02.2027"}, ("until", "date")),
        ({"until": "12.13.2027"}, ("until", "date")),
        ({"until": "13/13/2027"}, ("until", "date")),
        ({"until": "01.02/2027"}, ("until", "date")),
        ({"until": "\u0661.02.2027"}, ("until", "date")),
        ({"until": "2026-12-31 10:00"}, ("until", "date")),
        ({"until": "tomorrow"}, ("until", "date")),
        ({"until": "2026-11-28"}, ("until", "import.past")),
        ({"email": ""}, ("email", "blank")),
        ({"email": "ann"}, ("email", "email")),
        ({"email": "Ann <ann@>"}, ("email", "email")),
        ({"email": f"{'a' * 64}@{'b.' * 130}example"}, ("email", "too_long")),
        ({"email": "ann@uni.example, bob@uni.example"}, ("email", "import.several_addresses")),
        ({"email": "\u0430nn@uni.example"}, ("email", "scripts")),
        ({"name": "x" * 101}, ("name", "too_long")),
        ({"name": "see http://evil.example"}, ("name", "link")),
        ({"message": "a\x07b"}, ("message", "controls")),
        # It was cut there, so it is longer.
        ({"message": "x" * 2000 + " "}, ("message", "too_long")),
        ({"language": "german"}, ("language", "import.language")),
        ({"language": "d"}, ("language", "import.language")),
        ({"name": "x" * 101, "until": "x"}, ("name", "too_long")),
        ({"message": "a\x07b", "language": "german"}, ("message", "controls")),
    ],
)
def test_malformed_rows_say_which_field_and_why(
    cells: dict[str, str], problem: tuple[str, str]
) -> None:
    found = judge(**cells)
    assert isinstance(found, RowProblem), found
    assert (found.field, found.code) == problem
    if found.code in {"import.ambiguous_date", "date", "import.past", "import.language"}:
        assert found.facts == {}


def test_row_without_one_short_address_is_malformed() -> None:
    found = parse(Row(2, {"name": "Ann"}), NOW)
    assert isinstance(found, RowProblem)
    assert (found.field, found.code) == ("email", "blank")
    for length, problem in ((320, "email"), (321, "too_long")):
        found = judge(email=f"{'a' * (length - 4)}@b.c")
        assert isinstance(found, RowProblem)
        assert found.code == problem
    found = judge(email="ann@uni.example, bob@uni.example")
    assert found == RowProblem("email", "import.several_addresses", {})


def test_a_message_and_a_language_are_kept() -> None:
    found = judge(message="Hello\nthere", language="PT_br", role="Admin")
    email = "ann@uni.example"
    assert found == Person(email, email, "", "Admin", None, "Hello\nthere", "pt-br")
    assert judge(email="Ann@Uni.Example") == Person("Ann@Uni.Example", email, "", "", None, "", "")


def test_problem_is_stored_as_json() -> None:
    problem = RowProblem("name", "too_long", MappingProxyType({"max": 100}))
    assert problem.stored() == {"field": "name", "code": "too_long", "facts": {"max": 100}}
    assert type(problem.stored()["facts"]) is dict
    assert judge(name="x" * 101) == problem
