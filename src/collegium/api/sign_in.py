"""Password sign-in for all protocols: the same checks, and rate limits counted together."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from collegium.access.queries import lock_account
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountWithPassword
from collegium.api.request import RequestContext
from collegium.db.database import WriteTransaction
from collegium.db.statements import replace
from collegium.refusals import Forbidden, Unauthenticated
from collegium.security import crypto
from collegium.security.rate_limits.rules import LOGIN_HERE, LOGIN_NAME, LOGIN_NETWORK
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.two_factor import actions as two_factor_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.sign_in.two_factor import rules as two_factor_rules
from collegium.sign_in.two_factor.rules import CODES
from collegium.text.names import typed_username

T = TypeVar("T")


def check_password(
    context: RequestContext, username: str, password: str, *, password_only: bool
) -> AccountWithPassword:
    """Return the account that has this user name and password.

    Args:
        password_only: whether the protocol asks for nothing else. Accounts with two-factor
            authentication are then refused.

    Raises:
        Unauthenticated: ``login.failed``, the same for an unknown name, a wrong password and a
            deactivated account; ``login.locked`` after too many attempts, with the ``seconds`` to
            wait; ``login.disabled`` if password sign-in is disabled or is not enough for this
            account.
        Limited: ``tries.wait``, with the ``seconds`` to wait.
        Forbidden: ``second_factor.required``: a password alone is not enough for this account, and
            it has not set up a second factor.
    """
    if "LOCAL_SIGNIN" not in context.settings.authentication_methods:
        raise Unauthenticated("login.disabled")
    username = typed_username(username)
    target = _login_target(context, username)
    context.check_limits(LOGIN_NAME, LOGIN_NETWORK, target=target)
    with context.read() as tx:
        account = account_queries.by_username(tx, username)
        ends = context.blocked_until(tx, context.limit_keys(LOGIN_HERE, target=target))
        if ends is not None:
            # This is the documented response. It is the same for a name that no account has.
            raise Unauthenticated("login.locked", seconds=context.seconds_until(ends))
    # Password hashing is slow on purpose, so it runs between the transactions. It takes just as
    # long if there is no account, so the time reveals nothing.
    password_hash = account.password if account else None
    is_correct = crypto.check_password(password_hash, password)
    if account is None or password_hash is None or not is_correct or not account.is_active:
        with context.write() as tx:
            token_actions.record_failed_sign_in(tx, account, context.ip_address)
            context.count_attempts(tx, LOGIN_HERE, LOGIN_NAME, LOGIN_NETWORK, target=target)
        raise Unauthenticated("login.failed")
    # This query runs only after the password was verified. Earlier, it would be one more query for
    # names that exist, and its time would reveal them.
    if password_only:
        check_password_is_enough(context, account)
    return (
        account
        if crypto.is_current(password_hash, password)
        else _rehash(context, account, password)
    )


def check_password_is_enough(context: RequestContext, account: AccountWithPassword) -> None:
    """Check that an account can sign in with nothing but its password.

    Raises:
        Unauthenticated: ``login.disabled``: it has two-factor authentication.
        Forbidden: ``second_factor.required``: it must set up two-factor authentication first.
    """
    with context.read() as tx:
        if two_factor_queries.is_on(tx, account.id):
            raise Unauthenticated("login.disabled")
    required_of = context.settings.two_factor_required
    if two_factor_rules.is_required(required_of, sees_all=account.is_staff or account.is_support):
        raise Forbidden("second_factor.required")


def _rehash(
    context: RequestContext, account: AccountWithPassword, password: str
) -> AccountWithPassword:
    """Hash a correct password with today's parameters and return the account."""
    password_hash = crypto.hash_password(password)
    with context.write() as tx:
        lock_account(tx, account.id)
        current = account_queries.with_password_by_uuid(tx, account.uuid)
        if current is None or current.password != account.password:
            raise Unauthenticated("login.failed")
        account_queries.change(tx, account.id, {"password": password_hash})
    return replace(account, password=password_hash)


def actor_of(context: RequestContext, account: AccountWithPassword) -> Actor:
    """Return the actor for an account that ``check_password`` has verified.

    The actor keeps the version of the credentials at that time.
    """
    return token_actions.actor_of(
        account, context.ip_address, context.request_id, credentials=account.credentials_version
    )


def check_second_factor(
    context: RequestContext,
    actor: Actor,
    code: str,
    action: Callable[[WriteTransaction], T],
    *,
    open_transaction: Callable[[], AbstractContextManager[WriteTransaction]] | None = None,
) -> T:
    """Verify a two-factor code and run an action in the transaction that uses the code up.

    A wrong code is counted in that transaction, so that concurrent guesses are counted too.

    Args:
        action: the action; its result is returned.
        open_transaction: opens the transaction; ``context.write`` by default.

    Raises:
        Invalid: ``second_factor.wrong`` or ``second_factor.locked``.
        Limited: ``tries.wait``, with the ``seconds`` to wait.
        Conflict: ``second_factor.none`` if the account has no two-factor authentication.
        Unauthenticated: ``login.failed`` if the credentials have changed since they were verified
            (see ``credentials.confirm``).
    """
    target = str(actor.id)
    context.check_limits(CODES, target=target)
    with (open_transaction or context.write)() as tx:
        refusal = two_factor_actions.check(tx, context.app.vault, actor, code)
        if refusal is None:
            context.reset_limits(tx, CODES, target=target)
            return action(tx)
        context.count_attempts(tx, CODES, target=target)
    raise refusal


def reset_limits(context: RequestContext, tx: WriteTransaction, username: str) -> None:
    """Forget the failed sign-ins of an account, after a success."""
    target = _login_target(context, typed_username(username))
    context.reset_limits(tx, LOGIN_HERE, LOGIN_NAME, target=target)


def _login_target(context: RequestContext, username: str) -> str:
    # A keyed digest, because the table must not reveal who tried to sign in.
    return context.app.vault.keyed_hash(username).hex()[:32]
