"""Ceremonies of passkeys for pages and APIs: read, verify outside of transactions, then write."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.api.request import RequestContext
from collegium.db.database import WriteTransaction
from collegium.refusals import Conflict, Invalid, Unauthenticated
from collegium.security.rate_limits.rules import PASSKEY
from collegium.sign_in.passkeys import actions as passkey_actions
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.sign_in.passkeys import rules as passkey_rules
from collegium.sign_in.passkeys import verification
from collegium.sign_in.passkeys.actions import Options
from collegium.sign_in.passkeys.rules import Purpose, RelyingParty
from collegium.sign_in.tokens.actions import actor_of

T = TypeVar("T")


def find_relying_party(context: RequestContext) -> RelyingParty | None:
    """Return what passkeys of this service are bound to; None if its address is no domain."""
    settings = context.settings
    return passkey_rules.relying_party(settings.base_url, settings.homeport_url, settings.site_name)


def relying_party(context: RequestContext) -> RelyingParty:
    """Return what passkeys of this service are bound to.

    Raises:
        Conflict: ``passkey.no_domain``: the address of the service is no domain.
    """
    party = find_relying_party(context)
    if party is None:
        raise Conflict("passkey.no_domain")
    return party


def begin(context: RequestContext, action: Callable[[WriteTransaction, RelyingParty], T]) -> T:
    """Begin a ceremony of a caller who need not be signed in, within a limit of its network.

    Raises:
        Conflict: ``passkey.no_domain``: the address of the service is no domain.
        Limited: ``tries.wait``, with the ``seconds`` to wait.
    """
    party = relying_party(context)
    context.check_limits(PASSKEY)
    with context.write() as tx:
        context.count_attempts(tx, PASSKEY)
        return action(tx, party)


def begin_registration(context: RequestContext, *, browser_hash: bytes | None = None) -> Options:
    """Begin to add a passkey to the account of the caller.

    Args:
        browser_hash: digest of the cookie of the browser; None on the API.

    Raises:
        Conflict: ``passkey.no_domain`` or ``passkey.too_many``.
    """
    party = relying_party(context)
    with context.write() as tx:
        return passkey_actions.begin_registration(
            tx, context.actor, party, browser_hash=browser_hash
        )


def register(
    context: RequestContext,
    ceremony: str,
    credential: dict[str, Any],
    name: str,
    *,
    browser_hash: bytes | None = None,
) -> tuple[str, list[str]]:
    """Verify a new passkey and add it. Return its UUID, and recovery codes if they are new.

    Args:
        ceremony: UUID of the ceremony.
        credential: the answer of the device.
        name: name by which the owner recognises the passkey.
        browser_hash: digest of the cookie of the browser; None on the API.

    Raises:
        Invalid: ``passkey.ceremony`` or ``passkey.invalid``.
        Conflict: ``passkey.no_domain`` or ``passkey.too_many``.
        Limited: ``tries.wait``, with the ``seconds`` to wait.
    """
    party = relying_party(context)
    with context.rate_limited(PASSKEY):
        with context.read() as tx:
            begun = passkey_actions.get_ceremony(
                tx,
                ceremony,
                Purpose.REGISTRATION,
                account=context.actor.id,
                browser_hash=browser_hash,
            )
        registered = verification.verify_registration(party, begun.challenge, credential)
    with context.write() as tx:
        return passkey_actions.register(
            tx, context.app.vault, context.actor, begun, party, registered, name
        )


def complete(
    context: RequestContext,
    purpose: Purpose,
    ceremony: str,
    credential: dict[str, Any],
    action: Callable[[WriteTransaction, Actor], T],
    *,
    account: int | None = None,
    browser_hash: bytes | None = None,
    open_transaction: Callable[[], AbstractContextManager[WriteTransaction]] | None = None,
) -> T:
    """Verify a passkey, and run an action in the transaction that uses the ceremony up.

    Args:
        ceremony: UUID of the ceremony.
        credential: the answer of the device.
        action: gets the account of the passkey as an actor; its result is returned.
        account: id of the account that is known already; None if only the passkey names it.
        browser_hash: digest of the cookie of the browser; None on the API.
        open_transaction: opens the transaction; ``context.write`` by default.

    Raises:
        Invalid: ``passkey.ceremony`` or ``passkey.invalid``.
        Conflict: ``passkey.no_domain``.
        Unauthenticated: ``login.failed``: the account is deactivated, or its credentials changed.
        Limited: ``tries.wait``, with the ``seconds`` to wait.
    """
    party = relying_party(context)
    with context.rate_limited(PASSKEY):
        credential_id = verification.credential_id(credential)
        handle = verification.user_handle(credential)
        with context.read() as tx:
            begun = passkey_actions.get_ceremony(
                tx, ceremony, purpose, account=account, browser_hash=browser_hash
            )
            passkey = passkey_queries.by_credential(tx, credential_id)
            if passkey is None or begun.account_id not in {None, passkey.account_id}:
                raise Invalid("passkey.invalid")
            row = account_queries.with_password(tx, id=passkey.account_id)
        is_named = handle == bytes.fromhex(passkey.account_uuid)
        if not is_named and (handle is not None or purpose is Purpose.SIGN_IN):
            raise Invalid("passkey.invalid")
        try:
            asserted = verification.verify_assertion(
                party,
                begun.challenge,
                credential,
                public_key=passkey.public_key,
                sign_count=passkey.sign_count,
                needs_verification=passkey_rules.needs_verification(
                    purpose, is_user_verified=passkey.is_user_verified
                ),
            )
        except Invalid:
            with context.write() as tx:
                passkey_actions.record_failure(tx, passkey, context.ip_address)
            raise
        if row is None or not row.is_active:
            raise Unauthenticated("login.failed")
    version = begun.credentials_version
    actor = actor_of(
        row,
        context.ip_address,
        context.request_id,
        credentials=row.credentials_version if version is None else version,
    )
    if purpose is Purpose.CONFIRM:
        actor = context.actor
    with (open_transaction or context.write)() as tx:
        passkey_actions.use(tx, actor, begun, passkey, asserted)
        return action(tx, actor)
