"""Signing in to the pages: what a browser holds is a token of the one store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from collegium.actions import credentials
from collegium.actions.tokens import check_login_rate
from collegium.rules.refusals import NotFound
from collegium.rules.tokens import SESSION_AGE, SESSION_LIFETIME, Kind
from collegium.settings import DEFAULTS
from collegium.store import accounts, events, tokens

if TYPE_CHECKING:
    from collegium.rules.access import Actor
    from collegium.settings import Settings
    from collegium.store.db import Write
    from collegium.store.vault import Vault


def begin(
    tx: Write,
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
    rows = tokens.tidy(tx, actor.id, settings.token_max_age)
    there = [row for row in rows if row.kind == Kind.SESSION]
    tokens.revoke_oldest(tx, actor.id, there, settings.max_sessions - 1)
    token = vault.new_token()
    tokens.add(
        tx,
        actor.id,
        vault.digest(token),
        kind=Kind.SESSION,
        name=browser,
        lifetime=SESSION_LIFETIME,
        ends=tx.now + timedelta(seconds=SESSION_AGE),
    )
    accounts.change(tx, actor.id, {"last_login": tx.now})
    events.record(tx, "login.succeeded", actor, account=actor.id, method=method)
    return token


def end(tx: Write, actor: Actor, session: int) -> None:
    """Sign one browser of the actor out.

    Refuses: NotFound ``token.none``.
    """
    if not tokens.revoke_one(tx, actor.id, session, Kind.SESSION):
        raise NotFound("token.none")
    events.record(tx, "logout", actor, account=actor.id)
