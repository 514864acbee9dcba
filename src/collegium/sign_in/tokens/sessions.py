"""Browser sessions. A session is a token in the same table as all others."""

from __future__ import annotations

from datetime import timedelta

from collegium.access.rules import Actor
from collegium.agreements import queries as agreement_queries
from collegium.db.database import WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.refusals import NotFound
from collegium.security.crypto import Vault
from collegium.settings import DEFAULTS, Settings
from collegium.sign_in import credentials
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.tokens.actions import check_login_rate
from collegium.sign_in.tokens.rules import SESSION_AGE, SESSION_LIFETIME, TokenKind


def begin(
    tx: WriteTransaction,
    vault: Vault,
    actor: Actor,
    method: str,
    browser: str,
    *,
    is_renewal: bool = False,
    has_second_factor: bool = False,
    settings: Settings = DEFAULTS,
) -> str:
    """Create a session for a browser. Return its token.

    If the account has too many sessions, the one that was unused for longest ends.

    Args:
        actor: the person, authenticated before this transaction.
        method: how: ``password``, ``second factor`` or ``mailed link``.
        browser: name of the browser, so that its owner recognises the session.
        is_renewal: the browser was signed in until now. Then the rate limit does not apply.
            Otherwise an attacker with a stolen password could sign in constantly and so prevent the
            owner from setting a new one.
        has_second_factor: the sign-in needed more than a password.

    Raises:
        Unauthenticated: ``login.failed``: the verified credentials are no longer valid.
        Limited: ``tries.wait``: too many sign-ins.
    """
    credentials.confirm(tx, actor, "login.failed")
    if not is_renewal:
        check_login_rate(tx, actor.id, settings)
    rows = token_queries.remove_expired(tx, actor.id, settings.token_max_age)
    sessions = [row for row in rows if row.kind == TokenKind.SESSION]
    token_queries.revoke_oldest(tx, actor.id, sessions, settings.max_sessions - 1)
    token = vault.new_token()
    token_queries.add(
        tx,
        actor.id,
        vault.keyed_hash(token),
        kind=TokenKind.SESSION,
        name=browser,
        lifetime=SESSION_LIFETIME,
        expires_at=tx.now + timedelta(seconds=SESSION_AGE),
        confirmed_at=tx.now,
        has_second_factor=has_second_factor,
    )
    agreement_queries.record_sign_in(tx, actor.id)
    event_queries.record(tx, actor, events.SignedIn(account=actor.id, method=method))
    return token


def confirm(tx: WriteTransaction, actor: Actor, *, has_second_factor: bool = False) -> None:
    """Record that the actor has just proved again in the session of the request who they are.

    Args:
        actor: the person, authenticated before this transaction.
        has_second_factor: it needed more than a password.

    Raises:
        Unauthenticated: ``login.failed``: the verified credentials are no longer valid.
    """
    credentials.confirm(tx, actor, "login.failed")
    token_queries.confirm(tx, actor.id, actor.token, has_second_factor=has_second_factor)


def end(tx: WriteTransaction, actor: Actor, session: int) -> None:
    """End one browser session of the actor.

    Args:
        session: id of its token.

    Raises:
        NotFound: ``token.none``.
    """
    if not token_queries.revoke_one(tx, actor.id, session, TokenKind.SESSION):
        raise NotFound("token.none")
    event_queries.record(tx, actor, events.LoggedOut(account=actor.id))
