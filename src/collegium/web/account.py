"""The page "My account": own roles, invitations, join requests; and the page to give up a role."""

from __future__ import annotations

from typing import Final

from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.invitations import queries as invitation_queries
from collegium.invitations.queries import InvitationRow
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests import queries as join_request_queries
from collegium.memberships import leaving
from collegium.memberships import queries as membership_queries
from collegium.text.languages import gettext as _
from collegium.web import profile
from collegium.web.browser_request import BrowserRequest
from collegium.web.messages import place, role
from collegium.web.page import Page, page

_REQUESTS_MAX: Final = 50


def invitation_link(browser: BrowserRequest, row: InvitationRow) -> str:
    """Return the last part of the link of an invitation to the account, as in the e-mail.

    An account with the invited address may see the invitation.
    """
    return browser.app.vault.sign("invitation", row.uuid, row.link_version)


def _overview(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    invitations = [
        (row, invitation_link(browser, row))
        for row in invitation_queries.to_address(tx, browser.actor)
    ]
    return page(
        browser,
        "account",
        grants=membership_queries.of_account(tx, browser.actor.id),
        invitations=invitations,
        requests=join_request_queries.own(tx, browser.actor.id, _REQUESTS_MAX),
        missing=profile.missing(browser, tx),
    )


def _withdraw(browser: BrowserRequest) -> Response:
    uuid = browser.uuid("request")
    path = browser.next or "/account/"
    with browser.create() as tx:
        row = join_request_queries.get_own(tx, browser.actor.id, uuid)
        join_request_actions.cancel(tx, browser.actor, uuid)
        message = _("You have withdrawn your request to join the {place}.").format(place=place(row))
        browser.created(tx, path, message)
    return browser.redirect(path, message)


def _ask(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    grant, may_leave = leaving.can_leave(tx, browser.actor, browser.uuid("grant"))
    return page(browser, "leave", grant=grant, may_leave=may_leave)


def _leave(browser: BrowserRequest) -> Response:
    with browser.create() as tx:
        grant = membership_queries.get_of_account(tx, browser.actor.id, browser.uuid("grant"))
        leaving.leave(tx, browser.actor, grant.uuid)
        message = _("You are no longer {role} in the {place}.").format(
            role=role(grant), place=place(grant)
        )
        browser.created(tx, "/account/", message)
    return browser.redirect("/account/", message)


ROUTES: Routes = {
    "/account/": {"GET": Page(_overview, "Show my account.")},
    "/account/requests/{uuid}/withdraw/": {
        "POST": Page(_withdraw, "Withdraw a join request.", creates=True)
    },
    "/account/leave/{uuid}/": {
        "GET": Page(_ask, "Ask whether to give up a role."),
        "POST": Page(_leave, "Give up a role.", creates=True),
    },
}
