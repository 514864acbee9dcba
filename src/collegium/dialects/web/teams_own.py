"""Where somebody has a hand in: all their teams, and founding a group."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from collegium.actions import groups as actions
from collegium.dialects.web.forms import Form
from collegium.dialects.web.page import Page, Paging, page
from collegium.dialects.web.team import searched
from collegium.dialects.web.words import role
from collegium.rules.access import Kind
from collegium.rules.groups import NAME_LENGTH
from collegium.rules.names import isolated
from collegium.rules.refusals import Conflict, Invalid
from collegium.store import memberships, scopes

if TYPE_CHECKING:
    from collegium.dialects.http import Answer, Routes
    from collegium.dialects.web.visit import Visit
    from collegium.store.db import Read

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
    paging = Paging(visit, scopes.listing.count(tx, visit.actor, wanted))
    held = defaultdict(list)
    for grant in memberships.own(tx, visit.actor.id):
        held[grant.scope_id].append(role(grant))
    return page(
        visit,
        "teams",
        status,
        rows=scopes.listing.page(tx, visit.actor, wanted, (), paging.size, paging.offset),
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
                number = actions.create(tx, visit.actor, name, settings=visit.settings)
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
