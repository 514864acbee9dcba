"""Search for accounts by name, address and other fields, with up to a million accounts.

``accounts.search`` has all fields that can be searched by substring, case-folded, in one text. A
trigram index on it narrows a search before rows are compared. The index does not help for texts of
less than three letters and for searches with many matches. Such a search reads ``account_texts``,
which has the same fields as columns and nothing else, so that scanning the whole table is fast.

A filter ignores fields of other people that the actor may not see. Otherwise the filter would
reveal the value letter by letter.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Text,
    and_,
    bindparam,
    false,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from collegium.access.queries import is_active, visible_scopes
from collegium.access.rules import ScopeKind
from collegium.db.statements import UuidHex, any_of
from collegium.db.tables import BigInt, account_texts, accounts, grants, roles, scopes
from collegium.lists.listing import SAMPLE, Filter, SearchTable
from collegium.lists.sql_hints import (
    TRIGRAM,
    correlated_exists,
    in_subquery,
    since,
    trigram_match,
    unlikely,
)
from collegium.text.email_addresses import lower_letters, spellings

_BEGINNING: Final = 500
"""Maximum number of letters of a description that fit into an index."""

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
    "slug",
    "",
)
_SIGN: Final = {name: chr(0x10 + number) for number, name in enumerate(_FIELDS)}
"""The control character before each field in ``accounts.search``. The last one ends the text."""

COLUMNS: Final = frozenset(_FIELDS) - {"plain_name", "full_name", ""}
"""The columns that the search text is made of. Changing one requires a new search text."""

_PEOPLE: Final = ("first_name", "last_name", "username", "email")
"""Fields that are also stored as one text, so that one comparison covers all of them."""

_SCANNED: Final = tuple(name for name in _FIELDS if name in account_texts.c)

TEXTS: Final = SearchTable(
    account_texts.c.account_id,
    # UUIDs are random, so the first ones in their order are a random sample.
    select(accounts.c.id).order_by(accounts.c.uuid).limit(literal_column(str(SAMPLE))),
)

_CONTROLS: Final = dict.fromkeys(range(0x20), " ")


def folded(text: str) -> str:
    """Return a text in comparable form: NFC, case-folded, control characters replaced by spaces."""
    return unicodedata.normalize("NFC", text.translate(_CONTROLS)).casefold()


def plain(text: str) -> str:
    """Return a name in ASCII letters. Accents are removed, other characters dropped."""
    bare = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return folded(bare)


def address_text(text: str) -> str:
    """Return a part of an address in comparable form, lower-cased letter by letter.

    Other folding would also match addresses of other people.
    """
    return lower_letters(text.translate(_CONTROLS))


def addresses_of(email: str) -> str:
    """Return the text in which a search finds an address: all its spellings."""
    return " ".join(map(address_text, spellings(email)))


def _told(values: Mapping[str, Any]) -> dict[str, str]:
    name = f"{values.get('first_name') or ''} {values.get('last_name') or ''}".strip()
    told = {one: folded(values.get(one) or "") for one in COLUMNS}
    told["email"] = folded(addresses_of(values.get("email") or ""))
    told |= {"plain_name": plain(name), "full_name": folded(name), "": ""}
    if told["full_name"] == told["plain_name"]:
        told["full_name"] = ""
    return told


def text_of(values: Mapping[str, Any]) -> str:
    """Return the search text of an account.

    Args:
        values: the values of all ``COLUMNS``, by name.
    """
    told = _told(values)
    return "".join(_SIGN[field] + told[field] for field in _FIELDS)


def texts_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the row of an account in ``account_texts``, without its id.

    Args:
        values: the values of all ``COLUMNS``, by name.
    """
    told = _told(values)
    people = "\n".join(told[name] for name in _PEOPLE)
    scanned = {name: told[name] for name in _SCANNED}
    return {"people": people, **scanned, "email": addresses_of(values.get("email") or "")}


class _Place(FunctionElement[int]):
    inherit_cache = True
    name = "place"


@compiles(_Place)
def _place(element: _Place, compiler: SQLCompiler, **kw: Any) -> str:
    name = "strpos" if compiler.dialect.name == "postgresql" else "instr"
    return f"{name}({', '.join(compiler.process(one, **kw) for one in element.clauses)})"


def _near(*names: str) -> ColumnElement[bool]:
    """Return the condition that the index finds all trigrams of one of the texts in an account."""
    return trigram_match(accounts.c.id, accounts.c.search, "account_search", *names)


def _within(name: str, first: str, last: str = "") -> ColumnElement[bool]:
    """Return the condition that a text is in one of the fields from ``first`` to ``last``.

    The text contains no separator, so a match cannot start in one field and end in the next.
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


def _has(field: str, name: str) -> ColumnElement[bool]:
    """Return the condition that a text is in a column of ``account_texts``."""
    return _Place(account_texts.c[field], bindparam(name, type_=Text)) > literal_column("0")


def _estimate(form: str, *names: str) -> ColumnElement[bool] | None:
    """Return a condition that approximates the trigram index: one of the texts is in any field.

    Return None if a text is too short for the index.
    """
    fields = ["people", *(field for field in _SCANNED if field not in _PEOPLE)]
    said = or_(*(_has(field, name) for name in names for field in fields))
    return said if form.endswith(" near") else None


def _form(kind: str, **texts: str) -> tuple[str, dict[str, Any]]:
    """Return the variant of a search, and all its parameters.

    The variant ends with ``near`` if all texts are long enough for the trigram index, else ``far``.
    """
    long = all(len(text) >= TRIGRAM for text in texts.values())
    binds = {**texts, **{f"{name}_near": text for name, text in texts.items()}}
    return f"{kind} {'near' if long else 'far'}", binds


def _narrowed(form: str, names: tuple[str, ...], exact: ColumnElement[bool]) -> ColumnElement[bool]:
    return and_(_near(*names), exact) if form.endswith(" near") else exact


def part_of(first: str, last: str = "", *, name: str = "") -> Filter:
    """Return a filter for a part of a field, or of one of the fields from ``first`` to ``last``.

    Args:
        name: name of the parameter; by default the name of the field.
    """
    bound = name or first

    def read(value: str) -> tuple[str, dict[str, Any]]:
        return _form("", **{bound: folded(value)})

    def where(form: str, _sees_all: bool) -> ColumnElement[bool]:
        return _narrowed(form, (bound,), _within(bound, first, last))

    if last or first not in account_texts.c:
        return Filter(read, where)
    return Filter(
        read,
        where,
        lambda _form, _sees_all: _has(first, bound),
        lambda form: _estimate(form, bound),
    )


def _email(value: str) -> tuple[str, dict[str, Any]]:
    form, binds = _form("", email=folded(value))
    return form, {**binds, "email_letters": address_text(value)}


def _where_email(form: str, _sees_all: bool) -> ColumnElement[bool]:
    # The index equates letters that mail servers tell apart. So the rows that it finds are compared
    # once more with the exact address.
    same = select(account_texts.c.account_id).where(
        account_texts.c.account_id == accounts.c.id, _has("email", "email_letters")
    )
    return and_(_narrowed(form, ("email",), _within("email", "email")), correlated_exists(same))


EMAIL: Final = Filter(
    _email,
    _where_email,
    lambda _form, _sees_all: _has("email", "email_letters"),
    lambda form: _estimate(form, "email"),
)


def _name(value: str) -> tuple[str, str]:
    """Return the field for a search by name, and the text to look for.

    Without ASCII letters the text would be empty in ``plain_name`` and match every account. Such a
    text is looked for in ``full_name``.
    """
    text = plain(value)
    return ("plain_name", text) if text.strip() else ("full_name", folded(value))


def _full_name(value: str) -> tuple[str, dict[str, Any]]:
    field, text = _name(value)
    return _form(field, full_name=text)


def _where_full_name(form: str, _sees_all: bool) -> ColumnElement[bool]:
    return _narrowed(form, ("full_name",), _within("full_name", form.split(maxsplit=1)[0]))


FULL_NAME: Final = Filter(
    _full_name,
    _where_full_name,
    lambda form, _sees_all: _has(form.split(maxsplit=1)[0], "full_name"),
    lambda form: _estimate(form, "full_name"),
)


def _keyword(value: str) -> tuple[str, dict[str, Any]]:
    field, text = _name(value)
    form, binds = _form(field, user_keyword_name=text, user_keyword=folded(value))
    return form, {**binds, "user_keyword_letters": address_text(value)}


def _where_keyword(form: str, _sees_all: bool) -> ColumnElement[bool]:
    return _narrowed(
        form,
        ("user_keyword_name", "user_keyword"),
        or_(
            _within("user_keyword_name", form.split(maxsplit=1)[0]),
            _within("user_keyword", "username", "email"),
        ),
    )


def _scan_keyword(form: str, _sees_all: bool) -> ColumnElement[bool]:
    return or_(
        _has(form.split(maxsplit=1)[0], "user_keyword_name"),
        _has("username", "user_keyword"),
        _has("email", "user_keyword_letters"),
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
    # An account that contains the whole text also contains its first word.
    return _narrowed(
        form,
        ("query_first", "query_second"),
        or_(exact, _within("query_first", "first_name"), _within("query_second", "last_name")),
    )


def _scan_query(form: str, sees_all: bool) -> ColumnElement[bool]:
    found = [_has("people", "query")]
    if sees_all:
        found.append(_has("civil_number", "query"))
    if form.startswith("words "):
        found += [_has("first_name", "query_first"), _has("last_name", "query_second")]
    return or_(*found)


def _rough_query(form: str) -> ColumnElement[bool] | None:
    names = ("query",) if form.startswith("word ") else ("query_first", "query_second")
    return _estimate(form, *names)


def _by_right(
    name: str, all_see: ColumnElement[bool], others: ColumnElement[bool] | None = None
) -> Filter:
    """Return a filter on a field that only some actors may see.

    Args:
        all_see: the condition for actors who see all.
        others: restricts the condition for everybody else, usually to their own account. Without it
            they find nothing.
    """
    rest = false() if others is None else and_(all_see, others)
    # Few accounts have such a flag set; the planner must know this.
    few = unlikely(all_see)
    return Filter(
        lambda value: ("few" if value is True else "", {name: value}),
        lambda form, sees_all: (few if form else all_see) if sees_all else rest,
    )


_held = grants.alias("held")
_inner = scopes.alias("inner_scope")


def _holders(name: str, condition: ColumnElement[bool]) -> Filter:
    """Return a filter for accounts with an active grant that meets a condition.

    Actors who do not see all learn nothing about scopes that they cannot see.
    """

    def where(_form: str, sees_all: bool) -> ColumnElement[bool]:
        holders = select(_held.c.account_id).where(is_active(_held), condition)
        if not sees_all:
            holders = holders.where(_held.c.scope_id.in_(visible_scopes()))
        return in_subquery(accounts.c.id, holders)

    return Filter(lambda value: ("", {name: value}), where)


def _in_scope(name: str, kind: ScopeKind) -> Filter:
    """Return a filter for the members of a scope, or of a scope inside it."""
    named = and_(
        scopes.c.uuid == bindparam(name, type_=UuidHex),
        scopes.c.kind == kind.value,
        scopes.c.removed_at.is_(None),
    )
    places = union_all(
        select(scopes.c.id).where(named),
        select(_inner.c.id)
        .join(scopes, scopes.c.id == _inner.c.parent_id)
        .where(named, _inner.c.removed_at.is_(None)),
    )
    return _holders(name, _held.c.scope_id.in_(places))


def _in_role(name: str, kind: ScopeKind) -> Filter:
    """Return a filter for accounts with a role of this kind in any scope that is not deleted."""
    gone = select(scopes.c.id).where(scopes.c.removed_at.is_not(None))
    # Start from the role. There are far more scopes, so the condition excludes deleted scopes
    # instead of listing the others.
    holding = and_(
        roles.c.id == _held.c.role_id,
        any_of(roles.c.name, name),
        roles.c.kind == kind.value,
        _held.c.scope_id.not_in(gone),
    )

    def walk(key: ColumnElement[Any]) -> ColumnElement[bool]:
        mine = select(_held.c.role_id).where(is_active(_held), holding, _held.c.account_id == key)
        return correlated_exists(mine.correlate(key.table))

    return replace(_holders(name, holding), row_predicate=walk)


def _is(name: str) -> ColumnElement[bool]:
    column: ColumnElement[Any] = accounts.c[name]
    return column == bindparam(name, type_=column.type)


def beginning() -> ColumnElement[str]:
    """Return the beginning of a description as the exact expression that is indexed."""
    return func.substr(accounts.c.description, literal_column("1"), literal_column(str(_BEGINNING)))


def _where_description(_form: str, sees_all: bool) -> ColumnElement[bool]:
    if not sees_all:
        return false()
    # The concatenation prevents SQLite from inserting the bound value into the other expression,
    # which would then no longer match the index.
    whole = accounts.c.description.concat("") == bindparam("description", type_=Text)
    return and_(beginning() == bindparam("description_beginning", type_=Text), whole)


_oneself = accounts.c.id == bindparam("actor", type_=BigInt)


def without_private_fields(name: str, known: ColumnElement[bool] | Filter) -> Filter:
    """Make a filter find no staff other than the actor, unless the actor sees all.

    For lists that show staff among others, but not the field that the filter examines.
    """
    if not isinstance(known, Filter):
        predicate = known
        inner = Filter(lambda value: ("", {name: value}), lambda _form, _sees_all: predicate)
    else:
        inner = known

    def where(form: str, sees_all: bool) -> ColumnElement[bool]:
        found = inner.predicate(form, sees_all)
        return found if sees_all else and_(found, or_(_oneself, not_(accounts.c.is_staff)))

    return replace(inner, predicate=where, scan_predicate=None)


FILTERS: Final[Mapping[str, ColumnElement[bool] | Filter]] = {
    "agreement_date": since("agreement_date", accounts.c.agreed_at),
    "civil_number": _by_right("civil_number", _is("civil_number"), _oneself),
    "customer_uuid": _in_scope("customer_uuid", ScopeKind.ORGANISATION),
    "date_joined": since("date_joined", accounts.c.joined_at),
    "description": Filter(
        lambda value: (
            "",
            {"description": value, "description_beginning": value[:_BEGINNING]},
        ),
        _where_description,
    ),
    "email": EMAIL,
    "full_name": FULL_NAME,
    "is_active": _is("is_active"),
    "is_staff": _by_right("is_staff", _is("is_staff")),
    "is_support": _by_right("is_support", _is("is_support")),
    "job_title": part_of("job_title"),
    # No list shows this time to others. It would reveal when somebody changed a password.
    "modified": _by_right("modified", since("modified", accounts.c.modified_at), _oneself),
    "native_name": part_of("native_name"),
    "organization": part_of("organization"),
    "organization_roles": _in_role("organization_roles", ScopeKind.ORGANISATION),
    "phone_number": _is("phone_number"),
    "project_roles": _in_role("project_roles", ScopeKind.PROJECT),
    "project_uuid": _in_scope("project_uuid", ScopeKind.PROJECT),
    "query": Filter(_query, _where_query, _scan_query, _rough_query),
    "registration_method": _is("registration_method"),
    "user_keyword": Filter(
        _keyword,
        _where_keyword,
        _scan_keyword,
        lambda form: _estimate(form, "user_keyword_name", "user_keyword"),
    ),
    "username": _is("username"),
    "username_list": any_of(accounts.c.username, "username_list"),
}
"""The filters of lists of accounts, by name."""
