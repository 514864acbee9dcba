"""Asking to be let in to a group."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.api import limits
from collegium.join_requests import queries as join_request_queries
from collegium.memberships import queries as membership_queries
from collegium.refusals import Conflict
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups import queries as group_queries
from collegium.web.forms import Form
from collegium.web.invite_link import MESSAGE_MAX
from collegium.web.page import Page, page
from collegium.web.scope import number

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read
    from collegium.web.browser_request import Visit


def _show(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    group = group_queries.by_number(tx, number(visit))
    return page(
        visit,
        "group",
        status,
        group=group,
        grant=membership_queries.in_scope(tx, visit.actor.id, group.id),
        mine=join_request_queries.latest(tx, visit.actor.id, group.id, None),
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
                _row, is_new = group_actions.join(
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
