"""The way of one request on this wire, and the table of all its routes."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog

from collegium.access.rules import NOBODY
from collegium.accounts import queries as account_queries
from collegium.api.request import Answer, Call, Operation, Routes, hex_uuid, outage_words
from collegium.api.waldur import (
    accounts,
    configuration,
    customer_users,
    eduteams,
    email_changes,
    errors,
    events,
    invitations,
    invite_links,
    join_requests,
    memberships,
    organisations,
    projects,
    roles,
    schemas,
    ssh_keys,
    tokens,
)
from collegium.api.waldur.errors import Malformed
from collegium.db.database import Unavailable
from collegium.refusals import Forbidden, Refusal, Unauthenticated
from collegium.sign_in import impersonation
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.actions import actor_of

if TYPE_CHECKING:
    from collegium.db.database import Read

_log = structlog.get_logger()

_RETRY_SECONDS: Final = 5
_REMEMBERED: Final = 1000
"""Maximum number of impersonations that a process remembers to have recorded."""


def _root(call: Call, _tx: Read) -> Answer:
    return Answer(
        200,
        schemas.encode(
            {
                path.removeprefix("/api/").strip("/"): call.base + path
                for path, operations in ROUTES.items()
                if "GET" in operations and path.startswith("/api/") and path.count("/") == 3  # noqa: PLR2004 - a list
            }
        ),
    )


ROUTES: Routes = {
    "/api/": {"GET": Operation(_root, "List what there is.")},
    **tokens.ROUTES,
    **email_changes.ROUTES,
    **accounts.ROUTES,
    **organisations.ROUTES,
    **customer_users.ROUTES,
    **projects.ROUTES,
    **roles.ROUTES,
    **memberships.ROUTES,
    **invitations.ROUTES,
    **invite_links.ROUTES,
    **join_requests.ROUTES,
    **ssh_keys.ROUTES,
    **events.ROUTES,
    **eduteams.ROUTES,
    **configuration.ROUTES,
}


def perform(call: Call, operations: dict[str, Operation]) -> Answer:
    """Take a call from its path to its answer: whoever asks first, then what is asked."""
    try:
        answer = _answer(call, operations)
        call.settle()
        _record_impersonation(call)
    except Unavailable as outage:
        said, seconds = outage_words(outage)
        answer = errors.detail(
            503,
            said,
            {"Retry-After": str(seconds)},
        )
    if call.impersonator is not None:
        answer.headers["X-impersonator-uuid"] = call.impersonator.uuid
    return answer


def _record_impersonation(call: Call) -> None:
    """Record once an hour that staff act as this person, after the answer is made.

    Reading goes on where nothing can be written, and the log says what was not recorded.
    """
    staff = call.impersonator
    if staff is None:
        return
    key = f"{staff.id} {call.actor.id} {impersonation.hour_of(call.now)}"
    recorded = call.house.recorded
    if recorded.get(key, call.now) > call.now:
        return
    if len(recorded) > _REMEMBERED:
        recorded.clear()
    call.step_aside()
    try:
        # Not by ``call.write``: it happened, although the token may have ended with it.
        with call.house.database.write() as tx:
            tx.request = call.request_id
            impersonation.record(tx, call.actor, staff)
    except Unavailable as outage:
        _log.warning(
            "impersonation not recorded",
            staff=staff.uuid,
            account=call.actor.uuid,
            reason=str(outage),
        )
        # Nobody is kept waiting for the database with each request.
        recorded[key] = call.now + timedelta(seconds=_RETRY_SECONDS)
    else:
        recorded[key] = call.now + timedelta(hours=1)


def _answer(call: Call, operations: dict[str, Operation]) -> Answer:
    # Whoever is refused was there all the same: the lifetime of the token moves on.
    try:
        return _perform(call, operations)
    except Malformed as error:
        return errors.malformed(error)
    except Refusal as refusal:
        return errors.refused(refusal)


def _perform(call: Call, operations: dict[str, Operation]) -> Answer:
    if not _means_json(call.header("accept", "*/*")):
        return errors.detail(406, "Could not satisfy the request Accept header.")
    if call.method == "OPTIONS":
        return Answer(204, headers={"Allow": _allowed(operations)})
    operation = operations.get("GET" if call.method == "HEAD" else call.method)
    token = _token(call.header("authorization"))
    is_open = operation.open if operation else any(one.open for one in operations.values())
    if token is None:
        if not is_open:
            raise Unauthenticated("credentials.missing")
        return _run(call, operations, operation)
    with call.read() as tx:
        call.authenticate(tx, token, shown=operation is not None and operation.own)
        _impersonate(call, tx)
        if operation is not None and call.method in {"GET", "HEAD"}:
            return operation.run(call, tx)
    # A write opens its own transaction, after this reading one has given its connection back.
    return _run(call, operations, operation)


def _run(call: Call, operations: dict[str, Operation], operation: Operation | None) -> Answer:
    if operation is None:
        return errors.not_allowed(call.method, _allowed(operations))
    if operation.asks and call.method in {"GET", "HEAD"}:
        call.actor = NOBODY
        with call.read() as tx:
            return operation.run(call, tx)
    return operation.run(call)


def _allowed(operations: dict[str, Operation]) -> str:
    return ", ".join([*operations, *(["HEAD"] if "GET" in operations else []), "OPTIONS"])


def _means_json(accepted: str) -> bool:
    return accepted == "*/*" or any(
        kind.split(";")[0].strip() in {"application/json", "application/*", "*/*", ""}
        for kind in accepted.lower().split(",")
    )


def _token(header: str) -> str | None:
    """Read the ``Authorization`` header; None: nobody, or a scheme that is not ours."""
    # The server hands headers on as Latin-1; in bytes, white space is that of ASCII only.
    scheme, *parts = header.encode("latin-1").split() or (b"",)
    if scheme.lower() != b"token":
        return None
    if not parts:
        raise Unauthenticated("credentials.empty")
    if len(parts) > 1:
        raise Unauthenticated("credentials.spaces")
    try:
        return parts[0].decode("utf-8")
    except UnicodeError:
        raise Unauthenticated("credentials.characters") from None


def _impersonate(call: Call, tx: Read) -> None:
    wanted = hex_uuid(call.header("x-impersonated-user-uuid")) if call.actor.is_staff else None
    if wanted is None:
        return
    account = account_queries.by_uuid(tx, wanted)
    if account is None or account.id == call.actor.id:
        return
    # Of somebody active no token is needed: a second factor, or another password, ends all of them.
    if not account.is_active and token_queries.of_account(tx, account.id) is None:
        raise Forbidden("impersonation.no_session")
    call.impersonator, call.account = call.actor, None
    call.actor = actor_of(account, call.address, call.request_id, behind=call.actor)
