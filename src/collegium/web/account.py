"""My account: what I belong to, what waits for me, what I wait for; and giving a role up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.access.rules import Kind
from collegium.invitations import queries as invitation_queries
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests import queries as join_request_queries
from collegium.memberships import leaving
from collegium.memberships import queries as membership_queries
from collegium.web.messages import place, role
from collegium.web.page import Page, page

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read
    from collegium.web.browser_request import Visit

_SHOWN: Final = 50


def _overview(visit: Visit, tx: Read) -> Answer:
    waiting = [
        # Whoever has the address may see the invitation by itself; the link is the same as mailed.
        (row, visit.house.vault.link("invitation", row.uuid, row.generation))
        for row in invitation_queries.to_address(tx, visit.actor)
    ]
    return page(
        visit,
        "account",
        grants=membership_queries.own(tx, visit.actor.id),
        invitations=waiting,
        requests=join_request_queries.own(tx, visit.actor.id, _SHOWN),
    )


def _withdraw(visit: Visit) -> Answer:
    uuid = visit.uuid("request")
    with visit.write() as tx:
        row = join_request_queries.own_one(tx, visit.actor.id, uuid)
        is_group = row.scope_kind == Kind.GROUP
        join_request_actions.cancel(tx, visit.actor, uuid, groups=is_group)
    return visit.go(
        visit.next or "/account/", f"You have taken back your request to the {place(row)}."
    )


def _ask(visit: Visit, tx: Read) -> Answer:
    grant, may_leave = leaving.weigh(tx, visit.actor, visit.uuid("grant"))
    return page(visit, "leave", grant=grant, may_leave=may_leave)


def _leave(visit: Visit) -> Answer:
    with visit.write() as tx:
        grant = membership_queries.own_one(tx, visit.actor.id, visit.uuid("grant"))
        leaving.leave(tx, visit.actor, grant.uuid)
    return visit.go("/account/", f"You are no longer {role(grant)} in the {place(grant)}.")


ROUTES: Routes = {
    "/account/": {"GET": Page(_overview, "My account.")},
    "/account/requests/{uuid}/withdraw/": {"POST": Page(_withdraw, "Take a request back.")},
    "/account/leave/{uuid}/": {
        "GET": Page(_ask, "Give up a role?"),
        "POST": Page(_leave, "Give up a role."),
    },
}
