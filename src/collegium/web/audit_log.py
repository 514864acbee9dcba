"""The audit log of a scope in sentences. Each reader sees no more than the API would show."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from collegium.access.rules import Actor, ScopeKind
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.db.statements import Row
from collegium.events import queries as event_queries
from collegium.roles import queries as role_queries
from collegium.text.names import isolated
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.page import ROWS_MAX, Page, Paging, day, page
from collegium.web.scope import ScopePage

SENTENCES: Final = {
    "organisation.created": "{who} created the organisation.",
    "organisation.updated": "{who} changed the organisation{fields}.",
    "organisation.deleted": "{who} deleted the organisation.",
    "project.created": "{who} created the project.",
    "project.updated": "{who} changed the project{fields}.",
    "project.deleted": "{who} deleted the project.",
    "group.created": "{who} created the group.",
    "group.updated": "{who} renamed the group.",
    "group.deleted": "{who} deleted the group.",
    "role.granted": "{who} gave {whom} the role {role}{until}.",
    "role.updated": "{who} changed the end date of the role {role} of {whom}{until}.",
    "role.revoked": "{who} removed the role {role} from {whom}.",
    "role.expired": "The role {role} of {whom} ended.",
    "invitation.created": "{who} invited {email}.",
    "invitation.sent": "{who} sent the invitation for {email} again.",
    "invitation.accepted": "{who} accepted the invitation for {email}.",
    "invitation.declined": "{who} declined the invitation for {email}.",
    "invitation.canceled": "{who} cancelled the invitation for {email}.",
    "invitation.deleted": "{who} deleted the invitation for {email}.",
    "invitation.approved": "{who} approved the invitation for {email}.",
    "invitation.rejected": "{who} rejected the invitation for {email}.",
    "invitation.released": "The invitation for {email} was sent, because the project starts.",
    "invitation.expired": "The invitation for {email} expired.",
    "invitation.invitee_deactivated": "The invited account is deactivated and could not accept.",
    "invitation.renewal_requested": "The invited person asked for a new link.",
    "invite_link.created": "{who} created an invite link.",
    "invite_link.updated": "{who} edited an invite link.",
    "invite_link.canceled": "{who} closed an invite link.",
    "request.submitted": "{who} asked to join.",
    "request.approved": "{who} approved the join request of {whom}.",
    "request.rejected": "{who} rejected the join request of {whom}.",
    "request.canceled": "The join request of {whom} was withdrawn.",
}
"""Sentence for each kind of event that happens in an organisation, a project or a group."""

_SELF_SENTENCES: Final = {
    "role.granted": "{who} got the role {role}{until}.",
    "role.revoked": "{who} gave up the role {role}.",
}
"""Sentences for actors who did this to themselves."""

_LINK_SENTENCES: Final = {
    "invitation.declined": "The invitation for {email} was declined with the link in the e-mail.",
}
"""Sentences for actions by a link, without a signed-in account."""

EVENT_GROUPS: Final = {
    "people": ("Members and roles", ("role.",)),
    "invitations": ("Invitations", ("invitation.",)),
    "links": ("Invite links", ("invite_link.",)),
    "requests": ("Join requests", ("request.",)),
    "place": ("Details", ("organisation.", "project.", "group.")),
}
"""Filters of the page: query parameter value → label, prefixes of the kinds of event."""

_UNKNOWN: Final = "{who} did something else."
_SOMEBODY: Final = "somebody"
_CLOSED_FIELDS: Final = frozenset({"staff_notes"})


class Entry(NamedTuple):
    """A line of the audit log."""

    at: datetime
    sentence: str
    elsewhere: str


def _show(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    scope_page = ScopePage.load(browser, tx, kind)
    parameters = ("about", "since", "until")
    form = Form.showing(**{name: browser.query_value(name) for name in parameters})
    filters: dict[str, Any] = {"scope_id": (kind, scope_page.scope.id)}
    if form.raw("about") in EVENT_GROUPS:
        _, prefixes = EVENT_GROUPS[form.raw("about")]
        filters["kinds"] = [
            event_kind for event_kind in SENTENCES if event_kind.startswith(prefixes)
        ]
    since, until = form.date("since"), form.date("until")
    if since is not None:
        filters["created_from"] = datetime.combine(since, time(), UTC)
    if until is not None and until < date.max:
        filters["created_to"] = datetime.combine(until + timedelta(days=1), time(), UTC)
    paging = Paging(browser, event_queries.of_scope.count(tx, browser.actor, filters, ROWS_MAX + 1))
    rows = event_queries.of_scope.page(tx, browser.actor, filters, (), paging.size, paging.offset)
    role_labels = role_queries.display_names(tx)
    return page(
        browser,
        "audit_log",
        scope_page=scope_page,
        entries=[_entry(browser.actor, scope_page, row, role_labels) for row in rows],
        paging=paging,
        form=form,
        options=[("", "All"), *((value, label) for value, (label, _) in EVENT_GROUPS.items())],
        is_filtered=any(map(form.raw, parameters)),
        is_all=browser.actor.sees_all
        or scope_page.holds(
            *(
                right
                for scope_kind, right in event_queries.EVENT_READERS
                if scope_kind in {None, kind}
            )
        ),
    )


def _entry(viewer: Actor, scope_page: ScopePage, row: Row, role_labels: dict[str, str]) -> Entry:
    elsewhere = ""
    if row.scope_id != scope_page.scope.id and (viewer.sees_all or row.sees_scope):
        elsewhere = f"{row.scope_kind} {isolated(row.scope_name)}"
    return Entry(row.created_at, sentence(viewer, row, role_labels), elsewhere)


def sentence(viewer: Actor, row: Row, role_labels: dict[str, str]) -> str:
    """Return the sentence for an event.

    Args:
        viewer: The reader. Names that the reader may not see become "somebody".
        row: The event, with its actor, account and scope.
        role_labels: Name of a role → its label.
    """
    sees_all = viewer.sees_all
    is_about_viewer, is_by_viewer = row.account_id == viewer.id, row.actor_id == viewer.id
    sees_scope = sees_all or bool(row.sees_scope)
    is_request = row.kind.startswith("request.")
    # Only deciders may see who requests to join. Only those who may read invitations may see who is
    # invited.
    may_read = is_about_viewer or row.reads_requests if is_request else row.reads_invitations
    sees_details = sees_all or (sees_scope and may_read)
    sees_people = sees_scope and (sees_details or not is_request)
    payload = row.payload
    words = defaultdict(str)
    words["who"] = (
        (isolated(row.actor_name) or "The service")
        if sees_all or is_by_viewer or sees_people
        else "Somebody"
    )
    words["whom"] = (
        _whom(row, with_full_name=sees_all or is_about_viewer)
        if sees_all or is_about_viewer or sees_people
        else _SOMEBODY
    )
    words["email"] = isolated(str(payload.get("email") or _SOMEBODY)) if sees_details else _SOMEBODY
    words["role"] = isolated(
        role_labels.get(str(payload.get("role")), str(payload.get("role") or ""))
    )
    if payload.get("until") and row.kind in {"role.granted", "role.updated"}:
        words["until"] = f" (until {day(datetime.fromisoformat(payload['until']))})"
    fields = [name for name in payload.get("fields", ()) if sees_all or name not in _CLOSED_FIELDS]
    if fields and sees_scope:
        words["fields"] = ": " + ", ".join(name.replace("_", " ") for name in fields)
    is_about_actor = row.actor_id is not None and row.actor_id == row.account_id
    special_sentences = (
        _SELF_SENTENCES if is_about_actor else {} if row.actor_name else _LINK_SENTENCES
    )
    template = special_sentences.get(row.kind) or SENTENCES.get(row.kind, _UNKNOWN)
    text = template.format_map(words)
    if (sees_all or is_by_viewer) and "impersonated_by" in payload:
        text = f"{text} Done on their behalf by {payload['impersonated_by']}."
    return text[:1].upper() + text[1:]


def _whom(row: Row, *, with_full_name: bool) -> str:
    """Return the name of the person that the event is about.

    Readers without ``named`` see the user name, because it is all that they know of former members.
    """
    name = f"{row.account_first_name or ''} {row.account_last_name or ''}".strip()
    if name and (with_full_name or row.account_deleted_at is not None):
        # The name of a deleted account is a neutral one.
        return isolated(name)
    is_deleted = row.account_username is None or row.account_deleted_at is not None
    return str((row.payload.get("username") if is_deleted else row.account_username) or _SOMEBODY)


def routes(kind: ScopeKind, path: str) -> Routes:
    """Return the routes of one kind of scope.

    Args:
        path: Path of the scope.
    """
    return {f"{path}history/": {"GET": Page(partial(_show, kind), "Show the audit log.")}}
