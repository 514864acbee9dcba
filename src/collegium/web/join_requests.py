"""The inbox of join requests: all that the account may decide, in every scope."""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec.structs import replace

from collegium.access.rules import Actor
from collegium.api.request import Response, Routes
from collegium.db.database import ReadTransaction
from collegium.join_requests import actions as join_request_actions
from collegium.join_requests import queries as join_request_queries
from collegium.join_requests.queries import JoinRequestRow
from collegium.refusals import Refusal
from collegium.text.languages import gettext as _
from collegium.values import hex_uuid
from collegium.web.browser_request import BrowserRequest, RepeatedFormError
from collegium.web.forms import Form
from collegium.web.messages import message_for, person, place, role
from collegium.web.page import Page, Paging, page
from collegium.web.sorting import JOIN_REQUESTS, Sorting

_HERE: Final = "/requests/"
_COMMENT_MAX: Final = 1000
_DECIDED_MAX: Final = 25


class Result(NamedTuple):
    """The result of deciding one request."""

    title: str
    message: str
    is_done: bool


def _show(browser: BrowserRequest, tx: ReadTransaction) -> Response:
    return _render_requests(browser, tx, Form())


def _render_requests(
    browser: BrowserRequest, tx: ReadTransaction, form: Form, status: int = 200
) -> Response:
    decided = browser.query_value("show") == "decided"
    filters = {"waits": not decided}
    actor = decider(browser.actor)
    # Only the latest decided requests are shown, so nobody has to count the others.
    total = _DECIDED_MAX if decided else join_request_queries.deciding.count(tx, actor, filters)
    paging = Paging(browser, total, _DECIDED_MAX)
    sorting = Sorting(browser, JOIN_REQUESTS)
    order = ("-created",) if decided else sorting.order
    rows = join_request_queries.deciding.page(tx, actor, filters, order, paging.size, paging.offset)
    return page(
        browser,
        "join_requests",
        status,
        rows=rows,
        paging=paging,
        sorting=sorting,
        form=form,
        decided=decided,
    )


def decider(actor: Actor) -> Actor:
    """Return the actor without the support flag: support reads everything, but decides nothing."""
    return replace(actor, is_support=False)


def _decide(browser: BrowserRequest) -> Response:
    form = browser.form
    action = form.choice("action", "approve", "reject")
    comment = form.text("comment", _COMMENT_MAX, lines=True)
    chosen = [uuid for uuid in map(hex_uuid, form.many("request")) if uuid is not None]
    if not chosen:
        form.add_error("", _("Please select at least one request."))
    if not form.is_valid:
        with browser.read() as tx:
            return _render_requests(browser, tx, form, 422)
    results = [_decide_one(browser, action, uuid, comment or None) for uuid in chosen]
    return page(browser, "join_requests_decided", results=results, action=action)


def _decide_one(browser: BrowserRequest, action: str, uuid: str, comment: str | None) -> Result:
    """Decide one request in its own transaction, so that a failed one does not stop the others.

    Args:
        uuid: UUID of the request, 32 hex digits.
    """
    try:
        with browser.create(uuid) as tx:
            if action == "approve":
                row = join_request_actions.approve(
                    tx, browser.actor, browser.settings, uuid, comment
                )
            else:
                row = join_request_actions.reject(tx, browser.actor, uuid, comment)
            message = _("Approved.") if action == "approve" else _("Rejected.")
            result = Result(_title(row), message, is_done=True)
            browser.created(tx, result.title, result.message, part=uuid)
    except RepeatedFormError as repeated:
        title, message = repeated.facts
        return Result(title, message, is_done=True)
    except Refusal as refusal:
        with browser.read() as tx:
            return Result(
                _load_title(tx, browser, uuid),
                message_for(refusal),
                is_done=False,
            )
    return result


def _load_title(tx: ReadTransaction, browser: BrowserRequest, uuid: str) -> str:
    try:
        return _title(join_request_queries.get_visible(tx, browser.actor, uuid))
    except Refusal:
        return _("A join request")


def _title(row: JoinRequestRow) -> str:
    return _("{person}, {role} in the {place}").format(
        person=person(row), role=role(row), place=place(row)
    )


ROUTES: Routes = {
    _HERE: {
        "GET": Page(_show, "List the join requests."),
        "POST": Page(_decide, "Approve or reject join requests.", creates=True),
    },
}
