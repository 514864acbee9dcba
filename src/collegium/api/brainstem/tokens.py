"""Password sign-in: ``/api/token/`` and ``/api/auth/token/``."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.api import sign_in
from collegium.api.brainstem import bodies, schemas
from collegium.api.request import Endpoint, RequestContext, Response, Routes
from collegium.refusals import Forbidden, Unauthenticated
from collegium.security.rate_limits.rules import REFRESH
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.rules import ACCESS_LIFETIME
from collegium.text.names import trim, typed_username
from collegium.values import Secret, Text

_LOGIN: Final = {
    "username": Text(required=True, blank=False, max=320),
    "password": Secret(required=True),
}
_LOGIN_PAIR: Final = {
    "email": Text(blank=False, max=320),
    "username": Text(blank=False, max=320),
    "password": Secret(required=True),
}
_REFRESH: Final = {"refresh": Secret(required=True)}


class SignedIn(Struct, frozen=True):
    """A token, under the names that clients of different age read."""

    token: str
    access: str
    token_id: int
    message: str


class TokenPair(Struct, frozen=True):
    """An access token for one hour, and a refresh token for the next pair."""

    access: str
    refresh: str
    token_type: str
    expires_in: int


def _log_in(context: RequestContext) -> Response:
    values = bodies.read(context, _LOGIN)
    actor = _authenticate(context, values["username"], values["password"])
    with context.write() as tx:
        token = token_actions.log_in(tx, context.app.vault, context.settings, actor, "password")
        row = token_queries.existing(tx, actor.id)
        sign_in.reset_limits(context, tx, actor.username)
    message = "Keep this token in a safe place."
    return Response(200, schemas.encode(SignedIn(token, token, row.id, message)))


def _log_in_pair(context: RequestContext) -> Response:
    values = bodies.read(context, _LOGIN_PAIR, one_of=("email", "username"))
    actor = _authenticate(context, values.get("email") or values["username"], values["password"])
    with context.write() as tx:
        pair = token_actions.log_in_with_refresh(
            tx, context.app.vault, actor, "password", settings=context.settings
        )
        sign_in.reset_limits(context, tx, actor.username)
    return _pair_response(pair)


def _refresh(context: RequestContext) -> Response:
    values = bodies.read(context, _REFRESH)
    with context.write() as tx:
        pair = token_actions.refresh(tx, context.app.vault, context.settings, values["refresh"])
    if pair is None:
        raise Unauthenticated("token.unknown")
    return _pair_response(pair)


def _pair_response(pair: token_actions.TokenPair) -> Response:
    return Response(
        200, schemas.encode(TokenPair(pair.access, pair.refresh, "bearer", ACCESS_LIFETIME))
    )


def _authenticate(context: RequestContext, name: str, password: str) -> Actor:
    """Return the actor for a user name or an e-mail address, and a password.

    Raises:
        Forbidden: ``password_login.off`` if password sign-in is disabled here.
        Unauthenticated: see ``sign_in.check_password``; ``login.disabled`` for an account with
            two-factor authentication.
        Limited: ``tries.wait``, with the ``seconds`` to wait.
    """
    if not context.settings.brainstem_password_login:
        raise Forbidden("password_login.off")
    account = sign_in.check_password(
        context, _username(context, name), password, password_only=True
    )
    return sign_in.actor_of(context, account)


def _username(context: RequestContext, name: str) -> str:
    """Return the user name for an e-mail address, if exactly one account has the address.

    Any other name is returned unchanged.
    """
    with context.read() as tx:
        if "@" not in name or account_queries.by_username(tx, typed_username(name)) is not None:
            return name
        rows = account_queries.local_by_email(tx, trim(name))
    return str(rows[0].username) if len(rows) == 1 else name


ROUTES: Routes = {
    "/api/token/": {
        "POST": Endpoint(
            _log_in,
            "Sign in with user name or e-mail address and password. Returns the token.",
            public=True,
            body=_LOGIN,
            response_type=SignedIn,
        )
    },
    "/api/auth/token/": {
        "POST": Endpoint(
            _log_in_pair,
            "Sign in with e-mail address and password. Returns access and refresh token.",
            public=True,
            body=_LOGIN_PAIR,
            response_type=TokenPair,
        )
    },
    "/api/auth/token/refresh/": {
        "POST": Endpoint(
            _refresh,
            "Replace a pair of tokens.",
            public=True,
            body=_REFRESH,
            response_type=TokenPair,
            guesses=REFRESH,
        )
    },
}
DESCRIBED: Final = ROUTES
