"""What a list is asked for: ``filter{…}``, ``sort[]``, ``include[]``, ``limit`` and ``offset``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from collegium.api.brainstem.bodies import EMPTY_VALUES, ValidationError, check_storable, read_all
from collegium.api.brainstem.errors import BadRequestError
from collegium.api.brainstem.schemas import Meta
from collegium.api.request import hex_uuid

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from collegium.access.rules import Actor
    from collegium.api.request import RequestContext
    from collegium.db.database import ReadTransaction
    from collegium.db.statements import Row
    from collegium.lists.listing import Listing

LIMIT: Final = 20
LIMIT_MAX: Final = 100
_DIGITS: Final = 15
_MANY: Final = 1000
_LONGEST: Final = 2000
"""Nothing that is searched is longer, and SQLite compares no pattern of 50,000 bytes."""

_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}
_PAGING: Final = frozenset({"limit", "offset", "page", "per_page"})


class FilterType(ABC):
    """What the values of a field look like."""

    @abstractmethod
    def read(self, text: str) -> Any:
        """Give the value, or raise ``Wrong``."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """Describe the parameter for the published schema."""


class IntegerFilter(FilterType):
    """A whole number."""

    def read(self, text: str) -> int:
        """Read a number that a database can compare."""
        if not (text.removeprefix("-").isdigit() and text.isascii() and len(text) <= _DIGITS):
            raise ValidationError("Enter a number.")
        return int(text)

    def schema(self) -> dict[str, Any]:
        """Describe an integer."""
        return {"type": "integer"}


class TextFilter(FilterType):
    """A text."""

    def read(self, text: str) -> str:
        """Read a text that a database can hold."""
        if len(text) > _LONGEST:
            raise ValidationError(f"Give {_LONGEST} characters at most.")
        check_storable(text)
        return text

    def schema(self) -> dict[str, Any]:
        """Describe a string."""
        return {"type": "string"}


class UuidFilter(FilterType):
    """A UUID in any form."""

    def read(self, text: str) -> str:
        """Read a UUID."""
        found = hex_uuid(text)
        if found is None:
            raise ValidationError("Enter a valid UUID.")
        return found

    def schema(self) -> dict[str, Any]:
        """Describe a UUID."""
        return {"type": "string", "format": "uuid"}


class BooleanFilter(FilterType):
    """A truth value; the clients write it as Python or as JSON does."""

    def read(self, text: str) -> bool:
        """Read a truth value."""
        found = _BOOLEANS.get(text.lower())
        if found is None:
            raise ValidationError("Enter true or false.")
        return found

    def schema(self) -> dict[str, Any]:
        """Describe a truth value."""
        return {"type": "boolean"}


class Table(NamedTuple):
    """How a list can be asked.

    Args:
        listing: what is asked.
        fields: names to what their values look like; a dot leads to a field of what is named.
        orders: what can be sorted by.
        includes: what can be embedded.
    """

    listing: Listing
    fields: Mapping[str, FilterType]
    orders: Collection[str]
    includes: Collection[str] = ()

    def described(self) -> dict[str, FilterType]:
        """Give the parameters, for the published description."""
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
    """A page of rows, what to embed in them, and what to say of the page."""

    rows: list[Row]
    embedded: frozenset[str]
    meta: Meta
    count: int
    next: str | None
    previous: str | None


def find(context: RequestContext, tx: ReadTransaction, actor: Actor, table: Table) -> ListResult:
    """Give the page that a request asks for.

    Refuses: ``Malformed`` with what is wrong with every parameter.
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
        raise ValidationError("This is asked in another parameter already.")
    if many and len(texts) <= _MANY:
        return read_all(kind.read, texts)
    if len(texts) > 1:
        raise ValidationError("Give one value; for one of several use the operator in.")
    return kind.read(texts[0])


def _known(name: str, table: Table) -> tuple[str, FilterType, bool]:
    """Give what a filter is called in the listing, what its values look like, and if many."""
    if not name.endswith("}"):
        raise ValidationError("Write filter{field} or filter{field.operator}.")
    words = name.removeprefix("filter{").removesuffix("}").split(".")
    readings = [(words, ""), (words[:-1], words[-1])]
    if len(words) > 1 and words[0] in table.includes and words[1] == "id":
        # The id of a related object stands in the field itself.
        readings = [(words[:1], ".".join(words[2:]))]
    for field, operator in readings:
        kind = table.fields.get(".".join(field))
        known = "__".join([*field, *([operator] if operator else [])])
        is_other_field = operator and ".".join([*field, operator]) in table.fields
        if kind is None or known not in table.listing.filters or is_other_field or not words[-1]:
            continue
        return known, BooleanFilter() if operator == "isnull" else kind, operator == "in"
    raise ValidationError("There is no such field, or it cannot be compared in this way.")


def _order(context: RequestContext, table: Table, errors: dict[str, list[str]]) -> tuple[str, ...]:
    names = [name for name in context.query.get("sort[]", ()) if name]
    wrong = [name for name in dict.fromkeys(names) if name.removeprefix("-") not in table.orders]
    if wrong:
        errors["sort[]"] = [
            f"Nothing can be sorted by {name[:100]}." for name in wrong[:EMPTY_VALUES]
        ]
    return tuple(dict.fromkeys(names))


def _embedded(
    context: RequestContext, table: Table, errors: dict[str, list[str]]
) -> frozenset[str]:
    names = {name.removesuffix(".*") for name in context.query.get("include[]", ()) if name}
    wrong = sorted(names - set(table.includes))
    if wrong:
        errors["include[]"] = [f"{name[:100]} cannot be included." for name in wrong[:EMPTY_VALUES]]
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
    """Give the address of another page, in the spelling that was called."""
    kept = [
        pair
        for pair in parse_qsl(context.raw_query, keep_blank_values=True)
        if pair[0] not in _PAGING
    ]
    asked = urlencode([*kept, ("limit", limit), ("offset", offset)])
    return f"{context.base}{context.path}?{asked}"
