"""Endpoints for grants: ``/api/user-permissions/``, and the team of a customer or project."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from collegium.access import queries as access_queries
from collegium.access.rules import KINDS, Actor, Permission, ScopeKind
from collegium.accounts import queries as account_queries
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists, schemas
from collegium.api.waldur.fields import Form, read
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Row
from collegium.memberships import actions as membership_actions
from collegium.memberships import queries as membership_queries
from collegium.memberships import rules as membership_rules
from collegium.refusals import Conflict, Invalid, NotFound
from collegium.roles import queries as role_queries
from collegium.values import DateTime, Text, Uuid, hex_uuid

_ASSIGNMENT: Final = {
    "role": Text(required=True, blank=False, max=150),
    "user": Uuid(required=True),
    "expiration_time": DateTime(null=True),
}


_ACCOUNT_FILTERS: Final = {
    **dict.fromkeys(("full_name", "native_name", "user_slug", "username"), filters.Exact()),
    "user": filters.Uuid(),
    "user_url": filters.UserLink(),
}
FILTERS: Final = {
    **_ACCOUNT_FILTERS,
    **dict.fromkeys(("created", "expiration_time", "modified"), filters.GreaterOrEqual()),
    **dict.fromkeys(("customer_uuid", "role_uuid", "scope_uuid"), filters.Uuid()),
    **dict.fromkeys(("role_name", "scope_name"), filters.Contains()),
    "scope_type": filters.SCOPE_TYPE,
}
TEAM_FILTERS: Final = {
    **_ACCOUNT_FILTERS,
    "role": filters.MultipleFilter(commas=False),
    "search_string": filters.Exact(),
}


def _render_grant(row: Row) -> schemas.Permission:
    return schemas.permission(row, row.account_uuid, account_queries.full_name(row), row.slug)


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    return lists.respond_page(
        context,
        tx,
        membership_queries.listing,
        lambda rows: [_render_grant(row) for row in rows],
        filters=filters.read(context, FILTERS, membership_queries.listing.orders),
    )


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = membership_queries.get_visible(tx, context.actor, context.uuid("grant"))
    return Response(200, schemas.encode(_render_grant(row)))


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
        if role is None:
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
    rights = KINDS[kind]

    def _team(context: RequestContext, tx: ReadTransaction) -> Response:
        scope = access_queries.get_visible(tx, context.actor, kind, context.uuid(kind)).scope
        return lists.respond_page(
            context,
            tx,
            membership_queries.of_scope,
            lambda rows: [schemas.team_member(context, row) for row in rows],
            filters={
                **filters.read(context, TEAM_FILTERS, membership_queries.of_scope.orders),
                "scope": scope.id,
            },
            sparse=True,
        )

    def _change(
        context: RequestContext,
        permission: Permission,
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
            "GET": Endpoint(
                _team,
                "List the members.",
                response_type=schemas.TeamMember,
                is_list=True,
                filters=TEAM_FILTERS,
                orders=membership_queries.of_scope.orders,
                sparse_fields=True,
            ),
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


ROUTES: Routes = {
    "/api/user-permissions/": {
        "GET": Endpoint(
            _list,
            "List your memberships, or all of them.",
            response_type=schemas.Permission,
            is_list=True,
            filters=FILTERS,
            orders=membership_queries.listing.orders,
        ),
    },
    "/api/user-permissions/{uuid}/": {
        "GET": Endpoint(_retrieve, "Show a membership.", response_type=schemas.Permission),
    },
}
