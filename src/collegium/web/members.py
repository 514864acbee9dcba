"""The pages of a scope's members: who has which role from when until when; add, change, remove."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from collegium.access.rules import Permission, ScopeKind
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountDetails, ListedAccount
from collegium.api.request import Response, Routes
from collegium.bulk_changes.rules import OF_MEMBERS
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.exports.rules import Subject
from collegium.invitations import actions as invitation_actions
from collegium.memberships import actions as membership_actions
from collegium.memberships import queries as membership_queries
from collegium.memberships import rules as membership_rules
from collegium.memberships.leaving import is_last_owner
from collegium.memberships.queries import GrantRow, PastGrant
from collegium.refusals import Conflict, Forbidden, NotFound
from collegium.roles import queries as role_queries
from collegium.security.rate_limits.rules import INVITE
from collegium.text.languages import gettext as _
from collegium.text.names import isolated
from collegium.values import hex_uuid
from collegium.web import (
    audit_log,
    bulk_changes,
    exports,
    imports,
    invitations,
    invite_links,
    reviews,
    scope_settings,
    statistics,
)
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import person, role, role_name
from collegium.web.page import Page, load_page, page
from collegium.web.scope import (
    PATHS,
    ScopePage,
    chosen_role,
    grantable_roles,
    search_text,
)
from collegium.web.sorting import MEMBERS, Sorting

_MATCHES_MAX: Final = 20
_REMOVED: Final = "removed"
"""Query parameter with the UUID of the grant that the viewer has just removed."""


def _filters(browser: BrowserRequest) -> dict[str, Any]:
    search = search_text(browser.query_value("q"))
    return {"search_string" if "@" in search else "full_name": search} if search else {}


def _list(
    kind: ScopeKind,
    browser: BrowserRequest,
    tx: ReadTransaction,
    form: Form | None = None,
    status: int = 200,
) -> Response:
    scope_page = ScopePage.load(browser, tx, kind)
    search = search_text(browser.query_value("q"))
    sorting = Sorting(browser, MEMBERS)
    filters = {**_filters(browser), "scope": scope_page.scope.id}
    rows, paging = load_page(browser, tx, membership_queries.of_scope, filters, sorting.order)
    return page(
        browser,
        "members",
        status,
        scope_page=scope_page,
        chooser=bulk_changes.chooser(scope_page, OF_MEMBERS, form),
        rows=rows,
        paging=paging,
        open=_changeable(tx, scope_page, rows),
        form=Form.showing(q=search),
        sorting=sorting,
        removed=_undoable(browser, tx, scope_page),
        search=search,
        downloads=exports.links(browser, scope_page, Subject.MEMBERS),
    )


def _undoable(
    browser: BrowserRequest, tx: ReadTransaction, scope_page: ScopePage
) -> PastGrant | None:
    """Return the role that the viewer has just removed, if they may give it again; else None."""
    uuid = hex_uuid(browser.query_value(_REMOVED))
    if uuid is None or not scope_page.may_add or scope_page.is_closed:
        return None
    try:
        row = membership_queries.get_removed(tx, browser.actor, scope_page.scope.id, uuid)
    except NotFound:
        return None
    permissions = role_queries.permissions_of(tx, [row.role_id])
    return (
        row if _refusal_of(scope_page, scope_page.rights.grant, row, permissions) is None else None
    )


def _changeable(tx: ReadTransaction, scope_page: ScopePage, rows: Sequence[GrantRow]) -> set[int]:
    """Return the ids of the grants that the viewer may change or remove."""
    rights = (scope_page.rights.update_role, scope_page.rights.revoke)
    if not any(scope_page.holds(right) for right in rights):
        return set()
    permissions = role_queries.permissions_of(tx, {row.role_id for row in rows})
    return {
        row.id
        for row in rows
        if any(_refusal_of(scope_page, right, row, permissions) is None for right in rights)
    }


def _refusal_of(
    scope_page: ScopePage, permission: Permission, row: GrantRow, permissions: dict[int, list[str]]
) -> Forbidden | Conflict | None:
    """Return the refusal of the action, so that the page shows no button that would be refused.

    Args:
        permission: The permission that the action needs.
        row: The grant.
        permissions: Role id → permissions of the role.
    """
    try:
        membership_actions.check_may_manage_role(
            scope_page.actor,
            scope_page.access,
            permission,
            row.account_id,
            permissions.get(row.role_id, ()),
        )
    except (Forbidden, Conflict) as refusal:
        return refusal
    return None


def _show(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_grant(kind, browser, tx)


def _render_grant(
    kind: ScopeKind,
    browser: BrowserRequest,
    tx: ReadTransaction,
    form: Form | None = None,
    status: int = 200,
) -> Response:
    scope_page = ScopePage.load(browser, tx, kind)
    row = membership_queries.get_in_scope(tx, scope_page.scope.id, browser.uuid("grant", "one"))
    permissions = role_queries.permissions_of(tx, [row.role_id])
    may_end = _refusal_of(scope_page, scope_page.rights.update_role, row, permissions)
    may_remove = _refusal_of(scope_page, scope_page.rights.revoke, row, permissions)
    if may_end and may_remove:
        raise may_remove
    is_last = is_last_owner(tx, scope_page.scope.kind, row.role_name, row)
    form = form or Form()
    form.show_end("until", row.valid_until)
    return page(
        browser,
        "member",
        status,
        scope_page=scope_page,
        row=row,
        may_end=may_end is None,
        may_remove=may_remove is None,
        is_last=is_last,
        # A change of role needs the permission to remove the old role and to grant the new one.
        others=[option for option in grantable_roles(tx, scope_page) if option[0] != row.role_uuid]
        if may_remove is None and scope_page.may_add and not scope_page.is_closed
        else [],
        form=form,
    )


def _change(kind: ScopeKind, browser: BrowserRequest) -> Response:
    """Do what the pressed button says: change the end or the role, remove it, or undo that.

    Raises:
        NotFound: ``grant.unknown``: no such grant in this scope.
        Forbidden: ``permission.missing``.
    """
    form = browser.form
    action = form.choice("action", "end", "role", "remove", "undo")
    if action == "undo":
        return _undo(kind, browser)
    if action == "end":
        form.date("until")
    if form.is_valid:
        with form.showing_refusals(), browser.write() as tx:
            scope_page = ScopePage.load(browser, tx, kind)
            path, message = _perform(tx, browser, scope_page, action)
            if form.is_valid:
                return browser.answer(tx, path, message)
    with browser.read() as tx:
        return _render_grant(kind, browser, tx, form, 422)


def _perform(
    tx: WriteTransaction, browser: BrowserRequest, scope_page: ScopePage, action: str
) -> tuple[str, str]:
    """Change or remove a grant; return where to continue, and the message there."""
    form, path = browser.form, scope_page.path
    uuid = browser.uuid("grant", "one")
    row, assignment = membership_actions.assignment_of(tx, scope_page.access, uuid)
    if action == "role":
        target = chosen_role(tx, scope_page, form)
        if target is None:
            return path, ""
        membership_actions.change_role(tx, browser.actor, assignment, target)
        label = role_name(target.description, target.name)
        return path, _("{person} is now {role}.").format(person=person(row), role=label)
    if action == "end":
        valid_until = form.end("until", row.valid_until)
        if membership_actions.update(tx, browser.actor, assignment, valid_until):
            return path, _("The end date of {person} is saved.").format(person=person(row))
        return path, _("The end date of {person} has not changed.").format(person=person(row))
    membership_actions.remove(tx, browser.actor, assignment)
    # Somebody who removed their own role may no longer see this page.
    is_gone = row.account_id == browser.actor.id
    message = _("{person} is no longer {role} here.").format(person=person(row), role=role(row))
    return "/account/" if is_gone else f"{path}?{_REMOVED}={row.uuid}", message


def _undo(kind: ScopeKind, browser: BrowserRequest) -> Response:
    """Undo the removal of a role by the viewer.

    Raises:
        NotFound: ``grant.unknown``: the viewer did not just remove it.
        Forbidden: ``permission.missing``.
        Conflict: The role cannot be given again by now.
    """
    with browser.write() as tx:
        scope_page = ScopePage.load(browser, tx, kind, right="grant")
        uuid = browser.uuid("grant", "one")
        try:
            row: GrantRow = membership_queries.get_in_scope(tx, scope_page.scope.id, uuid)
        except NotFound:
            row = membership_actions.undo_removal(tx, browser.actor, scope_page.access, uuid)
    # Pressed twice, the button leads to the same page.
    message = _("{person} is {role} again.").format(person=person(row), role=role(row))
    return browser.redirect(scope_page.path, message)


def _find(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_search(kind, browser, tx, Form.showing(q=search_text(browser.query_value("q"))))


def _render_search(
    kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    """Show the accounts that match the search, among those that the viewer may see anyway."""
    scope_page = ScopePage.load(browser, tx, kind, right="grant", has_menu=False)
    search = search_text(form.raw("q"))
    rows: list[ListedAccount] = []
    if search:
        filters = {"user_keyword": search, "is_active": True}
        rows = account_queries.listing.page(
            tx, browser.actor, filters, ("full_name",), _MATCHES_MAX + 1, 0
        )
    return page(
        browser,
        "member_add",
        status,
        scope_page=scope_page,
        form=form,
        search=search,
        people=[(row.uuid, f"{person(row)}, {isolated(row.email)}") for row in rows[:_MATCHES_MAX]],
        is_more=len(rows) > _MATCHES_MAX,
        options=grantable_roles(tx, scope_page),
    )


def _add(kind: ScopeKind, browser: BrowserRequest) -> Response:
    form = browser.form
    valid_until = form.end("until")
    form.judge(membership_rules.check_end, valid_until, browser.now)
    uuid = hex_uuid(form.raw("account"))
    if uuid is None:
        form.add_error("account", _("Please choose an option."))
    with form.showing_refusals(), browser.create() as tx:
        scope_page = ScopePage.load(browser, tx, kind, right="grant")
        target = chosen_role(tx, scope_page, form)
        if uuid is not None and target is not None and form.is_valid:
            account = _active_account(tx, browser, uuid)
            if scope_page.is_group:
                # A group has no direct additions: the account is invited.
                invitation_actions.create(
                    tx,
                    browser.actor,
                    browser.settings,
                    scope_page.access,
                    target,
                    {"email": account.email},
                    account,
                )
                browser.count_attempts(tx, INVITE)
                destination = (
                    f"{scope_page.path}invitations/",
                    _("{person} is invited.").format(person=person(account)),
                )
                browser.created(tx, *destination)
                return browser.redirect(*destination)
            membership_actions.add(
                tx,
                browser.actor,
                membership_actions.RoleAssignment(scope_page.access, target, account),
                valid_until,
            )
            message = _("{person} is now {role}.").format(
                person=person(account), role=role_name(target.description, target.name)
            )
            browser.created(tx, scope_page.path, message)
            return browser.redirect(scope_page.path, message)
    with browser.read() as tx:
        return _render_search(kind, browser, tx, form, 422)


def _active_account(tx: ReadTransaction, browser: BrowserRequest, uuid: str) -> AccountDetails:
    row = account_queries.get_visible(tx, browser.actor, uuid)
    if not row.is_active:
        raise Conflict("account.inactive")
    return row


def _routes(kind: ScopeKind) -> Routes:
    path = PATHS[kind]
    return {
        path: {
            "GET": Page(partial(_list, kind), "Show the members."),
            "POST": bulk_changes.choosing(kind, OF_MEMBERS, _filters, _list),
        },
        **bulk_changes.routes(kind, path),
        f"{path}people/{{one}}/": {
            "GET": Page(partial(_show, kind), "Show the role of a member."),
            "POST": Page(
                partial(_change, kind),
                "Change the role or end date of a member, remove the member, or undo that.",
                once=True,
            ),
        },
        f"{path}add/": {
            "GET": Page(partial(_find, kind), "Find an account to add."),
            "POST": Page(
                partial(_add, kind),
                "Add a member.",
                creates=True,
                # A group has no direct additions: the account is invited.
                limits=(INVITE,) if kind is ScopeKind.GROUP else (),
            ),
        },
        **invitations.routes(kind, path),
        **imports.routes(kind, path),
        **invite_links.routes(kind, path),
        **audit_log.routes(kind, path),
        **statistics.routes(kind, path),
        **exports.routes(
            kind,
            path,
            {
                Subject.MEMBERS: _filters,
                Subject.INVITATIONS: invitations.list_filters,
                Subject.HISTORY: audit_log.list_filters,
            },
        ),
        **reviews.routes(kind, path),
        **scope_settings.routes(kind, path),
    }


ROUTES: Routes = {path: table for kind in PATHS for path, table in _routes(kind).items()}
