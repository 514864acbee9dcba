"""Links to a team for many: made, shown as text and as a picture, changed, closed."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from collegium.access.rules import Kind, Permission
from collegium.api.request import hex_uuid
from collegium.invitations import links
from collegium.invite_links import actions as invite_link_actions
from collegium.invite_links import queries as invite_link_queries
from collegium.invite_links import rules as invite_link_rules
from collegium.refusals import Conflict, Forbidden, Invalid, NotFound
from collegium.roles import queries as role_queries
from collegium.web import qr
from collegium.web.forms import Form
from collegium.web.page import Page, Paging, page
from collegium.web.scope import Team, offered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from markupsafe import Markup

    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read
    from collegium.db.statements import Row
    from collegium.web.browser_request import Visit

_PAGE: Final = 10
_TEXT_MAX: Final = 4000
_TEMPLATE_MAX: Final = 255
_AFFILIATION_MAX: Final = 255
_AFFILIATIONS_MAX: Final = 200
_TICKS: Final = ("auto_approve", "allow_multiple_requests", "is_public")


class Shown(NamedTuple):
    """An open invitation as the list shows it."""

    row: Row
    link: str
    picture: Markup | None
    is_open: bool
    is_over: bool
    is_resting: bool
    may_change: bool


def _list(kind: Kind, visit: Visit, tx: Read) -> Answer:
    team = Team.reach(visit, tx, kind, right="invitations")
    wanted = {"scope": (kind.value, team.scope.uuid)}
    paging = Paging(visit, invite_link_queries.listing.count(tx, visit.actor, wanted), _PAGE)
    rows = invite_link_queries.listing.page(tx, visit.actor, wanted, (), paging.size, paging.offset)
    return page(
        visit,
        "team_links",
        team=team,
        rows=_all_shown(visit, tx, team, rows),
        paging=paging,
    )


def _all_shown(visit: Visit, tx: Read, team: Team, rows: Sequence[Row]) -> list[Shown]:
    automatic = [row for row in rows if row.auto_approve]
    sponsored = invite_link_queries.sponsored(tx, automatic) if automatic else set()
    return [_shown(visit, tx, team, row, is_sponsored=row.id in sponsored) for row in rows]


def _shown(visit: Visit, tx: Read, team: Team, row: Row, *, is_sponsored: bool) -> Shown:
    link = links.to_open_invitation(visit.settings, row.uuid)
    is_open = invite_link_rules.is_active(row.canceled, row.expires, tx.now)
    picture = qr.draw(link, "QR code of this link", qr.MASK) if is_open else None
    return Shown(
        row,
        link,
        picture,
        is_open,
        is_over=row.canceled is None and not is_open,
        is_resting=is_open and row.auto_approve and not is_sponsored,
        may_change=not team.is_closed and (visit.actor.is_staff or not row.is_public),
    )


def _new(kind: Kind, visit: Visit, tx: Read) -> Answer:
    return _form(kind, visit, tx, Form.showing(expires=_latest(visit, tx.now).date().isoformat()))


def _form(
    kind: Kind, visit: Visit, tx: Read, form: Form, status: int = 200, row: Row | None = None
) -> Answer:
    """Show what can be said of a link; of one that is there, what it gives cannot be changed."""
    team = Team.reach(visit, tx, kind, right="grant")
    makes_projects = _makes_projects(team)
    return page(
        visit,
        "team_link",
        status,
        team=team,
        row=row,
        form=form,
        latest=_latest(visit, tx.now),
        options=_offered(tx, team),
        makes_projects=row.auto_create_project if row else makes_projects,
        projects=offered(tx, team, Kind.PROJECT) if makes_projects else [],
        placeholders=invite_link_rules.PLACEHOLDERS,
    )


def _makes_projects(team: Team) -> bool:
    return team.holds(Permission.PROJECT_CREATE)


def _offered(tx: Read, team: Team) -> list[tuple[str, str]]:
    """Give the roles that a link can give: in an organisation those of projects made there too."""
    own = offered(tx, team)
    if team.scope.kind != Kind.ORGANISATION or not _makes_projects(team):
        return own
    return own + [
        (uuid, f"{words}, in a project of their own")
        for uuid, words in offered(tx, team, Kind.PROJECT)
    ]


def _latest(visit: Visit, now: datetime) -> datetime:
    """Give the moment at which a link that is made now ends at the latest."""
    return now + timedelta(seconds=visit.settings.group_invitation_lifetime)


def _read(form: Form) -> dict[str, Any]:
    """Read what is said of a link, save its end and what it gives.

    Every error is kept for its field.
    """
    values: dict[str, Any] = {name: form.flag(name) for name in _TICKS}
    values["custom_text"] = form.text("custom_text", _TEXT_MAX, lines=True)
    values["template"] = form.name("template", _TEMPLATE_MAX) or None
    values["affiliations"] = form.lines("affiliations", _AFFILIATION_MAX, _AFFILIATIONS_MAX)
    values["email_patterns"] = form.lines(
        "email_patterns", invite_link_rules.PATTERN_MAX, invite_link_rules.PATTERNS_MAX
    )
    form.date("expires")
    # An unticked box is not sent, and an error belongs to it all the same.
    for name in (*_TICKS, "auto_create_project"):
        form.values.setdefault(name, [""])
    return values


def _read_end(visit: Visit, now: datetime, stored: datetime | None = None) -> dict[str, Any]:
    """Read the end of a link where it is another one than before."""
    form, latest = visit.form, _latest(visit, now)
    end = form.end("expires", stored)
    if end is None or end == stored:
        return {}
    if end.date() == latest.date():
        # The last day that can be chosen ends for the link when its longest time does.
        end = min(end, latest)
    _note(form, _checked_end(visit, end, now))
    return {"expires": end}


def _checked_end(visit: Visit, end: datetime, now: datetime) -> list[Invalid]:
    try:
        invite_link_rules.check_end(end, now, visit.settings.group_invitation_lifetime)
    except Invalid as refusal:
        return [refusal]
    return []


def _note(form: Form, problems: Iterable[Invalid]) -> None:
    for problem in problems:
        form.refused(problem)


def _make(kind: Kind, visit: Visit) -> Answer:
    form = visit.form
    values = _read(form) | _read_end(visit, visit.now)
    values["auto_create_project"] = form.flag("auto_create_project")
    with visit.create() as tx:
        team = Team.reach(visit, tx, kind, right="grant")
        done = (f"{team.path}links/", "The link is open. Give it to whom it is meant for.")
        role = _chosen(tx, form, "role", _offered(tx, team))
        if role is None:
            form.wrong("role", "Please choose one of these.")
        project_role = None
        if form.raw("project_role"):
            options = offered(tx, team, Kind.PROJECT) if _makes_projects(team) else []
            project_role = _chosen(tx, form, "project_role", options)
        if role is not None:
            _note(form, invite_link_actions.problems(visit.actor, kind, role, project_role, values))
        if role is not None and form.ok:
            try:
                invite_link_actions.create(
                    tx, visit.actor, visit.settings, team.reached, role, project_role, values
                )
                visit.created(tx, *done)
            except (Conflict, Forbidden) as refusal:
                form.refused(refusal)
    if form.ok:
        return visit.go(*done)
    with visit.read() as tx:
        return _form(kind, visit, tx, form, 422)


def _chosen(tx: Read, form: Form, name: str, options: list[tuple[str, str]]) -> Row | None:
    uuid = form.choice(name, "", *(uuid for uuid, _ in options))
    return role_queries.find(tx, uuid) if uuid else None


def _one(kind: Kind, visit: Visit, tx: Read) -> tuple[Team, Row]:
    uuid = hex_uuid(visit.segments["one"])
    team = Team.reach(visit, tx, kind, right="grant")
    row = invite_link_queries.find(tx, visit.actor, uuid) if uuid else None
    if row is None or row.scope_id != team.scope.id:
        raise NotFound("open_invitation.unknown")
    return team, row


def _edit(kind: Kind, visit: Visit, tx: Read) -> Answer:
    _, row = _one(kind, visit, tx)
    invite_link_rules.check_may_change(is_public=row.is_public, is_staff=visit.actor.is_staff)
    invite_link_rules.check_active(row.canceled, row.expires, tx.now, "open_invitation.closed")
    return _form(kind, visit, tx, _showing(row), row=row)


def _showing(row: Row) -> Form:
    return Form.showing_end(
        "expires",
        row.expires,
        custom_text=row.custom_text,
        template=row.template or "",
        affiliations="\n".join(row.affiliations),
        email_patterns="\n".join(row.email_patterns),
        **{name: "yes" if getattr(row, name) else "" for name in _TICKS},
    )


def _change(kind: Kind, visit: Visit) -> Answer:
    """Do what the pressed button says: change a link, or close it."""
    form = visit.form
    deed = form.choice("deed", "save", "close")
    values = _read(form) if deed == "save" else {}
    with visit.write() as tx:
        team, row = _one(kind, visit, tx)
        if deed == "close":
            invite_link_actions.cancel(tx, visit.actor, row.uuid)
        else:
            # A form cannot show everything that the API takes: what it showed stays as it is.
            shown = _read(_showing(row))
            values = {name: value for name, value in values.items() if value != shown[name]}
            values |= _read_end(visit, tx.now, row.expires)
            _note(form, invite_link_actions.problems_of_change(visit.actor, row, values))
            if form.ok:
                invite_link_actions.change(tx, visit.actor, visit.settings, row.uuid, values)
    if not form.ok:
        with visit.read() as tx:
            return _form(kind, visit, tx, form, 422, row)
    said = (
        "The link says something else from now on."
        if deed == "save"
        else "The link is closed. Who has asked by it already can still be let in."
    )
    return visit.go(f"{team.path}links/", said)


def routes(kind: Kind, here: str) -> Routes:
    """Give the routes of one kind of scope.

    Args:
        here: the path of the scope itself.
    """
    if kind is Kind.GROUP:
        # Anybody may ask at a group itself; nobody needs a link to be allowed to.
        return {}
    return {
        f"{here}links/": {"GET": Page(partial(_list, kind), "The links for many.")},
        f"{here}link/": {
            "GET": Page(partial(_new, kind), "What a new link for many is to say."),
            "POST": Page(partial(_make, kind), "Make a link for many.", creates=True),
        },
        f"{here}links/{{one}}/": {
            "GET": Page(partial(_edit, kind), "What a link for many says."),
            "POST": Page(partial(_change, kind), "Change a link for many, or close it."),
        },
    }
