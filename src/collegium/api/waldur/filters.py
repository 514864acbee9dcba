"""What a list is asked for: query parameters by a table of kinds, all errors at once.

Like ``fields``, for what stands behind the question mark: a table of names and kinds gives the
values for the filters of a ``Listing``. Nothing here knows what a list makes of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from collegium.access import rules as access_rules
from collegium.api.request import hex_uuid
from collegium.api.waldur.errors import BadRequestError
from collegium.api.waldur.fields import EMPTY_VALUES, ValidationError, instant, unstorable
from collegium.api.waldur.schemas import KINDS
from collegium.db.statements import like_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collegium.api.request import RequestContext

_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_LONGEST: Final = 2000
"""Nothing that is searched is longer, and SQLite compares no pattern of 50,000 bytes."""

_NO_ACCOUNT: Final = "0" * 32
"""A UUID that nothing has."""


class FilterType:
    """One kind of parameter; with several values the last one counts."""

    def read(self, texts: Sequence[str]) -> Any:
        """Give the value, None to pass the parameter over, or raise ``Wrong``.

        Args:
            texts: all values of the parameter, stripped, empty ones left out; one at least.
        """
        if len(texts[-1]) > _LONGEST:
            raise ValidationError(f"Ensure this value has at most {_LONGEST} characters.")
        return texts[-1]

    def schema(self) -> dict[str, Any]:
        """Describe the parameter for the published schema."""
        return {"type": "string"}


class Exact(FilterType):
    """A text that is matched as it is."""


class Contains(FilterType):
    """A text that is looked for in a column by ``contains``; a ``Filter`` takes it plain."""

    def read(self, texts: Sequence[str]) -> str:
        """Give the pattern that finds the text anywhere."""
        return like_pattern(super().read(texts))


class Uuid(FilterType):
    """A UUID in any form; handed on as 32 hex digits."""

    def read(self, texts: Sequence[str]) -> str:
        """Read a UUID."""
        found = hex_uuid(texts[-1])
        if found is None:
            raise ValidationError("Enter a valid UUID.")
        return found

    def schema(self) -> dict[str, Any]:
        """Describe a UUID."""
        return {"type": "string", "format": "uuid"}


class GreaterOrEqual(FilterType):
    """The earliest date-time wanted; a space before its offset was a plus sign."""

    def read(self, texts: Sequence[str]) -> Any:
        """Read an ISO 8601 date-time."""
        found = instant(texts[-1])
        if found is None:
            raise ValidationError("Enter a valid date/time.")
        return found

    def schema(self) -> dict[str, Any]:
        """Describe a date-time."""
        return {"type": "string", "format": "date-time"}


class BooleanFilter(FilterType):
    """A truth value; what is none is passed over."""

    def read(self, texts: Sequence[str]) -> bool | None:
        """Read ``true``, ``false``, ``1`` or ``0``."""
        return _BOOLEANS.get(texts[-1].lower())

    def schema(self) -> dict[str, Any]:
        """Describe a truth value."""
        return {"type": "boolean"}


class OptIn(BooleanFilter):
    """A truth value that asks for something; asked for or not, nothing is asked against it."""

    def read(self, texts: Sequence[str]) -> bool | None:
        """Read ``true`` or ``1``."""
        return super().read(texts) or None


class UserLink(FilterType):
    """The URL of a user; handed on as a UUID, a text that is none as that of nobody."""

    def read(self, texts: Sequence[str]) -> str:
        """Read a URL."""
        plural, uuid = _linked(texts[-1])
        return uuid if plural == "users" else _NO_ACCOUNT

    def schema(self) -> dict[str, Any]:
        """Describe a URL."""
        return {"type": "string", "format": "uri"}


@dataclass(frozen=True)
class ScopeLink(FilterType):
    """The URL of a scope; handed on as kind and UUID, a text that is none as that of nothing.

    Args:
        kinds: the part of the path to what it is handed on as.
    """

    kinds: Mapping[str, str]

    def read(self, texts: Sequence[str]) -> tuple[str, str]:
        """Read a URL."""
        plural, uuid = _linked(texts[-1])
        return self.kinds.get(plural, ""), uuid

    def schema(self) -> dict[str, Any]:
        """Describe a URL."""
        return {"type": "string", "format": "uri"}


SCOPE: Final = ScopeLink(
    {
        "customers": access_rules.ScopeKind.ORGANISATION.value,
        "projects": access_rules.ScopeKind.PROJECT.value,
    }
)


def _linked(url: str) -> tuple[str, str]:
    """Read what a URL names; neither host nor what stands before matters."""
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
    """One of some words; any other finds nothing.

    Args:
        to: word to what it is handed on as.
    """

    to: Mapping[str, str]

    def read(self, texts: Sequence[str]) -> str:
        """Read a word."""
        return self.to.get(texts[-1], "")

    def schema(self) -> dict[str, Any]:
        """Describe an enumeration."""
        return {"type": "string", "enum": list(self.to)}


SCOPE_TYPE: Final = ChoiceFilter({word: kind.value for kind, word in KINDS.items()})


@dataclass(frozen=True)
class MultipleFilter(FilterType):
    """A list: the parameter repeated, a list with commas in it, or both.

    A list of nothing but commas names nobody, so nothing is found.

    Args:
        of: the words there are; None: any.
        commas: whether a comma separates.
    """

    of: Collection[str] | None = None
    commas: bool = True

    def read(self, texts: Sequence[str]) -> list[str]:
        """Read the list, each name once."""
        names = [name for text in texts for name in (text.split(",") if self.commas else [text])]
        names = list(dict.fromkeys(name for name in map(str.strip, names) if name))
        if self.of is not None:
            unknown = [name for name in names if name not in self.of]
            if unknown:
                raise ValidationError(*map(no_choice, unknown[:EMPTY_VALUES]))
        return names

    def schema(self) -> dict[str, Any]:
        """Describe an array."""
        item = {"type": "string"} if self.of is None else {"type": "string", "enum": list(self.of)}
        return {"type": "array", "items": item}


@dataclass(frozen=True)
class ChoicesFilter(FilterType):
    """A list of words that there are.

    Args:
        to: word to what it is handed on as.
    """

    to: Mapping[str, str]

    def read(self, texts: Sequence[str]) -> list[str]:
        """Read the list."""
        return [self.to[name] for name in MultipleFilter(self.to).read(texts)]

    def schema(self) -> dict[str, Any]:
        """Describe an array of words."""
        return MultipleFilter(self.to).schema()


class Uuids(MultipleFilter):
    """A list of UUIDs."""

    def read(self, texts: Sequence[str]) -> list[str]:
        """Read the list."""
        return [Uuid().read([name]) for name in super().read(texts)]

    def schema(self) -> dict[str, Any]:
        """Describe an array of UUIDs."""
        return {"type": "array", "items": Uuid().schema()}


def no_choice(name: str) -> str:
    """Say that a word is none of those that there are."""
    return f"Select a valid choice. {name[:100]} is not one of the available choices."


def ordering(context: RequestContext) -> list[str]:
    """Return the names that the parameter ``o`` gives: repeated, comma-separated, or both."""
    return [
        name
        for text in context.query.get("o", ())
        for name in map(str.strip, text.split(","))
        if name
    ]


def bad_orders(context: RequestContext, orders: Collection[str]) -> list[str]:
    """Return what is wrong with the parameter ``o`` of a list with these orders."""
    names = (name for name in ordering(context) if name.removeprefix("-") not in orders)
    return [no_choice(name) for name in list(dict.fromkeys(names))[:EMPTY_VALUES]]


def read(
    context: RequestContext, table: Mapping[str, FilterType], orders: Collection[str] | None = None
) -> dict[str, Any]:
    """Read the query by a table of kinds; unknown names and empty values are passed over.

    Args:
        orders: the orders of the list that is filtered, so that a bad one is reported with
            everything else; None: nothing is ordered.

    Refuses: ``Malformed`` with the errors of all parameters.
    """
    values: dict[str, Any] = {}
    errors: dict[str, list[str]] = {}
    asked = context.query
    for name, kind in table.items():
        if name not in asked:
            continue
        texts = [text for text in map(str.strip, asked[name]) if text]
        if not texts:
            continue
        try:
            value = kind.read([_storable(text) for text in texts])
        except ValidationError as wrong:
            errors[name] = wrong.texts
            continue
        if value is not None:
            values[name] = value
    if orders is not None and (wrong_orders := bad_orders(context, orders)):
        errors["o"] = wrong_orders
    if errors:
        raise BadRequestError(400, errors)
    return values


def _storable(text: str) -> str:
    """Give the text back, unless no database could hold it."""
    wrong = unstorable(text)
    if wrong:
        raise ValidationError(*wrong)
    return text
