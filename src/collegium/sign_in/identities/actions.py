"""Recognise the person who comes back from a provider.

Nothing here calls the provider. What was read before the provider was asked is checked again.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from collegium.access.queries import lock_account
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountDetails
from collegium.claim_rules import granting
from collegium.claim_rules.rules import Facts
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.outbox import mails
from collegium.refusals import Conflict, Forbidden, NotFound
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in import notices
from collegium.sign_in.identities import linking, profiles, registration
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities import rules as identity_rules
from collegium.sign_in.identities import sessions as identity_sessions
from collegium.sign_in.identities.profiles import Stated
from collegium.sign_in.identities.queries import IdentityRow
from collegium.sign_in.identities.values import NOWHERE, Arrival, CodeKind, Origin, SignedIn
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.values import Claims
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.two_factor import queries as two_factor_queries


def complete(
    tx: WriteTransaction,
    vault: Vault,
    settings: Settings,
    provider: ProviderRow,
    claims: Claims,
    arrival: Arrival = NOWHERE,
    *,
    ip_address: str = "",
    request_id: str = "",
) -> SignedIn:
    """Return the account of a person who came back from a provider; create it if it may be.

    The caller starts the session in the same transaction. An existing account with two-factor
    authentication, whose provider shows no second factor, has not accepted anything yet.

    Args:
        provider: as it was when the provider was asked.
        claims: what it said, verified.

    Raises:
        NotFound: ``provider.unknown``: the provider was removed or deactivated in the meantime.
        Forbidden: ``identity.deactivated``: the account is deactivated. ``identity.unknown``:
            nobody has this identity, and the person is not invited.
        Conflict: ``identity.email_taken``: an account has the trusted address or the claim, but
            is not linked without its owner; or an account has the address of the mailed link.
            ``identity.mismatch``: the account that the provider names has another identity there.
            ``identity.too_many``: it has the maximum number of identities.
            ``identity.concurrent``: another transaction was faster; try again. The reason why a
            new person cannot accept the invitation.
    """
    provider = linking.current(tx, provider)
    identity = identity_queries.by_subject(tx, claims.issuer, claims.subject)
    is_new = False
    if identity is None:
        try:
            account_id = _find_account(tx, provider, claims)
            if account_id is None:
                return registration.register(
                    tx, vault, settings, provider, claims, arrival, ip_address, request_id
                )
        except Conflict as refusal:
            # On PostgreSQL another transaction may just have created the account with the address
            # for this very person.
            known = identity_queries.by_subject(tx, claims.issuer, claims.subject)
            if refusal.code == "identity.email_taken" and known is not None:
                raise Conflict("identity.concurrent") from refusal
            raise
        identity = linking.add(tx, provider, claims, account_id)
        is_new = True
    account = _active_account(tx, identity.account_id)
    actor = _actor_of(account, ip_address, request_id)
    has_second_factor = identity_rules.second_factor_used(claims, provider.second_factor_values)
    signed_in = SignedIn(actor, identity.id, has_second_factor=has_second_factor)
    waits = needs_code(tx, signed_in)
    stated = profiles.read(provider, claims)
    if waits:
        signed_in = signed_in._replace(stated=profiles.to_text(stated, provider))
    accepts = arrival.accepts and arrival.names_offer and not waits
    said = {identity.id: profiles.said_by(claims, provider)}
    ruled = _lock_scopes(
        tx, provider, stated, account, said, arrival if accepts else NOWHERE, waits=waits
    )
    for number in sorted({account.id, *registration.invited_by(tx, arrival)}):
        lock_account(tx, number)
    before = _active_account(tx, account.id)
    _check_still(tx, provider, claims, identity, is_new=is_new)
    if needs_code(tx, signed_in) != waits:
        raise Conflict("identity.concurrent")
    linking.update(tx, identity, provider, claims)
    columns = profiles.changes(tx, provider, stated, before, waits=waits)
    profiles.refresh(tx, settings, provider, actor, before, columns)
    account = account_queries.existing(tx, account.id)
    if accepts:
        # The restrictions of the offer compare what the provider has just said.
        actor = _actor_of(account, ip_address, request_id)
        signed_in = _accept_if_possible(tx, settings, signed_in._replace(actor=actor), arrival)
    granting.apply(tx, settings, account, ruled)
    if is_new:
        linking.record_linked(tx, actor, provider)
        notices.send_notice(tx, mails.IdentityChanged, account, actor, name=provider.label)
    return signed_in


def finish(
    tx: WriteTransaction,
    vault: Vault,
    settings: Settings,
    actor: Actor,
    code: str,
    locked: Collection[int],
) -> tuple[Origin, ProviderRow]:
    """Use up the sign-in of a person who has entered a code here, and refresh their profile.

    Args:
        actor: the person, whose account is locked.
        code: the one-time code of the sign-in, see ``identity_sessions.issue_code``.
        locked: ids of scopes, from ``lock_for_finish``.

    Returns:
        From where the token of the person comes.

    Raises:
        NotFound: ``identity.code``: the sign-in is over. ``provider.unknown``.
    """
    pending = identity_sessions.pending(tx, vault, code)
    account, origin = identity_sessions.redeem(tx, vault, CodeKind.SECOND_FACTOR, code)
    provider = identity_sessions.provider_of(tx, origin)
    if account.id != actor.id or provider is None:
        raise NotFound("provider.unknown")
    if pending is not None and pending.stated is not None:
        columns = profiles.changes(tx, provider, pending.stated, account)
        profiles.refresh(tx, settings, provider, actor, account, columns)
        granting.apply(tx, settings, account_queries.existing(tx, account.id), locked)
    return origin, provider


def lock_for_finish(tx: WriteTransaction, vault: Vault, code: str) -> list[int]:
    """Lock the scopes in which ``finish`` will change something, before the account; return them.

    The provider is locked too, as in every sign-in.
    """
    pending = identity_sessions.pending(tx, vault, code)
    if pending is None or pending.stated is None:
        return []
    provider, stated = linking.current(tx, pending.provider), pending.stated
    account = account_queries.existing(tx, pending.account)
    return _lock_scopes(tx, provider, stated, account, {}, NOWHERE, waits=False)


def _actor_of(account: AccountDetails, ip_address: str, request_id: str) -> Actor:
    return token_actions.actor_of(
        account, ip_address, request_id, credentials=account.credentials_version
    )


def _lock_scopes(
    tx: WriteTransaction,
    provider: ProviderRow,
    stated: Stated,
    account: AccountDetails,
    claims: Mapping[int, Mapping[str, Any]],
    arrival: Arrival,
    *,
    waits: bool,
) -> list[int]:
    """Lock all scopes of a sign-in, in one order, before the account. Return those of claim rules.

    Args:
        claims: what the sign-in says, by the id of the identity.
        arrival: with what the person arrives, as far as it is accepted.
        waits: as for ``profiles.changes``.
    """

    def load_facts(tx: ReadTransaction, account: AccountDetails) -> Facts:
        """Return the facts as they will be after the profile was refreshed."""
        columns = profiles.changes(tx, provider, stated, account, waits=waits)
        return profiles.facts_after(tx, account, columns, claims)

    scopes = granting.scopes_to_lock(tx, account, load_facts)
    granting.lock(tx, (*scopes, *registration.scopes_of(tx, arrival)))
    return scopes


def needs_code(tx: ReadTransaction, signed_in: SignedIn) -> bool:
    """Return whether the person has to enter a code: the provider has shown no second factor."""
    return not signed_in.has_second_factor and two_factor_queries.is_on(tx, signed_in.actor.id)


def _active_account(tx: ReadTransaction, account_id: int) -> AccountDetails:
    account = account_queries.existing(tx, account_id)
    if not account.is_active:
        raise Forbidden("identity.deactivated", account=account_id)
    return account


def _check_still(
    tx: WriteTransaction,
    provider: ProviderRow,
    claims: Claims,
    identity: IdentityRow,
    *,
    is_new: bool,
) -> None:
    """Recognise the person once more, now that the account is locked.

    Its owner, staff or another sign-in may have changed in the meantime what it was recognised by.

    Raises:
        Forbidden, Conflict: as ``complete``.
    """
    if not is_new:
        if identity_queries.by_id(tx, identity.id) is None:
            raise Conflict("identity.concurrent")
        return
    linking.check_single(tx, identity)
    if _find_account(tx, provider, claims, identity.id) != identity.account_id:
        raise Conflict("identity.concurrent")


def _find_account(
    tx: WriteTransaction, provider: ProviderRow, claims: Claims, added: int = 0
) -> int | None:
    """Return the id of the account to which a new identity belongs for certain; None if to none.

    Args:
        added: id of the new identity, if it was added already; 0 if not.
    """
    account = None
    value = claims.claims.get(provider.user_claim) if provider.user_claim else None
    if provider.user_field and isinstance(value, str) and value:
        account = linking.account_named(tx, provider, value, added)
    if account is None:
        email = identity_rules.trusted_email(claims, provider.trusted_domains)
        account = _only_account_at(tx, email) if email else None
    if account is None:
        return None
    if not account.is_active:
        raise Forbidden("identity.deactivated", account=account.id)
    if linking.is_protected(tx, account) or linking.was_removed(tx, account.id, provider):
        raise Conflict("identity.email_taken")
    return account.id


def _only_account_at(tx: ReadTransaction, email: str) -> Any:
    """Return the account with an address, a deactivated one too.

    Raises:
        Conflict: ``identity.email_taken``: several accounts have it.
    """
    accounts = account_queries.at_email(tx, email)
    if len(accounts) > 1:
        raise Conflict("identity.email_taken")
    return accounts[0] if accounts else None


def _accept_if_possible(
    tx: WriteTransaction, settings: Settings, signed_in: SignedIn, arrival: Arrival
) -> SignedIn:
    """Accept the invitation if possible; a refusal does not prevent the sign-in."""
    try:
        with tx.savepoint():
            taken = registration.accept(tx, settings, signed_in.actor, arrival)
            return signed_in._replace(**taken._asdict())
    except (NotFound, Conflict) as refusal:
        return signed_in._replace(refused=refusal.code)
