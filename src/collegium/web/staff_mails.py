"""The staff page for queued and failed e-mails: see them, retry them, discard them."""

from __future__ import annotations

from typing import Final

from collegium.accounts import queries as account_queries
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.outbox import actions as outbox_actions
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import MailTest
from collegium.refusals import NotFound
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, Paging
from collegium.web.staff import page, staff_only

HERE: Final = "/staff/mails/"

KINDS: Final = {
    "invitation_created": "Invitation",
    "invitation_approved": "Invitation with a new account",
    "invitation_requested": "Approve an invitation?",
    "invitation_rejected": "Invitation rejected",
    "invitation_expired": "Invitation expired",
    "invitation_accepted": "Invitation accepted",
    "invitation_declined": "Invitation declined",
    "invitation_renewal_requested": "New invitation link requested",
    "invitation_invitee_deactivated": "Invited account is deactivated",
    "change_email_request": "Confirm new e-mail address",
    "email_changed": "E-mail address changed",
    "password_reset": "Link to set a password",
    "change_email_notice": "Change of e-mail address requested",
    "password_changed": "Password changed",
    "token_created": "New access token or program",
    "identity_link_request": "Link to add a sign-in method",
    "identity_changed": "Sign-in method added or removed",
    "passkey_changed": "Passkey added or removed",
    "second_factor_enabled": "Two-factor authentication is on",
    "second_factor_disabled": "Two-factor authentication was turned off",
    "second_factor_failed": "Wrong codes of two-factor authentication",
    "second_factor_reset": "Two-factor authentication was turned off by staff",
    "permission_request_submitted": "Join request",
    "permission_request_rejected": "Join request rejected",
    "structure_role_granted": "Join request approved",
    "role_reviews_pending": "Reviews of roles",
    "mail_test": "Test e-mail",
    "event_notification": "Event, for a hook",
    "hook_changed": "Hook added or changed",
    "hook_deactivated": "Hook was deactivated",
    "role_granted": "New role",
    "role_changed": "Role changed",
    "role_ending": "Role ends soon",
    "role_ended": "Role ended",
    "role_removed": "Role removed",
    "role_digest": "Weekly overview for managers",
    "notifications_profile_changes_operator": "Details of an owner changed",
}
"""Label of each kind of e-mail."""

_STATES: Final = {
    "queued": ("queued", "next_attempt_at"),
    "failed": ("failed", "-finished_at"),
}
"""For each list of the page, by its name in the URL: the state of its e-mails, and their order."""


def _list(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_mails(browser, tx, Form())


def _render_mails(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    show = browser.query_value("show") if browser.query_value("show") in _STATES else "queued"
    counts = outbox_queries.counts(tx)
    state, order = _STATES[show]
    paging = Paging(browser, getattr(counts, state))
    return page(
        browser,
        "staff_mails",
        status,
        show=show,
        counts=counts,
        now=tx.now,
        rows=outbox_queries.listing.page(
            tx, browser.actor, {"state": state}, (order,), paging.size, paging.offset
        ),
        paging=paging,
        kinds=KINDS,
        form=form,
    )


def _change(browser: BrowserRequest) -> Response:
    """Do what the pressed button says."""
    form = browser.form
    action = form.choice("action", "retry", "retry_all", "drop", "test")
    mail_id = _id(form.raw("mail"))
    list_path = f"{HERE}?show=failed" if browser.query_value("show") == "failed" else HERE
    if form.is_valid and action == "test":
        return _send_test(browser)
    if form.is_valid:
        try:
            return browser.redirect(list_path, _perform_on_mail(browser, action, mail_id))
        except NotFound:
            return browser.redirect(
                list_path,
                "Nothing was changed: the e-mail was already sent, or is being sent.",
                kind="not",
            )
    with browser.read() as tx:
        return _render_mails(browser, tx, form, 422)


def _id(text: str) -> int:
    """Return the id of an e-mail; 0, which none has, for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0  # noqa: PLR2004 - a number


def _send_test(browser: BrowserRequest) -> Response:
    """Queue a test e-mail to the actor, and show what becomes of it."""
    with browser.write() as tx:
        account = account_queries.existing(tx, browser.actor.id)
        mail_id = None
        if account.email:
            mail_id = outbox_queries.enqueue(tx, MailTest(account.email, account.id))
    if mail_id is None:
        return browser.redirect(
            HERE, "Your account has no e-mail address. Enter one in your profile.", kind="not"
        )
    return browser.redirect(f"{HERE}{mail_id}/")


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    mail = outbox_queries.test_by_id(tx, _id(browser.segments["id"]))
    if mail is None:
        raise NotFound("mail.unknown")
    return page(
        browser,
        "staff_mail_test",
        mail=mail,
        writes_files=browser.settings.mail_url.startswith("file:"),
    )


def _perform_on_mail(browser: BrowserRequest, action: str, mail_id: int) -> str:
    with browser.write() as tx:
        match action:
            case "retry":
                outbox_actions.retry(tx, browser.actor, mail_id)
                return "The e-mail is queued again. If it fails, it will appear here."
            case "drop":
                outbox_actions.discard(tx, browser.actor, mail_id)
                return "The e-mail is discarded."
        count = outbox_actions.retry_all(tx, browser.actor)
    return f"{count} {'e-mail is' if count == 1 else 'e-mails are'} queued again."


ROUTES: Routes = staff_only(
    {
        HERE: {
            "GET": Page(_list, "List the queued or failed e-mails."),
            "POST": Page(_change, "Send an e-mail again or discard it, or send a test e-mail."),
        },
        f"{HERE}{{id}}/": {"GET": Page(_show, "Show what became of a test e-mail.")},
    }
)
