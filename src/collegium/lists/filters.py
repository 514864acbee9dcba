"""Filters that lists in both the APIs and the pages have: texts, people, addresses.

A filter that may match few rows of many first selects their ids in a subquery. Otherwise PostgreSQL
would read all rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import ColumnElement, String, and_, bindparam, or_, select

from collegium.db.statements import contains, like_pattern
from collegium.db.tables import (
    BigInt,
    account_texts,
    accounts,
    grants,
    invitations,
    scopes,
)
from collegium.lists import account_search
from collegium.lists.listing import Filter
from collegium.lists.sql_hints import TRIGRAM, in_subquery, parse_uuid, trigram_match

_inner_grant = grants.alias("inner_grant")


def is_equal(name: str, column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a column equals the parameter of a filter."""
    return column == bindparam(name, type_=column.type)


def holder_meets(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that the holder of a grant meets a condition."""
    return in_subquery(grants.c.account_id, select(accounts.c.id).where(condition))


def _in_one_scope(condition: ColumnElement[bool] | None) -> ColumnElement[bool]:
    """Return the condition that a grant is in the scope ``scope``, as a subquery that runs first.

    Otherwise PostgreSQL would go through all grants in the order of the page.

    Args:
        condition: a condition on the ``account_texts`` of the holder, or None. Their rows are
            narrow, and those of accounts are wide: only holders who meet it are read.
    """
    scope = bindparam("scope", type_=BigInt)
    ids = select(_inner_grant.c.id).where(
        _inner_grant.c.scope_id == scope, _inner_grant.c.ended_at.is_(None)
    )
    if condition is not None:
        has_text = account_texts.c.account_id == _inner_grant.c.account_id
        ids = ids.join(account_texts, has_text).where(condition)
    return in_subquery(grants.c.id, ids)


def of_holder(account_filter: Filter, *, in_one_scope: bool = False) -> Filter:
    """Turn a filter of accounts into a filter of their grants.

    Args:
        in_one_scope: the list is that of one scope. Only its few members are compared.
    """

    def where(variant: str, sees_all: bool) -> ColumnElement[bool]:
        if in_one_scope and account_filter.scan_predicate is not None:
            return _in_one_scope(account_filter.scan_predicate(variant, sees_all))
        condition = account_filter.predicate(variant, sees_all)
        return and_(condition, _in_one_scope(None)) if in_one_scope else holder_meets(condition)

    return Filter(account_filter.read, where)


def _parse_email_part(value: str) -> tuple[str, dict[str, Any]]:
    text = account_search.address_text(value)
    variant = "near" if len(text) >= TRIGRAM else "far"
    return variant, {"email": like_pattern(text), "email_near": text}


def _where_email_part(variant: str, _sees_all: bool) -> ColumnElement[bool]:
    # Both sides were lower-cased before, letter by letter.
    exact = invitations.c.email_search.like(bindparam("email", type_=String()), escape="\\")
    if variant == "far":
        return exact
    return and_(
        trigram_match(invitations.c.id, invitations.c.email_search, "invitation_search", "email"),
        exact,
    )


EMAIL: Final = Filter(_parse_email_part, _where_email_part)
"""The filter ``email`` of invitations: a part of the address."""


def text_filter(
    parts: Iterable[ColumnElement[Any]], wholes: Iterable[ColumnElement[Any]] = ()
) -> Filter:
    """Return a filter for a text or a UUID, ignoring letter case.

    Args:
        parts: columns in which a part may match.
        wholes: columns that must match as a whole.
    """

    def parse(value: str) -> tuple[str, dict[str, Any]]:
        uuid = parse_uuid(value)
        binds = {
            "query": like_pattern(value),
            "query_whole": like_pattern(value)[1:-1],
            "query_uuid": uuid,
        }
        return ("text" if uuid is None else "uuid"), binds

    def where(variant: str, _sees_all: bool) -> ColumnElement[bool]:
        conditions = [
            *(contains(column, "query") for column in parts),
            *(contains(column, "query_whole") for column in wholes),
        ]
        if variant == "uuid":
            conditions.append(is_equal("query_uuid", scopes.c.uuid))
        return or_(*conditions)

    return Filter(parse, where)
