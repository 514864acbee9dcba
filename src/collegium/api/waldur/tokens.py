"""``/api-auth/``: logging in and out."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from collegium.api import sign_in
from collegium.api.request import Answer, Call, Operation, Routes
from collegium.api.waldur import lists, schemas
from collegium.api.waldur.fields import Text, read
from collegium.refusals import NotFound
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries

if TYPE_CHECKING:
    from collegium.db.database import Read
    from collegium.db.statements import Row

_LOGIN: Final = {
    "username": Text(required=True, blank=False, max=128),
    "password": Text(required=True, blank=False, max=128, strip=False),
}


def _log_in(call: Call) -> Answer:
    form = read(call, _LOGIN)
    form.check()
    username = form.values["username"]
    account = sign_in.check(call, username, form.values["password"], alone=True)
    actor = sign_in.actor_of(call, account)
    with call.write() as tx:
        token = token_actions.log_in(tx, call.house.vault, call.settings, actor, "password")
        rate_limit_queries.forget(tx, sign_in.subjects(call, username)[:2])
    return Answer(200, schemas.encode(schemas.Token(token)))


def _log_out(call: Call) -> Answer:
    with call.write() as tx:
        token_actions.log_out(tx, call.actor)
    return Answer(204)


class AuthToken(Struct, frozen=True):
    """That somebody has a token; the token itself is never in it."""

    url: str
    created: datetime
    user: str
    user_first_name: str
    user_last_name: str
    user_username: str
    user_is_active: bool
    user_token_lifetime: int | None


def _shown(call: Call, row: Row) -> AuthToken:
    return AuthToken(
        url=f"{call.base}/api/auth-tokens/{row.id}/",
        created=row.used,
        user=f"{call.base}/api/users/{row.uuid}/",
        user_first_name=row.first_name,
        user_last_name=row.last_name,
        user_username=row.username,
        user_is_active=row.is_active,
        user_token_lifetime=row.token_lifetime,
    )


def _number(call: Call) -> int:
    text = call.segments["user_id"]
    if not (text.isascii() and text.isdigit() and len(text) <= 18):  # noqa: PLR2004 - fits
        raise NotFound("token.none")
    return int(text)


def _list(call: Call, tx: Read) -> Answer:
    token_actions.check_may_oversee(call.actor)
    return lists.answer(
        call, tx, token_queries.listing, lambda rows: [_shown(call, row) for row in rows]
    )


def _retrieve(call: Call, tx: Read) -> Answer:
    token_actions.check_may_oversee(call.actor)
    return Answer(200, schemas.encode(_shown(call, token_queries.shown(tx, _number(call)))))


def _end(call: Call) -> Answer:
    token_actions.check_may_oversee(call.actor)
    account = _number(call)
    with call.write() as tx:
        token_actions.end_of(tx, call.actor, account)
    return Answer(204)


ROUTES: Routes = {
    "/api-auth/password/": {
        "POST": Operation(
            _log_in,
            "Log in with user name and password; gives the token.",
            open=True,
            form=_LOGIN,
            answers=schemas.Token,
        ),
    },
    "/api-auth/logout/": {
        "POST": Operation(_log_out, "Log out; the token ends.", status=204),
    },
    "/api/auth-tokens/": {
        "GET": Operation(_list, "List who has a token.", answers=AuthToken, many=True),
    },
    "/api/auth-tokens/{user_id}/": {
        "GET": Operation(_retrieve, "Show when a token was used.", answers=AuthToken),
        "DELETE": Operation(_end, "End somebody's token.", status=204),
    },
}
