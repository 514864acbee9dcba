"""Dispatch requests to pages, and the table of their routes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from prometheus_client import generate_latest

from collegium.agreements import queries as agreement_queries
from collegium.api import middleware
from collegium.api.pipeline import Endpoints, Protocol, run
from collegium.api.request import READ_METHODS, Endpoint, RequestContext, Response, Routes
from collegium.db import schema
from collegium.db.database import ReadTransaction, StorageFullError, UnavailableError
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Forbidden, Limited, NotFound, Refusal, Unauthenticated
from collegium.settings import Settings
from collegium.text.languages import gettext as _
from collegium.text.languages import mark
from collegium.web import (
    account,
    agreements,
    approvals,
    bulk_changes,
    confirmation,
    email_changes,
    groups,
    home,
    hooks,
    identity_link,
    invitation,
    invite_link,
    join_requests,
    mail_preferences,
    members,
    passkeys,
    passwords,
    pictures,
    profile,
    project_recovery,
    provider_logout,
    provider_sign_in,
    reviews,
    scopes,
    setup,
    sign_in,
    sign_in_methods,
    ssh_keys,
    staff,
    staff_accounts,
    staff_agreements,
    staff_mails,
    staff_organisation_roles,
    staff_organisations,
    staff_providers,
    staff_roles,
    staff_rules,
    staff_statistics,
    stale_forms,
    tokens,
    two_factor,
)
from collegium.web.browser_request import BrowserRequest, RepeatedFormError
from collegium.web.messages import message_for
from collegium.web.page import HTML, Page, error_page, page, script, style, templates

_METRICS: Final = "text/plain; version=1.0.0"
_TEXT: Final = "text/plain"


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


OUTBOX_METRICS: Final = {
    "collegium_outbox_queued": ("queued", "Queued e-mails."),
    "collegium_outbox_overdue": (
        "overdue",
        "Queued e-mails that should have been sent a minute ago.",
    ),
    "collegium_outbox_failed": ("failed", "Failed e-mails."),
}
"""Name of each metric that is read from the outbox: its column of the counts, and its help."""


def _metrics(context: RequestContext, tx: ReadTransaction) -> Response:
    del context
    counts = outbox_queries.counts(tx)
    lines = "".join(
        f"# HELP {name} {text}\n# TYPE {name} gauge\n{name} {getattr(counts, column)}\n"
        for name, (column, text) in OUTBOX_METRICS.items()
    )
    return Response(200, generate_latest(middleware.registry) + lines.encode(), media=_METRICS)


def _stylesheet(context: RequestContext) -> Response:
    # The URL has a digest of the content as its query. Without that query the content may change.
    policy = "max-age=31536000, immutable" if context.raw_query else "no-cache"
    return Response(
        200,
        style(context.settings.site_colour)[1],
        {"Cache-Control": f"public, {policy}"},
        "text/css",
    )


def _script(context: RequestContext) -> Response:
    policy = "max-age=31536000, immutable" if context.raw_query else "no-cache"
    headers = {"Cache-Control": f"public, {policy}"}
    return Response(200, script()[1], headers, "text/javascript")


def _robots(_context: RequestContext) -> Response:
    return Response(200, b"User-agent: *\nDisallow: /\n", media=_TEXT)


class _Operation(NamedTuple):
    """What the page shows of one operation."""

    method: str
    path: str
    summary: str
    is_public: bool
    fields: list[tuple[str, bool]]
    """The fields of the body: the name, and whether the field is required."""


def _operation(method: str, path: str, described: dict[str, Any]) -> _Operation:
    fields = []
    for content in described.get("requestBody", {}).get("content", {}).values():
        required = content["schema"].get("required", ())
        fields = [(name, name in required) for name in content["schema"]["properties"]]
    is_public = described["security"] == [{}]
    return _Operation(method.upper(), path, described["summary"], is_public, fields)


def description_routes(describe: Callable[[], dict[str, Any]]) -> Routes:
    """Return the routes of an OpenAPI document: as JSON and as a page.

    Args:
        describe: returns the document. It takes more than 2 MB, so no process makes it before
            somebody wants it, and only what is sent is kept.
    """

    # The public URL has one path prefix or none.
    @lru_cache(maxsize=2)
    def _encode(root: str) -> bytes:
        servers = {"servers": [{"url": root}]} if root else {}
        return msgspec.json.encode(describe() | servers)

    @cache
    def _operations() -> list[_Operation]:
        return [
            _operation(method, path, described)
            for path, table in describe()["paths"].items()
            for method, described in table.items()
        ]

    def _document(context: RequestContext) -> Response:
        return Response(200, _encode(context.root))

    def _reference(browser: BrowserRequest, _tx: ReadTransaction) -> Response:
        return page(browser, "schema", operations=_operations())

    return {
        "/schema/openapi.json": {
            "GET": Endpoint(_document, "Return the OpenAPI description.", public=True)
        },
        "/schema/": {"GET": Page(_reference, "Show the API reference.", public=True)},
    }


DESCRIBED: Routes = {**provider_sign_in.DESCRIBED, **provider_logout.ROUTES}
"""Routes of browsers and identity providers that the OpenAPI document describes too."""

ROUTES: Routes = {
    **home.ROUTES,
    "/healthz": {"GET": Endpoint(_alive, "Tell whether the process is alive.", public=True)},
    "/readyz": {"GET": Endpoint(_ready, "Tell whether the service is ready.", public=True)},
    "/metrics": {"GET": Endpoint(_metrics, "Return the metrics.", public=True, reads_db=True)},
    "/robots.txt": {"GET": Endpoint(_robots, "Return robots.txt.", public=True)},
    "/static/style.css": {"GET": Endpoint(_stylesheet, "Return the style sheet.", public=True)},
    "/static/passkeys.js": {
        "GET": Endpoint(_script, "Return the script for passkeys.", public=True)
    },
    "/api/media/{uuid}/": {
        "GET": Endpoint(pictures.show, "Return a picture.", public=True, reads_db=True),
    },
    **setup.ROUTES,
    **sign_in.ROUTES,
    **passkeys.ROUTES,
    **identity_link.ROUTES,
    **provider_logout.ROUTES,
    **provider_sign_in.ROUTES,
    **sign_in_methods.ROUTES,
    **passwords.ROUTES,
    **email_changes.ROUTES,
    **invitation.ROUTES,
    **approvals.ROUTES,
    **invite_link.ROUTES,
    **groups.ROUTES,
    **join_requests.ROUTES,
    **account.ROUTES,
    **bulk_changes.ROUTES,
    **profile.ROUTES,
    **agreements.ROUTES,
    **mail_preferences.ROUTES,
    **ssh_keys.ROUTES,
    **hooks.ROUTES,
    **two_factor.ROUTES,
    **tokens.ROUTES,
    **scopes.ROUTES,
    **members.ROUTES,
    **reviews.ROUTES,
    **project_recovery.ROUTES,
    **staff.ROUTES,
    **staff_accounts.ROUTES,
    **staff_organisations.ROUTES,
    **staff_organisation_roles.ROUTES,
    **staff_roles.ROUTES,
    **staff_providers.ROUTES,
    **staff_rules.ROUTES,
    **staff_statistics.ROUTES,
    **staff_agreements.ROUTES,
    **staff_mails.ROUTES,
}


class _Pages(Protocol[BrowserRequest]):
    """Sessions in a cookie, errors as pages, forms with a token."""

    unsupported = mark("This page does not support the request.")

    def language(self, context: BrowserRequest) -> str:
        """Return the language that the browser asks for, else that of the site."""
        return context.language("")

    def methods(self, context: BrowserRequest, endpoints: Endpoints) -> list[str]:
        """Return the methods of a path."""
        del context
        return [*endpoints, "HEAD"]

    def credentials(
        self, context: BrowserRequest, endpoint: Endpoint | None, endpoints: Endpoints
    ) -> str | None:
        """Return the session cookie, possibly empty; None for an endpoint that is no page."""
        del endpoints
        return context.session if isinstance(endpoint, Page) else None

    def authenticate(
        self, context: BrowserRequest, tx: ReadTransaction, token: str, endpoint: Endpoint | None
    ) -> None:
        """Load the session; a page that is not public needs one."""
        context.load_session(tx, token)
        if context.preferred_language:
            context.use_language()
        if context.method in READ_METHODS:
            _require_session(context, endpoint)
        if not context.is_signed_in or not isinstance(endpoint, Page) or endpoint.during_setup:
            return
        if context.lacks_second_factor(tx):
            raise Forbidden("second_factor.required")
        # The texts may have been removed since the sign-in.
        if context.must_agree and agreement_queries.pending(tx, context.actor.id):
            raise Forbidden("agreement.required")

    def check_intent(
        self, context: BrowserRequest, endpoint: Endpoint, endpoints: Endpoints
    ) -> None:
        """Check that one of our pages gave the posted form to this browser."""
        if context.method in READ_METHODS:
            # Somebody comes back from another site, with a proof of its own.
            return
        if isinstance(endpoint, Page) and endpoint.one_click:
            return
        context.page = context.path if "GET" in endpoints else ""
        context.needs_session = not endpoint.public
        context.check_form()
        _require_session(context, endpoint)

    def handle(self, context: BrowserRequest, endpoint: Endpoint) -> Response:
        """Run the handler; a form that creates something only once."""
        if isinstance(endpoint, Page) and (endpoint.creates or endpoint.once):
            return _respond_once(context, endpoint)
        return super().handle(context, endpoint)

    def refused(self, context: BrowserRequest, refusal: Refusal) -> Response:
        """Return the error page of a refusal, or the page that leads on from there."""
        respond = _RESPONSES.get(refusal.code)
        response = respond(context) if respond else None
        return refused(context, refusal) if response is None else response

    def error(
        self, context: BrowserRequest, status: int, text: str, headers: dict[str, str]
    ) -> Response:
        """Return a page with one sentence."""
        response = plain(context.settings, status, text)
        response.headers |= headers
        return response

    def finish(self, context: BrowserRequest, response: Response) -> Response:
        """Return the response with the cookies that the handlers have set."""
        response.cookies += context.set_cookies
        return response


PROTOCOL: Final = _Pages(BrowserRequest)


def _require_session(browser: BrowserRequest, endpoint: Endpoint | None) -> None:
    if not browser.is_signed_in and not (endpoint is not None and endpoint.public):
        raise Unauthenticated("session.missing")


def _respond_once(browser: BrowserRequest, endpoint: Page) -> Response:
    """Run the handler of a form that has a number. A repeated form gets the first response.

    For a form that creates something, that response is looked up before limits and rules, because
    the first submission may be the reason to refuse the second. For every form it is looked up
    after a refusal, because the first submission may have finished in the meantime.
    """
    replay = endpoint.replay or BrowserRequest.redirect
    if endpoint.creates:
        with browser.read() as tx:
            stored = browser.recall(tx)
        if stored is not None:
            return replay(browser, *stored)
    try:
        response = run(browser, endpoint)
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


_RESPONSES: Final[dict[str, Callable[[BrowserRequest], Response | None]]] = {
    "agreement.required": agreements.ask_first,
    "form.no_cookie": stale_forms.ask_again,
    "form.stale": stale_forms.ask_again,
    "second_factor.required": two_factor.to_setup,
    "session.unconfirmed": confirmation.ask,
}
"""Refusals after which the person can continue: code → what returns the page."""


def refused(browser: BrowserRequest, refusal: Refusal) -> Response:
    """Return the error page of a refusal. An ended session is redirected to the sign-in page."""
    match refusal:
        case NotFound():
            # The same for objects that do not exist and for those that are hidden.
            return error_page(
                browser,
                404,
                _("Page not found"),
                _("This page does not exist, or your account cannot see it."),
            )
        case Forbidden():
            link = ""
            if refusal.code == "form.insecure":
                link = browser.settings.base_url + (browser.page or "/")
            return error_page(
                browser, 403, _("This could not be done"), message_for(refusal), link=link
            )
        case Unauthenticated(code="session.missing"):
            is_page = browser.method in READ_METHODS or browser.page
            return browser.to_sign_in() if is_page else browser.redirect("/sign_in/")
        case Unauthenticated():
            # The session has ended since it was loaded.
            return browser.to_sign_in("/account/")
        case Limited():
            response = error_page(browser, 429, _("Too many attempts"), message_for(refusal))
            response.headers["Retry-After"] = str(refusal.facts["seconds"])
            return response
    return error_page(browser, 409, _("This could not be done"), message_for(refusal))


def plain(settings: Settings, status: int, text: str) -> Response:
    """Return a page with one sentence, which needs neither a session nor the database.

    Args:
        text: the sentence, in English; the one about an unknown address is translated.
    """
    title = _("Page not found") if status == 404 else _("This could not be done")  # noqa: PLR2004 - HTTP
    sentence = _("Please check the address.") if status == 404 else text  # noqa: PLR2004 - HTTP
    html = (
        templates().get_template("plain.html").render(settings=settings, title=title, said=sentence)
    )
    return Response(status, html.encode(), media=HTML)
