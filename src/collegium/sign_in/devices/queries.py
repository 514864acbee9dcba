"""SQL of device sign-ins. Codes are stored as digests or encrypted, never as plain text."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Integer, bindparam, delete, func, insert, literal_column, select, update

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Row, Statement, UtcDateTime
from collegium.db.tables import devices
from collegium.sign_in.devices.rules import State

_FORGET = Statement(
    delete(devices).where(devices.c.expires_at < bindparam("now", type_=UtcDateTime))
)
_ADD = Statement(
    insert(devices).values(
        {
            name: bindparam(name)
            for name in (
                "uuid",
                "device_code_hash",
                "user_code_hash",
                "user_code_encrypted",
                "name",
                "ip_address",
                "lifetime",
                "state",
                "created_at",
                "expires_at",
            )
        }
    )
)
_BY_DIGEST = Statement(select(devices).where(devices.c.device_code_hash == bindparam("digest")))
_BY_USER_DIGEST = Statement(
    select(devices).where(devices.c.user_code_hash == bindparam("user_digest"))
)
_BY_UUID = Statement(select(devices).where(devices.c.uuid == bindparam("uuid")))
_STEP = Statement(
    update(devices)
    .where(devices.c.id == bindparam("device"), devices.c.state == bindparam("was"))
    .values(
        state=bindparam("becomes"),
        account_id=bindparam("account"),
        lifetime=func.coalesce(bindparam("lives", type_=Integer), devices.c.lifetime),
    )
)


# The row is kept, so that the program gets a refusal. An unknown code would count as a guess.
_REVOKE = Statement(
    update(devices)
    .where(
        devices.c.account_id == bindparam("account"),
        devices.c.state == literal_column("'approved'"),
    )
    .values(state="denied")
)


_APPROVED = Statement(
    select(func.count().label("count"))
    .select_from(devices)
    .where(
        devices.c.account_id == bindparam("account"),
        devices.c.state == literal_column("'approved'"),
        devices.c.expires_at > bindparam("now", type_=UtcDateTime),
    )
)


def add(
    tx: WriteTransaction,
    uuid: str,
    digest: bytes,
    user_digest: bytes,
    user_code_sealed: bytes,
    name: str,
    address: str,
    lifetime: int,
    state: State,
    expires: datetime,
) -> None:
    """Insert a device sign-in, and delete expired ones.

    Args:
        user_code_sealed: the code that the person compares, encrypted.
        address: network address of the program.
        lifetime: lifetime of the token in seconds.

    Raises:
        UniqueViolationError: another program has the same code.
    """
    tx.execute(_FORGET, now=tx.now)
    with tx.savepoint():
        tx.execute(
            _ADD,
            uuid=uuid,
            device_code_hash=digest,
            user_code_hash=user_digest,
            user_code_encrypted=user_code_sealed,
            name=name,
            ip_address=address,
            lifetime=lifetime,
            state=state.value,
            created_at=tx.now,
            expires_at=expires,
        )


def by_digest(tx: ReadTransaction, digest: bytes) -> Row | None:
    """Return the device sign-in with the digest of a device code."""
    return tx.fetch_one(_BY_DIGEST, digest=digest)


def by_user_digest(tx: ReadTransaction, user_digest: bytes) -> Row | None:
    """Return the device sign-in with the digest of a user code."""
    return tx.fetch_one(_BY_USER_DIGEST, user_digest=user_digest)


def by_uuid(tx: ReadTransaction, uuid: str) -> Row | None:
    """Return the device sign-in with the UUID from the URL of the page."""
    return tx.fetch_one(_BY_UUID, uuid=uuid)


def change_state(
    tx: WriteTransaction,
    device: Row,
    state: State,
    account: int | None,
    lifetime: int | None = None,
) -> bool:
    """Change the state, if it is still the one that was read.

    Return whether it was (compare-and-set).

    Args:
        lifetime: new lifetime of the token in seconds; None to keep it.
    """
    moved = tx.execute(
        _STEP,
        device=device.id,
        was=device.state,
        becomes=state.value,
        account=account,
        lives=lifetime,
    )
    return moved > 0


def approved(tx: ReadTransaction, account: int) -> int:
    """Return the number of approved programs of an account that have not fetched their token."""
    return int(tx.scalar(_APPROVED, account=account, now=tx.now))


def revoke(tx: WriteTransaction, account: int) -> None:
    """Deny the approved programs of an account that have not fetched their token."""
    tx.execute(_REVOKE, account=account)
