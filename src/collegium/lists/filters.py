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
    scopes_with_permission,
    visible_scopes,
)
from collegium.access.rules import OWNER_ROLES, Permission, ScopeKind
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
from collegium.lists.sql_hints import TRIGRAM, in_subquery, key_of, since, trigram_match
from collegium.text.email_addresses import comparable_address

Filters: TypeAlias = Mapping[str, ColumnElement[bool] | Filter]

_oneself = accounts.c.id == bindparam("actor", type_=BigInt)
_place = scopes.alias("place")
_above = scopes.alias("above")
_again = grants.alias("again")
_held = grants.alias("held")
_role = roles.alias("other_role")


def _is(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return column == bindparam(name, type_=column.type)


def _with_role(column: ColumnElement[Any], condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that a column references the one role that meets a condition."""
    return column == select(_role.c.id).where(condition).scalar_subquery()


def _in_organisation(name: str) -> ColumnElement[bool]:
    """Return the condition that ``_place`` is an organisation, or one of its projects."""
    named = (
        select(_above.c.id)
        .where(_is(_above.c.uuid, name), _above.c.kind == ScopeKind.ORGANISATION.value)
        .scalar_subquery()
    )
    return or_(_place.c.id == named, _place.c.parent_id == named)


def _placed(column: ColumnElement[Any], *names: str) -> Filters:
    """Return filters by properties of the scope that a column references.

    Args:
        names: the filters to return.
    """

    def at(condition: ColumnElement[bool]) -> ColumnElement[bool]:
        return in_subquery(column, select(_place.c.id).where(condition))

    every: Filters = {
        "customer_uuid": at(_in_organisation("customer_uuid")),
        # The value is a pair: kind of scope, UUID.
        "scope": Filter(
            lambda value: ("", {"scope_kind": value[0], "scope": value[1]}),
            lambda _form, _sees_all: at(
                and_(_is(_place.c.uuid, "scope"), _is(_place.c.kind, "scope_kind"))
            ),
        ),
        "scope_description": at(contains(_place.c.description, "scope_description")),
        "scope_name": at(contains(_place.c.name, "scope_name")),
        # Most rows match. Adding 0 prevents the use of an index, after which all matches would have
        # to be sorted.
        "scope_type": (column + literal_column("0")).in_(
            select(_place.c.id).where(_is(_place.c.kind, "scope_type"))
        ),
        "scope_uuid": at(_is(_place.c.uuid, "scope_uuid")),
    }
    return {name: every[name] for name in names}


def _holder(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return the condition that the holder of a grant meets a condition."""
    return in_subquery(grants.c.account_id, select(accounts.c.id).where(condition))


def _in_team() -> ColumnElement[bool]:
    """Return the condition that a grant is in the scope ``scope``, as a subquery that runs first.

    Otherwise PostgreSQL would go through all grants in the order of the page.
    """
    scope = bindparam("scope", type_=BigInt)
    return in_subquery(
        grants.c.id,
        select(_again.c.id).where(_again.c.scope_id == scope, _again.c.ended_at.is_(None)),
    )


def _found(known: Filter, *, veiled: bool = False, in_team: bool = False) -> Filter:
    """Turn a filter of accounts into a filter of their grants.

    Args:
        veiled: the filter examines a field that the list does not show, and that only actors who
            see all may see of staff. For others it finds no staff except themselves.
        in_team: the list is that of one scope. Only its few members are compared.
    """

    def where(form: str, sees_all: bool) -> ColumnElement[bool]:
        found = known.predicate(form, sees_all)
        if veiled and not sees_all:
            found = and_(found, or_(_oneself, not_(accounts.c.is_staff)))
        return and_(found, _in_team()) if in_team else _holder(found)

    return Filter(known.read, where)


def _people(*, in_team: bool) -> Filters:
    return {
        "full_name": _found(account_search.FULL_NAME, in_team=in_team),
        "native_name": _found(account_search.part_of("native_name"), veiled=True, in_team=in_team),
        "user": _holder(_is(accounts.c.uuid, "user")),
        "user_slug": _found(
            account_search.part_of("slug", name="user_slug"), veiled=True, in_team=in_team
        ),
        "user_url": _holder(_is(accounts.c.uuid, "user_url")),
        "username": _holder(_is(accounts.c.username, "username")),
    }


def _grants_changed() -> ColumnElement[bool]:
    """Return the condition that a grant began, or its end was changed, at or after ``modified``."""
    moment = bindparam("modified", type_=UtcDateTime)
    standing = _again.c.ended_at.is_(None)
    # Events identify a grant by its account and scope.
    same = and_(events.c.account_id == _again.c.account_id, events.c.scope_id == _again.c.scope_id)
    return grants.c.id.in_(
        union_all(
            select(_again.c.id).where(_again.c.valid_from >= moment, standing),
            select(_again.c.id)
            .join(events, same)
            .where(events.c.kind == "role.updated", events.c.created_at >= moment, standing),
        )
    )


GRANTS: Final[Filters] = {
    **_people(in_team=False),
    **_placed(grants.c.scope_id, "customer_uuid", "scope_name", "scope_type", "scope_uuid"),
    "created": since("created", grants.c.valid_from),
    "expiration_time": and_(
        grants.c.valid_until.is_not(None), since("expiration_time", grants.c.valid_until)
    ),
    "modified": _grants_changed(),
    "role_name": in_subquery(
        grants.c.role_id, select(_role.c.id).where(contains(_role.c.name, "role_name"))
    ),
    "role_uuid": _with_role(grants.c.role_id, _is(_role.c.uuid, "role_uuid")),
}


def _read_roles(value: list[str]) -> tuple[str, dict[str, Any]]:
    uuids = [uuid for uuid in map(key_of, value) if uuid is not None]
    return "", {"role": value, "role_uuids": uuids}


TEAM: Final[Filters] = {
    **_people(in_team=True),
    # The value is a list of names and UUIDs of roles.
    "role": Filter(
        _read_roles,
        lambda _form, _sees_all: in_subquery(
            grants.c.role_id,
            select(_role.c.id).where(
                or_(any_of(_role.c.name, "role"), any_of(_role.c.uuid, "role_uuids"))
            ),
        ),
    ),
    "scope": _is(grants.c.scope_id, "scope"),
    "search_string": _found(
        account_search.part_of("first_name", "email", name="search_string"), in_team=True
    ),
}


def _email_part(value: str) -> tuple[str, dict[str, Any]]:
    text = account_search.address_text(value)
    form = "near" if len(text) >= TRIGRAM else "far"
    return form, {"email": like_pattern(text), "email_near": text}


def _where_email_part(form: str, _sees_all: bool) -> ColumnElement[bool]:
    # Both sides were lower-cased before, letter by letter.
    exact = invitations.c.email_search.like(bindparam("email", type_=String()), escape="\\")
    if form == "far":
        return exact
    return and_(
        trigram_match(invitations.c.id, invitations.c.email_search, "invitation_search", "email"),
        exact,
    )


_SAME_ADDRESS = Filter(
    lambda value: ("", {"email_exact": comparable_address(value)}),
    lambda _form, _sees_all: and_(
        invitations.c.email_comparable == bindparam("email_exact", type_=String()),
        invitations.c.email_comparable != "",
    ),
)


INVITATIONS: Final[Filters] = {
    **_placed(
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
    "email": Filter(_email_part, _where_email_part),
    "email_exact": _SAME_ADDRESS,
    "role_name": _with_role(invitations.c.role_id, _is(_role.c.name, "role_name")),
    "role_uuid": _with_role(invitations.c.role_id, _is(_role.c.uuid, "role_uuid")),
}
"""The filters of invitations except the state. It depends on the time and is filtered elsewhere."""

OPEN_INVITATIONS: Final[Filters] = {
    **_placed(invite_links.c.scope_id, "customer_uuid", "scope", "scope_type"),
    "role_name": _with_role(invite_links.c.role_id, _is(_role.c.name, "role_name")),
    "role_uuid": _with_role(invite_links.c.role_id, _is(_role.c.uuid, "role_uuid")),
}

# Pending requests are what most callers ask for, and they have their own indexes.
_STATE = Filter(
    lambda value: ("waits" if value == [State.PENDING.value] else "any", {"state": value}),
    lambda form, _sees_all: (
        join_requests.c.state == State.PENDING.value
        if form == "waits"
        else any_of(join_requests.c.state, "state")
    ),
)

REQUESTS: Final[Filters] = {
    **_placed(join_requests.c.scope_id, "customer_uuid", "scope"),
    "created_by": join_requests.c.account_id
    == select(accounts.c.id).where(_is(accounts.c.uuid, "created_by")).scalar_subquery(),
    "invitation": join_requests.c.invite_link_id
    == select(invite_links.c.id).where(_is(invite_links.c.uuid, "invitation")).scalar_subquery(),
    "state": _STATE,
}


def _query(
    parts: Iterable[ColumnElement[Any]], wholes: Iterable[ColumnElement[Any]] = ()
) -> Filter:
    """Return a filter for a text or a UUID, ignoring letter case.

    Args:
        parts: columns in which a part may match.
        wholes: columns that must match as a whole.
    """

    def read(value: str) -> tuple[str, dict[str, Any]]:
        uuid = key_of(value)
        binds = {
            "query": like_pattern(value),
            "query_whole": like_pattern(value)[1:-1],
            "query_uuid": uuid,
        }
        return ("text" if uuid is None else "uuid"), binds

    def where(form: str, _sees_all: bool) -> ColumnElement[bool]:
        found = [
            *(contains(column, "query") for column in parts),
            *(contains(column, "query_whole") for column in wholes),
        ]
        if form == "uuid":
            found.append(_is(scopes.c.uuid, "query_uuid"))
        return or_(*found)

    return Filter(read, where)


def _mine_as(*names: str) -> Callable[[ColumnElement[Any]], ColumnElement[bool]]:
    """Return the condition that the actor has one of the roles in a scope."""
    found = (
        select(grants.c.scope_id)
        .join(roles, roles.c.id == grants.c.role_id)
        .where(actor_grants(), or_(*(roles.c.name == name for name in names)))
    )
    return lambda column: in_subquery(column, found)


_as_owner = _mine_as(*sorted(OWNER_ROLES[ScopeKind.ORGANISATION]))


def _where_member(_form: str, sees_all: bool) -> ColumnElement[bool]:
    """Return the condition that an organisation, or one of its projects, has a person as a member.

    Actors who do not see all learn nothing about scopes that they cannot see.
    """
    found = (
        select(func.coalesce(_place.c.parent_id, _place.c.id))
        .select_from(_held)
        .join(accounts, accounts.c.id == _held.c.account_id)
        .join(_place, _place.c.id == _held.c.scope_id)
        .where(
            _is(accounts.c.uuid, "user_uuid"),
            is_active(_held),
            _place.c.removed_at.is_(None),
            true()
            if sees_all
            # Like lists of members, which show only active accounts.
            else and_(accounts.c.is_active, _held.c.scope_id.in_(visible_scopes())),
        )
    )
    return in_subquery(scopes.c.id, found)


def _contains(columns: Mapping[str, ColumnElement[Any]]) -> dict[str, ColumnElement[bool]]:
    return {name: contains(column, name) for name, column in columns.items()}


_own = organisations.c

ORGANISATIONS: Final[Filters] = {
    **_contains(
        {
            "abbreviation": _own.abbreviation,
            "contact_details": _own.contact_details,
            "name": scopes.c.name,
            "native_name": _own.native_name,
        }
    ),
    "agreement_number": _is(_own.agreement_number, "agreement_number"),
    "archived": _is(_own.archived, "archived"),
    "backend_id": _is(_own.backend_id, "backend_id"),
    "current_user_has_project_create_permission": scopes.c.id.in_(
        scopes_with_permission((ScopeKind.ORGANISATION, Permission.PROJECT_CREATE))
    ),
    "name_exact": _is(scopes.c.name, "name_exact"),
    "owned_by_current_user": _as_owner(scopes.c.id),
    "query": _query(
        (
            scopes.c.name,
            _own.native_name,
            _own.abbreviation,
            _own.domain,
            _own.registration_code,
            _own.agreement_number,
        )
    ),
    "registration_code": _is(_own.registration_code, "registration_code"),
    "slug": _is(scopes.c.slug, "slug"),
    "user_uuid": Filter(lambda value: ("", {"user_uuid": value}), _where_member),
}


def _projects_changed() -> ColumnElement[bool]:
    """Return the condition that a project was created, changed or deleted since ``modified``."""
    moment = bindparam("modified", type_=UtcDateTime)
    changed = select(events.c.scope_id).where(
        or_(events.c.kind == "project.updated", events.c.kind == "project.deleted"),
        events.c.created_at >= moment,
    )
    return or_(scopes.c.created_at >= moment, scopes.c.id.in_(changed))


PROJECTS: Final[Filters] = {
    **_contains(
        {
            "customer_abbreviation": _own.abbreviation,
            "customer_name": organisation.c.name,
            "customer_native_name": _own.native_name,
            "description": scopes.c.description,
            "name": scopes.c.name,
        }
    ),
    "backend_id": _is(projects.c.backend_id, "backend_id"),
    "can_admin": _mine_as("PROJECT.ADMIN")(scopes.c.id),
    "can_manage": or_(_mine_as("PROJECT.MANAGER")(scopes.c.id), _as_owner(scopes.c.parent_id)),
    "conceal_finished_projects": or_(
        projects.c.end_date.is_(None),
        projects.c.end_date >= func.date(bindparam("now", type_=UtcDateTime), type_=Date()),
    ),
    "created": scopes.c.created_at >= bindparam("created", type_=UtcDateTime),
    "customer": any_of(organisation.c.uuid, "customer"),
    "modified": _projects_changed(),
    "name_exact": _is(scopes.c.name, "name_exact"),
    "query": _query((scopes.c.name, scopes.c.slug), (projects.c.backend_id,)),
    "slug": _is(scopes.c.slug, "slug"),
}
