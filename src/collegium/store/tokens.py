"""Tokens: who a credential belongs to, and how long it still counts."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, false, insert, select, update

from collegium.rules.refusals import NotFound
from collegium.store.db import Prepared, Time
from collegium.store.listing import Listing
from collegium.store.tables import accounts, tokens

if TYPE_CHECKING:
    from collegium.store.db import Read, Row, Write

_OWNER = (
    accounts.c.id,
    accounts.c.uuid,
    accounts.c.username,
    accounts.c.first_name,
    accounts.c.last_name,
    accounts.c.email,
    accounts.c.civil_number,
    accounts.c.is_active,
    accounts.c.is_staff,
    accounts.c.is_support,
    accounts.c.is_identity_manager,
    accounts.c.token_lifetime,
)

_OF = Prepared(
    select(*_OWNER, tokens.c.id.label("token_id"), tokens.c.issued, tokens.c.used)
    .join(accounts, accounts.c.id == tokens.c.account_id)
    .where(tokens.c.digest == bindparam("digest"))
)
_FOR_ACCOUNT = Prepared(select(tokens).where(tokens.c.account_id == bindparam("account")))
_ISSUE = Prepared(
    insert(tokens).values(
        {name: bindparam(name) for name in ("account_id", "digest", "sealed", "issued", "used")}
    )
)
_TOUCH = Prepared(
    update(tokens)
    .where(tokens.c.id == bindparam("token"), tokens.c.used < bindparam("before", type_=Time))
    .values(used=bindparam("moment", type_=Time))
)
_REVOKE = Prepared(delete(tokens).where(tokens.c.account_id == bindparam("account")))

# Never the token itself, nor anything it could be made of.
_shown = select(
    accounts.c.id,
    accounts.c.uuid,
    accounts.c.username,
    accounts.c.first_name,
    accounts.c.last_name,
    accounts.c.is_active,
    accounts.c.token_lifetime,
    tokens.c.used,
).join(tokens, tokens.c.account_id == accounts.c.id)
_SHOWN = Prepared(_shown.where(tokens.c.account_id == bindparam("account")))

listing = Listing(
    _shown,
    visible=false,
    key=tokens.c.account_id,
    counted=select(tokens.c.account_id),
    default="user",
    orders={"user": (tokens.c.account_id,)},
)


def shown(tx: Read, account: int) -> Row:
    """Give what is told of the token of an account.

    Refuses: NotFound ``token.none``.
    """
    row = tx.one(_SHOWN, account=account)
    if row is None:
        raise NotFound("token.none")
    return row


def owner(tx: Read, digest: bytes) -> Row | None:
    """Give the account that a token belongs to, with ``token_id`` and ``used``."""
    return tx.one(_OF, digest=digest)


def of_account(tx: Read, account: int) -> Row | None:
    """Give the token of an account."""
    return tx.one(_FOR_ACCOUNT, account=account)


def add(tx: Write, account: int, digest: bytes, sealed: bytes) -> None:
    """Keep a new token."""
    tx.run(_ISSUE, account_id=account, digest=digest, sealed=sealed, issued=tx.now, used=tx.now)


def touch(tx: Write, token: int, every: timedelta) -> None:
    """Move the sliding lifetime on, unless somebody else did so a moment ago."""
    tx.run(_TOUCH, token=token, moment=tx.now, before=tx.now - every)


def touch_now(tx: Write, token: int) -> None:
    """Begin the lifetime of a token anew."""
    tx.run(_TOUCH, token=token, moment=tx.now, before=tx.now)


def revoke(tx: Write, account: int) -> bool:
    """End the token of an account; tell whether there was one."""
    return tx.run(_REVOKE, account=account) > 0
