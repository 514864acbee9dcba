"""Profile pictures, as browsers fetch them."""

from __future__ import annotations

from collegium.accounts.pictures import queries as picture_queries
from collegium.api.request import RequestContext, Response
from collegium.db.database import ReadTransaction
from collegium.values import hex_uuid


def show(context: RequestContext, tx: ReadTransaction) -> Response:
    """Return a picture. Its URL never serves another one, so browsers may cache it for ever."""
    uuid = hex_uuid(context.segments["uuid"])
    row = None if uuid is None else picture_queries.by_uuid(tx, uuid)
    if row is None:
        return Response(404, b'{"detail":"Not found."}')
    return Response(
        200,
        bytes(row.data),
        {"Content-Disposition": "inline", "Cache-Control": "private, max-age=31536000, immutable"},
        row.media_type,
    )
