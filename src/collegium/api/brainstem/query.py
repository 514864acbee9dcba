"""List parameters: ``filter{…}``, ``sort[]``, ``include[]``, ``limit`` and ``offset``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from collegium.access.rules import Actor
from collegium.api.brainstem.bodies import MESSAGES_MAX, ValidationError, check_storable, read_all
from collegium.api.brainstem.errors import BadRequestError
from collegium.api.brainstem.schemas import Meta
from collegium.api.request import RequestContext, hex_uuid
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.lists.listing import Listing

LIMIT: Final = 20
LIMIT_MAX: Final = 100
_DIGITS: Final = 15
_MANY: Final = 1000
_LONGEST: Final = 2000
"""Maximum length of a filter value, in characters.

No searched column is longer, and SQLite refuses patterns of 50,000 bytes.
"""

_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_PAGING: Final = frozenset({"limit", "offset", "page", "per_page"})


class FilterType(ABC):
    """The type of a field's values in filters."""

    @abstractmethod
    def read(self, text: str) -> Any:
        """Return the validated value.

        Raises:
            ValidationError: if the value is not valid.
        """

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Return the JSON schema of the parameter, for the OpenAPI document."""


class IntegerFilter(FilterType):
    """A whole number."""

    def read(self, text: str) -> int:
        """Return a number that the database can compare."""
        if not (text.removeprefix("-").isdigit() and text.isascii() and len(text) <= _DIGITS):
            raise ValidationError("Enter a number.")
        return int(text)

    def schema(self) -> dict[str, Any]:
        """Return the schema of an integer."""
        return {"type": "integer"}


class TextFilter(FilterType):
    """A text."""

    def read(self, text: str) -> str:
        """Return a text that the database can store."""
        if len(text) > _LONGEST:
            raise ValidationError(f"Use at most {_LONGEST} characters.")
        check_storable(text)
        return text

    def schema(self) -> dict[str, Any]:
        """Return the schema of a string."""
        return {"type": "string"}


class UuidFilter(FilterType):
    """A UUID in any spelling."""

    def read(self, text: str) -> str:
        """Return the 32 hex digits of the UUID."""
        found = hex_uuid(text)
        if found is None:
            raise ValidationError("Enter a valid UUID.")
        return found

    def schema(self) -> dict[str, Any]:
        """Return the schema of a UUID."""
        return {"type": "string", "format": "uuid"}


class BooleanFilter(FilterType):
    """A boolean; clients spell it as in Python or as in JSON."""

    def read(self, text: str) -> bool:
        """Return the boolean."""
        found = _BOOLEANS.get(text.lower())
        if found is None:
            raise ValidationError("Enter true or false.")
        return found

    def schema(self) -> dict[str, Any]:
        """Return the schema of a boolean."""
        return {"type": "boolean"}


class Table(NamedTuple):
    """The parameters that a list accepts.

    Args:
        listing: the list.
        fields: names of filters to the types of their values. A dot leads to a field of a related
            object.
        orders: names that the list can be sorted by.
        includes: names of related objects that can be embedded.
    """

    listing: Listing
    fields: Mapping[str, FilterType]
    orders: Collection[str]
    includes: Collection[str] = ()

    def described(self) -> dict[str, FilterType]:
        """Return the query parameters, for the OpenAPI document."""
        found: dict[str, FilterType] = {
            f"filter{{{name}}}": kind for name, kind in self.fields.items()
        }
        return found | {
            "sort[]": TextFilter(),
            **({"include[]": TextFilter()} if self.includes else {}),
            "limit": IntegerFilter(),
            "offset": IntegerFilter(),
        }


@dataclass(frozen=True, slots=True)
class ListResult:
    """A page of rows, the related objects to embed, and the description of the page."""

    rows: list[Row]
    embedded: frozenset[str]
    meta: Meta
    count: int
    next: str | None
    previous: str | None


def find(context: RequestContext, tx: ReadTransaction, actor: Actor, table: Table) -> ListResult:
    """Return the page of a list that a request asks for.

    Raises:
        BadRequestError: with the errors of all parameters.
    """
    errors: dict[str, list[str]] = {}
    filters = _filters(context, table, errors)
    order = _order(context, table, errors)
    embedded = _embedded(context, table, errors)
    limit, offset = _window(context, errors)
    if errors:
        raise BadRequestError(errors)
    rows = table.listing.page(tx, actor, filters, order, limit, offset)
    count = table.listing.total(tx, actor, filters, rows, limit, offset)
    return ListResult(
        rows,
        embedded,
        Meta(offset // limit + 1, limit, count, max(1, -(-count // limit))),
        count,
        _at(context, limit, offset + limit) if offset + limit < count else None,
        _at(context, limit, max(0, offset - limit)) if offset else None,
    )


def _filters(context: RequestContext, table: Table, errors: dict[str, list[str]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, texts in context.query.items():
        if not name.startswith("filter{"):
            continue
        try:
            known, kind, many = _known(name, table)
            values[known] = _value(kind, texts, many=many, again=known in values)
        except ValidationError as wrong:
            errors[name[:100]] = wrong.texts
    return values


def _value(kind: FilterType, texts: Sequence[str], *, many: bool, again: bool) -> Any:
    if again:
        raise ValidationError("Another parameter already has this condition.")
    if many and len(texts) <= _MANY:
        return read_all(kind.read, texts)
    if len(texts) > 1:
        raise ValidationError("Use one value. For several values, use the operator in.")
    return kind.read(texts[0])


def _known(name: str, table: Table) -> tuple[str, FilterType, bool]:
    """Return a filter's name in the listing, its type, and whether it takes many values.

    Raises:
        ValidationError: if the field or its operator is unknown.
    """
    if not name.endswith("}"):
        raise ValidationError("Use filter{field} or filter{field.operator}.")
    words = name.removeprefix("filter{").removesuffix("}").split(".")
    readings = [(words, ""), (words[:-1], words[-1])]
    if len(words) > 1 and words[0] in table.includes and words[1] == "id":
        # The foreign key itself holds the id of the related object.
        readings = [(words[:1], ".".join(words[2:]))]
    for field, operator in readings:
        kind = table.fields.get(".".join(field))
        known = "__".join([*field, *([operator] if operator else [])])
        is_other_field = operator and ".".join([*field, operator]) in table.fields
        if kind is None or known not in table.listing.filters or is_other_field or not words[-1]:
            continue
        return known, BooleanFilter() if operator == "isnull" else kind, operator == "in"
    raise ValidationError("The field does not exist or does not support this operator.")


def _order(context: RequestContext, table: Table, errors: dict[str, list[str]]) -> tuple[str, ...]:
    names = [name for name in context.query.get("sort[]", ()) if name]
    wrong = [name for name in dict.fromkeys(names) if name.removeprefix("-") not in table.orders]
    if wrong:
        errors["sort[]"] = [
            f"The field {name[:100]} cannot be used for sorting." for name in wrong[:MESSAGES_MAX]
        ]
    return tuple(dict.fromkeys(names))


def _embedded(
    context: RequestContext, table: Table, errors: dict[str, list[str]]
) -> frozenset[str]:
    names = {name.removesuffix(".*") for name in context.query.get("include[]", ()) if name}
    wrong = sorted(names - set(table.includes))
    if wrong:
        errors["include[]"] = [f"{name[:100]} cannot be included." for name in wrong[:MESSAGES_MAX]]
    return frozenset(names)


def _window(context: RequestContext, errors: dict[str, list[str]]) -> tuple[int, int]:
    limit = _whole(context, "limit", 1, LIMIT_MAX, errors)
    if limit is None:
        limit = _whole(context, "per_page", 1, LIMIT_MAX, errors) or LIMIT
    offset = _whole(context, "offset", 0, None, errors)
    if offset is None:
        page = _whole(context, "page", 1, None, errors) or 1
        offset = (page - 1) * limit
    return limit, offset


def _whole(
    context: RequestContext, name: str, least: int, most: int | None, errors: dict[str, list[str]]
) -> int | None:
    texts = [text for text in context.query.get(name, ()) if text]
    if not texts:
        return None
    try:
        number = IntegerFilter().read(texts[-1])
    except ValidationError as wrong:
        errors[name] = wrong.texts
        return None
    if number < least or (most is not None and number > most):
        bounds = f"at least {least}" + (f" and at most {most}" if most is not None else "")
        errors[name] = [f"Enter a number of {bounds}."]
        return None
    return number


def _at(context: RequestContext, limit: int, offset: int) -> str:
    """Return the URL of another page, under the path that was called."""
    kept = [
        pair
        for pair in parse_qsl(context.raw_query, keep_blank_values=True)
        if pair[0] not in _PAGING
    ]
    asked = urlencode([*kept, ("limit", limit), ("offset", offset)])
    return f"{context.base}{context.path}?{asked}"
