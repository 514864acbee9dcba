"""Read posted forms field by field, and keep each error with its field."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time
from typing import Any, Final, ParamSpec, TypeVar

from multipart import MultipartPart

from collegium.api import request_bodies
from collegium.refusals import Conflict, Invalid, Refusal
from collegium.text import languages
from collegium.text.email_addresses import canonical_address
from collegium.text.names import trim
from collegium.values import (
    Choice,
    Date,
    InvalidValueError,
    Name,
    Text,
    address_problems,
    invalid,
)
from collegium.web.messages import VALUES, message_for

P = ParamSpec("P")
T = TypeVar("T")

_FIELDS_MAX: Final = 300
_NOT_KEPT: Final = frozenset({"csrf", "code", "current", "password", "again"})
CONFIRMING: Final = "confirm_"
"""Prefix of the fields with which people confirm who they are."""

WHOLE: Final = ""
"""Key of errors that belong to no single field."""


class Form:
    """The fields of a form, to be shown, or as they were posted.

    Each reader returns the value as far as it can be used, and records what is wrong with it. A
    value that is too long is cut, so that no parser or pattern gets all of it. ``is_valid`` tells
    whether nothing was wrong. A template shows the value and the error of a field by its name.

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
        self.is_readable = True

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
        """Return the form of a posted body. Any other body has no fields and is not readable.

        Args:
            header: The ``Content-Type`` header.
        """
        form = cls()
        try:
            fields = _parse(header, body) if body else []
        except InvalidValueError:
            form.is_readable = False
            return form
        for name, value in fields:
            if isinstance(value, bytes):
                form.files[name] = value
            else:
                form.values.setdefault(name, []).append(value)
        return form

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

    def kept(self) -> list[tuple[str, str]]:
        """Return name and value of the fields that a page may hold to send the form again.

        Passwords and codes are not written into a page.
        """
        return [
            (name, value)
            for name, values in self.values.items()
            if name not in _NOT_KEPT and not name.startswith(CONFIRMING)
            for value in values
        ]

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
        text = text.strip() if strip else text
        controls = "\n\t" if lines else ""
        kind = Text(max=max_length, blank=not required, strip=False, controls=controls)
        return self._parse(name, kind.check, text, text[:max_length])

    def pasted(self, name: str, max_length: int) -> str:
        """Return a text that was pasted from another program; control characters are allowed.

        Args:
            max_length: Maximum number of characters.
        """
        text = self.raw(name)
        if len(text) > max_length:
            self._add(name, invalid("too_long", max=max_length))
        elif "\0" in text:
            self._add(name, invalid("null_character"))
        elif not trim(text):
            self._add(name, invalid("blank"))
        return text[:max_length]

    def lines(self, name: str, max_length: int, max_lines: int) -> list[str]:
        """Return the different lines of a text, stripped, without empty ones.

        Args:
            max_length: Maximum number of characters in a line.
            max_lines: Maximum number of lines.
        """
        text = self.text(name, (max_length + 1) * max_lines, lines=True)
        lines = list(dict.fromkeys(filter(None, map(str.strip, text.splitlines()))))
        if len(lines) > max_lines:
            self._add(name, invalid("too_many", max=max_lines))
        if any(len(line) > max_length for line in lines):
            self._add(name, invalid("long_line", max=max_length))
        return lines if name not in self.errors else []

    def email(self, name: str) -> str:
        """Return an e-mail address in canonical form."""
        text = canonical_address(trim(self.text(name, 320, required=True)))
        problems = [] if name in self.errors else address_problems(text)
        if problems:
            self._add(name, InvalidValueError(problems[0]))
        return text

    def name(self, name: str, max_length: int, *, required: bool = False) -> str:
        """Return the name of a person or thing, without invisible characters.

        Args:
            max_length: Maximum number of characters.
        """
        raw = self.raw(name)
        # A name of only invisible characters is a mistake, even where none is required.
        kind = Name(max=max_length, blank=not (required or raw.strip()))
        return self._parse(name, kind.parse, raw, raw[:max_length])

    def date(self, name: str) -> date | None:
        """Return a date; None when the field is empty."""
        text = self.raw(name).strip()
        kind = Date(pattern=None)
        return self._parse(name, kind.parse, text, None) if text else None

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
        return self._parse(name, Choice(of=options).parse, self.raw(name), options[0])

    def _parse(self, name: str, parse: Callable[[str], T], raw: str, fallback: T) -> T:
        """Return the parsed value; if it is not valid, add its errors and return the fallback."""
        try:
            return parse(raw)
        except InvalidValueError as error:
            self._add(name, error)
            return fallback

    def _add(self, name: str, error: InvalidValueError) -> None:
        for message in error.messages(languages.translated(VALUES)):
            self.add_error(name, message)

    def add_error(self, name: str, sentence: str) -> None:
        """Add an error to a field; ``WHOLE`` if it belongs to no single field."""
        errors = self.errors.get(name, "")
        if sentence not in errors:
            self.errors[name] = f"{errors} {sentence}".strip()

    def add_refusal(self, refusal: Refusal) -> None:
        """Add the message of a refusal, to its field if the form has that."""
        field = str(refusal.facts.get("field", WHOLE))
        self.add_error(field if field in self.values else WHOLE, message_for(refusal))

    def add_refusals(self, refusals: Iterable[Refusal]) -> None:
        """Add refusals, except of fields that have an error: their values could not be read."""
        unread = set(self.errors)
        for refusal in refusals:
            if refusal.facts.get("field") not in unread:
                self.add_refusal(refusal)

    def showing_refusals(self) -> _ShowingRefusals:
        """Return a context manager that adds what an action refuses, and goes on after its block.

        A change ends its block with the redirection, and the form is shown again after it.
        """
        return _ShowingRefusals(self)

    def judge(self, rule: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """Call a rule, and add what it refuses. So it is shown together with all other errors.

        Returns:
            The result of the rule; None if it refuses.
        """
        with self.showing_refusals():
            return rule(*args, **kwargs)
        return None


class _ShowingRefusals:
    def __init__(self, form: Form) -> None:
        self._form = form

    def __enter__(self) -> None: ...

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        if isinstance(error, Conflict | Invalid):
            self._form.add_refusal(error)
            return True
        return False


def _day(at: datetime | None) -> str:
    return at.astimezone(UTC).date().isoformat() if at else ""


def _parse(header: str, body: bytes) -> list[tuple[str, Any]]:
    media_type, boundary = request_bodies.media_type(header)
    if media_type == request_bodies.FORM:
        return list(request_bodies.parse_urlencoded(body, "ascii", _FIELDS_MAX))
    if media_type == request_bodies.MULTIPART:
        return request_bodies.parse_multipart(body, boundary, _part_value, _FIELDS_MAX)
    raise invalid("body.type", type=header)


def _part_value(part: MultipartPart) -> str | bytes:
    # Browsers send UTF-8. Other encodings could contain surrogates.
    raw: bytes = part.raw
    return raw.decode("utf-8") if part.filename is None else raw
