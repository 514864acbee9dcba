"""Send the members, invitations or audit log of a scope as a file, for the API and the pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from collegium.access.queries import ScopeAccess
from collegium.api.request import RequestContext, Response
from collegium.db.database import ReadTransaction
from collegium.exports import actions as export_actions
from collegium.exports.files import pieces
from collegium.exports.rules import MEDIA, Format, Subject
from collegium.security.rate_limits.rules import EXPORT


def respond(
    context: RequestContext,
    access: ScopeAccess,
    subject: Subject,
    file_format: Format,
    filters: Mapping[str, Any],
) -> Response:
    """Return the response with a file, whose rows are read while it is sent.

    The download is recorded and counted before the first byte. HEAD does neither.

    Args:
        access: the scope, whose visibility was checked.
        filters: filters of the list, except the scope.

    Raises:
        NotFound, Forbidden, Conflict: as ``begin`` and ``check_size`` of ``exports.actions``.
    """
    scope = access.scope
    name = f"{scope.kind}-{scope.uuid}-{subject.value}.{file_format.value}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        # Lists of people stay in no cache.
        "Cache-Control": "no-store",
    }
    media = MEDIA[file_format]
    export_actions.check_may_read(context.actor, access, subject)
    if context.method == "HEAD":
        return Response(200, headers=headers, media=media)
    export = export_actions.Export(context.actor, scope.id, subject, filters)
    with context.read() as tx:
        export_actions.check_size(tx, export, access)
    with context.write() as tx:
        export_actions.begin(tx, export, file_format)
        context.count_attempts(tx, EXPORT)
    database = context.app.database

    @contextmanager
    def read() -> Iterator[ReadTransaction]:
        # Not the slot of the request, which has ended when the file is sent.
        slot = database.read_slot()
        slot.acquire()
        try:
            with database.read() as tx:
                yield tx
        finally:
            slot.release()

    rows = export_actions.batches(read, export)
    return Response(200, headers=headers, media=media, stream=pieces(rows, subject, file_format))
