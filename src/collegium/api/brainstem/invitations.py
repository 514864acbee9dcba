"""Endpoints for invitations: ``/api/private/users/groupmembershipinvitation/``."""

from __future__ import annotations

from typing import Final

from collegium.access.rules import BRAINSTEM_KINDS, Actor
from collegium.api.brainstem import query, schemas
from collegium.api.brainstem.paths import mutating_route, with_aliases
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.db.database import ReadTransaction
from collegium.db.tables import groups, invitations, scopes
from collegium.invitations import actions as invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.invitations.queries import InvitationToGroup
from collegium.invitations.rules import State, effective_state
from collegium.refusals import NotFound

_TABLE: Final = query.Table(
    invitation_queries.group_listing,
    {
        "id": query.key(invitations.c.uuid),
        "authgroup": query.integer(invitations.c.scope_id),
        "authgroup.name": query.name(scopes.c.name, groups.c.name_casefolded),
        "user_account_invitation": query.integer(invitations.c.account_id),
        "user_account_invitation.email": query.address(
            invitations.c.email, invitations.c.email_comparable, invitations.c.email_search
        ),
        "new_manager": query.boolean(invitation_queries.IS_MANAGER),
        "new_owner": query.boolean(invitation_queries.IS_OWNER),
    },
    orders=("id", "authgroup", "user_account_invitation"),
    includes=("authgroup", "user_account_invitation"),
)


def _invitation_response(tx: ReadTransaction, actor: Actor, row: InvitationToGroup) -> Response:
    (invitation,) = schemas.invitations(tx, actor, [row])
    return Response(200, schemas.encode(schemas.OneMembershipInvitation(invitation)))


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    result = query.load_page(context, tx, context.actor, _TABLE)
    invitations = schemas.invitations(tx, context.actor, result.rows, result.embedded)
    page = schemas.MembershipInvitationPage(
        invitations, result.meta, result.count, result.next, result.previous
    )
    return Response(200, schemas.encode(page))


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    row = invitation_queries.get_visible(
        tx, context.actor, context.uuid("invitation"), BRAINSTEM_KINDS
    )
    if effective_state(row.state, row.expires_at, tx.now) is not State.PENDING:
        raise NotFound("invitation.unknown")
    return _invitation_response(tx, context.actor, row)


def _accept(context: RequestContext) -> Response:
    with context.write() as tx:
        row = invitation_actions.accept_own(
            tx, context.actor, context.settings, context.uuid("invitation"), BRAINSTEM_KINDS
        )
        return _invitation_response(tx, context.actor, row)


def _reject(context: RequestContext) -> Response:
    with context.write() as tx:
        row = invitation_actions.decline_own(
            tx, context.actor, context.uuid("invitation"), BRAINSTEM_KINDS
        )
        return _invitation_response(tx, context.actor, row)


def _cancel(context: RequestContext) -> Response:
    with context.write() as tx:
        row = invitation_actions.cancel(
            tx, context.actor, context.uuid("invitation"), BRAINSTEM_KINDS
        )
        return _invitation_response(tx, context.actor, row)


def _routes(base: str) -> Routes:
    path, response_type = f"{base}{{uuid}}/", schemas.OneMembershipInvitation
    return {
        base: {
            "GET": Endpoint(
                _list,
                "List pending invitations: your own and those to your groups.",
                response_type=schemas.MembershipInvitationPage,
                filters=_TABLE.describe_parameters(),
            )
        },
        path: {"GET": Endpoint(_retrieve, "Show an invitation.", response_type=response_type)},
        **mutating_route(f"{path}accept/", _accept, "Accept an invitation.", response_type),
        **mutating_route(f"{path}reject/", _reject, "Decline an invitation.", response_type),
        **mutating_route(f"{path}cancel/", _cancel, "Cancel an invitation.", response_type),
    }


DESCRIBED, ROUTES = with_aliases(
    _routes,
    "/api/private/users/groupmembershipinvitation/",
    "/api/private/users/group_membership_invitation/",
)
