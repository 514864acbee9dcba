"""Mails that did not leave: owed ones and those given up, for staff to see and to try again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.outbox import actions as outbox_actions
from collegium.outbox import queries as outbox_queries
from collegium.refusals import NotFound
from collegium.web.forms import Form
from collegium.web.page import Page, Paging
from collegium.web.staff import desk, page

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read
    from collegium.web.browser_request import Visit

HERE: Final = "/staff/mails/"

KINDS: Final = {
    "invitation_created": "Invitation",
    "invitation_approved": "Invitation with a new account",
    "invitation_requested": "May an invitation go out?",
    "invitation_rejected": "An invitation does not go out",
    "invitation_expired": "An invitation has expired",
    "invitation_accepted": "An invitation was accepted",
    "invitation_declined": "An invitation was declined",
    "invitation_renewal_wished": "A new link is wished for",
    "invitation_turned_away": "The invitee's account is deactivated",
    "change_email_request": "Is this address yours?",
    "email_changed": "The address was changed",
    "password_reset": "Link to set a password",
    "change_email_notice": "Another address was asked for",
    "password_changed": "The password was changed",
    "token_created": "A new token or program",
    "second_factor_enabled": "The second factor is on",
    "second_factor_disabled": "The second factor was turned off",
    "second_factor_failed": "Wrong codes of a second factor",
    "second_factor_reset": "The second factor is off",
    "permission_request_submitted": "Somebody asks to be let in",
    "permission_request_rejected": "A request was rejected",
    "structure_role_granted": "A request was approved",
    "notifications_profile_changes_operator": "An owner has other details",
}
"""Every kind of mail, in words."""

_ORDERS: Final = {"owed": "due", "abandoned": "-settled"}


def _list(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    show = visit.asked("show") if visit.asked("show") in _ORDERS else "owed"
    counts = outbox_queries.counts(tx)
    paging = Paging(visit, getattr(counts, show))
    order = (_ORDERS[show],)
    wanted = {"state": show}
    return page(
        visit,
        "staff_mails",
        status,
        show=show,
        counts=counts,
        now=tx.now,
        rows=outbox_queries.listing.page(
            tx, visit.actor, wanted, order, paging.size, paging.offset
        ),
        paging=paging,
        kinds=KINDS,
        form=form,
    )


def _change(visit: Visit) -> Answer:
    """Do what the pressed button says."""
    form = visit.form
    deed = form.choice("deed", "retry", "retry_all", "drop")
    text = form.raw("mail")
    mail = int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0  # noqa: PLR2004 - a number
    back = f"{HERE}?show=abandoned" if visit.asked("show") == "abandoned" else HERE
    if form.ok:
        try:
            return visit.go(back, _do(visit, deed, mail))
        except NotFound:
            return visit.go(back, "Nothing was done: it has left, or is leaving now.", kind="not")
    with visit.read() as tx:
        return _shown(visit, tx, form, 422)


def _do(visit: Visit, deed: str, mail: int) -> str:
    with visit.write() as tx:
        match deed:
            case "retry":
                outbox_actions.retry(tx, visit.actor, mail)
                return "The mail is on its way again. If it fails once more, it will say so here."
            case "drop":
                outbox_actions.drop(tx, visit.actor, mail)
                return "The mail is not sent any more."
        number = outbox_actions.retry_all(tx, visit.actor)
    return f"{number} {'mail is' if number == 1 else 'mails are'} on the way again."


ROUTES: Routes = desk(
    {
        HERE: {
            "GET": Page(_list, "Mails that did not leave."),
            "POST": Page(_change, "Try a mail again, or drop it."),
        },
    }
)
