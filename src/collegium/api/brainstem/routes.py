"""The way of one request on this wire, and the table of all its routes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NoReturn

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
from collegium.api.brainstem.errors import Malformed
from collegium.api.request import Answer, Call, Operation, Routes, outage_words
from collegium.db.database import Unavailable
from collegium.refusals import Forbidden, NotFound, Refusal, Unauthenticated

if TYPE_CHECKING:
    from collegium.db.database import Read

_log = structlog.get_logger()

_PUBLIC: Final = "/api/public/"
_IN_ADVANCE: Final = ("sec-purpose", "purpose", "x-purpose", "x-moz")


def _no_laboratories(_call: Call, _tx: Read | None = None) -> NoReturn:
    raise NotFound("laboratory.none")


def _none(path: str) -> Routes:
    is_open = path.startswith(_PUBLIC)
    none = {
        method: Operation(
            _no_laboratories, "There are no laboratories here.", open=is_open, asks=is_open
        )
        for method in ("GET", "POST", "PATCH", "DELETE")
    }
    return {path: none, f"{path}{{uuid}}/": none}


_NOUNS: Final = (tokens, devices, join_requests, invitations, groups, accounts)

DESCRIBED: Routes = {path: one for noun in _NOUNS for path, one in noun.DESCRIBED.items()}
"""The routes in the spelling of the documents, for the published description."""

ROUTES: Routes = {
    **{path: one for noun in _NOUNS for path, one in noun.ROUTES.items()},
    **{
        path: one
        for portal in ("private", "public")
        for app in ("users", "attributes")
        for path, one in _none(f"/api/{portal}/{app}/laboratory/").items()
    },
}


def perform(call: Call, operations: dict[str, Operation]) -> Answer:
    """Take a call from its path to its answer: whoever asks first, then what is asked."""
    try:
        answer = _answer(call, operations)
        call.settle()
    except Unavailable as outage:
        said, seconds = outage_words(outage)
        return errors.detail(
            503,
            said,
            {"Retry-After": str(seconds)},
        )
    return answer


def _answer(call: Call, operations: dict[str, Operation]) -> Answer:
    try:
        return _perform(call, operations)
    except Malformed as error:
        return errors.malformed(error)
    except Refusal as refusal:
        return errors.refused(refusal)


def _perform(call: Call, operations: dict[str, Operation]) -> Answer:
    if call.path.startswith(_PUBLIC) and not call.settings.brainstem_public_portal:
        # As any path that there is not, whatever its method.
        raise NotFound("portal.off")
    allowed = _allowed(call, operations)
    headers = {"Allow": ", ".join(allowed)}
    if call.method == "OPTIONS":
        return Answer(204, headers=headers)
    operation = operations.get("GET" if call.method == "HEAD" else call.method)
    if call.method not in allowed:
        operation = None
    if any(one.open for one in operations.values()):
        return _run_open(call, operation, headers)
    with call.read() as tx:
        call.authenticate(tx, _token(call.header("authorization")))
        if operation is not None and not operation.acts and call.method in {"GET", "HEAD"}:
            return operation.run(call, tx)
    if operation is None:
        return errors.detail(405, _not_allowed(call), headers)
    if operation.acts:
        _check_meant(call)
    # A write opens its own transaction, after this reading one has given its connection back.
    return operation.run(call)


def _run_open(call: Call, operation: Operation | None, headers: dict[str, str]) -> Answer:
    """Run what is everybody's, whatever stands in the header: nobody is to be shut out of it."""
    if operation is None:
        return errors.detail(405, _not_allowed(call), headers)
    if not operation.asks:
        return operation.run(call)
    with call.read() as tx:
        return operation.run(call, tx)


def _allowed(call: Call, operations: dict[str, Operation]) -> list[str]:
    """Give the methods that a path has here: HEAD only where it can be without effect."""
    found = [
        method
        for method, operation in operations.items()
        if call.settings.brainstem_get_actions or not operation.acts
    ]
    get = operations.get("GET")
    if get is not None and not get.acts:
        found.insert(found.index("GET") + 1, "HEAD")
    return [*found, "OPTIONS"]


def _not_allowed(call: Call) -> str:
    return f'Method "{call.method[:20]}" not allowed.'


def _check_meant(call: Call) -> None:
    """Let nothing happen that a browser fetches before anybody has asked for it.

    Refuses: Forbidden ``prefetch``.
    """
    purposes = " ".join(call.header(name, "").lower() for name in _IN_ADVANCE)
    if "prefetch" in purposes or "prerender" in purposes or "preview" in purposes:
        raise Forbidden("prefetch")


def _token(header: str) -> str:
    """Read the ``Authorization`` header; documents of all ages differ in its first word.

    Refuses: Unauthenticated ``credentials.missing`` and ``credentials.scheme``.
    """
    words = header.split()
    if not words:
        raise Unauthenticated("credentials.missing")
    if len(words) != 2 or words[0].lower() not in {"bearer", "token"}:  # noqa: PLR2004 - word, token
        raise Unauthenticated("credentials.scheme")
    return words[1]
