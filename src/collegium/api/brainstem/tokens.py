"""``/api/token/`` and ``/api/auth/token/``: logging in with a password."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from collegium.accounts import queries as account_queries
from collegium.api import sign_in
from collegium.api.brainstem import bodies, schemas
from collegium.api.request import Answer, Operation, Routes
from collegium.refusals import Forbidden, Unauthenticated
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.security.rate_limits.rules import CODE_ADDRESS
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.rules import ACCESS_LIFETIME
from collegium.text.names import trim, typed_username

if TYPE_CHECKING:
    from collegium.access.rules import Actor
    from collegium.api.request import Call
    from collegium.db.database import Write
    from collegium.db.statements import Row

_LOGIN: Final = {
    "username": bodies.Text(required=True, blank=False, max=320),
    "password": bodies.Secret(required=True),
}
_LOGIN_PAIR: Final = {
    "email": bodies.Text(blank=False, max=320),
    "username": bodies.Text(blank=False, max=320),
    "password": bodies.Secret(required=True),
}
_REFRESH: Final = {"refresh": bodies.Secret(required=True)}


class LoggedIn(Struct, frozen=True):
    """A token, under the names that generations of clients look for."""

    token: str
    access: str
    token_id: int
    message: str


class TokenPair(Struct, frozen=True):
    """A token for an hour, and one for the next pair."""

    access: str
    refresh: str
    token_type: str
    expires_in: int


def _log_in(call: Call) -> Answer:
    values = bodies.read(call, _LOGIN)
    actor = _checked(call, values["username"], values["password"])
    with call.write() as tx:
        token = token_actions.log_in(tx, call.house.vault, call.settings, actor, "password")
        row: Row = token_queries.of_account(tx, actor.id)
        _forget_tries(call, tx, actor)
    message = "Keep this token in a safe place."
    return Answer(200, schemas.encode(LoggedIn(token, token, row.id, message)))


def _log_in_briefly(call: Call) -> Answer:
    values = bodies.read(call, _LOGIN_PAIR, one_of=("email", "username"))
    actor = _checked(call, values.get("email") or values["username"], values["password"])
    with call.write() as tx:
        pair = token_actions.log_in_briefly(
            tx, call.house.vault, actor, "password", settings=call.settings
        )
        _forget_tries(call, tx, actor)
    return _pair(pair)


def _refresh(call: Call) -> Answer:
    values = bodies.read(call, _REFRESH)
    with call.guarded(f"refresh address {call.network}"[:128], CODE_ADDRESS):
        with call.write() as tx:
            pair = token_actions.refresh(tx, call.house.vault, call.settings, values["refresh"])
        if pair is None:
            raise Unauthenticated("token.unknown")
    return _pair(pair)


def _pair(pair: token_actions.Pair) -> Answer:
    return Answer(
        200, schemas.encode(TokenPair(pair.access, pair.refresh, "bearer", ACCESS_LIFETIME))
    )


def _checked(call: Call, name: str, password: str) -> Actor:
    """Give whoever has this name or this address, and this password and nothing beside it."""
    if not call.settings.brainstem_password_login:
        raise Forbidden("password_login.off")
    account = sign_in.check(call, _username(call, name), password, alone=True)
    return sign_in.actor_of(call, account)


def _username(call: Call, name: str) -> str:
    """Give the user name that an address stands for, where it stands for one alone."""
    with call.read() as tx:
        if "@" not in name or account_queries.by_username(tx, typed_username(name)) is not None:
            return name
        rows = account_queries.with_address(tx, trim(name))
    return str(rows[0].username) if len(rows) == 1 else name


def _forget_tries(call: Call, tx: Write, actor: Actor) -> None:
    pair, account, _address = sign_in.subjects(call, actor.username)
    rate_limit_queries.forget(tx, [pair, account])


ROUTES: Routes = {
    "/api/token/": {
        "POST": Operation(
            _log_in,
            "Log in with user name or e-mail address, and password; gives the token.",
            open=True,
            form=_LOGIN,
            answers=LoggedIn,
        )
    },
    "/api/auth/token/": {
        "POST": Operation(
            _log_in_briefly,
            "Log in with e-mail address and password; gives a token for an hour, and one for more.",
            open=True,
            form=_LOGIN_PAIR,
            answers=TokenPair,
        )
    },
    "/api/auth/token/refresh/": {
        "POST": Operation(
            _refresh,
            "Give the next pair of tokens.",
            open=True,
            form=_REFRESH,
            answers=TokenPair,
        )
    },
}
DESCRIBED: Final = ROUTES
