"""Signing in to the pages: what a browser holds is a token of the one store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from collegium.accounts import queries as account_queries
from collegium.events import queries as event_queries
from collegium.refusals import NotFound
from collegium.settings import DEFAULTS
from collegium.sign_in import credentials
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.actions import check_login_rate
from collegium.sign_in.tokens.rules import SESSION_AGE, SESSION_LIFETIME, TokenKind

if TYPE_CHECKING:
    from collegium.access.rules import Actor
    from collegium.db.database import WriteTransaction
    from collegium.security.crypto import Vault
    from collegium.settings import Settings


def begin(
    tx: WriteTransaction,
    vault: Vault,
    actor: Actor,
    method: str,
    browser: str,
    *,
    renews: bool = False,
    settings: Settings = DEFAULTS,
) -> str:
    """Let a browser in; give what it holds from now on.

    Where the account has too many sessions, the one that was not used for longest ends.

    Args:
        actor: who has shown who they are, before this transaction began.
        method: how: ``password``, ``second factor``, ``mailed link``.
        browser: what it calls itself, so that its owner knows it again.
        renews: whether it was signed in until now: that is refused to nobody, or whoever logs in
            all the time with a stolen password would keep its owner from setting another one.

    Refuses: Unauthenticated ``login.failed`` when what was verified no longer holds; see
    ``credentials.confirm``; Limited ``tries.wait`` after too many logins.
    """
    credentials.confirm(tx, actor, "login.failed")
    if not renews:
        check_login_rate(tx, actor.id, settings)
    rows = token_queries.remove_expired(tx, actor.id, settings.token_max_age)
    there = [row for row in rows if row.kind == TokenKind.SESSION]
    token_queries.revoke_oldest(tx, actor.id, there, settings.max_sessions - 1)
    token = vault.new_token()
    token_queries.add(
        tx,
        actor.id,
        vault.digest(token),
        kind=TokenKind.SESSION,
        name=browser,
        lifetime=SESSION_LIFETIME,
        ends=tx.now + timedelta(seconds=SESSION_AGE),
    )
    account_queries.change(tx, actor.id, {"last_login": tx.now})
    event_queries.record(tx, "login.succeeded", actor, account=actor.id, method=method)
    return token


def end(tx: WriteTransaction, actor: Actor, session: int) -> None:
    """Sign one browser of the actor out.

    Refuses: NotFound ``token.none``.
    """
    if not token_queries.revoke_one(tx, actor.id, session, TokenKind.SESSION):
        raise NotFound("token.none")
    event_queries.record(tx, "logout", actor, account=actor.id)
