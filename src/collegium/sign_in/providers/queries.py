"""SQL of OpenID providers, and who may see them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, bindparam, delete, func, insert, null, or_, select, update

from collegium.access.queries import lock_accounts_where
from collegium.access.rules import Actor
from collegium.accounts.queries import AccountSource
from collegium.accounts.rules import came_from
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relations
from collegium.db.statements import Statement, any_of
from collegium.db.tables import (
    BigInt,
    accounts,
    exchange_codes,
    identities,
    identity_providers,
    identity_sessions,
    provider_sign_ins,
    released_identities,
    tokens,
)
from collegium.db.writing import insert_row, unique_or, update_row
from collegium.lists.listing import Listing
from collegium.refusals import Invalid, NotFound, or_not_found
from collegium.sign_in.providers.rules import is_name


class ProviderRow:
    """An OpenID provider.

    A field in ``attribute_mapping`` may have several claims, with spaces between them: the first
    one that the provider sends counts.
    """

    id: int
    uuid: str
    name: str
    label: str
    is_active: bool
    is_default: bool
    client_id: str
    client_secret_encrypted: bytes | None
    discovery_url: str
    issuer: str
    metadata: dict[str, Any]
    verify_ssl: bool
    management_url: str
    extra_scope: str
    user_field: str
    user_claim: str
    attribute_mapping: dict[str, str]
    extra_fields: str
    protected_fields: list[str]
    allowed_redirects: list[str]
    enable_post_logout_redirect: bool
    token_in_url: bool
    registration: str
    trusted_domains: list[str]
    second_factor_values: list[str]
    vouched_claims: list[str]
    created_at: datetime
    modified_at: datetime


class AccountProvider:
    """What accounts show about the provider that they came from."""

    name: str
    label: str
    issuer: str
    management_url: str
    protected_fields: list[str]


class _Sources:
    """Where the fields of an account come from."""

    attribute_sources: dict[str, Any]


LOCAL: Final = "default"
"""Registration method of accounts without a provider."""


def _visible() -> ColumnElement[bool]:
    """Return the rule of ``get_visible`` as SQL: only staff and support see inactive ones."""
    return identity_providers.c.is_active


listing = Listing[ProviderRow](
    rows=select(identity_providers),
    visible=_visible,
    key=identity_providers.c.id,
    default="name",
    orders={"name": (identity_providers.c.name,)},
)

_BY_ID = Statement[ProviderRow](
    select(identity_providers).where(identity_providers.c.id == bindparam("provider", type_=BigInt))
)
_KEEP = Statement[ProviderRow](
    select(identity_providers)
    .where(identity_providers.c.id == bindparam("provider", type_=BigInt))
    .with_for_update(of=identity_providers, read=True, key_share=True)
)
_BY_NAME = Statement[ProviderRow](
    select(identity_providers).where(identity_providers.c.name == bindparam("name"))
)
_BY_NAME_LOCKED = Statement[ProviderRow](
    select(identity_providers)
    .where(identity_providers.c.name == bindparam("name"))
    .with_for_update(of=identity_providers)
)
_BY_ISSUER = Statement[ProviderRow](
    select(identity_providers)
    .where(identity_providers.c.issuer == bindparam("issuer"), identity_providers.c.is_active)
    .order_by(identity_providers.c.id)
)
_OF_METHODS = Statement[AccountProvider](
    Relations(identity_providers)
    .select(AccountProvider)
    .where(any_of(identity_providers.c.name, "names"))
)
_SOURCES = Statement[_Sources](
    select(accounts.c.attribute_sources).where(accounts.c.id == bindparam("account", type_=BigInt))
)
_ALL = Statement[ProviderRow](
    select(identity_providers).order_by(identity_providers.c.label, identity_providers.c.id)
)
_ACTIVE = Statement[ProviderRow](
    select(identity_providers)
    .where(identity_providers.c.is_active)
    .order_by(
        identity_providers.c.is_default.desc(),
        identity_providers.c.label,
        identity_providers.c.id,
    )
)
_DEFAULT = Statement[ProviderRow](
    select(identity_providers)
    .where(identity_providers.c.is_active, identity_providers.c.is_default)
    .order_by(identity_providers.c.id)
    .limit(1)
)
_LOCK_ALL = Statement[int](
    select(identity_providers.c.id).order_by(identity_providers.c.id).with_for_update()
)
_CLEAR_DEFAULT = Statement(
    update(identity_providers).where(identity_providers.c.is_default).values(is_default=False)
)
_DELETE = Statement(
    delete(identity_providers).where(identity_providers.c.id == bindparam("provider"))
)
_END_SIGN_INS = Statement(
    delete(provider_sign_ins).where(provider_sign_ins.c.provider_id == bindparam("provider"))
)
_of_provider = select(identities.c.id).where(
    identities.c.provider_id == bindparam("provider", type_=BigInt)
)
_LOCK_ACCOUNTS = lock_accounts_where(
    select(identities.c.account_id).where(
        identities.c.provider_id == bindparam("provider", type_=BigInt),
        or_(
            *(
                identities.c.id.in_(select(table.c.identity_id))
                for table in (identity_sessions, exchange_codes)
            )
        ),
    )
)
_END_CODES = Statement(delete(exchange_codes).where(exchange_codes.c.identity_id.in_(_of_provider)))
_END_TOKENS = Statement(
    delete(tokens).where(
        tokens.c.id.in_(
            select(identity_sessions.c.token_id).where(
                identity_sessions.c.identity_id.in_(_of_provider)
            )
        ),
        tokens.c.id != bindparam("kept_token", type_=BigInt),
    )
)
_FORGET_RELEASED = Statement(
    delete(released_identities).where(released_identities.c.identity_id.in_(_of_provider))
)
_RECORD_RELEASED = Statement(insert(released_identities).from_select(["identity_id"], _of_provider))
_RELEASE = Statement(
    update(identities)
    .where(identities.c.provider_id == bindparam("provider", type_=BigInt))
    .values(provider_id=null())
)
_COUNT_IDENTITIES = Statement[int](
    select(func.count().label("count"))
    .select_from(identities)
    .where(identities.c.provider_id == bindparam("provider"))
)


def by_id(tx: ReadTransaction, provider: int) -> ProviderRow | None:
    """Return a provider by id without a visibility check, or None."""
    return tx.fetch_one(_BY_ID, provider=provider)


def keep(tx: WriteTransaction, provider: int) -> ProviderRow | None:
    """Return a provider by id, or None. Nobody else can remove or change it before the commit."""
    return tx.fetch_one(_KEEP, provider=provider)


def by_name(tx: ReadTransaction, name: str) -> ProviderRow | None:
    """Return a provider by name without a visibility check, inactive ones too; None if unknown."""
    # Nothing else is sent to the database, which cannot store every text.
    return tx.fetch_one(_BY_NAME, name=name) if is_name(name) else None


def protected_fields(tx: ReadTransaction, account: AccountSource) -> list[str]:
    """Return the fields of an account that the provider protects from which it came.

    Inactive providers protect them too. One that got the name of a former one protects none.
    """
    method = account.registration_method
    provider = None if method == LOCAL else by_name(tx, method)
    if provider is None or not provider.protected_fields:
        return []
    row = tx.fetch_only(_SOURCES, account=account.id)
    return provider.protected_fields if speaks_for(provider, row.attribute_sources) else []


def speaks_for(provider: AccountProvider | ProviderRow, sources: Mapping[str, Any]) -> bool:
    """Return whether a provider is the one from which an account with its name came.

    Args:
        sources: ``attribute_sources`` of the account.
    """
    return came_from(provider.name, sources, provider.name, provider.issuer)


def of_methods(tx: ReadTransaction, methods: Collection[str]) -> dict[str, AccountProvider]:
    """Return the providers of accounts by their registration methods; none for local accounts."""
    names = [method for method in methods if method != LOCAL]
    return {row.name: row for row in tx.fetch_all(_OF_METHODS, names=names)} if names else {}


def get_visible(tx: ReadTransaction, actor: Actor, name: str) -> ProviderRow:
    """Return a provider that the actor may see; inactive ones only staff and support.

    Raises:
        NotFound: ``provider.unknown``.
    """
    row = by_name(tx, name)
    if row is None or not (row.is_active or actor.sees_all):
        raise NotFound("provider.unknown")
    return row


def get_active(tx: ReadTransaction, name: str) -> ProviderRow:
    """Return a provider with which people may sign in.

    Raises:
        NotFound: ``provider.unknown``: there is none, or it is not active.
    """
    row = by_name(tx, name)
    if row is None or not row.is_active:
        raise NotFound("provider.unknown")
    return row


def get_locked(tx: WriteTransaction, name: str) -> ProviderRow:
    """Return a provider with its row locked.

    Raises:
        NotFound: ``provider.unknown``.
    """
    row = tx.fetch_one(_BY_NAME_LOCKED, name=name) if is_name(name) else None
    return or_not_found(row, "provider.unknown")


def of_issuer(tx: ReadTransaction, issuer: str) -> list[ProviderRow]:
    """Return the active providers with an issuer: one, or several clients of the same."""
    return tx.fetch_all(_BY_ISSUER, issuer=issuer)


def all_providers(tx: ReadTransaction) -> list[ProviderRow]:
    """Return all providers, by label."""
    return tx.fetch_all(_ALL)


def active(tx: ReadTransaction) -> list[ProviderRow]:
    """Return the active providers for buttons: the default first, then by label."""
    return tx.fetch_all(_ACTIVE)


def default(tx: ReadTransaction) -> ProviderRow | None:
    """Return the active provider that is entered directly, or None."""
    return tx.fetch_one(_DEFAULT)


def count_identities(tx: ReadTransaction, provider: int) -> int:
    """Return the number of people's identities at a provider."""
    return tx.fetch_only(_COUNT_IDENTITIES, provider=provider)


def add(tx: WriteTransaction, values: Mapping[str, Any]) -> int:
    """Insert a provider and return its id.

    Raises:
        Invalid: ``provider.name_taken``, decided by the unique constraint.
    """
    with unique_or(tx, Invalid("provider.name_taken", field="name")):
        return insert_row(tx, identity_providers, values)


def change(tx: WriteTransaction, provider: int, values: Mapping[str, Any]) -> None:
    """Update the given columns of a provider."""
    update_row(tx, identity_providers, provider, values)


def lock_all(tx: WriteTransaction) -> None:
    """Lock all providers in the order of their ids, before one of them becomes the default."""
    tx.fetch_all(_LOCK_ALL)


def clear_default(tx: WriteTransaction) -> None:
    """Make no provider the default. All of them must be locked."""
    tx.execute(_CLEAR_DEFAULT)


def end_sign_ins(tx: WriteTransaction, provider: int) -> None:
    """Delete the sign-ins that browsers have begun at a provider."""
    tx.execute(_END_SIGN_INS, provider=provider)


def end_sessions(tx: WriteTransaction, provider: int, kept_token: int) -> None:
    """Revoke every session and token that came of a sign-in at a provider. It must be locked.

    Args:
        kept_token: id of a token that stays; 0 for none.
    """
    # Actions that issue a token lock the account. Who exchanges a code at this moment is waited
    # for, and the token ends.
    tx.fetch_all(_LOCK_ACCOUNTS, provider=provider)
    tx.execute(_END_CODES, provider=provider)
    tx.execute(_END_TOKENS, provider=provider, kept_token=kept_token)


def release_identities(tx: WriteTransaction, provider: int) -> None:
    """Leave the identities of a provider without one: it is removed, or speaks for another issuer.

    The worker takes back what it vouched for.
    """
    # Those of a provider that was removed and added again may be recorded already.
    tx.execute(_FORGET_RELEASED, provider=provider)
    tx.execute(_RECORD_RELEASED, provider=provider)
    tx.execute(_RELEASE, provider=provider)


def remove(tx: WriteTransaction, provider: int) -> None:
    """Delete a provider with its unfinished sign-ins. Its identities were released."""
    tx.execute(_DELETE, provider=provider)
