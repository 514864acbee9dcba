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
    Boolean,
    ColumnElement,
    Text,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    not_,
    or_,
    select,
    union_all,
)

from collegium.access.queries import is_active, visible_scopes
from collegium.access.rules import ScopeKind
from collegium.db.statements import Position, UuidHex, any_of
from collegium.db.tables import BigInt, account_texts, accounts, grants, roles, scopes
from collegium.lists.listing import SAMPLE, Filter, SearchTable
from collegium.lists.sql_hints import (
    TRIGRAM,
    correlated_exists,
    in_subquery,
    trigram_match,
    unlikely,
)
from collegium.text.email_addresses import lower_letters, spellings

_INDEXED_LETTERS: Final = 500
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
_SEPARATORS: Final = {name: chr(0x10 + number) for number, name in enumerate(_FIELDS)}
"""The control character before each field in ``accounts.search``. The last one ends the text."""

COLUMNS: Final = frozenset(_FIELDS) - {"plain_name", "full_name", ""}
"""The columns that the search text is made of. Changing one requires a new search text."""

_COMBINED_FIELDS: Final = ("first_name", "last_name", "username", "email")
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


def to_ascii(text: str) -> str:
    """Return a name in ASCII letters. Accents are removed, other characters dropped."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return folded(ascii_text)


def address_text(text: str) -> str:
    """Return a part of an address in comparable form, lower-cased letter by letter.

    Other folding would also match addresses of other people.
    """
    return lower_letters(text.translate(_CONTROLS))


def addresses_of(email: str) -> str:
    """Return the text in which a search finds an address: all its spellings."""
    return " ".join(map(address_text, spellings(email)))


def _searchable_fields(values: Mapping[str, Any]) -> dict[str, str]:
    name = f"{values.get('first_name') or ''} {values.get('last_name') or ''}".strip()
    fields = {column: folded(values.get(column) or "") for column in COLUMNS}
    fields["email"] = folded(addresses_of(values.get("email") or ""))
    fields |= {"plain_name": to_ascii(name), "full_name": folded(name), "": ""}
    if fields["full_name"] == fields["plain_name"]:
        fields["full_name"] = ""
    return fields


def text_of(values: Mapping[str, Any]) -> str:
    """Return the search text of an account.

    Args:
        values: the values of all ``COLUMNS``, by name.
    """
    fields = _searchable_fields(values)
    return "".join(_SEPARATORS[field] + fields[field] for field in _FIELDS)


def texts_of(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the row of an account in ``account_texts``, without its id.

    Args:
        values: the values of all ``COLUMNS``, by name.
    """
    fields = _searchable_fields(values)
    people = "\n".join(fields[name] for name in _COMBINED_FIELDS)
    scanned = {name: fields[name] for name in _SCANNED}
    return {"people": people, **scanned, "email": addresses_of(values.get("email") or "")}


def _has_trigrams(*names: str) -> ColumnElement[bool]:
    """Return the condition that the index finds all trigrams of one of the texts in an account."""
    return trigram_match(accounts.c.id, accounts.c.search, "account_search", *names)


def _within(name: str, first: str, last: str = "") -> ColumnElement[bool]:
    """Return the condition that a text is in one of the fields from ``first`` to ``last``.

    The text contains no separator, so a match cannot start in one field and end in the next.
    """

    def separator(field: str) -> ColumnElement[str]:
        return literal(_SEPARATORS[field], Text)

    text: ColumnElement[str] = accounts.c.search
    if first != _FIELDS[0]:
        text = func.substr(text, Position(text, separator(first)))
    next_field = _FIELDS[_FIELDS.index(last or first) + 1]
    return Position(text, bindparam(name, type_=Text)).between(
        literal_column("1"), Position(text, separator(next_field))
    )


def _is_in_field(field: str, name: str) -> ColumnElement[bool]:
    """Return the condition that a text is in a column of ``account_texts``."""
    return Position(account_texts.c[field], bindparam(name, type_=Text)) > literal_column("0")


def _estimate(variant: str, *names: str) -> ColumnElement[bool] | None:
    """Return a condition that approximates the trigram index: one of the texts is in any field.

    Return None if a text is too short for the index.
    """
    fields = ["people", *(field for field in _SCANNED if field not in _COMBINED_FIELDS)]
    condition = or_(*(_is_in_field(field, name) for name in names for field in fields))
    return condition if variant.endswith(" near") else None


def _classify(kind: str, **texts: str) -> tuple[str, dict[str, Any]]:
    """Return the variant of a search, and all its parameters.

    The variant ends with ``near`` if all texts are long enough for the trigram index, else ``far``.
    """
    are_long = all(len(text) >= TRIGRAM for text in texts.values())
    binds = {**texts, **{f"{name}_near": text for name, text in texts.items()}}
    return f"{kind} {'near' if are_long else 'far'}", binds


def _narrow(
    variant: str, names: tuple[str, ...], exact: ColumnElement[bool]
) -> ColumnElement[bool]:
    return and_(_has_trigrams(*names), exact) if variant.endswith(" near") else exact


def part_of(first: str, last: str = "", *, name: str = "") -> Filter:
    """Return a filter for a part of a field, or of one of the fields from ``first`` to ``last``.

    Args:
        name: name of the parameter; by default the name of the field.

    Raises:
        ValueError: the search text does not have the field.
    """
    parameter = name or first
    if unknown := {first, last} - set(_FIELDS):
        raise ValueError(f"not in the search text of accounts: {', '.join(unknown)}")

    def parse(value: str) -> tuple[str, dict[str, Any]]:
        return _classify("", **{parameter: folded(value)})

    def where(variant: str, _sees_all: bool) -> ColumnElement[bool]:
        return _narrow(variant, (parameter,), _within(parameter, first, last))

    is_combined = (first, last) == (_COMBINED_FIELDS[0], _COMBINED_FIELDS[-1])
    column = "people" if is_combined else first
    if column not in account_texts.c or (last and not is_combined):
        return Filter(parse, where)
    return Filter(
        parse,
        where,
        lambda _variant, _sees_all: _is_in_field(column, parameter),
        lambda variant: _estimate(variant, parameter),
    )


def _parse_email(value: str) -> tuple[str, dict[str, Any]]:
    variant, binds = _classify("", email=folded(value))
    return variant, {**binds, "email_letters": address_text(value)}


def _where_email(variant: str, _sees_all: bool) -> ColumnElement[bool]:
    # The index equates letters that mail servers tell apart. So the rows that it finds are compared
    # once more with the exact address.
    has_exact_address = select(account_texts.c.account_id).where(
        account_texts.c.account_id == accounts.c.id, _is_in_field("email", "email_letters")
    )
    return and_(
        _narrow(variant, ("email",), _within("email", "email")),
        correlated_exists(has_exact_address),
    )


EMAIL: Final = Filter(
    _parse_email,
    _where_email,
    lambda _variant, _sees_all: _is_in_field("email", "email_letters"),
    lambda variant: _estimate(variant, "email"),
)


def _name_field(value: str) -> tuple[str, str]:
    """Return the field for a search by name, and the text to look for.

    Without ASCII letters the text would be empty in ``plain_name`` and match every account. Such a
    text is looked for in ``full_name``.
    """
    text = to_ascii(value)
    return ("plain_name", text) if text.strip() else ("full_name", folded(value))


def _parse_full_name(value: str) -> tuple[str, dict[str, Any]]:
    field, text = _name_field(value)
    return _classify(field, full_name=text)


def _where_full_name(variant: str, _sees_all: bool) -> ColumnElement[bool]:
    return _narrow(variant, ("full_name",), _within("full_name", variant.split(maxsplit=1)[0]))


FULL_NAME: Final = Filter(
    _parse_full_name,
    _where_full_name,
    lambda variant, _sees_all: _is_in_field(variant.split(maxsplit=1)[0], "full_name"),
    lambda variant: _estimate(variant, "full_name"),
)


def _parse_keyword(value: str) -> tuple[str, dict[str, Any]]:
    field, text = _name_field(value)
    variant, binds = _classify(field, user_keyword_name=text, user_keyword=folded(value))
    return variant, {**binds, "user_keyword_letters": address_text(value)}


def _where_keyword(variant: str, _sees_all: bool) -> ColumnElement[bool]:
    return _narrow(
        variant,
        ("user_keyword_name", "user_keyword"),
        or_(
            _within("user_keyword_name", variant.split(maxsplit=1)[0]),
            _within("user_keyword", "username", "email"),
        ),
    )


def _scan_keyword(variant: str, _sees_all: bool) -> ColumnElement[bool]:
    return or_(
        _is_in_field(variant.split(maxsplit=1)[0], "user_keyword_name"),
        _is_in_field("username", "user_keyword"),
        _is_in_field("email", "user_keyword_letters"),
    )


def _parse_query(value: str) -> tuple[str, dict[str, Any]]:
    text = folded(value)
    match text.split():
        case [first, second, *_]:
            variant, binds = _classify("words", query_first=first, query_second=second)
            return variant, {**binds, "query": text}
        case _:
            return _classify("word", query=text)


def _where_query(variant: str, sees_all: bool) -> ColumnElement[bool]:
    exact = _within("query", "civil_number" if sees_all else "first_name", "email")
    if variant.startswith("word "):
        return _narrow(variant, ("query",), exact)
    # An account that contains the whole text also contains its first word.
    return _narrow(
        variant,
        ("query_first", "query_second"),
        or_(exact, _within("query_first", "first_name"), _within("query_second", "last_name")),
    )


def _scan_query(variant: str, sees_all: bool) -> ColumnElement[bool]:
    found = [_is_in_field("people", "query")]
    if sees_all:
        found.append(_is_in_field("civil_number", "query"))
    if variant.startswith("words "):
        found += [
            _is_in_field("first_name", "query_first"),
            _is_in_field("last_name", "query_second"),
        ]
    return or_(*found)


def _estimate_query(variant: str) -> ColumnElement[bool] | None:
    names = ("query",) if variant.startswith("word ") else ("query_first", "query_second")
    return _estimate(variant, *names)


def flag(name: str, column: ColumnElement[Any]) -> Filter:
    """Return a filter by a Boolean that few accounts have set."""
    condition = column == bindparam(name, type_=column.type)
    # The planner must know that few have it.
    rare = unlikely(condition)
    is_set = column == literal(True)
    return Filter(
        lambda value: ("few" if value is True else "", {name: value}),
        lambda variant, _sees_all: rare if variant else condition,
        exceptions=lambda variant: None if variant else is_set,
    )


_is_deactivated = accounts.c.is_active == literal(False)

IS_ACTIVE: Final = Filter(
    lambda value: ("active" if value else "", {"is_active": value}),
    lambda _variant, _sees_all: accounts.c.is_active == bindparam("is_active", type_=Boolean()),
    exceptions=lambda variant: _is_deactivated if variant else None,
)


_grant = grants.alias("grant")
_inner_scope = scopes.alias("inner_scope")


def _holders(name: str, condition: ColumnElement[bool]) -> Filter:
    """Return a filter for accounts with an active grant that meets a condition.

    Actors who do not see all learn nothing about scopes that they cannot see.
    """

    def where(_variant: str, sees_all: bool) -> ColumnElement[bool]:
        holders = select(_grant.c.account_id).where(is_active(_grant), condition)
        if not sees_all:
            holders = holders.where(_grant.c.scope_id.in_(visible_scopes()))
        return in_subquery(accounts.c.id, holders)

    return Filter(lambda value: ("", {name: value}), where)


def in_scope(name: str, kind: ScopeKind) -> Filter:
    """Return a filter for the members of a scope, or of a scope inside it."""
    is_named = and_(
        scopes.c.uuid == bindparam(name, type_=UuidHex),
        scopes.c.kind == kind.value,
        scopes.c.deleted_at.is_(None),
    )
    scope_ids = union_all(
        select(scopes.c.id).where(is_named),
        select(_inner_scope.c.id)
        .join(scopes, scopes.c.id == _inner_scope.c.parent_id)
        .where(is_named, _inner_scope.c.deleted_at.is_(None)),
    )
    return _holders(name, _grant.c.scope_id.in_(scope_ids))


def in_role(name: str, kind: ScopeKind) -> Filter:
    """Return a filter for accounts with a role of this kind in any scope that is not deleted."""
    deleted_scopes = select(scopes.c.id).where(scopes.c.deleted_at.is_not(None))
    # Start from the role. There are far more scopes, so the condition excludes deleted scopes
    # instead of listing the others.
    has_role = and_(
        roles.c.id == _grant.c.role_id,
        any_of(roles.c.name, name),
        roles.c.kind == kind.value,
        _grant.c.scope_id.not_in(deleted_scopes),
    )

    def row_matches(key: ColumnElement[Any]) -> ColumnElement[bool]:
        account_roles = select(_grant.c.role_id).where(
            is_active(_grant), has_role, _grant.c.account_id == key
        )
        return correlated_exists(account_roles.correlate(key.table))

    return replace(_holders(name, has_role), row_predicate=row_matches)


def indexed_description() -> ColumnElement[str]:
    """Return the beginning of a description as the exact expression that is indexed."""
    return func.substr(
        accounts.c.description, literal_column("1"), literal_column(str(_INDEXED_LETTERS))
    )


def _where_description(_variant: str, _sees_all: bool) -> ColumnElement[bool]:
    # The concatenation prevents SQLite from inserting the bound value into the other expression,
    # which would then no longer match the index.
    whole = accounts.c.description.concat("") == bindparam("description", type_=Text)
    return and_(indexed_description() == bindparam("description_beginning", type_=Text), whole)


DESCRIPTION: Final = Filter(
    lambda value: ("", {"description": value, "description_beginning": value[:_INDEXED_LETTERS]}),
    _where_description,
)
KEYWORD: Final = Filter(
    _parse_keyword,
    _where_keyword,
    _scan_keyword,
    lambda variant: _estimate(variant, "user_keyword_name", "user_keyword"),
)
QUERY: Final = Filter(_parse_query, _where_query, _scan_query, _estimate_query)

is_actor = accounts.c.id == bindparam("actor", type_=BigInt)
shown_to_members = or_(is_actor, not_(accounts.c.is_staff))
"""The accounts whose private fields members of the same scope may see: not those of staff."""
