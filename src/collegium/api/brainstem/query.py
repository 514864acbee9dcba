"""List parameters: ``filter{…}``, ``sort[]``, ``include[]``, ``limit`` and ``offset``."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Generic
from urllib.parse import parse_qsl, urlencode

from sqlalchemy import ColumnElement

from collegium import values
from collegium.access.rules import Actor
from collegium.api.brainstem.errors import PARAMETERS
from collegium.api.brainstem.schemas import Meta
from collegium.api.request import BadRequestError, RequestContext
from collegium.db.database import ReadTransaction
from collegium.db.statements import R
from collegium.lists import lookups
from collegium.lists.listing import Listing
from collegium.values import MESSAGES_MAX, InvalidValueError, Kind, Problem, invalid, parse_all

LIMIT: Final = 20
LIMIT_MAX: Final = 100
_VALUES_MAX: Final = 1000
_VALUE_MAX: Final = 2000
"""Maximum length of a filter value, in characters.

No searched column is longer, and SQLite refuses patterns of 50,000 bytes.
"""

_PAGING: Final = frozenset({"limit", "offset", "page", "per_page"})


@dataclass(frozen=True, kw_only=True)
class _Text(values.Text):
    """A text as it was sent."""

    max: int | None = _VALUE_MAX
    strip: bool = False

    def schema(self) -> dict[str, Any]:
        """Return the schema of a string."""
        return {"type": "string"}


TEXT: Final = _Text()
BOOLEAN: Final = values.Boolean(few=True)
UUID: Final = values.Uuid()
INTEGER: Final = values.Integer(
    # The database can compare numbers of this length.
    min=None,
    max=None,
    pattern=re.compile("[0-9]{1,15}|-[0-9]{1,14}"),
)


@dataclass(frozen=True)
class FieldFilters:
    """The filters of a field: the type of its values together with their conditions.

    Args:
        build: returns the conditions by name, for the name of the field.
    """

    kind: Kind
    build: Callable[[str], lookups.Filters]


def integer(column: ColumnElement[Any]) -> FieldFilters:
    """Return the filters of a number."""
    return FieldFilters(INTEGER, lambda field: lookups.integers(field, column))


def key(column: ColumnElement[Any]) -> FieldFilters:
    """Return the filters of a UUID."""
    return FieldFilters(UUID, lambda field: lookups.keys(field, column))


def boolean(predicate: ColumnElement[bool]) -> FieldFilters:
    """Return the filter of a Boolean."""
    return FieldFilters(BOOLEAN, lambda field: lookups.booleans(field, predicate))


def text(column: ColumnElement[Any], comparable: ColumnElement[Any]) -> FieldFilters:
    """Return the filters of a text; see ``lists.lookups.texts``."""
    return FieldFilters(TEXT, lambda field: lookups.texts(field, column, comparable))


def name(column: ColumnElement[Any], comparable: ColumnElement[Any]) -> FieldFilters:
    """Return the filters of a name; see ``lists.lookups.names``."""
    return FieldFilters(TEXT, lambda field: lookups.names(field, column, comparable))


def address(*columns: ColumnElement[Any]) -> FieldFilters:
    """Return the filters of an e-mail address; see ``lists.lookups.addresses``."""
    return FieldFilters(TEXT, lambda field: lookups.addresses(field, *columns))


class Table(Generic[R]):
    """The parameters that a list accepts.

    Args:
        listing: the list of the noun, without filters.
        fields: filters by name of the field. A dot leads to a field of a related object.
        orders: names that the list can be sorted by.
        includes: names of related objects that can be embedded.
    """

    def __init__(
        self,
        listing: Listing[R],
        fields: Mapping[str, FieldFilters],
        *,
        orders: Collection[str],
        includes: Collection[str] = (),
    ) -> None:
        self.fields = {name: found.kind for name, found in fields.items()}
        self.orders, self.includes = orders, includes
        filters: lookups.Filters = {}
        for field, found in fields.items():
            filters |= found.build(field.replace(".", "__"))
        self.listing: Listing[R] = replace(listing, filters=filters)

    def describe_parameters(self) -> dict[str, Kind]:
        """Return the query parameters, for the OpenAPI document."""
        filters: dict[str, Kind] = {f"filter{{{name}}}": kind for name, kind in self.fields.items()}
        return filters | {
            "sort[]": TEXT,
            **({"include[]": TEXT} if self.includes else {}),
            "limit": INTEGER,
            "offset": INTEGER,
        }


@dataclass(frozen=True, slots=True)
class ListResult(Generic[R]):
    """A page of rows, the related objects to embed, and the description of the page."""

    rows: list[R]
    embedded: frozenset[str]
    meta: Meta
    count: int
    next: str | None
    previous: str | None


def load_page(
    context: RequestContext, tx: ReadTransaction, actor: Actor, table: Table[R]
) -> ListResult[R]:
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
    context: RequestContext, table: Table[Any], errors: dict[str, list[str]]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, texts in context.query.items():
        if not name.startswith("filter{"):
            continue
        try:
            lookup, kind, many = _resolve(name, table)
            values[lookup] = _read_value(kind, texts, many=many, repeated=lookup in values)
        except InvalidValueError as error:
            errors[name[:100]] = error.messages(PARAMETERS)
    return values


def _read_value(kind: Kind, texts: Sequence[str], *, many: bool, repeated: bool) -> Any:
    if repeated:
        raise invalid("repeated")
    if many and len(texts) <= _VALUES_MAX:
        return parse_all(partial(_parse, kind), texts)
    if len(texts) > 1:
        raise invalid("many")
    return _parse(kind, texts[0])


def _parse(kind: Kind, text: str) -> Any:
    if kind is not TEXT and text != text.strip():
        raise invalid(kind.code)
    return kind.parse(text)


def _resolve(name: str, table: Table) -> tuple[str, Kind, bool]:
    """Return a filter's name in the listing, its type, and whether it takes many values.

    Raises:
        InvalidValueError: if the field or its operator is unknown.
    """
    if not name.endswith("}"):
        raise invalid("braces")
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
        return lookup, BOOLEAN if operator == "isnull" else kind, operator == "in"
    raise invalid("lookup")


def _read_order(
    context: RequestContext, table: Table[Any], errors: dict[str, list[str]]
) -> tuple[str, ...]:
    names = [name for name in context.query.get("sort[]", ()) if name]
    unknown = [name for name in dict.fromkeys(names) if name.removeprefix("-") not in table.orders]
    _add_unknown(errors, "sort[]", "order", unknown)
    return tuple(dict.fromkeys(names))


def _read_embedded(
    context: RequestContext, table: Table[Any], errors: dict[str, list[str]]
) -> frozenset[str]:
    names = {name.removesuffix(".*") for name in context.query.get("include[]", ()) if name}
    unknown = sorted(names - set(table.includes))
    _add_unknown(errors, "include[]", "include", unknown)
    return frozenset(names)


def _add_unknown(
    errors: dict[str, list[str]], parameter: str, code: str, names: Sequence[str]
) -> None:
    if names:
        problems = [Problem(code, {"name": name[:100]}) for name in names[:MESSAGES_MAX]]
        errors[parameter] = InvalidValueError(*problems).messages(PARAMETERS)


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
        number: int = _parse(INTEGER, texts[-1])
        if number < minimum or (maximum is not None and number > maximum):
            upper = f" and at most {maximum}" if maximum is not None else ""
            raise invalid("bounds", bounds=f"at least {minimum}{upper}")
    except InvalidValueError as error:
        errors[name] = error.messages(PARAMETERS)
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
