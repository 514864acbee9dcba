"""SQL of passkeys and of their ceremonies."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import uuid4

from sqlalchemy import LargeBinary, bindparam, delete, func, select, update

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement, UtcDateTime, UuidHex
from collegium.db.tables import BigInt, accounts, passkey_ceremonies, passkeys
from collegium.db.writing import insertion, unique_or
from collegium.lists.listing import Listing
from collegium.refusals import Invalid, or_not_found
from collegium.sign_in.passkeys.rules import CEREMONY_SECONDS, Purpose


class PasskeyRow:
    """A passkey."""

    id: int
    uuid: str
    account_id: int
    credential_id: bytes
    public_key: bytes
    sign_count: int
    transports: list[str]
    name: str
    is_user_verified: bool
    created_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class PasskeyOfAccount(PasskeyRow):
    """A passkey, with the UUID of its account."""

    account_uuid: str


class CeremonyRow:
    """A ceremony that was begun."""

    uuid: str
    challenge: bytes
    purpose: str
    account_id: int | None
    browser_hash: bytes | None
    credentials_version: int | None
    expires_at: datetime


_COLUMNS: Final = (
    "uuid",
    "account_id",
    "credential_id",
    "public_key",
    "sign_count",
    "aaguid",
    "transports",
    "attachment",
    "rp_id",
    "is_backup_eligible",
    "is_backed_up",
    "is_discoverable",
    "is_user_verified",
    "name",
    "created_at",
)
_CEREMONY_COLUMNS: Final = (
    "uuid",
    "challenge",
    "purpose",
    "account_id",
    "browser_hash",
    "credentials_version",
    "expires_at",
)
_revoker = accounts.alias("revoker")
_shown = select(passkeys, _revoker.c.username.label("revoked_by_username")).select_from(
    passkeys.outerjoin(_revoker, _revoker.c.id == passkeys.c.revoked_by_id)
)
listing = Listing[PasskeyRow](
    rows=_shown,
    visible=lambda: passkeys.c.account_id == bindparam("actor", type_=BigInt),
    key=passkeys.c.id,
    count_query=select(passkeys.c.id),
    default="created",
    orders={"created": (passkeys.c.created_at,)},
    filters={"account": passkeys.c.account_id == bindparam("account", type_=BigInt)},
    filters_fit_count_query=True,
)
_of_account = passkeys.c.account_id == bindparam("account")
_is_active = passkeys.c.revoked_at.is_(None)
_INSERT = Statement(insertion(passkeys, _COLUMNS))
_ACTIVE = Statement[PasskeyRow](
    select(passkeys).where(_of_account, _is_active).order_by(passkeys.c.id)
)
_IS_ACTIVE = Statement[int](select(passkeys.c.id).where(_of_account, _is_active).limit(1))
_BY_CREDENTIAL = Statement[PasskeyOfAccount](
    select(passkeys, accounts.c.uuid.label("account_uuid"))
    .join(accounts, accounts.c.id == passkeys.c.account_id)
    .where(passkeys.c.credential_id == bindparam("credential_id", type_=LargeBinary), _is_active)
)
_OWN = Statement[PasskeyRow](
    select(passkeys).where(_of_account, passkeys.c.uuid == bindparam("uuid"))
)
_SHOWN = Statement[PasskeyRow](
    _shown.where(_of_account, passkeys.c.uuid == bindparam("uuid", type_=UuidHex))
)
_BY_UUID = Statement[PasskeyRow](select(passkeys).where(passkeys.c.uuid == bindparam("uuid")))
_USE = Statement(
    update(passkeys)
    .where(
        passkeys.c.id == bindparam("passkey"),
        _is_active,
        passkeys.c.sign_count == bindparam("expected_count", type_=BigInt),
    )
    .values(
        sign_count=bindparam("new_count", type_=BigInt),
        is_backed_up=bindparam("backed_up"),
        last_used_at=bindparam("moment", type_=UtcDateTime),
        use_count=passkeys.c.use_count + 1,
    )
)
_RENAME = Statement(
    update(passkeys).where(passkeys.c.id == bindparam("passkey")).values(name=bindparam("new_name"))
)
_REVOKED: Final = {
    "revoked_at": bindparam("moment", type_=UtcDateTime),
    "revoked_by_id": bindparam("by", type_=BigInt),
    "revocation_reason": bindparam("reason"),
}
_REVOKE = Statement(
    update(passkeys).where(passkeys.c.id == bindparam("passkey"), _is_active).values(_REVOKED)
)
_REVOKE_ALL = Statement(update(passkeys).where(_of_account, _is_active).values(_REVOKED))
_COUNT = Statement[int](
    select(func.count().label("count")).select_from(passkeys).where(_of_account, _is_active)
)
_COUNT_ALONE = Statement[int](
    select(func.count().label("count"))
    .select_from(passkeys)
    .where(_of_account, _is_active, passkeys.c.is_user_verified)
)
_INSERT_CEREMONY = Statement(insertion(passkey_ceremonies, _CEREMONY_COLUMNS))
_CEREMONY = Statement[CeremonyRow](
    select(passkey_ceremonies).where(passkey_ceremonies.c.uuid == bindparam("uuid"))
)
_DELETE_CEREMONY = Statement(
    delete(passkey_ceremonies).where(passkey_ceremonies.c.uuid == bindparam("uuid"))
)
_DELETE_EXPIRED = Statement(
    delete(passkey_ceremonies).where(
        passkey_ceremonies.c.expires_at < bindparam("now", type_=UtcDateTime)
    )
)


def active(tx: ReadTransaction, account: int) -> list[PasskeyRow]:
    """Return the active passkeys of an account, oldest first."""
    return tx.fetch_all(_ACTIVE, account=account)


def has_active(tx: ReadTransaction, account: int) -> bool:
    """Return whether an account has an active passkey."""
    return tx.fetch_one(_IS_ACTIVE, account=account) is not None


def by_credential(tx: ReadTransaction, credential_id: bytes) -> PasskeyOfAccount | None:
    """Return the active passkey with an id that its device gave it."""
    return tx.fetch_one(_BY_CREDENTIAL, credential_id=credential_id)


def get_own(tx: ReadTransaction, account: int, uuid: str) -> PasskeyRow:
    """Return a passkey of an account, active or revoked.

    Raises:
        NotFound: ``passkey.unknown``.
    """
    return or_not_found(tx.fetch_one(_OWN, account=account, uuid=uuid), "passkey.unknown")


def get_shown(tx: ReadTransaction, account: int, uuid: str) -> PasskeyRow:
    """Return a passkey of an account, with the name of who revoked it.

    Raises:
        NotFound: ``passkey.unknown``.
    """
    return or_not_found(tx.fetch_one(_SHOWN, account=account, uuid=uuid), "passkey.unknown")


def get(tx: ReadTransaction, uuid: str) -> PasskeyRow | None:
    """Return a passkey of any account, active or revoked."""
    return tx.fetch_one(_BY_UUID, uuid=uuid)


def count(tx: ReadTransaction, account: int) -> int:
    """Return the number of active passkeys of an account."""
    return tx.fetch_only(_COUNT, account=account)


def count_alone(tx: ReadTransaction, account: int) -> int:
    """Return the number of active passkeys of an account that can sign in alone."""
    return tx.fetch_only(_COUNT_ALONE, account=account)


def add(
    tx: WriteTransaction,
    account: int,
    name: str,
    rp_id: str,
    *,
    credential_id: bytes,
    public_key: bytes,
    sign_count: int,
    aaguid: str,
    transports: list[str],
    attachment: str,
    is_backup_eligible: bool,
    is_backed_up: bool,
    is_discoverable: bool,
    is_user_verified: bool,
) -> str:
    """Insert a passkey. Return its UUID.

    Args:
        name: name by which the owner recognises it.
        rp_id: the domain that it is bound to.
        credential_id: the id that its device gave it.
        sign_count: how often the device says that it was used.
        aaguid: model of the device, a UUID.

    Raises:
        Invalid: ``passkey.invalid``: a passkey with this id exists.
    """
    uuid = uuid4().hex
    with unique_or(tx, Invalid("passkey.invalid")):
        tx.execute(
            _INSERT,
            uuid=uuid,
            account_id=account,
            credential_id=credential_id,
            public_key=public_key,
            sign_count=sign_count,
            aaguid=aaguid,
            transports=transports,
            attachment=attachment,
            rp_id=rp_id,
            is_backup_eligible=is_backup_eligible,
            is_backed_up=is_backed_up,
            is_discoverable=is_discoverable,
            is_user_verified=is_user_verified,
            name=name,
            created_at=tx.now,
        )
    return uuid


def use(tx: WriteTransaction, passkey: PasskeyRow, sign_count: int, *, is_backed_up: bool) -> bool:
    """Record a use of a passkey, unless it was revoked or used since it was read.

    Return whether it was recorded (compare-and-set).

    Args:
        sign_count: how often the device now says that it was used.
    """
    updated = tx.execute(
        _USE,
        passkey=passkey.id,
        expected_count=passkey.sign_count,
        new_count=sign_count,
        backed_up=is_backed_up,
        moment=tx.now,
    )
    return updated > 0


def rename(tx: WriteTransaction, passkey: int, name: str) -> None:
    """Change the name of a passkey."""
    tx.execute(_RENAME, passkey=passkey, new_name=name)


def revoke(tx: WriteTransaction, passkey: int, by: int, reason: str = "") -> bool:
    """Revoke a passkey. Return whether it was active.

    Args:
        by: id of the account that revokes it.
    """
    return tx.execute(_REVOKE, passkey=passkey, moment=tx.now, by=by, reason=reason) > 0


def revoke_all(tx: WriteTransaction, account: int, by: int) -> None:
    """Revoke all passkeys of an account.

    Args:
        by: id of the account that revokes them.
    """
    tx.execute(_REVOKE_ALL, account=account, moment=tx.now, by=by, reason="")


def add_ceremony(
    tx: WriteTransaction,
    challenge: bytes,
    purpose: Purpose,
    account: int | None,
    *,
    browser_hash: bytes | None,
    credentials_version: int | None = None,
) -> str:
    """Insert a ceremony. Return its UUID.

    Args:
        challenge: the random bytes that the device signs.
        account: id of the account; None if it is not known yet.
        browser_hash: digest of the cookie of the browser that began it; None on the API.
        credentials_version: that of the account when its password was verified.
    """
    uuid = uuid4().hex
    tx.execute(
        _INSERT_CEREMONY,
        uuid=uuid,
        challenge=challenge,
        purpose=purpose.value,
        account_id=account,
        browser_hash=browser_hash,
        credentials_version=credentials_version,
        expires_at=tx.now + timedelta(seconds=CEREMONY_SECONDS),
    )
    return uuid


def ceremony(tx: ReadTransaction, uuid: str) -> CeremonyRow | None:
    """Return a ceremony, expired or not."""
    return tx.fetch_one(_CEREMONY, uuid=uuid)


def purge(tx: WriteTransaction) -> None:
    """Delete ceremonies that have expired."""
    tx.execute(_DELETE_EXPIRED, now=tx.now)


def take_ceremony(tx: WriteTransaction, uuid: str) -> bool:
    """Use a ceremony up. Return whether this was the first time."""
    return tx.execute(_DELETE_CEREMONY, uuid=uuid) > 0
