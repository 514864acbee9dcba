"""Send the members, invitations or audit log of a scope as a file, for the API and the pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import chain
from typing import Any

from collegium.access.queries import ScopeAccess
from collegium.api.request import RequestContext, Response
from collegium.api.streams import Stream, places
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

    The download is recorded and counted before the first byte. HEAD does neither. The first batch
    is read at once, so that an outage has a response of its own.

    Args:
        access: the scope, whose visibility was checked.
        filters: filters of the list, except the scope.

    Raises:
        NotFound, Forbidden: as ``begin`` of ``exports.actions``.
        Limited: ``tries.wait``: too many downloads of the reader are being sent.
        BusyError: Too many downloads are being sent at all.
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

    with ExitStack() as held:
        held.enter_context(places.place(context.actor.id))
        with context.write() as tx:
            export_actions.begin(tx, export, file_format)
            context.count_attempts(tx, EXPORT)
        parts = pieces(export_actions.batches(read, export), subject, file_format)
        held.callback(parts.close)
        stream = Stream(chain([next(parts)], parts), held.pop_all())
        return Response(200, headers=headers, media=media, stream=stream)
