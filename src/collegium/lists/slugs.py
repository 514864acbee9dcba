"""Create slugs, short names for URLs: a prefix from the name and a unique number."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import Final

from sqlalchemy import bindparam, delete, literal_column, select
from sqlalchemy.dialects.postgresql import insert as _insert_postgresql
from sqlalchemy.dialects.sqlite import insert as _insert_sqlite

from collegium.access.rules import ScopeKind
from collegium.db.database import WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import BigInt, accounts, scopes, slugs

_PREFIX_MAX: Final = 8


def _increment(insert: Callable[..., object]) -> Statement[int]:
    row = insert(slugs).values(prefix=bindparam("prefix"), last_number=1)  # type: ignore[attr-defined]  # either dialect
    return Statement[int](
        row.on_conflict_do_update(
            index_elements=[slugs.c.prefix], set_={"last_number": slugs.c.last_number + 1}
        ).returning(slugs.c.last_number)
    )


_INCREMENT = {"sqlite": _increment(_insert_sqlite), "postgresql": _increment(_insert_postgresql)}


_FIND_SLUG = {
    "user": Statement[int](select(accounts.c.id).where(accounts.c.slug == bindparam("slug"))),
    **{
        kind.value: Statement[int](
            select(scopes.c.id).where(
                scopes.c.kind == kind.value, scopes.c.slug == bindparam("slug")
            )
        )
        for kind in ScopeKind
    },
}


_HAS_PREFIX = Statement[int](
    select(accounts.c.id)
    .where(
        accounts.c.slug >= bindparam("low"),
        accounts.c.slug < bindparam("high"),
        accounts.c.id != bindparam("besides", type_=BigInt),
    )
    .limit(literal_column("1"))
)
_DELETE_COUNTER = Statement(delete(slugs).where(slugs.c.prefix == bindparam("prefix")))


def _prefix(noun: str, name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", ascii_name)[:_PREFIX_MAX].strip("-") or noun


def delete_counter(tx: WriteTransaction, noun: str, name: str, account: int) -> None:
    """Delete the slug counter of a deleted account, unless another account's slug has its prefix.

    The prefix comes from the user name, so keeping it would keep personal data.
    """
    prefix = _prefix(noun, name)
    # "." is the character after "-". This range of slugs uses the index to find all with the
    # prefix.
    if tx.fetch_one(_HAS_PREFIX, low=f"{prefix}-", high=f"{prefix}.", besides=account) is None:
        tx.execute(_DELETE_COUNTER, prefix=f"{noun}:{prefix}")


def new(tx: WriteTransaction, noun: str, name: str) -> str:
    """Return a new slug. The number comes from a counter in the database, which prevents races.

    Args:
        noun: ``user`` or a kind of scope; each has its own counters.
        name: any text. If it has no ASCII letters or digits, the noun becomes the prefix.
    """
    prefix = _prefix(noun, name)
    while True:
        slug = f"{prefix}-{tx.fetch_only(_INCREMENT[tx.backend], prefix=f'{noun}:{prefix}')}"
        # Somebody may have set this slug by hand. Then the next number is tried.
        if tx.fetch_one(_FIND_SLUG[noun], slug=slug) is None:
            return slug
