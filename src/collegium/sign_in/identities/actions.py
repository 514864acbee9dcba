"""Actions on identities: begin and complete a sign-in at a provider, link, remove, sign out.

Nothing here calls the provider. ``begin`` and ``claim`` come before, ``complete`` and ``link``
after it, each in a transaction of its own; so what was read before is checked again.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid4

from collegium.access.queries import lock_account
from collegium.access.rules import Actor
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts.profiles import actions as profile_actions
from collegium.accounts.queries import AccountDetails
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import as_dict
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.invitations import actions as invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.invitations.rules import State
from collegium.join_requests import actions as join_request_actions
from collegium.outbox import mails
from collegium.refusals import Conflict, Forbidden, Invalid, NotFound
from collegium.scopes.actions import change_account
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in import credentials, notices
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities import rules as identity_rules
from collegium.sign_in.identities.queries import IdentityRow, StartedSignIn
from collegium.sign_in.passkeys import queries as passkey_queries
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.rules import (
    EXCHANGE_SECONDS,
    SIGN_IN_SECONDS,
    Purpose,
    Registration,
)
from collegium.sign_in.providers.values import Claims
from collegium.sign_in.tokens import actions as token_actions
from collegium.sign_in.tokens import queries as token_queries
from collegium.sign_in.two_factor import queries as two_factor_queries
from collegium.text.email_addresses import same_mailbox

METHOD: Final = "identity provider"
"""How the audit log says that somebody signed in."""

_INVITATIONS_MAX: Final = 20
"""Maximum number of invitations that a new person accepts by arriving."""


class Begun(NamedTuple):
    """The parameters of a request to the authorization endpoint.

    Args:
        verifier: of PKCE (RFC 7636); only its digest is sent.
    """

    state: str
    nonce: str
    verifier: str


class ClaimedSignIn(NamedTuple):
    """A sign-in that came back, and the verifier of its code."""

    row: StartedSignIn
    verifier: str


class Arrival(NamedTuple):
    """With what somebody arrives: the invitation or invite link that led to the sign-in.

    Args:
        invitation: UUID of an invitation.
        link_version: of the link to the invitation that was followed.
        is_mailed: whether that link was only mailed to the invited address, and so proves it.
        invite_link: UUID of an invite link.
        accepts: whether the person pressed a button that accepts the invitation.
    """

    invitation: str | None = None
    link_version: int = 0
    is_mailed: bool = False
    invite_link: str | None = None
    accepts: bool = False


NOWHERE: Final = Arrival()


class CodeKind(StrEnum):
    """For what alone a one-time code can be used."""

    EXCHANGE = "exchange"
    """A front end gets a token for it."""
    SECOND_FACTOR = "second factor"
    """The browser gets a session for it, with a code of the second factor."""


_CODE_SECONDS: Final = {
    CodeKind.EXCHANGE: EXCHANGE_SECONDS,
    CodeKind.SECOND_FACTOR: SIGN_IN_SECONDS,
}


class Origin(NamedTuple):
    """From where a token came.

    Args:
        identity: id of the identity.
        sid_hash: digest of the provider's name of its session; None if it names none.
        id_token_encrypted: the ID token, which the provider gets back at the sign-out.
    """

    identity: int
    sid_hash: bytes | None
    id_token_encrypted: bytes | None


class SignedIn(NamedTuple):
    """Who came back from a provider.

    Args:
        actor: the person, with the version of the credentials.
        identity: id of the identity.
        is_new: whether the account was created just now.
        has_second_factor: whether the provider has shown that it asked for a second factor.
        accepted: UUIDs of the invitations that were accepted, or of the invite link.
        refused: code of the refusal of an invitation that could not be accepted; empty otherwise.
    """

    actor: Actor
    identity: int
    is_new: bool = False
    has_second_factor: bool = False
    accepted: tuple[str, ...] = ()
    refused: str = ""


def begin(
    tx: WriteTransaction,
    vault: Vault,
    provider: ProviderRow,
    browser_secret: str,
    purpose: Purpose,
    return_to: str,
    actor: Actor | None = None,
) -> Begun:
    """Begin a sign-in at a provider, which only this browser can complete, once.

    Args:
        browser_secret: the value of a cookie of the browser.
        return_to: where to continue: a path here, or an address of a front end that the provider
            allows.
        actor: who links an identity or confirms to be present; None for a sign-in.
    """
    begun = Begun(*(secrets.token_urlsafe(32) for _ in range(3)))
    state_hash = vault.keyed_hash(begun.state)
    identity_queries.begin(
        tx,
        {
            "state_hash": state_hash,
            "browser_hash": vault.keyed_hash(browser_secret),
            "provider_id": provider.id,
            "nonce_hash": vault.keyed_hash(begun.nonce),
            "code_verifier_encrypted": vault.encrypt(begun.verifier, state_hash),
            "purpose": purpose.value,
            "account_id": None if actor is None else actor.id,
            "token_id": None if actor is None else actor.token,
            "return_to": return_to,
            "created_at": tx.now,
            "expires_at": tx.now + timedelta(seconds=SIGN_IN_SECONDS),
        },
    )
    return begun


def claim(
    tx: WriteTransaction, vault: Vault, state: str, browser_secret: str
) -> ClaimedSignIn | None:
    """Use up a sign-in that this browser has begun. Return it; None if there is none.

    A sign-in of another browser is used up too, because somebody else knows its state.

    Args:
        state: the parameter ``state`` of the request that came back.
        browser_secret: the value of the cookie of the browser.
    """
    state_hash = vault.keyed_hash(state)
    row = identity_queries.claim(tx, state_hash)
    if (
        row is None
        or row.expires_at < tx.now
        or not browser_secret
        or not hmac.compare_digest(bytes(row.browser_hash), vault.keyed_hash(browser_secret))
    ):
        return None
    return ClaimedSignIn(row, vault.decrypt(row.code_verifier_encrypted, state_hash))


def is_nonce(vault: Vault, sign_in: StartedSignIn, nonce: str) -> bool:
    """Return whether a text is the nonce of a sign-in."""
    return hmac.compare_digest(bytes(sign_in.nonce_hash), vault.keyed_hash(nonce))


def record_refused(
    tx: WriteTransaction, provider: str, reason: str, ip_address: str, account: int | None = None
) -> None:
    """Record that a sign-in at a provider failed, and why.

    Args:
        provider: name of the provider.
        reason: code of the refusal. Nothing that the provider said is stored.
        account: id of the account that the person has here, if it is known.
    """
    event_queries.record(
        tx,
        None,
        events.ProviderSignInFailed(
            account=account, provider=provider, reason=reason, address=ip_address
        ),
    )


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
        Conflict: ``identity.email_taken``: another account has the verified address.
            ``identity.mismatch``: the account that the provider names has another identity there.
            ``identity.concurrent``: another transaction was faster; try again. The reason why a
            new person cannot accept the invitation.
    """
    provider = current(tx, provider)
    identity = identity_queries.by_subject(tx, claims.issuer, claims.subject)
    is_new = False
    if identity is None:
        account_id = _find_account(tx, provider, claims)
        if account_id is None:
            return _register(tx, vault, settings, provider, claims, arrival, ip_address, request_id)
        identity = _add_identity(tx, provider, claims, account_id)
        is_new = True
    account = _active_account(tx, identity.account_id)
    actor = token_actions.actor_of(
        account, ip_address, request_id, credentials=account.credentials_version
    )
    has_second_factor = identity_rules.second_factor_used(claims, provider.second_factor_values)
    signed_in = SignedIn(actor, identity.id, has_second_factor=has_second_factor)
    if arrival.accepts and not needs_code(tx, signed_in):
        signed_in = _accept_if_possible(tx, settings, signed_in, arrival)
    # It locks the account, after the scope of an invitation, as all actions do.
    _refresh(tx, settings, provider, claims, identity, actor)
    if is_new:
        _check_single(tx, identity)
        _record_linked(tx, actor, provider)
        notices.send_notice(tx, mails.IdentityChanged, account, actor, name=provider.label)
    return signed_in


def _check_single(tx: ReadTransaction, identity: IdentityRow) -> None:
    """Require that an account which a provider has named has no other identity there.

    Otherwise a second person at the same provider could get into the account of the first.

    Raises:
        Conflict: ``identity.mismatch``.
    """
    issuers = [row.issuer for row in identity_queries.of_account(tx, identity.account_id)]
    if issuers.count(identity.issuer) > 1:
        raise Conflict("identity.mismatch")


def needs_code(tx: ReadTransaction, signed_in: SignedIn) -> bool:
    """Return whether the person has to enter a code: the provider has shown no second factor."""
    return not signed_in.has_second_factor and two_factor_queries.is_on(tx, signed_in.actor.id)


def current(tx: ReadTransaction, provider: ProviderRow) -> ProviderRow:
    """Return a provider as it is now, if it is still the one that was asked.

    Raises:
        NotFound: ``provider.unknown``: it was removed, deactivated or replaced in the meantime.
    """
    row = provider_queries.by_id(tx, provider.id)
    if (
        row is None
        or not row.is_active
        or (row.issuer, row.client_id) != (provider.issuer, provider.client_id)
    ):
        raise NotFound("provider.unknown")
    return row


def _active_account(tx: ReadTransaction, account_id: int) -> AccountDetails:
    account = account_queries.existing(tx, account_id)
    if not account.is_active:
        raise Forbidden("identity.deactivated", account=account_id)
    return account


def _find_account(tx: WriteTransaction, provider: ProviderRow, claims: Claims) -> int | None:
    """Return the id of the account to which a new identity belongs for certain; None if to none.

    Accounts of staff and those with two-factor authentication are never recognised by what a
    provider says: their owners link them while signed in.
    """
    account = None
    value = claims.claims.get(provider.user_claim) if provider.user_claim else None
    if provider.user_field and isinstance(value, str) and value:
        account = account_queries.with_password(tx, **{provider.user_field: value})
    if account is None:
        email = identity_rules.verified_email(claims)
        account = _only_account_at(tx, email) if email else None
        if account is not None and not identity_rules.is_trusted_for(
            email, provider.trusted_domains
        ):
            raise Conflict("identity.email_taken")
    if account is None:
        return None
    if not account.is_active:
        raise Forbidden("identity.deactivated", account=account.id)
    has_rights = account.is_staff or account.is_support or account.is_identity_manager
    if has_rights or two_factor_queries.is_on(tx, account.id):
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


def _add_identity(
    tx: WriteTransaction, provider: ProviderRow, claims: Claims, account: int
) -> IdentityRow:
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
    return identity


def _said(tx: ReadTransaction, provider: ProviderRow, claims: Claims) -> dict[str, Any]:
    return {
        "provider_id": provider.id,
        "email": identity_rules.verified_email(claims),
        "claims": identity_rules.kept_claims(claims, provider.extra_fields),
        "last_used_at": tx.now,
    }


def _register(
    tx: WriteTransaction,
    vault: Vault,
    settings: Settings,
    provider: ProviderRow,
    claims: Claims,
    arrival: Arrival,
    ip_address: str,
    request_id: str,
) -> SignedIn:
    """Create the account of a new person, with the roles to which the person is invited."""
    registration = Registration(provider.registration)
    is_arriving = arrival.invitation is not None or arrival.invite_link is not None
    verified = identity_rules.verified_email(claims)
    is_trusted = identity_rules.is_trusted_for(verified, provider.trusted_domains)
    if registration is Registration.OFF or (
        registration is Registration.INVITED and not is_arriving and not is_trusted
    ):
        raise Forbidden("identity.unknown")
    email = verified
    if not email and arrival.invitation is not None and arrival.is_mailed:
        invitation = invitation_queries.by_uuid(tx, arrival.invitation)
        email = invitation.email if invitation is not None else ""
        if email and account_queries.at_email(tx, email):
            raise Conflict("identity.email_taken")
    values = {
        "registration_method": provider.name,
        **identity_rules.profile(claims.claims, provider.attribute_mapping),
        "email": email,
        "agreed_at": tx.now if arrival.accepts else None,
    }
    extra = {} if arrival.invitation is None else {"invitation": arrival.invitation}
    account_id = _create_account(tx, vault, settings, values, claims, provider, extra)
    identity = _add_identity(tx, provider, claims, account_id)
    account = account_queries.existing(tx, account_id)
    actor = token_actions.actor_of(
        account, ip_address, request_id, credentials=account.credentials_version
    )
    _record_linked(tx, actor, provider)
    accepted: tuple[str, ...] = ()
    if is_arriving:
        accepted = (_accept(tx, settings, actor, arrival),)
    elif is_trusted:
        accepted = tuple(_accept_pending(tx, settings, actor))
    if registration is Registration.INVITED and not accepted:
        raise Forbidden("identity.unknown")
    has_second_factor = identity_rules.second_factor_used(claims, provider.second_factor_values)
    return SignedIn(
        actor, identity.id, is_new=True, has_second_factor=has_second_factor, accepted=accepted
    )


def _create_account(
    tx: WriteTransaction,
    vault: Vault,
    settings: Settings,
    values: Mapping[str, Any],
    claims: Claims,
    provider: ProviderRow,
    extra: Mapping[str, Any],
) -> int:
    names = identity_rules.usernames(claims.claims, values["email"])
    while True:
        row = {**values, "username": account_queries.free_username(tx, names)}
        try:
            return account_actions.create(tx, None, settings, vault, row, by=provider.name, **extra)
        except Invalid as refusal:
            # Of two transactions that chose the same name one comes here.
            if refusal.code not in {"account.username_taken", "account.slug_taken"}:
                raise


def _accept(tx: WriteTransaction, settings: Settings, actor: Actor, arrival: Arrival) -> str:
    """Accept what somebody arrived with. Return its UUID."""
    if arrival.invitation is not None:
        invitation_actions.accept(
            tx, actor, settings, arrival.invitation, link_version=arrival.link_version
        )
        return arrival.invitation
    assert arrival.invite_link is not None  # noqa: S101 - the caller has checked that there is one
    join_request_actions.submit(tx, actor, settings, arrival.invite_link)
    return arrival.invite_link


def _accept_if_possible(
    tx: WriteTransaction, settings: Settings, signed_in: SignedIn, arrival: Arrival
) -> SignedIn:
    """Accept the invitation if possible; a refusal does not prevent the sign-in."""
    try:
        with tx.savepoint():
            return signed_in._replace(accepted=(_accept(tx, settings, signed_in.actor, arrival),))
    except (NotFound, Conflict) as refusal:
        return signed_in._replace(refused=refusal.code)


def _accept_pending(tx: WriteTransaction, settings: Settings, actor: Actor) -> Iterator[str]:
    """Accept the pending invitations to the address of a new person."""
    rows = invitation_queries.to_address(tx, actor)
    pending = [row for row in rows if invitation_actions.state_now(tx, row) is State.PENDING]
    # Scopes are locked in one order everywhere.
    for row in sorted(pending[:_INVITATIONS_MAX], key=lambda row: (row.scope_id, row.id)):
        try:
            with tx.savepoint():
                invitation_actions.accept(tx, actor, settings, row.uuid)
        except (NotFound, Conflict):
            continue
        yield row.uuid


def _refresh(
    tx: WriteTransaction,
    settings: Settings,
    provider: ProviderRow,
    claims: Claims,
    identity: IdentityRow,
    actor: Actor,
) -> None:
    """Store what the provider says now, in the profile too if the account came from there."""
    lock_account(tx, identity.account_id)
    before = account_queries.existing(tx, identity.account_id)
    identity_queries.use(tx, identity.id, _said(tx, provider, claims))
    if before.registration_method != provider.name:
        return
    columns = identity_rules.profile(claims.claims, provider.attribute_mapping)
    email = identity_rules.verified_email(claims)
    if (
        email
        and "email" in provider.attribute_mapping
        and not same_mailbox(email, before.email)
        and not account_queries.at_email(tx, email)
    ):
        columns["email"] = email
    number = columns.get("civil_number")
    if number and (
        before.civil_number or account_queries.with_password(tx, civil_number=number) is not None
    ):
        # A number that was recorded once identifies the person.
        del columns["civil_number"]
    shown = as_dict(before)
    changed = {name: value for name, value in columns.items() if shown[name] != value}
    if not changed:
        return
    change_account(tx, before.id, changed | {"modified_at": tx.now})
    changes = {name: [_plain(shown[name]), _plain(value)] for name, value in changed.items()}
    event_queries.record(
        tx,
        actor,
        events.AccountUpdated(
            account=before.id, username=before.username, changes=changes, by=provider.name
        ),
    )
    profile_actions.notify_operator(tx, actor, settings, before, changed)


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _record_linked(tx: WriteTransaction, actor: Actor, provider: ProviderRow) -> None:
    event_queries.record(tx, actor, events.IdentityLinked(account=actor.id, provider=provider.name))


def link(tx: WriteTransaction, actor: Actor, provider: ProviderRow, claims: Claims) -> bool:
    """Link an identity to the account of a person who is signed in.

    Args:
        actor: the person, in the session in which this began.

    Returns:
        Whether it is new; False if the account had it before.

    Raises:
        Unauthenticated: ``token.unknown``: the session has ended.
        NotFound: ``provider.unknown``: the provider was removed or deactivated in the meantime.
        Conflict: ``identity.taken``: another account has this identity. ``identity.concurrent``:
            another transaction was faster; try again.
    """
    account = credentials.confirm(tx, actor)
    provider = current(tx, provider)
    identity = identity_queries.by_subject(tx, claims.issuer, claims.subject)
    if identity is not None:
        if identity.account_id != actor.id:
            raise Conflict("identity.taken")
        identity_queries.use(tx, identity.id, _said(tx, provider, claims))
        return False
    _add_identity(tx, provider, claims, actor.id)
    _record_linked(tx, actor, provider)
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
    credentials.confirm(tx, actor, "login.failed")
    provider = current(tx, provider)
    identity = identity_queries.by_subject(tx, claims.issuer, claims.subject)
    if identity is None or identity.account_id != actor.id:
        raise Conflict("identity.other")
    has_second_factor = identity_rules.second_factor_used(claims, provider.second_factor_values)
    if not has_second_factor and two_factor_queries.is_on(tx, actor.id):
        raise Conflict("identity.no_factor")
    token_queries.confirm(tx, actor.id, actor.token, has_second_factor=has_second_factor)


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
    account = credentials.confirm(tx, actor)
    identities = identity_queries.of_account(tx, actor.id)
    identity = next((row for row in identities if row.uuid == uuid), None)
    if identity is None:
        raise NotFound("identity.none")
    is_usable = identity.provider_is_active is True
    identity_rules.check_another_way(ways_to_sign_in(tx, actor.id, settings) - is_usable)
    credentials.cancel_pending(tx, actor.id)
    identity_queries.end_tokens_of(tx, identity.id, actor.token)
    identity_queries.remove(tx, actor.id, uuid)
    event_queries.record(
        tx,
        actor,
        events.IdentityUnlinked(account=actor.id, provider=identity.provider_name or ""),
    )
    name = identity.provider_label or identity.issuer
    notices.send_notice(tx, mails.IdentityChanged, account, actor, name=name, removed=True)


def origin_of(vault: Vault, signed_in: SignedIn, claims: Claims) -> Origin:
    """Return what is stored with a token that comes of a sign-in."""
    id_token = claims.id_token
    binding = _binding(vault, signed_in.identity)
    return Origin(
        signed_in.identity,
        _hash_sid(vault, claims.issuer, claims.sid),
        vault.encrypt(id_token, binding) if id_token else None,
    )


def _binding(vault: Vault, identity: int) -> bytes:
    return vault.keyed_hash(f"id token of identity {identity}")


def _hash_sid(vault: Vault, issuer: str, sid: str) -> bytes | None:
    return vault.keyed_hash(f"sid {issuer} {sid}") if sid else None


def issue_code(
    tx: WriteTransaction,
    vault: Vault,
    actor: Actor,
    origin: Origin,
    kind: CodeKind,
) -> str:
    """Return a one-time code, a UUID, for a completed sign-in.

    Args:
        actor: the person, with the version of the credentials.
    """
    code = str(uuid4())
    identity_queries.add_code(
        tx,
        {
            "code_hash": _hash_code(vault, kind, code),
            "identity_id": origin.identity,
            "credentials_version": actor.credentials,
            "sid_hash": origin.sid_hash,
            "id_token_encrypted": origin.id_token_encrypted,
            "expires_at": tx.now + timedelta(seconds=_CODE_SECONDS[kind]),
        },
    )
    return code


def _hash_code(vault: Vault, kind: CodeKind, code: str) -> bytes:
    return vault.keyed_hash(f"{kind.value} code {UUID(code).hex}")


def redeem(
    tx: WriteTransaction, vault: Vault, kind: CodeKind, code: str
) -> tuple[AccountDetails, Origin]:
    """Use up a one-time code. Return the account, which is locked, and the origin of its token.

    Raises:
        NotFound: ``identity.code``: the code is unknown, was used, has expired, or the account was
            deactivated or signed out everywhere in the meantime.
    """
    code_hash = _hash_code(vault, kind, code)
    row = identity_queries.get_code(tx, code_hash)
    if row is None:
        raise NotFound("identity.code")
    lock_account(tx, row.account_id)
    account = account_queries.existing(tx, row.account_id)
    if (
        not identity_queries.use_code(tx, code_hash)
        or row.expires_at < tx.now
        or not account.is_active
        or account.credentials_version != row.credentials_version
    ):
        raise NotFound("identity.code")
    return account, Origin(row.identity_id, row.sid_hash, row.id_token_encrypted)


def record_origin(tx: WriteTransaction, vault: Vault, token: str, origin: Origin) -> None:
    """Record that a token came of an identity, so that the provider can end it."""
    identity_queries.set_session(
        tx,
        {
            "token_id": _id_of(tx, vault, token),
            "identity_id": origin.identity,
            "sid_hash": origin.sid_hash,
            "id_token_encrypted": origin.id_token_encrypted,
            "created_at": tx.now,
        },
    )


def provider_of(tx: ReadTransaction, origin: Origin) -> ProviderRow | None:
    """Return the provider of an identity; None if it was removed or deactivated."""
    identity = identity_queries.by_id(tx, origin.identity)
    if identity is None or identity.provider_id is None:
        return None
    provider = provider_queries.by_id(tx, identity.provider_id)
    return provider if provider is not None and provider.is_active else None


def exchange(
    tx: WriteTransaction, vault: Vault, settings: Settings, code: str, **request: Any
) -> str:
    """Exchange a one-time code for the API token of the person who has signed in.

    Args:
        request: ``ip_address`` and ``request_id`` of the request.

    Raises:
        NotFound: ``identity.code``.
        Limited: ``tries.wait``: too many sign-ins.
    """
    account, origin = redeem(tx, vault, CodeKind.EXCHANGE, code)
    identity = identity_queries.by_id(tx, origin.identity)
    provider = provider_of(tx, origin)
    if identity is None or provider is None:
        raise NotFound("identity.code")
    actor = token_actions.actor_of(account, **request, credentials=account.credentials_version)
    token = issue_api_token(tx, vault, settings, actor, origin)
    if identity_rules.second_factor_stored(identity.claims, provider.second_factor_values):
        token_id = _id_of(tx, vault, token)
        token_queries.confirm(tx, account.id, token_id, has_second_factor=True)
    return token


def issue_api_token(
    tx: WriteTransaction, vault: Vault, settings: Settings, actor: Actor, origin: Origin
) -> str:
    """Sign in a person whom a provider has vouched for. Return the API token.

    Raises:
        Unauthenticated: ``login.failed``: the credentials have changed in the meantime.
        Limited: ``tries.wait``: too many sign-ins.
    """
    token = token_actions.log_in(tx, vault, settings, actor, METHOD)
    record_origin(tx, vault, token, origin)
    return token


def _id_of(tx: ReadTransaction, vault: Vault, token: str) -> int:
    owner = token_queries.owner(tx, vault.keyed_hash(token))
    assert owner is not None  # noqa: S101 - the caller has just issued it
    return owner.token_id


def session_at_provider(
    tx: ReadTransaction, vault: Vault, token: int
) -> tuple[ProviderRow, str] | None:
    """Return the provider from which a token came, and the ID token; None if it came of none.

    Args:
        token: id of the token.
    """
    session = identity_queries.session_of(tx, token)
    if session is None or session.provider_id is None:
        return None
    provider = provider_queries.by_id(tx, session.provider_id)
    if provider is None or not provider.is_active:
        return None
    encrypted = session.id_token_encrypted
    if encrypted is None:
        return provider, ""
    return provider, vault.decrypt(encrypted, _binding(vault, session.identity_id))


def end_sessions_of_provider(
    tx: WriteTransaction,
    vault: Vault,
    provider: ProviderRow,
    jti: str,
    subject: str | None,
    sid: str | None,
    expires_at: datetime,
) -> int:
    """End what came of a session at a provider, when it says so (back-channel logout).

    Args:
        jti: id of the logout token, which works once.
        subject: the person; None for everybody with the session.
        sid: the session; None for all sessions of the person.
        expires_at: until when the logout token would be accepted, UTC.

    Returns:
        The number of tokens that were revoked.

    Raises:
        NotFound: ``provider.unknown``: the provider was removed or deactivated in the meantime.
        Conflict: ``identity.logout_used``: the logout token was used before.
    """
    provider = current(tx, provider)
    token_hash = vault.keyed_hash(f"logout token {provider.issuer} {jti}")
    if not identity_queries.use_logout_token(tx, token_hash, expires_at):
        raise Conflict("identity.logout_used")
    sid_hash = _hash_sid(vault, provider.issuer, sid or "")
    accounts = identity_queries.end_sessions(tx, provider.issuer, subject, sid_hash)
    for account in sorted(set(accounts)):
        event_queries.record(tx, None, events.LoggedOut(account=account))
    return len(accounts)
