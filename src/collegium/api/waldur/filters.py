"""Validate the query parameters of lists; all errors are reported at once.

A table of names and filter types yields the values for the filters of a ``Listing``, as ``fields``
does for bodies. This module does not know how a list uses the values.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from collegium import values
from collegium.access import rules as access_rules
from collegium.api.request import BadRequestError, RequestContext
from collegium.api.waldur.errors import PARAMETERS
from collegium.api.waldur.schemas import KINDS
from collegium.values import (
    BOOLEANS,
    MESSAGES_MAX,
    InvalidValueError,
    Kind,
    Problem,
    check_storable,
    hex_uuid,
    invalid,
)

_VALUE_MAX: Final = 2000
"""Maximum length of a filter value, in characters.

No searched column is longer, and SQLite refuses patterns of 50,000 bytes.
"""

_NO_ACCOUNT: Final = "0" * 32
"""A UUID that no object has."""


class FilterType:
    """The type of a query parameter. If a parameter is repeated, its last value counts."""

    def read(self, texts: Sequence[str]) -> Any:
        """Return the validated value, or None to ignore the parameter.

        Args:
            texts: all values of the parameter, stripped and without empty ones; at least one.

        Raises:
            InvalidValueError: if a value is not valid.
        """
        if len(texts[-1]) > _VALUE_MAX:
            raise invalid("too_long", max=_VALUE_MAX)
        return texts[-1]

    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the parameter, for the OpenAPI document."""
        return {"type": "string"}


class Exact(FilterType):
    """A text that is passed on unchanged."""


class _OneValue(FilterType):
    """A value of a kind that bodies have too."""

    kind: ClassVar[Kind]

    def read(self, texts: Sequence[str]) -> Any:
        """Return the value."""
        return self.kind.parse(texts[-1])

    def schema(self) -> dict[str, Any]:
        """Return the schema of the kind."""
        return self.kind.schema()


class Uuid(_OneValue):
    """A UUID in any spelling; the value is its 32 hex digits."""

    kind = values.Uuid()


class GreaterOrEqual(_OneValue):
    """The earliest date-time wanted; a space before its offset counts as a plus sign."""

    kind = values.DateTime()


class Before(GreaterOrEqual):
    """The date-time before which something must have happened."""


class Day(_OneValue):
    """A date."""

    kind = values.Date()


class BooleanFilter(FilterType):
    """A boolean; any other value is ignored."""

    def read(self, texts: Sequence[str]) -> bool | None:
        """Return the boolean for ``true``, ``false``, ``1`` or ``0``."""
        return BOOLEANS.get(texts[-1].lower())

    def schema(self) -> dict[str, Any]:
        """Return the schema of a boolean."""
        return {"type": "boolean"}


class OptIn(BooleanFilter):
    """A boolean that filters only if it is true.

    False is ignored; it does not negate the filter.
    """

    def read(self, texts: Sequence[str]) -> bool | None:
        """Return True for ``true`` or ``1``, else None."""
        return super().read(texts) or None


class UserLink(FilterType):
    """The URL of a user; the value is its UUID. A text that is no such URL finds nothing."""

    def read(self, texts: Sequence[str]) -> str:
        """Return the 32 hex digits of the user's UUID."""
        plural, uuid = _parse_link(texts[-1])
        return uuid if plural == "users" else _NO_ACCOUNT

    def schema(self) -> dict[str, Any]:
        """Return the schema of a URL."""
        return {"type": "string", "format": "uri"}


@dataclass(frozen=True)
class ScopeLink(FilterType):
    """The URL of a scope; the value is (kind, UUID). A text that is no such URL finds nothing.

    Args:
        kinds: path segment (``customers``) to the kind in the value.
    """

    kinds: Mapping[str, str]

    def read(self, texts: Sequence[str]) -> tuple[str, str]:
        """Return the kind and the 32 hex digits of the UUID."""
        plural, uuid = _parse_link(texts[-1])
        return self.kinds.get(plural, ""), uuid

    def schema(self) -> dict[str, Any]:
        """Return the schema of a URL."""
        return {"type": "string", "format": "uri"}


SCOPE: Final = ScopeLink(
    {
        "customers": access_rules.ScopeKind.ORGANISATION.value,
        "projects": access_rules.ScopeKind.PROJECT.value,
    }
)


class ScopeReference(FilterType):
    """The URL or the UUID of a scope; the value is (kind, UUID), without a kind for a UUID."""

    def read(self, texts: Sequence[str]) -> tuple[str, str]:
        """Return the kind and the 32 hex digits of the UUID."""
        uuid = hex_uuid(texts[-1])
        return SCOPE.read(texts) if uuid is None else ("", uuid)

    def schema(self) -> dict[str, Any]:
        """Return the schema of a text."""
        return {"type": "string"}


def _parse_link(url: str) -> tuple[str, str]:
    """Return (path segment, UUID) of the object that a URL names.

    The host and the path before ``api`` are ignored.
    """
    try:
        parts = urlsplit(url).path.strip("/").split("/")
    except ValueError:
        parts = []
    match parts:
        case [*_, "api", plural, text]:
            return plural, hex_uuid(text) or _NO_ACCOUNT
        case _:
            return "", _NO_ACCOUNT


@dataclass(frozen=True)
class ChoiceFilter(FilterType):
    """One of a set of words; any other word finds nothing.

    Args:
        value_by_word: word to the value.
    """

    value_by_word: Mapping[str, str]

    def read(self, texts: Sequence[str]) -> str:
        """Return the value of the word."""
        return self.value_by_word.get(texts[-1], "")

    def schema(self) -> dict[str, Any]:
        """Return the schema of an enumeration."""
        return {"type": "string", "enum": list(self.value_by_word)}


SCOPE_TYPE: Final = ChoiceFilter({word: kind.value for kind, word in KINDS.items()})


@dataclass(frozen=True)
class MultipleFilter(FilterType):
    """A list: the parameter is repeated, its value has commas, or both.

    A list of commas only is empty, so it finds nothing.

    Args:
        of: the allowed words; None: any.
        commas: whether commas separate words.
    """

    of: Collection[str] | None = None
    commas: bool = True

    def read(self, texts: Sequence[str]) -> list[str]:
        """Return the list without duplicates."""
        names = [name for text in texts for name in (text.split(",") if self.commas else [text])]
        names = list(dict.fromkeys(name for name in map(str.strip, names) if name))
        if self.of is not None:
            unknown = [name for name in names if name not in self.of]
            if unknown:
                raise InvalidValueError(*map(_not_a_choice, unknown[:MESSAGES_MAX]))
        return names

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array."""
        item = {"type": "string"} if self.of is None else {"type": "string", "enum": list(self.of)}
        return {"type": "array", "items": item}


@dataclass(frozen=True)
class ChoicesFilter(FilterType):
    """A list of words from a set.

    Args:
        value_by_word: word to its value.
    """

    value_by_word: Mapping[str, str]

    def read(self, texts: Sequence[str]) -> list[str]:
        """Return the values of the words."""
        return [self.value_by_word[name] for name in MultipleFilter(self.value_by_word).read(texts)]

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array of words."""
        return MultipleFilter(self.value_by_word).schema()


class Uuids(MultipleFilter):
    """A list of UUIDs."""

    def read(self, texts: Sequence[str]) -> list[str]:
        """Return the UUIDs, as 32 hex digits each."""
        return [Uuid().read([name]) for name in super().read(texts)]

    def schema(self) -> dict[str, Any]:
        """Return the schema of an array of UUIDs."""
        return {"type": "array", "items": Uuid().schema()}


def _not_a_choice(name: str) -> Problem:
    return Problem("choice", {"value": name[:100]})


def ordering(context: RequestContext) -> list[str]:
    """Return the names in the parameter ``o``: repeated, comma-separated, or both."""
    return [
        name
        for text in context.query.get("o", ())
        for name in map(str.strip, text.split(","))
        if name
    ]


def bad_orders(context: RequestContext, orders: Collection[str]) -> list[str]:
    """Return the errors of the parameter ``o``.

    Args:
        orders: names that the list can be sorted by.
    """
    if "o" not in context.query:
        return []
    names = [name for name in ordering(context) if name.removeprefix("-") not in orders]
    problems = [_not_a_choice(name) for name in list(dict.fromkeys(names))[:MESSAGES_MAX]]
    return InvalidValueError(*problems).messages(PARAMETERS)


def read(
    context: RequestContext, table: Mapping[str, FilterType], orders: Collection[str] | None = None
) -> dict[str, Any]:
    """Validate the query parameters; unknown names and empty values are ignored.

    Args:
        table: name to filter type.
        orders: names that the list can be sorted by. A wrong order is then reported together with
            all other errors. None: the parameter ``o`` is not read.

    Raises:
        BadRequestError: with the errors of all parameters.
    """
    found: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    query = context.query
    for name, filter_type in table.items():
        if name not in query:
            continue
        texts = [text for text in map(str.strip, query[name]) if text]
        if not texts:
            continue
        try:
            value = filter_type.read([check_storable(text) for text in texts])
        except InvalidValueError as error:
            errors[name] = error.messages(PARAMETERS)
            continue
        if value is not None:
            found[name] = value
    if orders is not None and (order_errors := bad_orders(context, orders)):
        errors["o"] = order_errors
    if errors:
        raise BadRequestError(errors)
    return found
