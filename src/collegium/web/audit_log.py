"""The audit log of a scope in sentences. Each reader sees no more than the API would show."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from collegium.access.rules import Actor, ScopeKind
from collegium.api.request import Answer, Routes
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
    "invitation.turned_away": "The invited account is deactivated and could not accept.",
    "invitation.renewal_wished": "The invited person asked for a new link.",
    "open_invitation.created": "{who} created an invite link.",
    "open_invitation.updated": "{who} edited an invite link.",
    "open_invitation.canceled": "{who} closed an invite link.",
    "request.submitted": "{who} asked to join.",
    "request.approved": "{who} approved the join request of {whom}.",
    "request.rejected": "{who} rejected the join request of {whom}.",
    "request.canceled": "The join request of {whom} was withdrawn.",
}
"""Sentence for each kind of event that happens in an organisation, a project or a group."""

_OWN: Final = {
    "role.granted": "{who} got the role {role}{until}.",
    "role.revoked": "{who} gave up the role {role}.",
}
"""Sentences for actors who did this to themselves."""

_BY_LINK: Final = {
    "invitation.declined": "The invitation for {email} was declined with the link in the e-mail.",
}
"""Sentences for actions by a link, without a signed-in account."""

SUBJECT_FIELDS: Final = {
    "people": ("Members and roles", ("role.",)),
    "invitations": ("Invitations", ("invitation.",)),
    "links": ("Invite links", ("open_invitation.",)),
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
    said: str
    where: str


def _show(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Answer:
    team = ScopePage.reach(browser, tx, kind)
    asked = ("about", "since", "until")
    form = Form.showing(**{name: browser.query_value(name) for name in asked})
    wanted: dict[str, Any] = {"scope_id": (kind, team.scope.id)}
    if form.raw("about") in SUBJECT_FIELDS:
        _, begins = SUBJECT_FIELDS[form.raw("about")]
        wanted["kinds"] = [one for one in SENTENCES if one.startswith(begins)]
    since, until = form.date("since"), form.date("until")
    if since is not None:
        wanted["created_from"] = datetime.combine(since, time(), UTC)
    if until is not None and until < date.max:
        wanted["created_to"] = datetime.combine(until + timedelta(days=1), time(), UTC)
    paging = Paging(browser, event_queries.team.count(tx, browser.actor, wanted, ROWS_MAX + 1))
    rows = event_queries.team.page(tx, browser.actor, wanted, (), paging.size, paging.offset)
    named = role_queries.display_names(tx)
    return page(
        browser,
        "team_history",
        team=team,
        entries=[_entry(browser.actor, team, row, named) for row in rows],
        paging=paging,
        form=form,
        options=[("", "All"), *((word, said) for word, (said, _) in SUBJECT_FIELDS.items())],
        is_filtered=any(map(form.raw, asked)),
        is_all=browser.actor.sees_all
        or team.holds(*(right for of, right in event_queries.EVENT_READERS if of in {None, kind})),
    )


def _entry(viewer: Actor, team: ScopePage, row: Row, named: dict[str, str]) -> Entry:
    where = ""
    if row.scope_id != team.scope.id and (viewer.sees_all or row.sees_scope):
        where = f"{row.scope_kind} {isolated(row.scope_name)}"
    return Entry(row.created_at, sentence(viewer, row, named), where)


def sentence(viewer: Actor, row: Row, named: dict[str, str]) -> str:
    """Return the sentence for an event.

    Args:
        viewer: The reader. Names that the reader may not see become "somebody".
        row: The event, with its actor, account and scope.
        named: Name of a role → its label.
    """
    every = viewer.sees_all
    own, did = row.account_id == viewer.id, row.actor_id == viewer.id
    here = every or bool(row.sees_scope)
    is_request = row.kind.startswith("request.")
    # Only deciders may see who requests to join. Only those who may read invitations may see who is
    # invited.
    reads = own or row.reads_requests if is_request else row.reads_invitations
    inside = every or (here and reads)
    people = here and (inside or not is_request)
    facts = row.payload
    words = defaultdict(str)
    words["who"] = (
        (isolated(row.actor_name) or "The service") if every or did or people else "Somebody"
    )
    words["whom"] = _whom(row, named=every or own) if every or own or people else _SOMEBODY
    words["email"] = isolated(str(facts.get("email") or _SOMEBODY)) if inside else _SOMEBODY
    words["role"] = isolated(named.get(str(facts.get("role")), str(facts.get("role") or "")))
    if facts.get("until") and row.kind in {"role.granted", "role.updated"}:
        words["until"] = f" (until {day(datetime.fromisoformat(facts['until']))})"
    fields = [name for name in facts.get("fields", ()) if every or name not in _CLOSED_FIELDS]
    if fields and here:
        words["fields"] = ": " + ", ".join(name.replace("_", " ") for name in fields)
    itself = row.actor_id is not None and row.actor_id == row.account_id
    special = _OWN if itself else {} if row.actor_name else _BY_LINK
    says = special.get(row.kind) or SENTENCES.get(row.kind, _UNKNOWN)
    said = says.format_map(words)
    if (every or did) and "impersonated_by" in facts:
        said = f"{said} Done on their behalf by {facts['impersonated_by']}."
    return said[:1].upper() + said[1:]


def _whom(row: Row, *, named: bool) -> str:
    """Return the name of the person that the event is about.

    Readers without ``named`` see the user name, because it is all that they know of former members.
    """
    name = f"{row.account_first_name or ''} {row.account_last_name or ''}".strip()
    if name and (named or row.account_deleted_at is not None):
        # The name of a deleted account is a neutral one.
        return isolated(name)
    gone = row.account_username is None or row.account_deleted_at is not None
    return str((row.payload.get("username") if gone else row.account_username) or _SOMEBODY)


def routes(kind: ScopeKind, here: str) -> Routes:
    """Return the routes of one kind of scope.

    Args:
        here: Path of the scope.
    """
    return {f"{here}history/": {"GET": Page(partial(_show, kind), "Show the audit log.")}}
