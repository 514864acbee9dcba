"""The one path of every request: parse, authenticate, authorise, handle, render errors.

A ``Protocol`` says what differs: where the credentials are, and what errors look like. Types of the
web framework end here. Requests run in threads of a WSGI server: all code is synchronous, and
passing each request from an event loop to a thread and back cost more than most responses
(docs/decisions/0015-wsgi.md).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import ClassVar, Final, Generic, TypeVar

import falcon
from falcon.routing import CompiledRouter

from collegium.api.request import (
    APP_CONTEXT,
    READ_METHODS,
    ROUTED,
    BadRequestError,
    Endpoint,
    RequestContext,
    Response,
    Routes,
    client_ip_address,
    error_response,
    json_response,
    network_of,
    outage_words,
)
from collegium.api.request_bodies import BODY_MAX, SENDERS, SENDERS_NETWORK, Bodies
from collegium.db.database import ReadTransaction, UnavailableError
from collegium.hosts import Network
from collegium.refusals import Refusal
from collegium.text import languages

C = TypeVar("C", bound=RequestContext)

Endpoints = dict[str, Endpoint]
"""Method to endpoint, for one path."""


class Protocol(ABC, Generic[C]):
    """What differs between the protocols.

    Args:
        context_type: what handlers get.
    """

    unsupported: ClassVar[str] = 'Method "{method}" not allowed.'
    """Message for a method that a path does not have."""

    def __init__(self, context_type: type[C]) -> None:
        self.context_type = context_type

    def language(self, context: C) -> str:
        """Return the language of the texts in the response, before anybody is authenticated."""
        del context
        return languages.SOURCE

    def find(self, context: C, endpoints: Endpoints) -> Endpoint | None:
        """Return the endpoint for the method of a request, if the path has one.

        Raises:
            BadRequestError: if this protocol cannot answer the request.
            NotFound: if the path is disabled.
        """
        return endpoints.get("GET" if context.method == "HEAD" else context.method)

    @abstractmethod
    def methods(self, context: C, endpoints: Endpoints) -> list[str]:
        """Return the methods of a path, for the header ``Allow``."""

    @abstractmethod
    def credentials(
        self, context: C, endpoint: Endpoint | None, endpoints: Endpoints
    ) -> str | None:
        """Return the token of a request; None for an anonymous request to a public endpoint.

        Raises:
            Unauthenticated: if there is no token, or it is malformed.
        """

    def authenticate(
        self, context: C, tx: ReadTransaction, token: str, endpoint: Endpoint | None
    ) -> None:
        """Set the actor of a request.

        Raises:
            Unauthenticated: see ``RequestContext.authenticate``.
        """
        context.authenticate(tx, token, shown=endpoint is not None and endpoint.returns_self)

    def check_intent(self, context: C, endpoint: Endpoint, endpoints: Endpoints) -> None:
        """Check that an authenticated request to change something was meant.

        Raises:
            Forbidden: if a browser sent it by itself.
        """

    def handle(self, context: C, endpoint: Endpoint) -> Response:
        """Return the response of an endpoint that opens its own transactions."""
        return run(context, endpoint)

    @abstractmethod
    def refused(self, context: C, refusal: Refusal) -> Response:
        """Return the response for a refusal."""

    def error(self, context: C, status: int, text: str, headers: dict[str, str]) -> Response:
        """Return the response for an outage or a method that the path does not have."""
        del context
        return error_response(status, text, headers)

    def finish(self, context: C, response: Response) -> Response:
        """Return the response with what this protocol adds to every response."""
        del context
        return response


def run(context: RequestContext, endpoint: Endpoint) -> Response:
    """Return the response of an endpoint, within its rate limits.

    Raises:
        Limited: ``tries.wait``, with the ``seconds`` to wait.
    """
    if endpoint.limits:
        context.check_limits(*endpoint.limits)
    if endpoint.guesses is None:
        return endpoint.handler(context)
    with context.rate_limited(endpoint.guesses):
        return endpoint.handler(context)


def dispatch(protocol: Protocol[C], context: C, endpoints: Endpoints) -> Response:
    """Return the response to a request.

    A refused request counts as use of the token too. A database outage answers 503.
    """
    with languages.using(protocol.language(context)):
        try:
            response = _respond(protocol, context, endpoints)
        except UnavailableError as outage:
            text, seconds = outage_words(outage)
            return protocol.error(context, 503, text, {"Retry-After": str(seconds)})
        context.touch_token()
        return protocol.finish(context, response)


def _respond(protocol: Protocol[C], context: C, endpoints: Endpoints) -> Response:
    try:
        return _call(protocol, context, endpoints)
    except BadRequestError as error:
        return json_response(error.status, error.errors)
    except Refusal as refusal:
        return protocol.refused(context, refusal)


def _call(protocol: Protocol[C], context: C, endpoints: Endpoints) -> Response:
    endpoint = protocol.find(context, endpoints)
    if context.method == "OPTIONS":
        return _without_endpoint(protocol, context, endpoints)
    token = protocol.credentials(context, endpoint, endpoints)
    reads = context.method in READ_METHODS
    if token is not None:
        with context.read() as tx:
            context.finish_setup(tx)
            protocol.authenticate(context, tx, token, endpoint)
            if endpoint is not None and reads and not endpoint.mutates:
                return endpoint.handler(context, tx)
    if endpoint is None:
        return _without_endpoint(protocol, context, endpoints)
    if token is not None:
        protocol.check_intent(context, endpoint, endpoints)
    elif endpoint.reads_db and reads:
        with context.read() as tx:
            context.finish_setup(tx)
            return endpoint.handler(context, tx)
    # A handler that writes opens its own transaction. The read transaction above has returned
    # its connection.
    return protocol.handle(context, endpoint)


def _without_endpoint(protocol: Protocol[C], context: C, endpoints: Endpoints) -> Response:
    methods = protocol.methods(context, endpoints)
    headers = {"Allow": ", ".join(methods)}
    if context.method == "OPTIONS" and "OPTIONS" in methods:
        return Response(204, headers=headers)
    text = protocol.unsupported.format(method=context.method)
    return protocol.error(context, 405, text, headers)


def add_routes(router: CompiledRouter, routes: Routes, protocol: Protocol[C]) -> None:
    """Add the routes of one protocol to the router of every application."""
    for path, endpoints in routes.items():
        # Paths match with or without the final slash: the router gets them without it.
        router.add_route(path.rstrip("/") or "/", _Resource(endpoints, protocol))


_bodies: Final = Bodies(SENDERS, SENDERS_NETWORK)


class _Resource(Generic[C]):
    """A path as a Falcon resource; the pipeline itself handles the method."""

    def __init__(self, endpoints: Endpoints, protocol: Protocol[C]) -> None:
        self._endpoints = endpoints
        self._protocol = protocol

    def on_get(
        self, request: falcon.Request, falcon_response: falcon.Response, **segments: str
    ) -> None:
        request.env[ROUTED] = request.uri_template
        app_context = request.env[APP_CONTEXT]
        endpoint = self._endpoints.get(request.method)
        settings = app_context.settings
        max_length = BODY_MAX
        if endpoint is not None and endpoint.is_large:
            max_length = max(BODY_MAX, settings.import_max_size + AROUND_FILE)
        body = _body(request, settings.trusted_proxies, max_length)
        context = self._protocol.context_type(app_context, request, body, segments)
        try:
            response = dispatch(self._protocol, context, self._endpoints)
            fill_falcon_response(
                falcon_response, response, root=context.root, head=request.method == "HEAD"
            )
        finally:
            context.release_read_slot()

    on_head = on_post = on_put = on_patch = on_delete = on_options = on_get


AROUND_FILE: Final = 64 * 1024
"""Bytes of a body besides its file."""


def _body(request: falcon.Request, proxies: tuple[Network, ...], max_length: int) -> bytes:
    env = request.env
    length = env.get("CONTENT_LENGTH") or ""
    if not length and "HTTP_TRANSFER_ENCODING" not in env:
        return b""
    if length.isdigit() and int(length) > max_length:
        raise falcon.HTTPContentTooLarge
    if length.isdigit() and int(length) == 0:
        return b""
    if env.get("HTTP_CONTENT_ENCODING", "").strip().lower() not in {"", "identity"}:
        raise falcon.HTTPUnsupportedMediaType
    return _bodies.read(
        env["wsgi.input"],
        int(length) if length.isdigit() else None,
        max_length,
        network_of(client_ip_address(env, proxies)),
    )


_LOCAL: Final = re.compile(rb'(?<=\s)((?:href|action|src|formaction)=")/(?!/)')


def fill_falcon_response(
    falcon_response: falcon.Response, response: Response, *, root: str = "", head: bool = False
) -> None:
    """Copy a response into the framework's response object.

    Args:
        root: base path of the service for this caller. Pages and redirects contain paths without
            it; it is inserted here. Quotes that people type are escaped in pages, so only our own
            attributes match.
    """
    falcon_response.status = response.status
    falcon_response.set_headers(response.headers)
    for cookie in response.cookies:
        falcon_response.append_header("set-cookie", cookie)
    is_text = response.media.startswith("text/")
    falcon_response.content_type = f"{response.media}; charset=utf-8" if is_text else response.media
    body = response.body
    if root:
        if response.headers.get("Location", "").startswith("/"):
            falcon_response.set_header("location", root + response.headers["Location"])
        if response.media == "text/html":
            body = _LOCAL.sub(rb"\1" + root.encode() + b"/", body)
    if response.stream is not None and not head:
        falcon_response.stream = response.stream
        return
    if response.stream is not None:
        response.stream.close()
    if not head:
        falcon_response.data = body
    elif body:
        falcon_response.content_length = len(body)
    else:
        # A response to HEAD that was only counted has no body to measure, and building one is not
        # worth the work. The empty stream keeps the framework from sending a content length of
        # zero.
        falcon_response.stream = iter(())
