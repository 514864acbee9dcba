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
from collegium.api.brainstem.errors import BadRequestError
from collegium.api.request import Answer, Endpoint, RequestContext, Routes, outage_words
from collegium.db.database import ReadTransaction, UnavailableError
from collegium.refusals import Forbidden, NotFound, Refusal, Unauthenticated

_log = structlog.get_logger()

_PUBLIC: Final = "/api/public/"
_IN_ADVANCE: Final = ("sec-purpose", "purpose", "x-purpose", "x-moz")


def _no_laboratories(_call: RequestContext, _tx: ReadTransaction | None = None) -> NoReturn:
    raise NotFound("laboratory.none")


def _none(path: str) -> Routes:
    is_open = path.startswith(_PUBLIC)
    none = {
        method: Endpoint(
            _no_laboratories, "This service has no laboratories.", public=is_open, reads_db=is_open
        )
        for method in ("GET", "POST", "PATCH", "DELETE")
    }
    return {path: none, f"{path}{{uuid}}/": none}


_NOUNS: Final = (tokens, devices, join_requests, invitations, groups, accounts)

DESCRIBED: Routes = {path: one for noun in _NOUNS for path, one in noun.DESCRIBED.items()}
"""The routes under their documented spelling, for the OpenAPI document."""

ROUTES: Routes = {
    **{path: one for noun in _NOUNS for path, one in noun.ROUTES.items()},
    **{
        path: one
        for portal in ("private", "public")
        for app in ("users", "attributes")
        for path, one in _none(f"/api/{portal}/{app}/laboratory/").items()
    },
}


def dispatch(context: RequestContext, operations: dict[str, Endpoint]) -> Answer:
    """Return the response to a request: authenticate the caller, then run the endpoint.

    A database outage answers 503 with ``Retry-After``.
    """
    try:
        answer = _respond(context, operations)
        context.touch_token()
    except UnavailableError as outage:
        said, seconds = outage_words(outage)
        return errors.detail_response(
            503,
            said,
            {"Retry-After": str(seconds)},
        )
    return answer


def _respond(context: RequestContext, operations: dict[str, Endpoint]) -> Answer:
    try:
        return _dispatch(context, operations)
    except BadRequestError as error:
        return errors.bad_request(error)
    except Refusal as refusal:
        return errors.refusal_response(refusal)


def _dispatch(context: RequestContext, operations: dict[str, Endpoint]) -> Answer:
    if context.path.startswith(_PUBLIC) and not context.settings.brainstem_public_portal:
        # Answer as for an unknown path, whatever the method.
        raise NotFound("portal.off")
    allowed = _allowed(context, operations)
    headers = {"Allow": ", ".join(allowed)}
    if context.method == "OPTIONS":
        return Answer(204, headers=headers)
    operation = operations.get("GET" if context.method == "HEAD" else context.method)
    if context.method not in allowed:
        operation = None
    if any(one.public for one in operations.values()):
        return _run_public(context, operation, headers)
    with context.read() as tx:
        context.authenticate(tx, _token(context.header("authorization")))
        if operation is not None and not operation.mutates and context.method in {"GET", "HEAD"}:
            return operation.handler(context, tx)
    if operation is None:
        return errors.detail_response(405, _not_allowed(context), headers)
    if operation.mutates:
        _refuse_prefetch(context)
    # A write opens its own transaction, after the read transaction has returned its connection.
    return operation.handler(context)


def _run_public(
    context: RequestContext, operation: Endpoint | None, headers: dict[str, str]
) -> Answer:
    """Run a public endpoint and ignore credentials, so that bad ones lock nobody out."""
    if operation is None:
        return errors.detail_response(405, _not_allowed(context), headers)
    if not operation.reads_db:
        return operation.handler(context)
    with context.read() as tx:
        return operation.handler(context, tx)


def _allowed(context: RequestContext, operations: dict[str, Endpoint]) -> list[str]:
    """Return the allowed methods of a path; HEAD only if GET changes nothing."""
    found = [
        method
        for method, operation in operations.items()
        if context.settings.brainstem_get_actions or not operation.mutates
    ]
    get = operations.get("GET")
    if get is not None and not get.mutates:
        found.insert(found.index("GET") + 1, "HEAD")
    return [*found, "OPTIONS"]


def _not_allowed(context: RequestContext) -> str:
    return f'Method "{context.method[:20]}" not allowed.'


def _refuse_prefetch(context: RequestContext) -> None:
    """Refuse a request that a browser sends in advance, before anybody has followed the link.

    Raises:
        Forbidden: ``prefetch``.
    """
    purposes = " ".join(context.header(name, "").lower() for name in _IN_ADVANCE)
    if "prefetch" in purposes or "prerender" in purposes or "preview" in purposes:
        raise Forbidden("prefetch")


def _token(header: str) -> str:
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
