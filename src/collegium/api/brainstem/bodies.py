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

_MANY: Final = 1000
_EMAIL: Final = 320
_FLAGS: Final = ("is_manager", "is_owner", "remove")
_LISTED: Final = ", ".join(_FLAGS)
_NAME_SHOWN: Final = 64

MESSAGES_MAX: Final = 20
"""Maximum number of messages for one field; keeps a response about as long as its request."""
_AROUND: Final = 1000
"""Maximum length of white space and the like around a text, which is stripped without an error."""
_LINK: Final = "Enter a name without a web address in it."


class ValidationError(Exception):
    """A field's value is not valid.

    Args:
        texts: one message for each error; at least one.
    """

    def __init__(self, *texts: str) -> None:
        super().__init__(*texts)
        self.texts = list(dict.fromkeys(texts))[:MESSAGES_MAX]


def read_all(read: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
    """Validate each item and return the results.

    Raises:
        ValidationError: with the messages of all items.
    """
    found, wrong = [], []
    for item in items:
        try:
            found.append(read(item))
        except ValidationError as error:
            wrong += error.texts
    if wrong:
        raise ValidationError(*wrong)
    return found


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
        if len(raw) > self.max + _AROUND:
            # Refuse early: nothing below should look at every character of a very long text.
            raise ValidationError(f"Ensure this field has no more than {self.max} characters.")
        text = raw.strip() if self.strip else raw
        if not text and not self.blank:
            raise ValidationError("This field may not be blank.")
        # Characters beyond the maximum length are not validated.
        wrong = self._faults(text[: self.max])
        if len(text) > self.max:
            wrong.insert(0, f"Ensure this field has no more than {self.max} characters.")
        if wrong:
            raise ValidationError(*wrong)
        return text

    def _faults(self, head: str) -> list[str]:
        """Return all errors of a text that is not too long."""
        return unstorable(head)

    def schema(self) -> dict[str, Any]:
        """Return the schema of a string."""
        said: dict[str, Any] = {"type": "string", "maxLength": self.max}
        return said if self.blank else said | {"minLength": 1}


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
            raise ValidationError(_LINK)
        return text

    def _faults(self, head: str) -> list[str]:
        return [*super()._faults(head), *([_LINK] if holds_link(head) else [])]


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
            fits = parts.scheme in {"http", "https"} and bool(parts.hostname)
        except ValueError:
            fits = False
        if not fits or re.search(r"\s", text):
            raise ValidationError("Enter a valid URL.")
        if len(text) > self.max:
            raise ValidationError(f"Ensure this field has no more than {self.max} characters.")
        return text


@dataclass(frozen=True, kw_only=True)
class Projects(Field):
    """A list of ids or names of projects, which another service keeps."""

    def read(self, raw: Any) -> list[int | str]:
        """Return the list."""
        if not isinstance(raw, list) or len(raw) > _MANY:
            raise ValidationError(f"Expected a list of at most {_MANY} items.")
        return read_all(self._project, raw)

    @staticmethod
    def _project(one: Any) -> int | str:
        if isinstance(one, bool) or not isinstance(one, (int, str)) or len(str(one)) > 64:  # noqa: PLR2004 - longer than any project name
            raise ValidationError("Expected ids of projects.")
        if isinstance(one, str):
            check_storable(one)
        return one

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array."""
        item = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
        return {"type": "array", "items": item}


@dataclass(frozen=True, kw_only=True)
class People(Field):
    """Changes to the members of a group: e-mail address to flags, or to ``remove``."""

    def read(self, raw: Any) -> list[MemberChange]:
        """Return one change per address."""
        if not isinstance(raw, Mapping) or len(raw) > _MANY:
            raise ValidationError(f"Expected an object with at most {_MANY} addresses.")
        return read_all(self._wish, raw.items())

    @staticmethod
    def _wish(item: tuple[str, Any]) -> MemberChange:
        email, flags = item
        if len(email) > _EMAIL or not (email := trim(email)):
            raise ValidationError("Expected e-mail addresses.")
        check_storable(email)
        if not isinstance(flags, Mapping):
            raise ValidationError(f"Expected is_manager, is_owner or remove for {email}.")
        wrong = [
            # Ignoring a misspelled flag would read it as not set and demote the member.
            f"Unknown key {_shortened(name)} of {email}; known are {_LISTED}."
            for name in islice((name for name in flags if name not in _FLAGS), MESSAGES_MAX)
        ]
        wrong += [
            f"{name} of {email} must be true or false."
            for name in _FLAGS
            if not isinstance(flags.get(name, False), bool)
        ]
        if flags.get("remove") and (flags.get("is_manager") or flags.get("is_owner")):
            wrong.append(f"{email} cannot be removed and get a role in the same request.")
        if wrong:
            raise ValidationError(*wrong)
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


def unstorable(text: str) -> list[str]:
    """Return the reasons why the database cannot store a text; empty if it can."""
    wrong = ["Null characters are not allowed."] if "\0" in text else []
    if any("\ud800" <= character <= "\udfff" for character in text):
        wrong.append("Surrogate characters are not allowed.")
    return wrong


def _shortened(name: str) -> str:
    return name if len(name) <= _NAME_SHOWN else f"{name[:_NAME_SHOWN]}…"


def check_storable(text: str) -> None:
    """Refuse a text that the database cannot store.

    Raises:
        ValidationError: with all reasons.
    """
    wrong = unstorable(text)
    if wrong:
        raise ValidationError(*wrong)


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
    raw = _object(context)
    values: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    if read_only is not None:
        unknown = (name for name in raw if name not in table and name not in read_only)
        for name in islice(unknown, MESSAGES_MAX):
            errors[_shortened(name)] = ["Unknown field."]
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
        except ValidationError as wrong:
            errors[name] = wrong.texts
    if one_of and not any(name in raw for name in one_of):
        errors = {one_of[0]: ["This field is required."], **errors}
    if errors:
        raise BadRequestError(errors)
    return values


def _object(context: RequestContext) -> Mapping[str, Any]:
    if not context.body.strip():
        return {}
    media = context.header("content-type", "application/json").split(";")[0].strip().lower()
    if media != "application/json":
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
