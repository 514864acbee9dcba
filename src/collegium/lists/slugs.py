"""Short names for URLs: a prefix from the name, and a number nobody else has."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final

from sqlalchemy import bindparam, delete, literal_column, select
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from collegium.access.rules import ScopeKind
from collegium.db.statements import Statement
from collegium.db.tables import BigInt, accounts, scopes, slugs

if TYPE_CHECKING:
    from collections.abc import Callable

    from collegium.db.database import WriteTransaction

_PREFIX: Final = 8


def _next(insert: Callable[..., object]) -> Statement:
    row = insert(slugs).values(prefix=bindparam("prefix"), last=1)  # type: ignore[attr-defined]
    return Statement(
        row.on_conflict_do_update(
            index_elements=[slugs.c.prefix], set_={"last": slugs.c.last + 1}
        ).returning(slugs.c.last)
    )


_NEXT = {"sqlite": _next(_insert_sqlite), "postgresql": _next(_insert_postgresql)}


_TAKEN = {
    "user": Statement(select(accounts.c.id).where(accounts.c.slug == bindparam("slug"))),
    **{
        kind.value: Statement(
            select(scopes.c.id).where(
                scopes.c.kind == kind.value, scopes.c.slug == bindparam("slug")
            )
        )
        for kind in ScopeKind
    },
}


_HAS_PREFIX = Statement(
    select(accounts.c.id)
    .where(
        accounts.c.slug >= bindparam("low"),
        accounts.c.slug < bindparam("high"),
        accounts.c.id != bindparam("besides", type_=BigInt),
    )
    .limit(literal_column("1"))
)
_FORGET = Statement(delete(slugs).where(slugs.c.prefix == bindparam("prefix")))


def _prefix(noun: str, name: str) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_PREFIX].strip("-") or noun


def forget(tx: WriteTransaction, noun: str, name: str, account: int) -> None:
    """Drop the counter of a deleted account's slugs, unless another account goes by it.

    It is made of the user name.
    """
    prefix = _prefix(noun, name)
    # The character after the dash, so that the index finds whatever begins with the prefix.
    if tx.fetch_one(_HAS_PREFIX, low=f"{prefix}-", high=f"{prefix}.", besides=account) is None:
        tx.execute(_FORGET, prefix=f"{noun}:{prefix}")


def new(tx: WriteTransaction, noun: str, name: str) -> str:
    """Give a slug that nobody has: a counter gives the number, so there is no race.

    Args:
        noun: ``user`` or a kind of scope; each counts for itself.
        name: any text; without a letter of ASCII in it the noun stands in.
    """
    prefix = _prefix(noun, name)
    while True:
        slug = f"{prefix}-{tx.scalar(_NEXT[tx.backend], prefix=f'{noun}:{prefix}')}"
        # Somebody may have written it by hand; then the next number is tried.
        if tx.fetch_one(_TAKEN[noun], slug=slug) is None:
            return slug
