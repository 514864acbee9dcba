"""The pages that the e-mails to staff link to: approve or reject an invitation."""

from __future__ import annotations

from functools import partial

from collegium.accounts import queries as account_queries
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.invitations import approvals
from collegium.invitations import queries as invitation_queries
from collegium.invitations.rules import State
from collegium.refusals import Conflict, Invalid
from collegium.security.rate_limits.rules import CODE
from collegium.web.browser_request import BrowserRequest
from collegium.web.messages import message_for
from collegium.web.page import Page, page


def _show(purpose: str, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    """Show the invitation to decide on. Opening the page changes nothing."""
    try:
        link = _read_link(purpose, browser)
    except Invalid as refusal:
        return page(browser, "decision", 404, state="gone", said=message_for(refusal))
    row = invitation_queries.by_uuid(tx, link.invitation)
    staff = account_queries.by_uuid(tx, link.staff)
    if (
        row is None
        or staff is None
        or not (staff.is_active and staff.is_staff)
        or row.scope_deleted_at is not None
        or row.link_version != link.link_version
        or row.state != State.REQUESTED
    ):
        message = message_for(Invalid("decision.no_invitation"))
        return page(browser, "decision", 410, state="gone", said=message)
    return page(browser, "decision", state="ask", purpose=purpose, invitation=row)


def _decide(purpose: str, browser: BrowserRequest) -> Response:
    try:
        with (
            browser.rate_limited(CODE),
            browser.create() as tx,
        ):
            link = _read_link(purpose, browser)
            if purpose == approvals.APPROVE:
                approvals.approve(
                    tx, browser.settings, link, browser.ip_address, browser.request_id
                )
            else:
                approvals.reject(tx, link, browser.ip_address, browser.request_id)
            browser.created(tx, purpose)
    except (Invalid, Conflict) as refusal:
        return page(browser, "decision", 410, state="gone", said=message_for(refusal))
    return _render_done(browser, purpose)


def _render_done(browser: BrowserRequest, purpose: str) -> Response:
    return page(browser, "decision", state="done", purpose=purpose)


def _read_link(purpose: str, browser: BrowserRequest) -> approvals.Decision:
    return approvals.read_link(
        browser.app.vault, browser.settings, purpose, browser.segments["token"], browser.now
    )


ROUTES: Routes = {
    f"/{purpose}/{{token}}/": {
        "GET": Page(
            partial(_show, purpose), "Show an invitation to approve or reject.", public=True
        ),
        "POST": Page(
            partial(_decide, purpose),
            "Approve or reject an invitation.",
            public=True,
            creates=True,
            replay=_render_done,
        ),
    }
    for purpose in (approvals.APPROVE, approvals.REJECT)
}
