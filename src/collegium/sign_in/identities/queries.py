"""SQL of identities, of sign-ins at providers, and of the sessions that came of them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Boolean,
    LargeBinary,
    and_,
    bindparam,
    delete,
    not_,
    or_,
    select,
    update,
)

from collegium.access.queries import lock_accounts_where
from collegium.db.database import ReadTransaction, UniqueViolationError, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import (
    BigInt,
    exchange_codes,
    identities,
    identity_providers,
    identity_sessions,
    provider_sign_ins,
    released_identities,
    tokens,
    used_logout_tokens,
)
from collegium.db.writing import insertion, unique_or
from collegium.refusals import Conflict


class IdentityRow:
    """An identity: an account at a provider, and whose it is here."""

    id: int
    uuid: str
    account_id: int
    provider_id: int | None
    issuer: str
    subject: str
    email: str
    claims: dict[str, Any]
    created_at: datetime
    last_used_at: datetime


class ListedIdentity(IdentityRow):
    """An identity with its provider, to list it."""

    provider_name: str | None
    provider_label: str | None
    provider_is_active: bool | None


class StartedSignIn:
    """A sign-in that a browser has begun at a provider."""

    browser_hash: bytes
    provider_id: int
    nonce_hash: bytes
    code_verifier_encrypted: bytes
    purpose: str
    account_id: int | None
    token_id: int | None
    return_to: str
    created_at: datetime
    expires_at: datetime


class ExchangeRow:
    """What a one-time code stands for: a completed sign-in at a provider."""

    identity_id: int
    account_id: int
    credentials_version: int
    sid_hash: bytes | None
    id_token_encrypted: bytes | None
    has_second_factor: bool
    stated_encrypted: bytes | None
    expires_at: datetime


class SessionAtProvider:
    """The session at a provider from which a token came."""

    identity_id: int
    provider_id: int | None
    sid_hash: bytes | None
    id_token_encrypted: bytes | None


_BY_SUBJECT = Statement[IdentityRow](
    select(identities).where(
        identities.c.issuer == bindparam("issuer"), identities.c.subject == bindparam("subject")
    )
)
_BY_ID = Statement[IdentityRow](
    select(identities).where(identities.c.id == bindparam("identity", type_=BigInt))
)
_of_account = identities.c.account_id == bindparam("account", type_=BigInt)
_OF_ACCOUNT = Statement[ListedIdentity](
    Relations(identities, provider=identity_providers)
    .select(ListedIdentity)
    .where(_of_account)
    .order_by(identities.c.created_at, identities.c.id)
)
_INSERT = Statement[int](insertion(identities).returning(identities.c.id))
_USE = Statement(
    update(identities)
    .where(identities.c.id == bindparam("identity", type_=BigInt))
    .values(
        {
            name: bindparam(name, type_=identities.c[name].type)
            for name in ("provider_id", "email", "claims", "last_used_at")
        }
    )
)
_DELETE = Statement(delete(identities).where(identities.c.uuid == bindparam("uuid"), _of_account))

_RELEASED = Statement[int](
    select(released_identities.c.identity_id)
    .order_by(released_identities.c.identity_id)
    .limit(bindparam("limit"))
)
_FORGET_RELEASED = Statement(
    delete(released_identities).where(
        released_identities.c.identity_id == bindparam("identity", type_=BigInt)
    )
)

_INSERT_SIGN_IN = Statement[Any](insertion(provider_sign_ins))
_sign_in_columns = tuple(column for column in provider_sign_ins.c if column.name != "state_hash")
_SIGN_IN = Statement[StartedSignIn](
    select(*_sign_in_columns).where(provider_sign_ins.c.state_hash == bindparam("state_hash"))
)
_CLAIM_SIGN_IN = Statement[StartedSignIn](
    delete(provider_sign_ins)
    .where(provider_sign_ins.c.state_hash == bindparam("state_hash"))
    .returning(*_sign_in_columns)
)
_EXPIRED = tuple(
    Statement(delete(table).where(table.c.expires_at < bindparam("now", type_=UtcDateTime)))
    for table in (provider_sign_ins, exchange_codes, used_logout_tokens)
)

_INSERT_CODE = Statement[Any](insertion(exchange_codes))
_CODE = Statement[ExchangeRow](
    Relations(exchange_codes, identity=Relation(identities, unprefixed=("account_id",)))
    .select(ExchangeRow)
    .where(exchange_codes.c.code_hash == bindparam("code_hash"))
)
_USE_CODE = Statement(
    delete(exchange_codes).where(exchange_codes.c.code_hash == bindparam("code_hash"))
)

_FORGET_SESSION = Statement(
    delete(identity_sessions).where(identity_sessions.c.token_id == bindparam("token_id"))
)
_INSERT_SESSION = Statement[Any](insertion(identity_sessions))
_SESSION = Statement[SessionAtProvider](
    Relations(identity_sessions, identity=Relation(identities, unprefixed=("provider_id",)))
    .select(SessionAtProvider)
    .where(identity_sessions.c.token_id == bindparam("token", type_=BigInt))
)
_at_provider = and_(
    identities.c.issuer == bindparam("issuer"),
    or_(bindparam("any_subject", type_=Boolean()), identities.c.subject == bindparam("subject")),
)


def _has_sid(table: Any) -> Any:
    return or_(
        bindparam("any_sid", type_=Boolean()),
        table.c.sid_hash == bindparam("sid_hash", type_=LargeBinary()),
    )


_LOCK_ACCOUNTS = lock_accounts_where(
    select(identities.c.account_id).where(
        _at_provider,
        or_(
            not_(bindparam("any_subject", type_=Boolean())),
            *(
                identities.c.id.in_(select(table.c.identity_id).where(_has_sid(table)))
                for table in (identity_sessions, exchange_codes)
            ),
        ),
    )
)
_END_TOKENS = Statement[int](
    delete(tokens)
    .where(
        tokens.c.id.in_(
            select(identity_sessions.c.token_id)
            .join(identities, identities.c.id == identity_sessions.c.identity_id)
            .where(_at_provider, _has_sid(identity_sessions))
        )
    )
    .returning(tokens.c.account_id)
)
_END_CODES = Statement(
    delete(exchange_codes).where(
        exchange_codes.c.identity_id.in_(select(identities.c.id).where(_at_provider)),
        _has_sid(exchange_codes),
    )
)
_END_TOKENS_OF_IDENTITY = Statement(
    delete(tokens).where(
        tokens.c.id.in_(
            select(identity_sessions.c.token_id).where(
                identity_sessions.c.identity_id == bindparam("identity", type_=BigInt)
            )
        ),
        tokens.c.id != bindparam("kept_token", type_=BigInt),
    )
)
_USE_LOGOUT_TOKEN = Statement[Any](insertion(used_logout_tokens))


def by_subject(tx: ReadTransaction, issuer: str, subject: str) -> IdentityRow | None:
    """Return the identity that a provider calls by a subject."""
    return tx.fetch_one(_BY_SUBJECT, issuer=issuer, subject=subject)


def by_id(tx: ReadTransaction, identity: int) -> IdentityRow | None:
    """Return an identity by its id, without a visibility check."""
    return tx.fetch_one(_BY_ID, identity=identity)


def of_account(tx: ReadTransaction, account: int) -> list[ListedIdentity]:
    """Return the identities of an account with their providers, oldest first."""
    return tx.fetch_all(_OF_ACCOUNT, account=account)


def add(tx: WriteTransaction, values: Mapping[str, Any]) -> int:
    """Insert an identity. Return its id.

    Raises:
        Conflict: ``identity.concurrent``: another transaction has inserted it first.
    """
    with unique_or(tx, Conflict("identity.concurrent")):
        return tx.fetch_only(_INSERT, **values)


def use(tx: WriteTransaction, identity: int, values: Mapping[str, Any]) -> None:
    """Update what a provider said about a person: ``provider_id email claims last_used_at``."""
    tx.execute(_USE, identity=identity, **values)


def remove(tx: WriteTransaction, account: int, uuid: str) -> bool:
    """Delete an identity of an account. Return whether there was one."""
    return tx.execute(_DELETE, account=account, uuid=uuid) > 0


def released(tx: ReadTransaction, limit: int) -> list[int]:
    """Return the ids of identities whose provider was removed, until ``forget_released``."""
    return tx.fetch_all(_RELEASED, limit=limit)


def forget_released(tx: WriteTransaction, identity: int) -> None:
    """Record that what the provider of an identity vouched for was taken back."""
    tx.execute(_FORGET_RELEASED, identity=identity)


def begin(tx: WriteTransaction, values: Mapping[str, Any]) -> None:
    """Insert a sign-in that begins."""
    tx.execute(_INSERT_SIGN_IN, **values)


def purge(tx: WriteTransaction) -> None:
    """Delete sign-ins, codes and logout tokens that have expired."""
    for statement in _EXPIRED:
        tx.execute(statement, now=tx.now)


def get_sign_in(tx: ReadTransaction, state_hash: bytes) -> StartedSignIn | None:
    """Return a sign-in that has begun. It may have expired, or be of another browser."""
    return tx.fetch_one(_SIGN_IN, state_hash=state_hash)


def claim(tx: WriteTransaction, state_hash: bytes) -> StartedSignIn | None:
    """Delete a sign-in and return it. Of two transactions only one gets it."""
    return tx.fetch_one(_CLAIM_SIGN_IN, state_hash=state_hash)


def add_code(tx: WriteTransaction, values: Mapping[str, Any]) -> None:
    """Insert a one-time code for a completed sign-in."""
    tx.execute(_INSERT_CODE, **values)


def get_code(tx: ReadTransaction, code_hash: bytes) -> ExchangeRow | None:
    """Return what a code stands for. It may have expired."""
    return tx.fetch_one(_CODE, code_hash=code_hash)


def use_code(tx: WriteTransaction, code_hash: bytes) -> bool:
    """Delete a code. Return whether it was there."""
    return tx.execute(_USE_CODE, code_hash=code_hash) > 0


def set_session(tx: WriteTransaction, values: Mapping[str, Any]) -> None:
    """Record from which session at a provider a token came."""
    tx.execute(_FORGET_SESSION, token_id=values["token_id"])
    tx.execute(_INSERT_SESSION, **values)


def session_of(tx: ReadTransaction, token: int) -> SessionAtProvider | None:
    """Return the session at a provider from which a token came, by the id of the token."""
    return tx.fetch_one(_SESSION, token=token)


def end_sessions(
    tx: WriteTransaction, issuer: str, subject: str | None, sid_hash: bytes | None
) -> list[int]:
    """Revoke the tokens that came of a session at a provider. Return the ids of their accounts.

    Args:
        subject: the person; None for everybody with the session.
        sid_hash: the session; None for all of the person.
    """
    target = {
        "issuer": issuer,
        "any_subject": subject is None,
        "subject": subject or "",
        "any_sid": sid_hash is None,
        "sid_hash": sid_hash or b"",
    }
    # Actions that issue a token lock the account. A sign-in that has not committed yet ends too.
    tx.fetch_all(_LOCK_ACCOUNTS, **target)
    tx.execute(_END_CODES, **target)
    return tx.fetch_all(_END_TOKENS, **target)


def end_tokens_of(tx: WriteTransaction, identity: int, kept_token: int) -> None:
    """Revoke the tokens that came of an identity.

    Args:
        kept_token: id of a token that stays; 0 for none.
    """
    tx.execute(_END_TOKENS_OF_IDENTITY, identity=identity, kept_token=kept_token)


def use_logout_token(tx: WriteTransaction, token_hash: bytes, expires_at: datetime) -> bool:
    """Record that a logout token was used. Return False if it had been before."""
    try:
        with tx.savepoint():
            tx.execute(_USE_LOGOUT_TOKEN, token_hash=token_hash, expires_at=expires_at)
    except UniqueViolationError:
        return False
    return True
