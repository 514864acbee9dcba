"""The pages to invite people to a scope, one or many at once, and the list of invitations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from collegium.access.rules import ScopeKind, may_grant
from collegium.accounts import queries as account_queries
from collegium.api import limits
from collegium.api.request import Answer, Routes, hex_uuid
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.invitations import actions as invitation_actions
from collegium.invitations import group_actions as group_invitation_actions
from collegium.invitations import links
from collegium.invitations import queries as invitation_queries
from collegium.invitations.pasted_lists import LINE_MAX, read_people
from collegium.invitations.rules import (
    TRANSITIONS,
    Action,
    DeliveryStatus,
    State,
    delivery_status,
    effective_state,
    is_mailed,
    mail_state,
)
from collegium.memberships import queries as membership_queries
from collegium.refusals import Conflict, NotFound, Refusal
from collegium.roles import queries as role_queries
from collegium.security.rate_limits.rules import MAIL_INVITEE
from collegium.text.email_addresses import comparable_address
from collegium.text.names import isolated
from collegium.web.browser_request import BrowserRequest, RepeatedFormError
from collegium.web.forms import Form
from collegium.web.messages import message_for
from collegium.web.page import Page, Paging, page
from collegium.web.scope import ScopePage, chosen, named, offered, searched

LINES_MAX: Final = 200
_TEXT_MAX: Final = 250

STATES: Final = {
    State.PENDING: "pending",
    State.HELD: "will be sent when the project starts",
    State.REQUESTED: "waiting for approval by staff",
    State.ACCEPTED: "accepted",
    State.REJECTED: "declined",
    State.CANCELED: "cancelled",
    State.EXPIRED: "expired",
}
"""Label of each state of an invitation."""

DELIVERY_STATUSES: Final = {
    DeliveryStatus.SCHEDULED: "scheduled",
    DeliveryStatus.PROCESSING: "being sent",
    DeliveryStatus.OK: "sent",
    DeliveryStatus.ERRED: "not sent",
}
"""Label of each delivery status of an invitation's e-mail."""

_HELD_BACK: Final = "rejected by staff"

_SENT: Final = {
    State.PENDING: "The invitation is being sent.",
    State.HELD: "The invitation will be sent when the project starts.",
    State.REQUESTED: "The invitation will be sent when staff approve it.",
}


_HELD: Final = ("Already has this role.", "Already a member of the group.")
_INVITED: Final = ("Already invited to this role.", "Already invited.")
_UNKNOWN: Final = message_for(Conflict("group.no_account"))


class Line(NamedTuple):
    """One line of the pasted list: its error, or its result."""

    text: str
    email: str
    name: str
    fault: str = ""
    said: str = ""


def check_lines(
    tx: ReadTransaction, team: ScopePage, role: Row, lines: Sequence[Line]
) -> list[Line]:
    """Return the lines with their errors. The number of queries does not depend on their number.

    Args:
        role: The role to invite to.
    """
    keys = {comparable_address(line.email) for line in lines if not line.fault}
    # An account has one role in a group, so any role there prevents an invitation.
    one = None if team.is_group else role.id
    inside = membership_queries.member_emails(tx, team.scope.id, one, keys) if keys else set()
    known = account_queries.active_by_email(tx, keys) if team.is_group else {}
    invited = _invited(tx, team, one, keys, known)
    before: set[str] = set()
    judged = []
    for one in lines:
        line, key = one, comparable_address(one.email)
        if not line.fault:
            if key in before:
                line = line._replace(fault="This address is in the list more than once.")
            elif key in inside:
                line = line._replace(fault=_HELD[team.is_group])
            elif key in invited:
                line = line._replace(fault=_INVITED[team.is_group])
            elif team.is_group and key not in known:
                line = line._replace(fault=_UNKNOWN)
            before.add(key)
        judged.append(line)
    return judged


def _invited(
    tx: ReadTransaction, team: ScopePage, role: int | None, keys: set[str], known: Mapping[str, Row]
) -> set[str]:
    """Return the addresses that already have a pending invitation; in a group, those of accounts.

    Args:
        role: Id of the role; None for any role.
        keys: Comparable forms of the addresses.
        known: Comparable address → account, for groups.
    """
    if not keys:
        return set()
    if not team.is_group:
        return invitation_queries.open_emails(tx, team.scope.id, role, keys)
    found = invitation_queries.accounts_with_open(
        tx, team.scope.id, {row.id for row in known.values()}
    )
    return {key for key, row in known.items() if row.id in found}


def _ask(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Answer:
    return _asked(kind, browser, tx, Form())


def _asked(
    kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Answer:
    team = ScopePage.reach(browser, tx, kind, right="grant")
    return page(browser, "team_invite", status, team=team, form=form, options=offered(tx, team))


def _invite(kind: ScopeKind, browser: BrowserRequest) -> Answer:
    """Check the pasted list and show the result. Only the second step sends invitations.

    Raises:
        NotFound: The scope is not visible.
        Forbidden: ``permission.missing``: the actor may not invite here.
        Conflict: ``organisation.unavailable``: the organisation is blocked or archived.
        Limited: ``tries.wait`` after too many invitations, or too many unknown addresses.
    """
    form = browser.form
    if kind is ScopeKind.GROUP:
        limits.check(browser, limits.PEOPLE)
    with browser.read() as tx:
        # Permissions are checked before the content, so that errors tell nothing to outsiders.
        team = ScopePage.reach(browser, tx, kind, right="grant")
        action = form.choice("action", "check", "edit", "send")
        text = form.pasted("addresses", LINES_MAX * LINE_MAX)
        extra = form.text("extra_text", _TEXT_MAX, lines=True)
        role = chosen(tx, team, form)
        # An invalid list is not parsed.
        lines = _read(form, text) if form.is_valid else []
        if role is None or not form.is_valid or action == "edit":
            return _asked(kind, browser, tx, form, 200 if form.is_valid else 422)
        if team.is_closed:
            raise Conflict("organisation.unavailable")
        lines = check_lines(tx, team, role, lines)
        before = _sent_before(browser, tx, lines) if action == "send" else {}
        lines = [
            line._replace(fault="", said=before[at]) if at in before else line
            for at, line in enumerate(lines)
        ]
    # For a group the result tells which addresses have an account here, so unknown ones are
    # counted.
    limits.count_unknown(browser, sum(line.fault == _UNKNOWN for line in lines))
    if action == "send":
        # What the first submission used of the limit must not refuse a repeated one.
        if not before or not all(line.fault or line.said for line in lines):
            limits.check(browser, limits.INVITE)
        lines = [
            line
            if line.fault or line.said
            else _sent(kind, browser, role.uuid, line, extra, _part(at, line))
            for at, line in enumerate(lines)
        ]
        # Lines that failed stay in the form, so that they can be corrected and sent again.
        form.values["addresses"] = ["\n".join(line.text for line in lines if line.fault)]
    good = sum(not line.fault for line in lines)
    return page(
        browser,
        "team_invite_check",
        team=team,
        form=form,
        role=role,
        lines=lines,
        good=good,
        bad=len(lines) - good,
        is_sent=action == "send",
    )


def _read(form: Form, text: str) -> list[Line]:
    lines = [Line(*one) for one in read_people(text, LINES_MAX)]
    if len(lines) > LINES_MAX:
        form.add_error("addresses", f"Too many lines: at most {LINES_MAX} at once.")
    return lines


def _part(at: int, line: Line) -> str:
    return f"{at} {line.email}"


def _sent_before(
    browser: BrowserRequest, tx: ReadTransaction, lines: Sequence[Line]
) -> dict[int, str]:
    """Return the results of lines that an earlier submission of this list sent, by their index."""
    parts = {_part(at, line): at for at, line in enumerate(lines)}
    return {parts[part]: said for part, (said,) in browser.recall_parts(tx, parts).items()}


def _sent(
    kind: ScopeKind, browser: BrowserRequest, role_uuid: str, line: Line, extra: str, part: str
) -> Line:
    """Send one invitation in its own transaction, so that a failed one does not stop the others."""
    try:
        with browser.create(part) as tx:
            team = ScopePage.reach(browser, tx, kind, right="grant")
            role = named(tx, team, role_uuid)
            (line,) = check_lines(tx, team, role, [line])
            if line.fault:
                return line
            details = {"email": line.email, "full_name": line.name, "extra_text": extra}
            create = group_invitation_actions.create if team.is_group else invitation_actions.create
            uuid = create(tx, browser.actor, browser.settings, team.reached, role, details)
            limits.count(browser, tx, limits.INVITE)
            row: Row = invitation_queries.by_uuid(tx, uuid)
            said = _SENT[State(row.state)]
            browser.created(tx, said, part=part)
    except RepeatedFormError as repeated:
        (said,) = repeated.facts
    except Refusal as refusal:
        return line._replace(fault=message_for(refusal))
    return line._replace(said=said)


class Shown(NamedTuple):
    """An invitation as the list shows it."""

    row: Row
    state: State
    said: str
    mail: str
    reason: str
    link: str
    may_send: bool
    may_cancel: bool
    is_dead: bool


def _list(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Answer:
    team = ScopePage.reach(browser, tx, kind, right="invitations")
    search = searched(browser)
    state = browser.query_value("state") if browser.query_value("state") in list(State) else ""
    wanted: dict[str, object] = {"scope_id": team.scope.id}
    if search:
        wanted["email"] = search
    if state:
        wanted["state"] = [state]
    paging = Paging(browser, invitation_queries.team.count(tx, browser.actor, wanted))
    rows = invitation_queries.team.page(tx, browser.actor, wanted, (), paging.size, paging.offset)
    return page(
        browser,
        "team_invitations",
        team=team,
        rows=_shown(browser, tx, team, rows),
        paging=paging,
        form=Form.showing(q=search, state=state),
        options=[("", "All"), *((one.value, said) for one, said in STATES.items())],
        is_filtered=bool(search or state),
    )


def _shown(
    browser: BrowserRequest, tx: ReadTransaction, team: ScopePage, rows: Sequence[Row]
) -> list[Shown]:
    pending = [
        row for row in rows if effective_state(row.state, row.expires_at, tx.now) is State.PENDING
    ]
    vouched = invitation_queries.with_sponsor(tx, pending) if pending else set()
    carried = role_queries.permissions_of(tx, {row.role_id for row in rows}) if rows else {}
    shown = []
    for row in rows:
        state = effective_state(row.state, row.expires_at, tx.now)
        may = team.may_let_in and may_grant(
            team.actor, team.reached.permissions, carried.get(row.role_id, ())
        )
        mail = mail_state(row.mail_state, row.mailed_at, row.created_at)
        happened = delivery_status(mail, row.mail_locked_until, row.mail_error, tx.now)
        link = ""
        if may and state is State.PENDING:
            link = links.to_invitation(
                browser.settings, browser.app.vault, row, links.SHARED_BY_INVITER
            )
        shown.append(
            Shown(
                row,
                state,
                _said(row, state),
                DELIVERY_STATUSES[happened] if mail is not None else "",
                row.mail_error if happened is DeliveryStatus.ERRED else "",
                link,
                may
                and (state, Action.SEND) in TRANSITIONS
                and bool(row.email)
                and row.role_is_active
                and not team.is_closed,
                may and (state, Action.CANCEL) in TRANSITIONS,
                state is State.PENDING and row.id not in vouched,
            )
        )
    return shown


def _said(row: Row, state: State) -> str:
    """Return the label of a state. Only staff can reject an invitation that was never mailed."""
    if state is State.REJECTED and not is_mailed(row.mailed_at, row.created_at):
        return _HELD_BACK
    return STATES[state]


def _change(kind: ScopeKind, browser: BrowserRequest) -> Answer:
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
    mailed = f"send invitation {uuid}"
    if action == "send":
        limits.check(browser, limits.INVITE)
        limits.check(browser, limits.PEOPLE)
        browser.check_rate_limits(mailed)
    try:
        said, path = _changed(kind, browser, action, uuid, mailed)
    except Conflict as refusal:
        # This refusal tells that an account no longer exists, so it counts as an unknown address.
        limits.count_unknown(browser, int(refusal.code == "group.no_account"))
        raise
    return browser.redirect(f"{path}invitations/", said)


def _changed(
    kind: ScopeKind, browser: BrowserRequest, action: str, uuid: str, mailed: str
) -> tuple[str, str]:
    with browser.write() as tx:
        team = ScopePage.reach(browser, tx, kind, right="invitations")
        row = invitation_queries.get_visible(tx, browser.actor, uuid, in_groups=team.is_group)
        if row.scope_id != team.scope.id:
            raise NotFound("invitation.unknown")
        where = group_invitation_actions if team.is_group else invitation_actions
        if action == "send":
            where.send(tx, browser.actor, browser.settings, uuid)
            browser.count_attempt(tx, mailed, MAIL_INVITEE)
            limits.count(browser, tx, limits.INVITE)
            said = f"The invitation for {isolated(row.email)} is being sent again."
        else:
            where.cancel(tx, browser.actor, uuid)
            said = f"The invitation for {isolated(row.email)} is cancelled."
    return said, team.path


def routes(kind: ScopeKind, here: str) -> Routes:
    """Return the routes of one kind of scope.

    Args:
        here: Path of the scope.
    """
    return {
        f"{here}invite/": {
            "GET": Page(partial(_ask, kind), "Show the form that invites people."),
            "POST": Page(
                partial(_invite, kind), "Check a list of addresses, or invite them.", creates=True
            ),
        },
        f"{here}invitations/": {"GET": Page(partial(_list, kind), "List the invitations.")},
        f"{here}invitations/{{one}}/": {
            "POST": Page(partial(_change, kind), "Send an invitation again, or cancel it."),
        },
    }
