"""Read posted forms field by field, and keep each error with its field."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from io import BytesIO
from typing import Final
from urllib.parse import parse_qsl

from multipart import MultipartError, MultipartParser, parse_options_header

from collegium.api.request import is_escaped
from collegium.refusals import Refusal
from collegium.text.email_addresses import MIXED, address_error, canonical_address
from collegium.text.names import clean_name, holds_link, trim
from collegium.web.messages import message_for

_FIELDS_MAX: Final = 300
_DATE_MAX: Final = 11
"""Length of an ISO date plus one, in characters."""

_STRIPPED_MAX: Final = 1000
"""Maximum number of characters, such as white space, that are stripped from around a name."""
WHOLE: Final = ""
"""Key of errors that belong to no single field."""


class Form:
    """The fields of a form, to be shown, or as they were posted.

    Each reader returns the value as far as it can be used, and records what is wrong with it.
    ``is_valid`` tells whether nothing was wrong. A template shows the value and the error of a
    field by its name.

    Args:
        values: Name → values, in the order in which they arrived.
        files: Name → bytes of an uploaded file.
    """

    def __init__(
        self, values: dict[str, list[str]] | None = None, files: dict[str, bytes] | None = None
    ) -> None:
        self.values = values or {}
        self.files = files or {}
        self.errors: dict[str, str] = {}

    @classmethod
    def showing(cls, **values: str) -> Form:
        """Return a form that shows these values."""
        return cls({name: [value] for name, value in values.items()})

    @classmethod
    def showing_end(cls, name: str, stored: datetime | None, **values: str) -> Form:
        """Return a form that shows an end date as its day, to be read by ``end``."""
        form = cls.showing(**values)
        form.show_end(name, stored)
        return form

    @classmethod
    def read(cls, header: str, body: bytes) -> Form:
        """Return the form of a posted body. Any other body has no fields, so it fails as stale.

        Args:
            header: The ``Content-Type`` header.
        """
        kind, options = parse_options_header(header)  # type: ignore[no-untyped-call]  # the library has no types
        try:
            if kind == "application/x-www-form-urlencoded":
                return cls(_pairs(body))
            if kind == "multipart/form-data":
                return cls(*_parts(body, options.get("boundary", "")))
        except (MultipartError, ValueError, LookupError):
            pass
        return cls()

    @property
    def is_valid(self) -> bool:
        """Tell whether nothing was wrong so far."""
        return not self.errors

    def show_end(self, name: str, stored: datetime | None) -> None:
        """Show an end date as ``showing_end`` does, unless it was posted."""
        for field in (name, f"{name}_shown"):
            self.values.setdefault(field, [_day(stored)])

    def raw(self, name: str) -> str:
        """Return the first value of a field as it arrived; empty when it is absent."""
        return self.values.get(name, [""])[0]

    def many(self, name: str) -> list[str]:
        """Return all values of a field, for a group of checkboxes."""
        return self.values.get(name, [])

    def flag(self, name: str) -> bool:
        """Tell whether a checkbox is ticked."""
        return bool(self.raw(name))

    def text(
        self,
        name: str,
        max_length: int,
        *,
        required: bool = False,
        strip: bool = True,
        lines: bool = False,
    ) -> str:
        """Return a text.

        Args:
            max_length: Maximum number of characters.
            lines: Whether it may have several lines.
        """
        text = self.raw(name).replace("\r\n", "\n")
        if strip:
            text = text.strip()
        if not text and required:
            self.add_error(name, "Please fill in this field.")
        if len(text) > max_length:
            self.add_error(name, f"Please use at most {max_length} characters.")
        # Characters beyond the limit are not checked.
        if any(char < " " and not (lines and char in "\n\t") for char in text[:max_length]):
            self.add_error(
                name, "This contains characters that are not allowed. Please type it again."
            )
        return text

    def pasted(self, name: str, max_length: int) -> str:
        """Return a text that was pasted from another program; control characters are allowed.

        Args:
            max_length: Maximum number of characters.
        """
        text = self.raw(name)
        if len(text) > max_length:
            self.add_error(name, f"Please use at most {max_length} characters.")
        elif "\0" in text:
            self.add_error(
                name, "This contains characters that are not allowed. Please type it again."
            )
        elif not trim(text):
            self.add_error(name, "Please fill in this field.")
        return text

    def lines(self, name: str, max_length: int, max_lines: int) -> list[str]:
        """Return the different lines of a text, stripped, without empty ones.

        Args:
            max_length: Maximum number of characters in a line.
            max_lines: Maximum number of lines.
        """
        text = self.text(name, (max_length + 1) * max_lines, lines=True)
        lines = list(dict.fromkeys(filter(None, map(str.strip, text.splitlines()))))
        if len(lines) > max_lines:
            self.add_error(name, f"Please use at most {max_lines} lines.")
        if any(len(line) > max_length for line in lines):
            self.add_error(name, f"Please use at most {max_length} characters per line.")
        return lines

    def email(self, name: str) -> str:
        """Return an e-mail address in canonical form."""
        text = canonical_address(trim(self.text(name, 320, required=True)))
        if name not in self.errors:
            error = address_error(text)
            if error == MIXED:
                self.add_error(
                    name, "This address mixes letters of several scripts. Please type it again."
                )
            elif error:
                self.add_error(name, "Please enter an e-mail address, such as name@example.org.")
        return text

    def name(self, name: str, max_length: int, *, required: bool = False) -> str:
        """Return the name of a person or thing, without invisible characters.

        Args:
            max_length: Maximum number of characters.
        """
        raw = self.raw(name)
        if len(raw) > max_length + _STRIPPED_MAX:
            self.add_error(name, f"Please use at most {max_length} characters.")
            return raw
        text = clean_name(raw)
        if "\0" in text:
            self.add_error(
                name, "This contains characters that are not allowed. Please type it again."
            )
        elif not text and (required or raw.strip()):
            message = (
                "Please fill in this field."
                if not raw.strip()
                else "This contains only invisible characters."
            )
            self.add_error(name, message)
        if len(text) > max_length:
            self.add_error(name, f"Please use at most {max_length} characters.")
        if holds_link(text[:max_length]):
            self.add_error(name, "A name cannot contain a web address.")
        return text

    def date(self, name: str) -> date | None:
        """Return a date; None when the field is empty."""
        text = self.raw(name).strip()
        if not text:
            return None
        try:
            return date.fromisoformat(text[:_DATE_MAX])
        except ValueError:
            self.add_error(name, "Please enter a date, such as 2026-12-31.")
            return None

    def end(self, name: str, stored: datetime | None = None) -> datetime | None:
        """Return the end of the last day in the field; None when the field is empty.

        A form shows an end as its day. If the posted day is the one that the form showed, the
        stored end is returned, at its time of day. That holds too if another end was stored in the
        meantime.

        Args:
            stored: The end as it is now.
        """
        last_day = self.date(name)
        day = last_day.isoformat() if last_day else ""
        shown = self.values.get(f"{name}_shown")
        if name not in self.errors and day == (shown[0] if shown else _day(stored)):
            return stored
        return None if last_day is None else datetime.combine(last_day, time(23, 59, 59), UTC)

    def choice(self, name: str, *options: str) -> str:
        """Return the value if it is a known one; else add an error and return the first known."""
        text = self.raw(name)
        if text not in options:
            self.add_error(name, "Please choose an option.")
            return options[0]
        return text

    def add_error(self, name: str, sentence: str) -> None:
        """Add an error to a field; ``WHOLE`` if it belongs to no single field."""
        errors = self.errors.get(name, "")
        if sentence not in errors:
            self.errors[name] = f"{errors} {sentence}".strip()

    def add_refusal(self, refusal: Refusal) -> None:
        """Add the message of a refusal, to its field if the form has that."""
        field = str(refusal.facts.get("field", WHOLE))
        self.add_error(field if field in self.values else WHOLE, message_for(refusal))


def _day(at: datetime | None) -> str:
    return at.astimezone(UTC).date().isoformat() if at else ""


def _pairs(body: bytes) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    if is_escaped(body):
        raise ValueError
    text = body.decode("ascii")
    for name, value in parse_qsl(
        text, keep_blank_values=True, errors="strict", max_num_fields=_FIELDS_MAX
    ):
        values.setdefault(name, []).append(value)
    return values


def _parts(body: bytes, boundary: str) -> tuple[dict[str, list[str]], dict[str, bytes]]:
    values: dict[str, list[str]] = {}
    files: dict[str, bytes] = {}
    parts = MultipartParser(  # type: ignore[no-untyped-call]  # the library has no types
        BytesIO(body), boundary, len(body), part_limit=_FIELDS_MAX, spool_limit=len(body) + 1
    )
    for part in parts:
        if part.filename is not None:
            files[part.name] = part.raw
        else:
            # Browsers send UTF-8. Other encodings could contain surrogates.
            values.setdefault(part.name, []).append(part.raw.decode("utf-8"))
    return values, files
