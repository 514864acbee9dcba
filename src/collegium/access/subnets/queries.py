"""Store the address ranges from which an organisation is hidden (access subnets)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from sqlalchemy import bindparam, delete, insert

from collegium.db.database import WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import denied_ranges

_DELETE = Statement(delete(denied_ranges).where(denied_ranges.c.scope_id == bindparam("scope")))


@lru_cache(maxsize=64)
def _insert(count: int) -> Statement:
    return Statement(
        insert(denied_ranges).values(
            [
                {
                    "scope_id": bindparam("scope"),
                    "low": bindparam(f"low{index}"),
                    "high": bindparam(f"high{index}"),
                }
                for index in range(count)
            ]
        )
    )


def replace(tx: WriteTransaction, scope: int, ranges: Sequence[tuple[bytes, bytes]]) -> None:
    """Replace the address ranges from which an organisation is hidden.

    Args:
        scope: id of the organisation.
        ranges: first and last address of each range, both included, as from ``subnets.rules``.
    """
    tx.execute(_DELETE, scope=scope)
    if ranges:
        bounds = {
            f"{name}{index}": bound
            for index, pair in enumerate(ranges)
            for name, bound in zip(("low", "high"), pair, strict=True)
        }
        tx.execute(_insert(len(ranges)), scope=scope, **bounds)
