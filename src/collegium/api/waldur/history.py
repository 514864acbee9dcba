"""What organisations and accounts were after each change: ``history/`` and ``history/at/``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from collegium.access.rules import require_reader
from collegium.accounts import queries as account_queries
from collegium.accounts import versions as account_versions
from collegium.api.request import BadRequestError, Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists
from collegium.api.waldur.event_rendering import ACCOUNT_FIELDS
from collegium.api.waldur.organisations import BODY
from collegium.db.database import ReadTransaction
from collegium.events.versions import History, Version
from collegium.refusals import NotFound
from collegium.scopes.organisations import queries as organisation_queries
from collegium.scopes.organisations import versions as organisation_versions


class RevisionUser(Struct, frozen=True):
    """The person who made a change."""

    uuid: str
    username: str
    full_name: str


class VersionHistory(Struct, frozen=True):
    """An object after one change."""

    id: int
    revision_date: datetime
    revision_user: RevisionUser | None
    revision_comment: str
    serialized_data: dict[str, Any]
    queried_at: datetime | UnsetType = UNSET


_PARAMETERS: Final = {"created_after": filters.GreaterOrEqual(), "created_before": filters.Before()}
_AT: Final = {"timestamp": filters.Before()}


def _routes(
    prefix: str,
    noun: str,
    history: History,
    names: Mapping[str, str],
    get_visible: Callable[[RequestContext, ReadTransaction], Any],
) -> Routes:
    """Return the routes with the history of one kind of object, for staff and support.

    Args:
        prefix: path of one object.
        noun: what it is, with its article.
        names: field of this API to column.
        get_visible: loads the object of the request.
    """
    fields = {column: name for name, column in names.items()}

    def load(context: RequestContext, tx: ReadTransaction) -> Any:
        row = get_visible(context, tx)
        require_reader(context.actor)
        return row

    def show(version: Version, queried_at: datetime | UnsetType = UNSET) -> VersionHistory:
        changed = sorted(fields[column] for column in version.fields if column in fields)
        return VersionHistory(
            id=version.id,
            revision_date=version.at,
            revision_user=None if version.actor is None else RevisionUser(*version.actor),
            revision_comment=(
                "Initial version" if version.is_first else f"Changed: {', '.join(changed)}"
            ),
            serialized_data={
                name: version.values[column]
                for name, column in names.items()
                if column in version.values
            },
            queried_at=queried_at,
        )

    def respond(context: RequestContext, tx: ReadTransaction) -> Response:
        row = load(context, tx)
        values = filters.read(context, _PARAMETERS, orders=())
        newer = 0
        if (before := values.get("created_before")) is not None:
            newer = history.count_since(tx, row.id, before)
        total = history.count_since(tx, row.id, values.get("created_after"))
        return lists.respond_slice(
            context,
            max(0, total - newer),
            lambda size, skip: list(map(show, history.newest(tx, row, size, newer + skip))),
        )

    def respond_at(context: RequestContext, tx: ReadTransaction) -> Response:
        row = load(context, tx)
        timestamp = filters.read(context, _AT).get("timestamp")
        if timestamp is None:
            raise BadRequestError({"timestamp": ["This field is required."]})
        newer = history.count_after(tx, row.id, timestamp)
        found = history.newest(tx, row, 1, newer)
        if not found:
            raise NotFound("version.unknown")
        return Response(200, lists.encode(show(found[0], timestamp)))

    return {
        f"{prefix}history/": {
            "GET": Endpoint(
                respond,
                f"List what {noun} was after each change, for staff and support.",
                response_type=VersionHistory,
                is_list=True,
                filters=_PARAMETERS,
            ),
        },
        f"{prefix}history/at/": {
            "GET": Endpoint(
                respond_at,
                f"Show what {noun} was at a time, for staff and support.",
                response_type=VersionHistory,
                filters=_AT,
            ),
        },
    }


ROUTES: Routes = {
    **_routes(
        "/api/customers/{uuid}/",
        "an organisation",
        organisation_versions.HISTORY,
        {"created": "created_at", "uuid": "uuid"}
        | {name: kind.source for name, kind in BODY.items()},
        lambda context, tx: organisation_queries.get_visible(
            tx, context.actor, context.uuid("organisation")
        ),
    ),
    **_routes(
        "/api/users/{uuid}/",
        "an account",
        account_versions.HISTORY,
        {"uuid": "uuid", "date_joined": "joined_at", **ACCOUNT_FIELDS},
        lambda context, tx: account_queries.get_visible(tx, context.actor, context.uuid("account")),
    ),
}
