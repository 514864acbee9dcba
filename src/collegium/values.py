"""Kinds of values: what a text, a name or a date is, for bodies, parameters, forms and settings.

A kind parses raw input, or raises ``InvalidValueError`` with problems: codes and their facts. Each
protocol has one table of messages for these codes, and states its leniencies as arguments of the
kinds. A table of names and kinds also describes a body in the OpenAPI document.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import isfinite
from types import MappingProxyType
from typing import Any, ClassVar, Final, NamedTuple, TypeVar
from uuid import UUID

from collegium.text.email_addresses import (
    MIXED,
    address_error,
    canonical_address,
    is_single_script_address,
)
from collegium.text.names import clean_name, holds_link, trim

T = TypeVar("T")

MESSAGES_MAX: Final = 20
"""Maximum number of messages for one value; keeps a response about as long as its request."""

BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
"""Spellings of a boolean in parameters and settings."""

_MORE_BOOLEANS: Final = BOOLEANS | {
    **dict.fromkeys(("t", "yes", "y", "on"), True),
    **dict.fromkeys(("f", "no", "n", "off"), False),
}
_STRIPPED_MAX: Final = 1000
"""Maximum length of white space and the like around a text, which is stripped without an error."""

_SHOWN_MAX: Final = 100
"""Maximum length of a wrong value in a message, in characters."""

_WORD_MAX: Final = 64
"""Upper bound for the length of a number or boolean, in characters."""

_INT_MAX: Final = 2**31 - 1
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,20}(\.0{1,9})?")
_DECIMAL: Final = re.compile(r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?")
_DATE: Final = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_DATE_MAX: Final = 10
_OFFSET: Final = re.compile(r"\d\d:?\d\d", re.ASCII)
_INSTANT_MAX: Final = 64
"""Upper bound for the length of a date-time, in characters."""

_HEX: Final = re.compile(r"[0-9a-f]{32}")
_UUID_MAX: Final = 64
"""Upper bound for the length of a UUID in any spelling, in characters."""


MESSAGES: Final[Mapping[str, str]] = {
    "required": "This field is required.",
    "null": "This field may not be null.",
    "blank": "This field may not be blank.",
    "invisible": "This field may not be blank.",
    "text": "Not a valid string.",
    "too_long": "Ensure this field has no more than {max} characters.",
    "null_character": "Null characters are not allowed.",
    "link": "Enter a name without a web address in it.",
    "integer": "A valid integer is required.",
    "too_small": "Ensure this value is greater than or equal to {min}.",
    "too_large": "Ensure this value is less than or equal to {max}.",
}
"""Messages that both APIs have in common."""


class Problem(NamedTuple):
    """Something that is wrong with a value.

    Args:
        code: key of the message in the table of each protocol.
        facts: what the message says about the value.
    """

    code: str
    facts: Mapping[str, Any]

    def message(self, messages: Mapping[str, str]) -> str:
        """Return the message of a protocol.

        Args:
            messages: code to template.
        """
        return messages[self.code].format_map(self.facts)


class InvalidValueError(Exception):
    """A value is not valid.

    Args:
        problems: all that is wrong; at least one.
    """

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems

    def messages(self, messages: Mapping[str, str]) -> list[str]:
        """Return the different messages of a protocol, at most ``MESSAGES_MAX``.

        Args:
            messages: code to template.
        """
        texts = [problem.message(messages) for problem in self.problems]
        return list(dict.fromkeys(texts))[:MESSAGES_MAX]


def invalid(code: str, **facts: Any) -> InvalidValueError:
    """Return the error for one problem."""
    return InvalidValueError(Problem(code, facts))


def hex_uuid(text: object) -> str | None:
    """Return a UUID in any spelling as its 32 hex digits, or None if the text is no UUID."""
    if not isinstance(text, str) or not text or len(text) > _UUID_MAX:
        return None
    if _HEX.fullmatch(text):
        return text
    try:
        return UUID(text).hex
    except ValueError:
        return None


def whole_number(text: str, digits: int = 18) -> int | None:
    """Return the number that a text of ASCII digits means, or None for any other text.

    Args:
        digits: maximum number of digits. As many as by default fit into 64 bits.
    """
    return int(text) if text.isascii() and text.isdigit() and len(text) <= digits else None


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


def storage_problems(text: str) -> list[Problem]:
    """Return the reasons why the database cannot store a text; empty if it can."""
    problems = [Problem("null_character", {})] if "\0" in text else []
    surrogate = next((char for char in text if "\ud800" <= char <= "\udfff"), None)
    if surrogate is not None:
        problems.append(Problem("surrogate", {"code_point": ord(surrogate)}))
    return problems


def check_storable(text: str) -> str:
    """Return the text unchanged.

    Raises:
        InvalidValueError: if the database cannot store the text.
    """
    if problems := storage_problems(text):
        raise InvalidValueError(*problems)
    return text


def address_problems(text: str) -> list[Problem]:
    """Return what is wrong with an e-mail address in canonical form."""
    problems = []
    if address_error(text) not in {"", MIXED}:
        problems.append(Problem("email", {}))
    if not is_single_script_address(text):
        problems.append(Problem("scripts", {}))
    return problems


@dataclass(frozen=True, kw_only=True)
class Kind(ABC):
    """A kind of value, as one field of a body.

    Args:
        required: whether the field must be present, unless the body is partial.
        null: whether the value may be null.
        source: name of the parsed value; empty: the name of the field.
    """

    required: bool = False
    null: bool = False
    source: str = ""

    types: ClassVar[type | tuple[type, ...]] = object
    """Types that a strict protocol accepts; others are converted, for example numbers to text."""

    code: ClassVar[str] = ""
    """Code of the problem that a value has another type."""

    json_schema: ClassVar[Mapping[str, Any]] = MappingProxyType({"type": "string"})
    """JSON schema that all values of this kind have."""

    @abstractmethod
    def parse(self, raw: Any) -> Any:
        """Return the value of raw input, which may have any type.

        Raises:
            InvalidValueError: if the value is not valid.
        """

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the value, for the OpenAPI document."""
        return dict(self.json_schema)

    def from_form(self, raw: str | bytes) -> Any:
        """Return what a field of a form means in JSON; the official client sends ``None``.

        Raises:
            InvalidValueError: if it means nothing.
        """
        return None if self.null and raw in {"", "None"} else raw


def parse_all(parse: Callable[[Any], T], items: Iterable[Any]) -> list[T]:
    """Return the value of each item of a list.

    Args:
        parse: parses an item, such as ``parse`` of a kind.

    Raises:
        InvalidValueError: with the problems of all items.
    """
    values: list[T] = []
    problems: list[Problem] = []
    for item in items:
        try:
            values.append(parse(item))
        except InvalidValueError as error:
            problems += error.problems
    if problems:
        raise InvalidValueError(*problems)
    return values


def parse_fields(
    raw: Mapping[str, Any],
    kinds: Mapping[str, Kind],
    *,
    is_form: bool = False,
    is_partial: bool = False,
    is_strict: bool = False,
) -> tuple[dict[str, Any], dict[str, InvalidValueError]]:
    """Return the values of a body's fields and the errors of the others; ignore unknown fields.

    Args:
        raw: name to raw input.
        kinds: name to kind.
        is_form: whether the body is a form, in which all values are text or files.
        is_partial: whether required fields may be left out.
        is_strict: whether values of another type are refused, even if they could be converted.
    """
    values: dict[str, Any] = {}
    errors: dict[str, InvalidValueError] = {}
    for name, kind in kinds.items():
        try:
            if name not in raw:
                if kind.required and not is_partial:
                    raise invalid("required")
                continue
            item = kind.from_form(raw[name]) if is_form else raw[name]
            if item is None and not kind.null:
                raise invalid("null")
            if is_strict and not isinstance(item, kind.types):
                raise invalid(kind.code)
            values[kind.source or name] = None if item is None else kind.parse(item)
        except InvalidValueError as error:
            errors[name] = error
    return values, errors


@dataclass(frozen=True, kw_only=True)
class Text(Kind):
    """A text; numbers are converted, and white space around it is stripped.

    Args:
        max: maximum length in characters.
        blank: whether it may be empty.
        pattern: what a text that is not empty must match.
        message: message for a text that does not match.
        controls: control characters that are allowed; None: all that the database can store.
        form: format in the OpenAPI document.
    """

    max: int | None = None
    blank: bool = True
    pattern: re.Pattern[str] | None = None
    message: str = "Enter a valid value."
    strip: bool = True
    controls: str | None = None
    form: str = ""

    types = str
    code = "text"

    def parse(self, raw: Any) -> str:
        """Return a text that the database can store."""
        if isinstance(raw, bool) or not isinstance(raw, (str, int, float)):
            raise invalid("text")
        if isinstance(raw, float) and not isfinite(raw):
            raise invalid("text")
        text = str(raw)
        if self.max is not None and len(text) > self.max + _STRIPPED_MAX:
            # Refuse early: nothing below should look at every character of a very long text.
            raise invalid("too_long", max=self.max)
        return self.check(self.normalise(text) if self.strip else text, text)

    def normalise(self, text: str) -> str:
        """Return the text without the white space around it."""
        return text.strip()

    def check(self, text: str, typed: str = "") -> str:
        """Return the text unchanged.

        Args:
            typed: the text before white space and invisible characters were removed.

        Raises:
            InvalidValueError: with all problems of the text.
        """
        if not text and not self.blank:
            raise invalid("invisible" if typed.strip() else "blank")
        if problems := self._problems(text):
            raise InvalidValueError(*problems)
        return text

    def _problems(self, text: str) -> list[Problem]:
        """Return all problems of a text; the part beyond ``max`` is not examined."""
        checked = text[: self.max]
        problems = [] if checked == text else [Problem("too_long", {"max": self.max})]
        problems += storage_problems(checked)
        if self.controls is not None and any(
            char < " " and char not in self.controls for char in checked
        ):
            problems.append(Problem("controls", {}))
        if checked and self.pattern is not None and not self.pattern.fullmatch(checked):
            problems.append(Problem("pattern", {"message": self.message}))
        return problems

    def schema(self) -> dict[str, Any]:
        """Return the schema of a string."""
        schema = super().schema()
        if self.max is not None:
            schema["maxLength"] = self.max
        if not self.blank:
            schema["minLength"] = 1
        if self.pattern is not None:
            schema["pattern"] = f"^(?:{self.pattern.pattern}){'?' if self.blank else ''}$"
        if self.form:
            schema["format"] = self.form
        return schema


@dataclass(frozen=True, kw_only=True)
class Secret(Text):
    """A password or a token; taken as it is, without stripping."""

    max: int | None = 1000
    blank: bool = False
    strip: bool = False


@dataclass(frozen=True, kw_only=True)
class Name(Text):
    """The name of a person or a thing. It appears in e-mails, so it must not contain a link."""

    def normalise(self, text: str) -> str:
        """Return the name without invisible characters.

        A text that the database cannot store is returned unchanged: ``_problems`` reports it.
        """
        return text if storage_problems(text) else clean_name(text)

    def _problems(self, text: str) -> list[Problem]:
        problems = super()._problems(text)
        if holds_link(text[: self.max]):
            problems.append(Problem("link", {}))
        return problems


@dataclass(frozen=True, kw_only=True)
class Email(Text):
    """An e-mail address; its spelling is kept.

    The mail server finds out whether its domain exists.
    """

    blank: bool = False
    form: str = "email"

    def normalise(self, text: str) -> str:
        """Return the address without characters that were copied along with it."""
        return canonical_address(trim(text))

    def _problems(self, text: str) -> list[Problem]:
        problems = super()._problems(text)
        if self.max is not None and len(text) > self.max:
            # No address is that long, so it need not be parsed.
            problems.append(Problem("email", {}))
        return problems or (address_problems(text) if text else [])


class _Converted(Kind):
    """A kind that only converts; what cannot be converted has the problem ``code``."""

    def parse(self, raw: Any) -> Any:
        """Return the converted value."""
        value = self._convert(raw)
        if value is None:
            raise invalid(self.code)
        return value

    @abstractmethod
    def _convert(self, raw: Any) -> Any:
        """Return the converted value; None if that is not possible."""


@dataclass(frozen=True, kw_only=True)
class Boolean(_Converted):
    """A boolean.

    Args:
        few: whether only ``true``, ``false``, ``1`` and ``0`` are known.
    """

    few: bool = False

    code = "boolean"
    json_schema = MappingProxyType({"type": "boolean"})

    def _convert(self, raw: Any) -> bool | None:
        words = BOOLEANS if self.few else _MORE_BOOLEANS
        return words.get(_scalar_text(raw).lower())


@dataclass(frozen=True, kw_only=True)
class Integer(Kind):
    """A whole number.

    Args:
        min: lower bound; None: none.
        max: upper bound; None: none.
        pattern: how it may be written.
    """

    min: int | None = 0
    max: int | None = _INT_MAX
    pattern: re.Pattern[str] = _WHOLE

    types = int
    code = "integer"

    def parse(self, raw: Any) -> int:
        """Return a whole number within the bounds."""
        text = _scalar_text(raw)
        if isinstance(raw, bool) or not self.pattern.fullmatch(text):
            raise invalid("integer")
        number = int(text.split(".")[0])
        if self.min is not None and number < self.min:
            raise invalid("too_small", min=self.min)
        if self.max is not None and number > self.max:
            raise invalid("too_large", max=self.max)
        return number

    def schema(self) -> dict[str, Any]:
        """Return the schema of an integer."""
        bounds = {"minimum": self.min, "maximum": self.max}
        return {"type": "integer"} | {
            name: bound for name, bound in bounds.items() if bound is not None
        }


@dataclass(frozen=True, kw_only=True)
class Decimal(Kind):
    """A number with a fraction."""

    min: float
    max: float

    def parse(self, raw: Any) -> float:
        """Return a number within the bounds."""
        text = _scalar_text(raw)
        if isinstance(raw, bool) or not _DECIMAL.fullmatch(text):
            raise invalid("number")
        number = float(text)
        if not self.min <= number <= self.max:
            raise invalid("number")
        return number

    def schema(self) -> dict[str, Any]:
        """Return the schema of a number."""
        return {"type": "number", "minimum": self.min, "maximum": self.max}


@dataclass(frozen=True, kw_only=True)
class Uuid(_Converted):
    """A UUID in any spelling; the value is its 32 hex digits."""

    code = "uuid"
    json_schema = MappingProxyType({"type": "string", "format": "uuid"})

    def _convert(self, raw: Any) -> str | None:
        return hex_uuid(raw)


@dataclass(frozen=True, kw_only=True)
class Date(_Converted):
    """A date.

    Args:
        pattern: how it may be written; None: in any form of ISO 8601, such as ``20261231``.
    """

    pattern: re.Pattern[str] | None = _DATE

    code = "date"
    json_schema = MappingProxyType({"type": "string", "format": "date"})

    def _convert(self, raw: Any) -> date | None:
        text = raw.strip() if isinstance(raw, str) else ""
        if self.pattern is None or self.pattern.fullmatch(text):
            # Longer texts are not looked at.
            with suppress(ValueError):
                return date.fromisoformat(text[: _DATE_MAX + 1])
        return None


@dataclass(frozen=True, kw_only=True)
class DateTime(_Converted):
    """A date-time; a bare date means its midnight in UTC."""

    code = "date_time"
    json_schema = MappingProxyType({"type": "string", "format": "date-time"})

    def _convert(self, raw: Any) -> datetime | None:
        return instant(raw) if isinstance(raw, str) else None


@dataclass(frozen=True, kw_only=True)
class Choice(Kind):
    """One of a set of words.

    Args:
        of: the words; or word to value.
        problem: code of the problem that the word is not in the set.
    """

    of: Collection[str]
    problem: str = "choice"

    def parse(self, raw: Any) -> str:
        """Return the word, or its value."""
        if not isinstance(raw, str) or raw not in self.of:
            # A surrogate cannot be encoded in the response, so it is replaced.
            excerpt = str(raw)[:_SHOWN_MAX].encode("utf-8", "replace").decode()
            raise invalid(self.problem, value=excerpt)
        return str(self.of[raw]) if isinstance(self.of, Mapping) else raw

    def schema(self) -> dict[str, Any]:
        """Return the schema of an enumeration."""
        return {"type": "string", "enum": list(self.of)}


@dataclass(frozen=True, kw_only=True)
class StringList(Kind):
    """A list of texts; in a form it is the text of a JSON array.

    Args:
        max: maximum length of a text, in characters.
        max_items: maximum number of texts.
        pattern: what each text must match.
        message: message for a text that does not match.
    """

    max: int
    max_items: int
    pattern: re.Pattern[str] | None = None
    message: str = "Enter a valid value."

    def from_form(self, raw: str | bytes) -> Any:
        """Return the parsed JSON of a text."""
        return list_from_form(super().from_form(raw), self.max, self.max_items)

    def parse(self, raw: Any) -> list[str]:
        """Return the list without duplicates."""
        check_list(raw, self.max_items)
        return list(dict.fromkeys(parse_all(self._item().parse, raw)))

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array of strings."""
        return {"type": "array", "items": self._item().schema(), "maxItems": self.max_items}

    def _item(self) -> Text:
        return Text(blank=False, max=self.max, pattern=self.pattern, message=self.message)


def list_from_form(raw: Any, max_length: int, max_items: int) -> Any:
    """Return the list whose JSON is the value of a form; what is no text is returned unchanged.

    Args:
        max_length: maximum length of an item, in characters.

    Raises:
        InvalidValueError: ``json``, ``list`` or ``too_many``.
    """
    if not isinstance(raw, str):
        return raw
    # In JSON a character needs at most six characters, and separators need a few more. So a longer
    # text has too many elements.
    if len(raw) > (6 * max_length + 8) * max_items:
        raise invalid("too_many", max=max_items)
    try:
        items = json.loads(raw) if raw.strip() else []
    except (ValueError, RecursionError):
        raise invalid("json") from None
    check_list(items, max_items)
    return items


def check_list(raw: Any, max_items: int) -> None:
    """Refuse what is no list, or has too many items.

    Raises:
        InvalidValueError: ``list`` or ``too_many``.
    """
    if not isinstance(raw, list):
        raise invalid("list", type=type(raw).__name__)
    if len(raw) > max_items:
        raise invalid("too_many", max=max_items)


@dataclass(frozen=True, kw_only=True)
class File(Kind):
    """A file of a multipart body; the value is its bytes.

    Args:
        max: maximum size in bytes.
    """

    max: int

    json_schema = MappingProxyType({"type": "string", "format": "binary"})

    def parse(self, raw: Any) -> bytes:
        """Return the bytes of the uploaded file."""
        if not isinstance(raw, bytes):
            raise invalid("file")
        if not raw:
            raise invalid("empty_file")
        if len(raw) > self.max:
            raise invalid("large_file", max=self.max)
        return raw


def _scalar_text(raw: Any) -> str:
    """Return a number or a boolean as text; ``""`` for other types and for too long values."""
    text = str(raw).strip() if isinstance(raw, (str, int, float)) else ""
    return text if len(text) <= _WORD_MAX else ""
