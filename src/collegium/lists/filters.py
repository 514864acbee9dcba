"""Filters of the lists of grants, invitations, invite links, join requests and scopes.

A filter that may match few rows of many first selects their ids in a subquery. Otherwise PostgreSQL
would read all rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeAlias

from sqlalchemy import (
    ColumnElement,
    Date,
    String,
    and_,
    bindparam,
    func,
    literal_column,
    not_,
    or_,
    select,
    true,
    union_all,
)

from collegium.access.queries import (
    actor_grants,
    is_active,
    organisation,
    visible_scopes,
)
from collegium.access.rules import KINDS, ScopeKind
from collegium.db.statements import UtcDateTime, any_of, contains, like_pattern
from collegium.db.tables import (
    BigInt,
    accounts,
    events,
    grants,
    invitations,
    invite_links,
    join_requests,
    organisations,
    projects,
    roles,
    scopes,
)
from collegium.join_requests.rules import State
from collegium.lists import account_search
from collegium.lists.listing import Filter
from collegium.lists.sql_hints import TRIGRAM, in_subquery, not_before, parse_uuid, trigram_match
from collegium.text.email_addresses import comparable_address

Filters: TypeAlias = Mapping[str, ColumnElement[bool] | Filter]

_scope = scopes.alias("scope")
_parent = scopes.alias("parent")
_inner_grant = grants.alias("inner_grant")
_member_grant = grants.alias("member_grant")
_role = roles.alias("other_role")


def _is(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return column == bindparam(name, type_=column.type)


def _with_role(column: ColumnElement[Any], condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a column references the one role that meets a condition."""
    return column == select(_role.c.id).where(condition).scalar_subquery()


def _in_organisation(name: str) -> ColumnElement[bool]:
    """Return the condition that ``_scope`` is an organisation, or one of its projects."""
    organisation_id = (
        select(_parent.c.id)
        .where(_is(_parent.c.uuid, name), _parent.c.kind == ScopeKind.ORGANISATION.value)
        .scalar_subquery()
    )
    return or_(_scope.c.id == organisation_id, _scope.c.parent_id == organisation_id)


def _scope_filters(column: ColumnElement[Any], *names: str) -> Filters:
    """Return filters by properties of the scope that a column references.

    Args:
        names: the filters to return.
    """

    def in_scope(condition: ColumnElement[bool]) -> ColumnElement[bool]:
        return in_subquery(column, select(_scope.c.id).where(condition))

    filters: Filters = {
        "customer_uuid": in_scope(_in_organisation("customer_uuid")),
        # The value is a pair: kind of scope, UUID.
        "scope": Filter(
            lambda value: ("", {"scope_kind": value[0], "scope": value[1]}),
            lambda _variant, _sees_all: in_scope(
                and_(_is(_scope.c.uuid, "scope"), _is(_scope.c.kind, "scope_kind"))
            ),
        ),
        "scope_description": in_scope(contains(_scope.c.description, "scope_description")),
        "scope_name": in_scope(contains(_scope.c.name, "scope_name")),
        # Most rows match. Adding 0 prevents the use of an index, after which all matches would have
        # to be sorted.
        "scope_type": (column + literal_column("0")).in_(
            select(_scope.c.id).where(_is(_scope.c.kind, "scope_type"))
        ),
        "scope_uuid": in_scope(_is(_scope.c.uuid, "scope_uuid")),
    }
    return {name: filters[name] for name in names}


def _holder_meets(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that the holder of a grant meets a condition."""
    return in_subquery(grants.c.account_id, select(accounts.c.id).where(condition))


def _in_one_scope() -> ColumnElement[bool]:
    """Return the condition that a grant is in the scope ``scope``, as a subquery that runs first.

    Otherwise PostgreSQL would go through all grants in the order of the page.
    """
    scope = bindparam("scope", type_=BigInt)
    return in_subquery(
        grants.c.id,
        select(_inner_grant.c.id).where(
            _inner_grant.c.scope_id == scope, _inner_grant.c.ended_at.is_(None)
        ),
    )


def _grant_filter(
    account_filter: Filter, *, hides_staff: bool = False, in_one_scope: bool = False
) -> Filter:
    """Turn a filter of accounts into a filter of their grants.

    Args:
        hides_staff: the filter examines a field that the list does not show, and that only actors
            who see all may see of staff. For others it finds no staff except themselves.
        in_one_scope: the list is that of one scope. Only its few members are compared.
    """

    def where(variant: str, sees_all: bool) -> ColumnElement[bool]:
        condition = account_filter.predicate(variant, sees_all)
        if hides_staff and not sees_all:
            condition = and_(condition, or_(account_search.is_actor, not_(accounts.c.is_staff)))
        return and_(condition, _in_one_scope()) if in_one_scope else _holder_meets(condition)

    return Filter(account_filter.read, where)


def _account_filters(*, in_one_scope: bool) -> Filters:
    return {
        "full_name": _grant_filter(account_search.FULL_NAME, in_one_scope=in_one_scope),
        "native_name": _grant_filter(
            account_search.part_of("native_name"), hides_staff=True, in_one_scope=in_one_scope
        ),
        "user": _holder_meets(_is(accounts.c.uuid, "user")),
        "user_slug": _grant_filter(
            account_search.part_of("slug", name="user_slug"),
            hides_staff=True,
            in_one_scope=in_one_scope,
        ),
        "user_url": _holder_meets(_is(accounts.c.uuid, "user_url")),
        "username": _holder_meets(_is(accounts.c.username, "username")),
    }


def _grants_changed() -> ColumnElement[bool]:
    """Return the condition that a grant began, or its end was changed, at or after ``modified``."""
    modified = bindparam("modified", type_=UtcDateTime)
    is_open = _inner_grant.c.ended_at.is_(None)
    # Events identify a grant by its account and scope.
    is_same_grant = and_(
        events.c.account_id == _inner_grant.c.account_id,
        events.c.scope_id == _inner_grant.c.scope_id,
    )
    return grants.c.id.in_(
        union_all(
            select(_inner_grant.c.id).where(_inner_grant.c.valid_from >= modified, is_open),
            select(_inner_grant.c.id)
            .join(events, is_same_grant)
            .where(events.c.kind == "role.updated", events.c.created_at >= modified, is_open),
        )
    )


GRANTS: Final[Filters] = {
    **_account_filters(in_one_scope=False),
    **_scope_filters(grants.c.scope_id, "customer_uuid", "scope_name", "scope_type", "scope_uuid"),
    "created": not_before("created", grants.c.valid_from),
    "expiration_time": and_(
        grants.c.valid_until.is_not(None), not_before("expiration_time", grants.c.valid_until)
    ),
    "modified": _grants_changed(),
    "role_name": in_subquery(
        grants.c.role_id, select(_role.c.id).where(contains(_role.c.name, "role_name"))
    ),
    "role_uuid": _with_role(grants.c.role_id, _is(_role.c.uuid, "role_uuid")),
}


def _parse_roles(value: list[str]) -> tuple[str, dict[str, Any]]:
    uuids = [uuid for uuid in map(parse_uuid, value) if uuid is not None]
    return "", {"role": value, "role_uuids": uuids}


TEAM: Final[Filters] = {
    **_account_filters(in_one_scope=True),
    # The value is a list of names and UUIDs of roles.
    "role": Filter(
        _parse_roles,
        lambda _variant, _sees_all: in_subquery(
            grants.c.role_id,
            select(_role.c.id).where(
                or_(any_of(_role.c.name, "role"), any_of(_role.c.uuid, "role_uuids"))
            ),
        ),
    ),
    "scope": _is(grants.c.scope_id, "scope"),
    "search_string": _grant_filter(
        account_search.part_of("first_name", "email", name="search_string"), in_one_scope=True
    ),
}


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


_SAME_EMAIL = Filter(
    lambda value: ("", {"email_exact": comparable_address(value)}),
    lambda _variant, _sees_all: and_(
        invitations.c.email_comparable == bindparam("email_exact", type_=String()),
        invitations.c.email_comparable != "",
    ),
)


INVITATIONS: Final[Filters] = {
    **_scope_filters(
        invitations.c.scope_id,
        "customer_uuid",
        "scope",
        "scope_description",
        "scope_name",
        "scope_type",
    ),
    "civil_number": and_(
        _is(invitations.c.civil_number, "civil_number"),
        # Repeats the condition of the partial index, so that the index can be used.
        invitations.c.civil_number != "",
    ),
    "email": Filter(_parse_email_part, _where_email_part),
    "email_exact": _SAME_EMAIL,
    "role_name": _with_role(invitations.c.role_id, _is(_role.c.name, "role_name")),
    "role_uuid": _with_role(invitations.c.role_id, _is(_role.c.uuid, "role_uuid")),
}
"""The filters of invitations except the state. It depends on the time and is filtered elsewhere."""

INVITE_LINKS: Final[Filters] = {
    **_scope_filters(invite_links.c.scope_id, "customer_uuid", "scope", "scope_type"),
    "role_name": _with_role(invite_links.c.role_id, _is(_role.c.name, "role_name")),
    "role_uuid": _with_role(invite_links.c.role_id, _is(_role.c.uuid, "role_uuid")),
}

# Pending requests are what most callers ask for, and they have their own indexes.
_STATE = Filter(
    lambda value: ("pending" if value == [State.PENDING.value] else "any", {"state": value}),
    lambda variant, _sees_all: (
        join_requests.c.state == State.PENDING.value
        if variant == "pending"
        else any_of(join_requests.c.state, "state")
    ),
)

REQUESTS: Final[Filters] = {
    **_scope_filters(join_requests.c.scope_id, "customer_uuid", "scope"),
    "created_by": join_requests.c.account_id
    == select(accounts.c.id).where(_is(accounts.c.uuid, "created_by")).scalar_subquery(),
    "invitation": join_requests.c.invite_link_id
    == select(invite_links.c.id).where(_is(invite_links.c.uuid, "invitation")).scalar_subquery(),
    "state": _STATE,
}


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
            conditions.append(_is(scopes.c.uuid, "query_uuid"))
        return or_(*conditions)

    return Filter(parse, where)


def _actor_has_role(*names: str) -> Callable[[ColumnElement[Any]], ColumnElement[bool]]:
    """Return the condition that the actor has one of the roles in a scope."""
    scope_ids = (
        select(grants.c.scope_id)
        .join(roles, roles.c.id == grants.c.role_id)
        .where(actor_grants(), or_(*(roles.c.name == name for name in names)))
    )
    return lambda column: in_subquery(column, scope_ids)


as_owner = _actor_has_role(*sorted(KINDS[ScopeKind.ORGANISATION].owner_roles))
"""Returns the condition that the actor owns the organisation that a column references."""


def _has_member(_variant: str, sees_all: bool) -> ColumnElement[bool]:
    """Return the condition that an organisation, or one of its projects, has a person as a member.

    Actors who do not see all learn nothing about scopes that they cannot see.
    """
    scope_ids = (
        select(func.coalesce(_scope.c.parent_id, _scope.c.id))
        .select_from(_member_grant)
        .join(accounts, accounts.c.id == _member_grant.c.account_id)
        .join(_scope, _scope.c.id == _member_grant.c.scope_id)
        .where(
            _is(accounts.c.uuid, "user_uuid"),
            is_active(_member_grant),
            _scope.c.deleted_at.is_(None),
            true()
            if sees_all
            # Like lists of members, which show only active accounts.
            else and_(accounts.c.is_active, _member_grant.c.scope_id.in_(visible_scopes())),
        )
    )
    return in_subquery(scopes.c.id, scope_ids)


def _contains_filters(columns: Mapping[str, ColumnElement[Any]]) -> dict[str, ColumnElement[bool]]:
    return {name: contains(column, name) for name, column in columns.items()}


_organisation = organisations.c

HAS_MEMBER: Final = Filter(lambda value: ("", {"user_uuid": value}), _has_member)


def _projects_changed() -> ColumnElement[bool]:
    """Return the condition that a project was created, changed or deleted since ``modified``."""
    modified = bindparam("modified", type_=UtcDateTime)
    changed_ids = select(events.c.scope_id).where(
        or_(events.c.kind == "project.updated", events.c.kind == "project.deleted"),
        events.c.created_at >= modified,
    )
    return or_(scopes.c.created_at >= modified, scopes.c.id.in_(changed_ids))


PROJECTS: Final[Filters] = {
    **_contains_filters(
        {
            "customer_abbreviation": _organisation.abbreviation,
            "customer_name": organisation.c.name,
            "customer_native_name": _organisation.native_name,
            "description": scopes.c.description,
            "name": scopes.c.name,
        }
    ),
    "backend_id": _is(projects.c.backend_id, "backend_id"),
    "can_admin": _actor_has_role("PROJECT.ADMIN")(scopes.c.id),
    "can_manage": or_(
        _actor_has_role("PROJECT.MANAGER")(scopes.c.id), as_owner(scopes.c.parent_id)
    ),
    "conceal_finished_projects": or_(
        projects.c.end_date.is_(None),
        projects.c.end_date >= func.date(bindparam("now", type_=UtcDateTime), type_=Date()),
    ),
    "created": scopes.c.created_at >= bindparam("created", type_=UtcDateTime),
    "customer": any_of(organisation.c.uuid, "customer"),
    "modified": _projects_changed(),
    "name_exact": _is(scopes.c.name, "name_exact"),
    "query": text_filter((scopes.c.name, scopes.c.slug), (projects.c.backend_id,)),
    "slug": _is(scopes.c.slug, "slug"),
}
