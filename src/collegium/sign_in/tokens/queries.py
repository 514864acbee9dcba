"""SQL of tokens: whose a token is, and whether it is still valid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import (
    Boolean,
    and_,
    bindparam,
    case,
    delete,
    false,
    literal_column,
    not_,
    null,
    or_,
    select,
    update,
)

from collegium.accounts.queries import AccountDetails, Identity
from collegium.accounts.queries import select_with_token as shown_accounts
from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.relations import Relation, Relations
from collegium.db.statements import Statement, UtcDateTime, UuidHex, any_of
from collegium.db.tables import API_TOKEN, accounts, tokens
from collegium.db.writing import insertion
from collegium.lists.listing import Listing
from collegium.refusals import or_not_found
from collegium.sign_in.tokens.rules import TokenKind, expiry


class TokenRow:
    """A token."""

    id: int
    kind: str
    name: str
    created_at: datetime
    last_used_at: datetime
    lifetime: int | None
    expires_at: datetime | None
    family: str | None


class EncryptedToken:
    """A token as it is stored encrypted."""

    id: int
    token_hash: bytes
    token_encrypted: bytes | None
    created_at: datetime
    last_used_at: datetime
    has_second_factor: bool


class PublicToken:
    """What others may see of the API token of an account."""

    id: int
    uuid: str
    username: str
    first_name: str
    last_name: str
    is_active: bool
    token_lifetime: int | None
    last_used_at: datetime


class TokenOwner(Identity):
    """The account of a token, with the data that determines what the token may do until when."""

    token_id: int
    token_kind: str
    lifetime: int | None
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime | None
    family: str | None
    confirmed_at: datetime | None
    has_second_factor: bool
    must_agree: bool
    preferred_language: str


class OwnerProfile(TokenOwner, AccountDetails):
    """The owner of a token with all columns of ``accounts.queries.own``, to show the account."""


class EncryptedSecret:
    """A secret with its digest."""

    hash: bytes
    encrypted: bytes


_COLUMNS = (
    "account_id",
    "token_hash",
    "token_encrypted",
    "created_at",
    "last_used_at",
    "kind",
    "name",
    "lifetime",
    "expires_at",
    "family",
    "confirmed_at",
    "has_second_factor",
)
_OWN_COLUMNS = (
    "created_at",
    "last_used_at",
    "expires_at",
    "family",
    "confirmed_at",
    "has_second_factor",
)

_lifetime = case((API_TOKEN, accounts.c.token_lifetime), else_=tokens.c.lifetime)
_BY_HASH = Statement[TokenOwner](
    Relations(
        accounts,
        token=Relation(tokens, on=tokens.c.account_id == accounts.c.id, unprefixed=_OWN_COLUMNS),
    )
    .select(TokenOwner, token_lifetime=accounts.c.token_lifetime, lifetime=_lifetime)
    .where(tokens.c.token_hash == bindparam("token_hash"))
)
_token = tokens.alias("token")
_BY_HASH_FOR_PROFILE = Statement[OwnerProfile](
    shown_accounts(
        _token.join(accounts, accounts.c.id == _token.c.account_id),
        _token.c.id.label("token_id"),
        _token.c.kind.label("token_kind"),
        case(
            (_token.c.kind == TokenKind.API.value, accounts.c.token_lifetime),
            else_=_token.c.lifetime,
        ).label("lifetime"),
        *(_token.c[name] for name in _OWN_COLUMNS),
    ).where(_token.c.token_hash == bindparam("token_hash"))
)
_EXISTS = Statement[int](select(tokens.c.id).where(tokens.c.id == bindparam("token")))
_of_account = tokens.c.account_id == bindparam("account")
_API_TOKEN_OF_ACCOUNT = Statement[EncryptedToken](select(tokens).where(_of_account, API_TOKEN))
_INSERT = Statement[int](insertion(tokens, _COLUMNS).returning(tokens.c.id))
_is_spent = tokens.c.kind == literal_column("'spent'")
_rows = Relations(tokens).select(TokenRow).where(_of_account)
_other_rows = _rows.where(not_(API_TOKEN), not_(_is_spent))
_OTHERS = Statement[TokenRow](_other_rows)
_ALL = Statement[TokenRow](
    Relations(tokens, account=accounts)
    .select(TokenRow, lifetime=_lifetime)
    .where(_of_account, not_(_is_spent))
    .order_by(tokens.c.id)
)
_BY_ID = Statement[TokenRow](_rows.where(tokens.c.id == bindparam("token")))
_ANY_ENCRYPTED = Statement[EncryptedSecret](
    select(tokens.c.token_hash.label("hash"), tokens.c.token_encrypted.label("encrypted"))
    .where(tokens.c.token_encrypted.is_not(None))
    .order_by(tokens.c.id.desc())
    .limit(1)
)
_PERSONAL = Statement[TokenRow](
    _other_rows.where(tokens.c.kind == "personal").order_by(tokens.c.id)
)
_SESSIONS = Statement[TokenRow](
    _other_rows.where(tokens.c.kind == "session").order_by(tokens.c.last_used_at.desc())
)
_DELETE_BY_IDS = Statement(delete(tokens).where(any_of(tokens.c.id, "ids")))
_TOUCH = Statement(
    update(tokens)
    .where(
        tokens.c.id == bindparam("token"),
        tokens.c.last_used_at < bindparam("before", type_=UtcDateTime),
    )
    .values(last_used_at=bindparam("moment", type_=UtcDateTime))
)
_CONFIRM = Statement(
    update(tokens)
    .where(_of_account, tokens.c.id == bindparam("token"))
    .values(
        confirmed_at=bindparam("moment", type_=UtcDateTime),
        has_second_factor=or_(
            tokens.c.has_second_factor, bindparam("has_second_factor", type_=Boolean)
        ),
    )
)
_HAS_SECOND_FACTOR = Statement[bool](
    select(tokens.c.has_second_factor).where(tokens.c.id == bindparam("token"))
)
_forget = update(tokens).where(_of_account).values(has_second_factor=False)
_FORGET_SECOND_FACTOR = Statement(_forget)
_FORGET_SECOND_FACTOR_OF = Statement(_forget.where(tokens.c.id == bindparam("token")))
_REVOKE = Statement(delete(tokens).where(_of_account, API_TOKEN))
_REVOKE_ALL = Statement(delete(tokens).where(_of_account))
_REVOKE_ALL_BUT = Statement(
    delete(tokens).where(_of_account, tokens.c.id != bindparam("kept_token"))
)
_REVOKE_OTHERS = Statement(delete(tokens).where(_of_account, not_(API_TOKEN)))
_MARK_SPENT = Statement(
    update(tokens).where(_of_account, API_TOKEN).values(kind="spent", token_encrypted=null())
)
_REVOKE_ONE = Statement(
    delete(tokens).where(
        _of_account, tokens.c.id == bindparam("token"), tokens.c.kind == bindparam("kind")
    )
)
_REVOKE_FAMILY = Statement(
    delete(tokens).where(_of_account, tokens.c.family == bindparam("family", type_=UuidHex))
)

# Never contains a token, or anything from which one could be derived.
_public_rows = Relations(
    accounts,
    token=Relation(
        tokens,
        on=and_(tokens.c.account_id == accounts.c.id, API_TOKEN),
        unprefixed=("last_used_at",),
    ),
).select(PublicToken, token_lifetime=accounts.c.token_lifetime)
_PUBLIC = Statement[PublicToken](_public_rows.where(_of_account))

listing = Listing[PublicToken](
    rows=_public_rows,
    visible=false,
    key=tokens.c.account_id,
    count_query=select(tokens.c.account_id).where(API_TOKEN),
    default="user",
    orders={"user": (tokens.c.account_id,)},
)


def public_data(tx: ReadTransaction, account: int) -> PublicToken:
    """Return the public data of an account's API token.

    Raises:
        NotFound: ``token.none``.
    """
    return or_not_found(tx.fetch_one(_PUBLIC, account=account), "token.none")


def owner(tx: ReadTransaction, token_hash: bytes) -> TokenOwner | None:
    """Return the account of a token, with the data that determines the token's expiry.

    The token may be expired.

    Args:
        token_hash: the digest of the token, 32 bytes.
    """
    return tx.fetch_one(_BY_HASH, token_hash=token_hash)


def owner_profile(tx: ReadTransaction, token_hash: bytes) -> OwnerProfile | None:
    """Return the account of a token, to show it; otherwise like ``owner``."""
    return tx.fetch_one(_BY_HASH_FOR_PROFILE, token_hash=token_hash)


def exists(tx: ReadTransaction, token: int) -> bool:
    """Return whether a token exists, by its id. It may be expired."""
    return tx.fetch_one(_EXISTS, token=token) is not None


def of_account(tx: ReadTransaction, account: int) -> EncryptedToken | None:
    """Return the API token of an account."""
    return tx.fetch_one(_API_TOKEN_OF_ACCOUNT, account=account)


def existing(tx: ReadTransaction, account: int) -> EncryptedToken:
    """Return the API token of an account that has one."""
    return tx.fetch_only(_API_TOKEN_OF_ACCOUNT, account=account)


def personal(tx: ReadTransaction, account: int) -> list[TokenRow]:
    """Return the personal tokens of an account, oldest first, including expired ones."""
    return tx.fetch_all(_PERSONAL, account=account)


def sessions(tx: ReadTransaction, account: int) -> list[TokenRow]:
    """Return the browser sessions of an account, last used first, including expired ones."""
    return tx.fetch_all(_SESSIONS, account=account)


def list_valid(
    tx: ReadTransaction, account: int, max_age: int | None
) -> list[tuple[TokenRow, datetime | None]]:
    """Return all valid tokens of an account, of every kind, each with its expiry.

    Args:
        max_age: maximum age of every token in seconds; None for no limit.
    """
    rows = [
        (row, expiry(row.created_at, row.last_used_at, row.lifetime, max_age, row.expires_at))
        for row in tx.fetch_all(_ALL, account=account)
    ]
    return [
        (row, expires_at) for row, expires_at in rows if expires_at is None or expires_at >= tx.now
    ]


def count_by_kind(
    tx: ReadTransaction, account: int, max_age: int | None = None
) -> dict[TokenKind, int]:
    """Return the number of valid tokens of an account by kind, without its API token."""
    return Counter(
        TokenKind(row.kind)
        for row in tx.fetch_all(_OTHERS, account=account)
        if not _is_expired(row, tx.now, max_age)
    )


def get(tx: ReadTransaction, account: int, token: int) -> TokenRow | None:
    """Return a token of an account by its id, expired or not."""
    return tx.fetch_one(_BY_ID, account=account, token=token)


def _is_expired(row: TokenRow, now: datetime, max_age: int | None) -> bool:
    expires_at = expiry(row.created_at, row.last_used_at, row.lifetime, max_age, row.expires_at)
    return expires_at is not None and expires_at < now


def any_encrypted(tx: ReadTransaction) -> EncryptedSecret | None:
    """Return ``hash`` and ``encrypted`` of the newest token that is stored encrypted."""
    return tx.fetch_one(_ANY_ENCRYPTED)


def add(
    tx: WriteTransaction,
    account: int,
    token_hash: bytes,
    token_encrypted: bytes | None = None,
    *,
    kind: TokenKind = TokenKind.API,
    name: str = "",
    lifetime: int | None = None,
    expires_at: datetime | None = None,
    family: str | None = None,
    created_at: datetime | None = None,
    confirmed_at: datetime | None = None,
    has_second_factor: bool = False,
) -> int:
    """Insert a token. Return its id.

    Args:
        token_hash: the digest of the token, 32 bytes.
        token_encrypted: the encrypted token, for API tokens, which are shown again.
        lifetime: seconds that it lives after its last use; None for no limit.
        expires_at: when it expires at the latest, used or not.
        family: UUID of the token family.
        created_at: when the first token of the family was issued; None for now.
        confirmed_at: when the person signed in; for sessions.
        has_second_factor: whether that sign-in needed more than a password.
    """
    return tx.fetch_only(
        _INSERT,
        account_id=account,
        token_hash=token_hash,
        token_encrypted=token_encrypted,
        created_at=created_at or tx.now,
        last_used_at=tx.now,
        kind=kind.value,
        name=name,
        lifetime=lifetime,
        expires_at=expires_at,
        family=family,
        confirmed_at=confirmed_at,
        has_second_factor=has_second_factor,
    )


def remove_expired(tx: WriteTransaction, account: int, max_age: int | None) -> list[TokenRow]:
    """Delete the expired tokens of an account. Return the valid ones, without its API token."""
    rows = tx.fetch_all(_OTHERS, account=account)
    expired = [row.id for row in rows if _is_expired(row, tx.now, max_age)]
    if expired:
        tx.execute(_DELETE_BY_IDS, ids=expired)
    expired_ids = set(expired)
    return [row for row in rows if row.id not in expired_ids]


def touch(tx: WriteTransaction, token: int, every: timedelta) -> None:
    """Extend the sliding lifetime of a token, unless that was done less than ``every`` ago."""
    tx.execute(_TOUCH, token=token, moment=tx.now, before=tx.now - every)


def touch_now(tx: WriteTransaction, token: int) -> None:
    """Restart the lifetime of a token."""
    tx.execute(_TOUCH, token=token, moment=tx.now, before=tx.now)


def confirm(
    tx: WriteTransaction, account: int, token: int, *, has_second_factor: bool = False
) -> None:
    """Record that the person behind a session has just proved who they are.

    Args:
        token: id of the session's token.
        has_second_factor: whether they needed more than a password.
    """
    tx.execute(
        _CONFIRM,
        account=account,
        token=token,
        moment=tx.now,
        has_second_factor=has_second_factor,
    )


def has_second_factor(tx: ReadTransaction, token: int) -> bool:
    """Return whether the sign-in that led to a token needed more than a password."""
    has_factor = tx.fetch_one(_HAS_SECOND_FACTOR, token=token)
    return bool(has_factor)


def forget_second_factor(tx: WriteTransaction, account: int, token: int | None = None) -> None:
    """Record that no token of an account comes of a sign-in with a second factor any more.

    Args:
        token: id of the only token that is meant; None for all.
    """
    if token is None:
        tx.execute(_FORGET_SECOND_FACTOR, account=account)
    else:
        tx.execute(_FORGET_SECOND_FACTOR_OF, account=account, token=token)


def revoke(tx: WriteTransaction, account: int) -> bool:
    """Revoke the API token of an account. Return whether there was one."""
    return tx.execute(_REVOKE, account=account) > 0


def revoke_all(tx: WriteTransaction, account: int) -> None:
    """Revoke all tokens of an account, of every kind."""
    tx.execute(_REVOKE_ALL, account=account)


def revoke_all_but(tx: WriteTransaction, account: int, kept_token: int) -> int:
    """Revoke all tokens of an account except one. Return how many were revoked.

    Args:
        kept_token: id of the token to keep; 0 for none.
    """
    return tx.execute(_REVOKE_ALL_BUT, account=account, kept_token=kept_token)


def suspend(tx: WriteTransaction, account: int) -> None:
    """Revoke all tokens of an account that is deactivated.

    The digest of its API token stays until the account is activated, so that requests with it are
    refused because the account is inactive, not because the token is unknown. The token never
    becomes valid again.
    """
    tx.execute(_REVOKE_OTHERS, account=account)
    tx.execute(_MARK_SPENT, account=account)


def revoke_one(
    tx: WriteTransaction, account: int, token: int, kind: TokenKind = TokenKind.PERSONAL
) -> bool:
    """Revoke one token of an account by its id. Return whether there was one of that kind."""
    return tx.execute(_REVOKE_ONE, account=account, token=token, kind=kind.value) > 0


def revoke_family(tx: WriteTransaction, account: int, family: str) -> bool:
    """Revoke a token family of an account. Return whether it existed."""
    return tx.execute(_REVOKE_FAMILY, account=account, family=family) > 0


def revoke_row(tx: WriteTransaction, account: int, row: TokenRow) -> bool:
    """Revoke a token and its family. Return whether it existed."""
    if row.family is not None:
        return revoke_family(tx, account, row.family)
    return revoke_one(tx, account, row.id, TokenKind(row.kind))


def revoke_oldest(
    tx: WriteTransaction, account: int, rows: Iterable[TokenRow], limit: int
) -> list[TokenRow]:
    """Revoke the tokens that were unused for longest, until few enough are left. Return those.

    Args:
        rows: the tokens to choose from.
        limit: how many may stay.
    """
    by_use = sorted(rows, key=lambda row: (row.last_used_at, row.id))
    revoked = by_use[: max(0, len(by_use) - limit)]
    for row in revoked:
        revoke_row(tx, account, row)
    return revoked
