"""Links to a team for many: made, shown as text and as a picture, closed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from collegium.actions import links
from collegium.actions import open_invitations as actions
from collegium.dialects.http import hex_uuid
from collegium.dialects.web import qr
from collegium.dialects.web.forms import Form
from collegium.dialects.web.page import Page, Paging, page
from collegium.dialects.web.team import Team, chosen, offered
from collegium.rules.open_invitations import is_active
from collegium.rules.refusals import Conflict, NotFound
from collegium.store import open_invitations

if TYPE_CHECKING:
    from markupsafe import Markup

    from collegium.dialects.http import Answer, Routes
    from collegium.dialects.web.visit import Visit
    from collegium.rules.access import Kind
    from collegium.store.db import Read, Row

_TEXT_MAX: Final = 4000


class Shown(NamedTuple):
    """An open invitation as the list shows it."""

    row: Row
    link: str
    picture: Markup | None
    is_open: bool
    is_over: bool


def _list(kind: Kind, visit: Visit, tx: Read) -> Answer:
    return _listed(kind, visit, tx, Form())


def _listed(kind: Kind, visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    team = Team.reach(visit, tx, kind, right="invitations")
    wanted = {"scope": (kind.value, team.scope.uuid)}
    paging = Paging(visit, open_invitations.listing.count(tx, visit.actor, wanted))
    rows = open_invitations.listing.page(tx, visit.actor, wanted, (), paging.size, paging.offset)
    return page(
        visit,
        "team_links",
        status,
        team=team,
        rows=[_shown(visit, tx, row) for row in rows],
        paging=paging,
        form=form,
        options=offered(tx, team) if team.may_let_in else [],
    )


def _shown(visit: Visit, tx: Read, row: Row) -> Shown:
    link = links.to_open_invitation(visit.settings, row.uuid)
    is_open = is_active(row.canceled, row.expires, tx.now)
    picture = qr.draw(link, "QR code of this link") if is_open else None
    return Shown(row, link, picture, is_open, row.canceled is None and not is_open)


def _make(kind: Kind, visit: Visit) -> Answer:
    form = visit.form
    text = form.text("custom_text", _TEXT_MAX, lines=True)
    with visit.write() as tx:
        team = Team.reach(visit, tx, kind, right="grant")
        role = chosen(tx, team, form)
        if role is not None and form.ok:
            try:
                actions.create(
                    tx, visit.actor, visit.settings, team.reached, role, None, {"custom_text": text}
                )
            except Conflict as refusal:
                form.refused(refusal)
    if form.ok:
        return visit.go(f"{team.path}links/", "The link is open. Give it to whom it is meant for.")
    with visit.read() as tx:
        return _listed(kind, visit, tx, form, 422)


def _close(kind: Kind, visit: Visit) -> Answer:
    uuid = hex_uuid(visit.segments["one"])
    if uuid is None:
        raise NotFound("open_invitation.unknown")
    with visit.write() as tx:
        team = Team.reach(visit, tx, kind, right="grant")
        if open_invitations.find(tx, visit.actor, uuid).scope_id != team.scope.id:
            raise NotFound("open_invitation.unknown")
        actions.cancel(tx, visit.actor, uuid)
    return visit.go(
        f"{team.path}links/", "The link is closed. Who has asked by it already can still be let in."
    )


def routes(kind: Kind, here: str) -> Routes:
    """Give the routes of one kind of scope.

    Args:
        here: the path of the scope itself.
    """
    return {
        f"{here}links/": {
            "GET": Page(partial(_list, kind), "The links for many."),
            "POST": Page(partial(_make, kind), "Make a link for many."),
        },
        f"{here}links/{{one}}/": {"POST": Page(partial(_close, kind), "Close a link for many.")},
    }
