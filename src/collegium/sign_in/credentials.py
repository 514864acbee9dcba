"""What lets somebody into an account: compared again where it is used, and ended together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.access import queries as access_queries
from collegium.accounts import queries as account_queries
from collegium.accounts.email_changes import queries as email_change_queries
from collegium.refusals import Unauthenticated
from collegium.sign_in.devices import queries as device_queries
from collegium.sign_in.tokens import queries as token_queries

if TYPE_CHECKING:
    from collegium.access.rules import Actor
    from collegium.db.database import ReadTransaction, WriteTransaction
    from collegium.db.statements import Row


def check(tx: ReadTransaction, actor: Actor) -> None:
    """Let nobody go on whose token was revoked since the request was authenticated.

    Refuses: Unauthenticated ``token.unknown``.
    """
    token = (actor.impersonator or actor).token
    if token and not token_queries.is_there(tx, token):
        raise Unauthenticated("token.unknown")


def confirm(tx: WriteTransaction, actor: Actor, refusal: str = "token.unknown") -> Row:
    """Lock the actor's account and return it, if what the actor has shown still counts.

    Everything that creates a credential, or changes one, begins with this: what ends credentials
    locks the account too, so either it comes first and is seen here, or it finds what was made.

    Args:
        refusal: the code to refuse with.

    Refuses: Unauthenticated with that code when the password, the second factor or the account
    has changed since a password was verified, or the token was revoked.
    """
    access_queries.lock_account(tx, actor.id)
    account = account_queries.known(tx, id=actor.id)
    token = (actor.impersonator or actor).token
    if (
        account is None
        or not account.is_active
        or actor.credentials not in {None, account.credentials_version}
        or (token and not token_queries.is_there(tx, token))
    ):
        raise Unauthenticated(refusal)
    return account


def drop_pending(tx: WriteTransaction, account: int) -> None:
    """End what is under way for an account: logins, approved devices, a change of its address.

    The account must be locked.
    """
    account_queries.end_credentials(tx, account)
    device_queries.revoke(tx, account)
    email_change_queries.cancel(tx, account)


def set_active(tx: WriteTransaction, account: int, *, is_active: bool) -> None:
    """End every token and session of an account that is deactivated, or activated again.

    Activation ends them too: what an earlier release left alive must not be revived. The account
    must be locked.
    """
    drop_pending(tx, account)
    if is_active:
        token_queries.revoke_all(tx, account)
    else:
        token_queries.suspend(tx, account)


def revoke_everything(tx: WriteTransaction, account: int) -> None:
    """Sign an account out everywhere: every session and token, and what is under way.

    The account must be locked.
    """
    drop_pending(tx, account)
    token_queries.revoke_all(tx, account)
