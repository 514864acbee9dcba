"""Rules of imports: what the columns of a file mean, what a row says, and the states."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from enum import StrEnum
from typing import Any, Final, NamedTuple

from collegium.invitations.pasted_lists import NAME_MAX, read_people
from collegium.text.email_addresses import comparable_address
from collegium.text.names import clean_name
from collegium.values import Email, InvalidValueError, Name, Problem, Text

COLUMNS_MAX: Final = 64
"""Columns of a file that are read; further ones are ignored."""

MESSAGE_MAX: Final = 2000
CELL_MAX: Final = MESSAGE_MAX + 1
"""Characters of a cell that are kept: a message that is too long must be seen to be so."""

COLUMN_NAME_MAX: Final = 200
"""Characters of the name of a column that are kept."""


class Field(StrEnum):
    """What a column of a file can contain."""

    EMAIL = "email"
    NAME = "name"
    FIRST_NAME = "first_name"
    LAST_NAME = "last_name"
    ROLE = "role"
    UNTIL = "until"
    MESSAGE = "message"
    LANGUAGE = "language"


_SPELLINGS: Final[Mapping[Field, str]] = {
    # English, German, French, Spanish, Italian, Portuguese, Dutch, Polish, Estonian, Lithuanian,
    # Latvian, Finnish, Swedish, Danish, Turkish, Arabic
    Field.EMAIL: (
        "email|mail|email address|mail address|emails|e mail|e mail address|email id|mailadresse"
        "|emailadresse|e mail adresse|courriel|adresse e mail|adresse email|adresse electronique"
        "|correo|correo electronico|direccion de correo|posta elettronica|indirizzo email"
        "|endereco de email|e mailadres|emailadres|adres email|adres e mail|epost|e post"
        "|e posti aadress|el pastas|elpastas|el pasto adresas|e pasts|epasts|sahkoposti"
        "|sahkopostiosoite|e postadress|e postadresse|eposta|e posta|invitee|user email"
        "|\u0627\u0644\u0628\u0631\u064a\u062f"
        " \u0627\u0644\u0627\u0644\u0643\u062a\u0631\u0648\u0646\u064a"
    ),
    Field.NAME: (
        "name|full name|fullname|display name|person|participant|student|member"
        "|vollstandiger name|vor und nachname|teilnehmer|teilnehmerin|nom complet|nom et prenom"
        "|nombre completo|nombre y apellidos|nombre y apellido|nome completo|nome e cognome"
        "|volledige naam|naam|imie i nazwisko|nimi|taisnimi|vardas ir pavarde|pavarde ir vardas"
        "|vards un uzvards|namn|navn|ad soyad|\u0627\u0644\u0627\u0633\u0645"
    ),
    Field.FIRST_NAME: (
        "first name|firstname|given name|givenname|forename|vorname|vornamen|rufname|prenom|nombre"
        "|nombres|nome|voornaam|imie|eesnimi|vardas|vards|etunimi|fornamn|fornavn|ad"
        "|\u0627\u0644\u0627\u0633\u0645 \u0627\u0644\u0627\u0648\u0644"
    ),
    Field.LAST_NAME: (
        "last name|lastname|surname|family name|familyname|nachname|familienname|zuname|nom"
        "|nom de famille|apellido|apellidos|cognome|apelido|sobrenome|achternaam|nazwisko"
        "|perekonnanimi|pavarde|uzvards|sukunimi|efternamn|efternavn|soyad"
        "|\u0627\u0633\u0645 \u0627\u0644\u0639\u0627\u0626\u0644\u0629"
    ),
    Field.ROLE: (
        "role|roles|role name|function|position|rolle|funktion|role|fonction|rol|funcion|ruolo"
        "|funcao|papel|rola|roll|vaidmuo|loma|rooli|\u0627\u0644\u062f\u0648\u0631"
    ),
    Field.UNTIL: (
        "until|end|ends|end date|enddate|expires|expiry|expiry date|expiration|expiration date"
        "|expiration time|valid until|valid to|role ends|bis|ende|enddatum|gultig bis|ablauf"
        "|ablaufdatum|befristet bis|fin|date de fin|jusqu au|jusqu|valable jusqu au|hasta"
        "|fecha de fin|fecha fin|fino a|data di fine|scadenza|ate|data de fim|tot|einddatum|do"
        "|data konca|kuni|lopp|lopukuupaev|iki|pabaiga|pabaigos data|lidz|paattyy|till|slutdatum"
        "|slutdato|bitis|\u062d\u062a\u0649"
    ),
    Field.MESSAGE: (
        "message|personal message|extra text|text|note|notes|comment|nachricht|mitteilung|hinweis"
        "|bemerkung|anmerkung|message personnel|commentaire|mensaje|comentario|messaggio|mensagem"
        "|bericht|wiadomosc|sonum|teade|zinute|pastaba|zina|viesti|meddelande|besked|mesaj"
        "|\u0631\u0633\u0627\u0644\u0629"
    ),
    Field.LANGUAGE: (
        "language|lang|preferred language|locale|sprache|bevorzugte sprache|langue|idioma|lengua"
        "|lingua|taal|jezyk|keel|kalba|valoda|kieli|sprak|sprog|dil|\u0627\u0644\u0644\u063a\u0629"
    ),
}


def _normalise(header: str) -> str:
    """Return a header without case, accents and punctuation: ``E-Mail-Adresse*`` as one word."""
    plain = unicodedata.normalize("NFKD", header[:CELL_MAX].casefold())
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return "".join(filter(str.isalnum, plain))


_FIELDS: Final[Mapping[str, Field]] = {
    _normalise(spelling): field
    for field, spellings in _SPELLINGS.items()
    for spelling in spellings.split("|")
}

Columns = tuple[Field | None, ...]
"""The meaning of each column; None for one that is ignored."""


def recognise(header: Sequence[str]) -> Columns:
    """Return the meaning of the columns of a file by their names; the first of a kind counts."""
    found: list[Field | None] = []
    for name in header[:COLUMNS_MAX]:
        field = _FIELDS.get(_normalise(name))
        found.append(None if field in found else field)
    return tuple(found)


def is_header(row: Sequence[str]) -> bool:
    """Return whether a row names columns, one of them that of the addresses."""
    return Field.EMAIL in recognise(row) and not any("@" in cell for cell in row)


def columns_of(mapping: Mapping[str, str | int], header: Sequence[str], width: int) -> Columns:
    """Return the meaning of the columns by a mapping that somebody gave.

    Args:
        mapping: name of a ``Field`` to the name of a column, or to its number beginning with 1.
        header: the names of the columns; empty if they have none.
        width: the number of columns.

    Raises:
        InvalidValueError: ``import.mapping``: there is no such field or column; two fields are in
            one column; or no column has the addresses.
    """
    found: list[Field | None] = [None] * width
    names = [_normalise(name) for name in header]
    for key, column in mapping.items():
        try:
            field = Field(key)
            index = column - 1 if isinstance(column, int) else names.index(_normalise(column))
        except ValueError:
            value = column if key in list(Field) else key
            raise InvalidValueError(
                Problem("import.mapping", {"value": f"{value}"[:100]})
            ) from None
        if not 0 <= index < len(found) or found[index] is not None:
            raise InvalidValueError(Problem("import.mapping", {"value": f"{column}"[:100]}))
        found[index] = field
    if Field.EMAIL not in found:
        raise InvalidValueError(Problem("import.mapping", {"value": Field.EMAIL.value}))
    return tuple(found)


class Row(NamedTuple):
    """A row of a file.

    Args:
        number: as a spreadsheet program counts rows, beginning with 1.
        cells: what the row says, by the name of the ``Field``, as it was written.
    """

    number: int
    cells: Mapping[str, str]


def cells_of(values: Sequence[str], columns: Columns) -> dict[str, str]:
    """Return the cells of a row by field, without empty ones."""
    cells = {
        field.value: value.strip()[:CELL_MAX]
        for field, value in zip(columns, values, strict=False)
        if field is not None
    }
    return {name: value for name, value in cells.items() if value}


class Person(NamedTuple):
    """What a well-formed row says.

    Args:
        key: the address in comparable form.
        role: as it was written; empty for the role of the import.
        until: the end of the role, UTC; None for none.
    """

    email: str
    key: str
    name: str
    role: str
    until: datetime | None
    message: str
    language: str


class RowProblem(NamedTuple):
    """Why a row cannot be done.

    Args:
        field: the ``Field`` that is wrong; empty if it is the row as a whole.
        code: key of the message in the tables of the protocols.
        facts: what the message says, as JSON.
    """

    field: str
    code: str
    facts: Mapping[str, Any]

    def stored(self) -> dict[str, Any]:
        """Return the problem as it is stored, as JSON."""
        return {"field": self.field, "code": self.code, "facts": dict(self.facts)}


_EMAIL: Final = Email(max=320)
_NAME: Final = Name(max=NAME_MAX)
_MESSAGE: Final = Text(max=MESSAGE_MAX, controls="\t\n\r", strip=False)
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(?:-[a-z0-9]{2,6})?")
_DAY_FIRST: Final = re.compile(r"(\d{1,2})([./-])(\d{1,2})\2(\d{4})")
_ISO_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]00:00(?::00(?:\.0+)?)?Z?)?")


def parse(row: Row, now: datetime) -> Person | RowProblem:
    """Return what a row says, or the first thing that is wrong with it.

    Args:
        now: roles cannot end before it, UTC.
    """
    cells = row.cells
    field = Field.EMAIL
    try:
        email, beside = _email(cells.get(Field.EMAIL, ""))
        field = Field.NAME
        name = _NAME.parse(_full_name(cells) or beside)
        field = Field.UNTIL
        until = read_end(cells.get(Field.UNTIL), now)
        field = Field.MESSAGE
        message = _MESSAGE.parse(cells.get(Field.MESSAGE, ""))
        field = Field.LANGUAGE
        language = _read_language(cells.get(Field.LANGUAGE, ""))
    except InvalidValueError as error:
        problem = error.problems[0]
        return RowProblem(field.value, problem.code, problem.facts)
    role = cells.get(Field.ROLE, "")
    return Person(email, comparable_address(email), name, role, until, message, language)


def _email(text: str) -> tuple[str, str]:
    """Return the address of a cell, and the name beside it, as in ``Ann Lee <ann@x.example>``."""
    try:
        return _EMAIL.parse(text), ""
    except InvalidValueError:
        people = read_people(text, 1)
        if len(people) > 1:
            raise InvalidValueError(Problem("import.several_addresses", {})) from None
        if not people or not people[0].email:
            raise
    return _EMAIL.parse(people[0].email), people[0].name


def _full_name(cells: Mapping[str, str]) -> str:
    """Return the name of a person, from one column or from two."""
    name, first, last = (
        clean_name(cells.get(field, ""))
        for field in (Field.NAME, Field.FIRST_NAME, Field.LAST_NAME)
    )
    # "Name, Vorname": the column beside the first name has the last name, or the whole name.
    if not last and first.casefold() not in name.casefold():
        last, name = name, ""
    return name or f"{first} {last}".strip()


def _read_language(text: str) -> str:
    language = text.replace("_", "-").lower()
    if language and not _LANGUAGE.fullmatch(language):
        raise InvalidValueError(Problem("import.language", {}))
    return language


def read_end(text: str | None, now: datetime) -> datetime | None:
    """Return the end of the day that a cell names, UTC; None if it is empty.

    ``2026-12-31``, ``31.12.2026`` and ``31/12/2026`` are the same day. With slashes, a day that
    could also be a month is refused: nobody knows whether 01/02/2027 is in January.

    Args:
        now: the day must end after it, UTC.

    Raises:
        InvalidValueError: ``date``, ``import.ambiguous_date``, ``import.past``.
    """
    if not text:
        return None
    try:
        if _ISO_DATE.fullmatch(text):
            day = date.fromisoformat(text[:10])
        elif (match := _DAY_FIRST.fullmatch(text)) and text.isascii():
            first, second, year = int(match[1]), int(match[3]), int(match[4])
            if match[2] != "." and first <= 12 and second <= 12 and first != second:  # noqa: PLR2004 - months
                raise InvalidValueError(Problem("import.ambiguous_date", {}))
            if match[2] != "." and second > 12:  # noqa: PLR2004 - months
                first, second = second, first
            day = date(year, second, first)
        else:
            raise InvalidValueError(Problem("date", {}))
    except ValueError:
        raise InvalidValueError(Problem("date", {})) from None
    end = datetime.combine(day, time(23, 59, 59), UTC)
    if end <= now:
        raise InvalidValueError(Problem("import.past", {}))
    return end


class RowState(StrEnum):
    """The states of a row."""

    READY = "ready"
    MALFORMED = "malformed"
    REPEATED = "repeated"
    INVITED = "invited"
    MEMBER = "member"
    REFUSED = "refused"
    WAITING = "waiting"
    """Chosen, and not done yet."""
    CREATED = "created"
    WITHDRAWN = "withdrawn"
    """Undone: the invitation was created and is cancelled."""


class State(StrEnum):
    """The states of an import."""

    JUDGED = "judged"
    RUNNING = "running"
    DONE = "done"
    CANCELED = "canceled"
    UNDOING = "undoing"
    UNDONE = "undone"


BUSY: Final = frozenset({State.RUNNING, State.UNDOING})
"""The worker has something to do."""

STARTABLE: Final = frozenset({State.JUDGED, State.DONE, State.CANCELED, State.UNDONE})
CANCELABLE: Final = frozenset({State.RUNNING})
UNDOABLE: Final = frozenset({State.DONE, State.CANCELED})


def digest(content: bytes, scope: str, options: Mapping[str, Any]) -> str:
    """Return what makes two imports the same: file, scope, and how the file is read.

    Args:
        content: of the file.
        scope: UUID of the scope.
        options: mapping, role and message, as JSON.
    """
    head = json.dumps([scope, options], sort_keys=True).encode()
    return hashlib.sha256(hashlib.sha256(head).digest() + content).hexdigest()
