"""The way of one request for a page, and the table of these routes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from prometheus_client import generate_latest

from collegium.dialects import front
from collegium.dialects.http import Answer, Operation, Routes
from collegium.dialects.web import addresses, invitations, pictures
from collegium.dialects.web.page import HTML, page
from collegium.store import outbox, schema
from collegium.store.db import Unavailable

if TYPE_CHECKING:
    from collegium.dialects.http import Call
    from collegium.store.db import Read

_log = structlog.get_logger()

_METRICS: Final = "text/plain; version=1.0.0"
_TEXT: Final = "text/plain"
_STATIC: Final = Path(__file__).parent / "static"


def _home(call: Call) -> Answer:
    return page(call.settings, "home", base=call.base)


def _alive(_call: Call) -> Answer:
    return Answer(200, b"ok\n", media=_TEXT)


def _ready(call: Call) -> Answer:
    standing = schema.standing(call.house.database)
    ready = standing is schema.Standing.CURRENT
    text = "ready" if ready else f"the schema is {standing}"
    return Answer(200 if ready else 503, f"{text}\n".encode(), media=_TEXT)


def _metrics(call: Call, tx: Read) -> Answer:
    del call
    counts = outbox.counts(tx)
    lines = "".join(
        f"# TYPE collegium_outbox_{name} gauge\ncollegium_outbox_{name} {getattr(counts, name)}\n"
        for name in ("owed", "overdue", "abandoned")
    )
    return Answer(200, generate_latest(front.registry) + lines.encode(), media=_METRICS)


@cache
def _style() -> bytes:
    return (_STATIC / "style.css").read_bytes()


def _stylesheet(_call: Call) -> Answer:
    return Answer(200, _style(), media="text/css")


def description_routes(document: dict[str, Any]) -> Routes:
    """Give the routes that publish a description, as JSON and as a page."""
    encoded = msgspec.json.encode(document)
    listed = [
        (method.upper(), path, said)
        for path, table in document["paths"].items()
        for method, said in table.items()
    ]

    def _document(_call: Call) -> Answer:
        return Answer(200, encoded)

    def _described(call: Call) -> Answer:
        return page(call.settings, "schema", operations=listed)

    return {
        "/schema/openapi.json": {"GET": Operation(_document, "The description.", open=True)},
        "/schema/": {"GET": Operation(_described, "The description as a page.", open=True)},
    }


ROUTES: Routes = {
    "/": {"GET": Operation(_home, "The front page.", open=True)},
    "/healthz": {"GET": Operation(_alive, "Is the process alive?", open=True)},
    "/readyz": {"GET": Operation(_ready, "Can it answer?", open=True)},
    "/metrics": {"GET": Operation(_metrics, "Counters.", open=True, asks=True)},
    "/static/style.css": {"GET": Operation(_stylesheet, "The style sheet.", open=True)},
    "/invitation/{token}/": {
        "GET": Operation(invitations.show, "What an invitation is to.", open=True, asks=True)
    },
    "/user_email_change/{code}/": {
        "GET": Operation(addresses.ask, "Confirm a new address?", open=True),
        "POST": Operation(addresses.confirm, "Confirm a new address.", open=True),
    },
    "/api/media/{uuid}/": {
        "GET": Operation(pictures.show, "A picture.", open=True, asks=True),
    },
}


def perform(call: Call, operations: dict[str, Operation]) -> Answer:
    """Take a call from its path to its page."""
    operation = operations.get("GET" if call.method == "HEAD" else call.method)
    if operation is None:
        answer = plain(405, "This page cannot do that.")
        answer.headers["Allow"] = ", ".join([*operations, "HEAD"])
        return answer
    try:
        if operation.asks:
            with call.read() as tx:
                return operation.run(call, tx)
        return operation.run(call)
    except Unavailable as outage:
        _log.warning("database unavailable", reason=str(outage))
        answer = plain(503, "The service is busy. Please try again in a moment.")
        answer.headers["Retry-After"] = "5"
        return answer


def plain(status: int, text: str) -> Answer:
    """Answer with one sentence that needs no template to be right."""
    body = (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width"><title>Collegium</title>'
        f'<link rel="stylesheet" href="/static/style.css"><main><h1>{text}</h1>'
        '<p><a href="/">To the front page</a></p></main></html>'
    )
    return Answer(status, body.encode(), media=HTML)
