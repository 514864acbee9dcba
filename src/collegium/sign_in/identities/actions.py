"""Recognise the person who comes back from a provider.

Nothing here calls the provider. What was read before the provider was asked is checked again.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from collegium.access.queries import lock_account
from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts import rules as account_rules
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.accounts.profiles import actions as profile_actions
from collegium.accounts.queries import AccountDetails
from collegium.claim_rules import granting
from collegium.claim_rules.rules import Facts
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import as_dict
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations import queries as invitation_queries
from collegium.invite_links import queries as invite_link_queries
from collegium.outbox import mails
from collegium.refusals import Conflict, Forbidden, NotFound
from collegium.scopes.actions import change_account
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in import notices
from collegium.sign_in.identities import linking, registration
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities import rules as identity_rules
from collegium.sign_in.identities.queries import IdentityRow
from collegium.sign_in.identities.values import NOWHERE, Arrival, SignedIn
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.rules import vouched_claims
from collegium.sign_in.providers.values import Claims
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.text.email_addresses import same_mailbox


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
    actor = token_actions.actor_of(
        account, ip_address, request_id, credentials=account.credentials_version
    )
    has_second_factor = identity_rules.second_factor_used(claims, provider.second_factor_values)
    signed_in = SignedIn(actor, identity.id, has_second_factor=has_second_factor)
    waits = needs_code(tx, signed_in)
    ruled = _lock_ruled_scopes(tx, provider, claims, identity, account, arrival, waits=waits)
    if arrival.accepts and arrival.names_offer and not waits:
        stated = {identity.id: _vouched(provider, claims)}
        signed_in = _accept_if_possible(tx, settings, signed_in, arrival, stated)
    # After the scopes of an invitation and of claim rules, as all actions do.
    lock_account(tx, account.id)
    if is_new:
        _check_still(tx, provider, claims, identity)
    linking.update(tx, identity, provider, claims)
    before = account_queries.existing(tx, account.id)
    columns = _profile(tx, provider, claims, before, waits=waits)
    _refresh(tx, settings, provider, actor, before, columns)
    granting.apply(tx, settings, account_queries.existing(tx, account.id), ruled)
    if is_new:
        linking.record_linked(tx, actor, provider)
        notices.send_notice(tx, mails.IdentityChanged, account, actor, name=provider.label)
    return signed_in


def _lock_ruled_scopes(
    tx: WriteTransaction,
    provider: ProviderRow,
    claims: Claims,
    identity: IdentityRow,
    account: AccountDetails,
    arrival: Arrival,
    *,
    waits: bool,
) -> list[int]:
    """Lock the scopes in which claim rules will change something; return their ids.

    All scopes of a sign-in are locked here in one order, before the account, as everywhere.

    Args:
        waits: as for ``_profile``.
    """

    def load_facts(tx: ReadTransaction, account: AccountDetails) -> Facts:
        """Return the facts as they will be after ``_refresh``."""
        said = _vouched(provider, claims)
        facts = granting.facts_of(tx, account).with_claims(identity.id, said)
        columns = _profile(tx, provider, claims, account, waits=waits)
        return replace(
            facts,
            email=columns.get("email", facts.email),
            affiliations=tuple(columns.get("affiliations", facts.affiliations)),
            identity_source=columns.get("identity_source", facts.identity_source),
        )

    scopes = granting.scopes_to_lock(tx, account, load_facts)
    also: tuple[int, ...] = ()
    if scopes and arrival.invitation is not None:
        invitation = invitation_queries.by_uuid(tx, arrival.invitation)
        if invitation is not None:
            also = (invitation.organisation_id, invitation.scope_id)
    if scopes and arrival.invite_link is not None:
        also = invite_link_queries.scope_and_parent(tx, arrival.invite_link)
    granting.lock(tx, (*scopes, *also))
    return scopes


def _vouched(provider: ProviderRow, claims: Claims) -> dict[str, Any]:
    """Return what will be stored of the claims, as far as the provider vouches for it."""
    kept = identity_rules.kept_claims(claims, provider.extra_fields)
    return vouched_claims({**kept, "iss": claims.issuer}, provider)


def needs_code(tx: ReadTransaction, signed_in: SignedIn) -> bool:
    """Return whether the person has to enter a code: the provider has shown no second factor."""
    return not signed_in.has_second_factor and two_factor_queries.is_on(tx, signed_in.actor.id)


def _active_account(tx: ReadTransaction, account_id: int) -> AccountDetails:
    account = account_queries.existing(tx, account_id)
    if not account.is_active:
        raise Forbidden("identity.deactivated", account=account_id)
    return account


def _check_still(
    tx: WriteTransaction, provider: ProviderRow, claims: Claims, identity: IdentityRow
) -> None:
    """Recognise the person once more, now that the account is locked.

    Its owner, staff or another sign-in may have changed in the meantime what it was recognised by.

    Raises:
        Forbidden, Conflict: as ``complete``.
    """
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
    tx: WriteTransaction,
    settings: Settings,
    signed_in: SignedIn,
    arrival: Arrival,
    stated: dict[int, dict[str, Any]],
) -> SignedIn:
    """Accept the invitation if possible; a refusal does not prevent the sign-in."""
    try:
        with tx.savepoint():
            taken = registration.accept(tx, settings, signed_in.actor, arrival, stated=stated)
            return signed_in._replace(**taken._asdict())
    except (NotFound, Conflict) as refusal:
        return signed_in._replace(refused=refusal.code)


def _profile(
    tx: ReadTransaction,
    provider: ProviderRow,
    claims: Claims,
    account: AccountDetails,
    *,
    waits: bool,
) -> dict[str, Any]:
    """Return the columns of an account that a sign-in fills; none if it does not come from there.

    What the provider has stated earlier and states no more is empty, so that no right outlives it.

    Args:
        waits: whether the person has yet to enter a code. Then only what rights depend on follows
            the provider, and the person's own facts stay until a sign-in with a second factor.
    """
    if account.registration_method != provider.name:
        return {}
    columns = identity_rules.profile(claims.claims, provider)
    stated = account_rules.fields_from(account.attribute_sources, provider.name)
    columns = identity_rules.withdrawn(stated, columns) | columns
    if waits:
        return {
            name: value for name, value in columns.items() if name in identity_rules.RIGHTS_DEPEND
        }
    email = identity_rules.trusted_email(claims, provider.trusted_domains)
    if (
        email
        and "email" in provider.attribute_mapping
        and not linking.has_rights(account)
        and not same_mailbox(email, account.email)
        and not account_queries.at_email(tx, email)
    ):
        columns["email"] = email
    number = columns.get("civil_number")
    if number and (
        account.civil_number or account_queries.with_password(tx, civil_number=number) is not None
    ):
        # A number that was recorded once identifies the person.
        del columns["civil_number"]
    return columns


def _refresh(
    tx: WriteTransaction,
    settings: Settings,
    provider: ProviderRow,
    actor: Actor,
    before: AccountDetails,
    columns: dict[str, Any],
) -> None:
    """Store what the provider says now in the profile.

    Args:
        before: the account, which is locked.
        columns: from ``_profile``.
    """
    if not columns:
        return
    if email := columns.get("email", ""):
        account_queries.lock_address(tx, email)
        if account_queries.at_email(tx, email):
            # Another sign-in has just taken it.
            del columns["email"]
    shown = as_dict(before)
    changed = {name: value for name, value in columns.items() if shown[name] != value}
    stated = [name for name, value in columns.items() if not account_rules.is_empty(value)]
    earlier = {
        name: source for name, source in before.attribute_sources.items() if name not in columns
    }
    sources = account_rules.attribute_sources(stated, provider.name, tx.now, provider.issuer)
    said: dict[str, Any] = {"attribute_sources": earlier | sources}
    if not changed:
        account_queries.change(tx, before.id, said)
        return
    try:
        change_account(tx, before.id, changed | said | {"modified_at": tx.now})
    except Conflict as refusal:
        # Another transaction has just given the civil number to an account. Next time it is left
        # out, see ``_profile``.
        raise Conflict("identity.concurrent") from refusal
    changes = {name: [_plain(shown[name]), _plain(value)] for name, value in changed.items()}
    event_queries.record(
        tx,
        actor,
        events.AccountUpdated(
            account=before.id, username=before.username, changes=changes, by=provider.name
        ),
    )
    profile_actions.notify_operator(tx, actor, settings, before, changed)
    if "email" in changed:
        email_change_actions.supersede(tx, before, changed["email"])


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value
