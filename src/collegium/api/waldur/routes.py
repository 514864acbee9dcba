"""Dispatch Waldur requests, and the table of all routes."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from collegium.access.rules import ANONYMOUS
from collegium.accounts import queries as account_queries
from collegium.api.request import (
    BadRequestError,
    Endpoint,
    RequestContext,
    Response,
    Routes,
    outage_words,
)
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
from collegium.db.database import ReadTransaction, UnavailableError
from collegium.refusals import Forbidden, Refusal, Unauthenticated
from collegium.sign_in import impersonation
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.actions import actor_of
from collegium.values import hex_uuid

_log = structlog.get_logger()

_RETRY_SECONDS: Final = 5
_RECORDED_MAX: Final = 1000
"""Maximum number of impersonations that a process remembers as recorded."""


def _root(context: RequestContext, _tx: ReadTransaction) -> Response:
    return Response(
        200,
        schemas.encode(
            {
                path.removeprefix("/api/").strip("/"): context.base + path
                for path, endpoints in ROUTES.items()
                if "GET" in endpoints and path.startswith("/api/") and path.count("/") == 3  # noqa: PLR2004 - a list
            }
        ),
    )


ROUTES: Routes = {
    "/api/": {"GET": Endpoint(_root, "List the endpoints.")},
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


def dispatch(context: RequestContext, endpoints: dict[str, Endpoint]) -> Response:
    """Return the response to a request: authenticate the caller, then run the endpoint.

    A database outage answers 503 with ``Retry-After``.
    """
    try:
        response = _respond(context, endpoints)
        context.touch_token()
        _record_impersonation(context)
    except UnavailableError as outage:
        message, seconds = outage_words(outage)
        response = errors.detail(
            503,
            message,
            {"Retry-After": str(seconds)},
        )
    if context.impersonator is not None:
        response.headers["X-impersonator-uuid"] = context.impersonator.uuid
    return response


def _record_impersonation(context: RequestContext) -> None:
    """Record an impersonation once an hour, after the response is made.

    Read requests still succeed while nothing can be written. The log then says what was not
    recorded.
    """
    staff = context.impersonator
    if staff is None:
        return
    key = f"{staff.id} {context.actor.id} {impersonation.hour_of(context.now)}"
    recorded = context.app.recorded_impersonations
    if recorded.get(key, context.now) > context.now:
        return
    if len(recorded) > _RECORDED_MAX:
        recorded.clear()
    context.release_read_slot()
    try:
        # ``context.write`` would refuse if the request has revoked its own token, but the
        # impersonation happened all the same.
        with context.app.database.write() as tx:
            tx.request = context.request_id
            impersonation.record(tx, context.actor, staff)
    except UnavailableError as outage:
        _log.warning(
            "impersonation not recorded",
            staff=staff.uuid,
            account=context.actor.uuid,
            reason=str(outage),
        )
        # Skip further attempts for a moment, so that not every request waits for the database.
        recorded[key] = context.now + timedelta(seconds=_RETRY_SECONDS)
    else:
        recorded[key] = context.now + timedelta(hours=1)


def _respond(context: RequestContext, endpoints: dict[str, Endpoint]) -> Response:
    # A refused request counts as use of the token too, so refusals become responses here and
    # ``dispatch`` extends the token's lifetime.
    try:
        return _dispatch(context, endpoints)
    except BadRequestError as error:
        return errors.bad_request(error)
    except Refusal as refusal:
        return errors.refusal_response(refusal)


def _dispatch(context: RequestContext, endpoints: dict[str, Endpoint]) -> Response:
    if not _accepts_json(context.header("accept", "*/*")):
        return errors.detail(406, "Could not satisfy the request Accept header.")
    if context.method == "OPTIONS":
        return Response(204, headers={"Allow": _allowed_methods(endpoints)})
    endpoint = endpoints.get("GET" if context.method == "HEAD" else context.method)
    token = _parse_token(context.header("authorization"))
    is_public = endpoint.public if endpoint else any(method.public for method in endpoints.values())
    if token is None:
        if not is_public:
            raise Unauthenticated("credentials.missing")
        return _call_handler(context, endpoints, endpoint)
    with context.read() as tx:
        context.authenticate(tx, token, shown=endpoint is not None and endpoint.returns_self)
        _impersonate(context, tx)
        if endpoint is not None and context.method in {"GET", "HEAD"}:
            return endpoint.handler(context, tx)
    # A write opens its own transaction, after the read transaction has returned its connection.
    return _call_handler(context, endpoints, endpoint)


def _call_handler(
    context: RequestContext, endpoints: dict[str, Endpoint], endpoint: Endpoint | None
) -> Response:
    if endpoint is None:
        return errors.not_allowed(context.method, _allowed_methods(endpoints))
    if endpoint.reads_db and context.method in {"GET", "HEAD"}:
        context.actor = ANONYMOUS
        with context.read() as tx:
            return endpoint.handler(context, tx)
    return endpoint.handler(context)


def _allowed_methods(endpoints: dict[str, Endpoint]) -> str:
    return ", ".join([*endpoints, *(["HEAD"] if "GET" in endpoints else []), "OPTIONS"])


def _accepts_json(accept_header: str) -> bool:
    return accept_header == "*/*" or any(
        media_range.split(";")[0].strip() in {"application/json", "application/*", "*/*", ""}
        for media_range in accept_header.lower().split(",")
    )


def _parse_token(header: str) -> str | None:
    """Return the token in the ``Authorization`` header; None without a token scheme.

    Raises:
        Unauthenticated: ``credentials.empty``, ``credentials.spaces`` or
            ``credentials.characters``.
    """
    # The server decodes headers as Latin-1. Splitting bytes treats only ASCII characters as white
    # space.
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


def _impersonate(context: RequestContext, tx: ReadTransaction) -> None:
    uuid = hex_uuid(context.header("x-impersonated-user-uuid")) if context.actor.is_staff else None
    if uuid is None:
        return
    account = account_queries.by_uuid(tx, uuid)
    if account is None or account.id == context.actor.id:
        return
    # An active account needs no token here: enabling two-factor authentication or changing the
    # password revokes its tokens, so a missing token means nothing.
    if not account.is_active and token_queries.of_account(tx, account.id) is None:
        raise Forbidden("impersonation.no_session")
    context.impersonator, context.account = context.actor, None
    context.actor = actor_of(
        account, context.ip_address, context.request_id, impersonator=context.actor
    )
