"""``/api/private/users/groupmembershipinvitation/``: invitations to groups."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.api.brainstem import query, schemas
from collegium.api.brainstem.paths import deed, spelled
from collegium.api.request import Answer, Operation, Routes
from collegium.invitations import group_actions as group_invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.invitations.rules import State, seen
from collegium.refusals import NotFound

if TYPE_CHECKING:
    from collegium.access.rules import Actor
    from collegium.api.request import Call
    from collegium.db.database import Read
    from collegium.db.statements import Row

_TABLE: Final = query.Table(
    invitation_queries.group_listing,
    {
        "id": query.Uuid(),
        "authgroup": query.Number(),
        "authgroup.name": query.Text(),
        "user_account_invitation": query.Number(),
        "user_account_invitation.email": query.Text(),
        "new_manager": query.Truth(),
        "new_owner": query.Truth(),
    },
    orders=("id", "authgroup", "user_account_invitation"),
    includes=("authgroup", "user_account_invitation"),
)


def _one(tx: Read, actor: Actor, row: Row) -> Answer:
    (shown,) = schemas.invitations(tx, actor, [row])
    return Answer(200, schemas.encode(schemas.OneMembershipInvitation(shown)))


def _list(call: Call, tx: Read) -> Answer:
    found = query.find(call, tx, call.actor, _TABLE)
    shown = schemas.invitations(tx, call.actor, found.rows, found.embedded)
    page = schemas.MembershipInvitationPage(
        shown, found.meta, found.count, found.next, found.previous
    )
    return Answer(200, schemas.encode(page))


def _retrieve(call: Call, tx: Read) -> Answer:
    row = invitation_queries.reach(tx, call.actor, call.uuid("invitation"), in_groups=True)
    if seen(row.state, row.expires, tx.now) is not State.PENDING:
        raise NotFound("invitation.unknown")
    return _one(tx, call.actor, row)


def _accept(call: Call) -> Answer:
    with call.write() as tx:
        return _one(
            tx,
            call.actor,
            group_invitation_actions.accept(tx, call.actor, call.settings, call.uuid("invitation")),
        )


def _reject(call: Call) -> Answer:
    with call.write() as tx:
        return _one(
            tx,
            call.actor,
            group_invitation_actions.decline(tx, call.actor, call.uuid("invitation")),
        )


def _cancel(call: Call) -> Answer:
    with call.write() as tx:
        return _one(
            tx, call.actor, group_invitation_actions.cancel(tx, call.actor, call.uuid("invitation"))
        )


def _routes(base: str) -> Routes:
    one, answers = f"{base}{{uuid}}/", schemas.OneMembershipInvitation
    return {
        base: {
            "GET": Operation(
                _list,
                "List what is open: your own invitations, and those to your groups.",
                answers=schemas.MembershipInvitationPage,
                filters=_TABLE.described(),
            )
        },
        one: {"GET": Operation(_retrieve, "Show an invitation.", answers=answers)},
        **deed(f"{one}accept/", _accept, "Join as you were invited.", answers),
        **deed(f"{one}reject/", _reject, "Say no to an invitation.", answers),
        **deed(f"{one}cancel/", _cancel, "Call an invitation back.", answers),
    }


DESCRIBED, ROUTES = spelled(
    _routes,
    "/api/private/users/groupmembershipinvitation/",
    "/api/private/users/group_membership_invitation/",
)
