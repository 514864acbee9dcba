"""How routes are spelled on this wire: twice, and deeds under three methods."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from collegium.api.request import Endpoint, Routes
from collegium.refusals import NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from collegium.api.request import Answer, RequestContext

_LONGEST: Final = 15


def with_aliases(routes: Callable[[str], Routes], *bases: str) -> tuple[Routes, Routes]:
    """Give the routes under the first spelling, and under all of them.

    Generations of clients spell the same thing differently.
    """
    whole: Routes = {}
    for base in bases:
        whole |= routes(base)
    return routes(bases[0]), whole


def mutating_route(path: str, run: Callable[..., Answer], summary: str, answers: Any) -> Routes:
    """Give a route that changes something, by whatever method it is called.

    The clients send GET. It is taken with a token in the header alone, so that no link, picture or
    crawler can send it; ``acts`` keeps HEAD and whatever is fetched in advance away.
    """
    return {
        path: {
            "GET": Endpoint(run, summary, response_type=answers, mutates=True),
            "PATCH": Endpoint(run, summary, response_type=answers),
            "POST": Endpoint(run, summary, response_type=answers),
        }
    }


def parse_id(context: RequestContext, noun: str) -> int:
    """Give the number in the path.

    Refuses: NotFound ``<noun>.unknown`` for a segment that is no number.
    """
    text = context.segments["id"]
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST):
        raise NotFound(f"{noun}.unknown")
    return int(text)
