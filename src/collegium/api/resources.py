"""One declaration for each kind of object that an API shows.

A ``Resource`` is a msgspec struct. Its annotations are the names, the order and the types of the
JSON. The value of a field says where it comes from and what clients may do with it:

    class Team(Resource, frozen=True, gc=False):
        url: str = link("/api/teams/{}/", "uuid")
        name: str = field(write=Name(max=50), filter=CONTAINS, order=teams.c.name_sort)
        created: datetime = field("created_at", order=True)

From this follow the selected columns, the function that fills responses, the fields of bodies, the
query parameters and their conditions, the sort orders, and the OpenAPI document.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import KW_ONLY, dataclass, replace
from enum import Enum
from typing import Any, ClassVar, Final, TypeVar, dataclass_transform

from msgspec import UNSET, Struct, StructMeta
from sqlalchemy import ColumnElement, Label

from collegium.api.request import RequestContext
from collegium.db.database import ReadTransaction
from collegium.lists.listing import Condition, Listing, Order, restricted

_T = TypeVar("_T")


@dataclass(frozen=True)
class Private:
    """A rule for fields that only some see, and that only they search for and sort by.

    Args:
        shown: a Python expression with ``context``, ``sees_all``, ``actor`` (an id) and ``row``.
        others: the condition that restricts a filter for actors who do not see all; None: it finds
            nothing.
        hidden: a Python expression for the value that is not shown.
    """

    shown: str
    others: ColumnElement[bool] | None = None
    hidden: str = "UNSET"


@dataclass(frozen=True)
class Lookup:
    """A way to filter: how the parameter is read, and what it then means.

    Args:
        kind: the type of the query parameter.
        condition: returns the condition for the name of the filter, which is also the name of the
            bound parameter, and the column.
        column: the column; by default that of the field which has the lookup.
        private: who may filter; by default those who see the field.
    """

    kind: Any
    condition: Callable[[str, Any], Condition]
    column: ColumnElement[Any] | None = None
    private: Private | None = None

    def on(self, column: ColumnElement[Any]) -> Lookup:
        """Return the same lookup for another column."""
        return replace(self, column=column)

    def only(self, private: Private) -> Lookup:
        """Return the same lookup for a value that only some may see."""
        return replace(self, private=private)


class Source(Enum):
    """What the function of a field may get besides columns; the value is its Python expression."""

    CONTEXT = "context"
    NOW = "tx.now"


@dataclass(frozen=True, eq=False)
class Related:
    """Values that are loaded for all rows of a page at once.

    Args:
        load: returns the values by the id of the row.
        default: the value of a row that has none.
        is_default_made: whether ``default`` is a function that returns that value for a request.
        columns: the columns that ``load`` reads, besides the id.
    """

    load: Callable[[RequestContext, ReadTransaction, Sequence[Any]], Mapping[int, Any]]
    default: Any = None
    is_default_made: bool = False
    columns: tuple[str, ...] = ()

    def part(self, name: str) -> Part:
        """Return the source of fields that show one attribute of the values."""
        return Part(self, name)


@dataclass(frozen=True)
class Part:
    """An attribute of values that are loaded for all rows; see ``Related.part``."""

    related: Related
    name: str


@dataclass(frozen=True)
class Given:
    """A value that the caller of ``Resource.fill`` gives, by its name.

    Args:
        default: the value if it is not given.
    """

    name: str
    default: Any


@dataclass(frozen=True)
class Constant:
    """The same value for every row."""

    value: Any


@dataclass(frozen=True)
class Field:
    """The declaration of one field.

    Args:
        sources: names of columns (by default the name of the field), or a ``Source``, ``Related``,
            ``Given`` or ``Constant``. They are the arguments of ``get``.
        get: returns the value; without it the value is the only source.
        template: a URL without its base, with ``{}`` for the only source.
        missing: the value if the source of the template is null or empty.
        write: the type of the field in bodies.
        on_create: whether only the body that creates an object has the field.
        filter: the filter with the name of the field, or several filters by name.
        order: whether the list can be sorted by the column, or what to sort by instead.
        private: who sees the field, and may filter and sort by it.
        default: the value in the schema if the field may be left out.
    """

    sources: tuple[Any, ...] = ()
    _: KW_ONLY
    get: Callable[..., Any] | None = None
    template: str = ""
    missing: Any = None
    write: Any = None
    on_create: bool = False
    filter: Lookup | Mapping[str, Lookup] | None = None
    order: bool | ColumnElement[Any] | Order = False
    private: Private | None = None
    default: Any = ...

    @property
    def column(self) -> str:
        """The name of the first column; empty if the value does not come from one."""
        return self.sources[0] if isinstance(self.sources[0], str) else ""

    def lookups(self, name: str) -> Mapping[str, Lookup]:
        """Return the filters by name."""
        if isinstance(self.filter, Lookup):
            return {name: self.filter}
        return self.filter or {}


def field(*sources: Any, **options: Any) -> Any:
    """Declare a field; see ``Field``."""
    return Field(sources, **options)


def constant(value: Any) -> Any:
    """Declare a field that has the same value in every object."""
    return Field((Constant(value),))


def link(template: str, source: str, missing: Any = None, **options: Any) -> Any:
    """Declare a field with the URL of an object; see ``Field``."""
    return Field((source,), template=template, missing=missing, **options)


_OF_RESPONSE: Final = {
    "base": "context.base",
    "actor": "context.actor.id",
    "sees_all": "context.actor.sees_all",
}
"""Names in generated expressions, with what they mean for all rows of a response."""

_NAME: Final = re.compile(r"\w+")


class _Filler:
    """The source text of the function behind ``ResourceMeta.fill``, and the names in it.

    It is generated, as that of ``db.statements`` for rows: it has one expression for each field and
    passes them by position. Keywords take twice as long. What several fields need is computed once
    for each row. For actors who see all, rows are filled without asking for each private field.
    """

    def __init__(self, resource: ResourceMeta, fields: Mapping[str, Field]) -> None:
        self.namespace: dict[str, Any] = {"new": resource, "UNSET": UNSET}
        self.given: list[Given] = []
        self.related: list[Related] = []
        self.shown: list[str] = []
        self.values, self.values_for_all = (
            [
                self._value(f"get_{name}", declared, sees_all=sees_all)
                for name, declared in fields.items()
            ]
            for sees_all in (False, True)
        )

    def _value(self, function: str, declared: Field, *, sees_all: bool) -> str:
        arguments = list(map(self._argument, declared.sources))
        value = arguments[0]
        if declared.get is not None:
            self.namespace[function] = declared.get
            value = f"{function}({', '.join(arguments)})"
        elif declared.template:
            url = declared.template.format(f"{{{value}}}")
            value = f'f"{{base}}{url}" if {value} else {declared.missing!r}'
        if declared.private is None or (sees_all and _shows_all(declared.private.shown)):
            return value
        shown = f"shown{_place(self.shown, declared.private.shown)}"
        return f"({value}) if {shown} else {declared.private.hidden}"

    def _argument(self, source: Any) -> str:
        match source:
            case str():
                return f"row.{source}"
            case Source():
                return str(source.value)
            case Constant():
                return repr(source.value)
            case Given():
                _place(self.given, source)
                return source.name
            case Related():
                return f"related{_place(self.related, source)}"
            case Part():
                return f"{self._argument(source.related)}.{source.name}"
        raise TypeError(source)

    def build(self) -> Callable[..., list[Any]]:
        parameters = ["context", "tx", "rows", "related"]
        before, in_loop = ["filled = []"], []
        for given in self.given:
            self.namespace[f"default_{given.name}"] = given.default
            parameters.append(f"{given.name}=default_{given.name}")
        for number, related in enumerate(self.related):
            self.namespace |= {f"load{number}": related.load, f"default{number}": related.default}
            default = "(context)" if related.is_default_made else ""
            before += [
                f"find{number} = (load{number}(context, tx, rows) if related else {{}}).get",
                f"missing{number} = default{number}{default}",
            ]
            in_loop.append(f"related{number} = find{number}(row.id, missing{number})")
        shown = [(f"shown{number} = {one}", one) for number, one in enumerate(self.shown)]
        for_all = [line for line, one in shown if not _shows_all(one)]
        for_all.append(f"filled.append(new({', '.join(self.values_for_all)}))")
        for_others = [line for line, _ in shown]
        for_others.append(f"filled.append(new({', '.join(self.values)}))")
        used = {name for line in (*in_loop, *for_others) for name in _NAME.findall(line)}
        lines = (
            f"def fill({', '.join(parameters)}):",
            *(f"    {name} = {value}" for name, value in _OF_RESPONSE.items() if name in used),
            *(f"    {line}" for line in before),
            *(_loop("sees_all", in_loop, for_all) if for_all != for_others else ()),
            *_loop("True", in_loop, for_others),
        )
        exec("\n".join(lines), self.namespace)  # noqa: S102 - generated from the declaration
        fill: Callable[..., list[Any]] = self.namespace["fill"]
        return fill


def _loop(condition: str, *bodies: list[str]) -> list[str]:
    """Return the source lines that fill all rows and return them, under a condition."""
    lines = [f"            {line}" for body in bodies for line in body]
    return [f"    if {condition}:", "        for row in rows:", *lines, "        return filled"]


def _shows_all(shown: str) -> bool:
    """Return whether an expression of ``Private`` is true for every actor who sees all."""
    return "sees_all" in shown.split(" or ")


def _place(found: list[_T], one: _T) -> int:
    """Return the place of an element in a list, to which it is added if it is new."""
    if one not in found:
        found.append(one)
    return found.index(one)


class ResourceMeta(StructMeta):
    """Creates the struct of a resource without the declarations, and keeps those apart."""

    fields: Mapping[str, Field]
    _fill: Callable[..., list[Any]]

    def __new__(
        mcs,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        **config: Any,
    ) -> ResourceMeta:
        fields = {k: v for k, v in namespace.items() if isinstance(v, Field)}
        struct_namespace = {k: v for k, v in namespace.items() if k not in fields}
        for key, declared in fields.items():
            if not declared.sources:
                fields[key] = replace(declared, sources=(key,))
            if declared.default is not ...:
                struct_namespace[key] = declared.default
            elif declared.private is not None and declared.private.hidden == "UNSET":
                struct_namespace[key] = UNSET
        cls = super().__new__(mcs, name, bases, struct_namespace, **config)
        inherited = {k: v for base in bases for k, v in getattr(base, "fields", {}).items()}
        cls.fields = {**inherited, **fields}
        cls._fill = _Filler(cls, cls.fields).build()
        return cls

    def fill(
        cls: type[_T],
        context: RequestContext,
        tx: ReadTransaction,
        rows: Sequence[Any],
        *,
        related: bool = True,
        **given: Any,
    ) -> list[_T]:
        """Return the structs of rows.

        Args:
            related: whether ``Related`` values are loaded. New objects have none.
            given: the values of the sources ``Given``.
        """
        return cls._fill(context, tx, rows, related, **given)  # type: ignore[attr-defined,no-any-return]  # its metaclass has it

    def filler(cls, **sources: Any) -> Callable[..., list[Any]]:
        """Return a function like ``fill`` that takes some fields from other sources.

        Its fourth argument is ``related``.
        """
        changed = {name: Field((source,)) for name, source in sources.items()}
        return _Filler(cls, {**cls.fields, **changed}).build()

    def body(cls, *, creates: bool = True) -> dict[str, Any]:
        """Return the fields of bodies by name. Their values have the names of the columns.

        Args:
            creates: whether the body creates an object.
        """
        return {
            name: replace(declared.write, source=declared.write.source or declared.column or name)
            for name, declared in cls.fields.items()
            if declared.write is not None and (creates or not declared.on_create)
        }


@dataclass_transform(frozen_default=True)
class Resource(Struct, metaclass=ResourceMeta, frozen=True, gc=False):
    """A kind of object in an API."""

    sparse: ClassVar[bool] = False
    """Whether the parameter ``field`` selects fields."""

    write_only: ClassVar[frozenset[str]] = frozenset()
    """Fields of bodies that the parameter ``field`` may name too."""


def _columns(resource: ResourceMeta) -> list[str]:
    """Return the names of the columns that the fields read."""
    names = []
    for declared in resource.fields.values():
        for source in declared.sources:
            if isinstance(source, Part):
                source = source.related  # noqa: PLW2901
            if isinstance(source, str):
                names.append(source)
            elif isinstance(source, Related):
                names += ["id", *source.columns]
    return list(dict.fromkeys(names))


class ResourceList:
    """A list of resources: rows and visibility from a noun, names of filters and orders from here.

    Args:
        resource: the class of the objects.
        base: the list of the noun; its filters stay available to our own code.
        filters: filters by name that belong to no field.
        orders: what to sort by, by name, for orders that belong to no field.
        default: the order if none is requested; by default that of ``base``.
    """

    def __init__(
        self,
        resource: Any,
        base: Listing[Any],
        *,
        filters: Mapping[str, Lookup] | None = None,
        orders: Mapping[str, Order] | None = None,
        default: str | None = None,
    ) -> None:
        self.resource = resource
        columns = {column.key: column for column in base.rows.selected_columns}
        self.parameters: dict[str, Any] = {}
        conditions: dict[str, Condition] = {}
        privileged = set()
        all_orders: dict[str, Order] = {}
        for name, declared in resource.fields.items():
            column = _element(columns[declared.column]) if declared.column in columns else None
            for parameter, lookup in declared.lookups(name).items():
                self.parameters[parameter] = lookup.kind
                conditions[parameter] = _condition(parameter, lookup, column, declared.private)
            if declared.order is not False:
                order = column if declared.order is True else declared.order
                all_orders[name] = order if isinstance(order, tuple) else (order,)
                if declared.private is not None:
                    privileged.add(name)
        for parameter, lookup in (filters or {}).items():
            self.parameters[parameter] = lookup.kind
            conditions[parameter] = _condition(parameter, lookup, None, None)
        self.orders = {**all_orders, **(orders or {})}
        self._filters, self._default = conditions, default
        self._privileged = privileged
        self.listing: Listing[Any] = self._derive(base)

    def _derive(self, base: Listing[Any]) -> Listing[Any]:
        columns = base.rows.selected_columns
        shown = _columns(self.resource)
        if missing := [name for name in shown if name not in columns]:
            raise TypeError(f"the rows of {self.resource.__name__} lack {', '.join(missing)}")
        if "id" in columns:
            shown = ["id", *shown]
        return replace(
            base,
            rows=base.rows.with_only_columns(*(columns[name] for name in dict.fromkeys(shown))),
            filters={**base.filters, **self._filters},
            orders={**base.orders, **self.orders},
            default=self._default or base.default,
            privileged={*base.privileged, *self._privileged},
        )

    def of(self, base: Listing[Any]) -> ResourceList:
        """Return the same list over other rows of the noun."""
        other = copy(self)
        other.listing = self._derive(base)
        return other


def _element(column: ColumnElement[Any]) -> ColumnElement[Any]:
    return column.element if isinstance(column, Label) else column


def _condition(
    name: str, lookup: Lookup, column: ColumnElement[Any] | None, private: Private | None
) -> Condition:
    condition = lookup.condition(name, column if lookup.column is None else lookup.column)
    rule = lookup.private or private
    return condition if rule is None else restricted(name, condition, rule.others)
