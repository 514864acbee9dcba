"""The way of one request for a page, and the table of these routes."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from prometheus_client import generate_latest

from collegium.api import middleware
from collegium.api.request import Answer, Operation, Routes, outage_words
from collegium.db import schema
from collegium.db.database import Full, Unavailable
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Forbidden, Limited, NotFound, Refusal, Unauthenticated
from collegium.web import (
    account,
    approvals,
    email_changes,
    groups,
    invitation,
    invite_link,
    join_requests,
    members,
    passwords,
    pictures,
    profile,
    scopes,
    sign_in,
    ssh_keys,
    staff,
    staff_accounts,
    staff_mails,
    staff_organisations,
    staff_roles,
    tokens,
    two_factor,
)
from collegium.web.browser_request import RepeatedFormError, Visit
from collegium.web.messages import say
from collegium.web.page import HTML, Page, page, style, templates, trouble

if TYPE_CHECKING:
    from collegium.api.request import Call
    from collegium.db.database import Read

_log = structlog.get_logger()

_METRICS: Final = "text/plain; version=1.0.0"
_TEXT: Final = "text/plain"


def _home(visit: Visit, _tx: Read) -> Answer:
    return page(visit, "home", base=visit.base)


def _alive(_call: Call) -> Answer:
    return Answer(200, b"ok\n", media=_TEXT)


def _ready(call: Call) -> Answer:
    standing = schema.standing(call.house.database)
    if standing is not schema.Standing.CURRENT:
        return Answer(503, f"the schema is {standing}\n".encode(), media=_TEXT)
    try:
        call.house.database.check_room()
    except Full:
        return Answer(503, b"the disk of the database is full\n", media=_TEXT)
    except Unavailable:
        # Nothing hints at a full disk; a busy database is ready all the same.
        pass
    return Answer(200, b"ready\n", media=_TEXT)


def _metrics(call: Call, tx: Read) -> Answer:
    del call
    counts = outbox_queries.counts(tx)
    lines = "".join(
        f"# TYPE collegium_outbox_{name} gauge\ncollegium_outbox_{name} {getattr(counts, name)}\n"
        for name in ("owed", "overdue", "abandoned")
    )
    return Answer(200, generate_latest(middleware.registry) + lines.encode(), media=_METRICS)


def _stylesheet(call: Call) -> Answer:
    # Its address changes with its text; without that part it may have changed since.
    kept = "max-age=31536000, immutable" if call.raw_query else "no-cache"
    return Answer(200, style()[1], {"Cache-Control": f"public, {kept}"}, "text/css")


def _robots(_call: Call) -> Answer:
    return Answer(200, b"User-agent: *\nDisallow: /\n", media=_TEXT)


def description_routes(document: dict[str, Any]) -> Routes:
    """Give the routes that publish a description, as JSON and as a page."""
    encoded: dict[str, bytes] = {}
    listed = [
        (method.upper(), path, said)
        for path, table in document["paths"].items()
        for method, said in table.items()
    ]

    def _document(call: Call) -> Answer:
        # There is one path before ours, or none.
        if call.root not in encoded:
            served = {"servers": [{"url": call.root}]} if call.root else {}
            encoded[call.root] = msgspec.json.encode(document | served)
        return Answer(200, encoded[call.root])

    def _described(visit: Visit, _tx: Read) -> Answer:
        return page(visit, "schema", operations=listed)

    return {
        "/schema/openapi.json": {"GET": Operation(_document, "The description.", open=True)},
        "/schema/": {"GET": Page(_described, "The description as a page.", open=True)},
    }


ROUTES: Routes = {
    "/": {"GET": Page(_home, "The front page.", open=True)},
    "/healthz": {"GET": Operation(_alive, "Is the process alive?", open=True)},
    "/readyz": {"GET": Operation(_ready, "Can it answer?", open=True)},
    "/metrics": {"GET": Operation(_metrics, "Counters.", open=True, asks=True)},
    "/robots.txt": {"GET": Operation(_robots, "Nothing here is for search engines.", open=True)},
    "/static/style.css": {"GET": Operation(_stylesheet, "The style sheet.", open=True)},
    "/api/media/{uuid}/": {
        "GET": Operation(pictures.show, "A picture.", open=True, asks=True),
    },
    **sign_in.ROUTES,
    **passwords.ROUTES,
    **email_changes.ROUTES,
    **invitation.ROUTES,
    **approvals.ROUTES,
    **invite_link.ROUTES,
    **groups.ROUTES,
    **join_requests.ROUTES,
    **account.ROUTES,
    **profile.ROUTES,
    **ssh_keys.ROUTES,
    **two_factor.ROUTES,
    **tokens.ROUTES,
    **scopes.ROUTES,
    **members.ROUTES,
    **staff.ROUTES,
    **staff_accounts.ROUTES,
    **staff_organisations.ROUTES,
    **staff_roles.ROUTES,
    **staff_mails.ROUTES,
}


def perform(call: Call, operations: dict[str, Operation]) -> Answer:
    """Take a call from its path to its page."""
    operation = operations.get("GET" if call.method == "HEAD" else call.method)
    if operation is None:
        answer = plain(405, "This page cannot do that.")
        answer.headers["Allow"] = ", ".join([*operations, "HEAD"])
        return answer
    visit = Visit(call)
    try:
        if isinstance(operation, Page):
            answer = _answer(visit, operation, operations)
            answer.cookies += visit.set_cookies
            visit.settle()
            return answer
        if operation.asks:
            with call.read() as tx:
                return operation.run(call, tx)
        return operation.run(call)
    except Unavailable as outage:
        said, seconds = outage_words(outage)
        answer = plain(503, said)
        answer.headers["Retry-After"] = str(seconds)
        return answer


def _answer(visit: Visit, operation: Page, operations: dict[str, Operation]) -> Answer:
    try:
        if visit.method in {"GET", "HEAD"}:
            with visit.read() as tx:
                visit.recognise(tx)
                if not operation.open and not visit.is_signed_in:
                    return visit.to_sign_in()
                return operation.run(visit, tx)
        with visit.read() as tx:
            visit.recognise(tx)
        visit.page = visit.path if "GET" in operations else ""
        visit.check_form()
        if not operation.open and not visit.is_signed_in:
            return visit.to_sign_in() if "GET" in operations else visit.go("/sign_in/")
        if operation.creates:
            return _created(visit, operation)
        # A write opens its own transaction, after this reading one has given its connection back.
        return operation.run(visit)
    except Refusal as refusal:
        return refused(visit, refusal)


def _created(visit: Visit, operation: Page) -> Answer:
    """Run a form that creates something, unless the browser has sent the same one before.

    Then it is answered as it was: looked for before limits and rules, to which the first press may
    be a reason to refuse the second, and once more where it was refused, for the first press may
    have come to its end meanwhile.
    """
    replay = operation.replay or Visit.go
    with visit.read() as tx:
        facts = visit.recall(tx)
    if facts is not None:
        return replay(visit, *facts)
    try:
        answer = operation.run(visit)
    except RepeatedFormError as repeated:
        return replay(visit, *repeated.facts)
    except Refusal:
        with visit.read() as tx:
            facts = visit.recall(tx)
        if facts is None:
            raise
        return replay(visit, *facts)
    if answer.status >= HTTPStatus.BAD_REQUEST:
        with visit.read() as tx:
            facts = visit.recall(tx)
        if facts is not None:
            return replay(visit, *facts)
    return answer


def refused(visit: Visit, refusal: Refusal) -> Answer:
    """Say a refusal on a page of its own."""
    match refusal:
        case NotFound():
            # The same for what is not there and for what is hidden.
            return trouble(
                visit,
                404,
                "There is nothing here",
                "The address is wrong, or what was here is gone, or it is not for this account.",
            )
        case Forbidden():
            link = ""
            if refusal.code == "form.insecure":
                link = visit.settings.base_url + (visit.page or "/")
            return trouble(visit, 403, "This was not done", say(refusal), link=link)
        case Unauthenticated():
            # The session has ended since this request was recognised.
            return visit.to_sign_in("/account/")
        case Limited():
            answer = trouble(visit, 429, "Please wait a little", say(refusal))
            answer.headers["Retry-After"] = str(refusal.facts["seconds"])
            return answer
    return trouble(visit, 409, "This was not done", say(refusal))


def plain(status: int, text: str) -> Answer:
    """Answer with one sentence that needs no visit, and no database, to be right."""
    title = "There is nothing here" if status == 404 else "This was not done"  # noqa: PLR2004 - HTTP
    said = "Perhaps the address is not complete." if status == 404 else text  # noqa: PLR2004
    made = templates().get_template("plain.html").render(title=title, said=said)
    return Answer(status, made.encode(), media=HTML)
