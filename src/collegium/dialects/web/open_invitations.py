"""Asking to be let in, by a link that many may follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from collegium.actions import requests as actions
from collegium.dialects import limits
from collegium.dialects.web.forms import Form
from collegium.dialects.web.page import Page, page
from collegium.dialects.web.words import place, role
from collegium.rules.open_invitations import is_active
from collegium.rules.refusals import Conflict, NotFound
from collegium.store import open_invitations, requests

if TYPE_CHECKING:
    from collegium.dialects.http import Answer, Routes
    from collegium.dialects.web.visit import Visit
    from collegium.store.db import Read

MESSAGE_MAX: Final = 1000


def _show(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    try:
        link = open_invitations.find(tx, visit.actor, visit.uuid("open_invitation"))
    except NotFound:
        # Without an account only public ones can be seen, and nothing tells whether there is one.
        if visit.is_signed_in:
            raise
        return visit.to_sign_in()
    mine = None
    if visit.is_signed_in:
        mine = requests.latest(tx, visit.actor.id, link.scope_id, link.id)
    return page(
        visit,
        "open_invitation",
        status,
        link=link,
        is_open=is_active(link.canceled, link.expires, tx.now)
        and link.role_is_active
        and not link.blocked
        and not link.archived,
        is_automatic=actions.is_let_in_at_once(tx, visit.actor, link),
        mine=mine,
        form=form,
    )


def _ask(visit: Visit) -> Answer:
    form = visit.form
    message = form.text("message", MESSAGE_MAX, lines=True)
    if form.ok:
        uuid = visit.uuid("open_invitation")
        limits.check(visit, limits.ASK)
        try:
            with visit.create() as tx:
                asked = actions.submit(tx, visit.actor, visit.settings, uuid, message)
                limits.count(visit, tx, limits.ASK)
                done = visit.path, "You have asked. You get a mail as soon as it is decided."
                if asked.is_approved:
                    where = f"{role(asked.request)} in the {place(asked.request)}"
                    done = "/account/", f"Welcome! You are now {where}."
                visit.created(tx, *done)
        except Conflict as refusal:
            form.refused(refusal)
        else:
            return visit.go(*done)
    with visit.read() as tx:
        return _shown(visit, tx, form, 422)


ROUTES: Routes = {
    "/open_invitation/{uuid}/": {
        "GET": Page(_show, "What a link for many offers.", open=True),
        "POST": Page(_ask, "Ask to be let in.", creates=True),
    },
}
