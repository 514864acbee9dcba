"""The staff page for queued and failed e-mails: see them, retry them, discard them."""

from __future__ import annotations

from typing import Final

from collegium.accounts import queries as account_queries
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.outbox import actions as outbox_actions
from collegium.outbox import queries as outbox_queries
from collegium.outbox.mails import MailTest
from collegium.refusals import NotFound, or_not_found
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, ngettext, translated
from collegium.values import whole_number
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, Paging
from collegium.web.sorting import FAILED_MAILS, QUEUED_MAILS, Sorting
from collegium.web.staff import page, staff_only

HERE: Final = "/staff/mails/"

KINDS: Final = {
    "invitation_created": mark("Invitation"),
    "invitation_approved": mark("Invitation with a new account"),
    "invitation_requested": mark("Approve an invitation?"),
    "invitation_rejected": mark("Invitation rejected"),
    "invitation_expired": mark("Invitation expired"),
    "invitation_accepted": mark("Invitation accepted"),
    "invitation_declined": mark("Invitation declined"),
    "invitation_renewal_requested": mark("New invitation link requested"),
    "invitation_invitee_deactivated": mark("Invited account is deactivated"),
    "change_email_request": mark("Confirm new e-mail address"),
    "email_changed": mark("E-mail address changed"),
    "password_reset": mark("Link to set a password"),
    "change_email_notice": mark("Change of e-mail address requested"),
    "password_changed": mark("Password changed"),
    "token_created": mark("New access token or program"),
    "identity_link_request": mark("Link to add a sign-in method"),
    "identity_changed": mark("Sign-in method added or removed"),
    "passkey_changed": mark("Passkey added or removed"),
    "second_factor_enabled": mark("Two-factor authentication is on"),
    "second_factor_disabled": mark("Two-factor authentication was turned off"),
    "second_factor_failed": mark("Wrong codes of two-factor authentication"),
    "second_factor_reset": mark("Two-factor authentication was turned off by staff"),
    "permission_request_submitted": mark("Join request"),
    "permission_request_rejected": mark("Join request rejected"),
    "structure_role_granted": mark("Join request approved"),
    "role_reviews_pending": mark("Reviews of roles"),
    "mail_test": mark("Test e-mail"),
    "event_notification": mark("Event, for a hook"),
    "hook_changed": mark("Hook added or changed"),
    "hook_deactivated": mark("Hook was deactivated"),
    "role_granted": mark("New role"),
    "role_changed": mark("Role changed"),
    "role_ending": mark("Role ends soon"),
    "role_ended": mark("Role ended"),
    "role_removed": mark("Role removed"),
    "role_digest": mark("Weekly overview for managers"),
    "notifications_profile_changes_operator": mark("Details of an owner changed"),
}
"""Label of each kind of e-mail."""

_STATES: Final = {"queued": QUEUED_MAILS, "failed": FAILED_MAILS}
"""State of e-mails, as in the URL → their list."""


def _list(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_mails(browser, tx, Form())


def _render_mails(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    show = browser.query_value("show") if browser.query_value("show") in _STATES else "queued"
    counts = outbox_queries.counts(tx)
    sorting = Sorting(browser, _STATES[show])
    paging = Paging(browser, getattr(counts, show))
    return page(
        browser,
        "staff_mails",
        status,
        show=show,
        counts=counts,
        now=tx.now,
        rows=outbox_queries.listing.page(
            tx, browser.actor, {"state": show}, sorting.order, paging.size, paging.offset
        ),
        paging=paging,
        sorting=sorting,
        kinds=translated(KINDS),
        form=form,
    )


def _change(browser: BrowserRequest) -> Response:
    """Do what the pressed button says."""
    form = browser.form
    action = form.choice("action", "retry", "retry_all", "drop", "test")
    mail_id = whole_number(form.raw("mail")) or 0  # no e-mail has this id
    list_path = f"{HERE}?show=failed" if browser.query_value("show") == "failed" else HERE
    if form.is_valid and action == "test":
        return _send_test(browser)
    if form.is_valid:
        try:
            return _perform_on_mail(browser, action, mail_id, list_path)
        except NotFound:
            if browser.was_answered:
                # The same button was pressed before.
                raise
            return browser.redirect(
                list_path,
                _("Nothing was changed: the e-mail was already sent, or is being sent."),
                kind="not",
            )
    with browser.read() as tx:
        return _render_mails(browser, tx, form, 422)


def _send_test(browser: BrowserRequest) -> Response:
    """Queue a test e-mail to the actor, and show what becomes of it."""
    with browser.write() as tx:
        account = account_queries.existing(tx, browser.actor.id)
        mail_id = None
        if account.email:
            mail_id = outbox_queries.enqueue(tx, MailTest(account.email, account.id))
    if mail_id is None:
        return browser.redirect(
            HERE, _("Your account has no e-mail address. Enter one in your profile."), kind="not"
        )
    return browser.redirect(f"{HERE}{mail_id}/")


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    mail = or_not_found(outbox_queries.test_by_id(tx, browser.number("mail")), "mail.unknown")
    return page(
        browser,
        "staff_mail_test",
        mail=mail,
        writes_files=browser.settings.mail_url.startswith("file:"),
    )


def _perform_on_mail(browser: BrowserRequest, action: str, mail_id: int, path: str) -> Response:
    with browser.write() as tx:
        match action:
            case "retry":
                outbox_actions.retry(tx, browser.actor, mail_id)
                message = _("The e-mail is queued again. If it fails, it will appear here.")
            case "drop":
                outbox_actions.discard(tx, browser.actor, mail_id)
                message = _("The e-mail is discarded.")
            case _:
                count = outbox_actions.retry_all(tx, browser.actor)
                message = ngettext(
                    "{count} e-mail is queued again.", "{count} e-mails are queued again.", count
                ).format(count=count)
        return browser.answer(tx, path, message)


ROUTES: Routes = staff_only(
    {
        HERE: {
            "GET": Page(_list, "List the queued or failed e-mails."),
            "POST": Page(
                _change,
                "Send an e-mail again or discard it, or send a test e-mail.",
                once=True,
            ),
        },
        f"{HERE}{{id}}/": {"GET": Page(_show, "Show what became of a test e-mail.")},
    }
)
