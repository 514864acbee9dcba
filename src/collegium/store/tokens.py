"""Tokens: who a credential belongs to, and how long it still counts."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import (
    and_,
    bindparam,
    case,
    delete,
    false,
    insert,
    not_,
    select,
    update,
)

from collegium.rules.refusals import NotFound
from collegium.rules.tokens import Kind, end
from collegium.store.accounts import shown as shown_accounts
from collegium.store.listing import Listing
from collegium.store.statements import Key, Prepared, Time, any_of
from collegium.store.tables import API_TOKEN, accounts, tokens

if TYPE_CHECKING:
    from collegium.store.db import Read, Write
    from collegium.store.statements import Row

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
_NEW = (
    "account_id",
    "digest",
    "sealed",
    "issued",
    "used",
    "kind",
    "name",
    "lifetime",
    "ends",
    "family",
)

_OF = Prepared(
    select(
        *_OWNER,
        tokens.c.id.label("token_id"),
        tokens.c.kind.label("token_kind"),
        case((API_TOKEN, accounts.c.token_lifetime), else_=tokens.c.lifetime).label("lifetime"),
        *(tokens.c[name] for name in ("issued", "used", "ends", "family")),
    )
    .select_from(tokens)
    .join(accounts, accounts.c.id == tokens.c.account_id)
    .where(tokens.c.digest == bindparam("digest"))
)
_presented = tokens.alias("presented")
_OF_SHOWN = Prepared(
    shown_accounts(
        _presented.join(accounts, accounts.c.id == _presented.c.account_id),
        _presented.c.id.label("token_id"),
        _presented.c.kind.label("token_kind"),
        case(
            (_presented.c.kind == Kind.API.value, accounts.c.token_lifetime),
            else_=_presented.c.lifetime,
        ).label("lifetime"),
        *(_presented.c[name] for name in ("issued", "used", "ends", "family")),
    ).where(_presented.c.digest == bindparam("digest"))
)
_THERE = Prepared(select(tokens.c.id).where(tokens.c.id == bindparam("token")))
_mine = tokens.c.account_id == bindparam("account")
_FOR_ACCOUNT = Prepared(select(tokens).where(_mine, API_TOKEN))
_ISSUE = Prepared(
    insert(tokens).values({name: bindparam(name) for name in _NEW}).returning(tokens.c.id)
)
_others = select(
    *(tokens.c[name] for name in ("id", "kind", "name", "issued", "used", "lifetime", "ends"))
).where(_mine, not_(API_TOKEN))
_OTHERS = Prepared(_others)
_ANY_SEALED = Prepared(
    select(tokens.c.digest, tokens.c.sealed)
    .where(tokens.c.sealed.is_not(None))
    .order_by(tokens.c.id.desc())
    .limit(1)
)
_PERSONAL = Prepared(_others.where(tokens.c.kind == "personal").order_by(tokens.c.id))
_SESSIONS = Prepared(_others.where(tokens.c.kind == "session").order_by(tokens.c.used.desc()))
_FORGET = Prepared(delete(tokens).where(any_of(tokens.c.id, "dead")))
_TOUCH = Prepared(
    update(tokens)
    .where(tokens.c.id == bindparam("token"), tokens.c.used < bindparam("before", type_=Time))
    .values(used=bindparam("moment", type_=Time))
)
_REVOKE = Prepared(delete(tokens).where(_mine, API_TOKEN))
_REVOKE_ALL = Prepared(delete(tokens).where(_mine))
_REVOKE_OTHERS = Prepared(delete(tokens).where(_mine, not_(API_TOKEN)))
_REVOKE_ONE = Prepared(
    delete(tokens).where(
        _mine, tokens.c.id == bindparam("token"), tokens.c.kind == bindparam("kind")
    )
)
_REVOKE_FAMILY = Prepared(delete(tokens).where(tokens.c.family == bindparam("family", type_=Key)))

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
)
_shown = _shown.select_from(accounts).join(
    tokens, and_(tokens.c.account_id == accounts.c.id, API_TOKEN)
)
_SHOWN = Prepared(_shown.where(_mine))

listing = Listing(
    _shown,
    visible=false,
    key=tokens.c.account_id,
    counted=select(tokens.c.account_id).where(API_TOKEN),
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


def owner(tx: Read, digest: bytes, *, shown: bool = False) -> Row | None:
    """Give the account that a token belongs to, and what its end is judged by.

    Args:
        shown: whether the account is to be shown: with all that ``accounts.own`` gives.

    ``token_id``, ``token_kind`` and ``issued used lifetime ends family`` are those of the token.
    """
    return tx.one(_OF_SHOWN if shown else _OF, digest=digest)


def is_there(tx: Read, token: int) -> bool:
    """Tell whether nobody has revoked a token, by its number."""
    return tx.one(_THERE, token=token) is not None


def of_account(tx: Read, account: int) -> Row | None:
    """Give the token of an account that the Waldur wire shows."""
    return tx.one(_FOR_ACCOUNT, account=account)


def personal(tx: Read, account: int) -> list[Row]:
    """Give the personal tokens of an account, oldest first; those that ran out among them."""
    return tx.all(_PERSONAL, account=account)


def sessions(tx: Read, account: int) -> list[Row]:
    """Give the browsers an account is signed in with, last used first; also those that ran out."""
    return tx.all(_SESSIONS, account=account)


def numbers(tx: Read, account: int) -> dict[Kind, int]:
    """Count the tokens of an account that still work, but for the one the Waldur wire shows."""
    return Counter(
        Kind(row.kind) for row in tx.all(_OTHERS, account=account) if not _is_over(row, tx.now)
    )


def _is_over(row: Row, now: datetime) -> bool:
    ends = end(row.issued, row.used, row.lifetime, None, row.ends)
    return ends is not None and ends < now


def any_sealed(tx: Read) -> Row | None:
    """Give the ``digest`` and the ``sealed`` text of the newest token that has one."""
    return tx.one(_ANY_SEALED)


def add(
    tx: Write,
    account: int,
    digest: bytes,
    sealed: bytes | None = None,
    *,
    kind: Kind = Kind.API,
    name: str = "",
    lifetime: int | None = None,
    ends: datetime | None = None,
    family: str | None = None,
) -> int:
    """Keep a new token and give its number; those of the account that ran out are forgotten.

    Args:
        sealed: the token itself, for the kind that is given back.
        lifetime: seconds it lives after its last use; None: no limit.
        ends: when it ends, used or not.
        family: a UUID that tokens share which go together.
    """
    if kind is not Kind.API:
        _forget(tx, account)
    return int(
        tx.value(
            _ISSUE,
            account_id=account,
            digest=digest,
            sealed=sealed,
            issued=tx.now,
            used=tx.now,
            kind=kind.value,
            name=name,
            lifetime=lifetime,
            ends=ends,
            family=family,
        )
    )


def _forget(tx: Write, account: int) -> None:
    dead = [row.id for row in tx.all(_OTHERS, account=account) if _is_over(row, tx.now)]
    if dead:
        tx.run(_FORGET, dead=dead)


def touch(tx: Write, token: int, every: timedelta) -> None:
    """Move the sliding lifetime on, unless somebody else did so a moment ago."""
    tx.run(_TOUCH, token=token, moment=tx.now, before=tx.now - every)


def touch_now(tx: Write, token: int) -> None:
    """Begin the lifetime of a token anew."""
    tx.run(_TOUCH, token=token, moment=tx.now, before=tx.now)


def revoke(tx: Write, account: int) -> bool:
    """End the token of an account that the Waldur wire shows; tell whether there was one."""
    return tx.run(_REVOKE, account=account) > 0


def revoke_all(tx: Write, account: int) -> None:
    """End every token of an account, of whatever kind."""
    tx.run(_REVOKE_ALL, account=account)


def revoke_others(tx: Write, account: int) -> None:
    """End every token of an account but the one that the Waldur wire shows."""
    tx.run(_REVOKE_OTHERS, account=account)


def revoke_one(tx: Write, account: int, token: int, kind: Kind = Kind.PERSONAL) -> bool:
    """End one token of an account by its number; tell whether there was one of that kind."""
    return tx.run(_REVOKE_ONE, account=account, token=token, kind=kind.value) > 0


def revoke_family(tx: Write, family: str) -> bool:
    """End the tokens that go together; tell whether there were any."""
    return tx.run(_REVOKE_FAMILY, family=family) > 0
