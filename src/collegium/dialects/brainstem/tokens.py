"""``/api/token/`` and ``/api/auth/token/``: logging in with a password."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from collegium.actions import tokens as actions
from collegium.dialects import signing_in
from collegium.dialects.brainstem import bodies, wire
from collegium.dialects.http import Answer, Operation, Routes
from collegium.rules.names import trim, typed_username
from collegium.rules.refusals import Forbidden, Unauthenticated
from collegium.rules.tokens import ACCESS_LIFETIME
from collegium.rules.tries import CODE_ADDRESS
from collegium.store import accounts, tokens, tries

if TYPE_CHECKING:
    from collegium.dialects.http import Call
    from collegium.rules.access import Actor
    from collegium.store.db import Write
    from collegium.store.statements import Row

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
        token = actions.log_in(tx, call.house.vault, call.settings, actor, "password")
        row: Row = tokens.of_account(tx, actor.id)
        _forget_tries(call, tx, actor)
    message = "Keep this token in a safe place."
    return Answer(200, wire.encode(LoggedIn(token, token, row.id, message)))


def _log_in_briefly(call: Call) -> Answer:
    values = bodies.read(call, _LOGIN_PAIR, one_of=("email", "username"))
    actor = _checked(call, values.get("email") or values["username"], values["password"])
    with call.write() as tx:
        pair = actions.log_in_briefly(
            tx, call.house.vault, actor, "password", settings=call.settings
        )
        _forget_tries(call, tx, actor)
    return _pair(pair)


def _refresh(call: Call) -> Answer:
    values = bodies.read(call, _REFRESH)
    with call.guarded(f"refresh address {call.network}"[:128], CODE_ADDRESS):
        with call.write() as tx:
            pair = actions.refresh(tx, call.house.vault, call.settings, values["refresh"])
        if pair is None:
            raise Unauthenticated("token.unknown")
    return _pair(pair)


def _pair(pair: actions.Pair) -> Answer:
    return Answer(200, wire.encode(TokenPair(pair.access, pair.refresh, "bearer", ACCESS_LIFETIME)))


def _checked(call: Call, name: str, password: str) -> Actor:
    """Give whoever has this name or this address, and this password and nothing beside it."""
    if not call.settings.brainstem_password_login:
        raise Forbidden("password_login.off")
    account = signing_in.check(call, _username(call, name), password, alone=True)
    return signing_in.actor_of(call, account)


def _username(call: Call, name: str) -> str:
    """Give the user name that an address stands for, where it stands for one alone."""
    with call.read() as tx:
        if "@" not in name or accounts.by_username(tx, typed_username(name)) is not None:
            return name
        rows = accounts.with_address(tx, trim(name))
    return str(rows[0].username) if len(rows) == 1 else name


def _forget_tries(call: Call, tx: Write, actor: Actor) -> None:
    pair, account, _address = signing_in.subjects(call, actor.username)
    tries.forget(tx, [pair, account])


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
