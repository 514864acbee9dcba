"""Second factors: one authenticator an account, and the recovery codes beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, func, insert, select, update

from collegium.db.statements import Prepared, Time
from collegium.db.tables import Number, recovery_codes, second_factors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from collegium.db.database import Read, Write
    from collegium.db.statements import Row

_OF = Prepared(select(second_factors).where(second_factors.c.account_id == bindparam("account")))
_ON = Prepared(
    select(second_factors.c.account_id).where(
        second_factors.c.account_id == bindparam("account"), second_factors.c.confirmed.is_not(None)
    )
)
_ADD = Prepared(
    insert(second_factors).values(
        {name: bindparam(name) for name in ("account_id", "digest", "sealed", "created", "step")}
    )
)
_CONFIRM = Prepared(
    update(second_factors)
    .where(
        second_factors.c.account_id == bindparam("account"),
        second_factors.c.confirmed.is_(None),
    )
    .values(confirmed=bindparam("moment", type_=Time))
)
_TAKE = Prepared(
    update(second_factors)
    .where(
        second_factors.c.account_id == bindparam("account"),
        second_factors.c.step < bindparam("taken", type_=Number),
    )
    .values(step=bindparam("taken", type_=Number))
)
_REMOVE = (
    Prepared(delete(recovery_codes).where(recovery_codes.c.account_id == bindparam("account"))),
    Prepared(delete(second_factors).where(second_factors.c.account_id == bindparam("account"))),
)
_ADD_CODE = Prepared(
    insert(recovery_codes).values(account_id=bindparam("account"), digest=bindparam("digest"))
)
_USE_CODE = Prepared(
    delete(recovery_codes).where(
        recovery_codes.c.account_id == bindparam("account"),
        recovery_codes.c.digest == bindparam("digest"),
    )
)
_CODES_LEFT = Prepared(
    select(func.count().label("count"))
    .select_from(recovery_codes)
    .where(recovery_codes.c.account_id == bindparam("account"))
)


_CODES = Prepared(
    select(recovery_codes.c.digest).where(recovery_codes.c.account_id == bindparam("account"))
)
_WRONG = Prepared(
    update(second_factors)
    .where(second_factors.c.account_id == bindparam("account"))
    .values(wrong_codes=second_factors.c.wrong_codes + 1)
    .returning(second_factors.c.wrong_codes)
)
_RIGHT = Prepared(
    update(second_factors)
    .where(
        second_factors.c.account_id == bindparam("account"),
        second_factors.c.wrong_codes > 0,
    )
    .values(wrong_codes=0)
)


def is_on(tx: Read, account: int) -> bool:
    """Tell whether an account needs more than its password to be signed in to."""
    return tx.one(_ON, account=account) is not None


def of_account(tx: Read, account: int) -> Row | None:
    """Give ``digest sealed created confirmed step wrong_codes``, confirmed or not."""
    return tx.one(_OF, account=account)


def put(tx: Write, account: int, digest: bytes, sealed: bytes) -> None:
    """Begin with a new secret, in place of one that was never confirmed."""
    remove(tx, account)
    tx.run(_ADD, account_id=account, digest=digest, sealed=sealed, created=tx.now, step=0)


def confirm(tx: Write, account: int) -> bool:
    """Turn it on; tell whether it was off."""
    return tx.run(_CONFIRM, account=account, moment=tx.now) > 0


def take(tx: Write, account: int, step: int) -> bool:
    """Use up a step and all before it; tell whether nobody else was first."""
    return tx.run(_TAKE, account=account, taken=step) > 0


def remove(tx: Write, account: int) -> None:
    """Turn it off: the secret and the recovery codes are forgotten."""
    for statement in _REMOVE:
        tx.run(statement, account=account)


def put_codes(tx: Write, account: int, digests: Iterable[bytes]) -> None:
    """Keep recovery codes, in place of the earlier ones."""
    tx.run(_REMOVE[0], account=account)
    for digest in digests:
        tx.run(_ADD_CODE, account=account, digest=digest)


def use_code(tx: Write, account: int, digest: bytes) -> bool:
    """Use up a recovery code; tell whether it was there."""
    return tx.run(_USE_CODE, account=account, digest=digest) > 0


def codes(tx: Read, account: int) -> set[bytes]:
    """Give the digests of the recovery codes that were not used."""
    return {bytes(row.digest) for row in tx.all(_CODES, account=account)}


def codes_left(tx: Read, account: int) -> int:
    """Count the recovery codes that were not used."""
    return int(tx.value(_CODES_LEFT, account=account))


def count_wrong(tx: Write, account: int) -> int:
    """Count a wrong code, and give the number of them since the last right one."""
    return int(tx.value(_WRONG, account=account))


def forget_wrong(tx: Write, account: int) -> None:
    """Begin to count wrong codes anew."""
    tx.run(_RIGHT, account=account)
