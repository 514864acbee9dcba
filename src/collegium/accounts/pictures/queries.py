"""Pictures, kept in the database so that a backup has them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

from sqlalchemy import bindparam, delete, insert, select

from collegium.db.statements import Statement
from collegium.db.tables import pictures

if TYPE_CHECKING:
    from collegium.db.database import ReadTransaction, WriteTransaction
    from collegium.db.statements import Row

_ADD = Statement(
    insert(pictures).values(
        {name: bindparam(name) for name in ("uuid", "media", "data", "created")}
    )
)
_FIND = Statement(select(pictures).where(pictures.c.uuid == bindparam("uuid")))
_DROP = Statement(delete(pictures).where(pictures.c.uuid == bindparam("uuid")))


def add(tx: WriteTransaction, media: str, data: bytes) -> str:
    """Keep a picture under a new UUID: an address never shows another one than before."""
    uuid = uuid4().hex
    tx.execute(_ADD, uuid=uuid, media=media, data=data, created=tx.now)
    return uuid


def find(tx: ReadTransaction, uuid: str) -> Row | None:
    """Give a picture: ``media`` and ``data``."""
    return tx.fetch_one(_FIND, uuid=uuid)


def drop(tx: WriteTransaction, uuid: str) -> None:
    """Forget a picture."""
    tx.execute(_DROP, uuid=uuid)
