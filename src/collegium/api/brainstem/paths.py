"""Build routes: under two spellings each, and actions under three methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from collegium.api.request import Endpoint, Response, Routes
from collegium.security.rate_limits.rules import Limit


def with_aliases(routes: Callable[[str], Routes], *bases: str) -> tuple[Routes, Routes]:
    """Return the routes under the first base path, and the routes under all base paths.

    Clients of different age use different spellings of the same path.
    """
    all_routes: Routes = {}
    for base in bases:
        all_routes |= routes(base)
    return routes(bases[0]), all_routes


def mutating_route(
    path: str,
    handler: Callable[..., Response],
    summary: str,
    response_type: Any,
    limits: tuple[Limit, ...] = (),
) -> Routes:
    """Return a route for an action that may be called by GET, PATCH or POST.

    The clients send GET. The token is accepted in a header only, so a link, an image or a crawler
    cannot trigger the action. ``mutates`` excludes HEAD requests and prefetching.

    Args:
        response_type: struct of the response.
        limits: what callers have a budget for.
    """
    endpoint = Endpoint(handler, summary, response_type=response_type, limits=limits)
    return {path: {"GET": replace(endpoint, mutates=True), "PATCH": endpoint, "POST": endpoint}}
