"""Endpoints for signing in and out: ``/api-auth/``; and for tokens: ``/api/auth-tokens/``."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from msgspec import Struct

from collegium.access.rules import require_staff
from collegium.api import sign_in
from collegium.api.request import BadRequestError, Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import lists, passkeys, schemas
from collegium.api.waldur.fields import read
from collegium.db.database import ReadTransaction
from collegium.integrations.provider_sessions import sign_out_url
from collegium.refusals import NotFound, Unauthenticated, or_not_found
from collegium.security.rate_limits.rules import CODE
from collegium.sign_in.identities import sessions as identity_sessions
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.queries import PublicToken
from collegium.values import Text, Uuid, whole_number

_LOGIN: Final = {
    "username": Text(required=True, blank=False, max=128),
    "password": Text(required=True, blank=False, max=128, strip=False),
}


def _log_in(context: RequestContext) -> Response:
    form = read(context, _LOGIN)
    form.check()
    username = form.values["username"]
    password = form.values["password"]
    account = sign_in.check_password(context, username, password, password_only=False)
    try:
        sign_in.check_password_is_enough(context, account)
    except Unauthenticated:
        answer = passkeys.challenge(context, account)
        if answer is None:
            raise
        return answer
    actor = sign_in.actor_of(context, account)
    with context.write() as tx:
        token = token_actions.log_in(tx, context.app.vault, context.settings, actor, "password")
        sign_in.reset_limits(context, tx, username)
    return Response(200, schemas.encode(schemas.Token(token)))


class Logout(Struct, frozen=True):
    """Where the browser signs out of the identity provider too."""

    logout_url: str


def _log_out(context: RequestContext) -> Response:
    vault = context.app.vault
    with context.write() as tx:
        session = identity_sessions.session_at_provider(tx, vault, context.token_id)
        token_actions.log_out(tx, context.actor)
    url = ""
    if session is not None:
        home = context.settings.homeport_url or context.settings.base_url
        url = sign_out_url(context.settings, vault, *session, f"{home.rstrip('/')}/")
    return Response(200, schemas.encode(Logout(url))) if url else Response(204)


_EXCHANGE: Final = {"code": Uuid(required=True)}


def _exchange(context: RequestContext) -> Response:
    form = read(context, _EXCHANGE)
    form.check()
    context.check_limits(CODE)
    try:
        with context.write() as tx:
            token = identity_sessions.exchange(
                tx,
                context.app.vault,
                context.settings,
                form.values["code"],
                ip_address=context.ip_address,
                request_id=context.request_id,
            )
    except NotFound:
        with context.write() as tx:
            context.count_attempts(tx, CODE)
        raise BadRequestError({"detail": "Invalid or expired code."}) from None
    return Response(200, schemas.encode(schemas.Token(token)))


class AuthToken(Struct, frozen=True):
    """The fact that an account has a token; the token itself is never shown."""

    url: str
    created: datetime
    user: str
    user_first_name: str
    user_last_name: str
    user_username: str
    user_is_active: bool
    user_token_lifetime: int | None


def _render_token(context: RequestContext, row: PublicToken) -> AuthToken:
    return AuthToken(
        url=f"{context.base}/api/auth-tokens/{row.id}/",
        created=row.last_used_at,
        user=f"{context.base}/api/users/{row.uuid}/",
        user_first_name=row.first_name,
        user_last_name=row.last_name,
        user_username=row.username,
        user_is_active=row.is_active,
        user_token_lifetime=row.token_lifetime,
    )


def _parse_id(context: RequestContext) -> int:
    return or_not_found(whole_number(context.segments["user_id"]), "token.none")


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    require_staff(context.actor)
    return lists.respond_page(
        context,
        tx,
        token_queries.listing,
        lambda rows: [_render_token(context, row) for row in rows],
    )


def _retrieve(context: RequestContext, tx: ReadTransaction) -> Response:
    require_staff(context.actor)
    return Response(
        200,
        schemas.encode(_render_token(context, token_queries.public_data(tx, _parse_id(context)))),
    )


def _revoke(context: RequestContext) -> Response:
    require_staff(context.actor)
    account = _parse_id(context)
    with context.write() as tx:
        token_actions.revoke_api_token(tx, context.actor, account)
    return Response(204)


ROUTES: Routes = {
    "/api-auth/password/": {
        "POST": Endpoint(
            _log_in,
            "Sign in with user name and password. Returns the token.",
            public=True,
            body=_LOGIN,
            response_type=schemas.Token,
        ),
    },
    "/api-auth/token-exchange/": {
        "POST": Endpoint(
            _exchange,
            "Exchange the code of a sign-in at an identity provider for the token.",
            public=True,
            body=_EXCHANGE,
            response_type=schemas.Token,
        ),
    },
    "/api-auth/logout/": {
        "POST": Endpoint(_log_out, "Sign out and revoke the token.", status=204),
    },
    "/api/auth-tokens/": {
        "GET": Endpoint(_list, "List the tokens.", response_type=AuthToken, is_list=True),
    },
    "/api/auth-tokens/{user_id}/": {
        "GET": Endpoint(_retrieve, "Show a token.", response_type=AuthToken),
        "DELETE": Endpoint(_revoke, "Revoke a token.", status=204),
    },
}
