"""Store pictures in the database, so that backups contain them."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import bindparam, delete, insert, select

from collegium.db.database import ReadTransaction, WriteTransaction
from collegium.db.statements import Statement
from collegium.db.tables import pictures


class Picture:
    """A picture."""

    media_type: str
    data: bytes


_INSERT = Statement(
    insert(pictures).values(
        {name: bindparam(name) for name in ("uuid", "media_type", "data", "created_at")}
    )
)
_BY_UUID = Statement[Picture](select(pictures).where(pictures.c.uuid == bindparam("uuid")))
_DELETE = Statement(delete(pictures).where(pictures.c.uuid == bindparam("uuid")))


def add(tx: WriteTransaction, media_type: str, data: bytes) -> str:
    """Store a picture under a new UUID, so that a URL never shows another picture later."""
    uuid = uuid4().hex
    tx.execute(_INSERT, uuid=uuid, media_type=media_type, data=data, created_at=tx.now)
    return uuid


def by_uuid(tx: ReadTransaction, uuid: str) -> Picture | None:
    """Return a picture; None if there is none."""
    return tx.fetch_one(_BY_UUID, uuid=uuid)


def delete_picture(tx: WriteTransaction, uuid: str) -> None:
    """Delete a picture."""
    tx.execute(_DELETE, uuid=uuid)
