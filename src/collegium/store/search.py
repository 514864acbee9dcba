"""Finding people by what is known of them, at a million accounts.

One folded text an account holds everything that is looked for by a part of it.
Both databases index the trigrams of that text themselves (PostgreSQL by a function of ours, so
that no extension is needed; SQLite by its full-text index), and that index narrows a
search before anything is compared. A search of less than three letters has no trigram and
compares the texts.

What an actor may not see of others is not searched either: a filter would tell it letter by letter.
"""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    ARRAY,
    Text,
    and_,
    bindparam,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.expression import FunctionElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from collegium.rules.access import Kind
from collegium.store.access import live, visible_scopes
from collegium.store.db import Key, Time, any_of
from collegium.store.listing import Filter
from collegium.store.tables import Number, accounts, grants, roles, scopes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import Dialect
    from sqlalchemy.sql.compiler import SQLCompiler

TRIGRAM: Final = 3
_BEGINNING: Final = 100
_NARROWING: Final = 60
"""So many letters of what is looked for are enough to narrow a search."""

_FIELDS: Final = (
    "civil_number",
    "first_name",
    "last_name",
    "username",
    "email",
    "plain_name",
    "full_name",
    "native_name",
    "organization",
    "job_title",
    "",
)
_SIGN: Final = {name: chr(0x10 + number) for number, name in enumerate(_FIELDS)}
"""Each field begins with a sign of its own, and the text ends with the last one."""

COLUMNS: Final = frozenset(_FIELDS) - {"plain_name", "full_name", ""}
"""The columns whose change changes the text."""

_CONTROLS: Final = dict.fromkeys(range(0x20), " ")


def folded(text: str) -> str:
    """Give a text for comparing: no difference of case, nothing that could be a sign."""
    return text.translate(_CONTROLS).casefold()


def plain(text: str) -> str:
    """Give a name in the letters of ASCII: what has an accent loses it."""
    bare = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return folded(bare)


def text_of(values: Mapping[str, Any]) -> str:
    """Give the text of an account.

    Args:
        values: all of ``COLUMNS``, by name.
    """
    name = f"{values.get('first_name') or ''} {values.get('last_name') or ''}".strip()
    told = {one: folded(values.get(one) or "") for one in COLUMNS}
    told |= {"plain_name": plain(name), "full_name": folded(name), "": ""}
    if told["full_name"] == told["plain_name"]:
        told["full_name"] = ""
    return "".join(_SIGN[field] + told[field] for field in _FIELDS)


class _Trigrams(TypeDecorator[str]):
    """A text bound as what the index of the database is asked for."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Choose the parameter type of the database."""
        return dialect.type_descriptor(Text() if dialect.name == "sqlite" else ARRAY(Text()))

    def process_bind_param(self, value: str | None, dialect: Dialect) -> Any:
        """Write a phrase for the full-text index, or the trigrams themselves."""
        text = (value or "")[:_NARROWING]
        if dialect.name == "sqlite":
            return '"' + text.replace('"', '""') + '"'
        return sorted({text[at : at + TRIGRAM] for at in range(len(text) - TRIGRAM + 1)})


class _Near(FunctionElement[bool]):
    inherit_cache = True
    name = "near"


@compiles(_Near, "sqlite")
def _near_sqlite(element: _Near, compiler: SQLCompiler, **kw: Any) -> str:
    phrase = compiler.process(next(iter(element.clauses)), **kw)
    found = f"SELECT rowid FROM account_search WHERE account_search MATCH {phrase}"
    return f"accounts.id IN ({found})"


@compiles(_Near, "postgresql")
def _near_postgresql(element: _Near, compiler: SQLCompiler, **kw: Any) -> str:
    trigrams = compiler.process(next(iter(element.clauses)), **kw)
    return f"collegium_trigrams(accounts.search) @> {trigrams}"


class _Place(FunctionElement[int]):
    inherit_cache = True
    name = "place"


@compiles(_Place)
def _place(element: _Place, compiler: SQLCompiler, **kw: Any) -> str:
    name = "strpos" if compiler.dialect.name == "postgresql" else "instr"
    return f"{name}({', '.join(compiler.process(one, **kw) for one in element.clauses)})"


def _near(*names: str) -> ColumnElement[bool]:
    """Narrow to the accounts that hold all the trigrams of one of the texts."""
    return or_(*(_Near(bindparam(f"{name}_near", type_=_Trigrams())) for name in names))


def _within(name: str, first: str, last: str = "") -> ColumnElement[bool]:
    """Compare: the text stands in one of the fields from ``first`` to ``last``.

    It holds no sign, so it cannot begin in one field and end in the next.
    """

    def sign(field: str) -> ColumnElement[str]:
        return literal(_SIGN[field], Text)

    text: ColumnElement[str] = accounts.c.search
    if first != _FIELDS[0]:
        text = func.substr(text, _Place(text, sign(first)))
    after = _FIELDS[_FIELDS.index(last or first) + 1]
    return _Place(text, bindparam(name, type_=Text)).between(
        literal_column("1"), _Place(text, sign(after))
    )


def _form(kind: str, **texts: str) -> tuple[str, dict[str, Any]]:
    """Give the form of a search, and everything that it may bind."""
    near = all(len(text) >= TRIGRAM for text in texts.values())
    binds = {**texts, **{f"{name}_near": text for name, text in texts.items()}}
    return f"{kind} {'near' if near else 'far'}", binds


def _narrowed(form: str, names: tuple[str, ...], exact: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(_near(*names), exact) if form.endswith(" near") else exact


def _part_of(name: str) -> Filter:
    """Look for a part of one field."""

    def read(value: str) -> tuple[str, dict[str, Any]]:
        return _form("", **{name: folded(value)})

    def where(form: str, _sees_all: bool) -> ColumnElement[bool]:
        return _narrowed(form, (name,), _within(name, name))

    return Filter(read, where)


def _name(value: str) -> tuple[str, str]:
    """Give the field of the name to look in, and what for.

    What has no letter of ASCII would be found in every plain name: it is looked for as it is.
    """
    text = plain(value)
    return ("plain_name", text) if text.strip() else ("full_name", folded(value))


def _full_name(value: str) -> tuple[str, dict[str, Any]]:
    field, text = _name(value)
    return _form(field, full_name=text)


def _where_full_name(form: str, _sees_all: bool) -> ColumnElement[bool]:
    return _narrowed(form, ("full_name",), _within("full_name", form.split(maxsplit=1)[0]))


def _keyword(value: str) -> tuple[str, dict[str, Any]]:
    field, text = _name(value)
    return _form(field, user_keyword_name=text, user_keyword=folded(value))


def _where_keyword(form: str, _sees_all: bool) -> ColumnElement[bool]:
    return _narrowed(
        form,
        ("user_keyword_name", "user_keyword"),
        or_(
            _within("user_keyword_name", form.split(maxsplit=1)[0]),
            _within("user_keyword", "username", "email"),
        ),
    )


def _query(value: str) -> tuple[str, dict[str, Any]]:
    text = folded(value)
    match text.split():
        case [first, second, *_]:
            form, binds = _form("words", query_first=first, query_second=second)
            return form, {**binds, "query": text}
        case _:
            return _form("word", query=text)


def _where_query(form: str, sees_all: bool) -> ColumnElement[bool]:
    exact = _within("query", "civil_number" if sees_all else "first_name", "email")
    if form.startswith("word "):
        return _narrowed(form, ("query",), exact)
    # Whoever holds the whole text holds its first word.
    return _narrowed(
        form,
        ("query_first", "query_second"),
        or_(exact, _within("query_first", "first_name"), _within("query_second", "last_name")),
    )


def _by_right(
    name: str, all_see: ColumnElement[bool], others: ColumnElement[bool] | None = None
) -> Filter:
    """Look at what only some may see; ``others`` says whose it is for the rest: nobody's."""
    rest = false() if others is None else and_(all_see, others)
    return Filter(
        lambda value: ("", {name: value}), lambda _form, sees_all: all_see if sees_all else rest
    )


class _OneOf(FunctionElement[bool]):
    """``IN`` a subquery that is run first.

    PostgreSQL cannot foresee how many hold a rare role, and would rather read all accounts.
    """

    inherit_cache = True
    name = "one_of"


@compiles(_OneOf)
def _one_of(element: _OneOf, compiler: SQLCompiler, **kw: Any) -> str:
    column, subquery = (compiler.process(one, **kw) for one in element.clauses)
    is_sqlite = compiler.dialect.name == "sqlite"
    return f"{column} IN {subquery}" if is_sqlite else f"{column} = ANY(ARRAY{subquery})"


_held = grants.alias("held")
_inner = scopes.alias("inner_scope")


def _holders(
    name: str, condition: ColumnElement[bool], *joined: tuple[Any, ColumnElement[bool]]
) -> Filter:
    """Look for whoever holds a living grant; of foreign scopes an actor learns nothing."""

    def where(_form: str, sees_all: bool) -> ColumnElement[bool]:
        holders = select(_held.c.account_id).where(live(_held), condition)
        for table, on in joined:
            holders = holders.join(table, on)
        if not sees_all:
            holders = holders.where(_held.c.scope_id.in_(visible_scopes()))
        return _OneOf(accounts.c.id, holders.scalar_subquery())

    return Filter(lambda value: ("", {name: value}), where)


def _in_scope(name: str, kind: Kind) -> Filter:
    """Look for whoever belongs to a scope, or to one inside it."""
    named = and_(
        scopes.c.uuid == bindparam(name, type_=Key),
        scopes.c.kind == kind.value,
        scopes.c.removed.is_(None),
    )
    places = union_all(
        select(scopes.c.id).where(named),
        select(_inner.c.id)
        .join(scopes, scopes.c.id == _inner.c.parent_id)
        .where(named, _inner.c.removed.is_(None)),
    )
    return _holders(name, _held.c.scope_id.in_(places))


def _in_role(name: str, kind: Kind) -> Filter:
    """Look for whoever holds a role of that kind in any scope there is."""
    return _holders(
        name,
        and_(any_of(roles.c.name, name), roles.c.kind == kind.value, scopes.c.removed.is_(None)),
        (roles, roles.c.id == _held.c.role_id),
        (scopes, scopes.c.id == _held.c.scope_id),
    )


def _is(name: str) -> ColumnElement[bool]:
    column: ColumnElement[Any] = accounts.c[name]
    return column == bindparam(name, type_=column.type)


class _Rare(FunctionElement[bool]):
    """A condition that few rows meet: SQLite, which counts no values, is told so."""

    inherit_cache = True
    name = "rare"


@compiles(_Rare)
def _rare(element: _Rare, compiler: SQLCompiler, **kw: Any) -> str:
    condition = compiler.process(next(iter(element.clauses)), **kw)
    return f"likelihood({condition}, 0.001)" if compiler.dialect.name == "sqlite" else condition


def _since(name: str, column: ColumnElement[Any]) -> ColumnElement[bool]:
    return _Rare(column >= bindparam(name, type_=Time))


def _where_description(_form: str, sees_all: bool) -> ColumnElement[bool]:
    # The beginning is in an index, whose expression must be repeated to the letter.
    beginning = func.substr(
        accounts.c.description, literal_column("1"), literal_column(str(_BEGINNING))
    )
    if not sees_all:
        return false()
    # Plainly equal to a value, SQLite would put that value into the expression, and lose the index.
    whole = accounts.c.description.concat("") == bindparam("description", type_=Text)
    return and_(beginning == bindparam("description_beginning", type_=Text), whole)


FILTERS: Final[Mapping[str, ColumnElement[bool] | Filter]] = {
    "agreement_date": _since("agreement_date", accounts.c.agreed),
    "civil_number": _by_right(
        "civil_number", _is("civil_number"), accounts.c.id == bindparam("actor", type_=Number)
    ),
    "customer_uuid": _in_scope("customer_uuid", Kind.ORGANISATION),
    "date_joined": _since("date_joined", accounts.c.joined),
    "description": Filter(
        lambda value: (
            "",
            {"description": value, "description_beginning": value[:_BEGINNING]},
        ),
        _where_description,
    ),
    "email": _part_of("email"),
    "full_name": Filter(_full_name, _where_full_name),
    "is_active": _is("is_active"),
    "is_staff": _by_right("is_staff", _is("is_staff")),
    "is_support": _by_right("is_support", _is("is_support")),
    "job_title": _part_of("job_title"),
    "modified": _since("modified", accounts.c.modified),
    "native_name": _part_of("native_name"),
    "organization": _part_of("organization"),
    "organization_roles": _in_role("organization_roles", Kind.ORGANISATION),
    "phone_number": _is("phone_number"),
    "project_roles": _in_role("project_roles", Kind.PROJECT),
    "project_uuid": _in_scope("project_uuid", Kind.PROJECT),
    "query": Filter(_query, _where_query),
    "registration_method": _is("registration_method"),
    "user_keyword": Filter(_keyword, _where_keyword),
    "username": _is("username"),
    "username_list": any_of(accounts.c.username, "username_list"),
}
"""What people can be looked for by."""
