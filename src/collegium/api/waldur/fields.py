"""Validate bodies in three encodings, field by field; all errors are reported at once.

A form is a table of names and fields. The same table describes the body in the OpenAPI document.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from io import BytesIO
from math import isfinite
from typing import Any, Final, NoReturn, TypeVar
from urllib.parse import parse_qsl

from multipart import MultipartError, MultipartParser, MultipartPart, parse_options_header

from collegium.api.request import RequestContext, hex_uuid, is_escaped, is_nested
from collegium.api.waldur.errors import NON_FIELD, BadRequestError, reason_for
from collegium.refusals import Refusal
from collegium.text.email_addresses import (
    MIXED,
    address_error,
    canonical_address,
    is_single_script_address,
)
from collegium.text.names import clean_name, holds_link, trim

REQUIRED: Final = "This field is required."
NULL: Final = "This field may not be null."
BLANK: Final = "This field may not be blank."
MESSAGES_MAX: Final = 20
"""Maximum number of messages for one field; keeps a response about as long as its request."""

T = TypeVar("T")
_PARTS_MAX: Final = 256
_STRIPPED_MAX: Final = 1000
"""Maximum length of white space and the like around a text, which is stripped without an error."""
_INT_MAX: Final = 2**31 - 1
_OFFSET: Final = re.compile(r"\d\d:?\d\d", re.ASCII)
_INSTANT_MAX: Final = 64
"""Upper bound for the length of a date-time, in characters."""

_WORD_MAX: Final = 64
"""Upper bound for the length of a number or boolean, in characters."""


class ValidationError(Exception):
    """A field's value is not valid.

    Args:
        messages: one message for each error; at least one.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)
        self.messages = list(dict.fromkeys(messages))[:MESSAGES_MAX]


@dataclass(frozen=True, kw_only=True)
class Field(ABC):
    """One field of a body.

    Args:
        required: whether it must be present, unless the form is partial.
        null: whether it may be null.
        source: name of the value in ``Form.values``; empty: the name of the field.
    """

    required: bool = False
    null: bool = False
    source: str = ""

    @abstractmethod
    def read(self, raw: Any, *, form: bool) -> Any:
        """Return the validated value.

        Args:
            form: whether the body is a form, in which all values are text.

        Raises:
            ValidationError: if the value is not valid.
        """

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the field, for the OpenAPI document."""

    def is_null(self, raw: Any, *, form: bool) -> bool:
        """Return whether a raw value means null; in forms the official client sends ``None``."""
        return raw is None or (form and self.null and raw in {"", "None"})


@dataclass(frozen=True, kw_only=True)
class Text(Field):
    """A text; white space around it is stripped."""

    max: int | None = None
    blank: bool = True
    pattern: re.Pattern[str] | None = None
    message: str = "Enter a valid value."
    strip: bool = True
    form: str = ""

    def read(self, raw: Any, *, form: bool) -> str:
        """Return the text; JSON numbers are accepted and converted."""
        del form
        if isinstance(raw, bool) or not isinstance(raw, (str, int, float)):
            raise ValidationError("Not a valid string.")
        if isinstance(raw, float) and not isfinite(raw):
            raise ValidationError("Not a valid string.")
        text = str(raw)
        if self.max is not None and len(text) > self.max + _STRIPPED_MAX:
            # Refuse early: nothing below should look at every character of a very long text.
            raise ValidationError(f"Ensure this field has no more than {self.max} characters.")
        if self.strip:
            text = self.normalise(text)
        if not text and not self.blank:
            raise ValidationError(BLANK)
        errors = self._find_errors(text)
        if errors:
            raise ValidationError(*errors)
        return text

    def normalise(self, text: str) -> str:
        """Return the text without the white space around it."""
        return text.strip()

    def _find_errors(self, text: str) -> list[str]:
        """Return all errors of a text; the part beyond ``max`` is not examined."""
        errors = []
        checked = text
        if self.max is not None and len(text) > self.max:
            errors.append(f"Ensure this field has no more than {self.max} characters.")
            checked = text[: self.max]
        errors += storage_errors(checked)
        if checked and self.pattern is not None and not self.pattern.fullmatch(checked):
            errors.append(self.message)
        return errors

    def schema(self) -> dict[str, Any]:
        """Return the schema of a string."""
        schema: dict[str, Any] = {"type": "string"}
        if self.max is not None:
            schema["maxLength"] = self.max
        if not self.blank:
            schema["minLength"] = 1
        if self.pattern is not None:
            schema["pattern"] = f"^(?:{self.pattern.pattern}){'?' if self.blank else ''}$"
        if self.form:
            schema["format"] = self.form
        return schema


def storage_errors(text: str) -> list[str]:
    """Return the reasons why the database cannot store a text; empty if it can."""
    errors = ["Null characters are not allowed."] if "\0" in text else []
    for character in text:
        if "\ud800" <= character <= "\udfff":
            errors.append(f"Surrogate characters are not allowed: U+{ord(character):X}.")
            break
    return errors


def read_items(definition: Field, items: Iterable[Any], *, form: bool) -> list[Any]:
    """Validate each item of a list and return the results.

    Raises:
        ValidationError: with the messages of all items.
    """
    values, errors = [], []
    for item in items:
        try:
            values.append(definition.read(item, form=form))
        except ValidationError as error:
            errors += error.messages
    if errors:
        raise ValidationError(*errors)
    return values


@dataclass(frozen=True, kw_only=True)
class Name(Text):
    """The name of a person or a thing. It appears in e-mails, so it must not contain a link."""

    def normalise(self, text: str) -> str:
        """Return the name without invisible characters.

        A text that the database cannot store is returned unchanged: ``_find_errors`` reports it.
        """
        return text if storage_errors(text) else clean_name(text)

    def _find_errors(self, text: str) -> list[str]:
        errors = super()._find_errors(text)
        if holds_link(text[: self.max]):
            errors.append("Enter a name without a web address in it.")
        return errors


@dataclass(frozen=True, kw_only=True)
class Email(Text):
    """An e-mail address; its spelling is kept."""

    blank: bool = False
    form: str = "email"

    def read(self, raw: Any, *, form: bool) -> str:
        """Return the address. The mail server finds out whether its domain exists."""
        text = super().read(raw, form=form)
        errors = []
        if text and address_error(text) not in {"", MIXED}:
            errors.append("Enter a valid email address.")
        if not is_single_script_address(text):
            errors.append("Enter an email address with letters of only one script.")
        if errors:
            raise ValidationError(*errors)
        return text

    def normalise(self, text: str) -> str:
        """Return the address without characters that were copied along with it."""
        return canonical_address(trim(text))

    def _find_errors(self, text: str) -> list[str]:
        errors = super()._find_errors(text)
        if self.max is not None and len(text) > self.max:
            # No address is that long, so it need not be parsed.
            errors.append("Enter a valid email address.")
        return errors


@dataclass(frozen=True, kw_only=True)
class Boolean(Field):
    """A boolean."""

    def read(self, raw: Any, *, form: bool) -> bool:
        """Return the boolean for any of its usual spellings."""
        del form
        if isinstance(raw, (bool, int, str)):
            text = _scalar_text(raw).lower()
            if text in {"true", "1", "t", "yes", "y", "on"}:
                return True
            if text in {"false", "0", "f", "no", "n", "off"}:
                return False
        raise ValidationError("Must be a valid boolean.")

    def schema(self) -> dict[str, Any]:
        """Return the schema of a boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Integer(Field):
    """A whole number."""

    min: int = 0
    max: int = _INT_MAX

    def read(self, raw: Any, *, form: bool) -> int:
        """Return a whole number within the bounds."""
        del form
        text = _scalar_text(raw)
        if isinstance(raw, bool) or not re.fullmatch(r"[+-]?[0-9]{1,20}(\.0{1,9})?", text):
            raise ValidationError("A valid integer is required.")
        number = int(text.split(".")[0])
        if number < self.min:
            raise ValidationError(f"Ensure this value is greater than or equal to {self.min}.")
        if number > self.max:
            raise ValidationError(f"Ensure this value is less than or equal to {self.max}.")
        return number

    def schema(self) -> dict[str, Any]:
        """Return the schema of an integer."""
        return {"type": "integer", "minimum": self.min, "maximum": self.max}


@dataclass(frozen=True, kw_only=True)
class Decimal(Field):
    """A number with a fraction."""

    min: float = -1e12
    max: float = 1e12

    def read(self, raw: Any, *, form: bool) -> float:
        """Return a number within the bounds."""
        del form
        text = _scalar_text(raw)
        if isinstance(raw, bool) or not re.fullmatch(
            r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", text
        ):
            raise ValidationError("A valid number is required.")
        number = float(text)
        if not self.min <= number <= self.max:
            raise ValidationError("A valid number is required.")
        return number

    def schema(self) -> dict[str, Any]:
        """Return the schema of a number."""
        return {"type": "number", "minimum": self.min, "maximum": self.max}


@dataclass(frozen=True, kw_only=True)
class Uuid(Field):
    """A UUID in any spelling; the value is its 32 hex digits."""

    def read(self, raw: Any, *, form: bool) -> str:
        """Return the 32 hex digits of the UUID."""
        del form
        uuid = hex_uuid(raw)
        if uuid is None:
            raise ValidationError("Must be a valid UUID.")
        return uuid

    def schema(self) -> dict[str, Any]:
        """Return the schema of a UUID."""
        return {"type": "string", "format": "uuid"}


@dataclass(frozen=True, kw_only=True)
class Date(Field):
    """A date."""

    def read(self, raw: Any, *, form: bool) -> date:
        """Return the date for ``YYYY-MM-DD``."""
        del form
        if isinstance(raw, str) and re.fullmatch(r"\d{4}-\d{2}-\d{2}", raw.strip(), re.ASCII):
            try:
                return date.fromisoformat(raw.strip())
            except ValueError:
                pass
        raise ValidationError(
            "Date has wrong format. Use one of these formats instead: YYYY-MM-DD."
        )

    def schema(self) -> dict[str, Any]:
        """Return the schema of a date."""
        return {"type": "string", "format": "date"}


def instant(text: str) -> datetime | None:
    """Return an ISO 8601 date-time in UTC, or None if the text is no date-time.

    UTC is assumed if there is no offset.
    """
    text = text.strip()
    if len(text) > _INSTANT_MAX:
        return None
    # A plus sign that was not percent-encoded arrives as a space.
    start, space, offset = text.rpartition(" ")
    if space and ":" in start and _OFFSET.fullmatch(offset):
        text = f"{start}+{offset}"
    try:
        parsed = datetime.fromisoformat(text)
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
        return parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, kw_only=True)
class DateTime(Field):
    """A date-time; a bare date means its midnight in UTC."""

    def read(self, raw: Any, *, form: bool) -> datetime:
        """Return an ISO 8601 date-time in UTC."""
        del form
        parsed = instant(raw) if isinstance(raw, str) else None
        if parsed is None:
            raise ValidationError(
                "Datetime has wrong format. Use one of these formats instead: "
                "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
            )
        return parsed

    def schema(self) -> dict[str, Any]:
        """Return the schema of a date-time."""
        return {"type": "string", "format": "date-time"}


@dataclass(frozen=True, kw_only=True)
class Choice(Field):
    """One of a set of words."""

    of: Collection[str]

    def read(self, raw: Any, *, form: bool) -> str:
        """Return the word."""
        del form
        if not isinstance(raw, str) or raw not in self.of:
            # A surrogate cannot be encoded in the response, so it is replaced.
            excerpt = str(raw)[:100].encode("utf-8", "replace").decode()
            raise ValidationError(f'"{excerpt}" is not a valid choice.')
        return raw

    def schema(self) -> dict[str, Any]:
        """Return the schema of an enumeration."""
        return {"type": "string", "enum": list(self.of)}


@dataclass(frozen=True, kw_only=True)
class StringList(Field):
    """A list of texts; in a form it is the text of a JSON array.

    Args:
        max: maximum length of a text, in characters.
        max_items: maximum number of texts.
    """

    max: int
    max_items: int

    def read(self, raw: Any, *, form: bool) -> list[str]:
        """Return the list without duplicates."""
        if form and isinstance(raw, str):
            # In JSON a character needs at most six characters, and separators need a few more. So a
            # longer text has too many elements.
            if len(raw) > (6 * self.max + 8) * self.max_items:
                raise ValidationError(
                    f"Ensure this field has no more than {self.max_items} elements."
                )
            try:
                raw = json.loads(raw) if raw.strip() else []
            except (ValueError, RecursionError):
                raise ValidationError("Value must be valid JSON.") from None
        if not isinstance(raw, list):
            raise ValidationError(f'Expected a list of items but got type "{type(raw).__name__}".')
        if len(raw) > self.max_items:
            raise ValidationError(f"Ensure this field has no more than {self.max_items} elements.")
        return list(dict.fromkeys(read_items(Text(blank=False, max=self.max), raw, form=form)))

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array of strings."""
        item = {"type": "string", "minLength": 1, "maxLength": self.max}
        return {"type": "array", "items": item, "maxItems": self.max_items}


@dataclass(frozen=True, kw_only=True)
class File(Field):
    """A file of a multipart body; the value is its bytes."""

    max: int

    def read(self, raw: Any, *, form: bool) -> bytes:
        """Return the bytes of the uploaded file."""
        if not form or not isinstance(raw, bytes):
            raise ValidationError(
                "The submitted data was not a file. Check the encoding type on the form."
            )
        if not raw:
            raise ValidationError("The submitted file is empty.")
        if len(raw) > self.max:
            raise ValidationError(f"The submitted file is larger than {self.max} bytes.")
        return raw

    def schema(self) -> dict[str, Any]:
        """Return the schema of a file."""
        return {"type": "string", "format": "binary"}


@dataclass
class Form:
    """A validated body: the valid values, and the errors of the other fields."""

    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)

    def reject(self, name: str, text: str) -> None:
        """Add an error, for example one that only the database can detect."""
        self.errors.setdefault(name, []).append(text)

    def reject_value(self, name: str, error: ValidationError) -> None:
        """Add all errors of a field's value."""
        for text in error.messages:
            self.reject(name, text)

    def refuse(self, refusal: Refusal) -> None:
        """Add the refusal of a rule, so that it is reported together with all other errors."""
        name, text = reason_for(refusal)
        self.reject(name or NON_FIELD, text)

    def drop_blank(self, name: str) -> None:
        """Remove a field that was sent empty, as if it had not been sent."""
        if self.values.get(name) == "":
            del self.values[name]

    def check(self) -> None:
        """Refuse a body that has errors.

        Raises:
            BadRequestError: with the errors of all fields.
        """
        if self.errors:
            raise BadRequestError(self.errors)

    def checked(self, value: T | None) -> T:
        """Return the object that a field names, after checking that the form has no errors.

        Args:
            value: the object; None only if the form has an error for its field.

        Raises:
            BadRequestError: with the errors of all fields.
        """
        self.check()
        if value is None:
            raise BadRequestError(self.errors)
        return value


def read(
    context: RequestContext, definitions: Mapping[str, Field], *, partial: bool = False
) -> Form:
    """Validate a body against a table of fields; unknown names are ignored.

    Args:
        definitions: name to field.
        partial: whether required fields may be left out.

    Raises:
        BadRequestError: if the body cannot be parsed. Errors of fields are in the returned form.
    """
    body, is_form = decode(context)
    form = Form()
    for name, definition in definitions.items():
        if name not in body:
            if definition.required and not partial:
                form.reject(name, REQUIRED)
            continue
        raw = body[name]
        target = definition.source or name
        if definition.is_null(raw, form=is_form):
            if definition.null:
                form.values[target] = None
            else:
                form.reject(name, NULL)
            continue
        try:
            form.values[target] = definition.read(raw, form=is_form)
        except ValidationError as error:
            form.reject_value(name, error)
    return form


def decode(context: RequestContext) -> tuple[dict[str, Any], bool]:
    """Return the parsed body, and whether it is a form, in which all values are text.

    Raises:
        BadRequestError: 400 if the body cannot be parsed; 415 for another media type.
    """
    header = context.header("content-type")
    media_type, options = parse_options_header(header)  # type: ignore[no-untyped-call]  # the library has no types
    media_type = media_type.lower()
    if media_type == "multipart/form-data":
        return _parse_multipart(context.body, options.get("boundary", "")), True
    if media_type == "application/x-www-form-urlencoded":
        return _parse_urlencoded(context.body), True
    if media_type == "application/json":
        return _parse_json(context.body), False
    if not context.body:
        return {}, False
    raise BadRequestError({"detail": f'Unsupported media type "{header}" in request.'}, 415)


def _parse_json(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    if is_nested(body):
        raise BadRequestError({"detail": "JSON parse error - nested too deeply"})
    try:
        parsed = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise BadRequestError({"detail": "JSON parse error - nested too deeply"}) from None
    except ValueError as error:
        raise BadRequestError({"detail": f"JSON parse error - {error}"}) from None
    if not isinstance(parsed, dict):
        text = f"Invalid data. Expected a dictionary, but got {type(parsed).__name__}."
        raise BadRequestError({NON_FIELD: [text]})
    return parsed


def _no_constant(name: str) -> NoReturn:
    message = f"Out of range float values are not JSON compliant: {name}"
    raise ValueError(message)


def _scalar_text(raw: Any) -> str:
    """Return a number or a boolean as text; ``""`` for other types and for too long values."""
    text = str(raw) if isinstance(raw, (str, int, float)) else ""
    text = text.strip()
    return text if len(text) <= _WORD_MAX else ""


def _parse_urlencoded(body: bytes) -> dict[str, Any]:
    if is_escaped(body):
        raise BadRequestError({"detail": "Form parse error - too many percent signs"})
    try:
        text = body.decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_PARTS_MAX)
    except ValueError as error:
        raise BadRequestError({"detail": f"Form parse error - {error}"}) from None
    return dict(pairs)


def _part_value(part: MultipartPart) -> Any:
    """Return a part as text; a part of another media type is a file without a file name."""
    media_type = str(part.content_type or "text/plain")
    return part.value if media_type.startswith("text/") else part.raw


def _parse_multipart(body: bytes, boundary: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    try:
        # The body is in memory already, so no part of it needs a file on disk.
        parts = MultipartParser(  # type: ignore[no-untyped-call]  # the library has no types
            BytesIO(body), boundary, len(body), part_limit=_PARTS_MAX, spool_limit=len(body) + 1
        )
        for part in parts:
            values[part.name] = part.raw if part.filename else _part_value(part)
    except (MultipartError, ValueError, LookupError) as error:  # LookupError: unknown charset
        raise BadRequestError({"detail": f"Multipart form parse error - {error}"}) from None
    return values
