"""Endpoints ``/api/customers/{uuid}/history/`` and ``/api/customers/{uuid}/history/at/``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType

from collegium.api.request import BadRequestError, Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, lists
from collegium.api.waldur.organisations import BODY
from collegium.db.database import ReadTransaction
from collegium.refusals import Forbidden, NotFound
from collegium.scopes.organisations import queries as organisation_queries
from collegium.scopes.organisations import versions
from collegium.scopes.organisations.queries import OrganisationRow
from collegium.scopes.organisations.versions import Version


class RevisionUser(Struct, frozen=True):
    """The person who made a change."""

    uuid: str
    username: str
    full_name: str


class VersionHistory(Struct, frozen=True):
    """An organisation after one change."""

    id: int
    revision_date: datetime
    revision_user: RevisionUser | None
    revision_comment: str
    serialized_data: dict[str, Any]
    queried_at: datetime | UnsetType = UNSET


_NAMES: Final = {"created": "created_at", "uuid": "uuid"} | {
    name: kind.source for name, kind in BODY.items()
}
"""Field → column."""
_FIELDS: Final = {column: name for name, column in _NAMES.items()}
_PARAMETERS: Final = {"created_after": filters.GreaterOrEqual(), "created_before": filters.Before()}
_AT: Final = {"timestamp": filters.Before()}


def _load(context: RequestContext, tx: ReadTransaction) -> OrganisationRow:
    row = organisation_queries.get_visible(tx, context.actor, context.uuid("organisation"))
    if not context.actor.sees_all:
        raise Forbidden("permission.missing")
    return row


def _show(version: Version, queried_at: datetime | UnsetType = UNSET) -> VersionHistory:
    changed = ", ".join(sorted(_FIELDS.get(column, column) for column in version.fields))
    return VersionHistory(
        id=version.id,
        revision_date=version.at,
        revision_user=None if version.actor is None else RevisionUser(*version.actor),
        revision_comment="Initial version" if version.is_first else f"Changed: {changed}",
        serialized_data={
            name: version.values[column]
            for name, column in _NAMES.items()
            if column in version.values
        },
        queried_at=queried_at,
    )


def _list(context: RequestContext, tx: ReadTransaction) -> Response:
    row = _load(context, tx)
    values = filters.read(context, _PARAMETERS, orders=())
    newer = 0
    if (before := values.get("created_before")) is not None:
        newer = versions.count_since(tx, row.id, before)
    total = versions.count_since(tx, row.id, values.get("created_after"))
    return lists.respond_slice(
        context,
        max(0, total - newer),
        lambda size, skip: list(map(_show, versions.newest(tx, row, size, newer + skip))),
    )


def _at(context: RequestContext, tx: ReadTransaction) -> Response:
    row = _load(context, tx)
    timestamp = filters.read(context, _AT).get("timestamp")
    if timestamp is None:
        raise BadRequestError({"timestamp": ["This field is required."]})
    newer = versions.count_after(tx, row.id, timestamp)
    found = versions.newest(tx, row, 1, newer)
    if not found:
        raise NotFound("version.unknown")
    return Response(200, lists.encode(_show(found[0], timestamp)))


ROUTES: Routes = {
    "/api/customers/{uuid}/history/": {
        "GET": Endpoint(
            _list,
            "List what an organisation was after each change, for staff and support.",
            response_type=VersionHistory,
            is_list=True,
            filters=_PARAMETERS,
        ),
    },
    "/api/customers/{uuid}/history/at/": {
        "GET": Endpoint(
            _at,
            "Show what an organisation was at a time, for staff and support.",
            response_type=VersionHistory,
            filters=_AT,
        ),
    },
}
