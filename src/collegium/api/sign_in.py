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
    from collegium.api.request import Call
    from collegium.db.database import Write
    from collegium.db.statements import Row

T = TypeVar("T")


def check(call: Call, username: str, password: str, *, alone: bool) -> Row:
    """Give the account that a user name and its password belong to.

    Args:
        alone: whether nothing is asked beside the password; an account with a second factor is
            not to be had for so little.

    Refuses: Unauthenticated ``login.failed``, the same for an unknown name, a wrong password and
    an account that is switched off; ``login.locked`` after too many tries, with the ``seconds``
    to wait; ``login.disabled``;
    Limited ``tries.wait``.
    """
    if "LOCAL_SIGNIN" not in call.settings.authentication_methods:
        raise Unauthenticated("login.disabled")
    username = typed_username(username)
    pair, account_try, address_try = subjects(call, username)
    call.check_tries(account_try, address_try)
    with call.read() as tx:
        account = account_queries.by_username(tx, username)
        if call.settings.rate_limits and (ends := rate_limit_queries.blocked(tx, [pair])):
            # The described text; the same for a name that nobody has.
            raise Unauthenticated("login.locked", seconds=call.seconds_until(ends[pair]))
    # Slow on purpose, hence between the transactions; just as slow when there is no account.
    right = crypto.check_password(account.password if account else None, password)
    if account is None or not right or not account.is_active:
        with call.write() as tx:
            token_actions.fail(tx, account, call.address)
            call.count(tx, pair, LOGIN_PAIR)
            call.count(tx, account_try, LOGIN_ACCOUNT)
            call.count(tx, address_try, LOGIN_ADDRESS)
        raise Unauthenticated("login.failed")
    # Asked only now: before, it would be a question more for a name that somebody has.
    if alone:
        with call.read() as tx:
            if two_factor_queries.is_on(tx, account.id):
                raise Unauthenticated("login.disabled")
    return (
        account
        if crypto.is_current(account.password, password)
        else _renewed(call, account, password)
    )


def _renewed(call: Call, account: Row, password: str) -> Row:
    """Hash a right password once more, in the form that is compared today; give the account."""
    hashed = crypto.hash_password(password)
    with call.write() as tx:
        lock_account(tx, account.id)
        now: Row = account_queries.known_by_uuid(tx, account.uuid)
        if now.password != account.password:
            raise Unauthenticated("login.failed")
        account_queries.change(tx, account.id, {"password": hashed})
    return account._replace(password=hashed)


def actor_of(call: Call, account: Row) -> Actor:
    """Give the actor that ``check`` has verified, as of then."""
    return token_actions.actor_of(
        account, call.address, call.request_id, credentials=account.credentials_version
    )


def with_code(
    call: Call,
    actor: Actor,
    code: str,
    then: Callable[[Write], T],
    *,
    begin: Callable[[], AbstractContextManager[Write]] | None = None,
) -> T:
    """Do something in the transaction that uses up a code of the actor's second factor.

    A wrong code is counted in that transaction, so that guesses at one moment are counted as well.

    Args:
        begin: opens the transaction, if not ``call.write``.

    Refuses: Invalid ``second_factor.wrong`` and ``second_factor.locked``, Limited ``tries.wait``,
    Conflict ``second_factor.none``; and as ``credentials.confirm``.
    """
    call.check_tries(subject := f"second factor {actor.id}")
    with (begin or call.write)() as tx:
        wrong = two_factor_actions.check(tx, call.house.vault, actor, code)
        if wrong is None:
            rate_limit_queries.forget(tx, [subject])
            return then(tx)
        call.count(tx, subject, TRIES)
    raise wrong


def subjects(call: Call, username: str) -> tuple[str, str, str]:
    """Name what is counted: account and address together, the account, the address.

    The account as a keyed digest: the table must not tell who tried to log in.
    """
    named = call.house.vault.digest(typed_username(username)).hex()[:32]
    return (
        f"login pair {named} {call.network}"[:128],
        f"login account {named}",
        f"login address {call.network}"[:128],
    )
