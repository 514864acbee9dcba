"""Create the accounts of new people who come from a provider, and give them their roles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, NamedTuple

from collegium.access.rules import Actor, ScopeKind
from collegium.accounts import actions as account_actions
from collegium.accounts import queries as account_queries
from collegium.accounts import rules as account_rules
from collegium.accounts.email_changes import actions as email_change_actions
from collegium.agreements import acceptance
from collegium.claim_rules import granting
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.invitations import actions as invitation_actions
from collegium.invitations import queries as invitation_queries
from collegium.invitations import sign_up
from collegium.invitations.queries import InvitationRow
from collegium.invitations.rules import State
from collegium.invite_links import queries as invite_link_queries
from collegium.join_requests import actions as join_request_actions
from collegium.refusals import Conflict, Forbidden, Invalid, NotFound
from collegium.security.crypto import Vault
from collegium.settings import Settings
from collegium.sign_in.identities import linking
from collegium.sign_in.identities import rules as identity_rules
from collegium.sign_in.identities.values import Arrival, SignedIn
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.rules import Registration
from collegium.sign_in.providers.values import Claims
from collegium.sign_in.tokens import actions as token_actions
from collegium.text.email_addresses import same_mailbox

_INVITATIONS_MAX: Final = 20
"""Maximum number of invitations that a new person accepts by arriving."""


class Taken(NamedTuple):
    """What somebody has got by arriving; see ``SignedIn``."""

    accepted: tuple[str, ...] = ()
    asked: str = ""
    refused: str = ""


class _NotPressedError(Exception):
    """The person has pressed no button, so what they would get is rolled back."""


def register(
    tx: WriteTransaction,
    vault: Vault,
    settings: Settings,
    provider: ProviderRow,
    claims: Claims,
    arrival: Arrival,
    ip_address: str,
    request_id: str,
) -> SignedIn:
    """Create the account of a new person, with the roles to which the person is invited.

    Nothing is accepted for a person who has pressed no button: they get the account if they would
    have a role, and accept it then. An invitation that somebody else may have put into the address
    opens no account.

    Raises:
        Forbidden: ``identity.unknown``: the person is not invited.
        Conflict: ``identity.email_taken``: an account has the address that an invitation proves.
            ``identity.concurrent``: another transaction was faster; try again. The reason why the
            person cannot accept the invitation.
    """
    registration = Registration(provider.registration)
    is_arriving = arrival.names_offer and (arrival.accepts or arrival.invitation is None)
    trusted = identity_rules.trusted_email(claims, provider.trusted_domains)
    if registration is Registration.OFF or (
        registration is Registration.INVITED and not is_arriving and not trusted
    ):
        raise Forbidden("identity.unknown")
    stated = identity_rules.stated_email(claims)
    proven = _proven_by_mail(tx, arrival, stated)
    email = trusted or proven
    facts = _profile(tx, provider, claims)
    stated_number = identity_rules.profile(claims.claims, provider).get("civil_number", "")
    values = {
        "registration_method": provider.name,
        **facts,
        "attribute_sources": account_rules.attribute_sources(
            [*facts, account_rules.REGISTRATION], provider.name, tx.now, provider.issuer
        ),
        "email": email,
        "agreed_at": tx.now if arrival.agrees else None,
    }
    extra = {"invitation": arrival.invitation} if arrival.invitation and arrival.accepts else {}
    account_id = _create_account(tx, vault, settings, values, claims, provider, extra)
    identity = linking.add(tx, provider, claims, account_id)
    account = account_queries.existing(tx, account_id)
    actor = token_actions.actor_of(
        account, ip_address, request_id, credentials=account.credentials_version
    )
    ruled = granting.scopes_to_lock(tx, account)
    pending = _pending(tx, actor) if trusted and not is_arriving else []
    # All scopes in one order, before anything else that others lock too.
    granting.lock(tx, (*ruled, *scopes_of(tx, arrival), *_scopes_of_rows(pending)))
    if email:
        account_queries.lock_address(tx, email)
        if len(account_queries.at_email(tx, email)) > 1:
            raise Conflict("identity.concurrent")
    linking.record_linked(tx, actor, provider)
    acceptance.record(tx, actor, arrival.agreements)
    is_sent = (
        not email
        and bool(stated)
        and email_change_actions.request_first(tx, actor, settings, vault, account, stated)
    )
    taken = _take(
        tx,
        settings,
        actor,
        arrival,
        registration,
        pending,
        lost_number="" if account.civil_number else stated_number,
    )
    granting.apply(tx, settings, account, ruled)
    has_second_factor = identity_rules.second_factor_used(claims, provider.second_factor_values)
    return SignedIn(
        actor,
        identity.id,
        is_new=True,
        has_second_factor=has_second_factor,
        accepted=taken.accepted,
        asked=taken.asked,
        refused=taken.refused,
        unconfirmed=stated if is_sent else "",
    )


def _profile(tx: WriteTransaction, provider: ProviderRow, claims: Claims) -> dict[str, Any]:
    """Return the columns that the claims fill, without a civil number that an account has.

    The account that has it may have stated it first. It shuts nobody out.
    """
    columns = identity_rules.profile(claims.claims, provider)
    number = columns.get("civil_number")
    if number and account_queries.with_password(tx, civil_number=number) is not None:
        del columns["civil_number"]
    return columns


def _take(
    tx: WriteTransaction,
    settings: Settings,
    actor: Actor,
    arrival: Arrival,
    registration: Registration,
    pending: Iterable[InvitationRow],
    *,
    lost_number: str,
) -> Taken:
    """Accept what a new person arrived with, or what is pending for their trusted address.

    Args:
        pending: those invitations; their scopes are locked.
        lost_number: the civil number that the provider states, but another account has.

    Raises:
        Forbidden, NotFound, Conflict: as ``register``, unless everybody gets an account.
    """
    taken = Taken()
    try:
        with suppress(_NotPressedError), tx.savepoint():
            if arrival.names_offer and (arrival.accepts or arrival.invitation is None):
                taken = accept(tx, settings, actor, arrival, lost_number)
            else:
                taken = Taken(tuple(_accept_each(tx, settings, actor, pending)))
            if registration is Registration.INVITED and taken == Taken():
                raise Forbidden("identity.unknown")
            if not arrival.accepts:
                taken = Taken()
                raise _NotPressedError
    except (NotFound, Conflict) as refusal:
        if registration is not Registration.OPEN:
            raise
        # The page to which the sign-in leads says the rest.
        return Taken(refused=refusal.code if arrival.accepts else "")
    return taken


def _proven_by_mail(tx: WriteTransaction, arrival: Arrival, stated: str) -> str:
    """Return the address of a mailed invitation if the provider states the same mailbox.

    See ``sign_up.own_address``.

    Args:
        stated: the address that the provider states, verified or not.

    Raises:
        Conflict: ``account.deactivated``. ``identity.email_taken``: an account has the address of
            the invitation, which is that of the person.
    """
    if arrival.invitation is None or not (arrival.is_mailed and arrival.accepts):
        return ""
    invitation = invitation_queries.by_uuid(tx, arrival.invitation)
    if invitation is None or not _is_pending(tx, invitation):
        return ""
    email = sign_up.own_address(tx, invitation, stated)
    if account_queries.at_email(tx, email):
        raise Conflict("identity.email_taken")
    return email


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
        except Conflict as refusal:
            # Another transaction has just given the civil number to an account.
            if refusal.code != "account.duplicate":
                raise
            raise Conflict("identity.concurrent") from refusal


def accept(
    tx: WriteTransaction,
    settings: Settings,
    actor: Actor,
    arrival: Arrival,
    lost_number: str = "",
) -> Taken:
    """Accept what somebody arrived with.

    Args:
        lost_number: a civil number that the provider states, but another account has.

    Raises:
        NotFound, Conflict: as ``invitations.actions.accept`` and ``join_requests.actions.submit``.
            The link that was followed shows the invitation, so the reason why the person cannot
            accept it is no secret: ``invitation.other_address``, ``invitation.civil_number``,
            ``identity.number_taken``.
    """
    if arrival.invitation is not None:
        try:
            invitation_actions.accept(
                tx, actor, settings, arrival.invitation, link_version=arrival.link_version
            )
        except NotFound as refusal:
            if code := _obstacle(tx, settings, actor, arrival, lost_number):
                raise Conflict(code) from refusal
            raise
        return Taken((arrival.invitation,))
    assert arrival.invite_link is not None  # noqa: S101 - the caller has checked that there is one
    link = arrival.invite_link
    result = join_request_actions.submit(tx, actor, settings, link)
    return Taken((link,)) if result.is_approved else Taken(asked=link)


def _obstacle(
    tx: WriteTransaction, settings: Settings, actor: Actor, arrival: Arrival, lost_number: str
) -> str:
    """Return what an account lacks to accept an invitation; empty if the invitation is over."""
    row = invitation_queries.by_uuid(tx, arrival.invitation or "")
    if (
        row is None
        or row.link_version != arrival.link_version
        or row.account_id is not None
        or not invitation_actions.can_be_accepted(tx, row)
    ):
        return ""
    if row.civil_number and row.civil_number != actor.civil_number:
        is_lost = row.civil_number == lost_number
        return "identity.number_taken" if is_lost else "invitation.civil_number"
    is_other = not same_mailbox(row.email, actor.email)
    return "invitation.other_address" if settings.validate_invitation_email and is_other else ""


def _is_pending(tx: WriteTransaction, row: InvitationRow) -> bool:
    return invitation_actions.state_now(tx, row) is State.PENDING


def scopes_of(tx: ReadTransaction, arrival: Arrival) -> tuple[int, ...]:
    """Return the ids of the scopes that accepting an offer locks; none without an offer."""
    if arrival.invitation is not None:
        invitation = invitation_queries.by_uuid(tx, arrival.invitation)
        return () if invitation is None else _scopes_of_rows([invitation])
    if arrival.invite_link is not None:
        return invite_link_queries.scope_and_parent(tx, arrival.invite_link)
    return ()


def invited_by(tx: ReadTransaction, arrival: Arrival) -> tuple[int, ...]:
    """Return the id of the account that an invitation names, which accepting it locks, if any."""
    invitation = None
    if arrival.invitation is not None:
        invitation = invitation_queries.by_uuid(tx, arrival.invitation)
    return () if invitation is None or invitation.account_id is None else (invitation.account_id,)


def _scopes_of_rows(rows: Iterable[InvitationRow]) -> tuple[int, ...]:
    return tuple(scope for row in rows for scope in (row.organisation_id, row.scope_id))


def _pending(tx: WriteTransaction, actor: Actor) -> list[InvitationRow]:
    """Return the pending invitations to the address of a new person."""
    rows = invitation_queries.to_address(tx, actor)
    return [row for row in rows if _is_pending(tx, row)][:_INVITATIONS_MAX]


def _accept_each(
    tx: WriteTransaction, settings: Settings, actor: Actor, rows: Iterable[InvitationRow]
) -> Iterator[str]:
    """Accept what can be accepted of some invitations, those in organisations first."""
    for row in sorted(
        rows, key=lambda row: (row.scope_kind == ScopeKind.PROJECT, row.scope_id, row.id)
    ):
        try:
            with tx.savepoint():
                invitation_actions.accept(tx, actor, settings, row.uuid)
        except (NotFound, Conflict):
            continue
        yield row.uuid
