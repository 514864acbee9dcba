"""The pages that bring deleted projects back, and that move a project to another organisation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collegium.access import queries as access_queries
from collegium.access.rules import Permission, ScopeKind, require_staff
from collegium.api.request import Response, Routes
from collegium.claim_rules import queries as claim_rule_queries
from collegium.db.database import ReadTransaction
from collegium.memberships.queries import MemberFacts
from collegium.refusals import Conflict, Forbidden, NotFound
from collegium.scopes.projects import actions as project_actions
from collegium.scopes.projects import queries as project_queries
from collegium.scopes.projects import recovery
from collegium.scopes.projects.queries import AnyProject
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, ngettext, translated
from collegium.text.names import isolated
from collegium.values import hex_uuid
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, load_page, page
from collegium.web.scope import PATHS, ScopePage
from collegium.web.sorting import DELETED_PROJECTS, Sorting

_MEMBERS: Final = {
    "": mark("Bring it back without members"),
    "invite": mark("Invite the people who were members"),
    "restore": mark("Give the people who were members their roles back"),
}
"""What happens to the former members; the last is for staff."""

_KEEPS: Final = {
    "keep": mark(
        "Members keep their roles, if the new organisation admits them and uses the roles"
    ),
    "end": mark("All roles, invitations, invite links and join requests end"),
}


def _load(browser: BrowserRequest, tx: ReadTransaction) -> ScopePage:
    scope_page = ScopePage.load(browser, tx, ScopeKind.ORGANISATION)
    if not scope_page.recovers_projects:
        raise Forbidden("permission.missing")
    return scope_page


def _list(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    scope_page = _load(browser, tx)
    filters = {"organisation": scope_page.scope.id, "is_removed": True}
    sorting = Sorting(browser, DELETED_PROJECTS)
    rows, paging = load_page(browser, tx, project_queries.history, filters, sorting.order)
    return page(
        browser,
        "deleted_projects",
        scope_page=scope_page,
        rows=rows,
        paging=paging,
        sorting=sorting,
    )


def _get_deleted(browser: BrowserRequest, tx: ReadTransaction, scope_page: ScopePage) -> AnyProject:
    """Return the deleted project of the path, which was deleted in this organisation."""
    project = project_queries.get_visible_any(tx, browser.actor, browser.uuid("project", "one"))
    if project.organisation_id != scope_page.scope.id:
        raise NotFound("project.unknown")
    return project


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render(browser, tx, Form())


def _render(browser: BrowserRequest, tx: ReadTransaction, form: Form) -> Response:
    scope_page = _load(browser, tx)
    project = _get_deleted(browser, tx, scope_page)
    if project.deleted_at is None:
        return browser.redirect(
            f"/project/{browser.segments['one']}/", _("This project is not deleted.")
        )
    return page(
        browser,
        "deleted_project",
        422 if form.errors else 200,
        scope_page=scope_page,
        project=project,
        may_recover=scope_page.holds(Permission.PROJECT_CREATE) and not scope_page.is_closed,
        options=[
            (value, label)
            for value, label in translated(_MEMBERS).items()
            if value != "restore" or browser.actor.is_staff
        ],
        form=form,
    )


def _recover(browser: BrowserRequest) -> Response:
    with browser.read() as tx:
        project = _get_to_recover(browser, tx)
    form = browser.form
    members = form.choice("members", *_MEMBERS)
    wishes = recovery.Wishes(
        restores_members=members == "restore",
        invites_members=members == "invite",
        end=form.date("end_date"),
    )
    form.judge(project_actions.check_dates, browser.now, {"end_date": wishes.end})
    found = None
    if form.is_valid:
        with form.showing_refusals(), browser.write() as tx:
            project = _get_to_recover(browser, tx)
            uuid = browser.uuid("project", "one")
            found = recovery.recover(tx, browser.actor, browser.settings, uuid, wishes)
            path = f"/project/{uuid}/"
            message = _("The project {name} is back.").format(name=isolated(project.name))
            browser.keep_answer(tx, path, message)
    if found is None:
        if browser.was_answered:
            # The same button was pressed before.
            raise Conflict("project.not_deleted")
        with browser.read() as tx:
            return _render(browser, tx, form)
    invited = recovery.invite_all(browser.write, browser.actor, browser.settings, found)
    if invited:
        message += " " + ngettext(
            "{number} person is invited.", "{number} people are invited.", len(invited)
        ).format(number=len(invited))
    if found.restored:
        again = len({one.account_id for one in found.restored})
        message += " " + ngettext(
            "{number} person has a role again.", "{number} people have a role again.", again
        ).format(number=again)
    if not invited and not found.restored:
        return browser.redirect(path, message)
    with browser.write() as tx:
        return browser.answer(tx, path, message)


def _get_to_recover(browser: BrowserRequest, tx: ReadTransaction) -> AnyProject:
    scope_page = _load(browser, tx)
    if not scope_page.holds(Permission.PROJECT_CREATE):
        raise Forbidden("permission.missing")
    return _get_deleted(browser, tx, scope_page)


def _show_move(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_move(browser, tx, Form.showing(members="keep"))


def _render_move(browser: BrowserRequest, tx: ReadTransaction, form: Form) -> Response:
    scope_page = _load_to_move(browser, tx)
    status = 422 if form.errors else 200
    return page(
        browser,
        "project_move",
        status,
        scope_page=scope_page,
        options=[*translated(_KEEPS).items()],
        form=form,
    )


def _move(browser: BrowserRequest) -> Response:
    with browser.read() as tx:
        scope_page = _load_to_move(browser, tx)
    form = browser.form
    name = form.text("organisation", 500, required=True)
    keeps = form.choice("members", *_KEEPS) == "keep"
    with form.showing_refusals(), browser.write() as tx:
        access = _load_to_move(browser, tx).access
        found = claim_rule_queries.organisations_named(tx, name, hex_uuid(name))
        if len(found) != 1 and "organisation" not in form.errors:
            several = _("Several organisations have this name. Please enter the UUID.")
            missing = _("There is no such organisation.")
            form.add_error("organisation", several if found else missing)
        if form.is_valid:
            target = access_queries.get_visible_by_id(tx, browser.actor, found[0].id)
            lost = recovery.move(tx, browser.actor, access, target, keeps_members=keeps)
            return browser.answer(tx, scope_page.path, _moved_message(target.scope.name, lost))
    with browser.read() as tx:
        return _render_move(browser, tx, form)


def _moved_message(organisation: str, lost: Sequence[MemberFacts]) -> str:
    message = _("The project belongs to {name} now.").format(name=isolated(organisation))
    if not lost:
        return message
    number = len({one.account_id for one in lost})
    return f"{message} " + ngettext(
        "{number} person has lost a role, as the audit log says.",
        "{number} people have lost a role, as the audit log says.",
        number,
    ).format(number=number)


def _load_to_move(browser: BrowserRequest, tx: ReadTransaction) -> ScopePage:
    scope_page = ScopePage.load(browser, tx, ScopeKind.PROJECT)
    require_staff(browser.actor)
    return scope_page


_ORGANISATION: Final = PATHS[ScopeKind.ORGANISATION]
ROUTES: Routes = {
    f"{_ORGANISATION}deleted/": {"GET": Page(_list, "List the deleted projects.")},
    f"{_ORGANISATION}deleted/{{one}}/": {
        "GET": Page(_show, "Show a deleted project, and the form that brings it back."),
        "POST": Page(_recover, "Bring a deleted project back.", once=True),
    },
    f"{PATHS[ScopeKind.PROJECT]}move/": {
        "GET": Page(_show_move, "Show the form that moves a project."),
        "POST": Page(_move, "Move a project to another organisation.", once=True),
    },
}
