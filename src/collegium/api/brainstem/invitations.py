"""Endpoints for invitations: ``/api/private/users/groupmembershipinvitation/``."""

from __future__ import annotations

from typing import Final

from collegium.access.rules import Actor
from collegium.api.brainstem import query, schemas
from collegium.api.brainstem.paths import mutating_route, with_aliases
from collegium.api.request import Answer, Endpoint, RequestContext, Routes
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.invitations import group_actions as group_invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.invitations.rules import State, effective_state
from collegium.refusals import NotFound

_TABLE: Final = query.Table(
    invitation_queries.group_listing,
    {
        "id": query.UuidFilter(),
        "authgroup": query.IntegerFilter(),
        "authgroup.name": query.TextFilter(),
        "user_account_invitation": query.IntegerFilter(),
        "user_account_invitation.email": query.TextFilter(),
        "new_manager": query.BooleanFilter(),
        "new_owner": query.BooleanFilter(),
    },
    orders=("id", "authgroup", "user_account_invitation"),
    includes=("authgroup", "user_account_invitation"),
)


def _one(tx: ReadTransaction, actor: Actor, row: Row) -> Answer:
    (shown,) = schemas.invitations(tx, actor, [row])
    return Answer(200, schemas.encode(schemas.OneMembershipInvitation(shown)))


def _list(context: RequestContext, tx: ReadTransaction) -> Answer:
    found = query.find(context, tx, context.actor, _TABLE)
    shown = schemas.invitations(tx, context.actor, found.rows, found.embedded)
    page = schemas.MembershipInvitationPage(
        shown, found.meta, found.count, found.next, found.previous
    )
    return Answer(200, schemas.encode(page))


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Answer:
    row = invitation_queries.get_visible(
        tx, context.actor, context.uuid("invitation"), in_groups=True
    )
    if effective_state(row.state, row.expires_at, tx.now) is not State.PENDING:
        raise NotFound("invitation.unknown")
    return _one(tx, context.actor, row)


def _accept(context: RequestContext) -> Answer:
    with context.write() as tx:
        return _one(
            tx,
            context.actor,
            group_invitation_actions.accept(
                tx, context.actor, context.settings, context.uuid("invitation")
            ),
        )


def _reject(context: RequestContext) -> Answer:
    with context.write() as tx:
        return _one(
            tx,
            context.actor,
            group_invitation_actions.decline(tx, context.actor, context.uuid("invitation")),
        )


def _cancel(context: RequestContext) -> Answer:
    with context.write() as tx:
        return _one(
            tx,
            context.actor,
            group_invitation_actions.cancel(tx, context.actor, context.uuid("invitation")),
        )


def _routes(base: str) -> Routes:
    one, answers = f"{base}{{uuid}}/", schemas.OneMembershipInvitation
    return {
        base: {
            "GET": Endpoint(
                _list,
                "List pending invitations: your own and those to your groups.",
                response_type=schemas.MembershipInvitationPage,
                filters=_TABLE.described(),
            )
        },
        one: {"GET": Endpoint(_retrieve, "Show an invitation.", response_type=answers)},
        **mutating_route(f"{one}accept/", _accept, "Accept an invitation.", answers),
        **mutating_route(f"{one}reject/", _reject, "Decline an invitation.", answers),
        **mutating_route(f"{one}cancel/", _cancel, "Cancel an invitation.", answers),
    }


DESCRIBED, ROUTES = with_aliases(
    _routes,
    "/api/private/users/groupmembershipinvitation/",
    "/api/private/users/group_membership_invitation/",
)
