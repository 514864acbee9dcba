"""Who knows a password: asked in the same way, and counted together, wherever it is given."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from collegium.access.queries import lock_account
from collegium.accounts import queries as account_queries
from collegium.refusals import Unauthenticated
from collegium.security import crypto
from collegium.security.rate_limits import queries as rate_limit_queries
from collegium.security.rate_limits.rules import LOGIN_ACCOUNT, LOGIN_ADDRESS, LOGIN_PAIR
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.sign_in.two_factor.rules import TRIES
from collegium.text.names import typed_username

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from collegium.access.rules import Actor
    from collegium.api.request import RequestContext
    from collegium.db.database import WriteTransaction
    from collegium.db.statements import Row

T = TypeVar("T")


def check_password(context: RequestContext, username: str, password: str, *, alone: bool) -> Row:
    """Give the account that a user name and its password belong to.

    Args:
        alone: whether nothing is asked beside the password; an account with a second factor is
            not to be had for so little.

    Refuses: Unauthenticated ``login.failed``, the same for an unknown name, a wrong password and
    an account that is switched off; ``login.locked`` after too many tries, with the ``seconds``
    to wait; ``login.disabled``;
    Limited ``tries.wait``.
    """
    if "LOCAL_SIGNIN" not in context.settings.authentication_methods:
        raise Unauthenticated("login.disabled")
    username = typed_username(username)
    pair, account_try, address_try = subjects(context, username)
    context.check_rate_limits(account_try, address_try)
    with context.read() as tx:
        account = account_queries.by_username(tx, username)
        if context.settings.rate_limits and (ends := rate_limit_queries.blocked_until(tx, [pair])):
            # The described text; the same for a name that nobody has.
            raise Unauthenticated("login.locked", seconds=context.seconds_until(ends[pair]))
    # Slow on purpose, hence between the transactions; just as slow when there is no account.
    right = crypto.check_password(account.password if account else None, password)
    if account is None or not right or not account.is_active:
        with context.write() as tx:
            token_actions.record_failed_login(tx, account, context.address)
            context.count_attempt(tx, pair, LOGIN_PAIR)
            context.count_attempt(tx, account_try, LOGIN_ACCOUNT)
            context.count_attempt(tx, address_try, LOGIN_ADDRESS)
        raise Unauthenticated("login.failed")
    # Asked only now: before, it would be a question more for a name that somebody has.
    if alone:
        with context.read() as tx:
            if two_factor_queries.is_on(tx, account.id):
                raise Unauthenticated("login.disabled")
    return (
        account
        if crypto.is_current(account.password, password)
        else _rehash(context, account, password)
    )


def _rehash(context: RequestContext, account: Row, password: str) -> Row:
    """Hash a right password once more, in the form that is compared today; give the account."""
    hashed = crypto.hash_password(password)
    with context.write() as tx:
        lock_account(tx, account.id)
        now: Row = account_queries.known_by_uuid(tx, account.uuid)
        if now.password != account.password:
            raise Unauthenticated("login.failed")
        account_queries.change(tx, account.id, {"password": hashed})
    return account._replace(password=hashed)


def actor_of(context: RequestContext, account: Row) -> Actor:
    """Give the actor that ``check`` has verified, as of then."""
    return token_actions.actor_of(
        account, context.address, context.request_id, credentials=account.credentials_version
    )


def check_second_factor(
    context: RequestContext,
    actor: Actor,
    code: str,
    then: Callable[[WriteTransaction], T],
    *,
    begin: Callable[[], AbstractContextManager[WriteTransaction]] | None = None,
) -> T:
    """Do something in the transaction that uses up a code of the actor's second factor.

    A wrong code is counted in that transaction, so that guesses at one moment are counted as well.

    Args:
        begin: opens the transaction, if not ``call.write``.

    Refuses: Invalid ``second_factor.wrong`` and ``second_factor.locked``, Limited ``tries.wait``,
    Conflict ``second_factor.none``; and as ``credentials.confirm``.
    """
    context.check_rate_limits(subject := f"second factor {actor.id}")
    with (begin or context.write)() as tx:
        wrong = two_factor_actions.check(tx, context.app.vault, actor, code)
        if wrong is None:
            rate_limit_queries.reset(tx, [subject])
            return then(tx)
        context.count_attempt(tx, subject, TRIES)
    raise wrong


def subjects(context: RequestContext, username: str) -> tuple[str, str, str]:
    """Name what is counted: account and address together, the account, the address.

    The account as a keyed digest: the table must not tell who tried to log in.
    """
    named = context.app.vault.digest(typed_username(username)).hex()[:32]
    return (
        f"login pair {named} {context.network}"[:128],
        f"login account {named}",
        f"login address {context.network}"[:128],
    )
