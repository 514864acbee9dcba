"""SQL of two-factor authentication: one authenticator per account, and its recovery codes."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import bindparam, delete, exists, func, insert, not_, or_, select, update

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import BigInt, accounts, passkeys, recovery_codes, two_factor


class TwoFactorRow:
    """The authenticator of an account."""

    account_id: int
    secret_hash: bytes
    secret_encrypted: bytes
    confirmed_at: datetime | None
    last_step: int
    wrong_codes: int


class EncryptedSecret:
    """A secret with its digest."""

    hash: bytes
    encrypted: bytes


_BY_ACCOUNT = Statement[TwoFactorRow](
    select(two_factor).where(two_factor.c.account_id == bindparam("account"))
)
_ANY_ENCRYPTED = Statement[EncryptedSecret](
    select(two_factor.c.secret_hash.label("hash"), two_factor.c.secret_encrypted.label("encrypted"))
    .order_by(two_factor.c.account_id.desc())
    .limit(1)
)
_has_authenticator = exists().where(
    two_factor.c.account_id == accounts.c.id, two_factor.c.confirmed_at.is_not(None)
)
_has_passkey = exists().where(
    passkeys.c.account_id == accounts.c.id, passkeys.c.revoked_at.is_(None)
)
_IS_ON = Statement[int](
    select(accounts.c.id).where(
        accounts.c.id == bindparam("account"), or_(_has_authenticator, _has_passkey)
    )
)
_HAS_AUTHENTICATOR = Statement[int](
    select(two_factor.c.account_id).where(
        two_factor.c.account_id == bindparam("account"), two_factor.c.confirmed_at.is_not(None)
    )
)
_STAFF_WITHOUT = Statement[str](
    select(accounts.c.username)
    .where(
        accounts.c.is_active,
        or_(accounts.c.is_staff, accounts.c.is_support),
        not_(_has_authenticator),
        not_(_has_passkey),
    )
    .order_by(accounts.c.id)
    .limit(bindparam("most"))
)
_INSERT = Statement(
    insert(two_factor).values(
        {
            name: bindparam(name)
            for name in ("account_id", "secret_hash", "secret_encrypted", "created_at", "last_step")
        }
    )
)
_CONFIRM = Statement(
    update(two_factor)
    .where(
        two_factor.c.account_id == bindparam("account"),
        two_factor.c.confirmed_at.is_(None),
    )
    .values(confirmed_at=bindparam("moment", type_=UtcDateTime))
)
_USE_STEP = Statement(
    update(two_factor)
    .where(
        two_factor.c.account_id == bindparam("account"),
        two_factor.c.last_step < bindparam("step", type_=BigInt),
    )
    .values(last_step=bindparam("step", type_=BigInt))
)
_DELETE = (
    Statement(delete(recovery_codes).where(recovery_codes.c.account_id == bindparam("account"))),
    Statement(delete(two_factor).where(two_factor.c.account_id == bindparam("account"))),
)
_INSERT_CODE = Statement(
    insert(recovery_codes).values(account_id=bindparam("account"), code_hash=bindparam("code_hash"))
)
_USE_CODE = Statement(
    delete(recovery_codes).where(
        recovery_codes.c.account_id == bindparam("account"),
        recovery_codes.c.code_hash == bindparam("code_hash"),
    )
)
_COUNT_CODES = Statement[int](
    select(func.count().label("count"))
    .select_from(recovery_codes)
    .where(recovery_codes.c.account_id == bindparam("account"))
)


_CODES = Statement[bytes](
    select(recovery_codes.c.code_hash).where(recovery_codes.c.account_id == bindparam("account"))
)
_COUNT_WRONG = Statement[int](
    update(two_factor)
    .where(two_factor.c.account_id == bindparam("account"))
    .values(wrong_codes=two_factor.c.wrong_codes + 1)
    .returning(two_factor.c.wrong_codes)
)
_RESET_WRONG = Statement(
    update(two_factor)
    .where(
        two_factor.c.account_id == bindparam("account"),
        two_factor.c.wrong_codes > 0,
    )
    .values(wrong_codes=0)
)


def any_encrypted(tx: ReadTransaction) -> EncryptedSecret | None:
    """Return ``hash`` and ``encrypted``, of the secret of one authenticator."""
    return tx.fetch_one(_ANY_ENCRYPTED)


def is_on(tx: ReadTransaction, account: int) -> bool:
    """Return whether two-factor authentication is on: with an authenticator or a passkey."""
    return tx.fetch_one(_IS_ON, account=account) is not None


def has_authenticator(tx: ReadTransaction, account: int) -> bool:
    """Return whether an account has an authenticator that was confirmed."""
    return tx.fetch_one(_HAS_AUTHENTICATOR, account=account) is not None


def staff_without(tx: ReadTransaction, most: int) -> list[str]:
    """Return the user names of active staff and support without two-factor authentication.

    Args:
        most: maximum number of names.
    """
    return tx.fetch_all(_STAFF_WITHOUT, most=most)


def of_account(tx: ReadTransaction, account: int) -> TwoFactorRow | None:
    """Return the row of an account, confirmed or not."""
    return tx.fetch_one(_BY_ACCOUNT, account=account)


def replace(
    tx: WriteTransaction, account: int, secret_hash: bytes, secret_encrypted: bytes
) -> None:
    """Insert a new secret, in place of an unconfirmed one."""
    remove_authenticator(tx, account)
    tx.execute(
        _INSERT,
        account_id=account,
        secret_hash=secret_hash,
        secret_encrypted=secret_encrypted,
        created_at=tx.now,
        last_step=0,
    )


def confirm(tx: WriteTransaction, account: int) -> bool:
    """Turn two-factor authentication on. Return whether it was off."""
    return tx.execute(_CONFIRM, account=account, moment=tx.now) > 0


def use_step(tx: WriteTransaction, account: int, step: int) -> bool:
    """Use up a time step and all before it. Return False if another request was first."""
    return tx.execute(_USE_STEP, account=account, step=step) > 0


def remove_authenticator(tx: WriteTransaction, account: int) -> None:
    """Delete the secret of an account, and keep its recovery codes."""
    tx.execute(_DELETE[1], account=account)


def remove(tx: WriteTransaction, account: int) -> None:
    """Turn two-factor authentication off: delete the secret and the recovery codes."""
    for statement in _DELETE:
        tx.execute(statement, account=account)


def replace_codes(tx: WriteTransaction, account: int, code_hashes: Iterable[bytes]) -> None:
    """Store recovery codes and delete the earlier ones."""
    tx.execute(_DELETE[0], account=account)
    for code_hash in code_hashes:
        tx.execute(_INSERT_CODE, account=account, code_hash=code_hash)


def use_code(tx: WriteTransaction, account: int, code_hash: bytes) -> bool:
    """Use up a recovery code. Return whether it was valid."""
    return tx.execute(_USE_CODE, account=account, code_hash=code_hash) > 0


def code_hashes(tx: ReadTransaction, account: int) -> set[bytes]:
    """Return the digests of the unused recovery codes."""
    return {bytes(code_hash) for code_hash in tx.fetch_all(_CODES, account=account)}


def count_codes(tx: ReadTransaction, account: int) -> int:
    """Return the number of unused recovery codes."""
    return tx.fetch_only(_COUNT_CODES, account=account)


def count_wrong(tx: WriteTransaction, account: int) -> int:
    """Count a wrong code. Return the number of wrong codes since the last correct one."""
    return tx.fetch_only(_COUNT_WRONG, account=account)


def reset_wrong(tx: WriteTransaction, account: int) -> None:
    """Reset the count of wrong codes."""
    tx.execute(_RESET_WRONG, account=account)
