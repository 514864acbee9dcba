"""Asking to be let in to a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.actions import groups as actions
from collegium.dialects import limits
from collegium.dialects.web.forms import Form
from collegium.dialects.web.open_invitations import MESSAGE_MAX
from collegium.dialects.web.page import Page, page
from collegium.dialects.web.team import number
from collegium.rules.refusals import Conflict
from collegium.store import groups, memberships, requests

if TYPE_CHECKING:
    from collegium.dialects.http import Answer, Routes
    from collegium.dialects.web.visit import Visit
    from collegium.store.db import Read


def _show(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    group = groups.by_number(tx, number(visit))
    return page(
        visit,
        "group",
        status,
        group=group,
        grant=memberships.in_scope(tx, visit.actor.id, group.id),
        mine=requests.latest(tx, visit.actor.id, group.id, None),
        form=form,
    )


def _ask(visit: Visit) -> Answer:
    form = visit.form
    message = form.text("message", MESSAGE_MAX, lines=True)
    if form.ok:
        limits.check(visit, limits.JOIN)
        try:
            done = (visit.path, "You have asked. You get a mail as soon as it is decided.")
            with visit.create() as tx:
                _row, is_new = actions.join(
                    tx, visit.actor, number(visit), message, settings=visit.settings
                )
                limits.count(visit, tx, limits.JOIN, int(is_new))
                visit.created(tx, *done)
        except Conflict as refusal:
            form.refused(refusal)
        else:
            return visit.go(*done)
    with visit.read() as tx:
        return _shown(visit, tx, form, 422)


ROUTES: Routes = {
    "/group/{number}/": {
        "GET": Page(_show, "A group."),
        "POST": Page(_ask, "Ask to be let in to a group.", creates=True),
    },
}
