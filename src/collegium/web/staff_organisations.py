"""Organisations, for staff: found, made, and closed for a while or for good."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from collegium.access import queries as access_queries
from collegium.access.rules import Kind
from collegium.refusals import Conflict, Invalid
from collegium.scopes.organisations import actions as organisation_actions
from collegium.scopes.organisations import queries as organisation_queries
from collegium.text.names import isolated
from collegium.web.forms import Form
from collegium.web.page import Page, Paging
from collegium.web.scope import searched
from collegium.web.staff import desk, page

if TYPE_CHECKING:
    from collegium.api.request import Answer, Routes
    from collegium.db.database import Read
    from collegium.web.browser_request import Visit

HERE: Final = "/staff/organisations/"

SORTS: Final = {"name": ("Name", "name"), "newest": ("Newest", "-created")}

FIELDS: Final = {
    "name": ("Name", "", 150),
    "abbreviation": ("Short name", "Such as the letters people say.", 12),
    "native_name": ("Name in its own language", "", 160),
    "registration_code": ("Registration code", "", 160),
    "email": ("E-mail address", "", 75),
}
"""Column to label, hint, and length."""

_NAMES: Final = frozenset({"name", "abbreviation", "native_name"})

DEEDS: Final[dict[str, tuple[dict[str, bool], str]]] = {
    "block": ({"blocked": True}, "is blocked: nothing in it can be changed until you open it"),
    "unblock": ({"blocked": False}, "is open again"),
    "archive": ({"archived": True}, "is archived: it is kept, and nothing in it can be changed"),
    "unarchive": ({"archived": False}, "is out of the archive again"),
}


def _list(visit: Visit, tx: Read) -> Answer:
    search = searched(visit)
    sort = visit.asked("sort") if visit.asked("sort") in SORTS else "name"
    wanted: dict[str, Any] = {"query": search} if search else {}
    paging = Paging(visit, organisation_queries.listing.count(tx, visit.actor, wanted))
    order = (SORTS[sort][1],)
    return page(
        visit,
        "staff_organisations",
        rows=organisation_queries.listing.page(
            tx, visit.actor, wanted, order, paging.size, paging.offset
        ),
        paging=paging,
        form=Form.showing(q=search, sort=sort),
        sorts=[(word, said) for word, (said, _) in SORTS.items()],
        search=search,
    )


def _one(visit: Visit, tx: Read) -> Answer:
    return _shown(visit, tx, Form())


def _shown(visit: Visit, tx: Read, form: Form, status: int = 200) -> Answer:
    row = organisation_queries.find(tx, visit.actor, visit.uuid("organisation"))
    projects = organisation_queries.projects_of(tx, visit.actor, [row.id])
    return page(
        visit,
        "staff_organisation",
        status,
        row=row,
        projects=projects,
        fields=FIELDS,
        form=form,
    )


def _change(visit: Visit) -> Answer:
    """Do what the pressed button says."""
    form = visit.form
    deed = form.choice("deed", *DEEDS)
    if form.ok:
        changes, said = DEEDS[deed]
        try:
            with visit.write() as tx:
                reached = access_queries.reach(
                    tx, visit.actor, Kind.ORGANISATION, visit.uuid("organisation")
                )
                organisation_actions.update(tx, visit.actor, reached, changes)
        except (Conflict, Invalid) as refusal:
            form.refused(refusal)
        else:
            return visit.go(visit.path, f"{isolated(reached.scope.name)} {said}.")
    with visit.read() as tx:
        return _shown(visit, tx, form, 422)


def _ask(visit: Visit, tx: Read) -> Answer:
    del tx
    return _new(visit, Form())


def _new(visit: Visit, form: Form, status: int = 200) -> Answer:
    return page(visit, "staff_organisation_new", status, form=form, fields=FIELDS)


def _create(visit: Visit) -> Answer:
    form = visit.form
    values = {
        name: (form.name if name in _NAMES else form.text)(name, most, required=name == "name")
        for name, (_label, _hint, most) in FIELDS.items()
    }
    if values["email"]:
        values["email"] = form.email("email")
    if form.ok:
        try:
            with visit.create() as tx:
                uuid = organisation_actions.create(tx, visit.actor, visit.settings, values)
                made = isolated(values["name"])
                said = f"{made} is made. Nobody belongs to it yet: invite its first owner."
                visit.created(tx, f"{HERE}{uuid}/", said)
        except (Conflict, Invalid) as refusal:
            form.refused(refusal)
        else:
            return visit.go(f"{HERE}{uuid}/", said)
    return _new(visit, form, 422)


ROUTES: Routes = desk(
    {
        HERE: {"GET": Page(_list, "Find organisations.")},
        f"{HERE}new/": {
            "GET": Page(_ask, "What organisation to make."),
            "POST": Page(_create, "Make an organisation.", creates=True),
        },
        f"{HERE}{{uuid}}/": {
            "GET": Page(_one, "An organisation."),
            "POST": Page(_change, "Close an organisation, or open it again."),
        },
    },
    only_staff=(f"{HERE}new/",),
)
