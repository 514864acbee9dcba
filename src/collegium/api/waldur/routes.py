"""Dispatch Waldur requests, and the table of all routes."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import structlog

from collegium.accounts import queries as account_queries
from collegium.api.pipeline import Endpoints, Protocol
from collegium.api.request import BadRequestError, Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import (
    account_figures,
    accounts,
    agreements,
    claim_rules,
    configuration,
    customer_users,
    data_access,
    eduteams,
    email_changes,
    events,
    exports,
    history,
    hooks,
    identity_providers,
    imports,
    invitations,
    invite_links,
    join_requests,
    mail_templates,
    memberships,
    organisations,
    passkeys,
    projects,
    reviews,
    role_availability,
    roles,
    schemas,
    ssh_keys,
    tokens,
    usage,
)
from collegium.api.waldur.errors import refusal_response
from collegium.db.database import ReadTransaction, UnavailableError
from collegium.refusals import Forbidden, NotFound, Refusal, Unauthenticated
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
    **passkeys.ROUTES,
    **email_changes.ROUTES,
    **accounts.ROUTES,
    **account_figures.ROUTES,
    **organisations.ROUTES,
    **history.ROUTES,
    **data_access.ROUTES,
    **customer_users.ROUTES,
    **projects.ROUTES,
    **role_availability.ROUTES,
    **roles.ROUTES,
    **memberships.ROUTES,
    **reviews.ROUTES,
    **imports.ROUTES,
    **exports.ROUTES,
    **invitations.ROUTES,
    **invite_links.ROUTES,
    **join_requests.ROUTES,
    **ssh_keys.ROUTES,
    **hooks.ROUTES,
    **events.ROUTES,
    **eduteams.ROUTES,
    **identity_providers.ROUTES,
    **claim_rules.ROUTES,
    **agreements.ROUTES,
    **usage.ROUTES,
    **mail_templates.ROUTES,
    **configuration.ROUTES,
}


class _Waldur(Protocol[RequestContext]):
    """Tokens in a header, sentences under ``detail``, impersonation."""

    def find(self, context: RequestContext, endpoints: Endpoints) -> Endpoint | None:
        """Return the endpoint, if the client accepts JSON."""
        if not _accepts_json(context.header("accept", "*/*")):
            raise BadRequestError({"detail": "Could not satisfy the request Accept header."}, 406)
        return super().find(context, endpoints)

    def methods(self, context: RequestContext, endpoints: Endpoints) -> list[str]:
        """Return the methods of a path."""
        del context
        return [*endpoints, *(["HEAD"] if "GET" in endpoints else []), "OPTIONS"]

    def credentials(
        self, context: RequestContext, endpoint: Endpoint | None, endpoints: Endpoints
    ) -> str | None:
        """Return the token in the ``Authorization`` header; public endpoints need none."""
        token = _parse_token(context.header("authorization"))
        methods = endpoints.values() if endpoint is None else (endpoint,)
        if token is None and not any(method.public for method in methods):
            raise Unauthenticated("credentials.missing")
        return token

    def authenticate(
        self, context: RequestContext, tx: ReadTransaction, token: str, endpoint: Endpoint | None
    ) -> None:
        """Set the actor of a request, which may be another account than that of the token."""
        super().authenticate(context, tx, token, endpoint)
        _impersonate(context, tx)

    def refused(self, context: RequestContext, refusal: Refusal) -> Response:
        """Return the response for a refusal."""
        del context
        return refusal_response(refusal)

    def error(
        self, context: RequestContext, status: int, text: str, headers: dict[str, str]
    ) -> Response:
        """Return the response for an outage or a method that the path does not have."""
        return _with_impersonator(context, super().error(context, status, text, headers))

    def finish(self, context: RequestContext, response: Response) -> Response:
        """Return the response with the name of the impersonator, after recording it."""
        _record_impersonation(context)
        return _with_impersonator(context, response)


PROTOCOL: Final = _Waldur(RequestContext)


class _HomePort(_Waldur):
    """The same for the paths that exist only for the official front end."""

    def find(self, context: RequestContext, endpoints: Endpoints) -> Endpoint | None:
        """Return the endpoint, if the official front end is served."""
        if not context.settings.serves_homeport:
            # Answer as for an unknown path, whatever the method.
            raise NotFound("path.unknown")
        return super().find(context, endpoints)


HOMEPORT_PROTOCOL: Final = _HomePort(RequestContext)


def _with_impersonator(context: RequestContext, response: Response) -> Response:
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
