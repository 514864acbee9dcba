"""Endpoints for figures of scopes: resources, of which there are none, and members by day."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from typing import Any, Final

import msgspec
from msgspec import Struct

from collegium.access import queries as access_queries
from collegium.access.queries import ScopeAccess
from collegium.access.rules import Permission, ScopeKind
from collegium.api.request import BadRequestError, Endpoint, RequestContext, Response, Routes
from collegium.api.waldur import filters, schemas
from collegium.db.database import ReadTransaction
from collegium.memberships import history
from collegium.refusals import NotFound

_DAYS: Final = 30
"""Days before today that are shown by default."""

_QUOTAS: Final = {
    "end": filters.Day(),
    "quota_names": filters.MultipleFilter(),
    "scope": filters.ScopeReference(),
    "start": filters.Day(),
}
_STATS: Final = {
    "for_current_month": filters.BooleanFilter(),
    "include_terminated": filters.BooleanFilter(),
}
_NAMES_MAX: Final = 50


class ComponentsUsageStats(Struct, frozen=True):
    """What the resources of a scope use. This service has no resources."""

    components: list[str] = msgspec.field(default_factory=list)


def _find_scope(tx: ReadTransaction, context: RequestContext, kind: str, uuid: str) -> ScopeAccess:
    """Return the scope of a reference; without a kind the first one that the actor sees.

    Raises:
        BadRequestError: there is none.
    """
    for one in [ScopeKind(kind)] if kind else [ScopeKind.ORGANISATION, ScopeKind.PROJECT]:
        try:
            return access_queries.get_visible(tx, context.actor, one, uuid)
        except NotFound:
            continue
    raise BadRequestError({"scope": ["Invalid hyperlink - Object does not exist."]})


def _daily_quotas(context: RequestContext, tx: ReadTransaction) -> Response:
    given: dict[str, Any] = filters.read(context, _QUOTAS)
    if "scope" not in given:
        raise BadRequestError({"scope": ["This field is required."]})
    end = given.get("end", tx.now.astimezone(UTC).date())
    start = given.get("start") or date.fromordinal(max(1, end.toordinal() - _DAYS))
    count = (end - start).days + 1
    if not 0 < count <= history.DAYS_MAX:
        text = f"Ensure that there are 1 to {history.DAYS_MAX} days from start to end."
        raise BadRequestError({"start": [text]})
    names = given.get("quota_names", ["nc_user_count"])
    if len(names) > _NAMES_MAX:
        raise BadRequestError({"quota_names": [f"Ensure there are at most {_NAMES_MAX} names."]})
    scope = _find_scope(tx, context, *given["scope"]).scope
    days = [start + timedelta(days=day) for day in range(count)]
    # What the service does not have, such as processors of virtual machines, is zero.
    figures = {name: [0] * count for name in names}
    if "nc_user_count" in figures:
        figures["nc_user_count"] = history.people_per_day(tx, scope.id, days)
    return Response(200, schemas.encode(figures))


def _stats(kind: ScopeKind) -> Endpoint:
    def show(context: RequestContext, tx: ReadTransaction) -> Response:
        access_queries.get_visible(tx, context.actor, kind, context.uuid(kind))
        return Response(200, schemas.encode(ComponentsUsageStats()))

    return Endpoint(
        show,
        "Show what the resources use: this service has none.",
        response_type=ComponentsUsageStats,
        filters=_STATS,
    )


def _sync_user_roles(context: RequestContext) -> Response:
    with context.read() as tx:
        uuid = context.uuid(ScopeKind.PROJECT)
        access_queries.get_visible(
            tx, context.actor, ScopeKind.PROJECT, uuid, Permission.PROJECT_UPDATE
        )
    # Roles are read from here, and no other system keeps a copy that would have to follow.
    return Response(200, schemas.encode(schemas.Status("Roles are up to date.")))


ROUTES: Routes = {
    "/api/customers/{uuid}/stats/": {"GET": _stats(ScopeKind.ORGANISATION)},
    "/api/projects/{uuid}/stats/": {"GET": _stats(ScopeKind.PROJECT)},
    "/api/projects/{uuid}/sync_user_roles/": {
        "POST": Endpoint(
            _sync_user_roles,
            "Answer that the roles of a project are up to date: nothing copies them.",
            response_type=schemas.Status,
        ),
    },
    "/api/daily-quotas/": {
        "GET": Endpoint(
            _daily_quotas,
            "Show how many members an organisation or a project had, by day.",
            filters=_QUOTAS,
        ),
    },
}
