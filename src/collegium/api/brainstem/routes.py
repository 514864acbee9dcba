"""Dispatch BrainSTEM requests, and the table of all routes."""

from __future__ import annotations

from typing import Final, NoReturn

import structlog

from collegium.api.brainstem import (
    accounts,
    devices,
    errors,
    groups,
    invitations,
    join_requests,
    tokens,
)
from collegium.api.request import (
    BadRequestError,
    Endpoint,
    RequestContext,
    Response,
    Routes,
    outage_words,
)
from collegium.db.database import ReadTransaction, UnavailableError
from collegium.refusals import Forbidden, NotFound, Refusal, Unauthenticated

_log = structlog.get_logger()

_PUBLIC: Final = "/api/public/"
_PREFETCH_HEADERS: Final = ("sec-purpose", "purpose", "x-purpose", "x-moz")


def _raise_no_laboratories(
    _context: RequestContext, _tx: ReadTransaction | None = None
) -> NoReturn:
    raise NotFound("laboratory.none")


def _absent_routes(path: str) -> Routes:
    is_public = path.startswith(_PUBLIC)
    endpoints = {
        method: Endpoint(
            _raise_no_laboratories,
            "This service has no laboratories.",
            public=is_public,
            reads_db=is_public,
        )
        for method in ("GET", "POST", "PATCH", "DELETE")
    }
    return {path: endpoints, f"{path}{{uuid}}/": endpoints}


_NOUNS: Final = (tokens, devices, join_requests, invitations, groups, accounts)

DESCRIBED: Routes = {
    path: endpoints for noun in _NOUNS for path, endpoints in noun.DESCRIBED.items()
}
"""The routes under their documented spelling, for the OpenAPI document."""

ROUTES: Routes = {
    **{path: endpoints for noun in _NOUNS for path, endpoints in noun.ROUTES.items()},
    **{
        path: endpoints
        for portal in ("private", "public")
        for app in ("users", "attributes")
        for path, endpoints in _absent_routes(f"/api/{portal}/{app}/laboratory/").items()
    },
}


def dispatch(context: RequestContext, endpoints: dict[str, Endpoint]) -> Response:
    """Return the response to a request: authenticate the caller, then run the endpoint.

    A database outage answers 503 with ``Retry-After``.
    """
    try:
        response = _respond(context, endpoints)
        context.touch_token()
    except UnavailableError as outage:
        message, seconds = outage_words(outage)
        return errors.detail_response(
            503,
            message,
            {"Retry-After": str(seconds)},
        )
    return response


def _respond(context: RequestContext, endpoints: dict[str, Endpoint]) -> Response:
    try:
        return _dispatch(context, endpoints)
    except BadRequestError as error:
        return errors.bad_request(error)
    except Refusal as refusal:
        return errors.refusal_response(refusal)


def _dispatch(context: RequestContext, endpoints: dict[str, Endpoint]) -> Response:
    if context.path.startswith(_PUBLIC) and not context.settings.brainstem_public_portal:
        # Answer as for an unknown path, whatever the method.
        raise NotFound("portal.off")
    allowed = _allowed_methods(context, endpoints)
    headers = {"Allow": ", ".join(allowed)}
    if context.method == "OPTIONS":
        return Response(204, headers=headers)
    endpoint = endpoints.get("GET" if context.method == "HEAD" else context.method)
    if context.method not in allowed:
        endpoint = None
    if any(method.public for method in endpoints.values()):
        return _run_public(context, endpoint, headers)
    with context.read() as tx:
        context.authenticate(tx, _parse_token(context.header("authorization")))
        if endpoint is not None and not endpoint.mutates and context.method in {"GET", "HEAD"}:
            return endpoint.handler(context, tx)
    if endpoint is None:
        return errors.detail_response(405, _method_error(context), headers)
    if endpoint.mutates:
        _refuse_prefetch(context)
    # A write opens its own transaction, after the read transaction has returned its connection.
    return endpoint.handler(context)


def _run_public(
    context: RequestContext, endpoint: Endpoint | None, headers: dict[str, str]
) -> Response:
    """Run a public endpoint and ignore credentials, so that bad ones lock nobody out."""
    if endpoint is None:
        return errors.detail_response(405, _method_error(context), headers)
    if not endpoint.reads_db:
        return endpoint.handler(context)
    with context.read() as tx:
        return endpoint.handler(context, tx)


def _allowed_methods(context: RequestContext, endpoints: dict[str, Endpoint]) -> list[str]:
    """Return the allowed methods of a path; HEAD only if GET changes nothing."""
    methods = [
        method
        for method, endpoint in endpoints.items()
        if context.settings.brainstem_get_actions or not endpoint.mutates
    ]
    get = endpoints.get("GET")
    if get is not None and not get.mutates:
        methods.insert(methods.index("GET") + 1, "HEAD")
    return [*methods, "OPTIONS"]


def _method_error(context: RequestContext) -> str:
    return f'Method "{context.method[:20]}" not allowed.'


def _refuse_prefetch(context: RequestContext) -> None:
    """Refuse a request that a browser sends in advance, before anybody has followed the link.

    Raises:
        Forbidden: ``prefetch``.
    """
    purposes = " ".join(context.header(name, "").lower() for name in _PREFETCH_HEADERS)
    if "prefetch" in purposes or "prerender" in purposes or "preview" in purposes:
        raise Forbidden("prefetch")


def _parse_token(header: str) -> str:
    """Return the token in the ``Authorization`` header.

    The scheme may be ``Bearer`` or ``Token``, because the clients' documentation has used both.

    Raises:
        Unauthenticated: ``credentials.missing`` or ``credentials.scheme``.
    """
    words = header.split()
    if not words:
        raise Unauthenticated("credentials.missing")
    if len(words) != 2 or words[0].lower() not in {"bearer", "token"}:  # noqa: PLR2004 - scheme, token
        raise Unauthenticated("credentials.scheme")
    return words[1]
