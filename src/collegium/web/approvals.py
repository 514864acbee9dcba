"""The pages that the mails to staff lead to, about invitations that wait for them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from collegium.accounts import queries as account_queries
from collegium.invitations import approvals
from collegium.invitations import queries as invitation_queries
from collegium.invitations.rules import State
from collegium.refusals import Conflict, Invalid
from collegium.security.rate_limits.rules import CODE_ADDRESS
from collegium.web.messages import say
from collegium.web.page import Page, page

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read
    from collegium.web.browser_request import Visit


def _ask(purpose: str, visit: Visit, tx: Read) -> Answer:
    """Show what is to be decided. Opening the page changes nothing."""
    try:
        link = _read(purpose, visit)
    except Invalid as refusal:
        return page(visit, "decision", 404, state="gone", said=say(refusal))
    row = invitation_queries.by_uuid(tx, link.invitation)
    staff = account_queries.by_uuid(tx, link.staff)
    if (
        row is None
        or staff is None
        or not (staff.is_active and staff.is_staff)
        or row.scope_removed is not None
        or row.generation != link.generation
        or row.state != State.REQUESTED
    ):
        said = say(Invalid("decision.no_invitation"))
        return page(visit, "decision", 410, state="gone", said=said)
    return page(visit, "decision", state="ask", purpose=purpose, invitation=row)


def _decide(purpose: str, visit: Visit) -> Answer:
    try:
        with visit.guarded(f"code address {visit.network}", CODE_ADDRESS), visit.write() as tx:
            link = _read(purpose, visit)
            if purpose == approvals.APPROVE:
                approvals.approve(tx, visit.settings, link, visit.address, visit.request_id)
            else:
                approvals.reject(tx, link, visit.address, visit.request_id)
    except (Invalid, Conflict) as refusal:
        return page(visit, "decision", 410, state="gone", said=say(refusal))
    return page(visit, "decision", state="done", purpose=purpose)


def _read(purpose: str, visit: Visit) -> approvals.Decision:
    return approvals.read_link(
        visit.house.vault, visit.settings, purpose, visit.segments["token"], visit.now
    )


ROUTES: Routes = {
    f"/{purpose}/{{token}}/": {
        "GET": Page(partial(_ask, purpose), "Decide on an invitation?", open=True),
        "POST": Page(partial(_decide, purpose), "Decide on an invitation.", open=True),
    }
    for purpose in (approvals.APPROVE, approvals.REJECT)
}
