"""The pages to invite people to a scope, one or many at once, and the list of invitations."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from collegium.access.rules import ScopeKind, may_grant
from collegium.api import limits
from collegium.api.request import Response, Routes
from collegium.bulk_changes.rules import OF_INVITATIONS
from collegium.db.database import ReadTransaction
from collegium.exports.rules import Subject
from collegium.invitations import actions as invitation_actions
from collegium.invitations import candidates, links, pasted_lists
from collegium.invitations import queries as invitation_queries
from collegium.invitations.candidates import Obstacle
from collegium.invitations.pasted_lists import LINE_MAX, read_people
from collegium.invitations.queries import InvitationRow, offer_of
from collegium.invitations.rules import (
    Action,
    DeliveryStatus,
    State,
    delivery_status,
    effective_state,
    is_mailed,
    mail_state,
)
from collegium.memberships.offers import ids_with_able_sponsor
from collegium.refusals import Conflict, NotFound, Refusal
from collegium.roles import queries as role_queries
from collegium.roles.queries import RoleRow
from collegium.security.rate_limits.rules import INVITE, PEOPLE, RESEND
from collegium.text import languages
from collegium.text.email_addresses import MIXED, comparable_address
from collegium.text.languages import gettext as _
from collegium.text.languages import mark, translated
from collegium.text.names import isolated
from collegium.values import hex_uuid
from collegium.web import bulk_changes, exports
from collegium.web.browser_request import BrowserRequest, RepeatedFormError
from collegium.web.delivery_reasons import delivery_reason
from collegium.web.forms import Form
from collegium.web.messages import INVITATION_STATES, message_for
from collegium.web.page import Page, load_page, page
from collegium.web.scope import ScopePage, chosen_role, grantable_roles, search_text
from collegium.web.sorting import INVITATIONS, Sorting

LINES_MAX: Final = 200
_TEXT_MAX: Final = 2000

DELIVERY_STATUSES: Final = {
    DeliveryStatus.SCHEDULED: mark("scheduled"),
    DeliveryStatus.PROCESSING: mark("being sent"),
    DeliveryStatus.OK: mark("sent"),
    DeliveryStatus.ERRED: mark("not sent"),
}
"""Label of each delivery status of an invitation's e-mail."""

REJECTED_BY_STAFF: Final = mark("rejected by staff")

_SENT_MESSAGES: Final = {
    State.PENDING: mark("The invitation is being sent."),
    State.HELD: mark("The invitation will be sent when the project starts."),
    State.REQUESTED: mark("The invitation will be sent when staff approve it."),
}


_ALREADY_MEMBER: Final = (mark("Already has this role."), mark("Already a member of the group."))
_ALREADY_INVITED: Final = (mark("Already invited to this role."), mark("Already invited."))


class Line(NamedTuple):
    """One line of the pasted list: its error, or its result."""

    text: str
    email: str
    name: str
    error: str = ""
    result: str = ""


_FAULTS: Final = {
    pasted_lists.NONE: mark("This line contains no e-mail address."),
    pasted_lists.TOO_LONG: mark("This line is too long."),
    MIXED: mark("This address mixes letters of several scripts."),
}
"""Faults of lines, to be translated. Of all others the exact reason is told in English only."""


def _fault(fault: str) -> str:
    if not fault or languages.current() == languages.SOURCE:
        return fault
    return _(_FAULTS.get(fault, "This is not an e-mail address."))


def _no_account() -> str:
    return message_for(Conflict("group.no_account"))


def check_lines(
    tx: ReadTransaction, scope_page: ScopePage, role: RoleRow, lines: Sequence[Line]
) -> list[Line]:
    """Return the lines with their errors. The number of queries does not depend on their number.

    Args:
        role: The role to invite to.
    """
    keys = {comparable_address(line.email) for line in lines if not line.error}
    known = candidates.load(tx, scope_page.scope, keys)
    errors = {
        Obstacle.MEMBER: _(_ALREADY_MEMBER[scope_page.is_group]),
        Obstacle.INVITED: _(_ALREADY_INVITED[scope_page.is_group]),
        Obstacle.NO_ACCOUNT: _no_account(),
    }
    seen: set[str] = set()
    checked = []
    for original in lines:
        line, key = original, comparable_address(original.email)
        if not line.error:
            obstacle = known.obstacle(key, role.id)
            if key in seen:
                line = line._replace(error=_("This address is in the list more than once."))
            elif obstacle is not None:
                line = line._replace(error=errors[obstacle])
            seen.add(key)
        checked.append(line)
    return checked


def _ask(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_form(kind, browser, tx, Form())


def _render_form(
    kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    scope_page = ScopePage.load(browser, tx, kind, right="grant")
    return page(
        browser,
        "invite",
        status,
        scope_page=scope_page,
        form=form,
        options=grantable_roles(tx, scope_page),
    )


def _invite(kind: ScopeKind, browser: BrowserRequest) -> Response:
    """Check the pasted list and show the result. Only the second step sends invitations.

    Raises:
        NotFound: The scope is not visible.
        Forbidden: ``permission.missing``: the actor may not invite here.
        Conflict: ``organisation.unavailable``: the organisation is blocked or archived.
        Limited: ``tries.wait`` after too many invitations, or too many unknown addresses.
    """
    form = browser.form
    with browser.read() as tx:
        # Permissions are checked before the content, so that errors tell nothing to outsiders.
        scope_page = ScopePage.load(browser, tx, kind, right="grant")
        action = form.choice("action", "check", "edit", "send")
        text = form.pasted("addresses", LINES_MAX * LINE_MAX)
        extra = form.text("extra_text", _TEXT_MAX, lines=True)
        role = chosen_role(tx, scope_page, form)
        # An invalid list is not parsed.
        lines = _parse_lines(form, text) if form.is_valid else []
        if role is None or not form.is_valid or action == "edit":
            return _render_form(kind, browser, tx, form, 200 if form.is_valid else 422)
        if scope_page.is_closed:
            raise Conflict("organisation.unavailable")
        lines = check_lines(tx, scope_page, role, lines)
        earlier_results = _results_before(browser, tx, lines) if action == "send" else {}
        lines = [
            line._replace(error="", result=earlier_results[index])
            if index in earlier_results
            else line
            for index, line in enumerate(lines)
        ]
    # For a group the result tells which addresses have an account here, so unknown ones are
    # counted.
    limits.count_unknown(browser, sum(line.error == _no_account() for line in lines))
    if action == "send":
        # What the first submission used of the limit must not refuse a repeated one.
        if not earlier_results or not all(line.error or line.result for line in lines):
            browser.check_limits(INVITE)
        lines = [
            line
            if line.error or line.result
            else _send_one(kind, browser, role.uuid, line, extra, _part_name(index, line))
            for index, line in enumerate(lines)
        ]
        # Lines that failed stay in the form, so that they can be corrected and sent again.
        form.values["addresses"] = ["\n".join(line.text for line in lines if line.error)]
    valid_count = sum(not line.error for line in lines)
    return page(
        browser,
        "invite_check",
        scope_page=scope_page,
        form=form,
        role=role,
        lines=lines,
        good=valid_count,
        bad=len(lines) - valid_count,
        is_sent=action == "send",
    )


def _parse_lines(form: Form, text: str) -> list[Line]:
    lines = [
        Line(person.text, person.email, person.name, _fault(person.fault))
        for person in read_people(text, LINES_MAX)
    ]
    if len(lines) > LINES_MAX:
        form.add_error(
            "addresses",
            _("Too many lines: at most {lines_max} at once.").format(lines_max=LINES_MAX),
        )
    return lines


def _part_name(index: int, line: Line) -> str:
    return f"{index} {line.email}"


def _results_before(
    browser: BrowserRequest, tx: ReadTransaction, lines: Sequence[Line]
) -> dict[int, str]:
    """Return the results of lines that an earlier submission of this list sent, by their index."""
    parts = {_part_name(index, line): index for index, line in enumerate(lines)}
    return {parts[part]: result for part, (result,) in browser.recall_parts(tx, parts).items()}


def _send_one(
    kind: ScopeKind, browser: BrowserRequest, role_uuid: str, line: Line, extra: str, part: str
) -> Line:
    """Send one invitation in its own transaction, so that a failed one does not stop the others."""
    try:
        with browser.create(part) as tx:
            scope_page = ScopePage.load(browser, tx, kind, right="grant")
            role = role_queries.existing(tx, uuid=role_uuid)
            (line,) = check_lines(tx, scope_page, role, [line])
            if line.error:
                return line
            details = {"email": line.email, "full_name": line.name, "extra_text": extra}
            uuid = invitation_actions.create(
                tx, browser.actor, browser.settings, scope_page.access, role, details
            )
            browser.count_attempts(tx, INVITE)
            row = invitation_queries.existing(tx, uuid)
            result = _(_SENT_MESSAGES[State(row.state)])
            browser.created(tx, result, part=part)
    except RepeatedFormError as repeated:
        (result,) = repeated.facts
    except Refusal as refusal:
        return line._replace(error=message_for(refusal))
    return line._replace(result=result)


class InvitationItem(NamedTuple):
    """An invitation as the list shows it."""

    row: InvitationRow
    state: State
    state_label: str
    mail: str
    reason: str
    link: str
    may_send: bool
    may_cancel: bool
    inviter_lost_right: bool


def list_filters(browser: BrowserRequest) -> dict[str, Any]:
    """Return the filters of the list that the query asks for."""
    search = search_text(browser.query_value("q"))
    state = browser.query_value("state")
    return ({"email": search} if search else {}) | (
        {"state": [state]} if state in list(State) else {}
    )


def _list(
    kind: ScopeKind,
    browser: BrowserRequest,
    tx: ReadTransaction,
    form: Form | None = None,
    status: int = 200,
) -> Response:
    scope_page = ScopePage.load(browser, tx, kind, right="invitations")
    chosen = list_filters(browser)
    filters = {**chosen, "scope_id": scope_page.scope.id}
    sorting = Sorting(browser, INVITATIONS)
    rows, paging = load_page(browser, tx, invitation_queries.of_scope, filters, sorting.order)
    return page(
        browser,
        "invitations",
        status,
        scope_page=scope_page,
        chooser=bulk_changes.chooser(scope_page, OF_INVITATIONS, form),
        rows=_invitation_items(browser, tx, scope_page, rows),
        paging=paging,
        sorting=sorting,
        form=Form.showing(q=chosen.get("email", ""), state=chosen.get("state", [""])[0]),
        options=[
            ("", _("All")),
            *(
                (state_option.value, label)
                for state_option, label in translated(INVITATION_STATES).items()
            ),
        ],
        is_filtered=bool(chosen),
        downloads=exports.links(browser, scope_page, Subject.INVITATIONS),
    )


def _invitation_items(
    browser: BrowserRequest,
    tx: ReadTransaction,
    scope_page: ScopePage,
    rows: Sequence[InvitationRow],
) -> list[InvitationItem]:
    pending = [
        row for row in rows if effective_state(row.state, row.expires_at, tx.now) is State.PENDING
    ]
    sponsored_ids = ids_with_able_sponsor(tx, pending, offer_of)
    permissions = role_queries.permissions_of(tx, {row.role_id for row in rows}) if rows else {}
    items = []
    for row in rows:
        state = effective_state(row.state, row.expires_at, tx.now)
        may_manage = may_grant(
            row.scope_kind,
            scope_page.access.permissions,
            permissions.get(row.role_id, ()),
            is_staff=scope_page.actor.is_staff,
        )
        mail = mail_state(row.mail_state, row.mailed_at, row.created_at)
        delivery = delivery_status(mail, row.mail_locked_until, row.mail_error, tx.now)
        link = ""
        if may_manage and state is State.PENDING:
            link = links.to_invitation(
                browser.settings, browser.app.vault, row, links.SHARED_BY_INVITER
            )
        items.append(
            InvitationItem(
                row,
                state,
                _state_label(row, state),
                _(DELIVERY_STATUSES[delivery]) if mail is not None else "",
                delivery_reason(row.mail_error or "") if delivery is DeliveryStatus.ERRED else "",
                link,
                may_manage
                and state in Action.SEND.states
                and bool(row.email)
                and row.role_is_active
                and not scope_page.is_closed,
                may_manage and state in Action.CANCEL.states,
                state is State.PENDING and row.id not in sponsored_ids,
            )
        )
    return items


def _state_label(row: InvitationRow, state: State) -> str:
    """Return the label of a state. Only staff can reject an invitation that was never mailed."""
    if state is State.REJECTED and not is_mailed(row.mailed_at, row.created_at):
        return _(REJECTED_BY_STAFF)
    return _(INVITATION_STATES[state])


def _change(kind: ScopeKind, browser: BrowserRequest) -> Response:
    """Do what the pressed button says: mail an invitation again, or cancel it.

    Raises:
        NotFound: ``invitation.unknown``: no such invitation or button.
        Forbidden: ``permission.missing``.
        Conflict: The action is not possible in this state.
        Limited: ``tries.wait`` after too many e-mails.
    """
    action = browser.form.raw("action")
    uuid = hex_uuid(browser.segments["one"])
    if uuid is None or action not in {"send", "cancel"}:
        raise NotFound("invitation.unknown")
    if action == "send":
        browser.check_limits(INVITE, PEOPLE, RESEND, target=uuid)
    try:
        return _send_or_cancel(kind, browser, action, uuid)
    except Conflict as refusal:
        # This refusal tells that an account no longer exists, so it counts as an unknown address.
        limits.count_unknown(browser, int(refusal.code == "group.no_account"))
        raise


def _send_or_cancel(kind: ScopeKind, browser: BrowserRequest, action: str, uuid: str) -> Response:
    with browser.write() as tx:
        scope_page = ScopePage.load(browser, tx, kind, right="invitations")
        row = invitation_queries.get_visible(tx, browser.actor, uuid)
        if row.scope_id != scope_page.scope.id:
            raise NotFound("invitation.unknown")
        if action == "send":
            invitation_actions.send(tx, browser.actor, browser.settings, uuid)
            browser.count_attempts(tx, RESEND, INVITE, target=uuid)
            message = _("The invitation for {email} is being sent again.").format(
                email=isolated(row.email)
            )
        else:
            invitation_actions.cancel(tx, browser.actor, uuid)
            message = _("The invitation for {email} is cancelled.").format(
                email=isolated(row.email)
            )
        return browser.answer(tx, f"{scope_page.path}invitations/", message)


def routes(kind: ScopeKind, path: str) -> Routes:
    """Return the routes of one kind of scope.

    Args:
        path: Path of the scope.
    """
    return {
        f"{path}invite/": {
            "GET": Page(partial(_ask, kind), "Show the form that invites people."),
            "POST": Page(
                partial(_invite, kind),
                "Check a list of addresses, or invite them.",
                creates=True,
                limits=(PEOPLE,) if kind is ScopeKind.GROUP else (),
            ),
        },
        f"{path}invitations/": {
            "GET": Page(partial(_list, kind), "List the invitations."),
            "POST": bulk_changes.choosing(kind, OF_INVITATIONS, list_filters, _list),
        },
        f"{path}invitations/{{one}}/": {
            "POST": Page(
                partial(_change, kind), "Send an invitation again, or cancel it.", once=True
            ),
        },
    }
