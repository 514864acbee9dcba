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
_DIGITS_MAX: Final = 15
_VALUES_MAX: Final = 1000
_VALUE_MAX: Final = 2000
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
        if not (text.removeprefix("-").isdigit() and text.isascii() and len(text) <= _DIGITS_MAX):
            raise ValidationError("Enter a number.")
        return int(text)

    def schema(self) -> dict[str, Any]:
        """Return the schema of an integer."""
        return {"type": "integer"}


class TextFilter(FilterType):
    """A text."""

    def read(self, text: str) -> str:
        """Return a text that the database can store."""
        if len(text) > _VALUE_MAX:
            raise ValidationError(f"Use at most {_VALUE_MAX} characters.")
        check_storable(text)
        return text

    def schema(self) -> dict[str, Any]:
        """Return the schema of a string."""
        return {"type": "string"}


class UuidFilter(FilterType):
    """A UUID in any spelling."""

    def read(self, text: str) -> str:
        """Return the 32 hex digits of the UUID."""
        uuid = hex_uuid(text)
        if uuid is None:
            raise ValidationError("Enter a valid UUID.")
        return uuid

    def schema(self) -> dict[str, Any]:
        """Return the schema of a UUID."""
        return {"type": "string", "format": "uuid"}


class BooleanFilter(FilterType):
    """A boolean; clients spell it as in Python or as in JSON."""

    def read(self, text: str) -> bool:
        """Return the boolean."""
        value = _BOOLEANS.get(text.lower())
        if value is None:
            raise ValidationError("Enter true or false.")
        return value

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

    def describe_parameters(self) -> dict[str, FilterType]:
        """Return the query parameters, for the OpenAPI document."""
        filters: dict[str, FilterType] = {
            f"filter{{{name}}}": kind for name, kind in self.fields.items()
        }
        return filters | {
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


def load_page(
    context: RequestContext, tx: ReadTransaction, actor: Actor, table: Table
) -> ListResult:
    """Return the page of a list that a request asks for.

    Raises:
        BadRequestError: with the errors of all parameters.
    """
    errors: dict[str, list[str]] = {}
    filters = _read_filters(context, table, errors)
    order = _read_order(context, table, errors)
    embedded = _read_embedded(context, table, errors)
    limit, offset = _read_window(context, errors)
    if errors:
        raise BadRequestError(errors)
    rows = table.listing.page(tx, actor, filters, order, limit, offset)
    count = table.listing.total(tx, actor, filters, rows, limit, offset)
    return ListResult(
        rows,
        embedded,
        Meta(offset // limit + 1, limit, count, max(1, -(-count // limit))),
        count,
        _page_url(context, limit, offset + limit) if offset + limit < count else None,
        _page_url(context, limit, max(0, offset - limit)) if offset else None,
    )


def _read_filters(
    context: RequestContext, table: Table, errors: dict[str, list[str]]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, texts in context.query.items():
        if not name.startswith("filter{"):
            continue
        try:
            lookup, kind, many = _resolve(name, table)
            values[lookup] = _read_value(kind, texts, many=many, repeated=lookup in values)
        except ValidationError as error:
            errors[name[:100]] = error.messages
    return values


def _read_value(kind: FilterType, texts: Sequence[str], *, many: bool, repeated: bool) -> Any:
    if repeated:
        raise ValidationError("Another parameter already has this condition.")
    if many and len(texts) <= _VALUES_MAX:
        return read_all(kind.read, texts)
    if len(texts) > 1:
        raise ValidationError("Use one value. For several values, use the operator in.")
    return kind.read(texts[0])


def _resolve(name: str, table: Table) -> tuple[str, FilterType, bool]:
    """Return a filter's name in the listing, its type, and whether it takes many values.

    Raises:
        ValidationError: if the field or its operator is unknown.
    """
    if not name.endswith("}"):
        raise ValidationError("Use filter{field} or filter{field.operator}.")
    parts = name.removeprefix("filter{").removesuffix("}").split(".")
    readings = [(parts, ""), (parts[:-1], parts[-1])]
    if len(parts) > 1 and parts[0] in table.includes and parts[1] == "id":
        # The foreign key itself holds the id of the related object.
        readings = [(parts[:1], ".".join(parts[2:]))]
    for field, operator in readings:
        kind = table.fields.get(".".join(field))
        lookup = "__".join([*field, *([operator] if operator else [])])
        is_other_field = operator and ".".join([*field, operator]) in table.fields
        if kind is None or lookup not in table.listing.filters or is_other_field or not parts[-1]:
            continue
        return lookup, BooleanFilter() if operator == "isnull" else kind, operator == "in"
    raise ValidationError("The field does not exist or does not support this operator.")


def _read_order(
    context: RequestContext, table: Table, errors: dict[str, list[str]]
) -> tuple[str, ...]:
    names = [name for name in context.query.get("sort[]", ()) if name]
    unknown = [name for name in dict.fromkeys(names) if name.removeprefix("-") not in table.orders]
    if unknown:
        errors["sort[]"] = [
            f"The field {name[:100]} cannot be used for sorting." for name in unknown[:MESSAGES_MAX]
        ]
    return tuple(dict.fromkeys(names))


def _read_embedded(
    context: RequestContext, table: Table, errors: dict[str, list[str]]
) -> frozenset[str]:
    names = {name.removesuffix(".*") for name in context.query.get("include[]", ()) if name}
    unknown = sorted(names - set(table.includes))
    if unknown:
        errors["include[]"] = [
            f"{name[:100]} cannot be included." for name in unknown[:MESSAGES_MAX]
        ]
    return frozenset(names)


def _read_window(context: RequestContext, errors: dict[str, list[str]]) -> tuple[int, int]:
    limit = _read_number(context, "limit", 1, LIMIT_MAX, errors)
    if limit is None:
        limit = _read_number(context, "per_page", 1, LIMIT_MAX, errors) or LIMIT
    offset = _read_number(context, "offset", 0, None, errors)
    if offset is None:
        page = _read_number(context, "page", 1, None, errors) or 1
        offset = (page - 1) * limit
    return limit, offset


def _read_number(
    context: RequestContext,
    name: str,
    minimum: int,
    maximum: int | None,
    errors: dict[str, list[str]],
) -> int | None:
    texts = [text for text in context.query.get(name, ()) if text]
    if not texts:
        return None
    try:
        number = IntegerFilter().read(texts[-1])
    except ValidationError as error:
        errors[name] = error.messages
        return None
    if number < minimum or (maximum is not None and number > maximum):
        bounds = f"at least {minimum}" + (f" and at most {maximum}" if maximum is not None else "")
        errors[name] = [f"Enter a number of {bounds}."]
        return None
    return number


def _page_url(context: RequestContext, limit: int, offset: int) -> str:
    """Return the URL of another page, under the path that was called."""
    pairs = [
        pair
        for pair in parse_qsl(context.raw_query, keep_blank_values=True)
        if pair[0] not in _PAGING
    ]
    query = urlencode([*pairs, ("limit", limit), ("offset", offset)])
    return f"{context.base}{context.path}?{query}"
