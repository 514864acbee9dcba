"""``/api-auth/``: logging in and out."""

from __future__ import annotations

from typing import Final

from collegium.actions import tokens as actions
from collegium.dialects.http import Answer, Call, Operation, Routes
from collegium.dialects.waldur import wire
from collegium.dialects.waldur.fields import Text, read
from collegium.rules.refusals import Unauthenticated
from collegium.store import accounts, vault

_LOGIN: Final = {
    "username": Text(required=True, blank=False, max=128),
    "password": Text(required=True, blank=False, max=128, strip=False),
}


def _log_in(call: Call) -> Answer:
    form = read(call, _LOGIN)
    form.check()
    if "LOCAL_SIGNIN" not in call.settings.authentication_methods:
        raise Unauthenticated("login.disabled")
    username = form.values["username"]
    with call.read() as tx:
        account = accounts.by_username(tx, username)
    # Slow on purpose, hence between the transactions; just as slow when there is no account.
    right = vault.check_password(account.password if account else None, form.values["password"])
    if account is None or not right or not account.is_active:
        with call.write() as tx:
            actions.fail(tx, account, username, call.address)
        raise Unauthenticated("login.failed")
    actor = actions.actor_of(account, call.address, call.request_id)
    with call.write() as tx:
        token = actions.log_in(tx, call.house.vault, call.settings, actor, "password")
    return Answer(200, wire.encode(wire.Token(token)))


def _log_out(call: Call) -> Answer:
    with call.write() as tx:
        actions.log_out(tx, call.actor)
    return Answer(204)


ROUTES: Routes = {
    "/api-auth/password/": {
        "POST": Operation(
            _log_in,
            "Log in with user name and password; gives the token.",
            open=True,
            form=_LOGIN,
            answers=wire.Token,
        ),
    },
    "/api-auth/logout/": {
        "POST": Operation(_log_out, "Log out; the token ends.", status=204),
    },
}
