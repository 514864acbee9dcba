"""Link an identity to an account by a link in an e-mail to the address of the account.

Two things are needed: the mailbox of the account, and the browser that signed in at the provider.
So neither a person who claims somebody else's address at a provider gets into an account, nor does
the owner of the mailbox let one in by opening the link. Nothing is stored before the link is used.
"""

from __future__ import annotations

import hmac
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from collegium.access.queries import lock_account
from collegium.accounts import queries as account_queries
from collegium.accounts.queries import AccountRow
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.events import queries as event_queries
from collegium.events import types as events
from collegium.outbox import mails
from collegium.outbox import queries as outbox_queries
from collegium.refusals import Conflict, NotFound, or_not_found
from collegium.security.crypto import Vault
from collegium.sign_in import notices
from collegium.sign_in.identities import linking
from collegium.sign_in.identities import queries as identity_queries
from collegium.sign_in.identities import rules as identity_rules
from collegium.sign_in.providers import queries as provider_queries
from collegium.sign_in.providers.queries import ProviderRow
from collegium.sign_in.providers.values import Claims
from collegium.sign_in.tokens import actions as token_actions

PURPOSE: Final = "identity_link"
"""Purpose for which the link is signed; also a segment of its URL."""

LIFETIME: Final = timedelta(hours=1)


class Candidate(NamedTuple):
    """An identity that may belong to an account here, as a browser has shown it a moment ago.

    Args:
        provider: id of the provider.
        mark: code derived from its issuer and client; see ``mark_of``.
        subject: the provider's id of the person.
        email: what the provider says is the address of the person, verified or not.
        browser: digest of a cookie of the browser, 32 hex digits.
        return_to: where the sign-in continues.
    """

    provider: int
    mark: str
    subject: str
    email: str
    browser: str
    return_to: str


class _Link(NamedTuple):
    """The content of a link: the account, when it was requested, and what it links."""

    account: str
    mark: str
    requested_at: str
    provider: int
    provider_mark: str
    subject: str
    browser: str
    return_to: str


class Linked(NamedTuple):
    """The account that got an identity, its provider, and where the sign-in continues."""

    provider: ProviderRow
    return_to: str


class _NoMailError(Exception):
    """No account gets an e-mail."""


def browser_code(vault: Vault, secret: str) -> str:
    """Return the digest of a cookie that binds a link to a browser, 32 hex digits."""
    return vault.derive_code("browser of an identity link", secret)


def mark_of(vault: Vault, provider: ProviderRow) -> str:
    """Return a code that changes with what subjects of a provider mean."""
    return vault.derive_code("provider of an identity link", provider.issuer, provider.client_id)


def candidate(
    vault: Vault, provider: ProviderRow, claims: Claims, browser: str, return_to: str
) -> Candidate | None:
    """Return the identity of a person who was not recognised; None without a usable address.

    Args:
        browser: see ``browser_code``.
    """
    email = identity_rules.stated_email(claims)
    if not email or claims.issuer != provider.issuer:
        return None
    return Candidate(
        provider.id, mark_of(vault, provider), claims.subject, email, browser, return_to
    )


def request(tx: WriteTransaction, vault: Vault, candidate: Candidate, ip_address: str) -> None:
    """E-mail a link to the account at the address of a candidate. Nobody learns if there is one.

    Accounts of staff and those with two-factor authentication get an e-mail without a link: their
    owners add the method while signed in. Deactivated accounts get none, nor do several accounts
    with the same address.

    Args:
        ip_address: of the request, for the audit log.

    Raises:
        NotFound: ``provider.unknown``: the provider was removed, deactivated or replaced.
    """
    provider = _provider(tx, vault, candidate.provider, candidate.mark)
    accounts = account_queries.at_email(tx, candidate.email)
    account = accounts[0] if len(accounts) == 1 and accounts[0].is_active else None
    mail = mails.IdentityLinkRequest(
        candidate.email if account is None else account.email,
        0 if account is None else account.id,
        tx.now.isoformat(),
        provider.label,
        provider.id,
        candidate.mark,
        candidate.subject,
        candidate.browser,
        candidate.return_to,
    )
    if account is None:
        # The same work as for a known address, as for a forgotten password.
        with suppress(_NoMailError), tx.savepoint():
            outbox_queries.enqueue(tx, mail)
            raise _NoMailError
    else:
        outbox_queries.enqueue(tx, mail)
    event_queries.record(
        tx,
        None,
        events.IdentityLinkRequested(
            account=None if account is None else account.id,
            provider=provider.name,
            address=ip_address,
        ),
    )


def sign_link(vault: Vault, account: AccountRow, mail: mails.IdentityLinkRequest) -> str:
    """Return the last URL segment of the link in an e-mail."""
    return vault.sign(
        PURPOSE,
        *_Link(
            account.uuid,
            _account_mark(vault, account),
            mail.asked,
            mail.provider,
            mail.mark,
            mail.subject,
            mail.browser,
            mail.return_to,
        ),
    )


def _account_mark(vault: Vault, account: AccountRow) -> str:
    return vault.derive_code(
        "account of an identity link", account.email, account.credentials_version
    )


def _provider(tx: ReadTransaction, vault: Vault, provider: int, mark: str) -> ProviderRow:
    row = provider_queries.by_id(tx, provider)
    if row is None or not row.is_active or mark_of(vault, row) != mark:
        raise NotFound("provider.unknown")
    return row


def read_link(
    tx: ReadTransaction, vault: Vault, text: str
) -> tuple[_Link, AccountRow, ProviderRow]:
    """Return what a link would do now.

    A link is void after an hour, and when the address or the credentials of the account or the
    provider have changed.

    Raises:
        NotFound: ``identity.link``.
    """
    values = or_not_found(vault.unsign(PURPOSE, text), "identity.link")
    link = _Link(*values)  # type: ignore[arg-type]  # as ``sign_link`` has signed them
    account = account_queries.by_uuid(tx, link.account)
    if (
        account is None
        or not account.is_active
        or linking.is_protected(tx, account)
        or not hmac.compare_digest(link.mark, _account_mark(vault, account))
        or tx.now > datetime.fromisoformat(link.requested_at) + LIFETIME
    ):
        raise NotFound("identity.link")
    try:
        return link, account, _provider(tx, vault, link.provider, link.provider_mark)
    except NotFound as error:
        raise NotFound("identity.link") from error


def check_browser(link: _Link, browser: str) -> None:
    """Require that a link is used in the browser that signed in at the provider.

    Raises:
        Conflict: ``identity.other_browser``.
    """
    if not hmac.compare_digest(link.browser, browser):
        raise Conflict("identity.other_browser")


def use(
    tx: WriteTransaction, vault: Vault, text: str, browser: str, ip_address: str, request_id: str
) -> Linked:
    """Link the identity that a link names to its account. A second use changes nothing.

    Args:
        browser: see ``browser_code``.

    Raises:
        NotFound: ``identity.link``: the link is void.
        Conflict: ``identity.other_browser``. ``identity.taken``: another account has the identity.
            ``identity.mismatch``: the account has another identity of the provider.
            ``identity.too_many``: it has the maximum number of identities.
            ``identity.concurrent``: another transaction was faster; try again.
    """
    link, account, provider = read_link(tx, vault, text)
    check_browser(link, browser)
    provider = linking.current(tx, provider)
    lock_account(tx, account.id)
    # Checked again under the lock.
    _, account, _ = read_link(tx, vault, text)
    linked = Linked(provider, link.return_to)
    identity = identity_queries.by_subject(tx, provider.issuer, link.subject)
    if identity is not None:
        if identity.account_id != account.id:
            raise Conflict("identity.taken")
        return linked
    claims = Claims(provider.issuer, link.subject, {})
    identity = linking.add(tx, provider, claims, account.id)
    linking.check_single(tx, identity)
    actor = token_actions.actor_of(account, ip_address, request_id)
    linking.record_linked(tx, actor, provider)
    notices.send_notice(tx, mails.IdentityChanged, account, actor, name=provider.label)
    return linked
