"""The staff page for the roles of one organisation: its own, and those that it does not use."""

from __future__ import annotations

from typing import Final

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import ScopeKind
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.refusals import NotFound
from collegium.roles import queries as role_queries
from collegium.roles.availability import actions as availability_actions
from collegium.roles.availability import queries as availability_queries
from collegium.roles.queries import RoleRow
from collegium.text.languages import gettext as _
from collegium.text.languages import mark
from collegium.values import hex_uuid
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import kind_name, role_name
from collegium.web.page import Page
from collegium.web.staff import page, staff_only
from collegium.web.staff_organisations import HERE

_DESCRIPTION_MAX: Final = 150
_KINDS: Final = (ScopeKind.ORGANISATION, ScopeKind.PROJECT)
_ROWS_MAX: Final = 200
_DONE: Final = {
    "copy": mark("The role is copied. You can change the copy on the page of the role."),
    "conceal": mark("The organisation does not use the role any more. Members keep it."),
    "reveal": mark("The organisation uses the role again."),
    "release": mark("The role exists in every organisation now."),
}
"""Action → what is said when it is done."""


def _load(browser: BrowserRequest, tx: ReadTransaction) -> ScopeAccess:
    return access_queries.get_visible(
        tx, browser.actor, ScopeKind.ORGANISATION, browser.uuid("organisation")
    )


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render(browser, tx, Form.showing(conceals="yes"))


def _render(browser: BrowserRequest, tx: ReadTransaction, form: Form) -> Response:
    scope = _load(browser, tx).scope
    filters = {"organisation": scope.id}
    lists = (availability_queries.availabilities, availability_queries.concealments)
    own, concealed = (one.page(tx, browser.actor, filters, (), _ROWS_MAX, 0) for one in lists)
    used = [
        (kind, row) for kind in _KINDS for row in role_queries.of_kind(tx, kind.value, scope.id)
    ]
    options = [(row.uuid, _label(kind, row), row.organisation_id is None) for kind, row in used]
    return page(
        browser,
        "staff_organisation_roles",
        422 if form.errors else 200,
        scope=scope,
        own=own,
        concealed=concealed,
        used=[(uuid, label) for uuid, label, _is_everywhere in options],
        copied=[(uuid, label) for uuid, label, is_everywhere in options if is_everywhere],
        form=form,
        most=_DESCRIPTION_MAX,
    )


def _label(kind: ScopeKind, row: RoleRow) -> str:
    role = role_name(row.description, row.name)
    if row.organisation_id is None:
        return f"{role} ({kind_name(kind)})"
    return _("{role} ({kind}, its own)").format(role=role, kind=kind_name(kind))


def _change(browser: BrowserRequest) -> Response:
    """Do what the pressed button says."""
    form = browser.form
    action = form.choice("action", *_DONE)
    uuid = hex_uuid(form.raw("copied" if action == "copy" else "role")[:40])
    if uuid is None:
        raise NotFound("role.unknown")
    description = form.name("description", _DESCRIPTION_MAX) if action == "copy" else ""
    if form.is_valid:
        with form.showing_refusals(), browser.write() as tx:
            _act(browser, tx, action, uuid, description)
            return browser.answer(tx, browser.path, _(_DONE[action]))
    with browser.read() as tx:
        return _render(browser, tx, form)


def _act(
    browser: BrowserRequest, tx: WriteTransaction, action: str, uuid: str, description: str
) -> None:
    """Act on a role, or on the record that names it, which must be of this organisation."""
    organisation = _load(browser, tx)
    if action == "copy":
        availability_actions.clone(
            tx,
            browser.actor,
            uuid,
            organisation,
            description=description,
            conceals=browser.form.flag("conceals"),
        )
    elif action == "conceal":
        availability_actions.conceal(tx, browser.actor, uuid, organisation)
    else:
        get, act = (
            (availability_queries.get_concealment, availability_actions.reveal)
            if action == "reveal"
            else (availability_queries.get_availability, availability_actions.release)
        )
        if get(tx, browser.actor, uuid).organisation_id != organisation.scope.id:
            raise NotFound("role.unknown")
        act(tx, browser.actor, uuid)


ROUTES: Routes = staff_only(
    {
        f"{HERE}{{uuid}}/roles/": {
            "GET": Page(_show, "Show the roles of an organisation."),
            "POST": Page(_change, "Copy, conceal, reveal or release a role.", once=True),
        },
    },
)
