"""Dispatch requests to pages, and the table of their routes."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from prometheus_client import generate_latest

from collegium.api import middleware
from collegium.api.request import Endpoint, RequestContext, Response, Routes, outage_words
from collegium.db import schema
from collegium.db.database import ReadTransaction, StorageFullError, UnavailableError
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
from collegium.web.browser_request import BrowserRequest, RepeatedFormError
from collegium.web.messages import message_for
from collegium.web.page import HTML, Page, error_page, page, style, templates

_log = structlog.get_logger()

_METRICS: Final = "text/plain; version=1.0.0"
_TEXT: Final = "text/plain"


def _home(browser: BrowserRequest, _tx: ReadTransaction) -> Response:
    return page(browser, "home", base=browser.base)


def _alive(_context: RequestContext) -> Response:
    return Response(200, b"ok\n", media=_TEXT)


def _ready(context: RequestContext) -> Response:
    status = schema.status(context.app.database)
    if status is not schema.SchemaStatus.CURRENT:
        return Response(503, f"the schema is {status}\n".encode(), media=_TEXT)
    try:
        context.app.database.check_free_space()
    except StorageFullError:
        return Response(503, b"the disk of the database is full\n", media=_TEXT)
    except UnavailableError:
        # The disk is not known to be full. A service whose database is busy is still ready.
        pass
    return Response(200, b"ready\n", media=_TEXT)


def _metrics(context: RequestContext, tx: ReadTransaction) -> Response:
    del context
    counts = outbox_queries.counts(tx)
    lines = "".join(
        f"# TYPE collegium_outbox_{name} gauge\ncollegium_outbox_{name} {number}\n"
        for name, number in (
            ("queued", counts.queued),
            ("overdue", counts.overdue),
            ("failed", counts.failed),
        )
    )
    return Response(200, generate_latest(middleware.registry) + lines.encode(), media=_METRICS)


def _stylesheet(context: RequestContext) -> Response:
    # The URL has a digest of the content as its query. Without that query the content may change.
    policy = "max-age=31536000, immutable" if context.raw_query else "no-cache"
    return Response(200, style()[1], {"Cache-Control": f"public, {policy}"}, "text/css")


def _robots(_context: RequestContext) -> Response:
    return Response(200, b"User-agent: *\nDisallow: /\n", media=_TEXT)


def description_routes(document: dict[str, Any]) -> Routes:
    """Return the routes of an OpenAPI document: as JSON and as a page."""
    encoded: dict[str, bytes] = {}
    operations = [
        (method.upper(), path, description)
        for path, table in document["paths"].items()
        for method, description in table.items()
    ]

    def _document(context: RequestContext) -> Response:
        # The public URL has one path prefix or none, so at most two documents are cached.
        if context.root not in encoded:
            servers = {"servers": [{"url": context.root}]} if context.root else {}
            encoded[context.root] = msgspec.json.encode(document | servers)
        return Response(200, encoded[context.root])

    def _reference(browser: BrowserRequest, _tx: ReadTransaction) -> Response:
        return page(browser, "schema", operations=operations)

    return {
        "/schema/openapi.json": {
            "GET": Endpoint(_document, "Return the OpenAPI description.", public=True)
        },
        "/schema/": {"GET": Page(_reference, "Show the API reference.", public=True)},
    }


ROUTES: Routes = {
    "/": {"GET": Page(_home, "Show the home page.", public=True)},
    "/healthz": {"GET": Endpoint(_alive, "Tell whether the process is alive.", public=True)},
    "/readyz": {"GET": Endpoint(_ready, "Tell whether the service is ready.", public=True)},
    "/metrics": {"GET": Endpoint(_metrics, "Return the metrics.", public=True, reads_db=True)},
    "/robots.txt": {"GET": Endpoint(_robots, "Return robots.txt.", public=True)},
    "/static/style.css": {"GET": Endpoint(_stylesheet, "Return the style sheet.", public=True)},
    "/api/media/{uuid}/": {
        "GET": Endpoint(pictures.show, "Return a picture.", public=True, reads_db=True),
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


def dispatch(context: RequestContext, endpoints: dict[str, Endpoint]) -> Response:
    """Return the response to a request for a page or a plain endpoint.

    Args:
        endpoints: Method → endpoint, for the path of the request.
    """
    endpoint = endpoints.get("GET" if context.method == "HEAD" else context.method)
    if endpoint is None:
        response = plain(405, "This page does not support the request.")
        response.headers["Allow"] = ", ".join([*endpoints, "HEAD"])
        return response
    browser = BrowserRequest(context)
    try:
        if isinstance(endpoint, Page):
            response = _respond(browser, endpoint, endpoints)
            response.cookies += browser.set_cookies
            browser.touch_token()
            return response
        if endpoint.reads_db:
            with context.read() as tx:
                return endpoint.handler(context, tx)
        return endpoint.handler(context)
    except UnavailableError as outage:
        message, seconds = outage_words(outage)
        response = plain(503, message)
        response.headers["Retry-After"] = str(seconds)
        return response


def _respond(browser: BrowserRequest, endpoint: Page, endpoints: dict[str, Endpoint]) -> Response:
    try:
        if browser.method in {"GET", "HEAD"}:
            with browser.read() as tx:
                browser.load_session(tx)
                if not endpoint.public and not browser.is_signed_in:
                    return browser.to_sign_in()
                return endpoint.handler(browser, tx)
        with browser.read() as tx:
            browser.load_session(tx)
        browser.page = browser.path if "GET" in endpoints else ""
        browser.check_form()
        if not endpoint.public and not browser.is_signed_in:
            return browser.to_sign_in() if "GET" in endpoints else browser.redirect("/sign_in/")
        if endpoint.creates:
            return _respond_once(browser, endpoint)
        # The handler opens its own write transaction. The read transaction above has returned its
        # connection.
        return endpoint.handler(browser)
    except Refusal as refusal:
        return refused(browser, refusal)


def _respond_once(browser: BrowserRequest, endpoint: Page) -> Response:
    """Run the handler of a form that creates something, unless the browser has sent it before.

    A repeated form gets the response of the first one. It is looked up before limits and rules,
    because the first submission may be the reason to refuse the second. It is looked up again after
    a refusal, because the first submission may have finished in the meantime.
    """
    replay = endpoint.replay or BrowserRequest.redirect
    with browser.read() as tx:
        stored = browser.recall(tx)
    if stored is not None:
        return replay(browser, *stored)
    try:
        response = endpoint.handler(browser)
    except RepeatedFormError as repeated:
        return replay(browser, *repeated.facts)
    except Refusal:
        with browser.read() as tx:
            stored = browser.recall(tx)
        if stored is None:
            raise
        return replay(browser, *stored)
    if response.status >= HTTPStatus.BAD_REQUEST:
        with browser.read() as tx:
            stored = browser.recall(tx)
        if stored is not None:
            return replay(browser, *stored)
    return response


def refused(browser: BrowserRequest, refusal: Refusal) -> Response:
    """Return the error page of a refusal. An ended session is redirected to the sign-in page."""
    match refusal:
        case NotFound():
            # The same for objects that do not exist and for those that are hidden.
            return error_page(
                browser,
                404,
                "Page not found",
                "This page does not exist, or your account cannot see it.",
            )
        case Forbidden():
            link = ""
            if refusal.code == "form.insecure":
                link = browser.settings.base_url + (browser.page or "/")
            return error_page(
                browser, 403, "This could not be done", message_for(refusal), link=link
            )
        case Unauthenticated():
            # The session has ended since it was loaded.
            return browser.to_sign_in("/account/")
        case Limited():
            response = error_page(browser, 429, "Too many attempts", message_for(refusal))
            response.headers["Retry-After"] = str(refusal.facts["seconds"])
            return response
    return error_page(browser, 409, "This could not be done", message_for(refusal))


def plain(status: int, text: str) -> Response:
    """Return a page with one sentence, which needs neither a session nor the database."""
    title = "Page not found" if status == 404 else "This could not be done"  # noqa: PLR2004 - HTTP
    sentence = "Please check the address." if status == 404 else text  # noqa: PLR2004 - HTTP
    html = templates().get_template("plain.html").render(title=title, said=sentence)
    return Response(status, html.encode(), media=HTML)
