"""Dispatch BrainSTEM requests, and the table of all routes."""

from __future__ import annotations

from typing import Final, NoReturn

from collegium.api.brainstem import (
    accounts,
    devices,
    groups,
    invitations,
    join_requests,
    tokens,
)
from collegium.api.brainstem.errors import refusal_response
from collegium.api.pipeline import Endpoints, Protocol
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.db.database import ReadTransaction
from collegium.refusals import Forbidden, NotFound, Refusal, Unauthenticated

_PUBLIC: Final = "/api/public/"


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


class _BrainStem(Protocol[RequestContext]):
    """Tokens in a header, actions by GET, a public portal."""

    def find(self, context: RequestContext, endpoints: Endpoints) -> Endpoint | None:
        """Return the endpoint; None for an action by GET or HEAD that is disabled."""
        if context.path.startswith(_PUBLIC) and not context.settings.brainstem_public_portal:
            # Answer as for an unknown path, whatever the method.
            raise NotFound("portal.off")
        endpoint = super().find(context, endpoints)
        if endpoint is not None and endpoint.mutates:
            is_action = context.settings.brainstem_get_actions and context.method != "HEAD"
            return endpoint if is_action else None
        return endpoint

    def methods(self, context: RequestContext, endpoints: Endpoints) -> list[str]:
        """Return the methods of a path; HEAD only if GET changes nothing."""
        methods = [
            method
            for method, endpoint in endpoints.items()
            if context.settings.brainstem_get_actions or not endpoint.mutates
        ]
        get = endpoints.get("GET")
        if get is not None and not get.mutates:
            methods.insert(methods.index("GET") + 1, "HEAD")
        return [*methods, "OPTIONS"]

    def credentials(
        self, context: RequestContext, endpoint: Endpoint | None, endpoints: Endpoints
    ) -> str | None:
        """Return the token; public endpoints ignore it, so that a bad one locks nobody out."""
        del endpoint
        if any(method.public for method in endpoints.values()):
            return None
        return _parse_token(context.header("authorization"))

    def check_intent(
        self, context: RequestContext, endpoint: Endpoint, endpoints: Endpoints
    ) -> None:
        """Refuse an action that a browser sends before anybody has followed the link."""
        del endpoints
        if endpoint.mutates:
            _refuse_prefetch(context)

    def refused(self, context: RequestContext, refusal: Refusal) -> Response:
        """Return the response for a refusal."""
        del context
        return refusal_response(refusal)


PROTOCOL: Final = _BrainStem(RequestContext)


def _refuse_prefetch(context: RequestContext) -> None:
    """Refuse a request that a browser sends in advance, before anybody has followed the link.

    Raises:
        Forbidden: ``prefetch``.
    """
    if context.is_prefetch:
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
