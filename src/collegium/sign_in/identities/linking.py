"""Link identities to accounts and remove them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any
from uuid import uuid4

import structlog

from collegium.access.rules import Actor
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountRow
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.outbox import mails
from collegium.refusals import Conflict, NotFound, check_quota
from collegium.settings import Settings
from collegium.sign_in import credentials, notices
from collegium.sign_in.identities import profiles
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities import rules as identity_rules
from collegium.sign_in.identities.queries import IdentityRow
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.values import Claims
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.two_factor import queries as two_factor_queries

_log = structlog.get_logger()


def current(tx: WriteTransaction, provider: ProviderRow) -> ProviderRow:
    """Return a provider as it is now, if it is still the one that was asked.

    Nobody can remove it before the commit. Providers are locked before accounts.

    Raises:
        NotFound: ``provider.unknown``: it was removed, deactivated or replaced in the meantime.
    """
    row = provider_queries.keep(tx, provider.id)
    if (
        row is None
        or not row.is_active
        or (row.issuer, row.client_id) != (provider.issuer, provider.client_id)
    ):
        raise NotFound("provider.unknown")
    return row


def add(tx: WriteTransaction, provider: ProviderRow, claims: Claims, account: int) -> IdentityRow:
    """Add the identity of a person to an account, by the id of the account.

    Who has not locked the account before calls ``check_single`` under the lock.

    Raises:
        Conflict: ``identity.too_many``: the account has the maximum number of identities.
            ``identity.concurrent``: another transaction was faster; try again.
    """
    count = len(identity_queries.of_account(tx, account))
    check_quota(count, identity_rules.IDENTITIES_MAX, "identity.too_many")
    identity_queries.add(
        tx,
        {
            "uuid": uuid4().hex,
            "account_id": account,
            "issuer": claims.issuer,
            "subject": claims.subject,
            "created_at": tx.now,
            **_said(tx, provider, claims),
        },
    )
    identity = identity_queries.by_subject(tx, claims.issuer, claims.subject)
    assert identity is not None  # noqa: S101 - the line above inserted it
    _report_cut(tx, provider, account, identity.claims, ())
    return identity


def update(
    tx: WriteTransaction, identity: IdentityRow, provider: ProviderRow, claims: Claims
) -> None:
    """Store what a provider says now about a person who has an identity."""
    said = _said(tx, provider, claims)
    identity_queries.use(tx, identity.id, said)
    before = identity_rules.cut_claims(identity.claims)
    _report_cut(tx, provider, identity.account_id, said["claims"], before)


def _report_cut(
    tx: WriteTransaction,
    provider: ProviderRow,
    account: int,
    stored: Mapping[str, Any],
    before: Collection[str],
) -> None:
    """Record which claims have more values than are stored; claim rules revoke nothing by them."""
    cut = identity_rules.cut_claims(stored)
    if not cut:
        return
    _log.warning("claims cut", provider=provider.name, account=account, claims=" ".join(cut))
    if set(cut) - set(before):
        event = events.IdentityClaimsCut(account=account, provider=provider.name, claims=cut)
        event_queries.record(tx, None, event)


def _said(tx: ReadTransaction, provider: ProviderRow, claims: Claims) -> dict[str, Any]:
    return {
        "provider_id": provider.id,
        "email": identity_rules.stated_email(claims),
        "claims": identity_rules.kept_claims(claims, provider.extra_fields),
        "last_used_at": tx.now,
    }


def link(tx: WriteTransaction, actor: Actor, provider: ProviderRow, claims: Claims) -> bool:
    """Link an identity to the account of a person who is signed in.

    Args:
        actor: the person, in the session in which this began.

    Returns:
        Whether it is new; False if the account had it before.

    Raises:
        Unauthenticated: ``token.unknown``: the session has ended.
        NotFound: ``provider.unknown``: the provider was removed or deactivated in the meantime.
        Conflict: ``identity.taken``: another account has this identity. ``identity.too_many``.
            ``identity.concurrent``: another transaction was faster; try again.
    """
    provider = current(tx, provider)
    account = credentials.confirm(tx, actor)
    identity = identity_queries.by_subject(tx, claims.issuer, claims.subject)
    if identity is not None:
        if identity.account_id != actor.id:
            raise Conflict("identity.taken")
        update(tx, identity, provider, claims)
        return False
    add(tx, provider, claims, actor.id)
    record_linked(tx, actor, provider)
    notices.send_notice(tx, mails.IdentityChanged, account, actor, name=provider.label)
    return True


def confirm(tx: WriteTransaction, actor: Actor, provider: ProviderRow, claims: Claims) -> None:
    """Record that a person has proved at a provider that it is still them.

    Args:
        actor: the person, in the session in which this began.

    Raises:
        Unauthenticated: ``login.failed``: the session has ended.
        NotFound: ``provider.unknown``: the provider was removed or deactivated in the meantime.
        Conflict: ``identity.other``: it is no identity of the actor. ``identity.no_factor``: the
            account has two-factor authentication, and the provider asked for no second factor.
    """
    provider = current(tx, provider)
    credentials.confirm(tx, actor, "login.failed")
    identity = identity_queries.by_subject(tx, claims.issuer, claims.subject)
    if identity is None or identity.account_id != actor.id:
        raise Conflict("identity.other")
    has_second_factor = identity_rules.second_factor_used(claims, provider.second_factor_values)
    if not has_second_factor and two_factor_queries.is_on(tx, actor.id):
        raise Conflict("identity.no_factor")
    token_queries.confirm(tx, actor.id, actor.token, has_second_factor=has_second_factor)


def account_named(
    tx: ReadTransaction, provider: ProviderRow, value: str, added: int = 0
) -> AccountRow | None:
    """Return the account that a provider names by a claim; None if there is none for certain.

    People choose user names, and another provider may state any civil number. Somebody could wait
    in such an account for the person who has the value at this provider.

    Args:
        value: of the claim ``user_claim``.
        added: id of an identity that this sign-in has added; 0 if there is none yet.
    """
    account = account_queries.with_password(tx, **{provider.user_field: value})
    if account is None:
        return None
    if provider.user_field == "username":
        # People who choose a user name also get a password or an identity, and sign in. So staff
        # or a directory has chosen this one.
        is_unused = account.password is None and account.last_login_at is None
        others = (row for row in identity_queries.of_account(tx, account.id) if row.id != added)
        is_certain = is_unused and not any(others)
    else:
        sources = account_queries.existing(tx, account.id).attribute_sources
        said = sources.get(provider.user_field)
        # The name of a provider can become that of another one.
        is_certain = said is None or said.get("issuer") == provider.issuer
    return account if is_certain else None


def is_protected(tx: ReadTransaction, account: AccountRow) -> bool:
    """Return whether only the owner of an account adds sign-in methods to it, while signed in.

    These are the accounts of staff and those with two-factor authentication.
    """
    return identity_rules.has_rights(account) or two_factor_queries.is_on(tx, account.id)


def was_removed(tx: ReadTransaction, account: int, provider: ProviderRow) -> bool:
    """Return whether the owner has removed an identity of a provider from the account.

    Then only the owner adds one again, whatever the provider is called by now. What the operator
    has removed can be recognised again.
    """
    removed = event_queries.payloads_of(tx, events.IdentityUnlinked, account)
    return any(
        payload["issuer"] == provider.issuer
        if "issuer" in payload
        else payload["provider"] == provider.name
        for payload in removed
        if payload.get("because") != notices.OPERATOR
    )


def check_single(tx: ReadTransaction, identity: IdentityRow) -> None:
    """Require that an account which a provider has named has no other identity there.

    Otherwise a second person at the same provider could get into the account of the first. Together
    with the new identity it may have the maximum number.

    Raises:
        Conflict: ``identity.mismatch``, ``identity.too_many``.
    """
    issuers = [row.issuer for row in identity_queries.of_account(tx, identity.account_id)]
    check_quota(len(issuers) - 1, identity_rules.IDENTITIES_MAX, "identity.too_many")
    if issuers.count(identity.issuer) > 1:
        raise Conflict("identity.mismatch")


def record_linked(tx: WriteTransaction, actor: Actor, provider: ProviderRow) -> None:
    """Record that the actor's account got an identity."""
    event_queries.record(tx, actor, events.IdentityLinked(account=actor.id, provider=provider.name))


def ways_to_sign_in(tx: ReadTransaction, account: int, settings: Settings) -> int:
    """Return in how many ways a person can sign in.

    These are each usable identity, each passkey that works alone, and the password.
    """
    row = account_queries.with_password(tx, id=account)
    has_password = row is not None and row.password is not None
    identities = identity_queries.of_account(tx, account)
    usable = sum(identity.provider_is_active is True for identity in identities)
    usable += passkey_queries.count_alone(tx, account)
    return usable + (has_password and "LOCAL_SIGNIN" in settings.authentication_methods)


def unlink(tx: WriteTransaction, actor: Actor, settings: Settings, uuid: str) -> None:
    """Remove an identity of the actor's account, and end the sessions that came of it.

    The session of the request stays.

    Args:
        uuid: of the identity, 32 hex digits.

    Raises:
        NotFound: ``identity.none``.
        Conflict: ``identity.last_way``: the person could not sign in any more.
        Unauthenticated: ``token.unknown``: the session has ended.
    """
    identities = identity_queries.of_account(tx, actor.id)
    gone = [row for row in identities if row.uuid == uuid]
    # Scopes before accounts, as all actions do.
    locked = profiles.lock_for_removal(tx, actor.id, gone)
    account = credentials.confirm(tx, actor)
    if not gone:
        raise NotFound("identity.none")
    (identity,) = gone
    identity_queries.end_tokens_of(tx, identity.id, actor.token)
    if not identity_queries.remove(tx, actor.id, uuid):
        raise NotFound("identity.none")
    if not ways_to_sign_in(tx, actor.id, settings):
        raise Conflict("identity.last_way")
    credentials.cancel_pending(tx, actor.id)
    event_queries.record(
        tx,
        actor,
        events.IdentityUnlinked(
            account=actor.id, provider=identity.provider_name or "", issuer=identity.issuer
        ),
    )
    profiles.withdraw(tx, settings, actor, actor.id, gone, locked)
    name = identity.provider_label or identity.issuer
    notices.send_notice(tx, mails.IdentityChanged, account, actor, name=name, removed=True)
