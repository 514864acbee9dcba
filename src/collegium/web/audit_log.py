"""The audit log of a scope in sentences. Each reader sees no more than the API would show."""

from __future__ import annotations

from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, Final, NamedTuple

from collegium.access.labels import role_label
from collegium.access.rules import Actor, ScopeKind
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.events import queries as event_queries
from collegium.events.queries import EventRow
from collegium.events.types import BY_KIND, UnknownEvent
from collegium.events.visibility import View
from collegium.exports.rules import Subject
from collegium.refusals import Invalid
from collegium.roles import queries as role_queries
from collegium.text.languages import day, mark
from collegium.text.languages import gettext as _
from collegium.text.names import isolated
from collegium.web import exports
from collegium.web.browser_request import BrowserRequest
from collegium.web.forms import Form
from collegium.web.messages import scope_name, sentence_case
from collegium.web.page import ROWS_MAX, Page, load_page, page
from collegium.web.scope import ScopePage
from collegium.web.sorting import AUDIT_LOG, PARAMETER, Sorting

EVENT_GROUPS: Final = {
    "people": (mark("Members and roles"), ("role.", "review.")),
    "invitations": (mark("Invitations"), ("invitation.", "import.")),
    "links": (mark("Invite links"), ("invite_link.",)),
    "requests": (mark("Join requests"), ("request.",)),
    "downloads": (mark("Downloads"), ("export.",)),
    "place": (mark("Details"), ("organisation.", "project.", "group.")),
}
"""Filters of the page: query parameter value → label, prefixes of the kinds of event."""

_SOMEBODY: Final = mark("somebody")


class Entry(NamedTuple):
    """A line of the audit log."""

    at: datetime
    sentence: str
    elsewhere: str


FIELDS: Final = {
    "abbreviation": mark("short name"),
    "access_subnets": mark("networks"),
    "accounting_started_at": mark("start of accounting"),
    "address": mark("postal address"),
    "affiliations": mark("institutions"),
    "agreement_number": mark("number of the agreement"),
    "apartment_nr": mark("apartment"),
    "archived": mark("archived"),
    "backend_id": mark("ID in another system"),
    "bank_account": mark("bank account"),
    "bank_name": mark("bank"),
    "blocked": mark("blocked"),
    "city": mark("city"),
    "contact_details": mark("contact details"),
    "country": mark("country"),
    "default_tax_percent": mark("tax rate"),
    "description": mark("description"),
    "display_billing_info_in_projects": mark("billing shown in projects"),
    "domain": mark("domain"),
    "email": mark("e-mail address"),
    "email_patterns": mark("e-mail addresses"),
    "end": mark("end date"),
    "end_date": mark("end date"),
    "end_date_requested_by": mark("who asked for the end date"),
    "grace_period_days": mark("days of grace"),
    "homepage": mark("web site"),
    "house_nr": mark("house number"),
    "household": mark("household"),
    "identity_sources": mark("identity sources"),
    "is_industry": mark("industry"),
    "kind": mark("type"),
    "language": mark("language"),
    "latitude": mark("latitude"),
    "longitude": mark("longitude"),
    "max_service_accounts": mark("maximum number of service accounts"),
    "name": mark("name"),
    "native_name": mark("native name"),
    "notification_emails": mark("addresses for notifications"),
    "oecd_fos_2007_code": mark("field of science"),
    "parish": mark("parish"),
    "phone_number": mark("phone number"),
    "postal": mark("postal code"),
    "registration_code": mark("registration code"),
    "role": mark("role"),
    "slug": mark("short ID"),
    "sponsor_number": mark("number of the sponsor"),
    "staff_notes": mark("notes of the staff"),
    "start_date": mark("start date"),
    "state": mark("state or region"),
    "street": mark("street"),
    "vat_code": mark("VAT number"),
}
"""Column of an organisation, project or invitation → what the sentence of its change calls it."""

_PARAMETERS: Final = ("about", "since", "until", PARAMETER)


def _form(browser: BrowserRequest) -> Form:
    return Form.showing(**{name: browser.query_value(name) for name in _PARAMETERS})


def _read_filters(form: Form) -> dict[str, Any]:
    filters: dict[str, Any] = {}
    if form.raw("about") in EVENT_GROUPS:
        prefixes = EVENT_GROUPS[form.raw("about")][1]
        filters["kinds"] = [
            event.kind
            for event in BY_KIND.values()
            if event.sentence and event.kind.startswith(prefixes)
        ]
    since, until = form.date("since"), form.date("until")
    if since is not None:
        filters["created_from"] = datetime.combine(since, time(), UTC)
    if until is not None and until < date.max:
        filters["created_to"] = datetime.combine(until + timedelta(days=1), time(), UTC)
    return filters


def list_filters(browser: BrowserRequest) -> dict[str, Any]:
    """Return the filters of the list that the query asks for.

    Raises:
        Invalid: ``export.filter``: a date is not valid.
    """
    form = _form(browser)
    filters = _read_filters(form)
    if form.errors:
        raise Invalid("export.filter")
    return filters


def _show(kind: ScopeKind, browser: BrowserRequest, tx: ReadTransaction) -> Response:
    scope_page = ScopePage.load(browser, tx, kind, has_menu=False)
    form = _form(browser)
    filters = {**_read_filters(form), "scope_id": (kind, scope_page.scope.id)}
    sorting = Sorting(browser, AUDIT_LOG)
    rows, paging = load_page(
        browser, tx, event_queries.of_scope, filters, sorting.order, maximum=ROWS_MAX + 1
    )
    role_labels = role_queries.display_names(tx)
    return page(
        browser,
        "audit_log",
        scope_page=scope_page,
        entries=[_entry(browser.actor, scope_page, row, role_labels) for row in rows],
        paging=paging,
        sorting=sorting,
        form=form,
        options=[
            ("", _("All")),
            *((value, _(label)) for value, (label, _kinds) in EVENT_GROUPS.items()),
        ],
        is_filtered=any(form.raw(name) for name in _PARAMETERS if name != PARAMETER),
        downloads=[] if form.errors else exports.links(browser, scope_page, Subject.HISTORY),
        is_all=browser.actor.sees_all
        or scope_page.holds(
            *(
                right
                for scope_kind, right in event_queries.EVENT_READERS
                if scope_kind in {None, kind}
            )
        ),
    )


def _entry(
    viewer: Actor, scope_page: ScopePage, row: EventRow, role_labels: dict[str, str]
) -> Entry:
    elsewhere = ""
    if row.scope_id != scope_page.scope.id and (viewer.sees_all or row.sees_scope):
        elsewhere = scope_name(row.scope_kind or "", row.scope_name or "")
    return Entry(row.created_at, sentence(viewer, row, role_labels), elsewhere)


def _field(name: str) -> str:
    known = FIELDS.get(name)
    return _(known) if known else name.replace("_", " ")


def sentence(viewer: Actor, row: EventRow, role_labels: dict[str, str]) -> str:
    """Return the sentence for an event.

    Args:
        viewer: The reader. Names that the reader may not see become "somebody".
        row: The event, with its actor, account and scope.
        role_labels: Name of a role → its label.
    """
    view = View(viewer, row)
    facts, event = view.facts, view.event
    role = str(facts.get("role", ""))
    words = defaultdict(
        str,
        who=(isolated(row.actor_name) or _("The service")) if view.has_actor else _("Somebody"),
        whom=(isolated(view.account_full_name) or view.account_username or _(_SOMEBODY))
        if view.has_account
        else _(_SOMEBODY),
        email=isolated(str(facts.get("email", _(_SOMEBODY)))),
        role=isolated(role_label(role_labels.get(role, ""), role)),
    )
    if "until" in facts:
        words["until"] = _(" (until {day})").format(day=day(datetime.fromisoformat(facts["until"])))
    if facts.get("fields"):
        words["fields"] = ": " + ", ".join(map(_field, facts["fields"]))
    template = event.sentence or UnknownEvent.sentence
    if row.actor_id is not None and row.actor_id == row.account_id:
        template = event.sentence_of_self or template
    elif not row.actor_name:
        template = event.sentence_of_link or template
    text = _(template).format_map(words)
    if view.impersonator:
        text = _("{text} Done on their behalf by {person}.").format(
            text=text, person=view.impersonator
        )
    return sentence_case(text)


def routes(kind: ScopeKind, path: str) -> Routes:
    """Return the routes of one kind of scope.

    Args:
        path: Path of the scope.
    """
    return {f"{path}history/": {"GET": Page(partial(_show, kind), "Show the audit log.")}}
