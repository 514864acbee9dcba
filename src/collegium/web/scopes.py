"""Where somebody has a hand in: all their teams, and founding a group."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from collegium.access.rules import Kind
from collegium.memberships import queries as membership_queries
from collegium.refusals import Conflict, Invalid
from collegium.scopes import queries as scope_queries
from collegium.scopes.groups import actions as group_actions
from collegium.scopes.groups.rules import NAME_LENGTH
from collegium.text.names import isolated
from collegium.web.forms import Form
from collegium.web.messages import role
from collegium.web.page import Page, Paging, page
from collegium.web.scope import searched

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read
    from collegium.web.browser_request import Visit

HERE: Final = "/teams/"

_KINDS: Final = [
    ("", "All"),
    (Kind.ORGANISATION.value, "Organisations"),
    (Kind.PROJECT.value, "Projects"),
    (Kind.GROUP.value, "Groups"),
]


def _show(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    search = searched(visit)
    kind = visit.asked("kind") if visit.asked("kind") in list(Kind) else ""
    wanted: dict[str, Any] = {"name": search} if search else {}
    if kind:
        wanted["kind"] = kind
    paging = Paging(visit, scope_queries.listing.count(tx, visit.actor, wanted))
    held = defaultdict(list)
    for grant in membership_queries.own(tx, visit.actor.id):
        held[grant.scope_id].append(role(grant))
    return page(
        visit,
        "teams",
        status,
        rows=scope_queries.listing.page(tx, visit.actor, wanted, (), paging.size, paging.offset),
        held=held,
        paging=paging,
        search=Form.showing(q=search, kind=kind),
        kinds=_KINDS,
        is_filtered=bool(wanted),
        form=form,
        most=NAME_LENGTH,
    )


def _found(visit: Visit) -> Answer:
    form = visit.form
    name = form.name("name", NAME_LENGTH, required=True)
    if form.ok:
        try:
            with visit.create() as tx:
                number = group_actions.create(tx, visit.actor, name, settings=visit.settings)
                said = f"The group {isolated(name)} is founded. Invite people."
                visit.created(tx, f"/group/{number}/team/", said)
        except (Conflict, Invalid) as refusal:
            form.refused(refusal)
        else:
            return visit.go(f"/group/{number}/team/", said)
    with visit.read() as tx:
        return _shown(visit, tx, form, 422)


ROUTES: Routes = {
    HERE: {
        "GET": Page(_show, "My teams."),
        "POST": Page(_found, "Found a group.", creates=True),
    },
}
