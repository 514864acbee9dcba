"""CORS: let front ends on other origins call the APIs from a browser (Fetch standard).

Only origins that the operator names get headers, and never with credentials: a front end sends its
token itself, and the cookie of the pages stays out of its reach. Pages and the steps of a sign-in
at a provider get no headers at all.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from collegium import hosts

_API: Final = re.compile(
    r"/api(?:/|$)|/api-auth/(?![^/]+/(?:init|complete|backchannel-logout)(?:/|$))"
)

_EXPOSED: Final = (
    "Link, X-Result-Count, Allow, Content-Disposition, Location, Retry-After, WWW-Authenticate, "
    "X-Impersonator-Uuid, X-Request-Id"
)

# What the clients of both protocols, the official front end and its error tracing send.
_ALLOWED: Final = (
    "Accept, Accept-Language, Authorization, Baggage, Cache-Control, Content-Language, "
    "Content-Type, If-Modified-Since, Pragma, Sentry-Trace, Traceparent, Tracestate, "
    "X-CSRFToken, X-Impersonated-User-Uuid, X-Request-Id, X-Requested-With"
)

_PREFLIGHT: Final = (
    ("access-control-allow-methods", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
    ("access-control-allow-headers", _ALLOWED),
    # Chromium keeps a preflight for two hours at most.
    ("access-control-max-age", "7200"),
)

Headers = tuple[tuple[str, str], ...]


class CorsPolicy:
    """Which headers a browser gets that calls from a page of another origin.

    Args:
        origins: the allowed origins in comparable form, as browsers send them.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def headers(self, env: Mapping[str, Any], path: str) -> Headers:
        """Return the headers of a response; without an allowed origin only ``Vary``, if any.

        Args:
            path: path of the request, without the base path of the service.
        """
        if not self._origins or not _API.match(path):
            return ()
        origin = env.get("HTTP_ORIGIN", "")
        if origin not in self._origins:
            # A cache must not give this response to an origin that is allowed.
            return (("vary", "Origin"),)
        return (
            ("vary", "Origin"),
            ("access-control-allow-origin", origin),
            ("access-control-expose-headers", _EXPOSED),
        )

    def preflight(self, env: Mapping[str, Any], path: str) -> Headers | None:
        """Return the further headers that answer a preflight; None for any other request.

        A browser asks whether it may send a request before it sends it, without credentials and
        without a token. The answer is the same for every path, so it tells nobody what exists.
        """
        if (
            env["REQUEST_METHOD"] == "OPTIONS"
            and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in env
            and env.get("HTTP_ORIGIN", "") in self._origins
            and _API.match(path)
        ):
            return _PREFLIGHT
        return None


def policy(allowed_origins: Iterable[str], homeport_url: str | None) -> CorsPolicy:
    """Return the policy of an installation; the front end of ``HOMEPORT_URL`` is always allowed."""
    front_end = hosts.origin(homeport_url) if homeport_url else None
    return CorsPolicy([*allowed_origins, *([front_end] if front_end else [])])
