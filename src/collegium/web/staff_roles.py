"""The staff pages for roles: a matrix of permissions; create, change, disable, delete."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from collegium.access.rules import Permission, ScopeKind
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.roles import actions as role_actions
from collegium.roles import queries as role_queries
from collegium.roles.rules import NAME_MAX
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, translated
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page
from collegium.web.staff import page, staff_only

HERE: Final = "/staff/roles/"
_TEXT_MAX: Final = 2000


class Area(NamedTuple):
    """A group of permissions: its title, and for each permission a label and a sentence."""

    title: str
    words: dict[Permission, tuple[str, str]]


_MEMBER_LABELS: Final = (mark("add"), mark("change end dates"), mark("remove"))


def _member_area(title: str, sentences: Sequence[str], *permissions: Permission) -> Area:
    words = zip(_MEMBER_LABELS, sentences, strict=True)
    return Area(title, dict(zip(permissions, words, strict=True)))


def _translated(areas: Sequence[Area]) -> list[Area]:
    """Return areas in the language of the reader."""
    return [
        Area(
            _(area.title),
            {name: (_(label), _(sentence)) for name, (label, sentence) in area.words.items()},
        )
        for area in areas
    ]


TREE: Final = (
    Area(
        mark("Organisation"),
        {
            Permission.ORGANISATION_CREATE: (mark("create"), mark("Create organisations")),
            Permission.ORGANISATION_UPDATE: (
                mark("change"),
                mark("Change the details of the organisation"),
            ),
            Permission.ORGANISATION_DELETE: (mark("delete"), mark("Delete the organisation")),
        },
    ),
    _member_area(
        mark("Members"),
        (
            mark(
                "Add members to the organisation: invite them, assign roles, decide on join "
                "requests"
            ),
            mark("Change end dates of roles in the organisation"),
            mark("Remove members from the organisation"),
        ),
        Permission.ORGANISATION_GRANT,
        Permission.ORGANISATION_UPDATE_ROLE,
        Permission.ORGANISATION_REVOKE,
    ),
    Area(
        mark("Projects"),
        {
            Permission.PROJECT_LIST: (mark("list"), mark("List the projects")),
            Permission.PROJECT_CREATE: (mark("create"), mark("Create projects")),
            Permission.PROJECT_UPDATE: (mark("change"), mark("Change the details of projects")),
            Permission.PROJECT_DELETE: (mark("delete"), mark("Delete projects")),
        },
    ),
    _member_area(
        mark("Project members"),
        (
            mark("Add members to projects: invite them, assign roles, decide on join requests"),
            mark("Change end dates of roles in projects"),
            mark("Remove members from projects"),
        ),
        Permission.PROJECT_GRANT,
        Permission.PROJECT_UPDATE_ROLE,
        Permission.PROJECT_REVOKE,
    ),
    Area(
        mark("Other"),
        {
            Permission.INVITATION_LIST: (mark("read invitations"), mark("Read invitations")),
            Permission.ORGANISATION_REVIEWS: (
                mark("read reviews"),
                mark("Read the reviews of roles"),
            ),
            Permission.SUBNET_CREATE: (mark("add networks"), mark("Add access networks")),
            Permission.SUBNET_UPDATE: (mark("change networks"), mark("Change access networks")),
            Permission.SUBNET_DELETE: (mark("delete networks"), mark("Delete access networks")),
        },
    ),
)
"""Permissions that apply in organisations and their projects."""

GROUPS: Final = (
    Area(
        mark("Group"),
        {
            Permission.GROUP_UPDATE: (mark("change"), mark("Change the details of the group")),
            Permission.GROUP_DELETE: (mark("delete"), mark("Delete the group")),
        },
    ),
    _member_area(
        mark("Members"),
        (
            mark("Add members to the group: invite them, assign roles, decide on join requests"),
            mark("Change end dates of roles in the group"),
            mark("Remove members from the group"),
        ),
        Permission.GROUP_GRANT,
        Permission.GROUP_UPDATE_ROLE,
        Permission.GROUP_REVOKE,
    ),
)
"""Permissions that apply in groups, which have no parent."""

KINDS: Final = {
    ScopeKind.ORGANISATION.value: mark("Organisations and their projects"),
    ScopeKind.PROJECT.value: mark("Projects"),
}
_TITLES: Final = {
    ScopeKind.ORGANISATION: (mark("Roles in organisations"), TREE),
    ScopeKind.PROJECT: (mark("Roles in projects"), TREE),
    ScopeKind.GROUP: (mark("Roles in groups"), GROUPS),
}


def _cell(area: Area, permissions: Collection[str]) -> str:
    return ", ".join(
        label for permission, (label, _sentence) in area.words.items() if permission in permissions
    )


def _matrix(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    rows = role_queries.all_roles(tx)
    permissions = role_queries.permissions_of(tx, [row.id for row in rows])
    tables = []
    for kind, (title, untranslated) in _TITLES.items():
        areas = _translated(untranslated)
        role_rows = [
            (row, [(area.title, _cell(area, permissions.get(row.id, ()))) for area in areas])
            for row in rows
            if row.kind == kind
        ]
        tables.append((kind, _(title), [area.title for area in areas], role_rows))
    return page(browser, "staff_roles", tables=tables)


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_role(browser, tx)


def _render_role(
    browser: BrowserRequest,
    tx: ReadTransaction,
    form: Form | None = None,
    status: int = 200,
    *,
    from_database: bool = True,
) -> Response:
    """Show a role.

    Args:
        from_database: Whether to show the stored role instead of the posted form.
    """
    row = role_queries.get_by_uuid(tx, browser.uuid("role"))
    form = form or Form()
    if from_database:
        form.values = {
            "name": [row.name],
            "description": [row.description],
            "permissions": role_queries.permissions_of(tx, [row.id]).get(row.id, []),
        }
    where = _(KINDS[row.kind])
    return page(
        browser, "staff_role", status, row=row, where=where, areas=_translated(TREE), form=form
    )


def _change(browser: BrowserRequest) -> Response:
    """Do what the pressed button says."""
    form = browser.form
    action = form.choice("action", "save", "enable", "disable", "delete")
    changes = {}
    if action == "save":
        changes["description"] = form.text("description", _TEXT_MAX, lines=True)
        if "name" in form.values:
            changes["name"] = form.name("name", NAME_MAX, required=True)
        with browser.read() as tx:
            row = role_queries.get_by_uuid(tx, browser.uuid("role"))
            form.add_refusals(role_actions.problems(tx, row, changes, _checked_permissions(form)))
    if form.is_valid:
        with form.showing_refusals():
            return _perform_on_role(browser, action, changes)
    with browser.read() as tx:
        return _render_role(browser, tx, form, 422, from_database=action != "save")


def _perform_on_role(browser: BrowserRequest, action: str, changes: dict[str, str]) -> Response:
    uuid, actor = browser.uuid("role"), browser.actor
    with browser.write() as tx:
        match action:
            case "delete":
                role_actions.delete(tx, actor, uuid)
                return browser.answer(tx, HERE, _("The role is deleted."))
            case "save":
                role_actions.update(tx, actor, uuid, changes, _checked_permissions(browser.form))
                message = _("The role is saved. The changes take effect at once.")
            case "enable":
                role_actions.set_active(tx, actor, uuid, active=True)
                message = _("The role is enabled.")
            case _:
                role_actions.set_active(tx, actor, uuid, active=False)
                message = _("The role is disabled. Its current holders keep it.")
        return browser.answer(tx, browser.path, message)


def _checked_permissions(form: Form) -> list[str]:
    return list(dict.fromkeys(form.many("permissions")))


def _show_new(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    del tx
    return _render_new(browser, Form())


def _render_new(browser: BrowserRequest, form: Form, status: int = 200) -> Response:
    kinds = list(translated(KINDS).items())
    return page(browser, "staff_role_new", status, form=form, kinds=kinds, areas=_translated(TREE))


def _create(browser: BrowserRequest) -> Response:
    form = browser.form
    values = {
        "name": form.name("name", NAME_MAX, required=True),
        "kind": form.choice("kind", *KINDS),
        "description": form.text("description", _TEXT_MAX, lines=True),
    }
    known = {name: value for name, value in values.items() if name not in form.errors}
    with browser.read() as tx:
        form.add_refusals(role_actions.problems(tx, None, known, _checked_permissions(form)))
    if form.is_valid:
        with form.showing_refusals():
            with browser.create() as tx:
                uuid = role_actions.create(tx, browser.actor, values, _checked_permissions(form))
                destination = (f"{HERE}{uuid}/", _("The role is created and enabled."))
                browser.created(tx, *destination)
            return browser.redirect(*destination)
    return _render_new(browser, form, 422)


ROUTES: Routes = staff_only(
    {
        HERE: {"GET": Page(_matrix, "List the roles and their permissions.")},
        f"{HERE}new/": {
            "GET": Page(_show_new, "Show the form that creates a role."),
            "POST": Page(_create, "Create a role.", creates=True),
        },
        f"{HERE}{{uuid}}/": {
            "GET": Page(_show, "Show a role."),
            "POST": Page(_change, "Change, enable, disable or delete a role.", once=True),
        },
    },
    staff_paths=(f"{HERE}new/",),
)
