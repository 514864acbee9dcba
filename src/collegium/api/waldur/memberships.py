"""Endpoints for grants: ``/api/user-permissions/``, and the team of a customer or project."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar, Final

from msgspec import UNSET, UnsetType
from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    false,
    not_,
    or_,
    select,
    true,
    union_all,
)

from collegium.access import queries as access_queries
from collegium.access import rules as access_rules
from collegium.access.rules import KINDS as SCOPE_KINDS
from collegium.access.rules import Actor, ScopeKind
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import join_names
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.resources import (
    Given,
    Lookup,
    Resource,
    ResourceList,
    Source,
    constant,
    field,
    link,
)
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import Form, read
from collegium.api.waldur.lookups import (
    BEFORE,
    SINCE,
    fixed,
    named_roles,
    role_lookups,
    scope_lookups,
)
from collegium.api.waldur.schemas import KINDS
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import UtcDateTime, contains, like_pattern
from collegium.db.tables import accounts, events, grants, roles
from collegium.lists import account_search
from collegium.lists.filters import holder_meets, is_equal, of_holder
from collegium.lists.listing import Condition, Filter, Listing, choice, restricted, simple
from collegium.lists.sql_hints import in_subquery, not_before
from collegium.memberships import actions as membership_actions
from collegium.memberships import queries as membership_queries
from collegium.memberships import rules as membership_rules
from collegium.memberships.rules import GrantSource
from collegium.refusals import Conflict, Invalid, NotFound
from collegium.roles import queries as role_queries
from collegium.values import DateTime, Text, Uuid, hex_uuid

_ASSIGNMENT: Final = {
    "role": Text(required=True, blank=False, max=150),
    "user": Uuid(required=True),
    "expiration_time": DateTime(null=True),
}


class _Grant(Resource, frozen=True, gc=False):
    """What every representation of a grant has."""

    user_uuid: str = field("account_uuid")
    user_name: str = field("first_name", "last_name", get=join_names)
    user_slug: str = field("slug")
    created: datetime = field("valid_from", filter={"created": SINCE, "created_before": BEFORE})
    expiration_time: datetime | None = field("valid_until")
    role_name: str = field()
    role_description: str = field()
    role_uuid: str = field()
    scope_type: str = field("scope_kind", get=KINDS.__getitem__)
    scope_uuid: str = field()
    scope_name: str = field()
    customer_uuid: str = field("organisation_uuid")
    customer_name: str = field("organisation_name")


_CREATOR_NAME: Final = field(
    "granted_by_username",
    "granted_by_first_name",
    "granted_by_last_name",
    get=lambda username, first, last: UNSET if username is None else join_names(first, last),
    default=UNSET,
)
_CREATOR_USERNAME: Final = field(
    "granted_by_username",
    get=lambda username: UNSET if username is None else username,
    default=UNSET,
)
_SOURCES: Final[dict[str, str]] = {
    "": "",
    **{source.value: source.value for source in GrantSource},
    GrantSource.JOIN_REQUEST.value: "permission_request",
}
"""Where a grant comes from to its name in this API."""


class Permission(_Grant, frozen=True, gc=False):
    """A grant, within its account."""

    created_by_full_name: str | UnsetType = _CREATOR_NAME
    created_by_username: str | UnsetType = _CREATOR_USERNAME


class UserPermission(_Grant, frozen=True, gc=False):
    """A grant, with its history."""

    expiration_time: datetime | None = field(
        "ended_at",
        "valid_until",
        get=lambda ended_at, valid_until: ended_at or valid_until,
        filter=Lookup(
            filters.GreaterOrEqual(),
            lambda name, column: and_(column.is_not(None), not_before(name, column)),
            grants.c.valid_until,
        ),
    )
    uuid: str = field()
    user_username: str = field("username")
    user_email: str = field("email")
    is_active: bool = field(
        *("ended_at", "valid_until", Source.NOW), get=membership_rules.is_active
    )
    revoked_by_full_name: str | None = field(
        "ended_by_username",
        "ended_by_first_name",
        "ended_by_last_name",
        get=lambda username, first, last: None if username is None else join_names(first, last),
    )
    revoked_by_username: str | None = field("ended_by_username")
    revoke_reason: str = field("end_reason")
    source: str = field("source", get=_SOURCES.__getitem__)
    scope_is_removed: bool = field("scope_deleted_at", get=bool)
    project_uuid: str | None = field(
        "scope_kind",
        "scope_uuid",
        get=lambda kind, uuid: uuid if kind == ScopeKind.PROJECT else None,
    )
    resource_uuid: str | None = constant(None)
    created_by_full_name: str | UnsetType = _CREATOR_NAME
    created_by_username: str | UnsetType = _CREATOR_USERNAME


permissions_of_account = Permission.filler(
    user_uuid=Given("uuid", ""), user_name=Given("name", ""), user_slug=Given("slug", "")
)
"""Like ``Permission.fill``, for the grants of one account, whose data is given."""


class TeamMember(Resource, frozen=True, gc=False):
    """A grant, within the team of a scope."""

    sparse: ClassVar = True

    uuid: str = field()
    created: datetime = field("valid_from")
    expiration_time: datetime | None = field("valid_until")
    role_name: str = field()
    role_uuid: str = field()
    user_email: str = field("email")
    user_full_name: str = field("first_name", "last_name", get=join_names)
    user_username: str = field("username")
    user_uuid: str = field("account_uuid")
    user_image: str | None = link("/api/media/{}/", "picture")
    created_by_full_name: str | None = field(
        "granted_by_uuid",
        "granted_by_first_name",
        "granted_by_last_name",
        get=lambda uuid, first, last: join_names(first, last) if uuid else None,
    )
    created_by_uuid: str | UnsetType = field(
        "granted_by_uuid", get=lambda uuid: uuid or UNSET, default=UNSET
    )
    source: str = field("source", get=_SOURCES.__getitem__, default="")


def _account_lookups(*, in_one_scope: bool) -> dict[str, Lookup]:
    def of_account(name: str, account_filter: Filter, *, is_shown: bool) -> Lookup:
        # The list does not show these fields, and staff's only to those who see all.
        visible = (
            account_filter
            if is_shown
            else restricted(name, account_filter, account_search.shown_to_members)
        )
        return fixed(filters.Exact(), of_holder(visible, in_one_scope=in_one_scope))

    def is_holder(kind: filters.FilterType, column: ColumnElement[Any]) -> Lookup:
        return Lookup(kind, lambda name, _column: holder_meets(is_equal(name, column)))

    return {
        "full_name": of_account("full_name", account_search.FULL_NAME, is_shown=True),
        "native_name": of_account(
            "native_name", account_search.part_of("native_name"), is_shown=False
        ),
        "user": is_holder(filters.Uuid(), accounts.c.uuid),
        "user_slug": of_account(
            "user_slug", account_search.part_of("slug", name="user_slug"), is_shown=False
        ),
        "user_url": is_holder(filters.UserLink(), accounts.c.uuid),
        "username": is_holder(filters.Exact(), accounts.c.username),
    }


_inner_grant = grants.alias("inner_grant")
_role = roles.alias("other_role")


def _updated_since(name: str, *, with_ended: bool) -> Select[Any]:
    """Select the ids of the grants whose end was changed at or after a time."""
    # Events identify a grant by its account and scope.
    is_same_grant = and_(
        events.c.account_id == _inner_grant.c.account_id,
        events.c.scope_id == _inner_grant.c.scope_id,
    )
    return (
        select(_inner_grant.c.id)
        .join(events, is_same_grant)
        .where(
            events.c.kind == "role.updated",
            events.c.created_at >= bindparam(name, type_=UtcDateTime),
            true() if with_ended else _inner_grant.c.ended_at.is_(None),
        )
    )


def _grants_changed(name: str, *, with_ended: bool) -> ColumnElement[bool]:
    """Return the condition that a grant began, ended or got another end at or after a time.

    Args:
        name: of the parameter with the time.
        with_ended: whether grants that have ended count.
    """
    since = bindparam(name, type_=UtcDateTime)
    began = select(_inner_grant.c.id).where(_inner_grant.c.valid_from >= since)
    updated = _updated_since(name, with_ended=with_ended)
    if not with_ended:
        began = began.where(_inner_grant.c.ended_at.is_(None))
        return grants.c.id.in_(union_all(began, updated))
    ended = select(_inner_grant.c.id).where(_inner_grant.c.ended_at >= since)
    return grants.c.id.in_(union_all(began, updated, ended))


def _grants_unchanged(name: str, *, with_ended: bool) -> ColumnElement[bool]:
    """Return the condition that a grant was last changed before a time: the opposite."""
    since = bindparam(name, type_=UtcDateTime)
    return and_(
        grants.c.valid_from < since,
        or_(grants.c.ended_at.is_(None), grants.c.ended_at < since) if with_ended else true(),
        grants.c.id.not_in(_updated_since(name, with_ended=with_ended)),
    )


_named_roles: Final = named_roles("role", _role)


def _list(base: Listing[Any], is_active: Condition, *, with_ended: bool) -> ResourceList:
    """Return a list of grants.

    Args:
        is_active: the condition of the parameter with that name.
        with_ended: whether the list has grants that have ended.
    """
    return ResourceList(
        UserPermission,
        base,
        filters={
            "is_active": fixed(filters.BooleanFilter(), is_active),
            # Chooses between the two lists below.
            "show_inactive": fixed(filters.OptIn(), true()),
            **_account_lookups(in_one_scope=False),
            **scope_lookups(
                grants.c.scope_id, "customer_uuid", "scope_name", "scope_type", "scope_uuid"
            ),
            "modified": fixed(
                filters.GreaterOrEqual(), _grants_changed("modified", with_ended=with_ended)
            ),
            "modified_before": fixed(
                filters.Before(),
                _grants_unchanged("modified_before", with_ended=with_ended),
            ),
            "role_name": fixed(
                filters.Exact(),
                simple(
                    "role_name",
                    in_subquery(
                        grants.c.role_id,
                        select(_role.c.id).where(contains(_role.c.name, "role_name")),
                    ),
                    like_pattern,
                ),
            ),
            "role_uuid": role_lookups(grants.c.role_id)["role_uuid"],
        },
        orders=base.orders,
    )


LIST: Final = _list(membership_queries.listing, choice(true(), false()), with_ended=False)
HISTORY: Final = _list(
    membership_queries.history,
    choice(access_queries.is_active(), not_(access_queries.is_active())),
    with_ended=True,
)
"""The same with the grants that have ended, for staff and support."""

TEAM: Final = ResourceList(
    TeamMember,
    membership_queries.of_scope,
    filters={
        **_account_lookups(in_one_scope=True),
        # Names and UUIDs of roles.
        "role": fixed(
            filters.MultipleFilter(commas=False),
            Filter(
                _named_roles.read,
                lambda variant, sees_all: in_subquery(
                    grants.c.role_id,
                    select(_role.c.id).where(_named_roles.predicate(variant, sees_all)),
                ),
            ),
        ),
        "search_string": fixed(
            filters.Exact(), membership_queries.of_scope.filters["search_string"]
        ),
    },
    orders=membership_queries.of_scope.orders,
)


def _read_assignment(
    tx: WriteTransaction, form: Form, access: access_queries.ScopeAccess, *, checks_end: bool
) -> membership_actions.RoleAssignment:
    """Return the role assignment that a body names; unknown names are errors of their fields.

    Args:
        checks_end: whether the end of the grant is validated.

    Raises:
        BadRequestError: with the errors of all fields.
    """
    role = account = None
    if "role" in form.values:
        name = form.values["role"]
        role = role_queries.by_name_or_uuid(tx, name, hex_uuid(name))
        organisation = access.scope.parent_id or access.scope.id
        if role is None or role.organisation_id not in {None, organisation}:
            form.reject("role", "Role is not found.")
    if "user" in form.values:
        account = account_queries.by_uuid(tx, form.values["user"])
        if account is None or not account.is_active:
            form.reject("user", "User is not found.")
    if checks_end:
        try:
            membership_rules.check_end(form.values.get("expiration_time"), tx.now)
        except Invalid as refusal:
            form.refuse(refusal)
    form.check()
    if role is None or account is None:  # cannot happen: ``check`` raises
        raise NotFound("role.unknown")
    return membership_actions.RoleAssignment(access, role, account)


def team_routes(base: str, kind: ScopeKind) -> Routes:
    """Return the routes for the team of one kind of scope.

    Args:
        base: the path of the scope itself, ``/api/projects/{uuid}/``.
    """
    rights = SCOPE_KINDS[kind]

    def _team(context: RequestContext, tx: ReadTransaction) -> Response:
        scope = access_queries.get_visible(tx, context.actor, kind, context.uuid(kind)).scope
        return lists.respond(context, tx, TEAM, {**lists.read(context, TEAM), "scope": scope.id})

    def _change(
        context: RequestContext,
        permission: access_rules.Permission,
        action: Callable[
            [WriteTransaction, Actor, membership_actions.RoleAssignment, datetime | None], object
        ],
    ) -> datetime | None:
        uuid = context.uuid(kind)
        with context.write() as tx:
            access = access_queries.get_visible(tx, context.actor, kind, uuid, permission)
            form = read(context, _ASSIGNMENT)
            assignment = _read_assignment(
                tx, form, access, checks_end=permission is not rights.revoke
            )
            valid_until: datetime | None = form.values.get("expiration_time")
            action(tx, context.actor, assignment, valid_until)
        return valid_until

    def _add(context: RequestContext) -> Response:
        try:
            valid_until = _change(context, rights.grant, membership_actions.add)
        except Conflict as refusal:
            # Only this endpoint reports a role of another kind as an error of the scope.
            if refusal.code == "role.other_kind":
                raise Conflict("role.not_for_scope") from refusal
            raise
        return Response(201, schemas.encode(schemas.Expiry(valid_until)))

    def _update(context: RequestContext) -> Response:
        valid_until = _change(context, rights.update_role, membership_actions.update)
        return Response(200, schemas.encode(schemas.Expiry(valid_until)))

    def _delete(context: RequestContext) -> Response:
        _change(
            context,
            rights.revoke,
            lambda tx, actor, assignment, _valid_until: membership_actions.remove(
                tx, actor, assignment
            ),
        )
        return Response(200)

    return {
        f"{base}list_users/": {
            "GET": lists.endpoint(TEAM, "List the members.", _team),
        },
        f"{base}add_user/": {
            "POST": Endpoint(
                _add, "Add a member.", body=_ASSIGNMENT, response_type=schemas.Expiry, status=201
            ),
        },
        f"{base}update_user/": {
            "POST": Endpoint(
                _update,
                "Change the end date of a role.",
                body=_ASSIGNMENT,
                response_type=schemas.Expiry,
            ),
        },
        f"{base}delete_user/": {
            "POST": Endpoint(_delete, "Remove a role.", body=_ASSIGNMENT),
        },
    }


def _list_grants(context: RequestContext, tx: ReadTransaction) -> Response:
    values = lists.read(context, LIST)
    shows_ended = values.pop("show_inactive", False) or values.get("is_active") is False
    has_history = shows_ended and context.actor.sees_all
    return lists.respond(context, tx, HISTORY if has_history else LIST, values)


def _act(
    context: RequestContext, action: Callable[[WriteTransaction, Actor, str, str], None]
) -> Response:
    uuid = context.uuid("grant")
    form = read(context, _REASON)
    with context.write() as tx:
        if form.errors:
            membership_queries.get_visible(tx, context.actor, uuid)
            form.check()
        action(tx, context.actor, uuid, form.values.get("reason", ""))
    return Response(200)


_REASON: Final = {"reason": Text(max=2000)}

ROUTES: Routes = {
    "/api/user-permissions/": {
        "GET": lists.endpoint(LIST, "List your memberships, or all of them.", _list_grants),
    },
    "/api/user-permissions/{uuid}/": {
        "GET": lists.retrieve(
            UserPermission, membership_queries.get_visible, "grant", "Show a membership."
        ),
    },
    "/api/user-permissions/{uuid}/revoke/": {
        "POST": Endpoint(
            lambda context: _act(context, membership_actions.revoke),
            "End a membership, with a reason.",
            body=_REASON,
        ),
    },
    "/api/user-permissions/{uuid}/restore/": {
        "POST": Endpoint(
            lambda context: _act(context, membership_actions.restore),
            "Give a role again that was revoked.",
            body=_REASON,
        ),
    },
}
