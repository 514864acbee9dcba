"""SQL of device sign-ins. Codes are stored as digests or encrypted, never as plain text."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    Boolean,
    Integer,
    bindparam,
    delete,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, UtcDateTime
from collegium.db.tables import devices
from collegium.sign_in.devices.rules import State


class DeviceRow:
    """A device sign-in."""

    id: int
    uuid: str
    user_code_hash: bytes
    user_code_encrypted: bytes
    name: str
    ip_address: str
    lifetime: int
    state: str
    expires_at: datetime
    account_id: int | None
    has_second_factor: bool


_DELETE_EXPIRED = Statement(
    delete(devices).where(devices.c.expires_at < bindparam("now", type_=UtcDateTime))
)
_INSERT = Statement(
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
_BY_DEVICE_CODE = Statement[DeviceRow](
    select(devices).where(devices.c.device_code_hash == bindparam("device_code_hash"))
)
_BY_USER_CODE = Statement[DeviceRow](
    select(devices).where(devices.c.user_code_hash == bindparam("user_code_hash"))
)
_BY_UUID = Statement[DeviceRow](select(devices).where(devices.c.uuid == bindparam("uuid")))
_UPDATE_IF_UNCHANGED = Statement(
    update(devices)
    .where(devices.c.id == bindparam("device"), devices.c.state == bindparam("expected_state"))
    .values(
        state=bindparam("state"),
        account_id=bindparam("account"),
        lifetime=func.coalesce(bindparam("new_lifetime", type_=Integer), devices.c.lifetime),
        has_second_factor=or_(
            devices.c.has_second_factor, bindparam("has_second_factor", type_=Boolean)
        ),
    )
)


# The row is kept, so that the program gets a refusal. An unknown code would count as a guess.
_DENY_APPROVED = Statement(
    update(devices)
    .where(
        devices.c.account_id == bindparam("account"),
        devices.c.state == literal_column("'approved'"),
    )
    .values(state="denied")
)


_COUNT_APPROVED = Statement[int](
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
    device_code_hash: bytes,
    user_code_hash: bytes,
    user_code_encrypted: bytes,
    name: str,
    ip_address: str,
    lifetime: int,
    state: State,
    expires_at: datetime,
) -> None:
    """Insert a device sign-in, and delete expired ones.

    Args:
        user_code_encrypted: the code that the person compares, encrypted.
        ip_address: of the program.
        lifetime: lifetime of the token in seconds.

    Raises:
        UniqueViolationError: another program has the same code.
    """
    tx.execute(_DELETE_EXPIRED, now=tx.now)
    with tx.savepoint():
        tx.execute(
            _INSERT,
            uuid=uuid,
            device_code_hash=device_code_hash,
            user_code_hash=user_code_hash,
            user_code_encrypted=user_code_encrypted,
            name=name,
            ip_address=ip_address,
            lifetime=lifetime,
            state=state.value,
            created_at=tx.now,
            expires_at=expires_at,
        )


def by_device_code_hash(tx: ReadTransaction, device_code_hash: bytes) -> DeviceRow | None:
    """Return the device sign-in with the digest of a device code."""
    return tx.fetch_one(_BY_DEVICE_CODE, device_code_hash=device_code_hash)


def by_user_code_hash(tx: ReadTransaction, user_code_hash: bytes) -> DeviceRow | None:
    """Return the device sign-in with the digest of a user code."""
    return tx.fetch_one(_BY_USER_CODE, user_code_hash=user_code_hash)


def by_uuid(tx: ReadTransaction, uuid: str) -> DeviceRow | None:
    """Return the device sign-in with the UUID from the URL of the page."""
    return tx.fetch_one(_BY_UUID, uuid=uuid)


def change_state(
    tx: WriteTransaction,
    device: DeviceRow,
    state: State,
    account: int | None,
    lifetime: int | None = None,
    *,
    has_second_factor: bool = False,
) -> bool:
    """Change the state, if it is still the one that was read.

    Return whether it was (compare-and-set).

    Args:
        lifetime: new lifetime of the token in seconds; None to keep it.
        has_second_factor: whether the session that decides had a second factor.
    """
    updated = tx.execute(
        _UPDATE_IF_UNCHANGED,
        device=device.id,
        expected_state=device.state,
        state=state.value,
        account=account,
        new_lifetime=lifetime,
        has_second_factor=has_second_factor,
    )
    return updated > 0


def count_approved(tx: ReadTransaction, account: int) -> int:
    """Return the number of approved programs of an account that have not fetched their token."""
    return tx.fetch_only(_COUNT_APPROVED, account=account, now=tx.now)


def deny_approved(tx: WriteTransaction, account: int) -> None:
    """Deny the approved programs of an account that have not fetched their token."""
    tx.execute(_DENY_APPROVED, account=account)
