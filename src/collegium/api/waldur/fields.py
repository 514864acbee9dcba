"""Bodies: read in three encodings, judged field by field, all errors at once.

A form is a table of names and kinds of field. The same table describes the body in the
published schema.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from io import BytesIO
from math import isfinite
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar
from urllib.parse import parse_qsl

from multipart import MultipartError, MultipartParser, MultipartPart, parse_options_header

from collegium.api.request import hex_uuid, is_escaped, is_nested
from collegium.api.waldur.errors import NON_FIELD, BadRequestError, reason_for
from collegium.text.email_addresses import (
    MIXED,
    address_error,
    canonical_address,
    has_single_script_labels,
)
from collegium.text.names import clean_name, holds_link, trim

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from collegium.api.request import RequestContext
    from collegium.refusals import Refusal

REQUIRED: Final = "This field is required."
NULL: Final = "This field may not be null."
BLANK: Final = "This field may not be blank."
EMPTY_VALUES: Final = 20
"""Maximum number of sentences about one field; an answer stays about as long as the request."""

_Found = TypeVar("_Found")
_PARTS: Final = 256
_AROUND: Final = 1000
"""Characters around a text, such as white space, that are taken away without a word."""
_INT_MAX: Final = 2**31 - 1
_OFFSET: Final = re.compile(r"\d\d:?\d\d", re.ASCII)
_INSTANT_MAX: Final = 64
"""Characters of the longest date-time, with some to spare."""

_WORD_MAX: Final = 64
"""Characters of the longest number or truth value, with some to spare."""


class ValidationError(Exception):
    """The value of one field cannot be taken.

    Args:
        texts: everything that is wrong with it, a sentence each; one at least.
    """

    def __init__(self, *texts: str) -> None:
        super().__init__(*texts)
        self.texts = list(dict.fromkeys(texts))[:EMPTY_VALUES]


@dataclass(frozen=True, kw_only=True)
class Field(ABC):
    """One field of a body.

    Args:
        required: must be there, unless the form is partial.
        null: may be null.
        to: the name under which the value is handed on; empty: the same.
    """

    required: bool = False
    null: bool = False
    to: str = ""

    @abstractmethod
    def read(self, raw: Any, *, form: bool) -> Any:
        """Give the value, or raise ``Wrong``; ``form`` says that all values came as text."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Describe the field for the published schema."""

    def is_null(self, raw: Any, *, form: bool) -> bool:
        """Tell whether the raw value stands for null; the official client writes ``None``."""
        return raw is None or (form and self.null and raw in {"", "None"})


@dataclass(frozen=True, kw_only=True)
class Text(Field):
    """A text, stripped of white space around it."""

    max: int | None = None
    blank: bool = True
    pattern: re.Pattern[str] | None = None
    message: str = "Enter a valid value."
    strip: bool = True
    form: str = ""

    def read(self, raw: Any, *, form: bool) -> str:
        """Read a text; numbers count as what they look like."""
        del form
        if isinstance(raw, bool) or not isinstance(raw, (str, int, float)):
            raise ValidationError("Not a valid string.")
        if isinstance(raw, float) and not isfinite(raw):
            raise ValidationError("Not a valid string.")
        text = str(raw)
        if self.max is not None and len(text) > self.max + _AROUND:
            # Before anything looks at every character of it.
            raise ValidationError(f"Ensure this field has no more than {self.max} characters.")
        if self.strip:
            text = self.kept(text)
        if not text and not self.blank:
            raise ValidationError(BLANK)
        wrong = self._faults(text)
        if wrong:
            raise ValidationError(*wrong)
        return text

    def kept(self, text: str) -> str:
        """Return what is kept of a text that came with something around it."""
        return text.strip()

    def _faults(self, text: str) -> list[str]:
        """Return everything that is wrong with a text; the part beyond ``max`` is not examined."""
        wrong = []
        head = text
        if self.max is not None and len(text) > self.max:
            wrong.append(f"Ensure this field has no more than {self.max} characters.")
            head = text[: self.max]
        wrong += unstorable(head)
        if head and self.pattern is not None and not self.pattern.fullmatch(head):
            wrong.append(self.message)
        return wrong

    def schema(self) -> dict[str, Any]:
        """Describe a string."""
        said: dict[str, Any] = {"type": "string"}
        if self.max is not None:
            said["maxLength"] = self.max
        if not self.blank:
            said["minLength"] = 1
        if self.pattern is not None:
            said["pattern"] = f"^(?:{self.pattern.pattern}){'?' if self.blank else ''}$"
        if self.form:
            said["format"] = self.form
        return said


def unstorable(text: str) -> list[str]:
    """Return why no database could hold a text; nothing for a good one."""
    wrong = ["Null characters are not allowed."] if "\0" in text else []
    for character in text:
        if "\ud800" <= character <= "\udfff":
            wrong.append(f"Surrogate characters are not allowed: U+{ord(character):X}.")
            break
    return wrong


def read_items(kind: Field, items: Iterable[Any], *, form: bool) -> list[Any]:
    """Read the items of a list.

    Raises:
        Wrong: with everything that is wrong with any of them.
    """
    found, wrong = [], []
    for item in items:
        try:
            found.append(kind.read(item, form=form))
        except ValidationError as error:
            wrong += error.texts
    if wrong:
        raise ValidationError(*wrong)
    return found


@dataclass(frozen=True, kw_only=True)
class Name(Text):
    """The name of somebody or something: seen by others, written into mails, and no link."""

    def kept(self, text: str) -> str:
        """Return the name without what cannot be seen; what no database holds stays, to be told."""
        return text if unstorable(text) else clean_name(text)

    def _faults(self, text: str) -> list[str]:
        wrong = super()._faults(text)
        if holds_link(text[: self.max]):
            wrong.append("Enter a name without a web address in it.")
        return wrong


@dataclass(frozen=True, kw_only=True)
class Email(Text):
    """An e-mail address, kept as it was written."""

    blank: bool = False
    form: str = "email"

    def read(self, raw: Any, *, form: bool) -> str:
        """Read an address; whether its domain exists is for the mail server to find out."""
        text = super().read(raw, form=form)
        wrong = []
        if text and address_error(text) not in {"", MIXED}:
            wrong.append("Enter a valid email address.")
        if not has_single_script_labels(text):
            wrong.append("Enter an email address in plain letters of one alphabet.")
        if wrong:
            raise ValidationError(*wrong)
        return text

    def kept(self, text: str) -> str:
        """Return the address without what came with it from where it was copied."""
        return canonical_address(trim(text))

    def _faults(self, text: str) -> list[str]:
        wrong = super()._faults(text)
        if self.max is not None and len(text) > self.max:
            # No address is that long, so there is no need to parse it.
            wrong.append("Enter a valid email address.")
        return wrong


@dataclass(frozen=True, kw_only=True)
class Boolean(Field):
    """A truth value."""

    def read(self, raw: Any, *, form: bool) -> bool:
        """Read a truth value in any of its usual spellings."""
        del form
        if isinstance(raw, (bool, int, str)):
            text = _word(raw).lower()
            if text in {"true", "1", "t", "yes", "y", "on"}:
                return True
            if text in {"false", "0", "f", "no", "n", "off"}:
                return False
        raise ValidationError("Must be a valid boolean.")

    def schema(self) -> dict[str, Any]:
        """Describe a boolean."""
        return {"type": "boolean"}


@dataclass(frozen=True, kw_only=True)
class Integer(Field):
    """A whole number."""

    min: int = 0
    max: int = _INT_MAX

    def read(self, raw: Any, *, form: bool) -> int:
        """Read a whole number within its bounds."""
        del form
        text = _word(raw)
        if isinstance(raw, bool) or not re.fullmatch(r"[+-]?[0-9]{1,20}(\.0{1,9})?", text):
            raise ValidationError("A valid integer is required.")
        number = int(text.split(".")[0])
        if number < self.min:
            raise ValidationError(f"Ensure this value is greater than or equal to {self.min}.")
        if number > self.max:
            raise ValidationError(f"Ensure this value is less than or equal to {self.max}.")
        return number

    def schema(self) -> dict[str, Any]:
        """Describe an integer."""
        return {"type": "integer", "minimum": self.min, "maximum": self.max}


@dataclass(frozen=True, kw_only=True)
class Decimal(Field):
    """A number with a fraction."""

    min: float = -1e12
    max: float = 1e12

    def read(self, raw: Any, *, form: bool) -> float:
        """Read a number within its bounds."""
        del form
        text = _word(raw)
        if isinstance(raw, bool) or not re.fullmatch(
            r"[+-]?[0-9]{1,20}(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?", text
        ):
            raise ValidationError("A valid number is required.")
        number = float(text)
        if not self.min <= number <= self.max:
            raise ValidationError("A valid number is required.")
        return number

    def schema(self) -> dict[str, Any]:
        """Describe a number."""
        return {"type": "number", "minimum": self.min, "maximum": self.max}


@dataclass(frozen=True, kw_only=True)
class Uuid(Field):
    """A UUID in any form; handed on as 32 hex digits."""

    def read(self, raw: Any, *, form: bool) -> str:
        """Read a UUID."""
        del form
        found = hex_uuid(raw)
        if found is None:
            raise ValidationError("Must be a valid UUID.")
        return found

    def schema(self) -> dict[str, Any]:
        """Describe a UUID."""
        return {"type": "string", "format": "uuid"}


@dataclass(frozen=True, kw_only=True)
class Date(Field):
    """A date."""

    def read(self, raw: Any, *, form: bool) -> date:
        """Read ``YYYY-MM-DD``."""
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
        """Describe a date."""
        return {"type": "string", "format": "date"}


def instant(text: str) -> datetime | None:
    """Read an ISO 8601 date-time; without an offset it is UTC. None when it is none."""
    text = text.strip()
    if len(text) > _INSTANT_MAX:
        return None
    # A plus sign that nobody percent-encoded arrives as a space.
    begin, space, offset = text.rpartition(" ")
    if space and ":" in begin and _OFFSET.fullmatch(offset):
        text = f"{begin}+{offset}"
    try:
        found = datetime.fromisoformat(text)
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True, kw_only=True)
class DateTime(Field):
    """A date-time; a bare date is its midnight in UTC."""

    def read(self, raw: Any, *, form: bool) -> datetime:
        """Read an ISO 8601 date-time."""
        del form
        found = instant(raw) if isinstance(raw, str) else None
        if found is None:
            raise ValidationError(
                "Datetime has wrong format. Use one of these formats instead: "
                "YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z]."
            )
        return found

    def schema(self) -> dict[str, Any]:
        """Describe a date-time."""
        return {"type": "string", "format": "date-time"}


@dataclass(frozen=True, kw_only=True)
class Choice(Field):
    """One of some words."""

    of: Collection[str]

    def read(self, raw: Any, *, form: bool) -> str:
        """Read one of the words."""
        del form
        if not isinstance(raw, str) or raw not in self.of:
            # Half a character cannot be said back.
            shown = str(raw)[:100].encode("utf-8", "replace").decode()
            raise ValidationError(f'"{shown}" is not a valid choice.')
        return raw

    def schema(self) -> dict[str, Any]:
        """Describe an enumeration."""
        return {"type": "string", "enum": list(self.of)}


@dataclass(frozen=True, kw_only=True)
class StringList(Field):
    """A list of texts; in a form, as the text of a JSON array.

    Args:
        max: characters that one of them has at most.
        many: how many there are at most.
    """

    max: int
    many: int

    def read(self, raw: Any, *, form: bool) -> list[str]:
        """Read a list, each text once."""
        if form and isinstance(raw, str):
            # As JSON, a character takes six at most; what stands between two takes a few.
            if len(raw) > (6 * self.max + 8) * self.many:
                raise ValidationError(f"Ensure this field has no more than {self.many} elements.")
            try:
                raw = json.loads(raw) if raw.strip() else []
            except (ValueError, RecursionError):
                raise ValidationError("Value must be valid JSON.") from None
        if not isinstance(raw, list):
            raise ValidationError(f'Expected a list of items but got type "{type(raw).__name__}".')
        if len(raw) > self.many:
            raise ValidationError(f"Ensure this field has no more than {self.many} elements.")
        return list(dict.fromkeys(read_items(Text(blank=False, max=self.max), raw, form=form)))

    def schema(self) -> dict[str, Any]:
        """Describe an array of strings."""
        item = {"type": "string", "minLength": 1, "maxLength": self.max}
        return {"type": "array", "items": item, "maxItems": self.many}


@dataclass(frozen=True, kw_only=True)
class File(Field):
    """A file of a multipart body; handed on as its bytes."""

    max: int

    def read(self, raw: Any, *, form: bool) -> bytes:
        """Read a file that was sent as one."""
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
        """Describe a file."""
        return {"type": "string", "format": "binary"}


@dataclass
class Form:
    """A body that was read: what could be taken, and what is wrong with the rest."""

    values: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, list[str]] = field(default_factory=dict)

    def reject(self, name: str, text: str) -> None:
        """Add an error that only the database could tell."""
        self.errors.setdefault(name, []).append(text)

    def reject_value(self, name: str, wrong: ValidationError) -> None:
        """Add everything that is wrong with the value of a field."""
        for text in wrong.texts:
            self.reject(name, text)

    def refuse(self, refusal: Refusal) -> None:
        """Add what a rule refuses of one field, so that it is told with all the others."""
        where, text = reason_for(refusal)
        self.reject(where or NON_FIELD, text)

    def drop_blank(self, name: str) -> None:
        """Take a field that was sent empty for one that was not sent."""
        if self.values.get(name) == "":
            del self.values[name]

    def check(self) -> None:
        """Go no further with a body that has errors: raise ``Malformed`` with all of them."""
        if self.errors:
            raise BadRequestError(400, self.errors)

    def checked(self, found: _Found | None) -> _Found:
        """Give what a field named, once nothing is wrong; it is missing only with an error."""
        self.check()
        if found is None:
            raise BadRequestError(400, self.errors)
        return found


def read(context: RequestContext, kinds: Mapping[str, Field], *, partial: bool = False) -> Form:
    """Read the body by a table of fields; unknown names are passed over."""
    body, as_form = decode(context)
    form = Form()
    for name, kind in kinds.items():
        if name not in body:
            if kind.required and not partial:
                form.reject(name, REQUIRED)
            continue
        raw = body[name]
        target = kind.to or name
        if kind.is_null(raw, form=as_form):
            if kind.null:
                form.values[target] = None
            else:
                form.reject(name, NULL)
            continue
        try:
            form.values[target] = kind.read(raw, form=as_form)
        except ValidationError as wrong:
            form.reject_value(name, wrong)
    return form


def decode(context: RequestContext) -> tuple[dict[str, Any], bool]:
    """Give the body as a dictionary, and whether all its values are text."""
    header = context.header("content-type")
    kind, options = parse_options_header(header)  # type: ignore[no-untyped-call]
    kind = kind.lower()
    if kind == "multipart/form-data":
        return _multipart(context.body, options.get("boundary", "")), True
    if kind == "application/x-www-form-urlencoded":
        return _urlencoded(context.body), True
    if kind == "application/json":
        return _json(context.body), False
    if not context.body:
        return {}, False
    raise BadRequestError(415, {"detail": f'Unsupported media type "{header}" in request.'})


def _json(body: bytes) -> dict[str, Any]:
    if not body:
        return {}
    if is_nested(body):
        raise BadRequestError(400, {"detail": "JSON parse error - nested too deeply"})
    try:
        found = json.loads(body, parse_constant=_no_constant)
    except RecursionError:
        raise BadRequestError(400, {"detail": "JSON parse error - nested too deeply"}) from None
    except ValueError as error:
        raise BadRequestError(400, {"detail": f"JSON parse error - {error}"}) from None
    if not isinstance(found, dict):
        text = f"Invalid data. Expected a dictionary, but got {type(found).__name__}."
        raise BadRequestError(400, {NON_FIELD: [text]})
    return found


def _no_constant(name: str) -> NoReturn:
    message = f"Out of range float values are not JSON compliant: {name}"
    raise ValueError(message)


def _word(raw: Any) -> str:
    """Return a value that is short by nature as text; one that is too long as ``""``."""
    text = str(raw) if isinstance(raw, (str, int, float)) else ""
    text = text.strip()
    return text if len(text) <= _WORD_MAX else ""


def _urlencoded(body: bytes) -> dict[str, Any]:
    if is_escaped(body):
        raise BadRequestError(400, {"detail": "Form parse error - too many percent signs"})
    try:
        text = body.decode("utf-8")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=_PARTS)
    except ValueError as error:
        raise BadRequestError(400, {"detail": f"Form parse error - {error}"}) from None
    return dict(pairs)


def _value(part: MultipartPart) -> Any:
    """Give a part as text; one of another type is a file whose name was left out."""
    kind = str(part.content_type or "text/plain")
    return part.value if kind.startswith("text/") else part.raw


def _multipart(body: bytes, boundary: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        # The body is in memory already; a part of it has no need of a file on the disk.
        parts = MultipartParser(  # type: ignore[no-untyped-call]
            BytesIO(body), boundary, len(body), part_limit=_PARTS, spool_limit=len(body) + 1
        )
        for part in parts:
            found[part.name] = part.raw if part.filename else _value(part)
    except (MultipartError, ValueError, LookupError) as error:  # LookupError: no such charset
        raise BadRequestError(400, {"detail": f"Multipart form parse error - {error}"}) from None
    return found
