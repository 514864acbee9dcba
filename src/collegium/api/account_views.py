"""Record that the caller looks at the profile of another person, if the operator wants it."""

from __future__ import annotations

from collections.abc import Collection

import structlog

from collegium.accounts import views
from collegium.api.request import RequestContext
from collegium.db.database import UnavailableError

_log = structlog.get_logger()


def record(context: RequestContext, account: int, fields: Collection[str]) -> None:
    """Record a view of an account, unless it is the caller's own or nothing is shown.

    The request still succeeds while nothing can be written. The log then says what was not
    recorded.

    Args:
        account: id of the account, which the caller may see.
        fields: names of the fields that are shown.
    """
    if (
        not context.settings.user_data_access_logging_enabled
        or account == context.actor.id
        or context.method == "HEAD"
    ):
        return
    context.release_read_slot()
    try:
        with context.write() as tx:
            views.record(tx, context.actor, account, fields)
    except UnavailableError as outage:
        _log.warning("view not recorded", account=account, reason=str(outage))
