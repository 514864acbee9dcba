"""Validate JSON bodies against a table of fields; all errors are reported at once."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from collegium.api.brainstem.errors import BadRequestError
from collegium.api.request import RequestContext, is_nested
from collegium.scopes.groups.actions import MemberChange
from collegium.text.names import clean_name, holds_link, trim

_ITEMS_MAX: Final = 1000
_EMAIL_MAX: Final = 320
_FLAGS: Final = ("is_manager", "is_owner", "remove")
_FLAGS_TEXT: Final = ", ".join(_FLAGS)
_NAME_SHOWN_MAX: Final = 64

MESSAGES_MAX: Final = 20
"""Maximum number of messages for one field; keeps a response about as long as its request."""
_STRIPPED_MAX: Final = 1000
"""Maximum length of white space and the like around a text, which is stripped without an error."""
_LINK_ERROR: Final = "Enter a name without a web address in it."


class ValidationError(Exception):
    """A field's value is not valid.

    Args:
        messages: one message for each error; at least one.
    """

    def __init__(self, *messages: str) -> None:
        super().__init__(*messages)
        self.messages = list(dict.fromkeys(messages))[:MESSAGES_MAX]


def read_all(read: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Validate each item and return the results.

    Raises:
        ValidationError: with the messages of all items.
    """
    values, errors = [], []
    for item in items:
        try:
            values.append(read(item))
        except ValidationError as error:
            errors += error.messages
    if errors:
        raise ValidationError(*errors)
    return values


@dataclass(frozen=True, kw_only=True)
class Field(ABC):
    """One field of a body.

    Args:
        required: whether the field must be present.
    """

    required: bool = False
    null: bool = False

    @abstractmethod
    def read(self, raw: Any) -> Any:
        """Return the validated value.

        Raises:
            ValidationError: if the value is not valid.
        """

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the field, for the OpenAPI document."""


@dataclass(frozen=True, kw_only=True)
class Text(Field):
    """A text; white space around it is stripped."""

    max: int = 1000
    blank: bool = True
    strip: bool = True

    def read(self, raw: Any) -> str:
        """Return a text that the database can store."""
        if not isinstance(raw, str):
            raise ValidationError("Not a valid string.")
        if len(raw) > self.max + _STRIPPED_MAX:
            # Refuse early: nothing below should look at every character of a very long text.
            raise ValidationError(f"Ensure this field has no more than {self.max} characters.")
        text = raw.strip() if self.strip else raw
        if not text and not self.blank:
            raise ValidationError("This field may not be blank.")
        # Characters beyond the maximum length are not validated.
        errors = self._find_errors(text[: self.max])
        if len(text) > self.max:
            errors.insert(0, f"Ensure this field has no more than {self.max} characters.")
        if errors:
            raise ValidationError(*errors)
        return text

    def _find_errors(self, text: str) -> list[str]:
        """Return all errors of a text that is not too long."""
        return storage_errors(text)

    def schema(self) -> dict[str, Any]:
        """Return the schema of a string."""
        schema: dict[str, Any] = {"type": "string", "maxLength": self.max}
        return schema if self.blank else schema | {"minLength": 1}


@dataclass(frozen=True, kw_only=True)
class Line(Text):
    """A text on one line."""

    def read(self, raw: Any) -> str:
        """Return the text with control characters and line breaks replaced by spaces."""
        text = super().read(raw)
        return " ".join(re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", " ", text).split())


@dataclass(frozen=True, kw_only=True)
class Name(Line):
    """The name of a person or a thing. It appears in e-mails, so it must not contain a link."""

    def read(self, raw: Any) -> str:
        """Return the name without invisible characters."""
        text = clean_name(super().read(raw))
        if not text and not self.blank:
            raise ValidationError("This field may not be blank.")
        # Unicode normalisation may have made the name longer.
        if len(text) > self.max:
            raise ValidationError(f"Ensure this field has no more than {self.max} characters.")
        if holds_link(text):
            raise ValidationError(_LINK_ERROR)
        return text

    def _find_errors(self, text: str) -> list[str]:
        return [*super()._find_errors(text), *([_LINK_ERROR] if holds_link(text) else [])]


@dataclass(frozen=True, kw_only=True)
class WebAddress(Text):
    """The URL of a page; ``http`` is the default scheme."""

    max: int = 200

    def read(self, raw: Any) -> str:
        """Return the URL with its scheme."""
        text = super().read(raw)
        if not text:
            return text
        if not re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", text) or re.match(r"[^/]+:\d", text):
            text = f"http://{text}"
        try:
            parts = urlsplit(text)
            is_valid = parts.scheme in {"http", "https"} and bool(parts.hostname)
        except ValueError:
            is_valid = False
        if not is_valid or re.search(r"\s", text):
            raise ValidationError("Enter a valid URL.")
        if len(text) > self.max:
            raise ValidationError(f"Ensure this field has no more than {self.max} characters.")
        return text


@dataclass(frozen=True, kw_only=True)
class Projects(Field):
    """A list of ids or names of projects, which another service keeps."""

    def read(self, raw: Any) -> list[int | str]:
        """Return the list."""
        if not isinstance(raw, list) or len(raw) > _ITEMS_MAX:
            raise ValidationError(f"Expected a list of at most {_ITEMS_MAX} items.")
        return read_all(self._read_project, raw)

    @staticmethod
    def _read_project(project: Any) -> int | str:
        if (
            isinstance(project, bool)
            or not isinstance(project, (int, str))
            or len(str(project)) > 64  # noqa: PLR2004 - longer than any project name
        ):
            raise ValidationError("Expected ids of projects.")
        if isinstance(project, str):
            check_storable(project)
        return project

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array."""
        item = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
        return {"type": "array", "items": item}


@dataclass(frozen=True, kw_only=True)
class People(Field):
    """Changes to the members of a group: e-mail address to flags, or to ``remove``."""

    def read(self, raw: Any) -> list[MemberChange]:
        """Return one change per address."""
        if not isinstance(raw, Mapping) or len(raw) > _ITEMS_MAX:
            raise ValidationError(f"Expected an object with at most {_ITEMS_MAX} addresses.")
        return read_all(self._read_change, raw.items())

    @staticmethod
    def _read_change(item: tuple[str, Any]) -> MemberChange:
        email, flags = item
        if len(email) > _EMAIL_MAX or not (email := trim(email)):
            raise ValidationError("Expected e-mail addresses.")
        check_storable(email)
        if not isinstance(flags, Mapping):
            raise ValidationError(f"Expected is_manager, is_owner or remove for {email}.")
        errors = [
            # Ignoring a misspelled flag would read it as not set and demote the member.
            f"Unknown key {_shorten(name)} of {email}; known are {_FLAGS_TEXT}."
            for name in islice((name for name in flags if name not in _FLAGS), MESSAGES_MAX)
        ]
        errors += [
            f"{name} of {email} must be true or false."
            for name in _FLAGS
            if not isinstance(flags.get(name, False), bool)
        ]
        if flags.get("remove") and (flags.get("is_manager") or flags.get("is_owner")):
            errors.append(f"{email} cannot be removed and get a role in the same request.")
        if errors:
            raise ValidationError(*errors)
        return MemberChange(
            email,
            is_manager=flags.get("is_manager", False),
            is_owner=flags.get("is_owner", False),
            removes=flags.get("remove", False),
        )

    def schema(self) -> dict[str, Any]:
        """Return the schema of an object."""
        flags = {
            "type": "object",
            "properties": {name: {"type": "boolean"} for name in _FLAGS},
            "additionalProperties": False,
        }
        return {"type": "object", "additionalProperties": flags}


@dataclass(frozen=True, kw_only=True)
class Secret(Text):
    """A password or a token; taken as it is, without stripping."""

    max: int = 1000
    blank: bool = False
    strip: bool = False


@dataclass(frozen=True, kw_only=True)
class Seconds(Field):
    """A duration in whole seconds."""

    min: int = 60
    max: int = 2**31 - 1

    def read(self, raw: Any) -> int:
        """Return a whole number within the bounds."""
        if isinstance(raw, bool) or not isinstance(raw, int):
            raise ValidationError("A valid integer is required.")
        if raw < self.min:
            raise ValidationError(f"Ensure this value is greater than or equal to {self.min}.")
        if raw > self.max:
            raise ValidationError(f"Ensure this value is less than or equal to {self.max}.")
        return raw

    def schema(self) -> dict[str, Any]:
        """Return the schema of an integer."""
        return {"type": "integer", "minimum": self.min, "maximum": self.max}


def storage_errors(text: str) -> list[str]:
    """Return the reasons why the database cannot store a text; empty if it can."""
    errors = ["Null characters are not allowed."] if "\0" in text else []
    if any("\ud800" <= char <= "\udfff" for char in text):
        errors.append("Surrogate characters are not allowed.")
    return errors


def _shorten(name: str) -> str:
    return name if len(name) <= _NAME_SHOWN_MAX else f"{name[:_NAME_SHOWN_MAX]}…"


def check_storable(text: str) -> None:
    """Refuse a text that the database cannot store.

    Raises:
        ValidationError: with all reasons.
    """
    errors = storage_errors(text)
    if errors:
        raise ValidationError(*errors)


def read(
    context: RequestContext,
    table: Mapping[str, Field],
    *,
    one_of: Sequence[str] = (),
    read_only: Collection[str] | None = None,
) -> dict[str, Any]:
    """Return the validated values of a JSON body.

    Args:
        table: name to field.
        one_of: names of fields of which one must be present; if none is, the error names the first.
        read_only: further names that are accepted and ignored, because clients send back what they
            were shown. Any other name is an error. None: all other names are ignored.

    Raises:
        BadRequestError: with the errors of all fields; 415 if the body is not JSON.
    """
    raw = _parse_object(context)
    values: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    if read_only is not None:
        unknown = (name for name in raw if name not in table and name not in read_only)
        for name in islice(unknown, MESSAGES_MAX):
            errors[_shorten(name)] = ["Unknown field."]
    for name, field in table.items():
        if name not in raw:
            if field.required:
                errors[name] = ["This field is required."]
            continue
        if raw[name] is None:
            errors[name] = ["This field may not be null."]
            continue
        try:
            values[name] = field.read(raw[name])
        except ValidationError as error:
            errors[name] = error.messages
    if one_of and not any(name in raw for name in one_of):
        errors = {one_of[0]: ["This field is required."], **errors}
    if errors:
        raise BadRequestError(errors)
    return values


def _parse_object(context: RequestContext) -> Mapping[str, Any]:
    if not context.body.strip():
        return {}
    media_type = context.header("content-type", "application/json").split(";")[0].strip().lower()
    if media_type != "application/json":
        raise BadRequestError({"detail": "The body must be JSON."}, 415)
    if is_nested(context.body):
        raise BadRequestError({"detail": "The body is not valid JSON: too many lists and objects"})
    try:
        raw = msgspec.json.decode(context.body)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequestError({"detail": f"The body is not valid JSON: {error}"[:200]}) from None
    if not isinstance(raw, dict):
        raise BadRequestError({"detail": "The body must be a JSON object."})
    return raw
