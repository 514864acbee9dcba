"""Check that credentials are still valid when they are used, and revoke them together."""

from __future__ import annotations

from collegium.access import queries as access_queries
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.accounts.queries import AccountWithPassword
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.hooks import revocation as hook_revocation
from collegium.refusals import Unauthenticated
from collegium.sign_in.devices import queries as device_queries
from collegium.sign_in.tokens import queries as token_queries


def check(tx: ReadTransaction, actor: Actor) -> None:
    """Check that the token of the request has not been revoked since the request was authenticated.

    Raises:
        Unauthenticated: ``token.unknown``.
    """
    token = (actor.impersonator or actor).token
    if token and not token_queries.exists(tx, token):
        raise Unauthenticated("token.unknown")


def confirm(tx: WriteTransaction, actor: Actor, code: str = "token.unknown") -> AccountWithPassword:
    """Lock the actor's account and return it, if the credentials of the request are still valid.

    Every action that creates or changes a credential starts with this. Actions that revoke
    credentials lock the account too. So a revocation either comes first and is noticed here, or
    comes later and also revokes the new credential.

    Args:
        code: the code of the refusal.

    Raises:
        Unauthenticated: ``code``: the account was deactivated or deleted, its credentials
            changed after a password was verified, or the token was revoked.
    """
    access_queries.lock_account(tx, actor.id)
    account = account_queries.with_password(tx, id=actor.id)
    token = (actor.impersonator or actor).token
    if (
        account is None
        or not account.is_active
        or actor.credentials not in {None, account.credentials_version}
        or (token and not token_queries.exists(tx, token))
    ):
        raise Unauthenticated(code)
    return account


def cancel_pending(tx: WriteTransaction, account: int) -> None:
    """End pending sign-ins, approved devices and the pending address change of an account.

    The first address of a new person goes on: they may have to set up two-factor authentication
    before they can open its link. The account must be locked.
    """
    account_queries.invalidate_credentials(tx, account)
    device_queries.deny_approved(tx, account)
    email_change_queries.cancel_later(tx, account)


def revoke_for_activation(tx: WriteTransaction, account: int, *, is_active: bool) -> None:
    """Revoke all tokens, sessions and hooks of an account that is deactivated or activated.

    Activation revokes them too, because an earlier release left them valid at deactivation. The
    account must be locked.
    """
    _cancel_all(tx, account)
    if is_active:
        token_queries.revoke_all(tx, account)
    else:
        token_queries.suspend(tx, account)


def revoke_everything(tx: WriteTransaction, account: int) -> None:
    """Sign an account out everywhere: revoke all sessions and tokens, end pending sign-ins.

    Its hooks are deactivated. The account must be locked.
    """
    _cancel_all(tx, account)
    token_queries.revoke_all(tx, account)


def _cancel_all(tx: WriteTransaction, account: int) -> None:
    cancel_pending(tx, account)
    email_change_queries.cancel(tx, account)
    hook_revocation.revoke(tx, account)
