"""Build routes: under two spellings each, and actions under three methods."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from collegium.api.request import Answer, Endpoint, RequestContext, Routes
from collegium.refusals import NotFound

_LONGEST: Final = 15


def with_aliases(routes: Callable[[str], Routes], *bases: str) -> tuple[Routes, Routes]:
    """Return the routes under the first base path, and the routes under all base paths.

    Clients of different age use different spellings of the same path.
    """
    whole: Routes = {}
    for base in bases:
        whole |= routes(base)
    return routes(bases[0]), whole


def mutating_route(path: str, run: Callable[..., Answer], summary: str, answers: Any) -> Routes:
    """Return a route for an action that may be called by GET, PATCH or POST.

    The clients send GET. The token is accepted in a header only, so a link, an image or a crawler
    cannot trigger the action. ``mutates`` excludes HEAD requests and prefetching.

    Args:
        answers: struct of the response.
    """
    return {
        path: {
            "GET": Endpoint(run, summary, response_type=answers, mutates=True),
            "PATCH": Endpoint(run, summary, response_type=answers),
            "POST": Endpoint(run, summary, response_type=answers),
        }
    }


def parse_id(context: RequestContext, noun: str) -> int:
    """Return the numeric id in the path.

    Raises:
        NotFound: ``<noun>.unknown`` if the segment is no number.
    """
    text = context.segments["id"]
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST):
        raise NotFound(f"{noun}.unknown")
    return int(text)
