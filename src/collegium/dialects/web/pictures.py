"""Pictures, as browsers fetch them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collegium.dialects.http import Answer, hex_uuid
from collegium.store import pictures

if TYPE_CHECKING:
    from collegium.dialects.http import Call
    from collegium.store.db import Read


def show(call: Call, tx: Read) -> Answer:
    """Give a picture. Its address never shows another one, so it may be kept for good."""
    uuid = hex_uuid(call.segments["uuid"])
    row = None if uuid is None else pictures.find(tx, uuid)
    if row is None:
        return Answer(404, b'{"detail":"Not found."}')
    return Answer(
        200,
        bytes(row.data),
        {"Content-Disposition": "inline", "Cache-Control": "private, max-age=31536000, immutable"},
        row.media,
    )
