"""What lets somebody into an account: compared again where it is used, and ended together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.rules.refusals import Unauthenticated
from collegium.store import access, accounts, addresses, devices, tokens

if TYPE_CHECKING:
    from collegium.rules.access import Actor
    from collegium.store.db import Read, Write
    from collegium.store.statements import Row


def check(tx: Read, actor: Actor) -> None:
    """Let nobody go on whose token was revoked since the request was authenticated.

    Refuses: Unauthenticated ``token.unknown``.
    """
    token = (actor.behind or actor).token
    if token and not tokens.is_there(tx, token):
        raise Unauthenticated("token.unknown")


def confirm(tx: Write, actor: Actor, refusal: str = "token.unknown") -> Row:
    """Lock the actor's account and return it, if what the actor has shown still counts.

    Everything that creates a credential, or changes one, begins with this: what ends credentials
    locks the account too, so either it comes first and is seen here, or it finds what was made.

    Args:
        refusal: the code to refuse with.

    Refuses: Unauthenticated with that code when the password, the second factor or the account
    has changed since a password was verified, or the token was revoked.
    """
    access.lock_account(tx, actor.id)
    account = accounts.known(tx, id=actor.id)
    token = (actor.behind or actor).token
    if (
        account is None
        or not account.is_active
        or actor.credentials not in {None, account.credentials_version}
        or (token and not tokens.is_there(tx, token))
    ):
        raise Unauthenticated(refusal)
    return account


def drop_pending(tx: Write, account: int) -> None:
    """End what is under way for an account: logins, approved devices, a change of its address.

    The account must be locked.
    """
    accounts.end_credentials(tx, account)
    devices.revoke(tx, account)
    addresses.cancel(tx, account)


def switch(tx: Write, account: int, *, is_active: bool) -> None:
    """End every token and session of an account that is deactivated, or activated again.

    Activation ends them too: what an earlier release left alive must not be revived. The account
    must be locked.
    """
    drop_pending(tx, account)
    if is_active:
        tokens.revoke_all(tx, account)
    else:
        tokens.suspend(tx, account)


def end_all(tx: Write, account: int) -> None:
    """Sign an account out everywhere: every session and token, and what is under way.

    The account must be locked.
    """
    drop_pending(tx, account)
    tokens.revoke_all(tx, account)
