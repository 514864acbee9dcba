"""The pages for the invite links of a scope: create, show as text and QR code, change, close."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from markupsafe import Markup

from collegium.access.rules import Permission, ScopeKind
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.invitations import links
from collegium.invite_links import actions as invite_link_actions
from collegium.invite_links import queries as invite_link_queries
from collegium.invite_links import rules as invite_link_rules
from collegium.invite_links.queries import InviteLinkRow
from collegium.memberships.offers import ids_with_able_sponsor
from collegium.refusals import Conflict, Forbidden, NotFound
from collegium.roles import queries as role_queries
from collegium.roles.queries import RoleRow
from collegium.text.languages import gettext as _
from collegium.values import hex_uuid
from collegium.web import claim_lines, qr
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import Page, load_page, page
from collegium.web.scope import ScopePage, grantable_roles

_PAGE_SIZE: Final = 10
_TEXT_MAX: Final = 4000
_TEMPLATE_MAX: Final = 255
_AFFILIATION_MAX: Final = 255
_AFFILIATIONS_MAX: Final = 200
_CHECKBOXES: Final = ("auto_approve", "allow_multiple_requests", "is_public")


class LinkItem(NamedTuple):
    """An invite link as the list shows it."""

    row: InviteLinkRow
    link: str
    picture: Markup | None
    is_open: bool
    is_over: bool
    is_resting: bool
    may_change: bool


def _list(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    scope_page = ScopePage.load(browser, tx, kind, right="invitations")
    filters = {"scope_id": scope_page.scope.id}
    rows, paging = load_page(browser, tx, invite_link_queries.listing, filters, size=_PAGE_SIZE)
    return page(
        browser,
        "invite_links",
        scope_page=scope_page,
        rows=_link_items(browser, tx, scope_page, rows),
        paging=paging,
    )


def _link_items(
    browser: BrowserRequest,
    tx: ReadTransaction,
    scope_page: ScopePage,
    rows: Sequence[InviteLinkRow],
) -> list[LinkItem]:
    auto_approved = [row for row in rows if row.auto_approve]
    sponsored_ids = ids_with_able_sponsor(tx, auto_approved, invite_link_queries.offer_of)
    return [
        _link_item(browser, tx, scope_page, row, is_sponsored=row.id in sponsored_ids)
        for row in rows
    ]


def _link_item(
    browser: BrowserRequest,
    tx: ReadTransaction,
    scope_page: ScopePage,
    row: InviteLinkRow,
    *,
    is_sponsored: bool,
) -> LinkItem:
    link = links.to_invite_link(browser.settings, row.uuid)
    is_open = invite_link_rules.is_active(row.canceled_at, row.expires_at, tx.now)
    picture = qr.draw(link, _("QR code of this link"), qr.MASK) if is_open else None
    return LinkItem(
        row,
        link,
        picture,
        is_open,
        is_over=row.canceled_at is None and not is_open,
        is_resting=is_open and row.auto_approve and not is_sponsored,
        may_change=not scope_page.is_closed and (browser.actor.is_staff or not row.is_public),
    )


def _new(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_form(
        kind, browser, tx, Form.showing(expires=_latest_end(browser, tx.now).date().isoformat())
    )


def _render_form(
    kind: ScopeKind,
    browser: BrowserRequest,
    tx: ReadTransaction,
    form: Form,
    status: int = 200,
    row: InviteLinkRow | None = None,
) -> Response:
    """Show the form of a new link, or of an existing one, whose role cannot be changed."""
    scope_page = ScopePage.load(browser, tx, kind, right="grant")
    may_create_projects = _may_create_projects(scope_page)
    return page(
        browser,
        "invite_link_edit",
        status,
        scope_page=scope_page,
        row=row,
        form=form,
        latest=_latest_end(browser, tx.now),
        options=_role_options(tx, scope_page),
        makes_projects=row.auto_create_project if row else may_create_projects,
        projects=grantable_roles(tx, scope_page, ScopeKind.PROJECT) if may_create_projects else [],
        placeholders=invite_link_rules.PLACEHOLDERS,
    )


def _may_create_projects(scope_page: ScopePage) -> bool:
    return scope_page.holds(Permission.PROJECT_CREATE)


def _role_options(tx: ReadTransaction, scope_page: ScopePage) -> list[tuple[str, str]]:
    """Return UUID and label of the roles that a link may have.

    For an organisation these include roles of a project that is created for each new member.
    """
    options = grantable_roles(tx, scope_page)
    if scope_page.scope.kind != ScopeKind.ORGANISATION or not _may_create_projects(scope_page):
        return options
    return options + [
        (uuid, _("{label}, in a new project for each member").format(label=label))
        for uuid, label in grantable_roles(tx, scope_page, ScopeKind.PROJECT)
    ]


def _latest_end(browser: BrowserRequest, now: datetime) -> datetime:
    """Return the latest possible end of a link that is created now."""
    return now + timedelta(seconds=browser.settings.group_invitation_lifetime)


def _read_settings(form: Form) -> dict[str, Any]:
    """Return the settings of a link, except its end and its role.

    Each error is added to its field.
    """
    values: dict[str, Any] = {name: form.flag(name) for name in _CHECKBOXES}
    values["custom_text"] = form.text("custom_text", _TEXT_MAX, lines=True)
    values["template"] = form.name("template", _TEMPLATE_MAX) or None
    values["affiliations"] = form.lines("affiliations", _AFFILIATION_MAX, _AFFILIATIONS_MAX)
    values["email_patterns"] = form.lines(
        "email_patterns", invite_link_rules.PATTERN_MAX, invite_link_rules.PATTERNS_MAX
    )
    values["claims"] = claim_lines.read(form)
    form.date("expires")
    # An unticked checkbox is not posted, but its field must exist for an error to belong to it.
    for name in (*_CHECKBOXES, "auto_create_project"):
        form.values.setdefault(name, [""])
    return values


def _read_end(
    browser: BrowserRequest, now: datetime, stored: datetime | None = None
) -> dict[str, Any]:
    """Return the end of a link if it was changed, else nothing.

    Args:
        stored: The end as it is now.
    """
    form, latest = browser.form, _latest_end(browser, now)
    end = form.end("expires", stored)
    if end is None or end == stored:
        return {}
    if end.date() == latest.date():
        # On the last possible day the link ends when its maximum lifetime does, not at the end of
        # the day.
        end = min(end, latest)
    limit = browser.settings.group_invitation_lifetime
    form.judge(invite_link_rules.check_end, end, now, limit)
    return {"expires_at": end}


def _create(kind: ScopeKind, browser: BrowserRequest) -> Response:
    form = browser.form
    with browser.read() as tx:
        # Permissions are checked before the content is parsed, and again when the link is created.
        ScopePage.load(browser, tx, kind, right="grant")
    values = _read_settings(form) | _read_end(browser, browser.now)
    values["auto_create_project"] = form.flag("auto_create_project")
    with browser.create() as tx:
        scope_page = ScopePage.load(browser, tx, kind, right="grant")
        destination = (
            f"{scope_page.path}links/",
            _("The invite link is ready. Share it with the people who should join."),
        )
        role = _chosen_option(tx, form, "role", _role_options(tx, scope_page))
        if role is None:
            form.add_error("role", _("Please choose an option."))
        project_role = None
        if form.raw("project_role"):
            options = (
                grantable_roles(tx, scope_page, ScopeKind.PROJECT)
                if _may_create_projects(scope_page)
                else []
            )
            project_role = _chosen_option(tx, form, "project_role", options)
        form.add_refusals(
            invite_link_actions.problems(browser.actor, kind, role, project_role, values)
        )
        if role is not None and form.is_valid:
            try:
                invite_link_actions.create(
                    tx,
                    browser.actor,
                    browser.settings,
                    scope_page.access,
                    role,
                    project_role,
                    values,
                )
                browser.created(tx, *destination)
            except (Conflict, Forbidden) as refusal:
                form.add_refusal(refusal)
    if form.is_valid:
        return browser.redirect(*destination)
    with browser.read() as tx:
        return _render_form(kind, browser, tx, form, 422)


def _chosen_option(
    tx: ReadTransaction, form: Form, name: str, options: list[tuple[str, str]]
) -> RoleRow | None:
    uuid = form.choice(name, "", *(uuid for uuid, _ in options))
    return role_queries.get_by_uuid(tx, uuid) if uuid else None


def _load_link(
    kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction
) -> tuple[ScopePage, InviteLinkRow]:
    uuid = hex_uuid(browser.segments["one"])
    scope_page = ScopePage.load(browser, tx, kind, right="grant")
    row = invite_link_queries.get_by_uuid(tx, browser.actor, uuid) if uuid else None
    if row is None or row.scope_id != scope_page.scope.id:
        raise NotFound("invite_link.unknown")
    return scope_page, row


def _edit(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    _, row = _load_link(kind, browser, tx)
    invite_link_rules.check_may_change(is_public=row.is_public, is_staff=browser.actor.is_staff)
    state = invite_link_rules.effective_state(row.canceled_at, row.expires_at, tx.now)
    invite_link_rules.Action.CHANGE.after(state)
    return _render_form(kind, browser, tx, _filled_form(row), row=row)


def _filled_form(row: InviteLinkRow) -> Form:
    return Form.showing_end(
        "expires",
        row.expires_at,
        custom_text=row.custom_text,
        template=row.template or "",
        affiliations="\n".join(row.affiliations),
        email_patterns="\n".join(row.email_patterns),
        claims=claim_lines.text_of(row.claims),
        **{name: "yes" if getattr(row, name) else "" for name in _CHECKBOXES},
    )


def _change(kind: ScopeKind, browser: BrowserRequest) -> Response:
    """Do what the pressed button says: change a link, or close it.

    Raises:
        NotFound: ``invite_link.unknown``: no such link in this scope.
        Forbidden: ``permission.missing``, or the actor may not make this change.
        Conflict: The link is closed or has expired.
    """
    form = browser.form
    action = form.choice("action", "save", "close")
    with browser.read() as tx:
        # Permissions are checked before the content is parsed, and again when the link is changed.
        _load_link(kind, browser, tx)
    values = _read_settings(form) if action == "save" else {}
    with browser.write() as tx:
        scope_page, row = _load_link(kind, browser, tx)
        if action == "close":
            invite_link_actions.cancel(tx, browser.actor, row.uuid)
        else:
            # The form cannot show every value that the API accepts. A field that was not changed
            # stays as it is.
            current = _read_settings(_filled_form(row))
            values = {name: value for name, value in values.items() if value != current[name]}
            values |= _read_end(browser, tx.now, row.expires_at)
            form.add_refusals(invite_link_actions.problems_of_change(browser.actor, row, values))
            if form.is_valid:
                invite_link_actions.change(tx, browser.actor, browser.settings, row.uuid, values)
        if form.is_valid:
            message = (
                _("The invite link is saved.")
                if action == "save"
                else _("The invite link is closed. You can still approve earlier requests.")
            )
            return browser.answer(tx, f"{scope_page.path}links/", message)
    with browser.read() as tx:
        return _render_form(kind, browser, tx, form, 422, row)


def routes(kind: ScopeKind, path: str) -> Routes:
    """Return the routes of one kind of scope; none for a group.

    Args:
        path: Path of the scope.
    """
    if kind is ScopeKind.GROUP:
        # Everybody may request to join a group directly, so groups have no invite links.
        return {}
    return {
        f"{path}links/": {"GET": Page(partial(_list, kind), "List the invite links.")},
        f"{path}link/": {
            "GET": Page(partial(_new, kind), "Show the form that creates an invite link."),
            "POST": Page(partial(_create, kind), "Create an invite link.", creates=True),
        },
        f"{path}links/{{one}}/": {
            "GET": Page(partial(_edit, kind), "Show an invite link."),
            "POST": Page(partial(_change, kind), "Edit an invite link, or close it.", once=True),
        },
    }
